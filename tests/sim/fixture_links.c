/* Links: delay, loss, duplication, reordering, bit flips, cuts; and the trace of what they carry.
 */
#include "tests/sim/fixture_internal.h"

#include <string.h>

/* ---- trace ---- */

static void mix_word(struct sim *sim, uint64_t word)
{
    uint64_t h = (sim->trace_hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    sim->trace_hash = h ^ (h >> 29);
}

static void mix(struct sim *sim, const uint8_t *bytes, size_t size)
{
    size_t at = 0;
    for (; size - at >= 8; at += 8)
        mix_word(sim, pbft_get_u64(bytes + at));
    uint64_t last = size;
    for (; at < size; at++)
        last = last << 8 | bytes[at];
    mix_word(sim, last);
}

void sim_trace(struct sim *sim, const struct event *e)
{
    mix_word(sim, sim->now_ns);
    mix_word(sim, (uint64_t)e->kind << 48 | (uint64_t)e->from << 24 | e->to);
    if (e->frame != NULL) mix(sim, e->frame->bytes, e->frame->size);
    if (sim->trace == NULL || e->frame == NULL) return;
    struct pbft_claim c;
    if (pbft_wire_peek(pbft_frame_span(e->frame), &c) != PBFT_OK) return;
    fprintf(sim->trace, "%12.6f ms %s%u -> %s%u %-12s v=%llu n=%llu d=%02x%02x size=%u\n",
            (double)sim->now_ns / 1e6, e->from_client ? "c" : "r", e->from,
            e->kind == EVENT_TO_CLIENT ? "c" : "r", e->to, pbft_type_text(c.type),
            (unsigned long long)c.view, (unsigned long long)c.seq, c.digest.bytes[0],
            c.digest.bytes[1], e->frame->size);
}

static void tell_packet(struct sim *sim, enum sim_seen_kind kind, const struct sim_packet *p,
                        uint64_t sent_ns, enum pbft_verdict verdict)
{
    struct sim_seen seen = {.kind = kind,
                            .sent_ns = sent_ns,
                            .from_client = p->from_client,
                            .to_client = p->to_client,
                            .from = p->from,
                            .to = p->to,
                            .byzantine = !p->from_client && !sim_is_correct(sim, p->from),
                            .claim = p->claim,
                            .size = p->frame->size,
                            .verdict = verdict};
    sim_tell(sim, &seen);
}

static void claim_of(struct pbft_frame *frame, struct pbft_claim *claim)
{
    if (pbft_wire_peek(pbft_frame_span(frame), claim) != PBFT_OK) memset(claim, 0, sizeof *claim);
}

void sim_tell_delivery(struct sim *sim, const struct event *e, bool lost, enum pbft_verdict verdict)
{
    if (!lost) sim->delivered++;
    if (sim->observer == NULL) return;
    struct sim_packet p = {.from_client = e->from_client,
                           .to_client = e->kind == EVENT_TO_CLIENT,
                           .from = e->from,
                           .to = e->kind == EVENT_TO_CLIENT ? e->to : sim->nodes[e->to].id,
                           .frame = e->frame};
    claim_of(e->frame, &p.claim);
    tell_packet(sim, lost ? SIM_SEEN_LOST : SIM_SEEN_DELIVERED, &p, e->sent_ns, verdict);
}

/* ---- carrying ---- */

static bool may(const struct sim *sim, enum sim_fault fault)
{
    return (sim->forbidden >> fault & 1u) == 0;
}

static bool by_chance(struct sim *sim, enum sim_fault fault, uint32_t ppm)
{
    sim->odds_ppm[fault] += ppm;
    return sim_happens(sim, ppm) && may(sim, fault);
}

static enum sim_fault cut_by(const struct sim *sim, const struct sim_packet *p)
{
    if (!p->from_client && sim->nodes[p->from].isolated) return SIM_FAULT_ISOLATION;
    if (!p->to_client && sim->nodes[p->to].isolated) return SIM_FAULT_ISOLATION;
    if (p->from_client || p->to_client || !pbft_signers_has(sim->blocked[p->from], p->to))
        return SIM_FAULT_COUNT;
    return pbft_signers_has(sim->blocked[p->to], p->from) ? SIM_FAULT_PARTITION : SIM_FAULT_ONE_WAY;
}

/* The fault that swallows it; SIM_FAULT_COUNT: none. */
static enum sim_fault swallowed(struct sim *sim, const struct sim_packet *p)
{
    enum sim_fault cut = cut_by(sim, p);
    if (cut != SIM_FAULT_COUNT && may(sim, cut)) return cut;
    return by_chance(sim, SIM_FAULT_LOSS, sim->o.loss_ppm) ? SIM_FAULT_LOSS : SIM_FAULT_COUNT;
}

static bool is_twin(const struct sim *sim, bool client, uint32_t id)
{
    return !client && pbft_signers_has(sim->o.twins, id);
}

/* Of the twins, the second instances see each other, and those who are told to. */
static bool sees_second(const struct sim *sim, bool client, uint32_t id)
{
    return client ? ((sim->twin_clients >> id) & 1u) != 0 : pbft_signers_has(sim->twin_sees, id);
}

/* Who gets it: of a twin one instance. */
static uint32_t place_for(const struct sim *sim, const struct sim_packet *p)
{
    if (!is_twin(sim, p->to_client, p->to)) return p->to;
    bool second = is_twin(sim, p->from_client, p->from) ? sim->sending >= sim->n
                                                        : sees_second(sim, p->from_client, p->from);
    return second ? sim->n + p->to : p->to;
}

static void carry_once(struct sim *sim, const struct sim_packet *p, bool flipped)
{
    uint64_t at = sim->now_ns + sim_between(sim, sim->o.delay_min_ns, sim->o.delay_max_ns);
    if (!p->from_client && !p->to_client) {
        uint64_t extra = sim->slow_ns[p->from * sim->n + p->to];
        if (extra > 0 && may(sim, SIM_FAULT_SLOW_LINK)) {
            sim->acted[SIM_FAULT_SLOW_LINK]++;
            at += extra;
        }
    }
    uint32_t ends = sim->n + sim->o.clients;
    size_t link = (size_t)(p->from + (p->from_client ? sim->n : 0)) * ends + p->to +
                  (p->to_client ? sim->n : 0);
    if (at <= sim->last_arrival[link]) {
        if (sim->o.fifo)
            at = sim->last_arrival[link] + 1;
        else
            sim->acted[SIM_FAULT_REORDER]++;
    }
    if (at > sim->last_arrival[link]) sim->last_arrival[link] = at;
    uint32_t to = place_for(sim, p);
    struct event e = {.at_ns = at,
                      .kind = p->to_client ? EVENT_TO_CLIENT : EVENT_TO_NODE,
                      .from_client = p->from_client,
                      .flipped = flipped,
                      .from = p->from,
                      .to = to,
                      .incarnation = p->to_client ? sim->nodes[p->from].incarnation
                                                  : sim->nodes[to].incarnation,
                      .sent_ns = sim->now_ns,
                      .frame = pbft_frame_retain(p->frame)};
    sim_push(sim, &e);
}

/* The channel drops a frame that was altered on its way; a Byzantine replica alters its own. */
static void carry_flipped(struct sim *sim, const struct sim_packet *p)
{
    sim->acted[SIM_FAULT_BIT_FLIP]++;
    bool own = !p->from_client && !p->to_client && !sim_is_correct(sim, p->from);
    if (!own || sim_random(sim, 4) != 0) {
        tell_packet(sim, SIM_SEEN_LOST, p, sim->now_ns, PBFT_OK);
        return;
    }
    struct pbft_frame *bad = pbft_frame_new(sim_pool(sim), p->frame->size);
    if (bad == NULL) return;
    memcpy(bad->bytes, p->frame->bytes, p->frame->size);
    bad->size = p->frame->size;
    uint64_t at = sim_random(sim, bad->size);
    bad->bytes[at] ^= (uint8_t)(1u << sim_random(sim, 8));
    struct sim_packet flipped = *p;
    flipped.frame = bad;
    carry_once(sim, &flipped, true);
    pbft_frame_release(bad);
}

static void carry(struct sim *sim, struct sim_packet *p)
{
    claim_of(p->frame, &p->claim);
    p->type = p->frame->size > 0 ? p->frame->bytes[0] : 0;
    sim->sent[p->type & 63u]++;
    bool filtered = sim->filter != NULL && !sim->filter(sim, p, sim->filter_context);
    enum sim_fault fault = filtered ? SIM_FAULT_COUNT : swallowed(sim, p);
    if (filtered || fault != SIM_FAULT_COUNT) {
        if (fault != SIM_FAULT_COUNT) sim->acted[fault]++;
        tell_packet(sim, SIM_SEEN_LOST, p, sim->now_ns, PBFT_OK);
        return;
    }
    if (p->frame->size > 0 && by_chance(sim, SIM_FAULT_BIT_FLIP, sim->flip_ppm)) {
        carry_flipped(sim, p);
        return;
    }
    carry_once(sim, p, false);
    if (!by_chance(sim, SIM_FAULT_DUPLICATE, sim->o.duplicate_ppm)) return;
    sim->acted[SIM_FAULT_DUPLICATE]++;
    carry_once(sim, p, false);
}

void sim_client_send(struct sim *sim, uint32_t client, pbft_id to, struct pbft_frame *frame)
{
    struct sim_packet p = {.from_client = true, .from = client, .to = to, .frame = frame};
    carry(sim, &p);
}

void sim_node_send(struct sim *sim, uint32_t place, bool to_client, uint32_t to,
                   struct pbft_frame *frame)
{
    const struct node *n = &sim->nodes[place];
    struct sim_packet p = {.from = n->id, .to_client = to_client, .to = to, .frame = frame};
    sim->sending = place;
    if (is_twin(sim, false, n->id)) { /* each instance has an audience of its own */
        bool second = place >= sim->n;
        if (second && (sim->twin_sees & ~sim->o.twins) != 0)
            sim->odds_ppm[SIM_FAULT_TWIN] += 1000000u / sim->n;
        if (!is_twin(sim, to_client, to) && second != sees_second(sim, to_client, to)) return;
        if (second) sim->acted[SIM_FAULT_TWIN]++;
    }
    carry(sim, &p);
}

/* ---- faults of links ---- */

void sim_block(struct sim *sim, pbft_signers from, pbft_signers to, bool on)
{
    sim_tell_fault(sim, "links %llx -> %llx are %s", (unsigned long long)from,
                   (unsigned long long)to, on ? "cut" : "back");
    for (pbft_id id = 0; id < sim->n; id++) {
        if (!pbft_signers_has(from, id)) continue;
        if (on)
            sim->blocked[id] |= to;
        else
            sim->blocked[id] &= ~to;
    }
}

void sim_slow_links(struct sim *sim, pbft_signers from, pbft_signers to, uint64_t extra_ns)
{
    sim_tell_fault(sim, "links %llx -> %llx take %llu ms longer", (unsigned long long)from,
                   (unsigned long long)to, (unsigned long long)(extra_ns / SIM_MS));
    for (pbft_id a = 0; a < sim->n; a++)
        for (pbft_id b = 0; b < sim->n; b++)
            if (pbft_signers_has(from, a) && pbft_signers_has(to, b))
                sim->slow_ns[a * sim->n + b] = extra_ns;
}

void sim_isolate(struct sim *sim, pbft_id id, bool on)
{
    sim_tell_fault(sim, "replica %u is %s", id, on ? "cut off" : "connected again");
    sim->nodes[id].isolated = on;
}

void sim_heal(struct sim *sim)
{
    sim_tell_fault(sim, "the network heals");
    for (pbft_id id = 0; id < sim->n; id++) {
        sim->blocked[id] = 0;
        sim->nodes[id].isolated = false;
    }
    memset(sim->slow_ns, 0, (size_t)sim->n * sim->n * sizeof *sim->slow_ns);
    sim_set_loss(sim, 0, 0);
    sim_set_flips(sim, 0);
    sim_set_filter(sim, NULL, NULL);
}

void sim_set_loss(struct sim *sim, uint32_t loss_ppm, uint32_t duplicate_ppm)
{
    sim->o.loss_ppm = loss_ppm;
    sim->o.duplicate_ppm = duplicate_ppm;
}

void sim_set_flips(struct sim *sim, uint32_t flip_ppm)
{
    sim->flip_ppm = flip_ppm;
}

void sim_set_fifo(struct sim *sim, bool fifo)
{
    sim->o.fifo = fifo;
}

void sim_set_filter(struct sim *sim, sim_filter *filter, void *context)
{
    sim->filter = filter;
    sim->filter_context = context;
}

void sim_twins_meet(struct sim *sim, pbft_signers replicas, uint64_t clients)
{
    sim->twin_sees = replicas;
    sim->twin_clients = clients;
    sim_tell_fault(sim, "replicas %llx and clients %llx meet the other twin",
                   (unsigned long long)replicas, (unsigned long long)clients);
}
