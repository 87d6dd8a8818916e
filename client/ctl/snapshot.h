/**
 * client/ctl/snapshot.h - what `snapshot save`, `verify` and `restore` share.
 */
#ifndef PBFT_CLIENT_CTL_SNAPSHOT_H
#define PBFT_CLIENT_CTL_SNAPSHOT_H

#include "client/ctl/ctl.h"
#include "replica/backup.h"

/* A bar on standard error, if that is a terminal. */
struct ctl_bar {
    const char *what;
    bool shown;
    uint64_t drawn_ns;
};
void ctl_bar_draw(void *bar, uint64_t done, uint64_t of);
void ctl_bar_end(struct ctl_bar *bar);

/* Read and verify a file; says what is wrong. CTL_OK, CTL_REFUSED, CTL_USAGE (no such file),
 * CTL_NO. state: the caller releases; may be NULL. */
int ctl_snapshot_read(const char *path, const struct pbft_cluster *cluster,
                      struct pbft_backup *backup, struct pbft_snapshot **state);

/* "checkpoint 256, root 0123..., 17 pages, 4711 bytes", or the same as JSON. */
void ctl_snapshot_print(const struct ctl_options *options, const char *path, const char *verdict,
                        const struct pbft_backup *backup);

int ctl_snapshot_restore(const struct ctl_options *options, int argc, char **argv); /* _restore.c */

#endif
