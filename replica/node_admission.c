/* Clients: which requests reach the core, reads, results, and where replies go (PROTOCOL 4, 7, 22,
 * 32, 34). */
#include "replica/node_internal.h"

#include "pbft/quorum.h"

#include <stdlib.h>
#include <string.h>

/* A REPLY's view stands right behind the header; it is a hint that the sender fills in. */
#define REPLY_VIEW_OFFSET PBFT_WIRE_HEADER_BYTES

struct client *node_client(struct pbft_node *node, uint32_t index)
{
    PBFT_ASSERT(index < node->cluster->client_count);
    if (node->clients[index] == NULL) node->clients[index] = node_alloc(sizeof(struct client));
    return node->clients[index];
}

/* Requests and reads of one client key that may wait here and came from the client itself; every
 * replica keeps this room. What replicas forward has room of its own, for each of them (PROTOCOL
 * 22): pbft_pending_room() requests of pbft_pending_room_bytes() together, or a single larger one.
 * So one client key makes us hold at most client_quota + (n-1) * pbft_pending_room() requests, as
 * many look-ups and client_quota reads, of n+1 times batch_max_bytes in all (FAULTS 3.18). */
static uint64_t client_bytes_max(const struct pbft_node *node)
{
    return 2u * (uint64_t)node->p->batch_max_bytes;
}

static uint32_t room_of(const struct pbft_peer *from)
{
    return from->kind == PBFT_PEER_CLIENT ? PBFT_PENDING_DIRECT : from->index;
}

static struct forwarder *forwarder_of(const struct pbft_node *node, struct client *c, uint32_t by)
{
    PBFT_ASSERT(by < node->n);
    if (c->forwarders == NULL) c->forwarders = node_alloc(node->n * sizeof *c->forwarders);
    return &c->forwarders[by];
}

/* ---- connections and routes ---- */

void node_client_up(struct pbft_node *node, const struct pbft_peer *peer)
{
    struct client *c = node_client(node, peer->index);
    if (c->connection_count == CONNECTIONS_MAX) {
        memmove(c->connections, c->connections + 1, (CONNECTIONS_MAX - 1) * sizeof *c->connections);
        c->connection_count--;
    }
    c->connections = node_grow(c->connections, &c->connection_capacity, c->connection_count,
                               sizeof *c->connections);
    c->connections[c->connection_count++] = peer->connection;
}

void node_client_down(struct pbft_node *node, const struct pbft_peer *peer)
{
    struct client *c = node_client(node, peer->index);
    for (size_t i = 0; i < c->connection_count; i++) {
        if (c->connections[i] != peer->connection) continue;
        memmove(c->connections + i, c->connections + i + 1,
                (c->connection_count - i - 1) * sizeof *c->connections);
        c->connection_count--;
        return;
    }
}

static bool connected(const struct client *c, uint64_t connection)
{
    for (size_t i = 0; i < c->connection_count; i++)
        if (c->connections[i] == connection) return true;
    return false;
}

static void route_set(struct client *c, uint64_t session, uint64_t connection)
{
    for (size_t i = 0; i < c->route_count; i++) {
        if (c->routes[i].session != session) continue;
        c->routes[i].connection = connection;
        return;
    }
    if (c->routes == NULL) c->routes = node_alloc(ROUTES_MAX * sizeof *c->routes);
    size_t at = c->route_count < ROUTES_MAX ? c->route_count++ : c->route_next;
    c->route_next = (at + 1) % ROUTES_MAX;
    c->routes[at] = (struct route){session, connection};
}

/* Replies follow the session's latest connection; a session that never spoke to us itself (its
 * requests came through the primary) is answered on all of its client's. */
static void send_to_session(struct pbft_node *node, uint32_t index, uint64_t session,
                            pbft_lsn needs_lsn, struct pbft_frame *frame)
{
    struct client *c = node_client(node, index);
    for (size_t i = 0; i < c->route_count; i++) {
        if (c->routes[i].session != session) continue;
        if (!connected(c, c->routes[i].connection)) break;
        node_send_client(node, index, c->routes[i].connection, needs_lsn, frame);
        return;
    }
    for (size_t i = 0; i < c->connection_count; i++)
        node_send_client(node, index, c->connections[i], needs_lsn, frame);
}

void node_reply(struct pbft_node *node, uint32_t client_index, uint64_t session,
                struct pbft_frame *reply, pbft_lsn needs_lsn)
{
    if (reply == NULL) return;
    if (!node_is_mute(node) && node_client(node, client_index)->connection_count > 0) {
        struct pbft_core_info info;
        pbft_core_info(node->core, &info);
        pbft_put_u64(reply->bytes + REPLY_VIEW_OFFSET, info.view);
        send_to_session(node, client_index, session, needs_lsn, reply);
        node->replies_sent++;
    }
    pbft_frame_release(reply);
}

static void send_busy(struct pbft_node *node, const struct pbft_peer *to, uint64_t session,
                      uint64_t t)
{
    if (node_is_mute(node)) return;
    struct pbft_msg msg = {.type = PBFT_BUSY};
    msg.busy = (struct pbft_busy){session, t};
    struct pbft_frame *frame = node_encode(node, &msg);
    if (frame == NULL) return;
    node_send_client(node, to->index, to->connection, 0, frame);
    pbft_frame_release(frame);
    node->busy_sent++;
}

/* ---- requests ---- */

static struct admitted *admitted_find(struct client *c, uint64_t session, uint64_t t)
{
    for (size_t i = 0; i < c->admitted_count; i++)
        if (c->admitted[i].session == session && c->admitted[i].t == t) return &c->admitted[i];
    return NULL;
}

static void admitted_add(const struct pbft_node *node, struct client *c,
                         const struct admitted *what)
{
    if (admitted_find(c, what->session, what->t) != NULL) return;
    c->admitted =
        node_grow(c->admitted, &c->admitted_capacity, c->admitted_count, sizeof *c->admitted);
    c->admitted[c->admitted_count++] = *what;
    if (what->by == PBFT_PENDING_DIRECT) {
        c->admitted_bytes += what->bytes;
        return;
    }
    struct forwarder *f = forwarder_of(node, c, what->by);
    f->admitted++;
    f->bytes += what->bytes;
}

static void admitted_remove(const struct pbft_node *node, struct client *c, size_t i)
{
    const struct admitted gone = c->admitted[i];
    c->admitted[i] = c->admitted[--c->admitted_count];
    if (gone.by == PBFT_PENDING_DIRECT) {
        c->admitted_bytes -= gone.bytes;
        return;
    }
    struct forwarder *f = forwarder_of(node, c, gone.by);
    f->admitted--;
    f->bytes -= gone.bytes;
}

uint64_t node_forget_request(struct pbft_node *node, const struct pbft_done_request *done)
{
    struct client *c = node->clients[done->client_index];
    uint64_t arrived_ns = 0;
    if (c == NULL) return 0;
    for (size_t i = 0; i < c->admitted_count;) {
        const struct admitted *a = &c->admitted[i];
        if (a->session != done->session || (a->t != done->t && a->t > done->low)) {
            i++;
            continue;
        }
        if (a->t == done->t) arrived_ns = a->arrived_ns;
        admitted_remove(node, c, i);
    }
    return arrived_ns;
}

/* After a state transfer the core has let go of all requests: nobody can say which of them the new
 * state holds. Their clients ask again. */
void node_recheck_admitted(struct pbft_node *node)
{
    for (uint32_t i = 0; i < node->cluster->client_count; i++) {
        struct client *c = node->clients[i];
        while (c != NULL && c->admitted_count > 0)
            admitted_remove(node, c, c->admitted_count - 1);
    }
}

static enum pbft_verdict request_to_core(struct pbft_node *node, const struct pbft_peer *from,
                                         uint32_t index, const struct admitted *what,
                                         struct pbft_frame *frame)
{
    bool from_client = from->kind == PBFT_PEER_CLIENT;
    struct pbft_event event = {.kind = PBFT_EVENT_REQUEST};
    event.request.client_index = index;
    event.request.session = what->session;
    event.request.t = what->t;
    event.request.digest = what->digest;
    event.request.frame = frame;
    event.request.from_client = from_client;
    event.request.from = from->index;
    enum pbft_verdict verdict = node_step(node, &event);
    if (verdict == PBFT_OK) admitted_add(node, node_client(node, index), what);
    if ((verdict == PBFT_DROP_QUOTA || verdict == PBFT_DROP_BUSY) && from_client)
        send_busy(node, from, what->session, what->t);
    return verdict;
}

/* Reads, too, and questions for results take the client's own room, none of a forwarder's. */
static bool lookup_room(const struct pbft_node *node, struct client *c,
                        const struct pbft_peer *from, uint32_t bytes)
{
    if (from->kind == PBFT_PEER_CLIENT)
        return c->lookups < node->p->client_quota &&
               c->admitted_bytes + c->query_bytes + bytes <= client_bytes_max(node);
    const struct forwarder *f = forwarder_of(node, c, from->index);
    if (f->lookups >= pbft_pending_room(node->p, node->cluster->client_count)) return false;
    bool empty = f->lookups + f->admitted == 0;
    return empty || f->bytes + bytes <= pbft_pending_room_bytes(node->p);
}

static struct task *lookup_task(struct pbft_node *node, const struct pbft_peer *from,
                                const struct pbft_request *request, struct pbft_frame *frame)
{
    struct task *task = task_new(TASK_LOOKUP);
    task->generation = node->generation;
    task->peer = *from;
    task->frame = pbft_frame_retain(frame);
    task->client_index = request->client_index;
    task->session = request->session;
    task->t = request->t;
    task->arrived_ns = node->now_ns;
    task->digest = request->digest;
    struct client *c = node_client(node, request->client_index);
    if (from->kind == PBFT_PEER_CLIENT) {
        c->lookups++;
        c->query_bytes += frame->size;
    } else {
        struct forwarder *f = forwarder_of(node, c, from->index);
        f->lookups++;
        f->bytes += frame->size;
    }
    return task;
}

static void lookup_forget(const struct pbft_node *node, struct client *c, const struct task *task)
{
    if (task->peer.kind == PBFT_PEER_CLIENT) {
        PBFT_ASSERT(c->lookups > 0);
        c->lookups--;
        c->query_bytes -= task->frame->size;
    } else {
        struct forwarder *f = forwarder_of(node, c, task->peer.index);
        PBFT_ASSERT(f->lookups > 0);
        f->lookups--;
        f->bytes -= task->frame->size;
    }
}

enum pbft_verdict node_on_request(struct pbft_node *node, const struct pbft_peer *from,
                                  const struct pbft_request *request, struct pbft_frame *frame)
{
    if (node_is_mute(node)) return PBFT_DROP_MUTE;
    struct client *c = node_client(node, request->client_index);
    bool from_client = from->kind == PBFT_PEER_CLIENT;
    if (from_client) route_set(c, request->session, from->connection);
    /* One that is under way is not executed as far as we know: the core decides (and forwards). */
    if (admitted_find(c, request->session, request->t) != NULL) {
        const struct admitted again = {request->session, request->t,  node->now_ns,
                                       request->digest,  frame->size, room_of(from)};
        return request_to_core(node, from, request->client_index, &again, frame);
    }
    /* A liar may repeat what a client once signed: that fills the liar's own room. */
    if (!lookup_room(node, c, from, frame->size)) {
        if (from_client) send_busy(node, from, request->session, request->t);
        return PBFT_DROP_BUSY;
    }
    struct task *task = lookup_task(node, from, request, frame);
    if (node->apply_running) { /* its turn comes inside the next job */
        task_push(&node->tasks, task);
        return PBFT_OK;
    }
    /* The apply side is ours. Executions that are queued have not happened yet, and what they
     * execute is reported after this, so the answer is as good as one given in turn. */
    apply_side_run(&node->side, task);
    node_lookup_done(node, task);
    enum pbft_verdict verdict = task->verdict;
    task_free(task);
    return verdict;
}

/* With fewer than q-1 links nobody orders what we are asked, whoever is primary. After a start the
 * clients' links may be there first: with a request and nobody to hear of, our timer would make us
 * give our view up alone, and stay out of it until the next one (PROTOCOL 21, 23). */
static bool in_touch(const struct pbft_node *node)
{
    return pbft_signers_count(node_links(node)) + 1 >= pbft_quorum(node->n);
}

void node_lookup_done(struct pbft_node *node, struct task *task)
{
    lookup_forget(node, node_client(node, task->client_index), task);
    if (task->lookup == PBFT_LOOKUP_REPLY && node_is_diverged(node)) {
        task->verdict = PBFT_DROP_BUSY; /* its client asks again */
        return;
    }
    if (task->lookup == PBFT_LOOKUP_REPLY) {
        node_reply(node, task->client_index, task->session, task->reply, node->applied_lsn);
        task->reply = NULL;
        task->verdict = PBFT_OK;
        return;
    }
    if (!in_touch(node)) {
        task->verdict = PBFT_DROP_BUSY; /* its client asks again */
        return;
    }
    const struct admitted what = {task->session, task->t,           task->arrived_ns,
                                  task->digest,  task->frame->size, room_of(&task->peer)};
    task->verdict = request_to_core(node, &task->peer, task->client_index, &what, task->frame);
}

/* A pending request whose session was overtaken by a newer one, or retired, never executes: the
 * primary that it is forwarded to answers EXPIRED instead of proposing it. Else: a client that
 * shows an overtaken request to backups alone makes them leave a correct primary's view
 * (FAULTS 3.22). */
void node_recheck_tick(struct pbft_node *node)
{
    if (node->now_ns < node->recheck_ns) return;
    node->recheck_ns = node->now_ns + node->p->view_timeout_ns / RECHECKS_PER_TIMEOUT;
    uint32_t client;
    uint64_t session, t;
    if (!pbft_core_oldest_request(node->core, &client, &session, &t)) return;
    bool again =
        node->recheck_t == t && node->recheck_session == session && node->recheck_client == client;
    node->recheck_client = client;
    node->recheck_session = session;
    node->recheck_t = t;
    if (!again || node->rechecks > 0 || node->clients[client] == NULL) return;
    const struct client *c = node->clients[client];
    for (size_t i = 0; i < c->admitted_count; i++) {
        struct task *task = node_queue(node, TASK_RECHECK);
        task->client_index = client;
        task->session = c->admitted[i].session;
        task->t = c->admitted[i].t;
        task->digest = c->admitted[i].digest;
        node->rechecks++;
    }
}

void node_recheck_done(struct pbft_node *node, struct task *task)
{
    PBFT_ASSERT(node->rechecks > 0);
    node->rechecks--;
    if (task->lookup != PBFT_LOOKUP_REPLY || node_is_diverged(node)) return;
    struct pbft_event event = {.kind = PBFT_EVENT_REQUEST_OVER};
    event.request_over.done =
        (struct pbft_done_request){task->client_index, task->session, task->t, task->low};
    node_forget_request(node, &event.request_over.done);
    node_step(node, &event);
}

/* ---- reads ---- */

static bool query_room(const struct pbft_node *node, const struct client *c, size_t bytes)
{
    return c->queries < node->p->client_quota && c->query_bytes + bytes <= client_bytes_max(node);
}

static struct task *query_task(struct pbft_node *node, const struct pbft_peer *from,
                               struct pbft_frame *frame)
{
    struct task *task = task_new(TASK_QUERY);
    task->generation = node->generation;
    task->peer = *from;
    task->client_index = from->index;
    task->frame = pbft_frame_retain(frame);
    struct client *c = node_client(node, from->index);
    c->queries++;
    c->query_bytes += frame->size;
    return task;
}

static pbft_seq query_floor(const struct pbft_node *node, const struct pbft_query *query)
{
    return query->floor > node->read_floor ? query->floor : node->read_floor;
}

static void query_forget(struct pbft_node *node, const struct task *task)
{
    struct client *c = node_client(node, task->client_index);
    PBFT_ASSERT(c->queries > 0);
    c->queries--;
    c->query_bytes -= task->frame->size;
}

enum pbft_verdict node_on_query(struct pbft_node *node, const struct pbft_peer *from,
                                const struct pbft_query *query, struct pbft_frame *frame)
{
    if (node_is_mute(node)) return PBFT_DROP_MUTE; /* PROTOCOL 28, 29 */
    if (node_is_diverged(node)) return PBFT_DROP_BUSY;
    if (!query_room(node, node_client(node, from->index), frame->size)) return PBFT_DROP_QUOTA;
    struct task *task = query_task(node, from, frame);
    task->query = *query; /* its span points into the frame */
    if (query_floor(node, query) <= node->applied) {
        task_push(&node->tasks, task);
        return PBFT_OK;
    }
    node->held = node_grow(node->held, &node->held_capacity, node->held_count, sizeof *node->held);
    node->held[node->held_count++] =
        (struct held_query){task, node->now_ns + QUERY_HOLD_TIMEOUTS * node->p->view_timeout_ns};
    node->queries_held++;
    return PBFT_OK;
}

void node_release_held(struct pbft_node *node)
{
    size_t kept = 0;
    for (size_t i = 0; i < node->held_count; i++) {
        struct held_query held = node->held[i];
        if (query_floor(node, &held.task->query) <= node->applied) {
            task_push(&node->tasks, held.task);
        } else if (held.expires_ns <= node->now_ns) {
            query_forget(node, held.task); /* the client falls back to an ordered read */
            task_free(held.task);
        } else {
            node->held[kept++] = held;
        }
    }
    node->held_count = kept;
}

void node_query_done(struct pbft_node *node, struct task *task)
{
    query_forget(node, task);
    if (task->reply == NULL || node_is_mute(node) || node_is_diverged(node)) return;
    node_send_client(node, task->peer.index, task->peer.connection, node->applied_lsn, task->reply);
    node->queries_answered++;
}

enum pbft_verdict node_on_result_fetch(struct pbft_node *node, const struct pbft_peer *from,
                                       const struct pbft_result_fetch *fetch)
{
    if (node_is_mute(node)) return PBFT_DROP_MUTE;
    if (node_is_diverged(node)) return PBFT_DROP_BUSY;
    struct client *c = node_client(node, from->index);
    if (c->lookups >= node->p->client_quota) return PBFT_DROP_QUOTA;
    c->lookups++;
    route_set(c, fetch->session, from->connection);
    struct task *task = node_queue(node, TASK_RESULT);
    task->peer = *from;
    task->client_index = from->index;
    task->session = fetch->session;
    task->t = fetch->t;
    return PBFT_OK;
}

void node_result_done(struct pbft_node *node, struct task *task)
{
    struct client *c = node_client(node, task->client_index);
    PBFT_ASSERT(c->lookups > 0);
    c->lookups--;
    if (node_is_diverged(node)) return;
    node_reply(node, task->client_index, task->session, task->reply, node->applied_lsn);
    task->reply = NULL;
}

void node_admission_free(struct pbft_node *node)
{
    for (size_t i = 0; i < node->held_count; i++)
        task_free(node->held[i].task);
    free(node->held);
    for (uint32_t i = 0; node->clients != NULL && i < node->cluster->client_count; i++) {
        if (node->clients[i] == NULL) continue;
        free(node->clients[i]->connections);
        free(node->clients[i]->routes);
        free(node->clients[i]->admitted);
        free(node->clients[i]->forwarders);
        free(node->clients[i]);
    }
    free(node->clients);
}
