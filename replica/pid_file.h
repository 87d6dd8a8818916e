/* replica/pid_file.h - a file that names a process: pbftd's own, and those of `pbftctl up`. */
#ifndef PBFT_REPLICA_PID_FILE_H
#define PBFT_REPLICA_PID_FILE_H

#include <sys/types.h>

/**
 * Write `pid` and a line end over whatever is there.
 *
 * Returns 0, or errno (ENOSPC also where only a part was written): then there is no such file,
 * unless it could not be opened.
 */
int pbft_pid_file_write(const char *path, pid_t pid);

#endif
