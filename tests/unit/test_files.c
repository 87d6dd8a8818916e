#include "crypto/files.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Test(files, what_the_system_says)
{
    static const struct {
        int error;
        enum pbft_status status;
    } rows[] = {{ENOENT, PBFT_STATUS_NOT_FOUND}, {ENOTDIR, PBFT_STATUS_NOT_FOUND},
                {EEXIST, PBFT_STATUS_EXISTS},    {EACCES, PBFT_STATUS_PERMISSION},
                {EROFS, PBFT_STATUS_PERMISSION}, {ELOOP, PBFT_STATUS_PERMISSION},
                {ENOSPC, PBFT_STATUS_FULL},      {EDQUOT, PBFT_STATUS_FULL},
                {ENOMEM, PBFT_STATUS_MEMORY},    {ENAMETOOLONG, PBFT_STATUS_ARGUMENT},
                {EIO, PBFT_STATUS_IO},           {0, PBFT_STATUS_IO}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_expect_eq(pbft_file_status(rows[i].error), rows[i].status, "%s",
                     strerror(rows[i].error));
}

/* A pipe takes a part at a time. */
Test(files, all_of_it_is_written)
{
    static uint8_t sent[1u << 20], got[sizeof sent];
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (uint8_t)(i * 2654435761u >> 13);
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        enum pbft_status status = pbft_file_write(ends[1], sent, sizeof sent);
        _exit(status == PBFT_STATUS_OK ? 0 : 1);
    }
    close(ends[1]);
    size_t have = 0;
    for (ssize_t n = 1; n > 0; have += (size_t)n) {
        n = read(ends[0], got + have, sizeof got - have < 777 ? sizeof got - have : 777);
        cr_assert_geq(n, 0);
    }
    cr_assert_eq(have, sizeof sent);
    cr_assert_eq(memcmp(sent, got, sizeof sent), 0);
    close(ends[0]);
}

Test(files, no_room_is_said)
{
    int full = open("/dev/full", O_WRONLY);
    cr_assert_geq(full, 0);
    cr_assert_eq(pbft_file_write(full, "x", 1), PBFT_STATUS_FULL);
    cr_assert_eq(errno, ENOSPC);
    cr_assert_eq(pbft_file_write(full, "", 0), PBFT_STATUS_OK);
    close(full);
    cr_assert_eq(pbft_file_write(-1, "x", 1), PBFT_STATUS_IO);
}

/* Which folder is synced shows in what is said of one that is not there. */
Test(files, the_folder_of_a_path)
{
    char dir[] = "/tmp/pbft-files-XXXXXX";
    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(chdir(dir), 0);
    cr_assert_eq(mkdir("a", 0700), 0);
    cr_expect_eq(pbft_folder_sync("a"), PBFT_STATUS_OK);
    cr_expect_eq(pbft_folder_sync("b"), PBFT_STATUS_NOT_FOUND);
    cr_expect_eq(pbft_folder_sync_of("b"), PBFT_STATUS_OK);
    cr_expect_eq(pbft_folder_sync_of("a/b"), PBFT_STATUS_OK);
    cr_expect_eq(pbft_folder_sync_of("a/b//"), PBFT_STATUS_OK);
    cr_expect_eq(pbft_folder_sync_of("b/c"), PBFT_STATUS_NOT_FOUND);
    cr_expect_eq(pbft_folder_sync_of("a/b/c"), PBFT_STATUS_NOT_FOUND);
    cr_expect_eq(pbft_folder_sync_of("/"), PBFT_STATUS_OK);
    cr_expect_eq(pbft_folder_sync_of("/b"), PBFT_STATUS_OK);
    cr_assert_eq(rmdir("a"), 0);
    cr_assert_eq(chdir("/"), 0);
    cr_assert_eq(rmdir(dir), 0);
}
