/* Backups of a running cluster, and clusters that begin with one (PROTOCOL 2, 24, 30). */
#include "crypto/door.h"
#include "crypto/keys.h"
#include "net/net.h"
#include "replica/config.h"
#include "replica/pool.h"
#include "service/kv.h"
#include "tests/live/live.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECKPOINT_INTERVAL 128 /* what `init` writes */

TestSuite(live_snapshot, .timeout = 900);

/* ---- helpers ---- */

static void beside(const struct live *l, char path[256], const char *name)
{
    (void)snprintf(path, 256, "%s/../%s", l->dir, name);
}

/* A command line for a shell; @ is pbftctl. Its exit status; what it says goes to `out`. */
__attribute__((format(printf, 3, 4))) static int sh(char *out, size_t capacity, const char *format,
                                                    ...)
{
    char text[1200], command[2600] = "{ ";
    size_t used = 2;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (const char *at = text; *at != '\0' && used < sizeof command - 600; at++)
        used += *at == '@' ? (size_t)snprintf(command + used, 512, "%s", live_bin("pbftctl"))
                           : (size_t)snprintf(command + used, 2, "%c", *at);
    (void)snprintf(command + used, sizeof command - used, "; } 2>&1");
    char shell[] = "/bin/sh", option[] = "-c";
    return live_run((char *[]){shell, option, command, NULL}, out, capacity);
}

static void expect(int code, int expected, const char *out, const char *says)
{
    cr_expect_eq(code, expected, "exit status %d, not %d: %s", code, expected, out);
    if (says != NULL) cr_expect_not_null(strstr(out, says), "no '%s' in: %s", says, out);
}

static void put(const struct live *l, const char *key, const char *value)
{
    cr_assert_eq(live_ctl(l, NULL, 0, "put", key, value, "--timeout", "60s", NULL), 0, "put %s",
                 key);
}

static void expect_value(const struct live *l, const char *key, const char *value)
{
    char out[256], line[256];
    (void)snprintf(line, sizeof line, "%s\n", value);
    cr_expect_eq(live_ctl(l, out, sizeof out, "get", key, NULL), 0, "get %s", key);
    cr_expect_str_eq(out, line, "%s is %s", key, out);
}

/* Revision, created, version of a key. */
static void meta_of(const struct live *l, const char *key, char out[512])
{
    cr_expect_eq(live_ctl(l, out, 512, "--json", "get", key, NULL), 0);
}

/* The restored cluster in another folder, with the same addresses. */
static void restored(struct live *to, const struct live *from, const char *folder)
{
    *to = *from;
    (void)snprintf(to->dir, sizeof to->dir, "%.100s/../%.16s", from->dir, folder);
    (void)snprintf(to->log, sizeof to->log, "%.150s.2", from->log);
    memset(to->own, 0, sizeof to->own);
    to->up = 0;
    to->dead = to->faulty = 0;
}

static void start_again(struct live *l)
{
    for (unsigned node = 0; node < l->nodes; node++)
        live_restart(l, node, NULL);
}

static void stop_all(struct live *l)
{
    for (unsigned node = 0; node < l->nodes; node++)
        if (l->own[node] > 0) live_terminate(l, node);
}

/* Ends both, and removes the folder when all went well. */
static void finish(struct live *old, struct live *made)
{
    stop_all(made);
    (void)unlink(made->log);
    live_stop(old);
}

static void advance(const struct live *l, json_int_t batches)
{
    json_int_t from = live_number(l, 0, "last_executed");
    for (unsigned i = 0; i < 200 && live_number(l, 0, "last_executed") < from + batches; i++) {
        struct live_load load;
        live_load_start(&load, l, "4", "1", "1", "0");
        json_decref(live_load_finish(&load));
    }
    cr_assert_geq(live_number(l, 0, "last_executed"), from + batches);
}

/* ---- a client that chooses its session and request numbers itself ---- */

static uint64_t session; /* above all that the key has opened (PROTOCOL 6) */

struct raw {
    struct pbft_cluster_config config;
    struct pbft_keypair keypair;
    struct pbft_pool *pool;
    struct pbft_door *door;
    struct pbft_net *net;
};

static void raw_open(struct raw *r, const struct live *l)
{
    char path[256], error[256];
    const char *addresses[PBFT_REPLICAS_MAX] = {NULL};
    memset(r, 0, sizeof *r);
    (void)snprintf(path, sizeof path, "%s/cluster.conf", l->dir);
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (session == 0) session = (uint64_t)now.tv_sec * UINT64_C(1000000000);
    cr_assert_eq(pbft_crypto_init(), PBFT_STATUS_OK);
    cr_assert_eq(pbft_cluster_config_load(&r->config, path, error), PBFT_STATUS_OK, "%s", error);
    (void)snprintf(path, sizeof path, "%s/client/key", l->dir);
    cr_assert_eq(pbft_keypair_load(&r->keypair, path, error), PBFT_STATUS_OK, "%s", error);
    for (unsigned i = 0; i < l->nodes; i++)
        addresses[i] = r->config.addresses[i].client;
    r->pool = pbft_pool_new(64u << 20);
    struct pbft_door_config door = {.cluster = &r->config.cluster,
                                    .signer = &pbft_signer_ed25519,
                                    .cache_entries = 1};
    r->door = pbft_door_new(&door);
    struct pbft_net_config net = {.cluster = &r->config.cluster,
                                  .self = &r->keypair,
                                  .pool = pbft_pool_frames(r->pool),
                                  .addresses = addresses};
    cr_assert_eq(pbft_net_open(&r->net, &net, error), PBFT_STATUS_OK, "%s", error);
}

static void raw_close(struct raw *r)
{
    pbft_net_close(r->net);
    pbft_door_free(r->door);
    pbft_pool_free(r->pool);
    pbft_cluster_config_free(&r->config);
}

static struct pbft_frame *raw_request(struct raw *r, uint64_t t, struct pbft_span op)
{
    uint8_t items[512];
    pbft_put_u32(items, (uint32_t)op.size);
    memcpy(items + 4, op.data, op.size);
    struct pbft_msg msg = {.type = PBFT_REQUEST};
    msg.request.client = r->keypair.public;
    msg.request.session = session;
    msg.request.t = t;
    msg.request.op_count = 1;
    msg.request.ops = (struct pbft_span){items, 4 + op.size};
    size_t size = pbft_wire_size(&msg);
    struct pbft_frame *frame = pbft_frame_new(pbft_pool_frames(r->pool), (uint32_t)size);
    cr_assert_not_null(frame);
    frame->size = (uint32_t)pbft_wire_encode(&msg, frame->bytes, size);
    pbft_frame_sign(&r->config.cluster, &pbft_signer_ed25519, &r->keypair.secret, frame->bytes,
                    frame->size);
    return frame;
}

/* What is in a REPLY to (session, t) with a body: outcome and where it was executed. */
static bool raw_reply(struct raw *r, const struct pbft_net_event *e, uint64_t t, uint8_t *outcome,
                      pbft_seq *seq, struct pbft_kv_meta *meta)
{
    struct pbft_msg msg;
    struct pbft_span result;
    struct pbft_kv_result decoded;
    size_t at = 4;
    if (pbft_door_open_client(r->door, &e->peer, pbft_frame_span(e->frame), &msg) != PBFT_OK ||
        msg.type != PBFT_REPLY || msg.reply.session != session || msg.reply.t != t ||
        msg.reply.body.size < 4 || !pbft_wire_next_item(msg.reply.body, &at, &result) ||
        !pbft_kv_decode_result(result, &decoded))
        return false;
    *outcome = msg.reply.outcome;
    *seq = msg.reply.seq;
    *meta = decoded.meta;
    return true;
}

/* Puts (key, value) as request t; asks until the replica with the body has answered. */
static pbft_seq raw_put(const struct live *l, uint64_t t, const char *key,
                        struct pbft_kv_meta *meta)
{
    struct raw r;
    uint8_t op[256], outcome = 255;
    pbft_seq seq = 0;
    raw_open(&r, l);
    struct pbft_span k = {(const uint8_t *)key, strlen(key)};
    struct pbft_frame *frame =
        raw_request(&r, t, (struct pbft_span){op, pbft_kv_encode_put(op, sizeof op, k, k)});
    bool answered = false;
    struct timespec begun, now;
    uint64_t sent = 0;
    (void)clock_gettime(CLOCK_MONOTONIC, &begun);
    for (now = begun; now.tv_sec < begun.tv_sec + 20 && !answered;
         (void)clock_gettime(CLOCK_MONOTONIC, &now)) {
        struct pbft_net_event events[32];
        uint64_t due =
            (uint64_t)(now.tv_sec - begun.tv_sec) * 2 + 1; /* again after half a second */
        for (pbft_id id = 0; sent < due && id < l->nodes; id++) {
            struct pbft_peer to = {.kind = PBFT_PEER_REPLICA, .index = id};
            (void)pbft_net_send(r.net, &to, frame);
        }
        sent = sent < due ? sent + 1 : sent;
        size_t count = pbft_net_poll(r.net, 100000000, events, 32);
        for (size_t i = 0; i < count; i++) {
            if (events[i].kind != PBFT_NET_FRAME) continue;
            answered = answered || raw_reply(&r, &events[i], t, &outcome, &seq, meta);
            pbft_frame_release(events[i].frame);
        }
    }
    pbft_frame_release(frame);
    raw_close(&r);
    cr_assert(answered, "request %u was not answered", (unsigned)t);
    cr_expect_eq(outcome, PBFT_OUTCOME_EXECUTED);
    return seq;
}

/* ---- save and verify ---- */

/* A disk that is full, or a file that may not grow: what is in the way is said, and nothing is left
 * behind. */
Test(live_snapshot, what_cannot_be_written_says_why)
{
    struct live l;
    char out[4096], a[256], large[20001];
    live_start(&l, 4, 1, NULL, NULL, NULL);
    beside(&l, a, "a.snap");
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    put(&l, "large", large);
    expect(sh(out, sizeof out, "trap '' XFSZ; ulimit -f 16; @ --cluster %s snapshot save %s", l.dir,
              a),
           1, out, "File too large.");
    expect(sh(out, sizeof out, "ls %s/.. | grep -c snap", l.dir), 1, out, "0\n");
    live_stop(&l);
}

Test(live_snapshot, saved_under_load_verified_and_never_believed)
{
    struct live l;
    char out[4096], a[256], b[256];
    live_start(&l, 4, 2, NULL, NULL, NULL);
    beside(&l, a, "a.snap");
    beside(&l, b, "b.snap");
    put(&l, "first", "1");
    expect(sh(out, sizeof out, "@ --cluster %s snapshot save %s", l.dir, a), 0, out, "saved");
    struct live_load load;
    live_load_start(&load, &l, "8", "4", "6", "10");
    live_sleep_ms(2500);
    expect(sh(out, sizeof out, "@ --cluster %s snapshot save %s", l.dir, b), 0, out, "saved");
    json_t *result = live_load_finish(&load);
    cr_expect_eq(json_integer_value(json_object_get(result, "errors")), 0);
    json_decref(result);

    expect(sh(out, sizeof out, "@ snapshot verify %s --genesis %s/cluster.conf", a, l.dir), 0, out,
           "verified");
    expect(sh(out, sizeof out, "@ --cluster %s snapshot verify %s --json", l.dir, b), 0, out,
           "\"seq\":");
    expect(sh(out, sizeof out, "@ --cluster %s snapshot save %s", l.dir, a), 2, out, "overwritten");
    expect(sh(out, sizeof out, "@ --cluster %s/client-1 snapshot save %s.1", l.dir, a), 4, out,
           "only the administrator");
    expect(sh(out, sizeof out, "ls %s/.. | grep -c snap", l.dir), 0, out, "2\n"); /* no more */
    expect(sh(out, sizeof out, "@ snapshot verify %s", a), 2, out, "which cluster");
    expect(sh(out, sizeof out, "@ --cluster %s snapshot verify %s.none", l.dir, a), 2, out,
           "cannot read");
    expect(sh(out, sizeof out, "@ snapshot verify %s --genesis %s/none", a, l.dir), 2, out,
           "cannot open");
    expect(sh(out, sizeof out, "@ --cluster %s snapshot save %s.2 --from 4", l.dir, a), 2, out,
           "--from");
    expect(sh(out, sizeof out, "@ --cluster %s snapshot save %s.2 --from 3", l.dir, a), 0, out,
           "saved");
    expect(sh(out, sizeof out, "@ --cluster %s snapshot mend %s", l.dir, a), 2, out, "verify");

    /* A byte of a page; of the head; cut; and the genesis of another cluster. */
    expect(sh(out, sizeof out,
              "cp %s %s.t && printf X | dd of=%s.t bs=1 seek=1500 conv=notrunc 2>/dev/null && @ "
              "--cluster %s snapshot verify %s.t",
              a, a, a, l.dir, a),
           4, out, "refused");
    expect(sh(out, sizeof out,
              "cp %s %s.t && printf X | dd of=%s.t bs=1 seek=60 conv=notrunc 2>/dev/null && @ "
              "--cluster %s snapshot verify %s.t",
              a, a, a, l.dir, a),
           4, out, "refused");
    expect(sh(out, sizeof out, "head -c 900 %s >%s.t; @ --cluster %s snapshot verify %s.t", a, a,
              l.dir, a),
           4, out, "cut");
    expect(sh(out, sizeof out,
              "@ init %s/../o >/dev/null && @ snapshot verify %s --genesis %s/../o/cluster.conf",
              l.dir, a, l.dir),
           4, out, "another cluster");
    live_stop(&l);
}

/* One replica serves altered pages: the others' are enough, and it is named when it is asked. */
Test(live_snapshot, a_liar_does_not_spoil_it)
{
    struct live l;
    char out[4096], a[256];
    live_start(&l, 4, 1, "2=wrong-page", NULL, NULL);
    beside(&l, a, "a.snap");
    advance(&l, CHECKPOINT_INTERVAL); /* pages enough for everybody to be asked */
    expect(sh(out, sizeof out, "@ --cluster %s snapshot save %s", l.dir, a), 0, out, "saved");
    expect(sh(out, sizeof out, "@ --cluster %s snapshot verify %s", l.dir, a), 0, out, "verified");
    expect(sh(out, sizeof out, "@ --cluster %s snapshot save %s.2 --from 2 --timeout 3s", l.dir, a),
           3, out, "replica 2 served what does not verify");
    cr_expect_not_null(strstr(out, "no replica serves"), "%s", out);
    live_stop(&l);
}

/* ---- restore ---- */

Test(live_snapshot, a_restored_cluster_goes_on)
{
    struct live l, m;
    char out[4096], a[256], before[512], after[512];
    struct pbft_kv_meta first, again;
    live_start_sync(&l, 4, 2);
    beside(&l, a, "a.snap");
    put(&l, "one", "1");
    put(&l, "two", "1");
    put(&l, "two", "2");
    advance(&l, CHECKPOINT_INTERVAL);
    pbft_seq executed = raw_put(&l, 1, "session", &first);
    cr_expect_eq(first.version, 1u);
    meta_of(&l, "two", before);
    expect(sh(out, sizeof out, "@ --cluster %s snapshot save %s", l.dir, a), 0, out, "saved");
    json_int_t then = live_number(&l, 0, "last_executed");
    put(&l, "two", "after the snapshot");
    live_kill9_all(&l);

    expect(sh(out, sizeof out, "@ --cluster %s snapshot restore %s --to %s/../m", l.dir, a, l.dir),
           0, out, "begins with checkpoint");
    expect(sh(out, sizeof out, "@ --cluster %s snapshot restore %s --to %s/../m", l.dir, a, l.dir),
           2, out, "overwrites nothing");
    expect(sh(out, sizeof out, "stat -c %%a %s/../m/node-1/key %s/../m/client/key", l.dir, l.dir),
           0, out, "600\n600\n");
    restored(&m, &l, "m");
    start_again(&m);
    put(&m, "new", "here");
    expect_value(&m, "one", "1");
    expect_value(&m, "two", "2");
    expect_value(&m, "new", "here");
    meta_of(&m, "two", after);
    cr_expect_str_eq(before, after, "revisions are the old ones");
    /* Executed before the snapshot: answered from its record, not executed again (PROTOCOL 7). */
    pbft_seq reported = raw_put(&m, 1, "session", &again);
    cr_expect_eq(reported, executed);
    cr_expect_eq(again.version, 1u);
    cr_expect_eq(again.mod_revision, first.mod_revision);
    pbft_seq next = raw_put(&m, 2, "session", &again);
    cr_expect_gt(next, executed);
    cr_expect_eq(again.version, 2u);
    cr_expect_gt(again.mod_revision, first.mod_revision, "revisions, and so fencing tokens, rise");
    cr_expect_geq(live_number(&m, 0, "last_executed"), then - CHECKPOINT_INTERVAL);

    /* The primary is lost before the first new checkpoint: genesis is the proof (FAULTS 4.10). */
    live_kill9(&m, 0);
    put(&m, "one", "1b");
    live_restart(&m, 0, NULL);
    cr_expect(live_logged(&m, 0, "restored", 90));
    /* Without the checkpoint on disk, too: genesis is fetched from the others. */
    live_kill9(&m, 3);
    expect(sh(out, sizeof out, "rm %s/node-3/data/pages.mdb", m.dir), 0, out, NULL);
    live_restart(&m, 3, NULL);
    cr_expect(live_logged(&m, 3, "transfer_done", 90));
    live_kill9(&m, 1);
    put(&m, "two", "3"); /* with the votes of those that came back */
    live_restart(&m, 1, NULL);
    json_int_t stable = live_number(&m, 0, "stable");
    advance(&m, 2 * CHECKPOINT_INTERVAL);
    cr_expect(live_roots_agree(&m, (uint64_t)stable), "no checkpoint further on");
    live_kill9_all(&m);
    start_again(&m);
    expect_value(&m, "two", "3");
    expect_value(&m, "one", "1b");

    /* It is a cluster like any other: a snapshot of it is of it, and not of the old one. */
    expect(sh(out, sizeof out, "@ --cluster %s snapshot save %s.2", m.dir, a), 0, out, "saved");
    expect(sh(out, sizeof out, "@ --cluster %s snapshot verify %s.2", m.dir, a), 0, out,
           "verified");
    expect(sh(out, sizeof out, "@ --cluster %s snapshot verify %s.2", l.dir, a), 4, out,
           "another cluster");
    expect(sh(out, sizeof out, "@ --cluster %s snapshot verify %s", m.dir, a), 4, out,
           "another cluster");
    finish(&l, &m);
}

/* Two hosts restore one snapshot; in memory mode, too; and what is refused. */
Test(live_snapshot, restored_on_several_hosts)
{
    struct live l, m;
    char out[4096], a[256];
    live_start_sync(&l, 4, 1);
    beside(&l, a, "a.snap");
    put(&l, "one", "1");
    expect(sh(out, sizeof out, "@ --cluster %s snapshot save %s", l.dir, a), 0, out, "saved");
    put(&l, "two", "2");
    expect(sh(out, sizeof out, "@ --cluster %s snapshot save %s.2", l.dir, a), 0, out, "saved");
    live_kill9_all(&l);
    /* Host h has nodes 0 and 1, host m the others and the client. */
    expect(sh(out, sizeof out,
              "cd %s/.. && mkdir h g && cp -r c/cluster.conf c/node-0 c/node-1 h && cp -r "
              "c/cluster.conf c/node-2 c/node-3 c/client g",
              l.dir),
           0, out, NULL);
    /* A third one has the client alone: with no replica's key there is nothing to begin. */
    expect(sh(out, sizeof out,
              "cd %s/.. && mkdir k && cp -r c/cluster.conf c/client k && "
              "@ --cluster k snapshot restore %s --to m",
              l.dir, a),
           2, out, "there is no node to restore");
    expect(sh(out, sizeof out, "test ! -e %s/../m", l.dir), 0, out, NULL);
    expect(sh(out, sizeof out, "@ --cluster %s/../g snapshot restore %s --to %s/../m", l.dir, a,
              l.dir),
           0, out, "2 nodes, 1 client");
    expect(sh(out, sizeof out,
              "@ --cluster %s/../h snapshot restore %s.2 --to %s/../n --with %s/../m/cluster.conf",
              l.dir, a, l.dir, l.dir),
           4, out, "does not begin with");
    expect(sh(out, sizeof out,
              "@ --cluster %s/../h snapshot restore %s --to %s/../n --with %s/cluster.conf", l.dir,
              a, l.dir, l.dir),
           4, out, "does not begin with");
    expect(sh(out, sizeof out,
              "@ --cluster %s/../h snapshot restore %s --to %s/../n --with %s/../m/cluster.conf",
              l.dir, a, l.dir, l.dir),
           0, out, "2 nodes, 0 client");
    /* `up` would want all four. */
    cr_expect_null(strstr(out, "pbftctl up"), "%s", out);
    cr_expect_not_null(strstr(out, "n/node-0/node.conf; pbftd --config "), "%s", out);
    cr_expect_not_null(strstr(out, "n/node-1/node.conf ("), "%s", out);
    expect(sh(out, sizeof out, "mv %s/../n/node-* %s/../m", l.dir, l.dir), 0, out, NULL);
    expect(sh(out, sizeof out,
              "@ --cluster %s/../h snapshot restore %s --to %s/../o --with %s/../m/cluster.conf",
              l.dir, a, l.dir, l.dir),
           4, out, "there already"); /* a key begins once in a cluster (PROTOCOL 29) */
    cr_expect_not_null(strstr(out, "`pbftctl replica replace 0` gives it a new one"), "%s", out);

    expect(sh(out, sizeof out, "%s --check-data %s/../m/node-3/data", live_bin("pbftd"), l.dir), 0,
           out, "genesis");
    /* Node 3 lacks its state at its first start; node 2 has that of another moment. */
    const char *bin = live_bin("pbftd");
    expect(sh(out, sizeof out,
              "cd %s/../m && cp -r node-3 k3 && rm node-3/data/pages.mdb && %s --config "
              "node-3/node.conf",
              l.dir, bin),
           4, out, "not found");
    cr_expect_not_null(strstr(out, "When the other replicas run, `pbftctl replica replace 3`"),
                       "%s", out);
    expect(sh(out, sizeof out, "cd %s/../m && rm -r node-3 && mv k3 node-3", l.dir), 0, out, NULL);
    expect(sh(out, sizeof out,
              "cd %s/../m && cp node-3/data/pages.mdb keep && printf XXXX | dd "
              "of=node-3/data/pages.mdb bs=1 seek=%d conv=notrunc 2>/dev/null; %s --config "
              "node-3/node.conf --check-config",
              l.dir, 3 * 4096 + 2000, bin),
           0, out, "ok");
    expect(sh(out, sizeof out, "cd %s/../m && mv keep node-3/data/pages.mdb", l.dir), 0, out, NULL);

    restored(&m, &l, "m");
    for (unsigned node = 0; node < 4; node++)
        live_restart(&m, node, node == 1 ? "memory" : NULL);
    expect_value(&m, "one", "1");
    char none[64];
    cr_expect_eq(live_ctl(&m, none, sizeof none, "get", "two", NULL), 1);
    put(&m, "two", "again");
    /* The second start in memory mode is mute, and fetches genesis like any laggard. */
    live_terminate(&m, 1);
    live_restart(&m, 1, "memory");
    live_until(&m, 1, "mute", 1);
    cr_expect(live_logged(&m, 1, "transfer_done", 90));
    put(&m, "two", "and again");
    expect_value(&m, "two", "and again");
    finish(&l, &m);
}
