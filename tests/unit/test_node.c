/* replica/node through a virtual cluster: admission, replies, reads, status, the log's bound. */
#include "replica/node_internal.h"

#include "pbft/quorum.h"
#include "service/kv.h"
#include "tests/sim/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define SOON (SIM_SECOND * 20)

/* What clients were sent. */
struct seen {
    unsigned replies, executed, bodies, busy, query_replies, query_bodies, admin;
    pbft_signers body_from, reply_from;
    char admin_body[4096];
};

static bool watch(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct seen *seen = context;
    if (!p->to_client) return true;
    struct pbft_door_config config = {.cluster = sim_cluster(sim),
                                      .signer = &pbft_signer_fast,
                                      .cache_entries = 1};
    struct pbft_door *door = pbft_door_new(&config);
    struct pbft_peer from = {PBFT_PEER_REPLICA, p->from, 1};
    struct pbft_msg msg;
    cr_assert_eq(pbft_door_open_client(door, &from, pbft_frame_span(p->frame), &msg), PBFT_OK);
    if (msg.type == PBFT_REPLY) {
        bool body = (msg.reply.flags & PBFT_REPLY_HAS_BODY) != 0;
        seen->replies++;
        seen->executed += msg.reply.outcome == PBFT_OUTCOME_EXECUTED;
        seen->bodies += body;
        seen->reply_from |= pbft_signers_of(p->from);
        if (body) seen->body_from |= pbft_signers_of(p->from);
    } else if (msg.type == PBFT_QUERY_REPLY) {
        seen->query_replies++;
        seen->query_bodies += (msg.query_reply.flags & PBFT_REPLY_HAS_BODY) != 0;
    } else if (msg.type == PBFT_BUSY) {
        seen->busy++;
    } else if (msg.type == PBFT_ADMIN_REPLY) {
        seen->admin++;
        size_t size = msg.admin_reply.body.size < sizeof seen->admin_body - 1
                          ? msg.admin_reply.body.size
                          : sizeof seen->admin_body - 1;
        memcpy(seen->admin_body, msg.admin_reply.body.data, size);
        seen->admin_body[size] = '\0';
    }
    pbft_door_free(door);
    return true;
}

static struct pbft_frame *put_request(struct sim *sim, uint64_t t, const char *value)
{
    uint8_t op[128];
    struct pbft_span key = {(const uint8_t *)"key", 3};
    struct pbft_span text = {(const uint8_t *)value, strlen(value)};
    struct pbft_span put = {op, pbft_kv_encode_put(op, sizeof op, key, text)};
    return sim_request(sim, 0, 0, t, put);
}

static struct pbft_frame *query_frame(struct sim *sim, uint64_t id, uint64_t floor, bool want_body)
{
    uint8_t ops[64];
    struct pbft_span key = {(const uint8_t *)"key", 3};
    struct pbft_msg msg = {.type = PBFT_QUERY};
    size_t size = pbft_kv_encode_get(ops + 4, sizeof ops - 4, key);
    pbft_put_u32(ops, (uint32_t)size);
    msg.query = (struct pbft_query){id, floor, want_body ? 1 : 0, 1, {ops, 4 + size}};
    return sim_message(sim, 0, &msg);
}

static struct pbft_frame *admin_frame(struct sim *sim, uint8_t kind, struct pbft_span argument)
{
    struct pbft_msg msg = {.type = PBFT_ADMIN};
    msg.admin = (struct pbft_admin){1, kind, argument};
    return sim_message(sim, 0, &msg);
}

static struct pbft_frame *admin_frame_of(struct sim *sim, uint32_t client, uint8_t kind,
                                         struct pbft_span argument)
{
    struct pbft_msg msg = {.type = PBFT_ADMIN};
    msg.admin = (struct pbft_admin){1, kind, argument};
    return sim_message(sim, client, &msg);
}

static struct sim *small_cluster(uint64_t seed, struct seen *seen)
{
    struct sim_options o = sim_defaults(4, 1, seed);
    struct sim *sim = sim_new(&o);
    memset(seen, 0, sizeof *seen);
    sim_set_filter(sim, watch, seen);
    return sim;
}

static void execute_one(struct sim *sim, uint64_t t)
{
    sim_inject_client(sim, 0, 0, put_request(sim, t, "v"));
    struct sim_at_least goal = {.who = pbft_everyone(4), .executed = t};
    cr_assert(sim_run_until(sim, sim_reached, &goal, SOON), "%s", sim_failure(sim));
    cr_assert(sim_run_for(sim, 50 * SIM_MS), "%s", sim_failure(sim));
}

/* Of four proposals in flight each execution has the digests of its own requests: one of another's
 * would be recorded, and the request that comes again called a CONFLICT (PROTOCOL 7). */
static struct sim *execute_in_flight(uint32_t pipeline_depth, uint64_t requests)
{
    struct sim_options o = sim_defaults(4, 1, 3);
    o.params.pipeline_depth = pipeline_depth;
    o.params.batch_max_requests = 1;
    struct sim *sim = sim_new(&o);
    execute_one(sim, 1);
    for (uint64_t t = 2; t <= requests; t++)
        sim_inject_client(sim, 0, 0, put_request(sim, t, "v"));
    struct sim_at_least goal = {.who = pbft_everyone(4), .executed = requests};
    cr_assert(sim_run_until(sim, sim_reached, &goal, SOON), "%s", sim_failure(sim));
    for (pbft_id id = 0; id < 4; id++) {
        cr_assert_eq(sim_info(sim, id).batches_executed, requests);
        cr_assert_eq(sim_info(sim, id).batches_rehashed, 0u);
    }
    return sim;
}

Test(node, what_is_executed_was_hashed_once)
{
    struct seen seen = {0};
    struct sim *sim = execute_in_flight(4, 9);
    cr_assert(sim_run_for(sim, 50 * SIM_MS), "%s", sim_failure(sim));
    sim_set_filter(sim, watch, &seen);
    for (uint64_t t = 2; t <= 9; t++)
        sim_inject_client(sim, 0, 0, put_request(sim, t, "v"));
    cr_assert(sim_run_for(sim, SIM_SECOND), "%s", sim_failure(sim));
    cr_assert_eq(seen.replies, 8u);
    cr_assert_eq(seen.executed, 8u);
    sim_free(sim);
}

Test(node, a_deep_pipeline_hashes_once_too)
{
    sim_free(execute_in_flight(20, 33));
}

Test(node, one_body_and_digests_from_the_others)
{
    struct seen seen;
    struct sim *sim = small_cluster(1, &seen);
    const struct pbft_public_key *key = &sim_client_key(sim, 0)->public;
    for (uint64_t t = 1; t <= 4; t++) {
        memset(&seen, 0, sizeof seen);
        execute_one(sim, t);
        cr_assert_eq(seen.replies, 4u);
        cr_assert_eq(seen.reply_from, pbft_everyone(4));
        cr_assert_eq(seen.bodies, 1u);
        cr_assert_eq(seen.body_from, pbft_signers_of(pbft_designated(4, key, t)));
    }
    sim_free(sim);
}

Test(node, executed_request_is_answered_from_its_record)
{
    struct seen seen;
    struct sim *sim = small_cluster(2, &seen);
    struct pbft_frame *request = put_request(sim, 1, "once");
    for (pbft_id id = 0; id < 4; id++)
        sim_inject_client(sim, 0, id, pbft_frame_retain(request));
    cr_assert(sim_run_for(sim, SIM_SECOND / 4), "%s", sim_failure(sim));
    cr_assert_eq(seen.replies, 4u);
    pbft_seq executed = sim_executed_last(sim);
    for (pbft_id id = 0; id < 4; id++)
        sim_inject_client(sim, 0, id, pbft_frame_retain(request));
    cr_assert(sim_run_for(sim, SIM_SECOND / 4), "%s", sim_failure(sim));
    cr_assert_eq(seen.replies, 8u);
    cr_assert_eq(sim_executed_last(sim), executed, "it was ordered again");
    cr_assert_eq(sim_view_changes(sim), 0u);
    pbft_frame_release(request);
    sim_free(sim);
}

Test(node, result_fetch_brings_the_body_from_anybody)
{
    struct seen seen;
    struct sim *sim = small_cluster(3, &seen);
    execute_one(sim, 1);
    for (pbft_id id = 0; id < 4; id++) {
        memset(&seen, 0, sizeof seen);
        struct pbft_msg msg = {.type = PBFT_RESULT_FETCH};
        msg.result_fetch = (struct pbft_result_fetch){sim_client_session(sim, 0), 1};
        sim_inject_client(sim, 0, id, sim_message(sim, 0, &msg));
        msg.result_fetch.t = 2; /* never asked */
        sim_inject_client(sim, 0, id, sim_message(sim, 0, &msg));
        cr_assert(sim_run_for(sim, 50 * SIM_MS));
        cr_assert_eq(seen.replies, 1u);
        cr_assert_eq(seen.body_from, pbft_signers_of(id));
    }
    sim_free(sim);
}

Test(node, beyond_the_quota_is_busy)
{
    struct seen seen;
    struct sim *sim = small_cluster(4, &seen);
    sim_block(sim, pbft_everyone(4), pbft_everyone(4), true); /* nothing gets executed */
    uint32_t quota = sim_cluster(sim)->params.client_quota;
    for (uint64_t t = 1; t <= quota; t++)
        sim_inject_client(sim, 0, 1, put_request(sim, t, "v"));
    cr_assert(sim_run_for(sim, 20 * SIM_MS));
    cr_assert_eq(seen.busy, 0u);
    for (uint64_t t = quota + 1; t <= quota + 5; t++)
        sim_inject_client(sim, 0, 1, put_request(sim, t, "v"));
    cr_assert(sim_run_for(sim, 20 * SIM_MS));
    cr_assert_eq(seen.busy, 5u);
    cr_assert_eq(sim_info(sim, 1).busy_sent, 5u);
    cr_assert_leq(sim_info(sim, 1).core.pending, quota);
    sim_free(sim);
}

Test(node, fast_reads_wait_for_their_floor)
{
    struct seen seen;
    struct sim *sim = small_cluster(5, &seen);
    execute_one(sim, 1);
    memset(&seen, 0, sizeof seen);
    sim_inject_client(sim, 0, 2, query_frame(sim, 1, 1, true));
    sim_inject_client(sim, 0, 2, query_frame(sim, 2, 0, false));
    sim_inject_client(sim, 0, 2, query_frame(sim, 3, 2, true)); /* of the future */
    cr_assert(sim_run_for(sim, 50 * SIM_MS));
    cr_assert_eq(seen.query_replies, 2u);
    cr_assert_eq(seen.query_bodies, 1u);
    execute_one(sim, 2);
    cr_assert_eq(seen.query_replies, 3u);
    sim_inject_client(sim, 0, 2, query_frame(sim, 4, UINT64_MAX, true)); /* never */
    cr_assert(sim_run_for(sim, 5 * SIM_SECOND));
    cr_assert_eq(seen.query_replies, 3u);
    struct pbft_node_info info = sim_info(sim, 2);
    cr_assert_eq(info.queries_answered, 3u);
    cr_assert_eq(info.queries_held, 2u);
    sim_free(sim);
}

/* A flood of reads of the future neither grows without bound nor shuts out others for ever. */
Test(node, held_reads_are_bounded_and_age)
{
    struct seen seen;
    struct sim *sim = small_cluster(6, &seen);
    uint32_t quota = sim_cluster(sim)->params.client_quota;
    for (uint64_t i = 0; i < quota; i++)
        cr_assert_eq(sim_inject_client(sim, 0, 1, query_frame(sim, i, UINT64_MAX, false)), PBFT_OK);
    cr_assert_eq(sim_inject_client(sim, 0, 1, query_frame(sim, 999, UINT64_MAX, false)),
                 PBFT_DROP_QUOTA);
    cr_assert(sim_run_for(sim, 3 * SIM_SECOND));
    cr_assert_eq(sim_inject_client(sim, 0, 1, query_frame(sim, 1000, UINT64_MAX, false)), PBFT_OK);
    sim_free(sim);
}

Test(node, status_is_json)
{
    struct seen seen;
    struct sim *sim = small_cluster(7, &seen);
    sim_load(sim, 0, 60, SIM_WRITES);
    cr_assert(sim_run_until(sim, sim_loads_done, NULL, SOON), "%s", sim_failure(sim));
    sim_inject_client(sim, 0, 1, admin_frame(sim, PBFT_ADMIN_STATUS, (struct pbft_span){NULL, 0}));
    cr_assert(sim_run_for(sim, 50 * SIM_MS));
    cr_assert_eq(seen.admin, 1u);
    char direct[4096];
    size_t size = pbft_node_status_json(sim_node(sim, 1), direct, sizeof direct);
    cr_assert_eq(size, strlen(direct));
    cr_assert_eq(pbft_node_status_json(sim_node(sim, 1), NULL, 0), size);
    char small[10];
    cr_assert_eq(pbft_node_status_json(sim_node(sim, 1), small, sizeof small), size);
    cr_assert_eq(strlen(small), sizeof small - 1);
    const char *keys[] = {"\"cluster_id\":\"",
                          "\"n\":4",
                          "\"f\":1",
                          "\"id\":1",
                          "\"role\":\"backup\"",
                          "\"view\":0",
                          "\"last_executed\":",
                          "\"stable\":",
                          "\"root\":\"",
                          "\"roots\":{\"",
                          "\"evidence_against\":[]",
                          "\"mute\":false",
                          "\"transferring\":false",
                          "\"pending\":0",
                          "\"view_changes\":0,",
                          "\"durability\":\"simulated\",",
                          "\"disk_full\":false,",
                          "\"votes_wait\":false}"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        cr_assert(strstr(seen.admin_body, keys[i]) != NULL, "%s in %s", keys[i], seen.admin_body);
    sim_free(sim);
}

/* A conflict becomes an item that others can fetch (PROTOCOL 36-38). */
Test(node, evidence_is_kept_and_served)
{
    struct sim_options o = sim_defaults(4, 1, 8);
    o.byzantine = pbft_signers_of(3);
    struct sim *sim = sim_new(&o);
    struct seen seen = {0};
    sim_set_filter(sim, watch, &seen);
    struct pbft_digest a = {{1}}, b = {{2}};
    sim_inject(sim, 3, 1, sim_vote(sim, PBFT_PREPARE, 3, 0, 5, &a));
    sim_inject(sim, 3, 1, sim_vote(sim, PBFT_PREPARE, 3, 0, 5, &b));
    sim_inject(sim, 3, 1, sim_vote(sim, PBFT_PREPARE, 3, 0, 6, &a));
    sim_inject(sim, 3, 1, sim_vote(sim, PBFT_PREPARE, 3, 0, 6, &b));
    struct pbft_node_info info = sim_info(sim, 1);
    cr_assert_eq(info.evidence_count, 1u, "one for each (signer, type)");
    cr_assert_eq(info.evidence_against, pbft_signers_of(3));
    sim_inject_client(sim, 0, 1,
                      admin_frame(sim, PBFT_ADMIN_EVIDENCE_LIST, (struct pbft_span){NULL, 0}));
    cr_assert(sim_run_for(sim, 50 * SIM_MS), "%s", sim_failure(sim));
    cr_assert(strstr(seen.admin_body, "\"culprit\":3,\"type\":\"PREPARE\"") != NULL, "%s",
              seen.admin_body);
    uint8_t item[4] = {0};
    sim_inject_client(sim, 0, 1,
                      admin_frame(sim, PBFT_ADMIN_EVIDENCE_GET, (struct pbft_span){item, 4}));
    cr_assert(sim_run_for(sim, 50 * SIM_MS));
    cr_assert_eq(memcmp(seen.admin_body, "PBFTEVID", 8), 0);
    item[0] = 1;
    sim_inject_client(sim, 0, 1,
                      admin_frame(sim, PBFT_ADMIN_EVIDENCE_GET, (struct pbft_span){item, 4}));
    cr_assert(sim_run_for(sim, 50 * SIM_MS));
    cr_assert(strstr(seen.admin_body, "no such item") != NULL, "%s", seen.admin_body);
    sim_free(sim);
}

/* ---- backups ---- */

/* The answer's bytes, which `watch` keeps the beginning of, and their size. */
struct backup_answer {
    struct seen *seen;
    unsigned count;
    bool ok;
    size_t size;
    uint8_t bytes[1u << 20];
};

static bool watch_backup(struct sim *sim, const struct sim_packet *p, void *context)
{
    struct backup_answer *a = context;
    if (!p->to_client) return true;
    struct pbft_arena arena = {NULL, 0, 0};
    struct pbft_msg msg;
    if (pbft_frame_span(p->frame).data[0] != PBFT_ADMIN_REPLY) return true;
    cr_assert_eq(pbft_wire_decode(pbft_frame_span(p->frame), &sim_cluster(sim)->params, &arena,
                                  &msg),
                 PBFT_OK);
    a->count++;
    a->ok = msg.admin_reply.ok == 1;
    a->size = msg.admin_reply.body.size;
    cr_assert_leq(a->size, sizeof a->bytes);
    memcpy(a->bytes, msg.admin_reply.body.data, a->size);
    return true;
}

static enum pbft_verdict ask_backup(struct sim *sim, struct backup_answer *a, uint32_t client,
                                    uint8_t kind, struct pbft_span argument)
{
    a->count = 0;
    a->size = 0;
    enum pbft_verdict verdict =
        sim_inject_client(sim, client, 1, admin_frame_of(sim, client, kind, argument));
    cr_assert(sim_run_for(sim, 50 * SIM_MS), "%s", sim_failure(sim));
    return verdict;
}

/* The newest certified checkpoint and its pages, to the administrator and nobody else. */
Test(node, a_backup_is_served_to_the_administrator)
{
    struct sim_options o = sim_defaults(4, 2, 31);
    struct sim *sim = sim_new(&o);
    static struct backup_answer a;
    sim_set_filter(sim, watch_backup, &a);
    struct pbft_span none = {NULL, 0};
    cr_assert_eq(ask_backup(sim, &a, 0, PBFT_ADMIN_CHECKPOINT, none), PBFT_OK);
    cr_assert(a.ok && a.size == 8, "there is none yet");
    sim_load(sim, 0, 60, SIM_WRITES);
    cr_assert(sim_run_until(sim, sim_loads_done, NULL, SOON), "%s", sim_failure(sim));
    cr_assert(sim_run_for(sim, 200 * SIM_MS), "%s", sim_failure(sim));
    cr_assert_eq(ask_backup(sim, &a, 0, PBFT_ADMIN_CHECKPOINT, none), PBFT_OK);
    struct pbft_node_info info = sim_info(sim, 1);
    struct pbft_claim claim;
    cr_assert_gt(info.core.stable, 0u);
    cr_assert_eq(pbft_get_u64(a.bytes), info.applied);
    cr_assert_eq(pbft_wire_peek((struct pbft_span){a.bytes + 8, a.size - 8}, &claim), PBFT_OK);
    cr_assert_eq(claim.type, PBFT_CERTIFICATE);
    cr_assert_eq(claim.seq, info.core.stable);

    uint8_t asked[2 * PBFT_DIGEST_BYTES];
    memcpy(asked, claim.digest.bytes, PBFT_DIGEST_BYTES);
    memset(asked + PBFT_DIGEST_BYTES, 0x77, PBFT_DIGEST_BYTES); /* nobody has it */
    struct pbft_span two = {asked, sizeof asked}, page;
    cr_assert_eq(ask_backup(sim, &a, 0, PBFT_ADMIN_PAGES, two), PBFT_OK);
    struct pbft_span body = {a.bytes, a.size};
    size_t at = 0;
    struct pbft_digest digest;
    cr_assert(pbft_wire_next_item(body, &at, &page));
    cr_assert(pbft_page_digest(page, &digest) && pbft_digest_equal(&digest, &claim.digest));
    cr_assert(pbft_wire_next_item(body, &at, &page));
    cr_assert(page.size == 0 && at == a.size);

    cr_assert_eq(ask_backup(sim, &a, 1, PBFT_ADMIN_PAGES, two), PBFT_DROP_ROLE);
    cr_assert(a.count == 1 && !a.ok);
    a.bytes[a.size] = '\0';
    cr_assert_not_null(strstr((const char *)a.bytes, "only the administrator"));
    cr_assert_eq(ask_backup(sim, &a, 1, PBFT_ADMIN_CHECKPOINT, none), PBFT_DROP_ROLE);
    cr_assert_not(a.ok);
    sim_free(sim);
}

static enum pbft_status find_large(void *context, const struct pbft_digest *digest,
                                   struct pbft_span page)
{
    if (page.size < 50000) return PBFT_STATUS_OK;
    *(struct pbft_digest *)context = *digest;
    return PBFT_STATUS_REFUSED;
}

/* Nonsense gets no answer; more than its share gets an empty one, and agreement goes on. */
Test(node, a_backup_is_bounded)
{
    struct sim_options o = sim_defaults(4, 2, 32);
    struct sim *sim = sim_new(&o);
    static struct backup_answer a;
    static uint8_t many[8 * PBFT_DIGEST_BYTES];
    sim_set_filter(sim, watch_backup, &a);
    static const size_t bad[] = {0, 1, 31, 33, 255};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_eq(ask_backup(sim, &a, 0, PBFT_ADMIN_PAGES, (struct pbft_span){many, bad[i]}),
                     PBFT_DROP_MALFORMED);
        cr_assert_eq(a.count, 0u);
    }
    /* A page of 60,000 bytes: no answer has room for eight. */
    static uint8_t op[61000];
    static uint8_t value[60000];
    for (uint64_t t = 1; t <= 4; t++) {
        uint8_t name = (uint8_t)t;
        size_t size = pbft_kv_encode_put(op, sizeof op, (struct pbft_span){&name, 1},
                                         (struct pbft_span){value, sizeof value});
        cr_assert_eq(sim_inject_client(sim, 1, 0,
                                       sim_request(sim, 1, 0, t, (struct pbft_span){op, size})),
                     PBFT_OK);
        struct sim_at_least goal = {.who = pbft_everyone(4), .executed = t};
        cr_assert(sim_run_until(sim, sim_reached, &goal, SOON), "%s", sim_failure(sim));
    }
    sim_load(sim, 0, 40, SIM_WRITES);
    cr_assert(sim_run_until(sim, sim_loads_done, NULL, SOON), "%s", sim_failure(sim));
    cr_assert(sim_run_for(sim, 200 * SIM_MS), "%s", sim_failure(sim));
    struct pbft_digest large = {{0}};
    struct pbft_node *node = sim_node(sim, 1);
    cr_assert_gt(node->snapshot_count, 0u);
    const struct pbft_snapshot *state = node->snapshots[0].snapshot;
    cr_assert_eq(pbft_snapshot_walk(state, NULL, find_large, &large), PBFT_STATUS_REFUSED);
    for (unsigned i = 0; i < 8; i++)
        memcpy(many + i * PBFT_DIGEST_BYTES, large.bytes, PBFT_DIGEST_BYTES);
    struct pbft_span eight = {many, 8 * PBFT_DIGEST_BYTES};
    enum pbft_verdict verdict = PBFT_OK;
    unsigned answers = 0;
    a.count = 0;
    for (; answers < 20 && verdict == PBFT_OK; answers++) {
        struct pbft_frame *frame = admin_frame_of(sim, 0, PBFT_ADMIN_PAGES, eight);
        verdict = sim_inject_client(sim, 0, 1, frame);
    }
    cr_assert_eq(verdict, PBFT_DROP_QUOTA, "no end to what is served");
    cr_assert_leq(answers, 10u);
    cr_assert(sim_run_for(sim, 50 * SIM_MS), "%s", sim_failure(sim));
    cr_assert_eq(a.count, answers);
    cr_assert(sim_run_for(sim, 500 * SIM_MS), "%s", sim_failure(sim));
    cr_assert_eq(ask_backup(sim, &a, 0, PBFT_ADMIN_PAGES, eight), PBFT_OK, "served again later");
    cr_assert(a.size > 4 * sizeof value && a.size < 6 * sizeof value, "%zu bytes", a.size);
    sim_free(sim);
}

static enum pbft_verdict fetch_page(struct sim *sim, pbft_id from, const struct pbft_digest *digest)
{
    struct pbft_msg fetch = {.type = PBFT_FETCH};
    fetch.fetch.kind = PBFT_FETCH_PAGE;
    fetch.fetch.digest = *digest;
    return sim_inject(sim, from, 1, sim_message(sim, from, &fetch));
}

/* A peer that asks for pages without end costs no copy, and no look, beyond its share. */
Test(node, pages_are_served_within_a_bound)
{
    struct sim_options o = sim_defaults(4, 2, 33);
    o.byzantine = pbft_signers_of(3);
    struct sim *sim = sim_new(&o);
    static uint8_t op[61000];
    static uint8_t value[60000];
    uint8_t name = 1;
    size_t size = pbft_kv_encode_put(op, sizeof op, (struct pbft_span){&name, 1},
                                     (struct pbft_span){value, sizeof value});
    cr_assert_eq(sim_inject_client(sim, 1, 0,
                                   sim_request(sim, 1, 0, 1, (struct pbft_span){op, size})),
                 PBFT_OK);
    sim_load(sim, 0, 40, SIM_WRITES);
    cr_assert(sim_run_until(sim, sim_loads_done, NULL, SOON), "%s", sim_failure(sim));
    cr_assert(sim_run_for(sim, 200 * SIM_MS), "%s", sim_failure(sim));
    struct pbft_node *node = sim_node(sim, 1);
    cr_assert_gt(node->snapshot_count, 0u);
    struct pbft_digest large = {{0}}, nowhere = {{1}};
    const struct pbft_snapshot *state = node->snapshots[0].snapshot;
    cr_assert_eq(pbft_snapshot_walk(state, NULL, find_large, &large), PBFT_STATUS_REFUSED);
    cr_assert_eq(fetch_page(sim, 3, &nowhere), PBFT_DROP_UNWANTED);
    unsigned served = 0;
    while (served < 100 && fetch_page(sim, 3, &large) == PBFT_OK)
        served++;
    cr_assert_eq(served, (PAGE_BUCKET_BYTES + sizeof value - 1) / sizeof value, "%u", served);
    cr_assert_eq(fetch_page(sim, 3, &nowhere), PBFT_DROP_QUOTA, "it is looked for");
    cr_assert_eq(fetch_page(sim, 2, &large), PBFT_OK, "each has a share of its own");
    cr_assert(sim_run_for(sim, 500 * SIM_MS), "%s", sim_failure(sim));
    cr_assert_eq(fetch_page(sim, 3, &large), PBFT_OK, "served again later");
    sim_free(sim);
}

/* PROTOCOL 26: the log is cut behind its carry-over, so that it stays flat for ever. */
Test(node, the_log_stays_bounded)
{
    struct sim_options o = sim_defaults(4, 2, 9);
    struct sim *sim = sim_new(&o);
    uint64_t most = 0;
    for (unsigned round = 0; round < 30; round++) {
        sim_load(sim, 0, 150, SIM_WRITES);
        sim_load(sim, 1, 150, SIM_WRITES);
        cr_assert(sim_run_until(sim, sim_loads_done, NULL, SOON), "%s", sim_failure(sim));
        for (pbft_id id = 0; id < 4; id++)
            if (sim_log_bytes(sim, id) > most) most = sim_log_bytes(sim, id);
    }
    cr_assert_gt(most, 64u << 10, "the cut was never needed: write more");
    cr_assert_lt(most, 1u << 19);
    sim_free(sim);
}

/* Unsolicited pages, replies sent to replicas and the like cost nothing. */
Test(node, what_nobody_asked_for_is_dropped)
{
    struct sim_options o = sim_defaults(4, 1, 10);
    o.byzantine = pbft_signers_of(3);
    struct sim *sim = sim_new(&o);
    struct pbft_msg page = {.type = PBFT_PAGE};
    page.page = (struct pbft_span){(const uint8_t *)"not a page", 10};
    cr_assert_neq(sim_inject(sim, 3, 0, sim_message(sim, 3, &page)), PBFT_OK);
    struct pbft_msg fetch = {.type = PBFT_FETCH};
    fetch.fetch.kind = PBFT_FETCH_PAGE;
    cr_assert_neq(sim_inject(sim, 3, 0, sim_message(sim, 3, &fetch)), PBFT_OK);
    struct pbft_msg reply = {.type = PBFT_BUSY};
    reply.busy = (struct pbft_busy){1, 1};
    cr_assert_neq(sim_inject(sim, 3, 0, sim_message(sim, 3, &reply)), PBFT_OK);
    struct pbft_frame *garbage = pbft_frame_new(sim_pool(sim), 64);
    memset(garbage->bytes, 0xFF, 64);
    garbage->size = 64;
    cr_assert_neq(sim_inject(sim, 3, 0, garbage), PBFT_OK);
    struct pbft_node_info info = sim_info(sim, 0);
    uint64_t drops = 0;
    for (unsigned i = 1; i < PBFT_VERDICT_COUNT; i++)
        drops += info.door.dropped[i];
    cr_assert_eq(drops, 4u);
    sim_free(sim);
}
