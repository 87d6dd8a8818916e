#include "crypto/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum pbft_status pbft_file_write(int fd, const void *bytes, size_t size)
{
    for (const uint8_t *at = bytes; size > 0;) {
        ssize_t n = write(fd, at, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return pbft_file_status(n == 0 ? ENOSPC : errno);
        at += n;
        size -= (size_t)n;
    }
    return PBFT_STATUS_OK;
}

enum pbft_status pbft_folder_sync(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return pbft_file_status(errno);
    enum pbft_status status = fsync(fd) == 0 ? PBFT_STATUS_OK : pbft_file_status(errno);
    close(fd);
    return status;
}

enum pbft_status pbft_folder_sync_of(const char *path)
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--;
    while (size > 0 && path[size - 1] != '/')
        size--;
    char *folder = size == 0 ? strdup(".") : strndup(path, size);
    if (folder == NULL) return PBFT_STATUS_MEMORY;
    enum pbft_status status = pbft_folder_sync(folder);
    free(folder);
    return status;
}
