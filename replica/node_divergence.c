/* A state of our own that is not what q replicas have certified (FAULTS 2.20, 4.24). The core stops
 * executing and has the certified one fetched. Here the wrong one is kept until then, as a
 * snapshot, and compared with the right one: what is left is a report that says where they differ.
 */
#include "replica/node_internal.h"

#include "crypto/keys.h"

#include <stdio.h>
#include <stdlib.h>

#define COMPARE_STEPS 8192u /* pages and entries of one slice: a few milliseconds */

bool node_is_diverged(const struct pbft_node *node)
{
    return node->divergence.seq != 0;
}

static void comparison_free(struct comparison *c)
{
    if (c == NULL) return;
    pbft_snapshot_release(c->ours);
    pbft_diff_free(c->diff);
    free(c->report);
    free(c);
}

/* Ours at that number, if it is still here; retained. */
static struct pbft_snapshot *own_state(const struct pbft_node *node, pbft_seq seq)
{
    for (size_t i = 0; i < node->snapshot_count; i++)
        if (node->snapshots[i].seq == seq) return pbft_snapshot_retain(node->snapshots[i].snapshot);
    if (node->hashed != NULL && node->hashed->seq == seq)
        return pbft_snapshot_retain(node->hashed->snapshot);
    return NULL;
}

static void keep_evidence(struct pbft_node *node, const struct pbft_effect *effect)
{
    pbft_seq seq = effect->transfer.diverged;
    struct comparison *c = node_alloc(sizeof *c);
    c->what = (struct pbft_divergence){.replica = node->id,
                                       .epoch = node->cluster->epoch,
                                       .cluster_id = node->cluster->id,
                                       .seq = seq,
                                       .own = effect->transfer.own,
                                       .certified = effect->transfer.certified,
                                       .agreed = effect->transfer.agreed,
                                       .wall_ns = node->wall_ns,
                                       .restart = node->resuming};
    c->ours = own_state(node, seq);
    c->sink = node->config.divergences;
    node->divergence.comparison = c;
}

void node_diverged(struct pbft_node *node, const struct pbft_effect *effect)
{
    struct divergence *d = &node->divergence;
    pbft_seq seq = effect->transfer.diverged;
    d->count++;
    d->seq = seq;
    d->agreed = effect->transfer.agreed;
    /* Else: of many, one after another, none is ever compared to its end. */
    if (d->comparison == NULL) keep_evidence(node, effect);

    char own[2 * PBFT_DIGEST_BYTES + 1], certified[2 * PBFT_DIGEST_BYTES + 1];
    pbft_hex_encode(effect->transfer.own.bytes, PBFT_DIGEST_BYTES, own);
    pbft_hex_encode(effect->transfer.certified.bytes, PBFT_DIGEST_BYTES, certified);
    node_log_line(
        node, "divergence",
        "seq=%llu own=%s certified=%s agreed=%llu after_restart=%s hint=\"the state of "
        "this replica is not the one that a quorum has certified: it executes and answers "
        "nothing until verified pages of that one have been fetched, then goes on by "
        "itself. Check its memory (ECC, dmesg), its disk, and that it runs the same "
        "binary as the others\"",
        (unsigned long long)seq, own, certified, (unsigned long long)effect->transfer.agreed,
        node->resuming ? "true" : "false");
}

/* ---- the certified state is here ---- */

/* All that there will be. */
static void report_done(struct pbft_node *node, const char *kept)
{
    struct comparison *c = node->divergence.comparison;
    char summary[PBFT_DIVERGENCE_SUMMARY_BYTES];
    pbft_divergence_summary(&c->what, c->diff == NULL ? NULL : pbft_diff_result(c->diff), summary);
    node_log_line(node, "divergence_repaired", "%s report=\"%s\"", summary, kept);
    node->divergence.comparison = NULL;
    comparison_free(c);
}

static void report_ready(struct pbft_node *node)
{
    struct comparison *c = node->divergence.comparison;
    if (c->sink.write == NULL)
        report_done(node, "none: durability is memory");
    else if (c->report == NULL)
        report_done(node, "none: out of memory");
    /* else the next report job takes it */
}

static void make_report(struct comparison *c)
{
    if (c->sink.write == NULL) return;
    c->report = pbft_divergence_json(&c->what, c->diff == NULL ? NULL : pbft_diff_result(c->diff),
                                     &c->report_size);
}

/* The one before was still compared when this one was noticed. */
static void not_compared(struct pbft_node *node, pbft_seq diverged, pbft_seq installed)
{
    struct pbft_divergence what = {.seq = diverged,
                                   .agreed = node->divergence.agreed,
                                   .installed = installed};
    char summary[PBFT_DIVERGENCE_SUMMARY_BYTES];
    pbft_divergence_summary(&what, NULL, summary);
    node_log_line(node, "divergence_repaired", "%s report=\"none: one before was under way\"",
                  summary);
}

/* What the wrong state said. */
static void forget_said(struct pbft_node *node)
{
    for (size_t i = 0; i < ROOTS_KEPT; i++)
        if (node->roots[i].seq > node->divergence.agreed) node->roots[i].seq = 0;
    node->change = (struct pbft_epoch_change){.epoch = 0};
    node_epoch_look(node);
}

void node_divergence_installed(struct pbft_node *node, pbft_seq seq, struct pbft_snapshot *snapshot)
{
    struct divergence *d = &node->divergence;
    pbft_seq diverged = d->seq;
    if (diverged == 0) return;
    d->seq = 0;
    forget_said(node);
    struct comparison *c = d->comparison;
    if (c == NULL || c->what.installed != 0) {
        not_compared(node, diverged, seq);
        return;
    }
    PBFT_ASSERT(!c->out && c->diff == NULL);
    c->what.installed = seq;
    if (c->ours != NULL && snapshot != NULL)
        c->diff = pbft_diff_new(c->ours, snapshot, c->what.seq);
    pbft_snapshot_release(c->ours); /* the comparison has its own reference */
    c->ours = NULL;
    if (c->diff != NULL) return; /* node_compare_job() goes on */
    make_report(c);
    report_ready(node);
}

void node_divergence_left(struct pbft_node *node)
{
    if (node->divergence.seq == 0) return;
    node_log_line(node, "divergence_left",
                  "seq=%llu hint=\"the epoch ended before the states were compared: the next one "
                  "begins with the certified state, and there is no report\"",
                  (unsigned long long)node->divergence.seq);
}

/* ---- jobs ---- */

struct pbft_job *node_compare_job(struct pbft_node *node)
{
    struct comparison *c = node->divergence.comparison;
    if (c == NULL || c->out || c->diff == NULL || c->compared) return NULL;
    struct pbft_job *job = node_alloc(sizeof *job);
    job->kind = PBFT_JOB_HASH;
    job->comparison = c;
    c->out = true;
    return job;
}

void node_compare_run(struct pbft_job *job)
{
    struct comparison *c = job->comparison;
    c->compared = pbft_diff_step(c->diff, COMPARE_STEPS);
    if (c->compared) make_report(c);
}

void node_compare_done(struct pbft_node *node, struct pbft_job *job)
{
    job->comparison->out = false;
    if (job->comparison->compared) report_ready(node);
}

struct pbft_job *node_report_job(struct pbft_node *node)
{
    struct comparison *c = node->divergence.comparison;
    if (c == NULL || c->out || c->report == NULL) return NULL;
    struct pbft_job *job = node_alloc(sizeof *job);
    job->kind = PBFT_JOB_FLUSH;
    job->comparison = c;
    c->out = true;
    return job;
}

void node_report_run(struct pbft_job *job)
{
    const struct comparison *c = job->comparison;
    job->status = c->sink.write(c->sink.context, c->what.seq, c->report, c->report_size);
}

void node_report_done(struct pbft_node *node, struct pbft_job *job)
{
    pbft_seq seq = job->comparison->what.seq;
    job->comparison->out = false;
    char kept[80];
    if (job->status == PBFT_STATUS_OK)
        (void)snprintf(kept, sizeof kept, "divergence-%llu.json", (unsigned long long)seq);
    else
        (void)snprintf(kept, sizeof kept, "not written: %s", pbft_status_text(job->status));
    report_done(node, kept);
}

void node_divergence_free(struct pbft_node *node)
{
    comparison_free(node->divergence.comparison); /* no job is out */
}
