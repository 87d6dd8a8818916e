/* What the endpoints show: numbers and JSON copied by the core thread, looked at by nng's. */
#include "replica/runtime_internal.h"

#include "replica/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static pbft_signers connected(const struct pbft_metrics *m)
{
    pbft_signers set = 0;
    for (pbft_id i = 0; i < m->n; i++)
        if (i != m->id && m->peers[i].connection != 0) set |= pbft_signers_of(i);
    return set;
}

/* The node's object, and what only the runtime knows. */
static void make_status(struct pbft_runtime *r, const struct pbft_metrics *m, const char *unready,
                        uint64_t now_ns, char out[STATUS_BYTES])
{
    size_t size = pbft_node_status_json(r->node, out, STATUS_BYTES);
    PBFT_ASSERT(size > 0 && size < STATUS_BYTES && out[size - 1] == '}');
    struct pbft_text t = {out, STATUS_BYTES, size - 1};
    pbft_text_put(&t, ",\"version\":\"%s\",\"service\":\"%s\",\"starts\":%" PRIu64, PBFT_VERSION,
                  m->service, m->starts);
    pbft_text_put(&t, ",\"ready\":%s,\"unready\":\"%s\",\"uptime_ms\":%" PRIu64,
                  m->ready ? "true" : "false", unready, (now_ns - r->started_ns) / MILLISECOND_NS);
    pbft_text_put(&t, ",\"requests_executed\":%" PRIu64 ",\"ops_executed\":%" PRIu64,
                  m->node.requests_executed, m->node.ops_executed);
    pbft_text_put(&t, ",\"batches_executed\":%" PRIu64 ",\"queries_answered\":%" PRIu64,
                  m->node.batches_executed, m->node.queries_answered);
    pbft_text_put(&t, ",\"state_bytes\":%" PRIu64 ",\"evidence\":%" PRIu64 ",\"clients\":%u",
                  m->node.state_bytes, m->node.evidence_count, (unsigned)m->net.clients_up);
    pbft_text_put(&t, ",\"connected\":");
    pbft_text_put_ids(&t, connected(m));
    pbft_text_put(&t, "}");
    PBFT_ASSERT(t.size < STATUS_BYTES);
}

static void gather(struct pbft_runtime *r, struct pbft_metrics *m)
{
    memset(m, 0, sizeof *m);
    m->id = r->id;
    m->n = r->cluster->params.n;
    (void)snprintf(m->service, sizeof m->service, "%s", r->cluster->service);
    m->durability = pbft_log_name(r->data.log);
    m->starts = r->starts;
    pbft_node_info(r->node, &m->node);
    pbft_log_stats(r->data.log, &m->log);
    if (r->data.pages != NULL) pbft_pages_stats(r->data.pages, &m->pages);
    pbft_net_stats(r->net, &m->net);
    for (pbft_id i = 0; i < m->n; i++)
        (void)pbft_net_peer(r->net, i, &m->peers[i]);
    memcpy(m->jobs, r->jobs.count, sizeof m->jobs);
    memcpy(m->jobs_ns, r->jobs.ns, sizeof m->jobs_ns);
    m->wakeups = r->wakeups;
    m->frames = r->frames;
    m->misbehaviour_closed = r->misbehaviour_closed;
    const struct pbft_replica_extension *x = r->config.extension;
    if (x == NULL || x->metrics == NULL) return;
    if (x->metrics(x->context, m->extra, sizeof m->extra) >= sizeof m->extra)
        m->extra[0] = '\0'; /* half a line would spoil all */
}

void publish(struct pbft_runtime *r, uint64_t now_ns)
{
    struct pbft_metrics m;
    char status[STATUS_BYTES], unready[PBFT_UNREADY_BYTES];
    gather(r, &m);
    struct pbft_ready_question question = {&m.node, &r->cluster->params, r->id, m.net.replicas_up,
                                           r->stopping};
    pbft_unready(&question, unready);
    m.ready = unready[0] == '\0';
    make_status(r, &m, unready, now_ns, status);
    struct published *p = &r->published;
    pthread_mutex_lock(&p->mutex);
    p->metrics = m;
    memcpy(p->status, status, sizeof status);
    memcpy(p->unready, unready, sizeof unready);
    p->at_ns = now_ns;
    pthread_mutex_unlock(&p->mutex);
    r->dirty = false;
}
