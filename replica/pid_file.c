#include "replica/pid_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int pbft_pid_file_write(const char *path, pid_t pid)
{
    char text[32];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return errno;
    int size = snprintf(text, sizeof text, "%ld\n", (long)pid);
    ssize_t written = write(fd, text, (size_t)size);
    int error = written < 0 ? errno : written < size ? ENOSPC : 0;
    if (close(fd) != 0 && error == 0) error = errno;
    if (error != 0) (void)unlink(path);
    return error;
}
