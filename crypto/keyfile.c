/*
 * crypto/keyfile.c - key files.
 *
 *   # pbft key file: secret. Mode 0600, one for each node, never copied, never edited.
 *   pbft-key 1
 *   public 64 hex digits
 *   secret 64 hex digits (the seed)
 *
 * Lines that begin with '#' are comments; everything else is as shown, in this order.
 */
#include "crypto/files.h"
#include "crypto/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_FILE_MAX 2048u
#define ERROR_BYTES  256u
#define NOT_DURABLE  "cannot be made durable: its folder cannot be synced"

static const char header[] =
    "# pbft key file: secret. Mode 0600, one for each node, never copied, never edited.\n"
    "pbft-key 1\n";

static enum pbft_status fail(enum pbft_status status, char *error, const char *path,
                             const char *what)
{
    (void)snprintf(error, ERROR_BYTES, "Key file %.120s %s.", path, what);
    return status;
}

static enum pbft_status fail_errno(int number, char *error, const char *path, const char *what)
{
    enum pbft_status status = pbft_file_status(number);
    char text[64];
    if (strerror_r(number, text, sizeof(text)) != 0)
        (void)snprintf(text, sizeof(text), "error %d", number);
    (void)snprintf(error, ERROR_BYTES, "Key file %.120s %s: %s.", path, what,
                   number == ELOOP ? "it is a symbolic link" : text);
    return status;
}

enum pbft_status pbft_keypair_save(const struct pbft_keypair *keypair, const char *path,
                                   char error[256])
{
    char public_hex[65];
    char secret_hex[65];
    char text[512];
    pbft_hex_encode(keypair->public.bytes, 32, public_hex);
    pbft_hex_encode(keypair->secret.bytes, 32, secret_hex); /* the seed is the first half */
    int length =
        snprintf(text, sizeof(text), "%spublic %s\nsecret %s\n", header, public_hex, secret_hex);
    PBFT_ASSERT(length > 0 && (size_t)length < sizeof(text));

    /* O_EXCL follows no link either. */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int number = fd < 0 ? errno : 0;
    bool kept = false, lasts = true;
    if (fd >= 0) {
        /* The mode must not depend on the umask. */
        kept = fchmod(fd, 0600) == 0 &&
               pbft_file_write(fd, text, (size_t)length) == PBFT_STATUS_OK && fsync(fd) == 0;
        if (!kept) number = errno;
        if (close(fd) != 0 && kept) {
            number = errno;
            kept = false;
        }
        if (kept) kept = lasts = pbft_folder_sync_of(path) == PBFT_STATUS_OK;
        if (!kept) (void)unlink(path);
    }
    sodium_memzero(secret_hex, sizeof(secret_hex));
    sodium_memzero(text, sizeof(text));
    if (kept) return PBFT_STATUS_OK;
    if (!lasts) return fail(PBFT_STATUS_IO, error, path, NOT_DURABLE);
    if (number == EEXIST)
        return fail(PBFT_STATUS_EXISTS, error, path, "exists already and is never overwritten");
    return fail_errno(number, error, path, "cannot be written");
}

enum pbft_status pbft_keypair_adopt(const char *from, const char *path, char error[256])
{
    if (rename(from, path) != 0)
        return fail_errno(errno, error, path, "cannot be replaced by its successor");
    if (pbft_folder_sync_of(path) == PBFT_STATUS_OK) return PBFT_STATUS_OK;
    return fail(PBFT_STATUS_IO, error, path, NOT_DURABLE);
}

/* The rest of the next line that is no comment, if it begins with `word`; NULL otherwise. Ends the
 * line with a zero. */
static char *next_line(char **cursor, const char *word)
{
    for (;;) {
        char *line = *cursor;
        char *end = strchr(line, '\n');
        if (end == NULL) return NULL;
        *end = '\0';
        *cursor = end + 1;
        if (line[0] == '#') continue;
        size_t length = strlen(word);
        return strncmp(line, word, length) == 0 ? line + length : NULL;
    }
}

static enum pbft_status parse(struct pbft_keypair *out, char *text, const char *path, char *error)
{
    char *cursor = text;
    const char *version = next_line(&cursor, "pbft-key ");
    if (version == NULL) return fail(PBFT_STATUS_CORRUPT, error, path, "is not a key file of pbft");
    if (strcmp(version, "1") != 0)
        return fail(PBFT_STATUS_CORRUPT, error, path, "has a format version other than 1");

    uint8_t public[32];
    uint8_t seed[32];
    const char *public_hex = next_line(&cursor, "public ");
    const char *secret_hex = public_hex == NULL ? NULL : next_line(&cursor, "secret ");
    if (secret_hex == NULL || !pbft_hex_decode(public_hex, public, sizeof(public)) ||
        !pbft_hex_decode(secret_hex, seed, sizeof(seed)) || *cursor != '\0') {
        sodium_memzero(seed, sizeof(seed));
        return fail(PBFT_STATUS_CORRUPT, error, path, "is damaged");
    }
    pbft_keypair_from_seed(out, seed);
    sodium_memzero(seed, sizeof(seed));
    if (memcmp(out->public.bytes, public, sizeof(public)) != 0) {
        pbft_keypair_wipe(out);
        return fail(PBFT_STATUS_CORRUPT, error, path,
                    "is damaged: its public key is not that of its secret key");
    }
    return PBFT_STATUS_OK;
}

/* Checks on the open file, so that nobody can exchange it in between. */
static enum pbft_status check_file(int fd, const char *path, char *error)
{
    struct stat info;
    if (fstat(fd, &info) != 0) return fail_errno(errno, error, path, "cannot be examined");
    if (!S_ISREG(info.st_mode))
        return fail(PBFT_STATUS_PERMISSION, error, path, "is not a regular file");
    if (info.st_uid != geteuid())
        return fail(PBFT_STATUS_PERMISSION, error, path, "belongs to another user");
    if ((info.st_mode & 07177) != 0)
        return fail(PBFT_STATUS_PERMISSION, error, path,
                    "is open to others: set its mode to 0600 (and make a new key if it may have "
                    "been read)");
    if (info.st_size < 0 || (uint64_t)info.st_size > KEY_FILE_MAX)
        return fail(PBFT_STATUS_CORRUPT, error, path, "is too large for a key file");
    return PBFT_STATUS_OK;
}

enum pbft_status pbft_keypair_load(struct pbft_keypair *out, const char *path, char error[256])
{
    /* O_NONBLOCK: a FIFO must not hold us up before it is refused. */
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return fail_errno(errno, error, path, "cannot be opened");

    char text[KEY_FILE_MAX + 1];
    size_t size = 0;
    enum pbft_status status = check_file(fd, path, error);
    while (status == PBFT_STATUS_OK && size < KEY_FILE_MAX) {
        ssize_t n = read(fd, text + size, KEY_FILE_MAX - size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = fail_errno(errno, error, path, "cannot be read");
        if (n <= 0) break;
        size += (size_t)n;
    }
    (void)close(fd);
    if (status == PBFT_STATUS_OK) {
        text[size] = '\0';
        status = memchr(text, '\0', size) != NULL
                     ? fail(PBFT_STATUS_CORRUPT, error, path, "is damaged")
                     : parse(out, text, path, error);
    }
    sodium_memzero(text, sizeof(text));
    return status;
}
