/**
 * replica/divergence.h - what a replica keeps when its own state at a checkpoint was not the
 * certified one (FAULTS 4.24): a report for people, as JSON, in the data directory.
 *
 * It says what differed and what follows from that, not who is to blame: q replicas have certified
 * the other state, and this one has been given up by the time that the report is written.
 */
#ifndef PBFT_REPLICA_DIVERGENCE_H
#define PBFT_REPLICA_DIVERGENCE_H

#include "store/diff.h"
#include "store/disk.h"

#define PBFT_DIVERGENCES_KEPT         8u /* files; the oldest goes */
#define PBFT_DIVERGENCE_SUMMARY_BYTES 512u

struct pbft_divergence {
    pbft_id replica;
    pbft_epoch epoch;
    struct pbft_digest cluster_id;
    pbft_seq seq;                      /* the checkpoint */
    struct pbft_digest own, certified; /* as CHECKPOINTs have them there */
    pbft_seq agreed;                   /* the last one at which they were equal */
    uint64_t wall_ns;                  /* when it was noticed */
    bool restart;                      /* ... after the log had been executed again */
    pbft_seq installed;                /* what our state was compared with: seq, or a later one */
};

/* Where a report goes: on a thread that may block, one call at a time. */
struct pbft_divergence_sink {
    void *context;
    enum pbft_status (*write)(void *context, pbft_seq seq, const char *json, size_t size);
};

/**
 * The report, malloc'ed; the caller frees. NULL: out of memory.
 *
 * diff  of our state and of the certified one; NULL: ours had not been kept
 */
char *pbft_divergence_json(const struct pbft_divergence *d, const struct pbft_diff_result *diff,
                           size_t *size);

/* The same in a few words, as pairs of a log line. */
void pbft_divergence_summary(const struct pbft_divergence *d, const struct pbft_diff_result *diff,
                             char out[PBFT_DIVERGENCE_SUMMARY_BYTES]);

/**
 * Write it as divergence-SEQ.json: under another name, synced, renamed, the folder synced. Then
 * remove the oldest (of the lowest sequence numbers) beyond PBFT_DIVERGENCES_KEPT; the new one
 * stays. One of the same number is replaced.
 * Returns PBFT_STATUS_OK, _FULL, _PERMISSION, _IO, _MEMORY; then the earlier ones are as they were.
 */
enum pbft_status pbft_divergence_save(struct pbft_disk *disk, pbft_seq seq, const char *json,
                                      size_t size) PBFT_MUST_USE;

#endif
