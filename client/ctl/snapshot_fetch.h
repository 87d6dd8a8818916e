/**
 * client/ctl/snapshot_fetch.h - a certified state out of a running cluster: the newest checkpoint
 * that verifies here, its pages from all replicas at once, each checked by its hash on arrival.
 *
 * A replica that lies is not asked again. When the checkpoint moves away meanwhile, the newest one
 * is followed and every page that is here already is kept, so that only changes are fetched.
 */
#ifndef PBFT_CLIENT_CTL_SNAPSHOT_FETCH_H
#define PBFT_CLIENT_CTL_SNAPSHOT_FETCH_H

#include "client/ctl/ctl.h"
#include "replica/backup.h"

/* What is waited for without a page or a newer checkpoint, if --timeout does not say. */
#define CTL_SNAPSHOT_PATIENCE_NS UINT64_C(15000000000)

/* Of the pages that are known of so far. Called often, from any of the fetch's threads, one at a
 * time. */
typedef void (*ctl_snapshot_progress)(void *context, uint64_t have, uint64_t known);

struct ctl_snapshot_request {
    struct pbft_client *client;
    bool one;     /* ask one replica only ... */
    pbft_id from; /* ... this one */
    uint64_t patience_ns;
    ctl_snapshot_progress progress; /* may be NULL */
    void *context;
};

struct ctl_snapshot_fetched {
    struct pbft_backup backup;   /* complete but for its counts */
    struct pbft_snapshot *state; /* the caller releases */
    uint64_t pages, moves;       /* fetched; times that a newer checkpoint was followed */
    pbft_signers liars;          /* brought a false certificate or page */
};

/**
 * Before a fetch: order reads until a checkpoint lies behind everything that was acknowledged
 * before (the kv service; for others a checkpoint is when it is). Returns its lowest number, which
 * the fetch may miss, for it may ask others; or 0: it could not be done, and what follows gets the
 * newest checkpoint that there is.
 */
uint64_t ctl_snapshot_fresh(const struct ctl_snapshot_request *request);

/* CTL_OK, or the exit code after saying why. */
int ctl_snapshot_fetch(const struct ctl_snapshot_request *request,
                       struct ctl_snapshot_fetched *out);

#endif
