/* State transfer: pages of a certified root, asked of several peers at once, verified one by one,
 * installed all together (FAULTS 4.20, 2.22, 2.47). The installation itself lives on the apply
 * side. */
#include "replica/node_internal.h"

#include <stdlib.h>
#include <string.h>

/* Of what the rate brings in a second: asked for at once after a pause, and otherwise. */
#define BURST_PARTS         16
#define ASK_PARTS           128
#define PAGE_BYTES_EXPECTED 4096u                /* before the first has come */
#define GAIN_NS             UINT64_C(4000000000) /* targets of so long are looked at together */
#define GAIN_PAGES          8u /* of so many pages one entry is not enough: a leaf brings its own */
#define HASTE_NS            UINT64_C(60000000000) /* until the rate is halved again */
#define RATE_MAX            (UINT64_C(1) << 41)

static void asks_clear(struct pbft_node *node)
{
    node->transfer.ask_count = 0;
    for (pbft_id id = 0; id < node->n; id++)
        node->peers[id].asks = 0;
}

static void strike(struct pbft_node *node, pbft_id id)
{
    node->peers[id].strikes++;
    /* All bad: everybody gets another chance. */
    for (pbft_id other = 0; other < node->n; other++)
        if (other != node->id && node->peers[other].up &&
            node->peers[other].strikes < PEER_STRIKES_MAX)
            return;
    for (pbft_id other = 0; other < node->n; other++)
        node->peers[other].strikes = 0;
}

/* The target moved on while we waited for these; whoever answers clears itself by its first page.
 * Else: where targets live for less than PAGE_RETRY_NS, a silent peer is asked first for ever. */
static void strike_debtors(struct pbft_node *node)
{
    pbft_signers debtors = 0;
    for (size_t i = 0; i < node->transfer.ask_count; i++)
        debtors |= pbft_signers_of(node->transfer.asks[i].peer);
    for (pbft_id id = 0; id < node->n; id++)
        if (pbft_signers_has(debtors, id)) strike(node, id);
}

/* From here on it is watched what the pages that come are good for. */
static void watch_gain(struct transfer *t, uint64_t now_ns)
{
    t->pace.before = t->pace.least;
    t->pace.since_ns = now_ns;
    t->pace.since_pages = t->fetched;
    t->pace.since_bytes = t->fetched_bytes;
}

/* It has brought in what it allows, but most of it only what had changed meanwhile. */
static bool gains_nothing(const struct transfer *t, uint64_t now_ns)
{
    const struct node_pace *p = &t->pace;
    uint64_t bytes = t->fetched_bytes - p->since_bytes, pages = t->fetched - p->since_pages;
    if (p->before == NEVER || bytes < p->rate / 2000u * ((now_ns - p->since_ns) / 1000000u))
        return false;
    return (p->before - p->least) * GAIN_PAGES < pages;
}

/* How fast pages are asked for, until the next target. A replica that catches up must not take from
 * the others what they order with; but a state that changes faster than this one fetches would
 * never be here. So the pace doubles where it leads nowhere, and comes down by itself. */
static void set_pace(struct pbft_node *node)
{
    struct transfer *t = &node->transfer;
    struct node_pace *p = &t->pace;
    uint64_t usual = node->config.transfer_bytes_per_second, now = node->now_ns;
    for (; p->rate > usual && now - p->hastened_ns >= HASTE_NS; p->hastened_ns += HASTE_NS)
        p->rate /= 2;
    if (p->rate < usual) p->rate = usual;
    if (!t->active) {
        p->least = NEVER;
        watch_gain(t, now);
        return;
    }
    uint64_t missing = t->entries == 0 ? NEVER : t->entries - t->entries_have;
    if (missing < p->least) p->least = missing;
    if (now - p->since_ns < GAIN_NS) return;
    if (gains_nothing(t, now) && p->rate <= RATE_MAX / 2) {
        p->rate *= 2;
        p->hastened_ns = now;
    }
    watch_gain(t, now);
}

void node_transfer_begin(struct pbft_node *node, pbft_seq seq, const struct pbft_digest *root,
                         pbft_signers hint)
{
    struct transfer *t = &node->transfer;
    /* Straight after an installation, or instead of one: what these have hashed is believed.
     * Whoever has executed since may be here because his own pages are not what they were. */
    if (!t->active && (t->installed == 0 || node->applied != t->installed)) t->series++;
    node_drop_executions(node);
    if (t->active) strike_debtors(node);
    asks_clear(node);
    set_pace(node);
    t->begun++;
    t->active = true;
    t->again_ns = 0;
    t->retry_ns = PAGE_RETRY_NS;
    t->longer_ns = 0;
    t->seq = seq;
    t->root = *root;
    t->hint = hint;
    t->wanted_count = 0;
    t->have = t->known = t->entries_have = t->entries = 0;
    t->step_wanted = true;
    t->step_queued = false;
    struct task *task = node_queue(node, TASK_INSTALL_BEGIN);
    task->digest = *root;
    task->series = t->series;
    node_log_line(node, "transfer_begin", "seq=%llu", (unsigned long long)seq);
}

/* ---- asking ---- */

/* The peer with the fewest strikes, certifiers of the root first, then the fewest asks. Each strike
 * halves how much is asked of it at once: what a silent one holds up is little. */
static bool choose_peer(struct pbft_node *node, pbft_id *out)
{
    bool found = false;
    uint64_t best = NEVER;
    for (pbft_id step = 1; step <= node->n; step++) {
        pbft_id id = (node->rotation + step) % node->n;
        const struct peer_state *peer = &node->peers[id];
        unsigned strikes = peer->strikes > PEER_STRIKES_MAX ? PEER_STRIKES_MAX : peer->strikes;
        if (id == node->id || !peer->up || peer->asks >= PAGES_PER_PEER >> strikes) continue;
        uint64_t rank = (uint64_t)strikes * 1000u + peer->asks +
                        (pbft_signers_has(node->transfer.hint, id) ? 0 : 100u);
        if (rank >= best) continue;
        best = rank;
        *out = id;
        found = true;
    }
    if (found) node->rotation = *out;
    return found;
}

/* Bytes that are expected of what was asked for. */
static int64_t awaited(const struct transfer *t)
{
    uint64_t page = t->fetched == 0 ? PAGE_BYTES_EXPECTED : t->fetched_bytes / t->fetched;
    return (int64_t)(t->ask_count * page);
}

/* What may be asked for now. Too little counts as nothing: pages are asked for many at once. */
static int64_t allowed(struct pbft_node *node)
{
    struct transfer *t = &node->transfer;
    int64_t rate = (int64_t)t->pace.rate;
    if (rate == 0) return INT64_MAX;
    /* Else what comes in while an answer is on its way would be lost, and a long way would count.
     */
    node_bucket_refill(node, &t->pace.budget, rate / BURST_PARTS + awaited(t), rate);
    int64_t bytes = t->pace.budget.bytes - awaited(t);
    return bytes < rate / ASK_PARTS ? 0 : bytes;
}

static uint64_t allowed_deadline(const struct transfer *t)
{
    int64_t rate = (int64_t)t->pace.rate;
    if (rate == 0 || t->wanted_count == 0) return NEVER;
    return node_bucket_due(&t->pace.budget, awaited(t) + rate / ASK_PARTS, rate);
}

static void ask_pages(struct pbft_node *node)
{
    struct transfer *t = &node->transfer;
    int64_t before = awaited(t), most = allowed(node);
    pbft_id id;
    while (t->wanted_count > 0 && t->ask_count < PAGES_OUTSTANDING && awaited(t) - before < most &&
           choose_peer(node, &id)) {
        struct page_ask *ask = &t->asks[t->ask_count++];
        *ask = (struct page_ask){t->wanted[--t->wanted_count], id, node->now_ns + t->retry_ns};
        node->peers[id].asks++;
        if (node->peers[id].pages_owed < PAGES_OWED_MAX) node->peers[id].pages_owed++;
        struct pbft_fetch what = {.kind = PBFT_FETCH_PAGE, .digest = ask->digest};
        node_send_fetch(node, id, &what);
    }
}

/* The page is asked for again, of somebody else if possible: the digest goes straight back. */
static void ask_failed(struct pbft_node *node, size_t at)
{
    struct transfer *t = &node->transfer;
    struct page_ask ask = t->asks[at];
    t->asks[at] = t->asks[--t->ask_count];
    PBFT_ASSERT(node->peers[ask.peer].asks > 0);
    node->peers[ask.peer].asks--;
    t->wanted = node_grow(t->wanted, &t->wanted_capacity, t->wanted_count, sizeof *t->wanted);
    t->wanted[t->wanted_count++] = ask.digest;
}

static void fail_peer(struct pbft_node *node, pbft_id id)
{
    for (size_t i = 0; i < node->transfer.ask_count;) {
        if (node->transfer.asks[i].peer == id)
            ask_failed(node, i);
        else
            i++;
    }
}

void node_transfer_tick(struct pbft_node *node)
{
    struct transfer *t = &node->transfer;
    if (!t->active && t->again_ns != 0 && t->again_ns <= node->now_ns)
        node_transfer_begin(node, t->seq, &t->root, t->hint);
    if (!t->active) return;
    pbft_signers silent = 0;
    for (size_t i = 0; i < t->ask_count;) {
        if (t->asks[i].due_ns > node->now_ns) {
            i++;
            continue;
        }
        silent |= pbft_signers_of(t->asks[i].peer);
        ask_failed(node, i);
    }
    for (pbft_id id = 0; id < node->n; id++)
        if (pbft_signers_has(silent, id)) strike(node, id);
    ask_pages(node);
}

uint64_t node_transfer_deadline(const struct pbft_node *node)
{
    const struct transfer *t = &node->transfer;
    if (!t->active) return t->again_ns != 0 ? t->again_ns : NEVER;
    uint64_t due = allowed_deadline(t);
    for (size_t i = 0; i < t->ask_count; i++)
        if (t->asks[i].due_ns < due) due = t->asks[i].due_ns;
    return due;
}

void node_transfer_peer_down(struct pbft_node *node, pbft_id id)
{
    if (!node->transfer.active) return;
    fail_peer(node, id);
    ask_pages(node);
}

/* ---- arriving ---- */

enum pbft_verdict node_on_page(struct pbft_node *node, const struct pbft_peer *from,
                               struct pbft_span page, struct pbft_frame *frame)
{
    struct peer_state *peer = &node->peers[from->index];
    if (!node->transfer.active || peer->pages_owed == 0) return PBFT_DROP_UNWANTED;
    peer->pages_owed--;
    peer->pages_queued++;
    struct task *task = node_queue(node, TASK_INSTALL_PAGE);
    task->peer = *from;
    task->frame = pbft_frame_retain(frame);
    task->page = page;
    return PBFT_OK;
}

/* A page that others were asked for meanwhile, and it is installed. Else: a laggard further away
 * than PAGE_RETRY_NS never gets a single page, for each comes after its ask was given up. */
static void page_late(struct pbft_node *node, const struct pbft_digest *digest)
{
    struct transfer *t = &node->transfer;
    /* Many come late together: that is one reason to wait longer, not one for each. */
    if (t->retry_ns < PAGE_RETRY_MAX_NS && node->now_ns >= t->longer_ns) {
        t->retry_ns *= 2;
        t->longer_ns = node->now_ns + t->retry_ns;
    }
    for (size_t i = 0; i < t->ask_count; i++) {
        if (!pbft_digest_equal(&t->asks[i].digest, digest)) continue;
        node->peers[t->asks[i].peer].asks--;
        t->asks[i] = t->asks[--t->ask_count];
        break;
    }
    for (size_t i = 0; i < t->wanted_count; i++) {
        if (!pbft_digest_equal(&t->wanted[i], digest)) continue;
        t->wanted[i] = t->wanted[--t->wanted_count];
        break;
    }
    t->step_wanted = true;
}

void node_page_done(struct pbft_node *node, struct task *task)
{
    struct transfer *t = &node->transfer;
    pbft_id id = task->peer.index;
    PBFT_ASSERT(node->peers[id].pages_queued > 0);
    node->peers[id].pages_queued--;
    if (task->verdict == PBFT_OK) {
        t->fetched++;
        t->fetched_bytes += task->page.size;
        t->pace.budget.bytes -= (int64_t)task->page.size;
    }
    if (!t->active || task->generation != node->generation) return;
    size_t at = 0;
    while (at < t->ask_count &&
           (t->asks[at].peer != id || !pbft_digest_equal(&t->asks[at].digest, &task->digest)))
        at++;
    if (at == t->ask_count && task->verdict == PBFT_OK) {
        page_late(node, &task->digest);
    } else if (at == t->ask_count && task->verdict == PBFT_DROP_UNWANTED) {
        node->dropped[PBFT_DROP_UNWANTED]++; /* another was faster; if it lies, its asks time out */
    } else if (at == t->ask_count) {         /* not what it was asked for */
        node->dropped[PBFT_DROP_DIGEST]++;
        strike(node, id);
        fail_peer(node, id);
    } else if (task->verdict == PBFT_OK || task->verdict == PBFT_DROP_UNWANTED) {
        node->peers[id].strikes = 0;
        node->peers[id].asks--;
        t->asks[at] = t->asks[--t->ask_count];
        t->step_wanted = true;
    } else { /* no memory now, or no page: the step sees which */
        ask_failed(node, at);
        t->step_wanted = true;
    }
    ask_pages(node);
}

/* ---- stepping the installation ---- */

void node_transfer_queue_step(struct pbft_node *node)
{
    struct transfer *t = &node->transfer;
    if (!t->active || !t->step_wanted || t->step_queued) return;
    size_t waiting = t->wanted_count + t->ask_count;
    t->step_wanted = false;
    t->step_queued = true;
    struct task *task = node_queue(node, TASK_INSTALL_STEP);
    task->want = waiting < PAGES_OUTSTANDING ? PAGES_OUTSTANDING - waiting : 0;
}

static void state_installed(struct pbft_node *node, struct task *task)
{
    struct transfer *t = &node->transfer;
    t->active = false;
    t->wanted_count = 0;
    asks_clear(node);
    t->installed = task->seq;
    /* Back to an earlier state: no read sees less than it might have (PROTOCOL 28). */
    if (node->applied > node->read_floor) node->read_floor = node->applied;
    node->applied = task->seq;
    node->applied_lsn = node->core_last;
    node_flush_installed(node, task->seq);
    node_recheck_admitted(node);
    node_divergence_installed(node, task->seq, task->snapshot);
    if (task->snapshot != NULL) {
        node_keep_hashed(node, task->seq, task->snapshot, &t->root);
        task->snapshot = NULL;
    }
    node_root_known(node, task->seq, &t->root);
    node_log_line(node, "transfer_done", "seq=%llu pages=%llu local=%llu",
                  (unsigned long long)task->seq, (unsigned long long)task->progress.pages_have,
                  (unsigned long long)task->progress.pages_local);
    struct pbft_event event = {.kind = PBFT_EVENT_STATE_READY};
    event.state_ready.seq = task->seq;
    event.state_ready.root = t->root;
    event.state_ready.effective_ns = task->effective_ns;
    event.state_ready.next_due_ns = task->next_due_ns;
    event.state_ready.last = task->last;
    node_step(node, &event);
}

static void step_failed(struct pbft_node *node, const char *why)
{
    struct transfer *t = &node->transfer;
    t->active = false;
    t->installed = 0; /* what was believed so far may be why: the next one hashes all again */
    t->again_ns = node->now_ns + TRANSFER_RETRY_NS; /* or when h has moved on */
    asks_clear(node);
    node_log_line(node, "transfer_failed", "seq=%llu why=\"%s\"", (unsigned long long)t->seq, why);
}

void node_install_step_done(struct pbft_node *node, struct task *task)
{
    struct transfer *t = &node->transfer;
    if (!t->active || task->generation != node->generation) return;
    t->step_queued = false;
    t->have = task->progress.pages_have;
    t->known = task->progress.pages_known;
    t->entries_have = task->progress.entries_have;
    t->entries = task->progress.entries;
    if (task->installed && task->seq != t->seq) {
        step_failed(node, "the certified root is of another sequence number");
    } else if (task->installed) {
        state_installed(node, task);
    } else if (task->status != PBFT_STATUS_OK) {
        step_failed(node, pbft_status_text(task->status));
    } else if (task->progress.failed) {
        step_failed(node, "the certified root leads to a page that is none");
    } else {
        for (size_t i = 0; i < task->wanted_count; i++) {
            t->wanted =
                node_grow(t->wanted, &t->wanted_capacity, t->wanted_count, sizeof *t->wanted);
            t->wanted[t->wanted_count++] = task->wanted[i];
        }
        if (task->progress.pages_pending > 0 && t->wanted_count + t->ask_count < PAGES_OUTSTANDING)
            t->step_wanted = true;
        ask_pages(node);
    }
}

void node_transfer_free(struct pbft_node *node)
{
    free(node->transfer.wanted);
}
