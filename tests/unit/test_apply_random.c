/* replica/apply under random histories: exactly once against a model that knows nothing of trees,
 * slots and indices, and equal roots whatever a replica did besides executing. */
#include "tests/unit/apply_fixture.h"

#define SESSIONS 100u /* numbers 1 .. 99 */
#define NUMBERS  64u  /* t = 1 .. 63 */

struct model_session {
    bool open;
    uint64_t max_t;
    uint64_t last_active;
    uint8_t executed[NUMBERS]; /* 1: with fixture_count(), 2: with fixture_other() */
    uint8_t runs[NUMBERS];
};

struct model {
    uint64_t now;
    uint64_t highest[FIXTURE_CLIENTS];
    struct model_session sessions[FIXTURE_CLIENTS][SESSIONS];
    unsigned seen[PBFT_OUTCOME_COUNT];
    unsigned duplicates, retired;
};

static unsigned open_count(const struct model *m, uint32_t client)
{
    unsigned count = 0;
    for (uint32_t c = 0; c < FIXTURE_CLIENTS; c++)
        for (unsigned s = 0; s < SESSIONS; s++)
            if (m->sessions[c][s].open && (client == UINT32_MAX || client == c)) count++;
    return count;
}

/* PROTOCOL 11 and 8: time, then everything that has been idle goes. */
static void model_begin(struct model *m, uint64_t agreed)
{
    if (agreed > m->now) m->now = agreed;
    for (uint32_t c = 0; c < FIXTURE_CLIENTS; c++) {
        for (unsigned s = 0; s < SESSIONS; s++) {
            struct model_session *session = &m->sessions[c][s];
            if (!session->open || m->now - session->last_active < FIXTURE_IDLE_NS) continue;
            session->open = false;
            m->retired++;
        }
    }
}

static uint8_t model_request(struct model *m, const struct pbft_params *p, uint32_t client,
                             uint64_t number, uint64_t t, uint8_t variant, bool *fresh)
{
    struct model_session *s = &m->sessions[client][number];
    *fresh = false;
    if (!s->open && number <= m->highest[client]) return PBFT_OUTCOME_EXPIRED;
    if (t == 0 || (s->open && t + p->session_window <= s->max_t)) return PBFT_OUTCOME_STALE;
    if (!s->open) {
        if (open_count(m, client) >= p->sessions_per_client) return PBFT_OUTCOME_LIMIT;
        if (open_count(m, UINT32_MAX) >= p->sessions_total) return PBFT_OUTCOME_LIMIT;
        *s = (struct model_session){.open = true, .last_active = m->now};
        m->highest[client] = number;
    }
    if (s->executed[t] != 0)
        return s->executed[t] == variant ? PBFT_OUTCOME_EXECUTED : PBFT_OUTCOME_CONFLICT;
    *fresh = true;
    s->executed[t] = variant;
    s->runs[t]++;
    if (t > s->max_t) s->max_t = t;
    if (m->now - s->last_active > p->session_idle_ns / 16) s->last_active = m->now;
    return PBFT_OUTCOME_EXECUTED;
}

/* Mostly new numbers of a few young sessions, often old ones, sometimes nonsense. */
static struct pbft_request draw(const struct model *m, uint64_t *seed, uint8_t *variant)
{
    uint32_t client = (uint32_t)(fixture_random(seed) % FIXTURE_CLIENTS);
    uint64_t number = m->highest[client];
    if (fixture_random(seed) % 4 == 0 && number > 0)
        number -= fixture_random(seed) % (number < 4 ? number : 4);
    if (fixture_random(seed) % 8 == 0 || number == 0) number++;
    if (number >= SESSIONS) number = SESSIONS - 1;
    uint64_t t = m->sessions[client][number].max_t + 3 - fixture_random(seed) % 8;
    if (fixture_random(seed) % 30 == 0) t = fixture_random(seed) % NUMBERS;
    if (t > NUMBERS) t = 0; /* wrapped below zero */
    if (t == NUMBERS) t = NUMBERS - 1;
    *variant = fixture_random(seed) % 8 == 0 ? 2 : 1;
    return *variant == 1 ? fixture_count(client, number, t) : fixture_other(client, number, t);
}

/* Every run that the service counted, against the model's: FAULTS 3.15. */
static void check_runs(struct fixture *f, const struct model *m, uint64_t seed)
{
    uint8_t item[4 + 25], *op = item + 4;
    pbft_put_u32(item, 25);
    memset(op, 0, 25);
    op[0] = 'n';
    for (uint32_t c = 0; c < FIXTURE_CLIENTS; c++) {
        for (unsigned s = 1; s < SESSIONS; s++) {
            for (unsigned t = 0; t < NUMBERS; t++) {
                pbft_put_u32(op + 1, c);
                pbft_put_u64(op + 5, s);
                pbft_put_u64(op + 13, t);
                struct pbft_query query = {.op_count = 1,
                                           .ops = {item, sizeof item},
                                           .want_body = 1};
                struct pbft_frame *frame = pbft_apply_query(f->apply, &query);
                struct pbft_arena arena = {f->arena, f->arena_size, 0};
                struct pbft_msg msg;
                cr_assert_eq(pbft_wire_decode(pbft_frame_span(frame), &f->cluster.params, &arena,
                                              &msg),
                             PBFT_OK);
                uint64_t runs = pbft_get_u64(msg.query_reply.body.data + 4 + 8 + 4);
                cr_assert(runs == m->sessions[c][s].runs[t] && runs <= 1,
                          "seed %llu client %u session %u t %u ran %llu times",
                          (unsigned long long)seed, c, s, t, (unsigned long long)runs);
                pbft_frame_release(frame);
            }
        }
    }
}

static void check_reply(struct fixture *f, struct model *m, const struct pbft_applied *applied,
                        uint8_t expected, bool fresh, uint8_t variant, uint64_t seed)
{
    struct pbft_reply r = fixture_reply(f, applied);
    cr_assert_eq(r.outcome, expected, "seed %llu seq %llu: outcome %u, the model says %u",
                 (unsigned long long)seed, (unsigned long long)f->done.seq, r.outcome, expected);
    m->seen[expected]++;
    if (expected != PBFT_OUTCOME_EXECUTED) return;
    if (variant == 1) cr_assert_eq(fixture_number(&r), 1);
    cr_assert(fresh ? r.seq == f->done.seq : r.seq <= f->done.seq);
    if (!fresh) m->duplicates++;
}

static uint64_t draw_pause(uint64_t *seed)
{
    switch (fixture_random(seed) % 40) {
    case 0: return 20u * (uint64_t)FIXTURE_SECOND;
    case 1: return 8u * (uint64_t)FIXTURE_SECOND;
    case 2: return 0;
    default: return fixture_random(seed) % FIXTURE_SECOND;
    }
}

Test(apply_random, exactly_once)
{
    static struct model m;
    struct pbft_params params = fixture_params();
    for (uint64_t first = 1; first <= 6; first++) {
        struct fixture f;
        uint64_t seed = first;
        memset(&m, 0, sizeof m);
        fixture_open(&f, &params, &probe_service);
        for (int batch = 0; batch < 1500; batch++) {
            struct pbft_request requests[8];
            uint8_t variants[8], expected[8];
            bool fresh[8];
            uint32_t count = (uint32_t)(fixture_random(&seed) % 9);
            f.now_ns += draw_pause(&seed);
            model_begin(&m, f.now_ns);
            for (uint32_t i = 0; i < count; i++) {
                requests[i] = draw(&m, &seed, &variants[i]);
                expected[i] =
                    model_request(&m, &params, requests[i].client_index, requests[i].session,
                                  requests[i].t, variants[i], &fresh[i]);
            }
            fixture_execute(&f, requests, count);
            for (uint32_t i = 0; i < count; i++)
                check_reply(&f, &m, &f.done.applied[i], expected[i], fresh[i], variants[i], first);
        }
        check_runs(&f, &m, first);
        for (int outcome = 0; outcome < PBFT_OUTCOME_INVALID; outcome++)
            cr_assert_gt(m.seen[outcome], 20, "seed %llu never saw outcome %d",
                         (unsigned long long)first, outcome);
        cr_assert_gt(m.duplicates, 100);
        cr_assert_gt(m.retired, 10);
        fixture_close(&f);
    }
}

/* ---- equal roots --------------------------------------------------------------------------- */

#define HISTORY 12u

struct batch {
    uint64_t time_ns;
    uint32_t count;
    bool null;
    struct pbft_request requests[6];
};

static void replay(struct fixture *f, struct batch *b)
{
    fixture_drop_replies(f);
    struct pbft_proposal proposal = {.time_ns = b->time_ns,
                                     .request_count = b->count,
                                     .requests = b->requests};
    pbft_apply_execute(f->apply, pbft_apply_seq(f->apply) + 1, b->null ? NULL : &proposal,
                       &f->done);
}

/* What a replica may do between two batches without its state showing it. */
struct noise {
    struct pbft_snapshot *kept;
    uint64_t kept_at;
    unsigned rollbacks;
};

static void make_noise(struct fixture *f, struct noise *n, struct batch *history, uint64_t at,
                       const struct pbft_request *request, uint64_t *seed)
{
    struct pbft_applied out;
    pbft_seq seq;
    uint64_t effective, due;
    switch (fixture_random(seed) % 8) {
    case 0:
        if (pbft_apply_lookup(f->apply, request->client_index, request->session, request->t,
                              &request->digest, &out) == PBFT_LOOKUP_REPLY)
            pbft_frame_release(out.reply);
        break;
    case 1: {
        struct pbft_query query = {.op_count = 1,
                                   .ops = {(const uint8_t *)"\1\0\0\0s", 5},
                                   .want_body = 1};
        pbft_frame_release(pbft_apply_query(f->apply, &query));
        break;
    }
    case 2:
        pbft_snapshot_release(n->kept);
        n->kept = pbft_apply_snapshot(f->apply);
        n->kept_at = at;
        break;
    case 3:
        if (n->kept == NULL || at - n->kept_at >= HISTORY) break;
        pbft_tree_rollback(pbft_apply_tree(f->apply), n->kept);
        cr_assert_eq(pbft_apply_reload(f->apply, &seq, &effective, &due), PBFT_STATUS_OK);
        cr_assert_eq(seq, n->kept_at);
        for (uint64_t i = n->kept_at; i < at; i++)
            replay(f, &history[i % HISTORY]);
        n->rollbacks++;
        break;
    case 4:
        cr_assert_eq(pbft_apply_reload(f->apply, &seq, &effective, &due), PBFT_STATUS_OK);
        cr_assert_eq(seq, at);
        break;
    default: break;
    }
}

/* FAULTS 3.12: equal proposals give equal roots and equal replies after every sequence number. */
Test(apply_random, equal_histories_have_equal_roots)
{
    static struct model m; /* for draw() only */
    static struct batch history[HISTORY];
    struct pbft_params params = fixture_params();
    for (uint64_t first = 1; first <= 4; first++) {
        struct fixture f, g;
        struct noise noise = {NULL, 0, 0};
        uint64_t seed = first, other = first + 1000, now = 1;
        memset(&m, 0, sizeof m);
        fixture_open(&f, &params, &probe_service);
        fixture_open(&g, &params, &probe_service);
        for (uint64_t at = 0; at < 800; at++) {
            struct batch *b = &history[at % HISTORY];
            uint8_t variant;
            bool fresh;
            now += draw_pause(&seed);
            model_begin(&m, now);
            *b = (struct batch){.time_ns = now, .count = (uint32_t)(fixture_random(&seed) % 7)};
            b->null = fixture_random(&seed) % 16 == 0;
            if (b->null) b->count = 0;
            for (uint32_t i = 0; i < b->count; i++) {
                b->requests[i] = draw(&m, &seed, &variant);
                model_request(&m, &params, b->requests[i].client_index, b->requests[i].session,
                              b->requests[i].t, variant, &fresh);
            }
            replay(&f, b);
            replay(&g, b);
            cr_assert_eq(f.done.next_due_ns, g.done.next_due_ns);
            for (uint32_t i = 0; i < b->count; i++) {
                const struct pbft_frame *x = f.done.applied[i].reply, *y = g.done.applied[i].reply;
                cr_assert(x->size == y->size && memcmp(x->bytes, y->bytes, x->size) == 0);
            }
            struct pbft_request any = fixture_count(0, 1, at);
            make_noise(&g, &noise, history, at + 1, &any, &other);
            struct pbft_digest a = fixture_root(&f), c = fixture_root(&g);
            cr_assert(pbft_digest_equal(&a, &c), "seed %llu: roots differ at %llu",
                      (unsigned long long)first, (unsigned long long)at + 1);
        }
        cr_assert_gt(noise.rollbacks, 20);
        pbft_snapshot_release(noise.kept);
        fixture_close(&f);
        fixture_close(&g);
    }
}
