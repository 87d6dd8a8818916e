/* The independent verifier: what a running cluster sends and logs passes, and one changed field of
 * it does not, signed anew where that is what a liar would do. */
#include "tests/sim/recheck.h"

#include "crypto/hash.h"
#include "tests/sim/fixture_internal.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define ENOUGH   (SIM_SECOND * 60)
#define KEPT_MAX 12u /* of each type */
#define TYPES    64u

static struct pbft_span span(const uint8_t *bytes, size_t size)
{
    return (struct pbft_span){bytes, size};
}

/* ---- a run with everything in it ---- */

struct catch
{
    struct recheck *recheck;
    struct pbft_frame *kept[TYPES][KEPT_MAX];
    unsigned count[TYPES];
};

static void keep(struct catch *c, uint8_t type, struct pbft_frame *frame)
{
    for (unsigned i = 0; i < c->count[type]; i++)
        if (c->kept[type][i]->size == frame->size &&
            memcmp(c->kept[type][i]->bytes, frame->bytes, frame->size) == 0)
            return;
    if (c->count[type] == KEPT_MAX) { /* the latest: those after a view change hold the most */
        pbft_frame_release(c->kept[type][0]);
        memmove(c->kept[type], c->kept[type] + 1, (KEPT_MAX - 1) * sizeof c->kept[type][0]);
        c->count[type]--;
    }
    c->kept[type][c->count[type]++] = pbft_frame_retain(frame);
}

static bool listen(struct sim *sim, const struct sim_packet *packet, void *context)
{
    struct catch *c = context;
    char why[RECHECK_WHY_BYTES];
    if (!recheck_sent(c->recheck, pbft_frame_span(packet->frame), why))
        sim_fail(sim, "FAULTS 3.7: %s of %u: %s", pbft_type_text(packet->type), packet->from, why);
    if (packet->type < TYPES) keep(c, packet->type, packet->frame);
    return true;
}

static bool visit(void *context, const struct pbft_log_record *record)
{
    struct sim *sim = context;
    char why[RECHECK_WHY_BYTES];
    size_t at = 0;
    while (record->payload.size - at >= 4) {
        size_t size = pbft_get_u32(record->payload.data + at);
        cr_assert_leq(size, record->payload.size - at - 4);
        struct pbft_span frame = {record->payload.data + at + 4, size};
        cr_assert(recheck_record(sim_cluster(sim), sim->o.signer, record->kind, frame, why),
                  "record of kind %u: %s", record->kind, why);
        at += 4 + size;
    }
    return true;
}

static struct sim *run(uint64_t seed, const struct pbft_signer *signer, struct catch *c)
{
    struct sim_options o = sim_defaults(seed % 3 == 0 ? 6 : 4, 2, seed);
    o.loss_ppm = 30000;
    o.signer = signer;
    struct sim *sim = sim_new(&o);
    *c = (struct catch){.recheck = recheck_new(sim_cluster(sim), signer)};
    sim_set_filter(sim, listen, c);
    for (uint32_t client = 0; client < 2; client++)
        sim_load(sim, client, 80, SIM_MIX);
    cr_assert(sim_run_for(sim, 60 * SIM_MS), "%s", sim_failure(sim));
    for (pbft_id id = 0; id < 2; id++) { /* two views change under load */
        sim_isolate(sim, id, true);
        cr_assert(sim_run_for(sim, 1500 * SIM_MS), "%s", sim_failure(sim));
        sim_isolate(sim, id, false);
        cr_assert(sim_run_for(sim, 100 * SIM_MS), "%s", sim_failure(sim));
        sim_load(sim, 0, 40, SIM_MIX);
    }
    cr_assert(sim_run_until(sim, sim_loads_done, NULL, ENOUGH), "%s", sim_failure(sim));
    cr_assert(sim_run_until(sim, sim_converged, NULL, ENOUGH), "%s", sim_failure(sim));
    for (pbft_id id = 0; id < o.params.n; id++)
        pbft_log_iterate(sim->nodes[id].log, visit, sim);
    return sim;
}

static void finish(struct sim *sim, struct catch *c)
{
    for (unsigned type = 0; type < TYPES; type++)
        for (unsigned i = 0; i < c->count[type]; i++)
            pbft_frame_release(c->kept[type][i]);
    recheck_free(c->recheck);
    sim_free(sim);
}

static const uint8_t proving[] = {PBFT_REQUEST,  PBFT_PRE_PREPARE, PBFT_PREPARE,
                                  PBFT_COMMIT,   PBFT_CHECKPOINT,  PBFT_VIEW_CHANGE,
                                  PBFT_NEW_VIEW, PBFT_CERTIFICATE, PBFT_HEADER};
#define PROVING (sizeof proving / sizeof proving[0])

Test(recheck, genuine_frames_pass)
{
    unsigned kinds[TYPES] = {0};
    uint64_t new_views = 0, partly = 0, frames = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct catch c;
        struct sim *sim = run(seed, &pbft_signer_fast, &c);
        for (unsigned type = 0; type < TYPES; type++)
            kinds[type] += c.count[type];
        const struct recheck_stats *stats = recheck_stats(c.recheck);
        new_views += stats->new_views;
        partly += stats->new_views_partly;
        frames += stats->frames;
        cr_assert_gt(stats->repeated, 100);
        finish(sim, &c);
    }
    cr_log_info("%llu frames, %llu NEW-VIEWs", (unsigned long long)frames,
                (unsigned long long)new_views);
    cr_assert_gt(frames, 10000);
    cr_assert_gt(new_views, 12);
    cr_assert_eq(partly, 0);
    for (size_t i = 0; i < PROVING; i++)
        if (proving[i] != PBFT_HEADER) /* asked for where a primary lies */
            cr_assert_gt(kinds[proving[i]], 0u, "no %s", pbft_type_text(proving[i]));
}

Test(recheck, genuine_frames_pass_with_real_signatures)
{
    struct catch c;
    struct sim *sim = run(4, &pbft_signer_ed25519, &c);
    finish(sim, &c);
}

/* ---- one changed bit ---- */

static uint64_t chance(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static bool passes(const struct sim *sim, struct pbft_span frame)
{
    char why[RECHECK_WHY_BYTES];
    bool ok = recheck_frame(sim_cluster(sim), sim->o.signer, frame, why);
    cr_assert_eq(ok, why[0] == '\0', "it says '%s'", why);
    return ok;
}

static void flip_and_cut(const struct sim *sim, const struct pbft_frame *frame, uint64_t *random)
{
    /* Exactly as long as it is, so that reading beyond the end is found. */
    uint8_t *bytes = malloc(frame->size);
    cr_assert_not_null(bytes);
    memcpy(bytes, frame->bytes, frame->size);
    cr_assert(passes(sim, span(bytes, frame->size)));
    for (size_t i = 1; i < frame->size; i++) { /* byte 0: see below */
        uint8_t bit = (uint8_t)(1u << chance(random) % 8);
        bytes[i] ^= bit;
        cr_assert_not(passes(sim, span(bytes, frame->size)), "%s: byte %zu ^ %u passes",
                      pbft_type_text(frame->bytes[0]), i, bit);
        bytes[i] ^= bit;
    }
    for (uint8_t type = 1; type <= PBFT_HEADER; type++) {
        bool proves = type <= PBFT_NEW_VIEW || type >= PBFT_CERTIFICATE;
        if (!proves || type == frame->bytes[0]) continue; /* a STATUS, say, claims nothing */
        bytes[0] = type;
        cr_assert_not(passes(sim, span(bytes, frame->size)), "%s as %s",
                      pbft_type_text(frame->bytes[0]), pbft_type_text(type));
    }
    bytes[0] = frame->bytes[0];
    for (size_t cut = 1; cut <= frame->size; cut = cut * 2 + 1) {
        uint8_t *shorter = malloc(frame->size - cut + 1);
        cr_assert_not_null(shorter);
        memcpy(shorter, bytes, frame->size - cut);
        cr_assert_not(passes(sim, span(shorter, frame->size - cut)));
        free(shorter);
    }
    free(bytes);
}

Test(recheck, every_changed_byte_is_found)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        uint64_t random = seed;
        struct catch c;
        struct sim *sim = run(seed, &pbft_signer_fast, &c);
        for (size_t i = 0; i < PROVING; i++)
            for (unsigned k = 0; k < c.count[proving[i]] && k < 4; k++)
                flip_and_cut(sim, c.kept[proving[i]][k], &random);
        finish(sim, &c);
    }
}

/* ---- one changed field, signed anew ---- */

/* Sign a frame whose signature stands at its end and covers the body's digest. */
static void sign_anew(struct sim *sim, pbft_id as, uint8_t *bytes, size_t size)
{
    struct pbft_digest digest;
    struct pbft_span body = span(bytes + 8, size - 8 - 64);
    if (bytes[0] == PBFT_VIEW_CHANGE)
        pbft_digest_view_change(&digest, body);
    else
        pbft_digest_new_view(&digest, body);
    sim_sign_body(sim, as, bytes[0], span(digest.bytes, 32), bytes + size - 64);
}

Test(recheck, resigned_view_changes_are_found_out)
{
    unsigned tried = 0, entries = 0;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        uint64_t random = seed;
        struct catch c;
        struct sim *sim = run(seed, &pbft_signer_fast, &c);
        for (unsigned k = 0; k < c.count[PBFT_VIEW_CHANGE]; k++) {
            const struct pbft_frame *frame = c.kept[PBFT_VIEW_CHANGE][k];
            uint8_t bytes[65536];
            cr_assert_leq(frame->size, sizeof bytes);
            pbft_id sender = pbft_get_u32(frame->bytes + 16);
            if (frame->size > 1000) entries++;
            for (size_t i = 16; i < frame->size - 64; i++) { /* its view is its own affair */
                memcpy(bytes, frame->bytes, frame->size);
                bytes[i] ^= (uint8_t)(1u << chance(&random) % 8);
                sign_anew(sim, sender, bytes, frame->size);
                cr_assert_not(passes(sim, span(bytes, frame->size)), "byte %zu of %u", i,
                              frame->size);
                tried++;
            }
        }
        finish(sim, &c);
    }
    cr_assert_gt(tried, 5000u);
    cr_assert_gt(entries, 3u);
}

/* The VIEW-CHANGEs that a NEW-VIEW names, out of those that were caught; false: one is missing. */
static bool named_by(const struct catch *c, const struct pbft_frame *nv, uint32_t q,
                     struct pbft_span *out)
{
    for (uint32_t i = 0; i < q; i++) {
        bool found = false;
        for (unsigned k = 0; k < c->count[PBFT_VIEW_CHANGE] && !found; k++) {
            struct pbft_frame *vc = c->kept[PBFT_VIEW_CHANGE][k];
            struct pbft_digest digest;
            pbft_digest_view_change(&digest, span(vc->bytes + 8, vc->size - 8 - 64));
            found = memcmp(digest.bytes, nv->bytes + 28 + 32 * i, 32) == 0;
            if (found) out[i] = pbft_frame_span(vc);
        }
        if (!found) return false;
    }
    return true;
}

/* Each byte of it, and each entry of O signed anew with it. */
static void resign_new_view(struct sim *sim, const struct pbft_frame *frame,
                            const struct pbft_span *vcs, uint32_t q, uint64_t *random)
{
    uint8_t bytes[65536];
    char why[RECHECK_WHY_BYTES];
    size_t o = 28 + 32 * (size_t)q + 12;
    pbft_id primary = pbft_get_u32(frame->bytes + 16);
    cr_assert_leq(frame->size, sizeof bytes);
    cr_assert(recheck_new_view(sim_cluster(sim), sim->o.signer, pbft_frame_span(frame), vcs, q,
                               why),
              "%s", why);
    for (size_t i = 8; i < frame->size - 64; i++) {
        memcpy(bytes, frame->bytes, frame->size);
        bytes[i] ^= (uint8_t)(1u << chance(random) % 8);
        uint8_t header[48]; /* view, n, digest */
        for (size_t e = o, n = 1; e < frame->size - 64; e += 96, n++) {
            memcpy(header, bytes + 8, 8);
            pbft_put_u64(header + 8, pbft_get_u64(bytes + o - 12) + n);
            memcpy(header + 16, bytes + e, 32);
            if (i < e + 32)
                sim_sign_body(sim, primary, PBFT_PRE_PREPARE, span(header, 48), bytes + e + 32);
        }
        sign_anew(sim, primary, bytes, frame->size);
        cr_assert_not(recheck_new_view(sim_cluster(sim), sim->o.signer, span(bytes, frame->size),
                                       vcs, q, why),
                      "byte %zu of %u", i, frame->size);
    }
}

Test(recheck, resigned_new_views_are_found_out)
{
    unsigned tried = 0, filled = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        uint64_t random = seed;
        struct catch c;
        struct sim *sim = run(seed, &pbft_signer_fast, &c);
        uint32_t n = sim->n, q = (n + (n - 1) / 3 + 2) / 2;
        for (unsigned k = 0; k < c.count[PBFT_NEW_VIEW]; k++) {
            const struct pbft_frame *nv = c.kept[PBFT_NEW_VIEW][k];
            struct pbft_span vcs[PBFT_REPLICAS_MAX];
            if (!named_by(&c, nv, q, vcs)) continue;
            resign_new_view(sim, nv, vcs, q, &random);
            tried++;
            if (pbft_get_u32(nv->bytes + 28 + 32 * q + 8) > 0) filled++;
            char why[RECHECK_WHY_BYTES];
            vcs[0] = vcs[1]; /* one twice */
            cr_assert_not(recheck_new_view(sim_cluster(sim), sim->o.signer, pbft_frame_span(nv),
                                           vcs, q, why));
        }
        finish(sim, &c);
    }
    cr_assert_gt(tried, 5u);
    cr_assert_gt(filled, 1u);
}

/* ---- certificates by hand ---- */

struct made {
    uint8_t bytes[2048];
    size_t size;
};

/* CERTIFICATE of CHECKPOINTs at `seq` by `signers`, signed as `type` for `sign_seq`, by somebody
 * else where `shift` says so. */
static struct made certificate(struct sim *sim, pbft_signers signers, uint8_t type, pbft_seq seq,
                               pbft_seq sign_seq, pbft_id shift)
{
    struct made m = {.bytes = {PBFT_CERTIFICATE, 1}, .size = 57};
    m.bytes[8] = 2;
    pbft_put_u64(m.bytes + 17, seq);
    memset(m.bytes + 25, 7, 32);
    pbft_put_u64(m.bytes + m.size, signers);
    m.size += 8;
    for (pbft_id id = 0; id < 64; id++) {
        if (!pbft_signers_has(signers, id)) continue;
        uint8_t body[44];
        pbft_put_u64(body, sign_seq);
        memset(body + 8, 7, 32);
        pbft_put_u32(body + 40, id);
        sim_sign_body(sim, (id + shift) % sim->n, type, span(body, sizeof body), m.bytes + m.size);
        m.size += 64;
    }
    m.bytes[m.size++] = 0;
    return m;
}

Test(recheck, certificates_by_hand)
{
    struct sim_options o = sim_defaults(7, 1, 3); /* q = 5 */
    struct sim *sim = sim_new(&o);
    const uint8_t cp = PBFT_CHECKPOINT;
    struct made good = certificate(sim, 0x1f, cp, 8, 8, 0);
    cr_assert(passes(sim, span(good.bytes, good.size)));
    const struct made bad[] = {
        certificate(sim, 0x0f, cp, 8, 8, 0),           /* q - 1 */
        certificate(sim, 0x3f, cp, 8, 8, 0),           /* q + 1 */
        certificate(sim, 0x1f, PBFT_COMMIT, 8, 8, 0),  /* another tag */
        certificate(sim, 0x1f, PBFT_PREPARE, 8, 8, 0), /* another tag */
        certificate(sim, 0x1f, cp, 8, 16, 0),          /* another statement */
        certificate(sim, 0x1f, cp, 9, 9, 0),           /* no checkpoint lies there */
        certificate(sim, 0x1f, cp, 0, 0, 0),           /* genesis needs none */
        certificate(sim, 0x1f, cp, 8, 8, 1),           /* signatures of others */
        certificate(sim, 0x8f, cp, 8, 8, 0),           /* no such replica */
        certificate(sim, 0, cp, 8, 8, 0),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not(passes(sim, span(bad[i].bytes, bad[i].size)), "certificate %zu", i);

    char why[RECHECK_WHY_BYTES];
    struct pbft_cluster other = *sim_cluster(sim);
    other.id.bytes[0] ^= 1;
    cr_assert_not(recheck_frame(&other, o.signer, span(good.bytes, good.size), why));
    other = *sim_cluster(sim);
    other.epoch = 1;
    pbft_put_u32(good.bytes + 4, 1);
    cr_assert_not(recheck_frame(&other, o.signer, span(good.bytes, good.size), why));
    cr_assert_not_null(strstr(why, "did not sign"), "%s", why);
    sim_free(sim);
}

static void evidence(struct sim *sim, struct pbft_frame *a, struct pbft_frame *b, pbft_id culprit,
                     bool right, const char *what)
{
    char why[RECHECK_WHY_BYTES];
    bool found = recheck_evidence(sim_cluster(sim), sim->o.signer, culprit, pbft_frame_span(a),
                                  pbft_frame_span(b), why);
    cr_assert_eq(found, right, "%s: %s", what, why);
    pbft_frame_release(a);
    pbft_frame_release(b);
}

Test(recheck, evidence)
{
    struct sim_options o = sim_defaults(4, 1, 3);
    struct sim *sim = sim_new(&o);
    struct pbft_digest d1 = {{1}}, d2 = {{2}};
#define VOTE(type, id, view, seq, d) sim_vote(sim, (type), (id), (view), (seq), (d))
    const uint8_t p = PBFT_PREPARE, c = PBFT_COMMIT;
    evidence(sim, VOTE(p, 1, 0, 5, &d1), VOTE(p, 1, 0, 5, &d2), 1, true, "two PREPAREs");
    evidence(sim, VOTE(c, 0, 0, 5, &d1), VOTE(c, 0, 0, 5, &d2), 0, true, "two COMMITs");
    evidence(sim, VOTE(p, 1, 0, 5, &d1), VOTE(p, 1, 0, 5, &d1), 1, false, "the same");
    evidence(sim, VOTE(p, 1, 0, 5, &d1), VOTE(p, 2, 0, 5, &d2), 1, false, "two senders");
    evidence(sim, VOTE(p, 1, 0, 5, &d1), VOTE(p, 1, 0, 5, &d2), 2, false, "not the culprit");
    evidence(sim, VOTE(p, 1, 0, 5, &d1), VOTE(p, 1, 0, 6, &d2), 1, false, "two numbers");
    evidence(sim, VOTE(p, 1, 0, 5, &d1), VOTE(p, 1, 2, 5, &d2), 1, false, "two views");
    evidence(sim, VOTE(p, 1, 0, 5, &d1), VOTE(c, 1, 0, 5, &d2), 1, false, "two types");
    evidence(sim, sim_checkpoint(sim, 1, 8, &d1), sim_checkpoint(sim, 1, 8, &d2), 1, true,
             "two CHECKPOINTs");
    evidence(sim, sim_checkpoint(sim, 1, 8, &d1), sim_checkpoint(sim, 1, 16, &d2), 1, false,
             "CHECKPOINTs of two numbers");

    struct made made = certificate(sim, 0x0d, PBFT_CHECKPOINT, 8, 8, 0);
    struct pbft_frame *frame = pbft_frame_new(sim_pool(sim), (uint32_t)made.size);
    memcpy(frame->bytes, made.bytes, made.size);
    frame->size = (uint32_t)made.size;
    struct pbft_digest root;
    memset(root.bytes, 7, sizeof root.bytes);
    evidence(sim, sim_checkpoint(sim, 1, 8, &d1), pbft_frame_retain(frame), 1, true,
             "against a certificate");
    evidence(sim, sim_checkpoint(sim, 1, 8, &root), pbft_frame_retain(frame), 1, false,
             "with the certificate");
    evidence(sim, sim_checkpoint(sim, 1, 16, &d1), frame, 1, false, "beside the certificate");
    sim_free(sim);
}
