/* client/client against small replicas in this process, over real connections: some of them lie. */
#include "client/pbft.h"

#include "crypto/epoch_file.h"
#include "crypto/hash.h"
#include "net/net.h"
#include "pbft/quorum.h"
#include "replica/config.h"
#include "replica/pool.h"
#include "tests/unit/epoch_fixture.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define N        4u
#define SECOND   UINT64_C(1000000000)
#define SEEN_MAX 4096u

enum conduct { HONEST, SILENT, WRONG_RESULT, WRONG_DIGEST, CROSS };

/* A request that was "ordered": every fake replica answers it. */
struct seen {
    uint64_t session, t;
    struct pbft_digest digest;
    uint32_t op_count;
    uint8_t ops[128];
    size_t size;
};

struct fake {
    struct pbft_cluster_config config;
    struct pbft_cluster epochs[4];      /* after the one that the file has */
    const struct pbft_cluster *cluster; /* the present one */
    uint16_t ports[N];
    struct pbft_public_key client_key;
    struct pbft_keypair keys[N];
    struct pbft_pool *pool;
    struct pbft_net *nets[N];
    struct pbft_door *doors[N];
    struct pbft_peer peers[N]; /* the client's connection; kind 0: none */
    enum conduct conduct[N];
    uint64_t expire_before; /* sessions below are EXPIRED */
    atomic_uint_fast64_t expire_one;
    struct seen seen[SEEN_MAX];
    atomic_uint executed;
    atomic_bool stop;
    pthread_t thread;
    char dir[64];
};

static void send_msg(struct fake *f, pbft_id id, struct pbft_msg *msg)
{
    msg->epoch = f->cluster->epoch;
    size_t size = pbft_wire_size(msg);
    struct pbft_frame *frame = pbft_frame_new(pbft_pool_frames(f->pool), (uint32_t)size);
    frame->size = (uint32_t)pbft_wire_encode(msg, frame->bytes, frame->capacity);
    (void)pbft_net_send(f->nets[id], &f->peers[id], frame);
    pbft_frame_release(frame);
}

/* Every operation answers with "re:" and itself. */
static size_t results_of(const struct pbft_request *r, uint8_t *out, bool wrong)
{
    size_t size = 4;
    size_t cursor = 0;
    struct pbft_span op;
    pbft_put_u32(out, r->op_count);
    while (pbft_wire_next_item(r->ops, &cursor, &op)) {
        pbft_put_u32(out + size, (uint32_t)op.size + 3);
        memcpy(out + size + 4, wrong ? "no:" : "re:", 3);
        memcpy(out + size + 7, op.data, op.size);
        size += 7 + op.size;
    }
    return size;
}

static bool is_expired(struct fake *f, uint64_t session)
{
    return session < f->expire_before || session == atomic_load(&f->expire_one);
}

/* CROSS: the same t of every session heard of, and of none, is answered with a lie. */
static void answer_others(struct fake *f, pbft_id id, const struct pbft_request *r)
{
    uint64_t last = r->session;
    unsigned count = atomic_load(&f->executed);
    uint8_t body[4] = {0};
    struct pbft_msg msg = {.type = PBFT_REPLY};
    msg.reply = (struct pbft_reply){.seq = UINT64_MAX,
                                    .session = r->session ^ 1,
                                    .t = r->t,
                                    .request = r->digest,
                                    .outcome = PBFT_OUTCOME_EXPIRED,
                                    .flags = PBFT_REPLY_HAS_BODY,
                                    .body = {body, sizeof body}};
    pbft_digest_result(&msg.reply.result, msg.reply.outcome, msg.reply.body);
    send_msg(f, id, &msg);
    for (unsigned i = 0; i < count; i++) {
        if (f->seen[i].session == last || f->seen[i].session == r->session) continue;
        last = f->seen[i].session;
        msg.reply.session = last;
        msg.reply.request = f->seen[i].digest;
        msg.reply.t = f->seen[i].t;
        send_msg(f, id, &msg);
        struct pbft_msg busy = {.type = PBFT_BUSY};
        busy.busy = (struct pbft_busy){.session = last, .t = r->t};
        send_msg(f, id, &busy);
    }
}

static void answer_request(struct fake *f, pbft_id id, const struct pbft_request *r, bool fetched)
{
    if (f->conduct[id] == SILENT || f->peers[id].connection == 0) return;
    uint8_t body[8192];
    bool expired = is_expired(f, r->session);
    if (f->conduct[id] == CROSS) answer_others(f, id, r);
    bool whole = expired || fetched || pbft_designated(N, &r->client, r->t) == id ||
                 f->conduct[id] != HONEST;
    size_t size = expired ? 0 : results_of(r, body, f->conduct[id] == WRONG_RESULT);
    struct pbft_msg msg = {.type = PBFT_REPLY};
    msg.reply = (struct pbft_reply){.seq = r->t,
                                    .session = r->session,
                                    .t = r->t,
                                    .request = r->digest,
                                    .outcome = expired ? PBFT_OUTCOME_EXPIRED : 0,
                                    .flags = whole ? PBFT_REPLY_HAS_BODY : 0};
    pbft_digest_result(&msg.reply.result, msg.reply.outcome, (struct pbft_span){body, size});
    if (f->conduct[id] == WRONG_DIGEST) msg.reply.result.bytes[0] ^= 1;
    if (whole) msg.reply.body = (struct pbft_span){body, size};
    send_msg(f, id, &msg);
}

static void on_request(struct fake *f, const struct pbft_request *r)
{
    unsigned count = atomic_load(&f->executed);
    bool known = is_expired(f, r->session);
    for (unsigned i = 0; i < count && !known; i++)
        known = f->seen[i].session == r->session && f->seen[i].t == r->t;
    if (!known) {
        cr_assert_lt(count, SEEN_MAX);
        cr_assert_leq(r->ops.size, sizeof f->seen[count].ops);
        f->seen[count] = (struct seen){.session = r->session,
                                       .t = r->t,
                                       .digest = r->digest,
                                       .op_count = r->op_count,
                                       .size = r->ops.size};
        memcpy(f->seen[count].ops, r->ops.data, r->ops.size);
        atomic_store(&f->executed, count + 1);
    }
    for (pbft_id id = 0; id < N; id++) /* "ordered" */
        answer_request(f, id, r, false);
}

static void on_fetch(struct fake *f, pbft_id id, const struct pbft_result_fetch *fetch)
{
    unsigned count = atomic_load(&f->executed);
    for (unsigned i = 0; i < count; i++) {
        const struct seen *s = &f->seen[i];
        if (s->session != fetch->session || s->t != fetch->t) continue;
        struct pbft_request r = {.client = f->client_key,
                                 .session = s->session,
                                 .t = s->t,
                                 .op_count = s->op_count,
                                 .ops = {s->ops, s->size},
                                 .digest = s->digest};
        answer_request(f, id, &r, true);
    }
}

static void on_query(struct fake *f, pbft_id id, const struct pbft_query *q)
{
    if (f->conduct[id] == SILENT) return;
    uint8_t body[4096];
    size_t size = 4 + 8 * (size_t)q->op_count, cursor = 0;
    struct pbft_span op;
    pbft_put_u32(body, q->op_count);
    for (uint32_t i = 0; pbft_wire_next_item(q->ops, &cursor, &op); i++) {
        pbft_put_u64(body + 4 + 8 * (size_t)i, 5 - (i & 1u));
        pbft_put_u32(body + size, (uint32_t)op.size + 3);
        memcpy(body + size + 4, f->conduct[id] == WRONG_RESULT ? "no:" : "re:", 3);
        memcpy(body + size + 7, op.data, op.size);
        size += 7 + op.size;
    }
    struct pbft_span span = {body, size};
    struct pbft_msg msg = {.type = PBFT_QUERY_REPLY};
    uint64_t other = f->conduct[id] == CROSS ? UINT64_C(1) << 40 : 0; /* a session's reads */
    msg.query_reply = (struct pbft_query_reply){.id = q->id ^ other,
                                                .mark = 5,
                                                .flags = q->want_body,
                                                .executed = 9};
    pbft_digest_query(&msg.query_reply.result, 0, 5, span);
    if (f->conduct[id] == WRONG_DIGEST) msg.query_reply.result.bytes[0] ^= 1;
    if (q->want_body == 1) msg.query_reply.body = span;
    send_msg(f, id, &msg);
}

static void on_admin(struct fake *f, pbft_id id, const struct pbft_admin *a)
{
    char text[32];
    int size = snprintf(text, sizeof text, "replica %u", id);
    struct pbft_msg msg = {.type = PBFT_ADMIN_REPLY};
    msg.admin_reply = (struct pbft_admin_reply){a->id,
                                                a->kind == PBFT_ADMIN_STATUS,
                                                {(uint8_t *)text, (size_t)size}};
    send_msg(f, id, &msg);
}

static void on_frame(struct fake *f, pbft_id id, const struct pbft_net_event *event)
{
    struct pbft_msg msg;
    enum pbft_verdict verdict =
        pbft_door_open(f->doors[id], &event->peer, pbft_frame_span(event->frame), &msg);
    cr_assert_eq(verdict, PBFT_OK, "%s", pbft_verdict_text(verdict));
    if (msg.type == PBFT_REQUEST) on_request(f, &msg.request);
    if (msg.type == PBFT_QUERY) on_query(f, id, &msg.query);
    if (msg.type == PBFT_ADMIN) on_admin(f, id, &msg.admin);
    if (msg.type == PBFT_RESULT_FETCH) on_fetch(f, id, &msg.result_fetch);
}

static void *fake_run(void *context)
{
    struct fake *f = context;
    while (!atomic_load(&f->stop)) {
        for (pbft_id id = 0; id < N; id++) {
            struct pbft_net_event events[16];
            if (f->nets[id] == NULL) continue;
            size_t count = pbft_net_poll(f->nets[id], 500000, events, 16);
            for (size_t i = 0; i < count; i++) {
                if (events[i].kind == PBFT_NET_UP) f->peers[id] = events[i].peer;
                if (events[i].kind == PBFT_NET_DOWN &&
                    f->peers[id].connection == events[i].peer.connection)
                    f->peers[id].connection = 0;
                if (events[i].kind == PBFT_NET_FRAME) on_frame(f, id, &events[i]);
                if (events[i].kind == PBFT_NET_FRAME || events[i].kind == PBFT_NET_EPOCH)
                    pbft_frame_release(events[i].frame);
            }
            pbft_net_flush(f->nets[id]);
        }
    }
    return NULL;
}

static void path_of(const struct fake *f, const char *name, char out[128])
{
    (void)snprintf(out, 128, "%s/%s", f->dir, name);
}

/* On the port that it had before, if it had one. */
static void fake_listen(struct fake *f, pbft_id id)
{
    char error[256], url[64];
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", (unsigned)f->ports[id]);
    struct pbft_net_config net = {.cluster = f->cluster,
                                  .self = &f->keys[id],
                                  .pool = pbft_pool_frames(f->pool),
                                  .listen_clients = url};
    cr_assert_eq(pbft_net_open(&f->nets[id], &net, error), PBFT_STATUS_OK, "%s", error);
    f->ports[id] = pbft_net_client_port(f->nets[id]);
    struct pbft_door_config door = {.cluster = f->cluster,
                                    .signer = &pbft_signer_ed25519,
                                    .cache_entries = 16};
    f->doors[id] = pbft_door_new(&door);
}

static struct fake *fake_of(const struct pbft_params *params)
{
    char error[256];
    char path[128];
    struct fake *f = calloc(1, sizeof *f);
    cr_assert_eq(pbft_crypto_init(), PBFT_STATUS_OK);
    (void)strcpy(f->dir, "/tmp/pbft-client-XXXXXX");
    cr_assert_not_null(mkdtemp(f->dir));
    struct pbft_keypair client;
    cr_assert_eq(pbft_keypair_generate(&client), PBFT_STATUS_OK);
    struct pbft_cluster *c = &f->config.cluster;
    c->params = *params;
    (void)strcpy(c->service, "echo");
    for (pbft_id id = 0; id < N; id++) {
        cr_assert_eq(pbft_keypair_generate(&f->keys[id]), PBFT_STATUS_OK);
        c->replicas[id] = f->keys[id].public;
    }
    f->client_key = client.public;
    c->clients = &f->client_key;
    c->client_count = 1;
    cr_assert_eq(pbft_cluster_seal(c, error), PBFT_STATUS_OK, "%s", error);
    f->cluster = c;
    f->pool = pbft_pool_new(64u << 20);
    f->config.addresses = calloc(N, sizeof *f->config.addresses);
    for (pbft_id id = 0; id < N; id++) {
        fake_listen(f, id);
        struct pbft_config_addresses *a = &f->config.addresses[id];
        (void)snprintf(a->peer, sizeof a->peer, "tcp://127.0.0.1:1");
        (void)snprintf(a->client, sizeof a->client, "tcp://127.0.0.1:%u",
                       (unsigned)pbft_net_client_port(f->nets[id]));
    }
    path_of(f, "cluster.conf", path);
    cr_assert_eq(pbft_cluster_config_save(&f->config, path, error), PBFT_STATUS_OK, "%s", error);
    path_of(f, "key", path);
    cr_assert_eq(pbft_keypair_save(&client, path, error), PBFT_STATUS_OK, "%s", error);
    struct pbft_client_config own = pbft_client_config_default();
    (void)strcpy(own.cluster, "cluster.conf");
    (void)strcpy(own.key, "key");
    path_of(f, "client.conf", path);
    cr_assert_eq(pbft_client_config_save(&own, path, error), PBFT_STATUS_OK, "%s", error);
    return f;
}

static struct fake *fake_new(void)
{
    struct pbft_params params = pbft_params_default(N);
    return fake_of(&params);
}

static void fake_start(struct fake *f)
{
    cr_assert_eq(pthread_create(&f->thread, NULL, fake_run, f), 0);
}

static void fake_stop(struct fake *f)
{
    atomic_store(&f->stop, true);
    (void)pthread_join(f->thread, NULL);
    atomic_store(&f->stop, false);
    for (pbft_id id = 0; id < N; id++) {
        if (f->nets[id] != NULL) pbft_net_close(f->nets[id]);
        pbft_door_free(f->doors[id]);
        f->nets[id] = NULL;
        f->doors[id] = NULL;
        f->peers[id].connection = 0;
    }
}

/* Stopped, they agree on the next configuration, in which one of them has another key; started
 * again, they know no other. */
static void fake_advance(struct fake *f, pbft_id replica)
{
    struct pbft_keypair fresh;
    uint8_t proof[PBFT_EPOCH_PROOF_MAX];
    struct pbft_cluster *next = &f->epochs[f->cluster->epoch];
    cr_assert_eq(pbft_keypair_generate(&fresh), PBFT_STATUS_OK);
    struct pbft_epoch_change change = chain_change(f->cluster, replica, &fresh);
    size_t size = chain_proof(f->cluster, f->keys, &change, 0xe, proof);
    cr_assert_eq(pbft_epoch_next(f->cluster, &pbft_signer_ed25519, (struct pbft_span){proof, size},
                                 next),
                 PBFT_OK);
    f->keys[replica] = fresh;
    f->cluster = next;
}

static void fake_resume(struct fake *f)
{
    for (pbft_id id = 0; id < N; id++)
        fake_listen(f, id);
    fake_start(f);
}

static void fake_free(struct fake *f)
{
    char path[128];
    fake_stop(f);
    pbft_pool_free(f->pool);
    free(f->config.addresses);
    for (size_t i = 0; i < 4; i++)
        pbft_epoch_free(&f->epochs[i]);
    pbft_cluster_unseal(&f->config.cluster);
    static const char *const names[] = {"cluster.conf", "client.conf", "key", PBFT_CLIENT_EPOCHS};
    for (size_t i = 0; i < 4; i++) {
        path_of(f, names[i], path);
        (void)unlink(path);
    }
    (void)rmdir(f->dir);
    free(f);
}

static struct pbft_client *open_with(struct fake *f, uint32_t window, const char *epochs,
                                     char error[256])
{
    struct pbft_client *client;
    struct pbft_client_options options = {.window = window,
                                          .timeout_ns = 20 * SECOND,
                                          .epochs = epochs};
    cr_assert_eq(pbft_client_open(&client, f->dir, &options, error), PBFT_STATUS_OK, "%s", error);
    return client;
}

static struct pbft_client *open_client(struct fake *f, uint32_t window)
{
    char error[256];
    struct pbft_client *client = open_with(f, window, NULL, error);
    cr_assert_str_empty(error);
    return client;
}

static struct pbft_span text_span(const char *text)
{
    return (struct pbft_span){(const uint8_t *)text, strlen(text)};
}

static void expect_text(struct pbft_span got, const char *text)
{
    cr_assert_eq(got.size, strlen(text), "%.*s", (int)got.size, (const char *)got.data);
    cr_assert_eq(memcmp(got.data, text, got.size), 0);
}

static void expect_call(struct pbft_client *client, const char *op, const char *result)
{
    struct pbft_answer answer;
    enum pbft_status status = pbft_client_call(client, text_span(op), 0, &answer);
    cr_assert_eq(status, PBFT_STATUS_OK, "%s", pbft_status_text(status));
    expect_text((struct pbft_span){answer.bytes, answer.size}, result);
    pbft_answer_free(&answer);
}

Test(client, calls_reads_bundles_and_questions)
{
    struct fake *f = fake_new();
    fake_start(f);
    struct pbft_client *client = open_client(f, 0);
    cr_assert_eq(pbft_client_wait(client, 10 * SECOND), PBFT_STATUS_OK);
    expect_call(client, "hello", "re:hello");
    struct pbft_answer answer;
    struct pbft_span ops[3] = {text_span("a"), text_span("bb"), text_span("ccc")};
    cr_assert_eq(pbft_client_call_bundle(client, ops, 3, 0, &answer), PBFT_STATUS_OK);
    static const char *const results[] = {"re:a", "re:bb", "re:ccc"};
    size_t cursor = 0;
    struct pbft_span result;
    for (int i = 0; i < 3; i++) {
        cr_assert(pbft_answer_next(&answer, &cursor, &result));
        expect_text(result, results[i]);
    }
    cr_assert_not(pbft_answer_next(&answer, &cursor, &result));
    pbft_answer_free(&answer);
    cr_assert_eq(pbft_client_read(client, text_span("key"), 0, &answer), PBFT_STATUS_OK);
    expect_text((struct pbft_span){answer.bytes, answer.size}, "re:key");
    cr_assert_eq(answer.mark, 5u);
    cr_assert_not(answer.fallback);
    pbft_answer_free(&answer);
    cr_assert_eq(pbft_client_read_bundle(client, ops, 3, 0, &answer), PBFT_STATUS_OK);
    cr_assert_eq(answer.mark, 5u);
    cr_assert_not(answer.fallback);
    cursor = 0;
    for (int i = 0; i < 3; i++) {
        cr_assert(pbft_answer_next(&answer, &cursor, &result));
        expect_text(result, results[i]);
    }
    cr_assert_not(pbft_answer_next(&answer, &cursor, &result));
    pbft_answer_free(&answer);
    cr_assert_eq(pbft_client_read_bundle(client, ops, 0, 0, &answer), PBFT_STATUS_ARGUMENT);
    for (pbft_id id = 0; id < N; id++) {
        char text[32];
        (void)snprintf(text, sizeof text, "replica %u", id);
        cr_assert_eq(pbft_client_admin(client, id, PBFT_ADMIN_STATUS, (struct pbft_span){NULL, 0},
                                       0, &answer),
                     PBFT_STATUS_OK);
        expect_text((struct pbft_span){answer.bytes, answer.size}, text);
        pbft_answer_free(&answer);
    }
    cr_assert_eq(pbft_client_admin(client, 1, PBFT_ADMIN_EVIDENCE_LIST, (struct pbft_span){NULL, 0},
                                   0, &answer),
                 PBFT_STATUS_REFUSED);
    pbft_answer_free(&answer);
    cr_assert_eq(pbft_client_admin(client, N, PBFT_ADMIN_STATUS, (struct pbft_span){NULL, 0}, 0,
                                   &answer),
                 PBFT_STATUS_ARGUMENT);
    cr_assert_eq(atomic_load(&f->executed), 2u);
    pbft_client_close(client);
    fake_free(f);
}

static void run_with_liar(enum conduct conduct, pbft_id liar, bool counted)
{
    struct fake *f = fake_new();
    f->conduct[liar] = conduct;
    fake_start(f);
    struct pbft_client *client = open_client(f, 4);
    struct pbft_answer answer;
    for (int i = 0; i < 20; i++) {
        char op[16];
        char result[24];
        (void)snprintf(op, sizeof op, "op%d", i);
        (void)snprintf(result, sizeof result, "re:op%d", i);
        expect_call(client, op, result);
        cr_assert_eq(pbft_client_read(client, text_span(op), 0, &answer), PBFT_STATUS_OK);
        expect_text((struct pbft_span){answer.bytes, answer.size}, result);
        pbft_answer_free(&answer);
    }
    struct pbft_client_stats stats;
    pbft_client_stats(client, &stats);
    cr_assert_eq(stats.connected, N);
    for (pbft_id id = 0; id < N; id++)
        if (id != liar) cr_assert_eq(stats.wrong_replies[id], 0u);
    if (counted) cr_assert_gt(stats.wrong_replies[liar], 0u);
    pbft_client_close(client);
    fake_free(f);
}

Test(client, outvotes_a_wrong_result)
{
    run_with_liar(WRONG_RESULT, 0, true);
}

Test(client, outvotes_a_body_that_is_not_its_digests)
{
    run_with_liar(WRONG_DIGEST, 2, true);
}

Test(client, does_without_a_silent_replica)
{
    run_with_liar(SILENT, 3, false);
}

Test(client, two_liars_are_too_many_for_an_answer_and_get_none_through)
{
    struct fake *f = fake_new();
    f->conduct[0] = WRONG_RESULT;
    f->conduct[1] = WRONG_RESULT;
    fake_start(f);
    struct pbft_client *client = open_client(f, 4);
    struct pbft_answer answer;
    cr_assert_eq(pbft_client_call(client, text_span("x"), SECOND / 2, &answer),
                 PBFT_STATUS_TIMEOUT);
    pbft_answer_free(&answer);
    cr_assert_eq(pbft_client_read(client, text_span("x"), SECOND / 2, &answer),
                 PBFT_STATUS_TIMEOUT);
    pbft_answer_free(&answer);
    pbft_client_close(client);
    fake_free(f);
}

struct many {
    struct pbft_client *client;
    unsigned number;
};

static void *call_many(void *context)
{
    struct many *m = context;
    for (unsigned i = 0; i < 40; i++) {
        char op[32];
        char result[40];
        (void)snprintf(op, sizeof op, "thread%u-%u", m->number, i);
        (void)snprintf(result, sizeof result, "re:%s", op);
        expect_call(m->client, op, result);
    }
    return NULL;
}

Test(client, many_threads_share_one_client)
{
    struct fake *f = fake_new();
    fake_start(f);
    struct pbft_client *client = open_client(f, 3); /* fewer places than threads */
    pthread_t threads[8];
    struct many many[8];
    for (unsigned i = 0; i < 8; i++) {
        many[i] = (struct many){client, i};
        cr_assert_eq(pthread_create(&threads[i], NULL, call_many, &many[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++)
        (void)pthread_join(threads[i], NULL);
    cr_assert_eq(atomic_load(&f->executed), 320u, "each once");
    pbft_client_close(client);
    fake_free(f);
}

struct async {
    struct pbft_client *client;
    atomic_uint done, closed, resubmitted;
};

static void async_done(void *context, const struct pbft_answer *answer)
{
    struct async *a = context;
    if (answer->status == PBFT_STATUS_CLOSED) {
        atomic_fetch_add(&a->closed, 1);
        struct pbft_span op = text_span("late"); /* refused: nothing is lost and nothing hangs */
        cr_assert_eq(pbft_client_submit(a->client, &op, 1, 0, async_done, a), PBFT_STATUS_CLOSED);
        return;
    }
    cr_assert_eq(answer->status, PBFT_STATUS_OK);
    if (atomic_fetch_add(&a->resubmitted, 1) < 100) {
        struct pbft_span op = text_span("again");
        cr_assert_eq(pbft_client_submit(a->client, &op, 1, 0, async_done, a), PBFT_STATUS_OK);
    }
    atomic_fetch_add(&a->done, 1);
}

Test(client, callbacks_and_a_window)
{
    struct fake *f = fake_new();
    fake_start(f);
    struct async a = {.client = open_client(f, 4)};
    for (int i = 0; i < 200; i++) {
        struct pbft_span op = text_span("op");
        cr_assert_eq(pbft_client_submit(a.client, &op, 1, 0, async_done, &a), PBFT_STATUS_OK);
    }
    for (int i = 0; i < 2000 && atomic_load(&a.done) < 300; i++)
        (void)nanosleep(&(struct timespec){0, 10000000}, NULL);
    cr_assert_eq(atomic_load(&a.done), 300u);
    cr_assert_eq(atomic_load(&f->executed), 300u);
    pbft_client_close(a.client);
    fake_free(f);
}

static struct pbft_client *open_sessions(struct fake *f, uint32_t sessions, uint32_t window)
{
    char error[256];
    struct pbft_client *client;
    struct pbft_client_options options = {.window = window, .sessions = sessions};
    cr_assert_eq(pbft_client_open(&client, f->dir, &options, error), PBFT_STATUS_OK, "%s", error);
    return client;
}

/* How many sessions the requests came from; each new one must be greater than those before
 * (PROTOCOL 6), or a replica would answer EXPIRED. */
static unsigned sessions_seen(const struct fake *f, unsigned used[], unsigned most)
{
    uint64_t numbers[16];
    unsigned count = 0;
    for (unsigned i = 0; i < atomic_load(&f->executed); i++) {
        unsigned at = 0;
        while (at < count && numbers[at] != f->seen[i].session)
            at++;
        if (at == count) {
            cr_assert_lt(count, most);
            if (count > 0) cr_assert_gt(f->seen[i].session, numbers[count - 1]);
            numbers[count] = f->seen[i].session;
            used[count++] = 0;
        }
        used[at]++;
    }
    return count;
}

Test(client, sessions_share_the_connections_and_the_work)
{
    struct fake *f = fake_new();
    fake_start(f);
    struct async a = {.client = open_sessions(f, 4, 2)};
    for (int i = 0; i < 200; i++) {
        struct pbft_span op = text_span("op");
        cr_assert_eq(pbft_client_submit(a.client, &op, 1, 0, async_done, &a), PBFT_STATUS_OK);
    }
    for (int i = 0; i < 2000 && atomic_load(&a.done) < 300; i++)
        (void)nanosleep(&(struct timespec){0, 10000000}, NULL);
    cr_assert_eq(atomic_load(&a.done), 300u);
    cr_assert_eq(atomic_load(&f->executed), 300u, "each once");
    unsigned used[16];
    cr_assert_eq(sessions_seen(f, used, 4), 4u);
    for (unsigned i = 0; i < 4; i++)
        cr_expect_gt(used[i], 30u, "session %u had %u of 300", i, used[i]);
    struct pbft_client_stats stats;
    pbft_client_stats(a.client, &stats);
    cr_expect_eq(stats.answered, 300u, "added up over the sessions");
    cr_expect_eq(stats.renewed_sessions, 0u);
    pbft_client_close(a.client);
    fake_free(f);
}

Test(client, a_session_can_be_named)
{
    struct fake *f = fake_new();
    fake_start(f);
    struct async a = {.client = open_sessions(f, 3, 4), .resubmitted = 1000};
    struct pbft_span op = text_span("op");
    for (unsigned i = 0; i < 30; i++) /* the last one first: numbers follow use, not the index */
        cr_assert_eq(pbft_client_submit_in(a.client, 2 - i % 3, &op, 1, 0, async_done, &a),
                     PBFT_STATUS_OK);
    cr_expect_eq(pbft_client_submit_in(a.client, 3, &op, 1, 0, async_done, &a),
                 PBFT_STATUS_ARGUMENT);
    cr_expect_eq(pbft_client_submit_read_in(a.client, 3, op, 0, async_done, &a),
                 PBFT_STATUS_ARGUMENT);
    cr_expect_eq(pbft_client_submit_read_in(a.client, 1, op, 0, async_done, &a), PBFT_STATUS_OK);
    for (int i = 0; i < 2000 && atomic_load(&a.done) < 31; i++)
        (void)nanosleep(&(struct timespec){0, 10000000}, NULL);
    cr_assert_eq(atomic_load(&a.done), 31u);
    unsigned used[16];
    cr_assert_eq(sessions_seen(f, used, 3), 3u);
    for (unsigned i = 0; i < 3; i++)
        cr_expect_eq(used[i], 10u, "session %u had %u of 30", i, used[i]);
    pbft_client_close(a.client);
    fake_free(f);
}

/* All of them are gone: each takes a new number, in turn, and nothing is lost or done twice. */
Test(client, expired_sessions_are_replaced_side_by_side)
{
    struct fake *f = fake_new();
    struct async a = {.client = open_sessions(f, 4, 2), .resubmitted = 1000};
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    f->expire_before = (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
    fake_start(f);
    struct pbft_span op = text_span("op");
    for (unsigned i = 0; i < 40; i++)
        cr_assert_eq(pbft_client_submit(a.client, &op, 1, 0, async_done, &a), PBFT_STATUS_OK);
    for (int i = 0; i < 2000 && atomic_load(&a.done) < 40; i++)
        (void)nanosleep(&(struct timespec){0, 10000000}, NULL);
    cr_assert_eq(atomic_load(&a.done), 40u);
    cr_expect_eq(atomic_load(&f->executed), 40u);
    unsigned used[16];
    cr_expect_eq(sessions_seen(f, used, 4), 4u);
    pbft_client_close(a.client);
    fake_free(f);
}

static void wait_done(const struct async *a, unsigned count)
{
    for (int i = 0; i < 2000 && atomic_load(&a->done) < count; i++)
        (void)nanosleep(&(struct timespec){0, 10000000}, NULL);
    cr_assert_eq(atomic_load(&a->done), count);
}

Test(client, the_end_of_one_session_does_not_disturb_another)
{
    struct fake *f = fake_new();
    fake_start(f);
    struct async a = {.client = open_sessions(f, 2, 2), .resubmitted = 1000};
    struct pbft_span op = text_span("op");
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert_eq(pbft_client_submit_in(a.client, i, &op, 1, 0, async_done, &a), PBFT_STATUS_OK);
        wait_done(&a, i + 1);
    }
    uint64_t gone = f->seen[0].session, stays = f->seen[1].session;
    cr_assert_neq(gone, stays);
    atomic_store(&f->expire_one, gone);
    for (uint32_t i = 0; i < 40; i++)
        cr_assert_eq(pbft_client_submit_in(a.client, i % 2, &op, 1, 0, async_done, &a),
                     PBFT_STATUS_OK);
    wait_done(&a, 42);
    cr_assert_eq(atomic_load(&f->executed), 42u, "each once");
    unsigned same = 0, renewed = 0;
    for (unsigned i = 2; i < 42; i++) {
        if (f->seen[i].session == stays) same++;
        if (f->seen[i].session > stays) renewed++;
    }
    cr_expect_eq(same, 20u);
    cr_expect_eq(renewed, 20u);
    struct pbft_client_stats stats;
    pbft_client_stats(a.client, &stats);
    cr_expect_eq(stats.renewed_sessions, 1u);
    pbft_client_close(a.client);
    fake_free(f);
}

/* Or the primary may order a greater number first, and the others would be EXPIRED (PROTOCOL 6). */
Test(client, a_session_is_not_opened_before_the_one_before_it_is)
{
    struct fake *f = fake_new();
    for (pbft_id id = 0; id < N; id++)
        f->conduct[id] = SILENT;
    fake_start(f);
    struct async a = {.client = open_sessions(f, 4, 2)};
    cr_assert_eq(pbft_client_wait(a.client, 10 * SECOND), PBFT_STATUS_OK);
    struct pbft_span op = text_span("op");
    for (uint32_t i = 0; i < 8; i++)
        cr_assert_eq(pbft_client_submit_in(a.client, i % 4, &op, 1, 0, async_done, &a),
                     PBFT_STATUS_OK);
    for (int i = 0; i < 2000 && atomic_load(&f->executed) < 2; i++)
        (void)nanosleep(&(struct timespec){0, 10000000}, NULL);
    (void)nanosleep(&(struct timespec){0, 200000000}, NULL);
    cr_expect_eq(atomic_load(&f->executed), 2u, "its window, but no other session");
    cr_expect_eq(f->seen[0].session, f->seen[1].session);
    pbft_client_close(a.client);
    cr_expect_eq(atomic_load(&a.closed), 8u);
    fake_free(f);
}

/* Nothing that a liar says about one session counts in another; the truth of the others does. */
Test(client, answers_under_another_sessions_number_change_nothing)
{
    struct fake *f = fake_new();
    f->conduct[2] = CROSS;
    fake_start(f);
    struct async a = {.client = open_sessions(f, 4, 2), .resubmitted = 1000};
    struct pbft_span op = text_span("op");
    for (uint32_t i = 0; i < 80; i++) {
        cr_assert_eq(pbft_client_submit_in(a.client, i % 4, &op, 1, 0, async_done, &a),
                     PBFT_STATUS_OK);
        cr_assert_eq(pbft_client_submit_read_in(a.client, i % 4, op, 0, async_done, &a),
                     PBFT_STATUS_OK);
    }
    wait_done(&a, 160);
    unsigned used[16];
    cr_expect_eq(sessions_seen(f, used, 4), 4u, "none was believed to be expired");
    expect_call(a.client, "x", "re:x");
    struct pbft_client_stats stats;
    pbft_client_stats(a.client, &stats);
    cr_expect_eq(stats.renewed_sessions, 0u);
    cr_expect_gt(stats.dropped_frames, 0u, "of no session of ours");
    for (pbft_id id = 0; id < N; id++)
        cr_expect_eq(stats.wrong_replies[id] > 0, id == 2, "replica %u: %u wrong", id,
                     (unsigned)stats.wrong_replies[id]);
    pbft_client_close(a.client);
    fake_free(f);
}

struct reader {
    struct pbft_client *client;
    atomic_uint done;
};

static void read_again(void *context, const struct pbft_answer *answer)
{
    struct reader *r = context;
    if (answer->status == PBFT_STATUS_CLOSED) return;
    cr_assert_eq(answer->status, PBFT_STATUS_OK);
    atomic_fetch_add(&r->done, 1);
    enum pbft_status status =
        pbft_client_submit_read_in(r->client, 0, text_span("r"), 0, read_again, r);
    cr_assert(status == PBFT_STATUS_OK || status == PBFT_STATUS_CLOSED);
}

/* A session that only reads never opens (PROTOCOL 6): another's turn does not wait for it. */
Test(client, a_session_that_only_reads_keeps_none_from_opening)
{
    struct fake *f = fake_new();
    fake_start(f);
    struct async a = {.client = open_sessions(f, 2, 2), .resubmitted = 1000};
    struct reader r = {.client = a.client};
    struct pbft_span op = text_span("op");
    for (int i = 0; i < 6; i++)
        cr_assert_eq(pbft_client_submit_read_in(a.client, 0, op, 0, read_again, &r),
                     PBFT_STATUS_OK);
    for (int i = 0; i < 2000 && atomic_load(&r.done) < 20; i++)
        (void)nanosleep(&(struct timespec){0, 10000000}, NULL);
    cr_assert_geq(atomic_load(&r.done), 20u);
    cr_assert_eq(pbft_client_submit_in(a.client, 1, &op, 1, 0, async_done, &a), PBFT_STATUS_OK);
    wait_done(&a, 1);
    /* The reader was overtaken before it ever wrote: its number is too low by now. */
    cr_assert_eq(pbft_client_submit_in(a.client, 0, &op, 1, 0, async_done, &a), PBFT_STATUS_OK);
    wait_done(&a, 2);
    unsigned used[16];
    cr_expect_eq(sessions_seen(f, used, 2), 2u);
    pbft_client_close(a.client);
    fake_free(f);
}

Test(client, closing_answers_what_is_outstanding)
{
    struct fake *f = fake_new();
    for (pbft_id id = 0; id < N; id++)
        f->conduct[id] = SILENT;
    fake_start(f);
    struct async a = {.client = open_client(f, 4)};
    struct pbft_span op = text_span("op");
    for (int i = 0; i < 20; i++)
        cr_assert_eq(pbft_client_submit(a.client, &op, 1, 0, async_done, &a), PBFT_STATUS_OK);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(pbft_client_submit_read(a.client, op, 0, async_done, &a), PBFT_STATUS_OK);
    cr_assert_eq(pbft_client_wait(a.client, 10 * SECOND), PBFT_STATUS_OK);
    pbft_client_close(a.client);
    cr_assert_eq(atomic_load(&a.closed), 30u);
    fake_free(f);
}

Test(client, an_expired_session_is_replaced_and_the_operation_sent_again)
{
    struct fake *f = fake_new();
    struct pbft_client *client = open_client(f, 4);
    /* Whatever session it opened is below; the next one, a moment later, is above. */
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    f->expire_before = (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
    fake_start(f);
    expect_call(client, "x", "re:x");
    expect_call(client, "y", "re:y");
    struct pbft_client_stats stats;
    pbft_client_stats(client, &stats);
    cr_assert_eq(stats.renewed_sessions, 1u);
    cr_assert_eq(atomic_load(&f->executed), 2u);
    pbft_client_close(client);
    fake_free(f);
}

/* One that may be retired soon is replaced, unless a key may have no second one (PROTOCOL 8): the
 * old one is still open then, and another is refused. */
Test(client, an_idle_session_is_replaced_where_two_may_be_open)
{
    for (uint32_t most = 1; most <= 2; most++) {
        struct pbft_params params = pbft_params_default(N);
        params.sessions_per_client = most;
        params.session_idle_ns = SECOND;
        struct fake *f = fake_of(&params);
        fake_start(f);
        struct pbft_client *client = open_client(f, 1);
        expect_call(client, "a", "re:a");
        (void)nanosleep(&(struct timespec){0, 900000000}, NULL);
        expect_call(client, "b", "re:b");
        unsigned used[16];
        cr_expect_eq(sessions_seen(f, used, 2), most);
        pbft_client_close(client);
        fake_free(f);
    }
}

Test(client, opening_refuses_what_cannot_work)
{
    struct fake *f = fake_new();
    fake_start(f);
    char error[256];
    char path[128];
    struct pbft_client *client;
    struct pbft_client_options wide = {.window = 129};
    cr_assert_eq(pbft_client_open(&client, f->dir, &wide, error), PBFT_STATUS_ARGUMENT);
    cr_assert_null(client);
    struct pbft_client_options many = {.sessions = 257};
    cr_assert_eq(pbft_client_open(&client, f->dir, &many, error), PBFT_STATUS_ARGUMENT);
    cr_assert_eq(pbft_client_open(&client, "/nonexistent", NULL, error), PBFT_STATUS_NOT_FOUND);
    path_of(f, "key", path);
    cr_assert_eq(chmod(path, 0644), 0);
    cr_assert_eq(pbft_client_open(&client, f->dir, NULL, error), PBFT_STATUS_PERMISSION);
    cr_assert_eq(unlink(path), 0);
    struct pbft_keypair stranger;
    cr_assert_eq(pbft_keypair_generate(&stranger), PBFT_STATUS_OK);
    cr_assert_eq(pbft_keypair_save(&stranger, path, error), PBFT_STATUS_OK);
    cr_assert_eq(pbft_client_open(&client, f->dir, NULL, error), PBFT_STATUS_REFUSED);
    cr_assert_not_null(strstr(error, "not among the clients"), "%s", error);
    fake_free(f);
}

/* ---- another epoch (PROTOCOL 29) ---- */

static void expect_epoch(struct fake *f, struct pbft_client *client)
{
    struct pbft_cluster now;
    cr_assert_eq(pbft_client_epoch(client), f->cluster->epoch);
    cr_assert_eq(pbft_client_configuration(client, &now), PBFT_STATUS_OK);
    cr_assert_eq(now.epoch, f->cluster->epoch);
    cr_assert_eq(now.genesis_seq, f->cluster->genesis_seq);
    cr_assert(pbft_digest_equal(&now.id, &f->cluster->id));
    for (pbft_id id = 0; id < N; id++)
        cr_assert(pbft_public_key_equal(&now.replicas[id], &f->keys[id].public));
    uint32_t index = 9;
    cr_assert(pbft_cluster_client(&now, &f->client_key, &index));
    cr_assert_eq(pbft_client_cluster(client)->epoch, 0u, "the file's");
    pbft_epoch_free(&now);
}

Test(client, follows_the_cluster_from_epoch_to_epoch)
{
    struct fake *f = fake_new();
    fake_start(f);
    struct pbft_client *client = open_client(f, 8);
    expect_call(client, "zero", "re:zero");
    expect_epoch(f, client);
    for (pbft_id replica = 0; replica < 3; replica++) {
        fake_stop(f);
        fake_advance(f, replica);
        fake_resume(f);
        expect_call(client, "again", "re:again");
        struct pbft_answer answer;
        cr_assert_eq(pbft_client_read(client, text_span("get"), 0, &answer), PBFT_STATUS_OK);
        expect_text((struct pbft_span){answer.bytes, answer.size}, "re:get");
        pbft_answer_free(&answer);
        cr_assert_eq(pbft_client_wait(client, 10 * SECOND), PBFT_STATUS_OK);
        expect_epoch(f, client);
        struct pbft_client_stats stats;
        pbft_client_stats(client, &stats);
        cr_assert_eq(stats.renewed_sessions, 0u, "the session goes on");
        cr_assert_eq(stats.timeouts, 0u);
    }
    pbft_client_close(client);
    /* The cluster's file is as it was: three steps at once. */
    char error[256];
    client = open_with(f, 8, "", error);
    expect_call(client, "late", "re:late");
    expect_epoch(f, client);
    pbft_client_close(client);
    fake_free(f);
}

struct tally {
    pthread_mutex_t lock;
    unsigned ok, other;
};

static void count_answer(void *context, const struct pbft_answer *answer)
{
    struct tally *t = context;
    (void)pthread_mutex_lock(&t->lock);
    if (answer->status == PBFT_STATUS_OK)
        t->ok++;
    else
        t->other++;
    (void)pthread_mutex_unlock(&t->lock);
}

static unsigned tally_done(struct tally *t)
{
    (void)pthread_mutex_lock(&t->lock);
    unsigned done = t->ok + t->other;
    (void)pthread_mutex_unlock(&t->lock);
    return done;
}

/* Writes, reads and questions that were asked in one epoch are answered in another; callers go on
 * asking while the nets change under them. */
Test(client, what_is_outstanding_is_answered_in_the_next_epoch)
{
    struct fake *f = fake_new();
    struct tally t = {.lock = PTHREAD_MUTEX_INITIALIZER};
    fake_start(f);
    struct pbft_client *client = open_client(f, 8);
    expect_call(client, "zero", "re:zero");
    unsigned asked = 0;
    for (pbft_id replica = 0; replica < 4; replica++) {
        fake_stop(f); /* from here on nobody answers */
        for (unsigned i = 0; i < 24; i++) {
            struct pbft_span op = text_span("op");
            if (i % 3 == 0)
                cr_assert_eq(pbft_client_submit_read(client, op, 0, count_answer, &t),
                             PBFT_STATUS_OK);
            else
                cr_assert_eq(pbft_client_submit(client, &op, 1, 0, count_answer, &t),
                             PBFT_STATUS_OK);
            asked++;
        }
        cr_assert_eq(pbft_client_submit_admin(client, replica, PBFT_ADMIN_STATUS, text_span(""), 0,
                                              count_answer, &t),
                     PBFT_STATUS_OK);
        asked++;
        struct timespec pause = {0, 30 * 1000 * 1000};
        (void)nanosleep(&pause, NULL); /* some are in the match, some wait */
        fake_advance(f, replica);
        fake_resume(f);
        pbft_id who;
        char text[96];
        while (tally_done(&t) < asked) {
            struct pbft_client_stats stats;
            pbft_client_stats(client, &stats);
            (void)pbft_client_refused(client, &who, text);
            (void)pbft_client_epoch(client);
        }
        cr_assert_eq(t.other, 0u);
        expect_epoch(f, client);
    }
    pbft_client_close(client);
    fake_free(f);
}

/* ---- what was learned is kept ---- */

static pbft_epoch kept_epoch(struct fake *f)
{
    char path[128];
    struct pbft_cluster cluster = f->config.cluster;
    path_of(f, PBFT_CLIENT_EPOCHS, path);
    if (pbft_epoch_file_load(path, &cluster) != PBFT_STATUS_OK) return 0;
    pbft_epoch epoch = cluster.epoch;
    pbft_epoch_free(&cluster);
    return epoch;
}

static void learn(struct fake *f, pbft_id replica)
{
    fake_stop(f);
    fake_advance(f, replica);
    fake_resume(f);
}

static void expect_nothing(struct pbft_client *client)
{
    struct pbft_answer answer;
    enum pbft_status status = pbft_client_call(client, text_span("x"), SECOND / 2, &answer);
    cr_assert_eq(status, PBFT_STATUS_TIMEOUT, "%s", pbft_status_text(status));
    pbft_answer_free(&answer);
    status = pbft_client_read(client, text_span("x"), SECOND / 2, &answer);
    cr_assert_eq(status, PBFT_STATUS_TIMEOUT, "%s", pbft_status_text(status));
    pbft_answer_free(&answer);
}

Test(client, a_later_handle_begins_where_an_earlier_one_ended)
{
    struct fake *f = fake_new();
    fake_start(f);
    struct pbft_client *client = open_client(f, 8);
    expect_call(client, "zero", "re:zero");
    cr_assert_eq(kept_epoch(f), 0u);
    for (pbft_id replica = 0; replica < 2; replica++) {
        learn(f, replica);
        expect_call(client, "again", "re:again");
        cr_assert_eq(kept_epoch(f), replica + 1u, "as soon as a quorum lets us in");
    }
    pbft_client_close(client);
    fake_stop(f);
    client = open_client(f, 8); /* nobody is there to tell it */
    expect_epoch(f, client);
    fake_resume(f);
    expect_call(client, "more", "re:more");
    learn(f, 2);
    expect_call(client, "third", "re:third");
    cr_assert_eq(kept_epoch(f), 3u);
    pbft_client_close(client);
    fake_free(f);
}

/* All replaced keys of the first epoch, in wrong hands: whoever begins there believes them. */
Test(client, replaced_keys_are_not_believed_again)
{
    char error[256];
    struct fake *f = fake_new();
    struct pbft_keypair old[N];
    memcpy(old, f->keys, sizeof old);
    fake_start(f);
    struct pbft_client *client = open_client(f, 8);
    learn(f, 1);
    expect_call(client, "one", "re:one");
    pbft_client_close(client);
    fake_stop(f);
    const struct pbft_cluster *present = f->cluster;
    f->cluster = &f->config.cluster;
    memcpy(f->keys, old, sizeof old);
    for (pbft_id id = 0; id < N; id++)
        f->conduct[id] = WRONG_RESULT;
    fake_resume(f);
    client = open_with(f, 8, "", error);
    expect_call(client, "x", "no:x");
    pbft_client_close(client);
    client = open_client(f, 8);
    cr_assert_eq(pbft_client_epoch(client), present->epoch);
    expect_nothing(client);
    pbft_client_close(client);
    fake_free(f);
}

/* f liars and one replaced key are f+1, and are there before anybody else: they can but wait until
 * a quorum has let this client in, and by then it knows the epoch (PROTOCOL 29, 31, 32). */
Test(client, f_plus_one_keys_of_the_first_epoch_decide_nothing)
{
    struct fake *f = fake_new();
    struct tally t = {.lock = PTHREAD_MUTEX_INITIALIZER};
    for (pbft_id id = 2; id < N; id++) {
        pbft_net_close(f->nets[id]);
        f->nets[id] = NULL;
    }
    f->conduct[0] = f->conduct[1] = WRONG_RESULT;
    fake_start(f);
    struct pbft_client *client = open_client(f, 8);
    struct pbft_span op = text_span("op");
    cr_assert_eq(pbft_client_submit(client, &op, 1, 0, count_answer, &t), PBFT_STATUS_OK);
    expect_nothing(client);
    cr_assert_eq(tally_done(&t), 0u);
    cr_assert_eq(pbft_client_wait(client, SECOND / 10), PBFT_STATUS_TIMEOUT);
    f->conduct[1] = HONEST; /* under its new key */
    learn(f, 1);
    expect_call(client, "late", "re:late");
    expect_epoch(f, client);
    while (tally_done(&t) == 0) {
        struct timespec pause = {0, 1000 * 1000};
        (void)nanosleep(&pause, NULL);
    }
    cr_assert_eq(t.ok, 1u);
    pbft_client_close(client);
    fake_free(f);
}

static void put_file(struct fake *f, const char *bytes, size_t size)
{
    char path[128];
    path_of(f, PBFT_CLIENT_EPOCHS, path);
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, size, file), size);
    (void)fclose(file);
}

/* It is told of, ignored, and replaced by what a quorum has signed. */
Test(client, a_bad_file_of_epochs_is_no_obstacle)
{
    char path[128], error[256];
    struct fake *f = fake_new();
    struct epoch_chain *foreign = chain_new(N, 3);
    path_of(f, PBFT_CLIENT_EPOCHS, path);
    fake_start(f);
    learn(f, 2);
    for (unsigned i = 0; i < 4; i++) {
        if (i == 0) put_file(f, "", 0);
        if (i == 1) put_file(f, "no epochs", 9);
        if (i == 2) cr_assert_eq(pbft_epoch_file_save(path, &foreign->at[3]), PBFT_STATUS_OK);
        if (i == 3) cr_assert_eq(truncate(path, 300), 0); /* ours, cut */
        struct pbft_client *client = open_with(f, 8, NULL, error);
        cr_assert_not_null(strstr(error, "was not used"), "%s", error);
        cr_assert_leq(pbft_client_epoch(client), 1u); /* it may have been told already */
        expect_call(client, "x", "re:x");
        cr_assert_eq(kept_epoch(f), 1u, "%u", i);
        pbft_client_close(client);
    }
    /* Where nothing can be kept. */
    for (unsigned i = 0; i < 2; i++) {
        struct pbft_client *client = open_with(f, 8, i == 0 ? "/nonexistent/epochs" : "", error);
        cr_assert_str_empty(error);
        expect_call(client, "x", "re:x");
        expect_epoch(f, client);
        pbft_client_close(client);
    }
    chain_free(foreign);
    fake_free(f);
}

/* Two processes share the file, and one of them knows more. */
Test(client, what_another_has_learned_is_not_undone)
{
    char path[128];
    struct fake *f = fake_new();
    struct pbft_keypair first[N];
    path_of(f, PBFT_CLIENT_EPOCHS, path);
    fake_start(f);
    struct pbft_client *client = open_client(f, 8);
    fake_stop(f);
    fake_advance(f, 0);
    memcpy(first, f->keys, sizeof first);
    fake_advance(f, 1);
    fake_advance(f, 2);
    cr_assert_eq(pbft_epoch_file_save(path, f->cluster), PBFT_STATUS_OK);
    f->cluster = &f->epochs[0];
    memcpy(f->keys, first, sizeof first);
    fake_resume(f);
    expect_call(client, "x", "re:x");
    cr_assert_eq(pbft_client_epoch(client), 1u);
    pbft_client_close(client);
    cr_assert_eq(kept_epoch(f), 3u);
    fake_free(f);
}
