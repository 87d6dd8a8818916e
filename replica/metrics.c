/* Prometheus text. One function for each group; every family has its HELP and TYPE. */
#include "replica/metrics.h"

#include "replica/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void family(struct pbft_text *t, const char *name, const char *type, const char *help)
{
    pbft_text_put(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(struct pbft_text *t, const char *name, uint64_t value, const char *help)
{
    family(t, name, "gauge", help);
    pbft_text_put(t, "%s %" PRIu64 "\n", name, value);
}

static void counter(struct pbft_text *t, const char *name, uint64_t value, const char *help)
{
    family(t, name, "counter", help);
    pbft_text_put(t, "%s %" PRIu64 "\n", name, value);
}

static void seconds(struct pbft_text *t, const char *name, const char *type, uint64_t ns,
                    const char *help)
{
    family(t, name, type, help);
    pbft_text_put(t, "%s %" PRIu64 ".%09" PRIu64 "\n", name, ns / 1000000000u, ns % 1000000000u);
}

/* ---- groups ---- */

static void put_identity(struct pbft_text *t, const struct pbft_metrics *m)
{
    family(t, "pbft_build_info", "gauge", "The build and what it serves; always 1.");
    pbft_text_put(t, "pbft_build_info{version=\"%s\",service=\"%s\",durability=\"%s\"} 1\n",
                  PBFT_VERSION, m->service, m->durability);
    gauge(t, "pbft_replica_id", m->id, "Id of this replica.");
    gauge(t, "pbft_replicas", m->n, "Replicas in the cluster.");
    gauge(t, "pbft_starts", m->starts, "Starts of this data directory, this one included.");
    gauge(t, "pbft_ready", m->ready, "1 while /readyz answers 200.");
    gauge(t, "pbft_mute", m->node.core.mute,
          "1 if this replica lost its memory and may not vote (amnesia).");
    gauge(t, "pbft_storage_failed", m->node.storage_failed, "1 once the vote log has failed.");
}

static void put_agreement(struct pbft_text *t, const struct pbft_metrics *m)
{
    const struct pbft_core_info *c = &m->node.core;
    gauge(t, "pbft_view", c->view, "View number.");
    gauge(t, "pbft_view_active", c->view_active, "1 in a view, 0 during a view change.");
    gauge(t, "pbft_primary", c->primary, "Replica that is the primary of the view.");
    counter(t, "pbft_view_changes_total", c->view_changes, "VIEW-CHANGEs sent.");
    counter(t, "pbft_new_views_total", c->new_views, "Views installed.");
    seconds(t, "pbft_view_timeout_seconds", "gauge", c->view_timeout_ns,
            "Current view time-out, with back-off.");
    gauge(t, "pbft_proposed_seq", c->proposed, "Highest sequence number with a proposal.");
    gauge(t, "pbft_committed_seq", c->committed, "Last sequence number handed to execution.");
    gauge(t, "pbft_executed_seq", c->executed, "Last sequence number executed.");
    gauge(t, "pbft_stable_seq", c->stable, "Last stable checkpoint.");
    gauge(t, "pbft_pending_requests", c->pending, "Requests that wait for execution.");
    counter(t, "pbft_retransmissions_total", c->retransmissions,
            "Messages sent again because of a STATUS.");
    gauge(t, "pbft_transferring", c->transferring, "1 during a state transfer.");
    gauge(t, "pbft_transfer_pages_have", m->node.transfer_pages_have,
          "Pages of the running transfer that are here.");
    gauge(t, "pbft_transfer_pages_known", m->node.transfer_pages_known,
          "Pages of the running transfer known so far.");
    gauge(t, "pbft_transfer_entries_have", m->node.transfer_entries_have,
          "Entries of the running transfer that are here.");
    gauge(t, "pbft_transfer_entries", m->node.transfer_entries,
          "Entries of the state that it fetches.");
    counter(t, "pbft_transfers_total", m->node.transfers,
            "State transfers begun, towards a target that moved on too.");
    counter(t, "pbft_transfer_pages_fetched_total", m->node.pages_fetched,
            "Pages that came from others and were wanted.");
    counter(t, "pbft_transfer_fetched_bytes_total", m->node.pages_fetched_bytes, "Their bytes.");
    counter(t, "pbft_transfer_pages_served_total", m->node.pages_served, "Pages sent to others.");
    counter(t, "pbft_transfer_served_bytes_total", m->node.pages_served_bytes, "Their bytes.");
    counter(t, "pbft_divergences_total", m->node.divergences,
            "Checkpoints at which the own state was not the certified one.");
    gauge(t, "pbft_diverged", m->node.diverged != 0,
          "1 while such a state is being replaced by the certified one.");
    gauge(t, "pbft_evidence_items", m->node.evidence_count, "Items of verified evidence held.");
    family(t, "pbft_replica_accused", "gauge",
           "1 if verified evidence against the replica is held.");
    for (pbft_id i = 0; i < m->n; i++)
        pbft_text_put(t, "pbft_replica_accused{replica=\"%u\"} %d\n", (unsigned)i,
                      pbft_signers_has(m->node.evidence_against, i));
}

static void put_execution(struct pbft_text *t, const struct pbft_metrics *m)
{
    const struct pbft_node_info *i = &m->node;
    counter(t, "pbft_batches_executed_total", i->batches_executed, "Batches executed.");
    counter(t, "pbft_batches_rehashed_total", i->batches_rehashed,
            "Batches whose requests were hashed anew for their execution.");
    counter(t, "pbft_requests_executed_total", i->requests_executed, "Requests executed.");
    static const char *const stages[PBFT_STAGES] = {"wait", "prepare", "commit", "execute"};
    family(t, "pbft_request_stage_seconds_total", "counter",
           "Time that requests spent here before they were executed, by stage.");
    for (unsigned s = 0; s < PBFT_STAGES; s++)
        pbft_text_put(t,
                      "pbft_request_stage_seconds_total{stage=\"%s\"} %" PRIu64 ".%09" PRIu64 "\n",
                      stages[s], i->stage_ns[s] / 1000000000u, i->stage_ns[s] % 1000000000u);
    counter(t, "pbft_requests_timed_total", i->requests_timed, "Requests of which that was told.");
    counter(t, "pbft_ops_executed_total", i->ops_executed, "Operations executed.");
    counter(t, "pbft_queries_answered_total", i->queries_answered, "Fast reads answered.");
    counter(t, "pbft_queries_held_total", i->queries_held,
            "Fast reads that had to wait for a revision.");
    counter(t, "pbft_replies_sent_total", i->replies_sent, "REPLYs sent.");
    counter(t, "pbft_busy_sent_total", i->busy_sent, "BUSY answers sent.");
    gauge(t, "pbft_state_bytes", i->state_bytes, "Memory held by the replicated state.");
}

static void put_messages(struct pbft_text *t, const struct pbft_metrics *m)
{
    const struct pbft_door_stats *d = &m->node.door;
    counter(t, "pbft_frames_received_total", m->frames, "Frames handed to the node.");
    counter(t, "pbft_messages_passed_total", d->passed, "Messages that passed the door.");
    counter(t, "pbft_signatures_verified_total", d->verified, "Signatures verified.");
    counter(t, "pbft_signature_cache_hits_total", d->cache_hits,
            "Signatures found verified before.");
    family(t, "pbft_dropped_total", "counter", "Messages dropped, by verdict.");
    for (unsigned v = 0; v < PBFT_VERDICT_COUNT; v++)
        if (v != PBFT_OK)
            pbft_text_put(t, "pbft_dropped_total{verdict=\"%s\"} %" PRIu64 "\n",
                          pbft_verdict_text((enum pbft_verdict)v), d->dropped[v]);
    counter(t, "pbft_misbehaviour_disconnects_total", m->misbehaviour_closed,
            "Connections closed because of what came over them.");
    gauge(t, "pbft_outbox_bytes", m->node.outbox_bytes, "Frames that wait for the vote log.");
    counter(t, "pbft_outbox_dropped_total", m->node.outbox_dropped,
            "Frames dropped because the outbox was full.");
}

static void put_storage(struct pbft_text *t, const struct pbft_metrics *m)
{
    gauge(t, "pbft_log_records", m->log.records, "Records in the vote log.");
    gauge(t, "pbft_log_bytes", m->log.bytes, "Bytes in the vote log.");
    gauge(t, "pbft_log_limit_bytes", m->log.bytes_max, "Cap of the vote log.");
    counter(t, "pbft_log_commits_total", m->log.commits, "Group commits of the vote log.");
    gauge(t, "pbft_flushed_seq", m->node.flushed, "Newest checkpoint on disk; 0: genesis.");
    gauge(t, "pbft_disk_full", m->node.disk_full, "1 while the disk has no room.");
    gauge(t, "pbft_pages", m->pages.pages, "State pages on disk.");
    gauge(t, "pbft_pages_bytes", m->pages.bytes, "Size of the checkpoint store on disk.");
    counter(t, "pbft_pages_written_bytes_total", m->pages.written_bytes,
            "Bytes of state pages written to disk.");
    const struct {
        const char *name;
        const struct pbft_pool_stats *stats;
    } pools[] = {{"replicas", &m->pool}, {"clients", &m->client_pool}};
    const size_t count = sizeof pools / sizeof pools[0];
    family(t, "pbft_frame_pool_frames", "gauge", "Frames alive.");
    for (size_t i = 0; i < count; i++)
        pbft_text_put(t, "pbft_frame_pool_frames{pool=\"%s\"} %" PRIu64 "\n", pools[i].name,
                      pools[i].stats->live_frames);
    family(t, "pbft_frame_pool_bytes", "gauge", "Bytes of frames alive.");
    for (size_t i = 0; i < count; i++)
        pbft_text_put(t, "pbft_frame_pool_bytes{pool=\"%s\"} %" PRIu64 "\n", pools[i].name,
                      pools[i].stats->live_bytes);
    family(t, "pbft_frame_pool_peak_bytes", "gauge", "Most bytes of frames alive at once.");
    for (size_t i = 0; i < count; i++)
        pbft_text_put(t, "pbft_frame_pool_peak_bytes{pool=\"%s\"} %" PRIu64 "\n", pools[i].name,
                      pools[i].stats->peak_bytes);
    family(t, "pbft_frame_pool_refused_total", "counter",
           "Frames refused: the budget was used up.");
    for (size_t i = 0; i < count; i++)
        pbft_text_put(t, "pbft_frame_pool_refused_total{pool=\"%s\"} %" PRIu64 "\n", pools[i].name,
                      pools[i].stats->refused);
}

/* ---- network ---- */

/* PBFT_CHANNEL_SIGNATURE -> signature: the texts of these are sentences. */
static const char *const channel_names[] = {
#define X(name, text) #name,
    PBFT_CHANNEL_FAILURES(X)
#undef X
};

static void put_lower(struct pbft_text *t, const char *name)
{
    for (; *name != '\0'; name++)
        pbft_text_put(t, "%c", *name >= 'A' && *name <= 'Z' ? *name - 'A' + 'a' : *name);
}

static void put_handshakes(struct pbft_text *t, const struct pbft_net_stats *s)
{
    family(t, "pbft_net_handshake_failures_total", "counter", "Handshakes that failed, by reason.");
    for (unsigned i = 0; i < PBFT_CHANNEL_FAILURE_COUNT; i++) {
        if (i == PBFT_CHANNEL_NO_FAILURE) continue;
        pbft_text_put(t, "pbft_net_handshake_failures_total{reason=\"");
        put_lower(t, channel_names[i] + strlen("PBFT_CHANNEL_"));
        pbft_text_put(t, "\"} %" PRIu64 "\n", s->handshakes_failed[i]);
    }
    family(t, "pbft_net_refused_total", "counter", "Connections that never came to be, by reason.");
    for (unsigned i = 0; i < PBFT_NET_REFUSAL_COUNT; i++)
        pbft_text_put(t, "pbft_net_refused_total{reason=\"%s\"} %" PRIu64 "\n",
                      pbft_net_refusal_text((enum pbft_net_refusal)i), s->refused[i]);
}

static void put_network(struct pbft_text *t, const struct pbft_metrics *m)
{
    const struct pbft_net_stats *s = &m->net;
    counter(t, "pbft_net_received_bytes_total", s->bytes_in, "Bytes received.");
    counter(t, "pbft_net_sent_bytes_total", s->bytes_out, "Bytes sent.");
    counter(t, "pbft_net_received_frames_total", s->frames_in, "Frames received.");
    counter(t, "pbft_net_sent_frames_total", s->frames_out, "Frames sent.");
    counter(t, "pbft_net_received_records_total", s->records_in, "Sealed records received.");
    counter(t, "pbft_net_sent_records_total", s->records_out, "Sealed records sent.");
    family(t, "pbft_net_dropped_frames_total", "counter", "Outbound frames dropped, by reason.");
    pbft_text_put(t, "pbft_net_dropped_frames_total{reason=\"full\"} %" PRIu64 "\n",
                  s->dropped_full);
    pbft_text_put(t, "pbft_net_dropped_frames_total{reason=\"down\"} %" PRIu64 "\n",
                  s->dropped_down);
    counter(t, "pbft_net_connects_total", s->connected, "Handshakes completed.");
    counter(t, "pbft_net_reconnects_total", s->reconnected,
            "Replicas that connected again after a loss.");
    counter(t, "pbft_net_disconnects_total", s->disconnected, "Connections that ended.");
    counter(t, "pbft_net_dial_failures_total", s->dials_failed, "Dials that reached nobody.");
    counter(t, "pbft_net_accept_failures_total", s->accepts_failed, "Failed accepts.");
    counter(t, "pbft_net_pauses_total", s->paused, "Times that back pressure stopped reading.");
    put_handshakes(t, s);
    gauge(t, "pbft_net_replicas_connected", s->replicas_up, "Replicas connected.");
    gauge(t, "pbft_net_clients_connected", s->clients_up, "Client connections.");
    gauge(t, "pbft_net_handshakes_open", s->handshaking, "Handshakes under way.");
    family(t, "pbft_net_queue_bytes", "gauge", "Bytes queued in all connections.");
    pbft_text_put(t, "pbft_net_queue_bytes{direction=\"in\"} %" PRIu64 "\n", s->in_bytes);
    pbft_text_put(t, "pbft_net_queue_bytes{direction=\"out\"} %" PRIu64 "\n", s->out_bytes);
}

enum peer_field { PEER_CONNECTED, PEER_IN, PEER_OUT, PEER_DROPPED, PEER_CONNECTS };

static uint64_t peer_value(const struct pbft_net_peer_stats *p, enum peer_field field)
{
    switch (field) {
    case PEER_CONNECTED: return p->connection != 0;
    case PEER_IN: return p->in_bytes;
    case PEER_OUT: return p->out_bytes;
    case PEER_DROPPED: return p->dropped;
    case PEER_CONNECTS: return p->connects;
    }
    return 0;
}

static void put_peers(struct pbft_text *t, const struct pbft_metrics *m)
{
    static const struct {
        const char *name, *type, *help;
        enum peer_field field;
    } families[] = {
        {"pbft_net_peer_connected", "gauge", "1 if the replica is connected.", PEER_CONNECTED},
        {"pbft_net_peer_in_queue_bytes", "gauge", "Received from it and not handled yet.", PEER_IN},
        {"pbft_net_peer_out_queue_bytes", "gauge", "Queued for it.", PEER_OUT},
        {"pbft_net_peer_dropped_frames_total", "counter", "Frames for it that were dropped.",
         PEER_DROPPED},
        {"pbft_net_peer_connects_total", "counter", "Connections to it.", PEER_CONNECTS},
    };
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        family(t, families[f].name, families[f].type, families[f].help);
        for (pbft_id i = 0; i < m->n; i++)
            if (i != m->id)
                pbft_text_put(t, "%s{replica=\"%u\"} %" PRIu64 "\n", families[f].name, (unsigned)i,
                              peer_value(&m->peers[i], families[f].field));
    }
}

/* ---- this process ---- */

static void put_runtime(struct pbft_text *t, const struct pbft_metrics *m)
{
    static const char *const kinds[PBFT_JOB_KINDS] = {"apply", "hash", "sync", "flush"};
    counter(t, "pbft_core_wakeups_total", m->wakeups, "Rounds of the core thread.");
    family(t, "pbft_jobs_total", "counter", "Jobs done, by kind.");
    for (unsigned i = 0; i < PBFT_JOB_KINDS; i++)
        pbft_text_put(t, "pbft_jobs_total{kind=\"%s\"} %" PRIu64 "\n", kinds[i], m->jobs[i]);
    family(t, "pbft_job_seconds_total", "counter", "Time spent in jobs, by kind.");
    for (unsigned i = 0; i < PBFT_JOB_KINDS; i++)
        pbft_text_put(t, "pbft_job_seconds_total{kind=\"%s\"} %" PRIu64 ".%09" PRIu64 "\n",
                      kinds[i], m->jobs_ns[i] / 1000000000u, m->jobs_ns[i] % 1000000000u);
    counter(t, "pbft_log_lines_suppressed_total", m->log_suppressed,
            "Lines of the operator's log left out by their rate.");
}

static void put_process(struct pbft_text *t, const struct pbft_process_stats *p)
{
    gauge(t, "process_resident_memory_bytes", p->resident_bytes, "Resident memory.");
    gauge(t, "process_virtual_memory_bytes", p->virtual_bytes, "Virtual memory.");
    family(t, "process_cpu_seconds_total", "counter", "User and system time.");
    pbft_text_put(t, "process_cpu_seconds_total %.6f\n", p->cpu_seconds);
    family(t, "process_start_time_seconds", "gauge", "Start, since the epoch.");
    pbft_text_put(t, "process_start_time_seconds %.2f\n", p->start_seconds);
    gauge(t, "process_threads", p->threads, "Threads.");
    gauge(t, "process_open_fds", p->open_fds, "Open file descriptors.");
    gauge(t, "process_max_fds", p->max_fds, "Limit of open file descriptors.");
}

size_t pbft_metrics_render(const struct pbft_metrics *m, char *out, size_t capacity)
{
    struct pbft_text t = {out, capacity, 0};
    PBFT_ASSERT(m->n <= PBFT_REPLICAS_MAX);
    put_identity(&t, m);
    put_agreement(&t, m);
    put_execution(&t, m);
    put_messages(&t, m);
    put_storage(&t, m);
    put_network(&t, m);
    put_peers(&t, m);
    put_runtime(&t, m);
    put_process(&t, &m->process);
    pbft_text_put(&t, "%s", m->extra);
    return t.size;
}
