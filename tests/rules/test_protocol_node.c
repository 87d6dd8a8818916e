/* PROTOCOL 4, 22, 27-29, 32, 38 where they are kept: in replica/node, with a world of a few lines
 * around one node. Its peers and clients are this test. */
#include "replica/node.h"
#include "pbft/pending.h"
#include "tests/rules/harness.h"

#include <stdlib.h>
#include <string.h>

#define OUT_MAX 512u

struct lone {
    struct net *t; /* keys, crafting, frames; its replicas never run */
    struct pbft_node *node;
    struct pbft_log *log;
    struct pbft_time time;
    bool no_sync; /* SYNC jobs stay out */
    struct pbft_job *sync;
    struct {
        struct pbft_peer to;
        struct pbft_frame *frame;
    } out[OUT_MAX];
    size_t out_count;
    unsigned muted_lines;
};

static void echo(void *context, struct pbft_txn *txn, const struct pbft_call *call,
                 struct pbft_span op, struct pbft_result *result)
{
    (void)context;
    (void)call;
    pbft_txn_put(txn, (struct pbft_span){(const uint8_t *)"key", 3}, op);
    pbft_result_write(result, op.data, op.size);
}

static void look(void *context, struct pbft_view_txn *view, struct pbft_span op,
                 struct pbft_result *result, uint64_t *mark)
{
    (void)context;
    (void)op;
    struct pbft_span value;
    if (pbft_view_get(view, (struct pbft_span){(const uint8_t *)"key", 3}, &value, mark))
        pbft_result_write(result, value.data, value.size);
}

static const struct pbft_service echo_service = {.name = "rules", .execute = echo, .query = look};

/* The log belongs to the node, which polls it; what became durable it reads from the statistics. */
static void durable(void *context, enum pbft_status status, pbft_lsn lsn)
{
    (void)context;
    (void)status;
    (void)lsn;
}

static void lone_start(struct lone *l, bool mute)
{
    struct pbft_node_config config = {.cluster = &l->t->cluster,
                                      .id = 1,
                                      .keypair = &l->t->keys[1],
                                      .signer = &pbft_signer_fast,
                                      .service = &echo_service,
                                      .pool = &l->t->frames.pool,
                                      .log = l->log,
                                      .mute = mute,
                                      .outbox_max_bytes = 16u << 20};
    l->node = pbft_node_new(&config);
    cr_assert_not_null(l->node);
    l->time = (struct pbft_time){l->t->now_ns, net_wall(l->t, 1)};
}

static struct lone *lone_new(bool mute)
{
    struct lone *l = calloc(1, sizeof *l);
    cr_assert_not_null(l);
    struct pbft_params params = net_params(4);
    params.client_quota = 16; /* the bytes of one client are bounded, too: twice a batch */
    l->t = net_new_with(&params);
    cr_assert_eq(pbft_log_memory_create(&l->log, 64u << 20, durable, l), PBFT_STATUS_OK);
    lone_start(l, mute);
    return l;
}

static void drain(struct lone *l)
{
    struct pbft_output o;
    while (pbft_node_next(l->node, &o)) {
        if (o.kind == PBFT_OUTPUT_SEND) {
            cr_assert_lt(l->out_count, OUT_MAX);
            l->out[l->out_count].to = o.to;
            l->out[l->out_count++].frame = o.frame;
        } else if (o.kind == PBFT_OUTPUT_LOG) {
            l->muted_lines += strcmp(o.event, "muted") == 0;
        } else if (o.job_kind == PBFT_JOB_SYNC && l->no_sync) {
            l->sync = o.job;
        } else {
            pbft_job_run(o.job);
            pbft_node_job_done(l->node, l->time, o.job);
        }
    }
}

/* The commit that is under way ends. */
static void finish_sync(struct lone *l)
{
    cr_assert_not_null(l->sync, "nobody wanted a commit");
    struct pbft_job *job = l->sync;
    l->sync = NULL;
    pbft_job_run(job);
    pbft_node_job_done(l->node, l->time, job);
    drain(l);
}

static void forget(struct lone *l)
{
    for (size_t i = 0; i < l->out_count; i++)
        pbft_frame_release(l->out[i].frame);
    l->out_count = 0;
}

static void lone_free(struct lone *l)
{
    l->no_sync = false;
    if (l->sync != NULL) finish_sync(l);
    drain(l);
    forget(l);
    pbft_node_free(l->node);
    pbft_log_close(l->log);
    net_free(l->t);
    free(l);
}

static enum pbft_verdict from(struct lone *l, struct pbft_peer peer, struct pbft_frame *frame)
{
    enum pbft_verdict verdict = pbft_node_frame(l->node, l->time, &peer, frame);
    pbft_frame_release(frame);
    drain(l);
    return verdict;
}

static enum pbft_verdict from_replica(struct lone *l, pbft_id id, struct pbft_frame *frame)
{
    return from(l, (struct pbft_peer){PBFT_PEER_REPLICA, id, 1}, frame);
}

static enum pbft_verdict from_client(struct lone *l, uint32_t client, uint64_t connection,
                                     struct pbft_frame *frame)
{
    return from(l, (struct pbft_peer){PBFT_PEER_CLIENT, client, connection}, frame);
}

static void client_up(struct lone *l, uint32_t client, uint64_t connection)
{
    struct pbft_peer peer = {PBFT_PEER_CLIENT, client, connection};
    pbft_node_peer_up(l->node, l->time, &peer);
    drain(l);
}

static void pass(struct lone *l, uint64_t ms)
{
    uint64_t until = l->time.now_ns + ms * MS;
    while (pbft_node_deadline(l->node) <= until) {
        uint64_t due = pbft_node_deadline(l->node);
        if (due <= l->time.now_ns) due = l->time.now_ns + MS;
        if (due > until) break;
        l->time.wall_ns += due - l->time.now_ns;
        l->time.now_ns = due;
        pbft_node_tick(l->node, l->time);
        drain(l);
    }
    l->time.wall_ns += until - l->time.now_ns;
    l->time.now_ns = until;
}

static unsigned sent(const struct lone *l, uint8_t type)
{
    unsigned count = 0;
    for (size_t i = 0; i < l->out_count; i++)
        count += l->out[i].frame->bytes[0] == type;
    return count;
}

static struct pbft_frame *query_of(struct lone *l, uint64_t id, uint64_t floor, const char *op)
{
    struct pbft_msg m = {.type = PBFT_QUERY};
    m.query = (struct pbft_query){id, floor, 1, {(const uint8_t *)op, strlen(op)}};
    return net_frame_new(l->t, &m);
}

static struct pbft_frame *query(struct lone *l, uint64_t id, uint64_t floor)
{
    return query_of(l, id, floor, "?");
}

/* q others committed `op` of client 0 at seq. */
static enum pbft_verdict commit(struct lone *l, pbft_seq seq, uint64_t t, const char *op)
{
    struct net_batch b = net_batch(l->t, 0, 1, t, op);
    return from_replica(l, 2, net_commit_certificate(l->t, 0, seq, &b, 0x0d));
}

/* ---- PROTOCOL 4 ---- */

/* A client key may have several connections; replies follow the session's latest. */
Test(protocol, r4_replies_follow_the_sessions_latest_connection)
{
    struct lone *l = lone_new(false);
    for (uint64_t connection = 10; connection <= 12; connection++)
        client_up(l, 0, connection);
    from_client(l, 0, 10, net_request(l->t, 0, 1, 1, "op"));
    from_client(l, 0, 12, net_request(l->t, 0, 1, 1, "op"));
    from_client(l, 0, 11, net_request(l->t, 0, 2, 1, "another session"));
    cr_assert_eq(commit(l, 1, 1, "op"), PBFT_OK);
    cr_assert_eq(sent(l, PBFT_REPLY), 1u);
    for (size_t i = 0; i < l->out_count; i++)
        if (l->out[i].frame->bytes[0] == PBFT_REPLY) {
            cr_assert_eq(l->out[i].to.kind, PBFT_PEER_CLIENT);
            cr_assert_eq(l->out[i].to.connection, 12u);
        }
    lone_free(l);
}

/* ---- PROTOCOL 22 ---- */

/* Admission depends only on session window and quota; BUSY is said to who is beyond his own. */
Test(protocol, r22_busy_beyond_the_quota_and_room_for_everybody_else)
{
    struct lone *l = lone_new(false);
    uint32_t quota = l->t->params.client_quota;
    client_up(l, 0, 10);
    client_up(l, 1, 11);
    for (uint64_t t = 1; t <= quota; t++)
        cr_assert_eq(from_client(l, 0, 10, net_request(l->t, 0, 1, t, "op")), PBFT_OK);
    cr_assert_eq(sent(l, PBFT_BUSY), 0u);
    cr_assert_eq(from_client(l, 0, 10, net_request(l->t, 0, 1, quota + 1, "op")), PBFT_DROP_QUOTA);
    cr_assert_eq(sent(l, PBFT_BUSY), 1u);
    for (uint64_t t = 1; t <= quota; t++)
        cr_assert_eq(from_client(l, 1, 11, net_request(l->t, 1, 1, t, "op")), PBFT_OK);
    cr_assert_eq(sent(l, PBFT_BUSY), 1u);
    /* Replicas that forward have room of their own. Beyond it a request is refused without a word:
     * there is no client to tell. */
    uint32_t room = pbft_pending_room(&l->t->params, NET_CLIENTS);
    for (uint64_t t = 1; t <= room; t++)
        cr_assert_eq(from_replica(l, 2, net_request(l->t, 0, 2, t, "op")), PBFT_OK);
    cr_assert_eq(from_replica(l, 2, net_request(l->t, 0, 2, room + 1, "op")), PBFT_DROP_QUOTA);
    cr_assert_eq(from_replica(l, 3, net_request(l->t, 0, 2, room + 1, "op")), PBFT_OK);
    cr_assert_eq(sent(l, PBFT_BUSY), 1u);
    pass(l, 600);
    cr_assert_eq(sent(l, PBFT_VIEW_CHANGE), 3u, "BUSY does not stop the timer");
    lone_free(l);
}

/* The bytes of a client's own requests and reads leave those of forwarders alone. */
Test(protocol, r22_a_client_that_floods_leaves_forwarders_their_bytes)
{
    struct lone *l = lone_new(false);
    client_up(l, 0, 10);
    char op[250];
    memset(op, 'x', sizeof op - 1);
    op[sizeof op - 1] = 0;
    uint32_t quota = l->t->params.client_quota;
    for (uint64_t i = 1; i <= quota; i++) /* held: of the future */
        cr_assert_eq(from_client(l, 0, 10, query_of(l, i, 1000, op)), PBFT_OK);
    cr_assert_eq(from_client(l, 0, 10, query(l, 999, 1000)), PBFT_DROP_QUOTA);
    uint64_t t = 1;
    while (t <= quota && from_client(l, 0, 10, net_request(l->t, 0, 1, t, op)) == PBFT_OK)
        t++;
    cr_assert_leq(t, quota, "its bytes are the bound here");
    cr_assert_eq(from_client(l, 0, 10, net_request(l->t, 0, 1, 100, op)), PBFT_DROP_BUSY);
    for (pbft_id id = 0; id < 4; id++) {
        if (id == 1) continue;
        cr_assert_eq(from_replica(l, id, net_request(l->t, 0, 1, 200 + id, op)), PBFT_OK);
        cr_assert_eq(from_replica(l, id, net_request(l->t, 0, 1, 300 + id, op)), PBFT_OK);
    }
    lone_free(l);
}

/* What is behind the session's window is answered, not ordered; so is what executed. */
Test(protocol, r22_the_session_window_decides_on_admission)
{
    struct lone *l = lone_new(false);
    client_up(l, 0, 10);
    uint64_t w = l->t->params.session_window;
    cr_assert_eq(commit(l, 1, w + 5, "op"), PBFT_OK);
    forget(l);
    for (uint64_t t = 5; t <= w + 5; t += w)
        cr_assert_eq(from_client(l, 0, 10, net_request(l->t, 0, 1, t, "op")), PBFT_OK);
    cr_assert_eq(sent(l, PBFT_REPLY), 2u);
    const struct pbft_msg *m = net_decode(l->t, l->out[0].frame);
    cr_assert_eq(m->reply.outcome, PBFT_OUTCOME_STALE);
    m = net_decode(l->t, l->out[1].frame);
    cr_assert_eq(m->reply.outcome, PBFT_OUTCOME_EXECUTED);
    struct pbft_node_info info;
    pbft_node_info(l->node, &info);
    cr_assert_eq(info.core.pending, 0u);
    from_client(l, 0, 10, net_request(l->t, 0, 1, 6, "op")); /* the first inside */
    pbft_node_info(l->node, &info);
    cr_assert_eq(info.core.pending, 1u);
    lone_free(l);
}

/* ---- PROTOCOL 27 ---- */

/* A SEND waits for its own lsn, for no later one; what needs none leaves at once. */
Test(protocol, r27_a_send_waits_for_its_own_lsn_only)
{
    struct lone *l = lone_new(false);
    l->no_sync = true;
    struct net_batch a = net_batch(l->t, 0, 1, 1, "a"), b = net_batch(l->t, 0, 1, 2, "b");
    from_replica(l, 0, net_pre_prepare(l->t, 0, 1, &a));
    cr_assert_eq(sent(l, PBFT_PREPARE), 0u, "it is not on disk");
    from_replica(l, 0, net_pre_prepare(l->t, 0, 2, &b)); /* while the commit is under way */
    pass(l, 60);
    cr_assert_geq(sent(l, PBFT_STATUS_MSG), 3u, "STATUS relies on nothing");
    finish_sync(l);
    cr_assert_eq(sent(l, PBFT_PREPARE), 3u, "the first to three peers; the second is not durable");
    for (size_t i = 0; i < l->out_count; i++)
        if (l->out[i].frame->bytes[0] == PBFT_PREPARE)
            cr_assert_eq(net_decode(l->t, l->out[i].frame)->vote.seq, 1u);
    finish_sync(l);
    cr_assert_eq(sent(l, PBFT_PREPARE), 6u);
    lone_free(l);
}

/* A REPLY needs the lsn of the replica's own COMMIT, or of rule 15's certificate. */
Test(protocol, r27_a_reply_waits_for_commit_or_certificate)
{
    for (unsigned certified = 0; certified < 2; certified++) {
        struct lone *l = lone_new(false);
        client_up(l, 0, 10);
        from_client(l, 0, 10, net_request(l->t, 0, 1, 1, "a"));
        l->no_sync = true;
        struct net_batch b = net_batch(l->t, 0, 1, 1, "a");
        if (certified) {
            cr_assert_eq(from_replica(l, 2, net_commit_certificate(l->t, 0, 1, &b, 0x0d)), PBFT_OK);
        } else {
            from_replica(l, 0, net_pre_prepare(l->t, 0, 1, &b));
            finish_sync(l); /* the PREPARE's */
            from_replica(l, 2, net_vote(l->t, PBFT_PREPARE, 2, 0, 1, &b.digest));
            from_replica(l, 0, net_vote(l->t, PBFT_COMMIT, 0, 0, 1, &b.digest));
            from_replica(l, 2, net_vote(l->t, PBFT_COMMIT, 2, 0, 1, &b.digest));
            cr_assert_eq(sent(l, PBFT_COMMIT), 0u);
        }
        struct pbft_node_info info;
        pbft_node_info(l->node, &info);
        cr_assert_eq(info.applied, 1u, "execution waits for nobody");
        cr_assert_eq(sent(l, PBFT_REPLY), 0u);
        finish_sync(l);
        cr_assert_eq(sent(l, PBFT_REPLY), 1u);
        lone_free(l);
    }
}

/* ---- PROTOCOL 28, 32 ---- */

/* A replica holds a fast read until it has reached the floor. */
Test(protocol, r32_a_read_is_held_until_the_floor_is_reached)
{
    struct lone *l = lone_new(false);
    client_up(l, 0, 10);
    cr_assert_eq(from_client(l, 0, 10, query(l, 1, 2)), PBFT_OK);
    cr_assert_eq(from_client(l, 0, 10, query(l, 2, 0)), PBFT_OK);
    cr_assert_eq(sent(l, PBFT_QUERY_REPLY), 1u);
    commit(l, 1, 1, "one");
    cr_assert_eq(sent(l, PBFT_QUERY_REPLY), 1u);
    commit(l, 2, 2, "two");
    cr_assert_eq(sent(l, PBFT_QUERY_REPLY), 2u);
    for (size_t i = 0; i < l->out_count; i++) {
        if (l->out[i].frame->bytes[0] != PBFT_QUERY_REPLY) continue;
        const struct pbft_query_reply *r = &net_decode(l->t, l->out[i].frame)->query_reply;
        if (r->id != 1) continue;
        cr_assert_eq(r->body.size, 3u);
        cr_assert_eq(memcmp(r->body.data, "two", 3), 0);
        cr_assert_eq(r->mark, 2u);
    }
    lone_free(l);
}

/* A read that shows an executed write relies on what that write relies on: else, after a crash, a
 * completed write disappears from reads. */
Test(protocol, r28_a_read_relies_on_what_it_shows)
{
    struct lone *l = lone_new(false);
    client_up(l, 0, 10);
    l->no_sync = true;
    commit(l, 1, 1, "one");
    cr_assert_eq(from_client(l, 0, 10, query(l, 1, 0)), PBFT_OK);
    cr_assert_eq(sent(l, PBFT_QUERY_REPLY), 0u);
    finish_sync(l);
    cr_assert_eq(sent(l, PBFT_QUERY_REPLY), 1u);
    lone_free(l);
}

static enum pbft_status restart(struct lone *l)
{
    pbft_node_free(l->node);
    lone_start(l, false);
    enum pbft_status status = pbft_node_restore(l->node, l->time);
    drain(l);
    return status;
}

/* What it has sent a COMMIT for may be executed elsewhere, and seen: after a restart, too, it shows
 * nothing older. */
Test(protocol, r28_a_restart_answers_no_read_before_its_commits_are_executed)
{
    struct lone *l = lone_new(false);
    struct net_batch b = net_batch(l->t, 0, 1, 1, "one");
    cr_assert_eq(from_replica(l, 0, net_pre_prepare(l->t, 0, 1, &b)), PBFT_OK);
    cr_assert_eq(from_replica(l, 2, net_vote(l->t, PBFT_PREPARE, 2, 0, 1, &b.digest)), PBFT_OK);
    cr_assert_eq(restart(l), PBFT_STATUS_OK);
    client_up(l, 0, 10);
    forget(l);
    cr_assert_eq(from_client(l, 0, 10, query(l, 1, 0)), PBFT_OK);
    cr_assert_eq(sent(l, PBFT_QUERY_REPLY), 0u);
    for (pbft_id id = 2; id < 4; id++)
        from_replica(l, id, net_vote(l->t, PBFT_COMMIT, id, 0, 1, &b.digest));
    cr_assert_eq(sent(l, PBFT_QUERY_REPLY), 1u);
    lone_free(l);
}

/* Records that it can not have written: it says so, and does not vote. */
Test(protocol, r29_a_log_of_another_replica_is_refused)
{
    struct lone *l = lone_new(false);
    struct net_batch b = net_batch(l->t, 0, 1, 1, "one");
    struct pbft_frame *vote = net_vote(l->t, PBFT_PREPARE, 2, 0, 1, &b.digest);
    uint8_t length[4];
    pbft_put_u32(length, vote->size);
    struct pbft_span parts[2] = {{length, 4}, pbft_frame_span(vote)};
    cr_assert_eq(pbft_log_append(l->log, PBFT_RECORD_PROPOSAL, 1, parts, 2), PBFT_STATUS_OK);
    pbft_frame_release(vote);
    cr_assert_eq(restart(l), PBFT_STATUS_CORRUPT);
    lone_free(l);
    l = lone_new(false);
    cr_assert_eq(pbft_log_append(l->log, PBFT_RECORD_PROPOSAL, 1, parts, 1), PBFT_STATUS_OK);
    cr_assert_eq(restart(l), PBFT_STATUS_CORRUPT, "a length and nothing behind it");
    lone_free(l);
}

/* ---- PROTOCOL 29 ---- */

/* A mute replica votes on nothing, sends no VIEW-CHANGE, answers no request and no read; it
 * executes what is certified, and serves. */
Test(protocol, r29_a_mute_replica_follows_and_says_nothing)
{
    struct lone *l = lone_new(true);
    struct net_batch b = net_batch(l->t, 0, 1, 1, "a");
    client_up(l, 0, 10);
    cr_assert_eq(from_client(l, 0, 10, net_request(l->t, 0, 1, 1, "a")), PBFT_DROP_MUTE);
    cr_assert_eq(from_client(l, 0, 10, query(l, 1, 0)), PBFT_DROP_MUTE);
    from_replica(l, 0, net_pre_prepare(l->t, 0, 1, &b));
    from_replica(l, 2, net_vote(l->t, PBFT_PREPARE, 2, 0, 1, &b.digest));
    from_replica(l, 3, net_vote(l->t, PBFT_PREPARE, 3, 0, 1, &b.digest));
    for (pbft_id id = 0; id < 4; id++)
        if (id != 1) from_replica(l, id, net_vote(l->t, PBFT_COMMIT, id, 0, 1, &b.digest));
    for (pbft_seq seq = 2; seq <= 4; seq++)
        cr_assert_eq(commit(l, seq, seq, "more"), PBFT_OK);
    for (pbft_id id = 2; id < 4; id++) /* f+1 want view 1, of which it would be the primary */
        from_replica(l, id, net_view_change(l->t, &(struct net_vc){.view = 1, .sender = id}));
    pass(l, 3000);
    struct pbft_node_info info;
    pbft_node_info(l->node, &info);
    cr_assert_eq(info.applied, 4u, "it follows");
    cr_assert_eq(sent(l, PBFT_PREPARE) + sent(l, PBFT_COMMIT) + sent(l, PBFT_CHECKPOINT) +
                     sent(l, PBFT_VIEW_CHANGE) + sent(l, PBFT_NEW_VIEW) + sent(l, PBFT_REPLY) +
                     sent(l, PBFT_QUERY_REPLY) + sent(l, PBFT_PRE_PREPARE) + sent(l, PBFT_BUSY),
                 0u);
    for (size_t i = 0; i < l->out_count; i++)
        if (l->out[i].frame->bytes[0] == PBFT_STATUS_MSG)
            cr_assert(net_decode(l->t, l->out[i].frame)->status.flags & PBFT_STATUS_MUTE);
    forget(l);
    struct pbft_msg fetch = {.type = PBFT_FETCH};
    fetch.fetch = (struct pbft_fetch){.kind = PBFT_FETCH_COMMIT, .seq = 2};
    from_replica(l, 2, net_frame_new(l->t, &fetch));
    cr_assert_eq(sent(l, PBFT_CERTIFICATE), 1u, "it serves");
    char json[2048];
    pbft_node_status_json(l->node, json, sizeof json);
    cr_assert_not_null(strstr(json, "\"mute\":true"), "and says so in status: %s", json);
    lone_free(l);
}

/* Shown a vote of its own that its log does not know, a replica is mute from then on. */
Test(protocol, r29_shown_its_own_unknown_vote_a_replica_falls_silent)
{
    for (unsigned kind = 0; kind < 4; kind++) {
        struct lone *l = lone_new(false);
        client_up(l, 0, 10);
        struct pbft_digest d = {{1}};
        struct pbft_frame *own = NULL;
        switch (kind) {
        case 0: own = net_vote(l->t, PBFT_PREPARE, 1, 0, 3, &d); break;
        case 1: own = net_vote(l->t, PBFT_COMMIT, 1, 2, 3, &d); break;
        case 2: own = net_checkpoint(l->t, 1, 4, &d); break;
        default: own = net_view_change(l->t, &(struct net_vc){.view = 1, .sender = 1}); break;
        }
        cr_assert_eq(from_replica(l, 2, own), PBFT_DROP_MUTE, "kind %u", kind);
        cr_assert_eq(l->muted_lines, 1u);
        struct net_batch b = net_batch(l->t, 0, 1, 1, "a");
        from_replica(l, 0, net_pre_prepare(l->t, 0, 1, &b));
        commit(l, 1, 1, "a");
        from_client(l, 0, 10, query(l, 1, 0));
        pass(l, 2000);
        cr_assert_eq(sent(l, PBFT_PREPARE) + sent(l, PBFT_REPLY) + sent(l, PBFT_QUERY_REPLY) +
                         sent(l, PBFT_VIEW_CHANGE),
                     0u, "kind %u", kind);
        lone_free(l);
    }
}

/* What it does know, or has rightly forgotten, does not silence it. A forgery neither. */
Test(protocol, r29_what_it_knows_or_never_signed_does_not_silence_it)
{
    struct lone *l = lone_new(false);
    struct net_batch b = net_batch(l->t, 0, 1, 1, "a");
    from_replica(l, 0, net_pre_prepare(l->t, 0, 1, &b));
    struct pbft_digest d = {{1}};
    cr_assert_neq(from_replica(l, 2, net_vote(l->t, PBFT_PREPARE, 1, 0, 1, &b.digest)),
                  PBFT_DROP_MUTE);
    cr_assert_neq(from_replica(l, 2, net_spoil(net_vote(l->t, PBFT_PREPARE, 1, 0, 3, &d))),
                  PBFT_DROP_MUTE);
    cr_assert_eq(l->muted_lines, 0u);
    struct pbft_node_info info;
    pbft_node_info(l->node, &info);
    cr_assert_not(info.core.mute);
    lone_free(l);
}

/* On connecting, each peer reports the newest vote and VIEW-CHANGE that it holds from a replica, as
 * signed bytes. */
Test(protocol, r29_peers_report_the_newest_vote_and_view_change)
{
    struct net *t = net_solo(4, 1);
    struct pbft_digest d = {{1}};
    net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 3, &d));
    net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 5, &d));
    net_deliver(t, 2, 1, net_vote(t, PBFT_COMMIT, 2, 0, 5, &d));
    struct net_vc vc = {.view = 1, .sender = 2};
    struct pbft_frame *signed_vc = net_view_change(t, &vc);
    net_deliver(t, 2, 1, pbft_frame_retain(signed_vc));
    net_peer_up(t, 1, 2);
    const struct pbft_frame *vote = t->nodes[1].last_sent[PBFT_COMMIT];
    cr_assert_not_null(vote);
    struct pbft_frame *expected = net_vote(t, PBFT_COMMIT, 2, 0, 5, &d);
    cr_assert_eq(memcmp(vote->bytes, expected->bytes, expected->size), 0);
    const struct pbft_frame *shown = t->nodes[1].last_sent[PBFT_VIEW_CHANGE];
    cr_assert_not_null(shown);
    cr_assert_eq(memcmp(shown->bytes, signed_vc->bytes, signed_vc->size), 0);
    pbft_frame_release(expected);
    pbft_frame_release(signed_vc);
    net_free(t);
}

/* ---- PROTOCOL 38 ---- */

/* `accused` means that the answering replica holds verified evidence. */
Test(protocol, r38_accused_means_verified_evidence)
{
    struct lone *l = lone_new(false);
    struct pbft_digest x = {{1}}, y = {{2}};
    struct pbft_node_info info;
    from_replica(l, 2, net_vote(l->t, PBFT_COMMIT, 2, 0, 1, &x));
    from_replica(l, 3, net_spoil(net_vote(l->t, PBFT_COMMIT, 2, 0, 1, &y)));
    pbft_node_info(l->node, &info);
    cr_assert_eq(info.evidence_against, 0u, "a forgery is no evidence");
    from_replica(l, 3, net_vote(l->t, PBFT_COMMIT, 2, 0, 1, &y));
    pbft_node_info(l->node, &info);
    cr_assert_eq(info.evidence_against, NET_BIT(2));
    cr_assert_eq(info.evidence_count, 1u);
    lone_free(l);
}
