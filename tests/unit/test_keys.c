/* Keys, key files, hex, and the self-test. */
#include "crypto/keys.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[64];

static void keys_begin(void)
{
    cr_assert_eq(pbft_crypto_init(), PBFT_STATUS_OK);
    (void)snprintf(directory, sizeof(directory), "/tmp/pbft-keys-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
}

static void keys_end(void)
{
    static const char *const names[] = {"key", "link", "other", "fifo"};
    char path[128];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(directory);
}

static const char *in_directory(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    return path;
}

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    cr_assert_eq(close(fd), 0);
}

static size_t read_text(const char *path, char *text, size_t capacity)
{
    int fd = open(path, O_RDONLY);
    cr_assert_geq(fd, 0);
    ssize_t n = read(fd, text, capacity - 1);
    cr_assert_geq(n, 0);
    text[n] = '\0';
    cr_assert_eq(close(fd), 0);
    return (size_t)n;
}

TestSuite(keys, .init = keys_begin, .fini = keys_end, .timeout = 30);

Test(keys, self_test_passes_and_repeats)
{
    uint64_t bits = pbft_crypto_verdicts();
    cr_assert_eq(pbft_crypto_init(), PBFT_STATUS_OK);
    cr_assert_eq(pbft_crypto_verdicts(), bits);
    cr_assert_eq(bits & 1u, 1u, "an ordinary signature is accepted");
    cr_assert_eq((bits >> 16) & 1u, 0u, "a changed one is not");
    /* S + L must be refused whatever the library: one signature, one byte string. */
    cr_assert_eq((bits >> 10) & 3u, 0u);
    /* The library of Debian 12: strict, without the cofactor; accepts a key of mixed order when
     * the plain equation holds (such keys never pass pbft_public_key_valid). */
    if (strcmp(sodium_version_string(), "1.0.18") == 0)
        cr_assert_eq(bits, UINT64_C(0x121), "%llx", (unsigned long long)bits);
}

Test(keys, sign_and_verify)
{
    struct pbft_keypair a;
    struct pbft_keypair b;
    cr_assert_eq(pbft_keypair_generate(&a), PBFT_STATUS_OK);
    cr_assert_eq(pbft_keypair_generate(&b), PBFT_STATUS_OK);
    cr_assert(pbft_public_key_valid(&a.public));
    cr_assert_not(pbft_public_key_equal(&a.public, &b.public));

    uint8_t message[100] = {1, 2, 3};
    uint8_t signature[PBFT_SIGNATURE_BYTES];
    struct pbft_span span = {message, sizeof(message)};
    pbft_sign(&a.secret, span, signature);
    cr_assert(pbft_verify(&a.public, span, signature));
    cr_assert_not(pbft_verify(&b.public, span, signature));
    for (unsigned bit = 0; bit < 8 * sizeof(signature); bit++) {
        signature[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        cr_assert_not(pbft_verify(&a.public, span, signature), "bit %u", bit);
        signature[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    message[99] ^= 1;
    cr_assert_not(pbft_verify(&a.public, span, signature));
    pbft_keypair_wipe(&a);
    for (size_t i = 0; i < sizeof(a.secret.bytes); i++)
        cr_assert_eq(a.secret.bytes[i], 0);
}

Test(keys, weak_public_keys_are_invalid)
{
    static const char *const weak[] = {
        "0100000000000000000000000000000000000000000000000000000000000000", /* identity */
        "0000000000000000000000000000000000000000000000000000000000000000", /* order 4 */
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* order 2 */
        "0100000000000000000000000000000000000000000000000000000000000080", /* sign of zero */
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* y = p + 1 */
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "0200000000000000000000000000000000000000000000000000000000000000", /* not on the curve */
    };
    for (size_t i = 0; i < sizeof(weak) / sizeof(weak[0]); i++) {
        struct pbft_public_key key;
        cr_assert(pbft_hex_decode(weak[i], key.bytes, sizeof(key.bytes)));
        cr_assert_not(pbft_public_key_valid(&key), "%s", weak[i]);
    }
}

Test(keys, hex_is_exact)
{
    uint8_t bytes[4];
    char text[9];
    cr_assert(pbft_hex_decode("00ff7f80", bytes, 4));
    pbft_hex_encode(bytes, 4, text);
    cr_assert_str_eq(text, "00ff7f80");
    static const char *const wrong[] = {"",         "00ff7f8",  "00ff7f800", "00FF7f80",
                                        "00ff7f8g", " 0ff7f80", "00ff7f80 ", "0x00ff7f"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        cr_assert_not(pbft_hex_decode(wrong[i], bytes, 4), "'%s'", wrong[i]);
    cr_assert(pbft_hex_decode("", bytes, 0));
}

Test(keys, fingerprint_tells_keys_apart)
{
    struct pbft_keypair pair;
    uint8_t seed[32] = {7};
    char one[17];
    char two[17];
    pbft_keypair_from_seed(&pair, seed);
    pbft_public_key_fingerprint(&pair.public, one);
    pbft_public_key_fingerprint(&pair.public, two);
    cr_assert_str_eq(one, two);
    cr_assert_eq(strlen(one), 16);
    pair.public.bytes[0] ^= 1;
    pbft_public_key_fingerprint(&pair.public, two);
    cr_assert_str_neq(one, two);
}

Test(keys, file_round_trip)
{
    struct pbft_keypair saved;
    struct pbft_keypair loaded;
    char error[256] = "";
    (void)umask(0777); /* the mode does not depend on it */
    cr_assert_eq(pbft_keypair_generate(&saved), PBFT_STATUS_OK);
    cr_assert_eq(pbft_keypair_save(&saved, in_directory("key"), error), PBFT_STATUS_OK, "%s",
                 error);
    (void)umask(022);
    struct stat info;
    cr_assert_eq(stat(in_directory("key"), &info), 0);
    cr_assert_eq(info.st_mode & 07777, 0600);
    cr_assert_eq(pbft_keypair_load(&loaded, in_directory("key"), error), PBFT_STATUS_OK, "%s",
                 error);
    cr_assert_arr_eq(&saved, &loaded, sizeof(saved));

    cr_assert_eq(pbft_keypair_save(&saved, in_directory("key"), error), PBFT_STATUS_EXISTS);
    cr_assert_not_null(strstr(error, "never overwritten"));
    cr_assert_eq(pbft_keypair_load(&loaded, in_directory("other"), error), PBFT_STATUS_NOT_FOUND);
    cr_assert_eq(pbft_keypair_save(&saved, in_directory("no/such"), error), PBFT_STATUS_NOT_FOUND);
}

Test(keys, open_modes_are_refused)
{
    struct pbft_keypair pair;
    char error[256];
    static const mode_t bad[] = {0640, 0620, 0610, 0604, 0602, 0601, 0660, 0644, 0700, 04600};
    cr_assert_eq(pbft_keypair_generate(&pair), PBFT_STATUS_OK);
    cr_assert_eq(pbft_keypair_save(&pair, in_directory("key"), error), PBFT_STATUS_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        cr_assert_eq(chmod(in_directory("key"), bad[i]), 0);
        cr_assert_eq(pbft_keypair_load(&pair, in_directory("key"), error), PBFT_STATUS_PERMISSION,
                     "mode %o", (unsigned)bad[i]);
    }
    cr_assert_eq(chmod(in_directory("key"), 0400), 0);
    cr_assert_eq(pbft_keypair_load(&pair, in_directory("key"), error), PBFT_STATUS_OK);
}

Test(keys, links_and_odd_files_are_refused)
{
    struct pbft_keypair pair;
    char error[256];
    char target[128];
    cr_assert_eq(pbft_keypair_generate(&pair), PBFT_STATUS_OK);
    cr_assert_eq(pbft_keypair_save(&pair, in_directory("key"), error), PBFT_STATUS_OK);
    (void)snprintf(target, sizeof(target), "%s", in_directory("key"));
    cr_assert_eq(symlink(target, in_directory("link")), 0);
    cr_assert_eq(pbft_keypair_load(&pair, in_directory("link"), error), PBFT_STATUS_PERMISSION);
    cr_assert_not_null(strstr(error, "symbolic link"));
    cr_assert_eq(pbft_keypair_save(&pair, in_directory("link"), error), PBFT_STATUS_EXISTS);
    cr_assert_eq(mkfifo(in_directory("fifo"), 0600), 0);
    cr_assert_eq(pbft_keypair_load(&pair, in_directory("fifo"), error), PBFT_STATUS_PERMISSION);
    cr_assert_eq(pbft_keypair_load(&pair, directory, error), PBFT_STATUS_PERMISSION);

    /* A dangling link does not make us create its target. */
    cr_assert_eq(unlink(in_directory("link")), 0);
    (void)snprintf(target, sizeof(target), "%s", in_directory("other"));
    cr_assert_eq(symlink(target, in_directory("link")), 0);
    cr_assert_eq(pbft_keypair_save(&pair, in_directory("link"), error), PBFT_STATUS_EXISTS);
    cr_assert_neq(access(in_directory("other"), F_OK), 0);
}

Test(keys, damaged_files_are_refused)
{
    struct pbft_keypair pair;
    char error[256];
    char text[2048];
    char changed[4096];
    cr_assert_eq(pbft_keypair_generate(&pair), PBFT_STATUS_OK);
    cr_assert_eq(pbft_keypair_save(&pair, in_directory("key"), error), PBFT_STATUS_OK);
    size_t size = read_text(in_directory("key"), text, sizeof(text));
    size_t comment = strcspn(text, "\n") + 1;
    for (size_t i = comment; i < size; i++) { /* any changed byte; any truncation */
        memcpy(changed, text, size + 1);
        changed[i] = (char)(changed[i] ^ 1);
        write_text(in_directory("other"), changed);
        cr_assert_eq(pbft_keypair_load(&pair, in_directory("other"), error), PBFT_STATUS_CORRUPT,
                     "byte %zu", i);
        memcpy(changed, text, i);
        changed[i] = '\0';
        write_text(in_directory("other"), changed);
        cr_assert_eq(pbft_keypair_load(&pair, in_directory("other"), error), PBFT_STATUS_CORRUPT,
                     "cut at %zu", i);
    }
    (void)snprintf(changed, sizeof(changed), "%sx", text);
    write_text(in_directory("other"), changed);
    cr_assert_eq(pbft_keypair_load(&pair, in_directory("other"), error), PBFT_STATUS_CORRUPT);
    memset(changed, '#', sizeof(changed) - 1);
    changed[sizeof(changed) - 1] = '\0';
    write_text(in_directory("other"), changed);
    cr_assert_eq(pbft_keypair_load(&pair, in_directory("other"), error), PBFT_STATUS_CORRUPT);
    (void)snprintf(changed, sizeof(changed), "# one more comment\n%s# and one\n", text);
    write_text(in_directory("other"), changed);
    cr_assert_eq(pbft_keypair_load(&pair, in_directory("other"), error), PBFT_STATUS_CORRUPT,
                 "nothing follows the secret");
}
