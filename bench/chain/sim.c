#include "bench/chain/sim.h"

#include "bench/chain/hash.h"
#include "pbft/wire.h"

#include <stdlib.h>
#include <string.h>

struct event {
    double at_ms;
    uint64_t number; /* of equal times the earlier made comes first */
    uint32_t from, to;
    uint64_t round; /* of a discovery: void when the miner's round is another */
    uint8_t *bytes; /* of a message; NULL: a discovery by `from` */
    size_t size;
};

struct member {
    struct chain_sim *sim;
    uint32_t index;
    struct chain_node node;
    uint64_t round;
    double power;
    bool liar;
    bool tip_moved;
};

struct chain_sim {
    struct chain_sim_config config;
    struct chain_random random;
    double now_ms;
    double start_work;
    struct event *heap;
    size_t count, capacity;
    uint64_t numbers;
    uint32_t group; /* of the cut */
    bool linked[CHAIN_SIM_NODES][CHAIN_SIM_NODES];
    bool banned[CHAIN_SIM_NODES][CHAIN_SIM_NODES]; /* by who listens, who speaks */
    struct member members[CHAIN_SIM_NODES];
};

/* ---- the queue of events: a binary heap ---- */

static bool earlier(const struct event *a, const struct event *b)
{
    return a->at_ms < b->at_ms || (!(b->at_ms < a->at_ms) && a->number < b->number);
}

static void swap(struct event *a, struct event *b)
{
    struct event t = *a;
    *a = *b;
    *b = t;
}

static void push(struct chain_sim *s, struct event e)
{
    if (s->count == s->capacity) {
        size_t capacity = s->capacity == 0 ? 256 : s->capacity * 2;
        struct event *more = realloc(s->heap, capacity * sizeof *more);
        PBFT_ASSERT(more != NULL);
        s->heap = more;
        s->capacity = capacity;
    }
    e.number = s->numbers++;
    size_t at = s->count++;
    s->heap[at] = e;
    for (; at > 0 && earlier(&s->heap[at], &s->heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&s->heap[at], &s->heap[(at - 1) / 2]);
}

static struct event pop(struct chain_sim *s)
{
    struct event first = s->heap[0];
    s->heap[0] = s->heap[--s->count];
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < s->count; child++)
            if (earlier(&s->heap[child], &s->heap[least])) least = child;
        if (least == at) return first;
        swap(&s->heap[at], &s->heap[least]);
        at = least;
    }
}

/* ---- mining ---- */

/* The time to the next block is memoryless: whenever something changes, it is drawn anew. */
static void schedule(struct member *m)
{
    struct chain_sim *s = m->sim;
    m->round++;
    if (m->power <= 0) return;
    struct chain_u256 target;
    bool valid = chain_target(chain_tree_bits(&m->node.tree, m->node.tree.tip), &target);
    PBFT_ASSERT(valid);
    struct chain_u256 work = chain_work_of(&target);
    double mean = s->config.params.spacing_ms * chain_u256_double(&work) / s->start_work / m->power;
    push(s, (struct event){.at_ms = s->now_ms + chain_random_exponential(&s->random, mean),
                           .from = m->index,
                           .round = m->round});
}

static uint64_t wall(const struct chain_sim *s)
{
    return s->config.params.genesis_ms + (uint64_t)s->now_ms;
}

static void discover(struct member *m)
{
    struct chain_template t;
    bool made = chain_node_template(&m->node, wall(m->sim), &t);
    PBFT_ASSERT(made);
    bool found = chain_grind(&t.header, UINT64_MAX);
    PBFT_ASSERT(found);
    (void)chain_node_mined(&m->node, &t, wall(m->sim));
    chain_template_free(&t);
}

/* ---- lies ---- */

static void flip(struct chain_sim *s, uint8_t *bytes, size_t from, size_t size)
{
    bytes[from + chain_random_next(&s->random) % (size - from)] ^= 1u;
}

/* The last operation's signature is forged, and the block says so under work that fits: what only
 * he who checks signatures notices. */
static void forge(uint8_t *block, size_t size)
{
    struct pbft_span frames[4096];
    struct chain_header h;
    struct chain_reader r;
    uint32_t count = 0;
    block[size - 1] ^= 1u;
    if (!chain_block_read((struct pbft_span){block, size}, &h, &r)) return;
    while (count < 4096 && chain_reader_next(&r, &frames[count]))
        count++;
    uint8_t *copy = malloc(size);
    if (copy == NULL) return;
    if (chain_block_encode(&h, frames, count, copy) && chain_grind(&h, UINT64_MAX)) {
        chain_header_encode(&h, copy);
        memcpy(block, copy, size);
    }
    free(copy);
}

/* False: he keeps it to himself. message: type, then contents. */
static bool tamper(struct chain_sim *s, uint8_t *message, size_t size)
{
    if (message[0] == CHAIN_OPERATION) return false;
    if (message[0] != CHAIN_BLOCK) return true;
    switch (chain_random_next(&s->random) % 6) {
    case 0: return false;
    case 1: flip(s, message, 1, 1 + CHAIN_HEADER_BYTES); return true;
    case 2: flip(s, message, 1 + CHAIN_HEADER_BYTES, size); return true;
    case 3:
        if (size > 1 + CHAIN_BLOCK_MIN_BYTES) forge(message + 1, size - 1);
        return true;
    case 4: memset(message + 1, 0xee, size - 1); return true;
    default: return true;
    }
}

/* ---- the network ---- */

static bool parted(const struct chain_sim *s, uint32_t a, uint32_t b)
{
    return ((s->group >> a) & 1u) != ((s->group >> b) & 1u);
}

static void post(void *context, uint32_t to, struct pbft_span bytes)
{
    struct member *m = context;
    struct chain_sim *s = m->sim;
    if (!s->linked[to][m->index]) return;
    uint8_t *copy = malloc(bytes.size);
    PBFT_ASSERT(copy != NULL);
    memcpy(copy, bytes.data, bytes.size);
    if (m->liar && !tamper(s, copy, bytes.size)) {
        free(copy);
        return;
    }
    double delay = s->config.delay_ms * (0.5 + chain_random_unit(&s->random));
    push(s, (struct event){.at_ms = s->now_ms + delay,
                           .from = m->index,
                           .to = to,
                           .bytes = copy,
                           .size = bytes.size});
}

static void set_link(struct chain_sim *s, uint32_t a, uint32_t b, bool up)
{
    if (s->linked[a][b] == up) return;
    s->linked[a][b] = s->linked[b][a] = up;
    uint32_t ends[2] = {a, b};
    for (unsigned i = 0; i < 2; i++) {
        if (up)
            chain_node_up(&s->members[ends[i]].node, ends[1 - i]);
        else
            chain_node_down(&s->members[ends[i]].node, ends[1 - i]);
    }
}

static void arrive(struct chain_sim *s, const struct event *e)
{
    struct member *m = &s->members[e->to];
    if (!s->linked[e->to][e->from]) return;
    (void)chain_node_receive(&m->node, e->from, (struct pbft_span){e->bytes, e->size}, wall(s));
    if (!chain_node_banned(&m->node, e->from)) return;
    s->banned[e->to][e->from] = true;
    set_link(s, e->to, e->from, false);
}

static void on_connected(void *context, const struct chain_block *block)
{
    struct member *m = context;
    m->tip_moved = true;
    if (m->sim->config.connected != NULL)
        m->sim->config.connected(m->sim->config.context, m->index, block);
}

static void on_disconnected(void *context, const struct chain_block *block)
{
    struct member *m = context;
    if (m->sim->config.disconnected != NULL)
        m->sim->config.disconnected(m->sim->config.context, m->index, block);
}

/* ---- the interface ---- */

struct chain_sim *chain_sim_new(const struct chain_sim_config *config)
{
    struct chain_sim *s = calloc(1, sizeof *s);
    struct chain_u256 target;
    if (s == NULL) return NULL;
    s->config = *config;
    s->random = chain_random_seed(config->seed);
    bool valid = chain_target(config->params.start_bits, &target);
    PBFT_ASSERT(valid && config->nodes >= 1 && config->nodes <= CHAIN_SIM_NODES);
    struct chain_u256 work = chain_work_of(&target);
    s->start_work = chain_u256_double(&work);
    for (uint32_t i = 0; i < config->nodes; i++) {
        struct member *m = &s->members[i];
        struct chain_node_config node = {.params = config->params,
                                         .miner = i + 1,
                                         .seed = chain_random_next(&s->random),
                                         .context = m,
                                         .send = post,
                                         .connected = on_connected,
                                         .disconnected = on_disconnected};
        m->sim = s;
        m->index = i;
        m->power = config->power[i];
        if (!chain_node_init(&m->node, &node)) {
            s->config.nodes = i;
            chain_sim_free(s);
            return NULL;
        }
    }
    chain_sim_cut(s, 0);
    for (uint32_t i = 0; i < config->nodes; i++)
        schedule(&s->members[i]);
    return s;
}

void chain_sim_free(struct chain_sim *s)
{
    if (s == NULL) return;
    for (size_t i = 0; i < s->count; i++)
        free(s->heap[i].bytes);
    for (uint32_t i = 0; i < s->config.nodes; i++)
        chain_node_free(&s->members[i].node);
    free(s->heap);
    free(s);
}

struct chain_node *chain_sim_node(struct chain_sim *s, uint32_t node)
{
    return &s->members[node].node;
}

double chain_sim_now_ms(const struct chain_sim *s)
{
    return s->now_ms;
}

bool chain_sim_step(struct chain_sim *s)
{
    if (s->count == 0) return false;
    struct event e = pop(s);
    s->now_ms = e.at_ms;
    if (e.bytes != NULL)
        arrive(s, &e);
    else if (s->members[e.from].round == e.round)
        discover(&s->members[e.from]);
    free(e.bytes);
    for (uint32_t i = 0; i < s->config.nodes; i++) {
        struct member *m = &s->members[i];
        if (m->tip_moved) schedule(m);
        m->tip_moved = false;
    }
    return true;
}

void chain_sim_run(struct chain_sim *s, double until_ms)
{
    while (s->count > 0 && s->heap[0].at_ms <= until_ms)
        (void)chain_sim_step(s);
    if (s->now_ms < until_ms) s->now_ms = until_ms;
}

void chain_sim_cut(struct chain_sim *s, uint32_t group)
{
    s->group = group;
    for (uint32_t a = 0; a < s->config.nodes; a++)
        for (uint32_t b = 0; b < a; b++) {
            bool banned = s->banned[a][b] || s->banned[b][a];
            set_link(s, a, b, !parted(s, a, b) && !banned);
        }
}

void chain_sim_power(struct chain_sim *s, uint32_t node, double power)
{
    s->members[node].power = power;
    schedule(&s->members[node]);
}

void chain_sim_liar(struct chain_sim *s, uint32_t node)
{
    s->members[node].liar = true;
}

uint32_t chain_sim_banned_by(const struct chain_sim *s, uint32_t node)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < s->config.nodes; i++)
        count += s->banned[i][node];
    return count;
}

enum chain_verdict chain_sim_submit(struct chain_sim *s, uint32_t node, struct pbft_span frame)
{
    return chain_node_submit(&s->members[node].node, frame);
}

bool chain_sim_agree(struct chain_sim *s, uint32_t group)
{
    const struct chain_block *tip = NULL;
    for (uint32_t i = 0; i < s->config.nodes; i++) {
        if (((group >> i) & 1u) == 0) continue;
        const struct chain_block *own = s->members[i].node.tree.tip;
        if (tip != NULL && !pbft_digest_equal(&tip->link.key, &own->link.key)) return false;
        tip = own;
    }
    return true;
}
