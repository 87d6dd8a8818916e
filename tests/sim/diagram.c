/* What a diagram shows, and where: events, window, lanes, and time as distance. */
#include "tests/sim/diagram_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define EVENTS_MAX   (UINT64_C(4) << 20)
#define BEFORE       (size_t)14 /* messages before what the default window is about */
#define SPAN_MAX     (size_t)190
#define FIRST        60u
#define PAUSE_NS     UINT64_C(40000000)
#define LABEL_HEIGHT 12.0

struct sim_diagram {
    struct sim_seen *events;
    size_t count, capacity;
};

struct sim_diagram *sim_diagram_new(void)
{
    return calloc(1, sizeof(struct sim_diagram));
}

void sim_diagram_free(struct sim_diagram *diagram)
{
    if (diagram == NULL) return;
    for (size_t i = 0; i < diagram->count; i++)
        free((void *)(uintptr_t)diagram->events[i].text); /* our copies */
    free(diagram->events);
    free(diagram);
}

static bool is_message(const struct sim_seen *e)
{
    return e->kind == SIM_SEEN_DELIVERED || e->kind == SIM_SEEN_LOST;
}

/* Requests that replicas hand on would hide all else: drawn only where a window is asked for. */
static bool is_drawn(const struct sim_seen *e, bool all)
{
    return is_message(e) && (all || e->from_client || e->claim.type != PBFT_REQUEST);
}

static char *copied(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = malloc(size);
    if (copy != NULL) memcpy(copy, text, size);
    return copy;
}

void sim_diagram_observe(void *context, const struct sim_seen *seen)
{
    struct sim_diagram *d = context;
    if (seen->kind == SIM_SEEN_LOG || d->count >= EVENTS_MAX) return;
    if (is_message(seen) && seen->claim.type == PBFT_STATUS_MSG) return;
    if (d->count == d->capacity) {
        size_t larger = d->capacity == 0 ? 1024 : 2 * d->capacity;
        void *memory = realloc(d->events, larger * sizeof *d->events);
        if (memory == NULL) return;
        d->events = memory;
        d->capacity = larger;
    }
    struct sim_seen *e = &d->events[d->count++];
    *e = *seen;
    if (seen->text != NULL) e->text = copied(seen->text);
}

/* ---- the window ---- */

struct range {
    size_t from, to;           /* [from, to) ... */
    size_t skip_from, skip_to; /* ... without these */
    bool all;                  /* forwarded requests, too */
};

static bool in_range(const struct range *r, size_t i)
{
    return i >= r->from && i < r->to && (i < r->skip_from || i >= r->skip_to);
}

/* So many drawn messages back from `at`, not beyond the beginning. */
static size_t back(const struct sim_diagram *d, size_t at, size_t messages)
{
    while (at > 0 && messages > 0)
        messages -= is_drawn(&d->events[--at], false);
    return at;
}

static size_t forth(const struct sim_diagram *d, size_t at, size_t messages)
{
    while (at < d->count && messages > 0)
        messages -= is_drawn(&d->events[at++], false);
    return at;
}

/* What may have made a view change: the world's doing, or a liar's proposals. */
static bool is_cause(const struct sim_seen *e)
{
    return e->kind == SIM_SEEN_FAULT || e->kind == SIM_SEEN_LIE ||
           (e->kind == SIM_SEEN_DELIVERED && e->byzantine && e->claim.type == PBFT_PRE_PREPARE);
}

/* What made it; the wait for the time-out is left out; the change itself; and until each replica
 * but one has executed something in the new view. */
static struct range around_view_change(const struct sim_diagram *d, uint32_t n, size_t first)
{
    struct range r = {.from = back(d, first, BEFORE)};
    for (size_t i = first; i > 0; i--) {
        if (!is_cause(&d->events[i - 1])) continue;
        bool world = d->events[i - 1].kind == SIM_SEEN_FAULT;
        r.from = back(d, i - 1, 2 * BEFORE);
        r.skip_from = forth(d, i, world ? BEFORE / 2 : 2 * BEFORE);
        r.skip_to = first;
        if (r.skip_to <= r.skip_from) r.skip_from = r.skip_to = 0;
        break;
    }
    size_t limit = forth(d, first, SPAN_MAX), executed = 0;
    bool installed = false;
    for (r.to = first; r.to < limit && executed < (size_t)n - 1; r.to++) {
        const struct sim_seen *e = &d->events[r.to];
        installed = installed || (e->kind == SIM_SEEN_VIEW && e->active);
        executed += installed && e->kind == SIM_SEEN_EXECUTED;
    }
    r.to = forth(d, r.to, 3);
    return r;
}

/* Where the first replica asks for the first view that is installed, or for any; else the count. */
static size_t view_change(const struct sim_diagram *d)
{
    size_t asked = d->count;
    for (size_t i = d->count; i > 0; i--) {
        const struct sim_seen *e = &d->events[i - 1];
        if (e->kind == SIM_SEEN_VIEW && !e->active && !e->byzantine) asked = i - 1;
    }
    for (size_t i = asked; i < d->count; i++) {
        const struct sim_seen *e = &d->events[i];
        if (e->kind != SIM_SEEN_VIEW || !e->active || e->byzantine) continue;
        for (size_t k = back(d, i, 2 * SPAN_MAX); k < i; k++) {
            const struct sim_seen *o = &d->events[k];
            if (o->kind == SIM_SEEN_VIEW && !o->active && !o->byzantine &&
                o->claim.view == e->claim.view)
                return k;
        }
    }
    return asked;
}

static struct range choose(const struct sim_diagram *d, uint32_t n,
                           const struct sim_diagram_window *w)
{
    struct range r = {.all = w->given};
    if (w->given) {
        while (r.from < d->count && d->events[r.from].at_ns < w->from_ns)
            r.from++;
        for (r.to = r.from; r.to < d->count && d->events[r.to].at_ns <= w->to_ns;)
            r.to++;
        return r;
    }
    for (size_t i = d->count; i > 0; i--)
        if (d->events[i - 1].kind == SIM_SEEN_FAILURE)
            return (struct range){.from = back(d, i, FIRST), .to = i};
    size_t change = view_change(d);
    if (change < d->count) return around_view_change(d, n, change);
    r.to = forth(d, 0, FIRST);
    return r;
}

/* ---- lanes ---- */

static uint32_t lane_of(const struct diagram_drawing *d, bool client, uint32_t index)
{
    if (!client) return index < d->n ? d->client_lanes + index : DIAGRAM_LANES_MAX;
    return d->client_lanes == 1 && (d->all_clients || d->client == index) ? 0 : DIAGRAM_LANES_MAX;
}

/* More than one client share a lane: the replicas are what is looked at. */
static void meet_client(struct diagram_drawing *d, uint32_t index)
{
    d->all_clients = d->all_clients || (d->client_lanes == 1 && d->client != index);
    d->client_lanes = 1;
    d->client = index;
}

static bool of_client(const struct sim_seen *e)
{
    return e->kind == SIM_SEEN_SUBMITTED || e->kind == SIM_SEEN_ANSWERED || e->from_client;
}

int diagram_death(const char *text, uint32_t *id)
{
    static const char *const ends[] = {"kill", "crash", "dies", "dead", "stop"};
    static const char *const returns[] = {"restart", "mute", "back", "again", "starts"};
    const char *at = text == NULL ? NULL : strstr(text, "replica ");
    if (at == NULL || sscanf(at, "replica %" SCNu32, id) != 1) return 0;
    for (size_t i = 0; i < sizeof returns / sizeof *returns; i++)
        if (strstr(at, returns[i]) != NULL) return -1;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (strstr(at, ends[i]) != NULL) return 1;
    return 0;
}

static void make_lanes(struct diagram_drawing *d, const struct sim_diagram *all, struct range r)
{
    for (size_t i = r.from; i < r.to; i++) {
        const struct sim_seen *e = &all->events[i];
        if (!in_range(&r, i)) continue;
        if (of_client(e)) meet_client(d, e->from);
        if (is_message(e) && e->to_client) meet_client(d, e->to);
    }
    d->lanes = d->n + d->client_lanes;
    d->left = 92;
    d->spacing = d->lanes <= 6 ? 150 : 118;
    d->width = d->left + d->spacing * (double)d->lanes + 58;
    for (size_t i = 0; i < all->count; i++) { /* who lies or is dead is known from all events */
        const struct sim_seen *e = &all->events[i];
        uint32_t id = 0;
        if (e->byzantine && e->kind != SIM_SEEN_FAULT) {
            uint32_t lane = lane_of(d, of_client(e), e->from);
            if (lane < d->lanes && (!d->all_clients || lane > 0)) d->byzantine[lane] = true;
        }
        if (i >= r.from) continue;
        int death = e->kind == SIM_SEEN_FAULT ? diagram_death(e->text, &id) : 0;
        if (death != 0 && id < d->n) d->dead_first[lane_of(d, false, id)] = death > 0;
        if (e->kind == SIM_SEEN_VIEW && e->active && !e->byzantine && e->claim.view > d->view_first)
            d->view_first = e->claim.view;
    }
}

double diagram_x(const struct diagram_drawing *d, uint32_t lane)
{
    return d->left + d->spacing * ((double)lane + 0.5);
}

/* ---- colours and labels ---- */

static enum diagram_colour colour_of(uint8_t type)
{
    switch (type) {
    case PBFT_PRE_PREPARE: return DIAGRAM_PROPOSAL;
    case PBFT_PREPARE: return DIAGRAM_PREPARE;
    case PBFT_COMMIT: return DIAGRAM_COMMIT;
    case PBFT_CHECKPOINT: return DIAGRAM_CHECKPOINT;
    case PBFT_VIEW_CHANGE: return DIAGRAM_VIEW_CHANGE;
    case PBFT_NEW_VIEW: return DIAGRAM_NEW_VIEW;
    case PBFT_REQUEST:
    case PBFT_REPLY:
    case PBFT_QUERY:
    case PBFT_QUERY_REPLY:
    case PBFT_BUSY:
    case PBFT_RESULT_FETCH: return DIAGRAM_CLIENT;
    default: return DIAGRAM_OTHER;
    }
}

static bool refused_as_a_lie(const struct sim_seen *e)
{
    if (e->kind != SIM_SEEN_DELIVERED) return false;
    switch ((int)e->verdict) {
    case PBFT_DROP_MALFORMED:
    case PBFT_DROP_SIZE:
    case PBFT_DROP_SENDER:
    case PBFT_DROP_SIGNATURE:
    case PBFT_DROP_DIGEST:
    case PBFT_DROP_CERTIFICATE:
    case PBFT_DROP_ROLE:
    case PBFT_DROP_CONFLICT:
    case PBFT_DROP_NEW_VIEW: return true;
    default: return false;
    }
}

/* Two of one place that differ. */
static bool contradicts(const struct sim_seen *a, const struct sim_seen *b)
{
    uint8_t type = a->claim.type;
    return (type == PBFT_PRE_PREPARE || type == PBFT_PREPARE || type == PBFT_COMMIT) &&
           is_message(b) && b->claim.type == type && a->from == b->from &&
           a->from_client == b->from_client && a->claim.view == b->claim.view &&
           a->claim.seq == b->claim.seq && !pbft_digest_equal(&a->claim.digest, &b->claim.digest);
}

static bool is_lie(const struct sim_diagram *all, struct range r, const struct sim_seen *e)
{
    if (!e->byzantine) return false;
    if (refused_as_a_lie(e)) return true;
    for (size_t i = r.from; i < r.to; i++) {
        const struct sim_seen *o = &all->events[i];
        if (o->kind == SIM_SEEN_LIE && o->from == e->from && o->from_client == e->from_client &&
            o->at_ns == e->sent_ns)
            return true;
        if (contradicts(e, o)) return true;
    }
    return false;
}

static void add_number(struct diagram_label *label, uint64_t number)
{
    uint32_t at = label->count;
    while (at > 0 && label->numbers[at - 1] > number)
        at--;
    if (number == 0 || (at > 0 && label->numbers[at - 1] == number)) return;
    label->more = label->more || label->count == DIAGRAM_NUMBERS_MAX;
    if (label->count == DIAGRAM_NUMBERS_MAX) return;
    memmove(&label->numbers[at + 1], &label->numbers[at],
            (label->count++ - at) * sizeof *label->numbers);
    label->numbers[at] = number;
}

static void add_label(struct diagram_moment *m, const struct sim_seen *e,
                      enum diagram_colour colour)
{
    const struct pbft_claim *c = &e->claim;
    bool of_view = c->type == PBFT_VIEW_CHANGE || c->type == PBFT_NEW_VIEW;
    uint32_t i = 0;
    while (i < m->label_count && m->labels[i].type != c->type)
        i++;
    if (i == sizeof m->labels / sizeof *m->labels) return;
    if (i == m->label_count)
        m->labels[m->label_count++] = (struct diagram_label){.type = c->type, .colour = colour};
    if (colour == DIAGRAM_LIE) m->labels[i].colour = colour;
    add_number(&m->labels[i], of_view ? c->view : c->seq);
}

/* ---- moments ---- */

static size_t moment(struct diagram_drawing *d, uint64_t at_ns, uint32_t lane, size_t order)
{
    if (lane < DIAGRAM_LANES_MAX)
        for (size_t i = d->moment_count; i > 0; i--) {
            struct diagram_moment *m = &d->moments[i - 1];
            if (m->at_ns == at_ns && m->lane == lane) return i - 1;
        }
    d->moments[d->moment_count] =
        (struct diagram_moment){.at_ns = at_ns, .lane = lane, .order = order};
    return d->moment_count++;
}

static void add_message(struct diagram_drawing *d, const struct sim_diagram *all, struct range r,
                        size_t i)
{
    const struct sim_seen *e = &all->events[i];
    uint32_t from = lane_of(d, e->from_client, e->from), to = lane_of(d, e->to_client, e->to);
    if (from >= d->lanes || to >= d->lanes || from == to) return;
    struct diagram_arrow *a = &d->arrows[d->arrow_count++];
    a->seen = e;
    a->to = to;
    a->colour = is_lie(all, r, e) ? DIAGRAM_LIE : colour_of(e->claim.type);
    a->sent = moment(d, e->sent_ns, from, i);
    bool at_once = e->kind == SIM_SEEN_LOST && e->at_ns <= e->sent_ns;
    a->arrived = at_once ? a->sent : moment(d, e->at_ns, to, i);
    add_label(&d->moments[a->sent], e, a->colour);
}

static void add_mark(struct diagram_drawing *d, const struct sim_seen *e, size_t order)
{
    bool all = e->kind == SIM_SEEN_FAULT || e->kind == SIM_SEEN_FAILURE;
    uint32_t lane = all ? DIAGRAM_LANES_MAX : lane_of(d, of_client(e), e->from);
    if (e->kind == SIM_SEEN_SUBMITTED || e->kind == SIM_SEEN_ANSWERED) return;
    if (!all && lane >= d->lanes) return;
    size_t at = moment(d, e->at_ns, lane, order);
    struct diagram_moment *m = &d->moments[at];
    for (size_t i = d->mark_count; e->kind == SIM_SEEN_EXECUTED && i > 0; i--) {
        struct diagram_mark *o = &d->marks[i - 1];
        if (o->moment != at || o->seen->kind != SIM_SEEN_EXECUTED) continue;
        o->last = e->claim.seq;
        return;
    }
    if (e->kind == SIM_SEEN_LIE) { /* the same act again is told once in a while only */
        for (size_t i = d->mark_count; i > 0 && i + 24 > d->mark_count; i--) {
            const struct sim_seen *o = d->marks[i - 1].seen;
            if (o->kind == e->kind && o->from == e->from && o->text != NULL && e->text != NULL &&
                strcmp(o->text, e->text) == 0)
                return;
        }
    }
    d->marks[d->mark_count++] = (struct diagram_mark){e, at, e->claim.seq};
    m->room += e->kind == SIM_SEEN_EXECUTED ? 4 : LABEL_HEIGHT;
}

static int by_time(const void *a, const void *b)
{
    const struct diagram_moment *x = *(struct diagram_moment *const *)a;
    const struct diagram_moment *y = *(struct diagram_moment *const *)b;
    if (x->at_ns != y->at_ns) return x->at_ns < y->at_ns ? -1 : 1;
    return x->order != y->order ? (x->order < y->order ? -1 : 1) : (x > y) - (x < y);
}

static double step_for(uint64_t ns)
{
    return ns == 0        ? 3
           : ns < 60000   ? 5
           : ns < 300000  ? 7
           : ns < 1500000 ? 9
           : ns < 8000000 ? 14
                          : 20;
}

/* Time as distance: a step for each moment, longer for longer waits, and room for labels. */
static bool lay_out(struct diagram_drawing *d, size_t left_out, uint64_t left_out_ns)
{
    struct diagram_moment **order = calloc(d->moment_count, sizeof(struct diagram_moment *));
    if (order == NULL) return false;
    double y = DIAGRAM_TOP + 24, free_at[DIAGRAM_LANES_MAX];
    for (size_t i = 0; i < DIAGRAM_LANES_MAX; i++)
        free_at[i] = DIAGRAM_TOP + 2;
    for (size_t i = 0; i < d->moment_count; i++)
        order[i] = &d->moments[i];
    qsort(order, d->moment_count, sizeof(struct diagram_moment *), by_time);
    for (size_t i = 0; i < d->moment_count; i++) {
        struct diagram_moment *m = order[i];
        uint64_t wait = i == 0 ? 0 : m->at_ns - order[i - 1]->at_ns;
        if (i > 0 && wait >= PAUSE_NS) {
            bool here = order[i - 1]->at_ns <= left_out_ns && left_out_ns < m->at_ns;
            d->breaks[d->break_count++] = (struct diagram_break){y + 22, wait, here ? left_out : 0};
            y += 44;
        } else if (i > 0) {
            y += step_for(wait);
        }
        double above = LABEL_HEIGHT * (double)m->label_count;
        if (m->lane >= DIAGRAM_LANES_MAX) {
            y += 16; /* a line through all lanes */
        } else if (m->label_count > 0 || m->room > 0) {
            if (y < free_at[m->lane] + above) y = free_at[m->lane] + above;
            free_at[m->lane] = y + 2 + m->room;
        }
        m->y = y;
        if (m->lane >= DIAGRAM_LANES_MAX) y += 14;
    }
    d->height = y + 34;
    free(order);
    return true;
}

static void add_all(struct diagram_drawing *d, const struct sim_diagram *all, struct range r)
{
    for (size_t i = r.from; i < r.to; i++) {
        if (!in_range(&r, i)) continue;
        if (!is_message(&all->events[i]))
            add_mark(d, &all->events[i], i);
        else if (is_drawn(&all->events[i], r.all))
            add_message(d, all, r, i);
    }
}

static bool draw_range(struct diagram_drawing *d, const struct sim_diagram *all, struct range r,
                       FILE *file)
{
    size_t messages = 0, left_out = 0, i = r.from;
    for (; i < r.to && messages < DIAGRAM_MESSAGES_MAX; i++) {
        if (in_range(&r, i))
            messages += is_drawn(&all->events[i], r.all);
        else
            left_out += is_message(&all->events[i]);
    }
    r.to = i;
    size_t events = r.to - r.from;
    if (events == 0) return false;
    uint64_t left_out_ns = left_out > 0 ? all->events[r.skip_from].at_ns : UINT64_MAX;
    make_lanes(d, all, r);
    d->moments = calloc(2 * events, sizeof *d->moments);
    d->arrows = calloc(events, sizeof *d->arrows);
    d->marks = calloc(events, sizeof *d->marks);
    d->breaks = calloc(2 * events, sizeof *d->breaks);
    bool ok = d->moments != NULL && d->arrows != NULL && d->marks != NULL && d->breaks != NULL;
    if (ok) add_all(d, all, r);
    ok = ok && d->moment_count > 0 && lay_out(d, left_out, left_out_ns) && diagram_draw(d, file);
    free(d->moments);
    free(d->arrows);
    free(d->marks);
    free(d->breaks);
    return ok;
}

bool sim_diagram_write(const struct sim_diagram *diagram, uint32_t n, const char *title,
                       const struct sim_diagram_window *window, FILE *file)
{
    if (n == 0 || n + 2 > DIAGRAM_LANES_MAX) return false;
    struct diagram_drawing *d = calloc(1, sizeof *d);
    if (d == NULL) return false;
    d->n = n;
    d->title = title;
    bool ok = draw_range(d, diagram, choose(diagram, n, window), file);
    free(d);
    return ok;
}
