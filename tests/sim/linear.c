/* Wing and Gong's search with Lowe's memoisation over (operations placed, state).
 *
 * What is placed is a unit: one operation, or a bundle, whose operations no other can part. Three
 * arguments keep the search small, and each only drops orders for which another one is left:
 *
 *   - A unit that can never change anything stands as soon as it is due and fits: nobody else
 *     notices where it is. So reads and refused comparisons never branch.
 *   - Of units that do exactly the same, the one that returned first stands first.
 *   - A unit whose answer never came is only worth placing for what sees it: the next completed
 *     unit must look at what it changed, or it could as well stand later, or never.
 */
#include "tests/sim/linear.h"

#include "pbft/types.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY  UINT32_MAX
#define KEY_BIT UINT64_C(1)

/* One operation or one bundle. */
struct unit {
    size_t first, count;   /* operations */
    uint64_t call, answer; /* answer LINEAR_PENDING: never */
    uint64_t reads;        /* keys that its outcome depends on */
    uint64_t writes;       /* keys that it may change */
    uint32_t same;         /* `same`: equal for units that do the same and saw the same */
};

/* What the next completed unit owes to unanswered ones that were placed just before it. */
struct demand {
    uint64_t all; /* it looks at each of these keys */
    uint64_t any; /* and does something to one of these */
};

static const struct demand nobody = {0, 0};

/* A place where the search stands: what was placed to get here, and what can be tried next. */
struct level {
    size_t trail;   /* units placed before */
    size_t choices; /* where its candidates begin in the stack of candidates */
    size_t next;    /* the next of them */
    struct demand demand;
};

struct search {
    const struct linear_op *ops;
    struct unit *units; /* of this object, by call */
    uint32_t count;
    uint32_t *by_place;  /* as the caller listed them */
    uint32_t *by_answer; /* completed ones, by answer */
    uint32_t completed;
    uint64_t *done; /* bitset of units, then the state: one configuration */
    uint64_t *state;
    uint32_t words, keys;           /* in words of 64 bits: of the bitset, of the state */
    uint8_t local[LINEAR_KEYS_MAX]; /* key -> place in the state */
    uint32_t left;                  /* completed ones that are not placed */
    uint32_t first_open;            /* in by_answer: all before it are placed */

    uint32_t *trail; /* placed, in order */
    uint64_t *saved; /* the state before each of them */
    size_t trail_count;
    struct level *levels;
    size_t level_count;
    uint32_t *choices;
    size_t choice_count, choice_capacity;

    uint64_t *memo; /* configurations, one behind the other */
    size_t memo_count, memo_capacity;
    uint32_t *table; /* index + 1 into memo */
    size_t table_size;

    uint64_t *budget;
    uint32_t best_left, blamed; /* the furthest that any order came, and what it could not place */
};

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count == 0 ? 1 : count, size);
    if (memory == NULL) pbft_panic(__FILE__, __LINE__, "out of memory");
    return memory;
}

static void *enlarge(void *array, size_t bytes)
{
    void *memory = realloc(array, bytes);
    if (memory == NULL) pbft_panic(__FILE__, __LINE__, "out of memory");
    return memory;
}

/* ---- words for people ---- */

__attribute__((format(printf, 3, 4))) static void add_text(char *text, size_t size,
                                                           const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
}

static const char *kind_text(enum linear_kind kind)
{
    switch (kind) {
    case LINEAR_PUT: return "put";
    case LINEAR_GET: return "get";
    case LINEAR_DELETE: return "delete";
    case LINEAR_CAS: return "cas";
    case LINEAR_RANGE: return "range";
    }
    return "?";
}

/* "operation 17 (get key 3 = 5) of client 2, 12 .. 90" */
static void describe(const struct linear_op *ops, size_t i, char *text, size_t size)
{
    const struct linear_op *op = &ops[i];
    add_text(text, size, "operation %zu (%s key %" PRIu32, i, kind_text(op->kind), op->key);
    if (op->kind == LINEAR_CAS)
        add_text(text, size, " from %" PRIu64 " to %" PRIu64 " %s", op->expect, op->value,
                 op->ok ? "done" : "refused");
    else if (op->kind == LINEAR_DELETE)
        add_text(text, size, " %s", op->ok ? "done" : "not found");
    else if (op->kind == LINEAR_RANGE)
        add_text(text, size, " .. %" PRIu32, op->key + op->count);
    else
        add_text(text, size, " %s %" PRIu64, op->kind == LINEAR_PUT ? ":=" : "=", op->value);
    add_text(text, size, "%s) of client %" PRIu32 ", %" PRIu64 " .. ",
             op->bundle != 0 ? ", in a bundle" : "", op->client, op->call_ns);
    if (op->return_ns == LINEAR_PENDING)
        add_text(text, size, "never");
    else
        add_text(text, size, "%" PRIu64, op->return_ns);
}

/* ---- what operations do ---- */

static uint32_t last_key(const struct linear_op *op)
{
    return op->kind == LINEAR_RANGE && op->count > 0 ? op->key + op->count - 1 : op->key;
}

/* The state after one operation; false if a store in this state would have answered otherwise. */
static bool apply_op(const struct search *s, const struct linear_op *op, uint64_t *state)
{
    bool answered = op->return_ns != LINEAR_PENDING;
    uint64_t *cell = &state[s->local[op->key]];
    switch (op->kind) {
    case LINEAR_PUT: *cell = op->value; return true;
    case LINEAR_GET: return !answered || *cell == op->value;
    case LINEAR_DELETE:
        if (answered && op->ok != (*cell != LINEAR_ABSENT)) return false;
        *cell = LINEAR_ABSENT;
        return true;
    case LINEAR_CAS:
        if (answered && op->ok != (*cell == op->expect)) return false;
        if (*cell == op->expect) *cell = op->value;
        return true;
    case LINEAR_RANGE:
        for (uint32_t i = 0; answered && i < op->count; i++)
            if (state[s->local[op->key + i]] != op->values[i]) return false;
        return true;
    }
    return false;
}

static bool apply_unit(const struct search *s, const struct unit *u, uint64_t *state)
{
    for (size_t i = 0; i < u->count; i++)
        if (!apply_op(s, &s->ops[u->first + i], state)) return false;
    return true;
}

static void note_keys(const struct linear_op *op, struct unit *u)
{
    bool answered = op->return_ns != LINEAR_PENDING;
    for (uint32_t key = op->key; key <= last_key(op); key++) {
        uint64_t bit = KEY_BIT << key;
        bool looks = op->kind == LINEAR_CAS || (answered && op->kind != LINEAR_PUT);
        bool maybe = op->ok || !answered;
        bool changes = op->kind == LINEAR_PUT || (op->kind == LINEAR_DELETE && maybe) ||
                       (op->kind == LINEAR_CAS && maybe && op->expect != op->value);
        if (looks) u->reads |= bit;
        if (changes) u->writes |= bit;
    }
}

static bool same_op(const struct linear_op *a, const struct linear_op *b)
{
    bool alike = a->kind == b->kind && a->key == b->key;
    if (!alike || a->kind == LINEAR_RANGE) return false;    /* ranges never branch anyway */
    if (a->kind == LINEAR_PUT) return a->value == b->value; /* answered or not: nothing was seen */
    if ((a->return_ns == LINEAR_PENDING) != (b->return_ns == LINEAR_PENDING)) return false;
    return a->value == b->value && a->expect == b->expect && a->ok == b->ok;
}

static bool same_unit(const struct linear_op *ops, const struct unit *a, const struct unit *b)
{
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++)
        if (!same_op(&ops[a->first + i], &ops[b->first + i])) return false;
    return true;
}

/* ---- configurations seen before ---- */

static size_t config_words(const struct search *s)
{
    return (size_t)s->words + s->keys + 2; /* the last two: the demand */
}

static uint64_t hash_words(const uint64_t *words, size_t count)
{
    uint64_t h = UINT64_C(0x9E3779B97F4A7C15);
    for (size_t i = 0; i < count; i++) {
        h ^= words[i];
        h *= UINT64_C(0xFF51AFD7ED558CCD);
        h ^= h >> 32;
    }
    return h;
}

static void table_insert(struct search *s, uint32_t index)
{
    size_t words = config_words(s);
    size_t at = hash_words(s->memo + index * words, words) & (s->table_size - 1);
    while (s->table[at] != 0)
        at = (at + 1) & (s->table_size - 1);
    s->table[at] = index + 1;
}

static void table_reserve(struct search *s)
{
    if (2 * (s->memo_count + 1) < s->table_size) return;
    free(s->table);
    s->table_size = s->table_size == 0 ? 256 : s->table_size * 2;
    s->table = allocate(s->table_size, sizeof *s->table);
    for (size_t i = 0; i < s->memo_count; i++)
        table_insert(s, (uint32_t)i);
}

/* Whether the configuration was there already; remembered from now on. `done`, `state` and the two
 * words behind them are one array. */
static bool seen_before(struct search *s, struct demand demand)
{
    size_t words = config_words(s);
    s->done[words - 2] = demand.all;
    s->done[words - 1] = demand.any;
    table_reserve(s);
    size_t at = hash_words(s->done, words) & (s->table_size - 1);
    while (s->table[at] != 0) {
        const uint64_t *other = s->memo + (s->table[at] - 1) * words;
        if (memcmp(other, s->done, words * sizeof *other) == 0) return true;
        at = (at + 1) & (s->table_size - 1);
    }
    if ((s->memo_count + 1) * words > s->memo_capacity) {
        s->memo_capacity = s->memo_capacity == 0 ? 256 * words : 2 * s->memo_capacity;
        s->memo = enlarge(s->memo, s->memo_capacity * sizeof *s->memo);
    }
    memcpy(s->memo + s->memo_count * words, s->done, words * sizeof *s->done);
    s->memo_count++;
    s->table[at] = (uint32_t)s->memo_count;
    return false;
}

/* ---- placing and taking back ---- */

static bool is_done(const struct search *s, uint32_t unit)
{
    return ((s->done[unit / 64] >> (unit % 64)) & 1u) != 0;
}

static bool pending(const struct unit *u)
{
    return u->answer == LINEAR_PENDING;
}

static void place(struct search *s, uint32_t unit, const uint64_t *next_state)
{
    memcpy(s->saved + s->trail_count * s->keys, s->state, s->keys * sizeof *s->state);
    s->trail[s->trail_count++] = unit;
    memcpy(s->state, next_state, s->keys * sizeof *s->state);
    s->done[unit / 64] |= KEY_BIT << (unit % 64);
    if (!pending(&s->units[unit])) s->left--;
    while (s->first_open < s->completed && is_done(s, s->by_answer[s->first_open]))
        s->first_open++;
}

static void take_back(struct search *s, size_t trail)
{
    while (s->trail_count > trail) {
        uint32_t unit = s->trail[--s->trail_count];
        s->done[unit / 64] &= ~(KEY_BIT << (unit % 64));
        if (!pending(&s->units[unit])) s->left++;
    }
    memcpy(s->state, s->saved + trail * s->keys, s->keys * sizeof *s->state);
    s->first_open = 0;
    while (s->first_open < s->completed && is_done(s, s->by_answer[s->first_open]))
        s->first_open++;
}

/* What is called after this must wait: somebody before it has answered and is not placed. */
static uint64_t horizon(const struct search *s)
{
    return s->first_open < s->completed ? s->units[s->by_answer[s->first_open]].answer
                                        : LINEAR_PENDING;
}

static bool one_key(uint64_t keys)
{
    return (keys & (keys - 1)) == 0;
}

/* Whether this unit may come next. An unanswered one may, unless it wipes out, unseen, the only key
 * of another unanswered one, which then had better not happened. */
static bool meets(const struct unit *u, struct demand demand)
{
    uint64_t keys = u->reads | u->writes;
    if (pending(u)) return !one_key(keys) || (keys & demand.all) == 0 || u->reads != 0;
    return (u->reads & demand.all) == demand.all && (demand.any == 0 || (keys & demand.any) != 0);
}

/* Place all that is due, fits and only looks; whether one of them met the demand. */
static bool absorb(struct search *s, struct demand demand, uint64_t *scratch)
{
    bool met = false;
    bool again = true;
    while (again) {
        again = false;
        uint64_t until = horizon(s);
        for (uint32_t i = 0; i < s->count && s->units[i].call <= until; i++) {
            const struct unit *u = &s->units[i];
            if (u->writes != 0 || pending(u) || is_done(s, i)) continue;
            memcpy(scratch, s->state, s->keys * sizeof *scratch);
            if (*s->budget == 0) return met;
            --*s->budget;
            if (!apply_unit(s, u, scratch)) continue;
            met = met || meets(u, demand);
            place(s, i, scratch);
            again = true;
        }
    }
    return met;
}

/* ---- the search ---- */

static void note_progress(struct search *s)
{
    if (s->left >= s->best_left || s->first_open >= s->completed) return;
    s->best_left = s->left;
    s->blamed = s->by_answer[s->first_open];
}

static void push_choice(struct search *s, uint32_t unit)
{
    if (s->choice_count == s->choice_capacity) {
        s->choice_capacity = s->choice_capacity == 0 ? 256 : 2 * s->choice_capacity;
        s->choices = enlarge(s->choices, s->choice_capacity * sizeof *s->choices);
    }
    s->choices[s->choice_count++] = unit;
}

/* Take an order of all that fits in which as few as possible unanswered units stand before
 * completed ones. The completed one behind a row of them sees each (or another of the row does):
 * else that one could move behind it, or go. With several keys less is sure, and less is asked for.
 */
static struct demand demand_after(const struct unit *u, struct demand demand)
{
    if (!pending(u)) return nobody;
    uint64_t keys = u->reads | u->writes;
    if (one_key(keys)) {
        demand.all |= keys;
        if ((demand.any & keys) != 0) demand.any = 0;
    } else {
        demand.all &= ~keys;
        demand.any = keys;
    }
    return demand;
}

/* Of those that do the same the one that answered first is enough. */
static void list_choice(struct search *s, uint32_t unit)
{
    const struct unit *u = &s->units[unit];
    const struct level *level = &s->levels[s->level_count - 1];
    for (size_t i = level->choices; i < s->choice_count; i++) {
        const struct unit *other = &s->units[s->choices[i]];
        if (other->same != u->same) continue;
        if (u->answer < other->answer) s->choices[i] = unit;
        return;
    }
    push_choice(s, unit);
}

/* In the order in which the caller listed them: a good guess of his is found at once. */
static void list_choices(struct search *s, struct demand demand)
{
    uint64_t until = horizon(s);
    for (uint32_t k = 0; k < s->count; k++) {
        uint32_t i = s->by_place[k];
        const struct unit *u = &s->units[i];
        if (!is_done(s, i) && u->call <= until && meets(u, demand)) list_choice(s, i);
    }
}

/* Enter the configuration that the trail leads to, with its candidates unless it was left before.
 */
static void enter(struct search *s, struct demand demand, uint64_t *scratch)
{
    if (absorb(s, demand, scratch)) demand = nobody;
    note_progress(s);
    struct level *level = &s->levels[s->level_count++];
    level->choices = level->next = s->choice_count;
    level->trail = s->trail_count;
    level->demand = demand;
    if (s->left == 0 || *s->budget == 0 || seen_before(s, demand)) return;
    list_choices(s, demand);
}

static void leave(struct search *s)
{
    struct level *level = &s->levels[--s->level_count];
    s->choice_count = level->choices;
}

/* The order in which the caller listed them, all that it says of unanswered units included: where
 * it is one, no search is needed. (The search asks for somebody who sees an unanswered unit at
 * once, so that it may not go where the listed order goes.) */
static bool walk_as_listed(struct search *s, uint64_t *scratch)
{
    absorb(s, nobody, scratch);
    for (uint32_t k = 0; k < s->count && s->left > 0; k++) {
        uint32_t i = s->by_place[k];
        const struct unit *u = &s->units[i];
        if (is_done(s, i) || u->writes == 0) continue;
        memcpy(scratch, s->state, s->keys * sizeof *scratch);
        if (u->call > horizon(s) || !apply_unit(s, u, scratch)) break;
        place(s, i, scratch);
        absorb(s, nobody, scratch);
    }
    if (s->left == 0) return true;
    take_back(s, 0);
    return false;
}

static enum linear_verdict walk(struct search *s, uint64_t *scratch)
{
    if (walk_as_listed(s, scratch)) return LINEAR_YES;
    enter(s, nobody, scratch);
    while (s->left > 0) {
        if (*s->budget == 0) return LINEAR_GAVE_UP;
        struct level *level = &s->levels[s->level_count - 1];
        if (s->trail_count > level->trail) take_back(s, level->trail);
        if (level->next == s->choice_count) {
            leave(s);
            if (s->level_count == 0) return LINEAR_NO;
            continue;
        }
        uint32_t unit = s->choices[level->next++];
        const struct unit *u = &s->units[unit];
        memcpy(scratch, s->state, s->keys * sizeof *scratch);
        --*s->budget;
        if (!apply_unit(s, u, scratch)) continue;
        bool changes = memcmp(scratch, s->state, s->keys * sizeof *scratch) != 0;
        if (pending(u) && !changes) continue; /* as good as never */
        place(s, unit, scratch);
        enter(s, demand_after(u, level->demand), scratch);
    }
    return LINEAR_YES;
}

/* ---- one object ---- */

static int by_call(const void *a, const void *b)
{
    const struct unit *x = a, *y = b;
    if (x->call != y->call) return x->call < y->call ? -1 : 1;
    return x->first < y->first ? -1 : 1;
}

struct answer {
    uint64_t at;
    uint32_t unit;
};

static int by_answer(const void *a, const void *b)
{
    const struct answer *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return x->unit < y->unit ? -1 : 1;
}

static void search_begin(struct search *s)
{
    qsort(s->units, s->count, sizeof *s->units, by_call);
    uint64_t keys = 0;
    for (uint32_t i = 0; i < s->count; i++)
        for (size_t k = 0; k < s->units[i].count; k++) {
            const struct linear_op *op = &s->ops[s->units[i].first + k];
            for (uint32_t key = op->key; key <= last_key(op); key++)
                keys |= KEY_BIT << key;
        }
    for (uint32_t key = 0; key < LINEAR_KEYS_MAX; key++)
        if (((keys >> key) & 1u) != 0) s->local[key] = (uint8_t)s->keys++;
    s->words = (s->count + 63) / 64;
    s->done = allocate(config_words(s), sizeof *s->done);
    s->state = s->done + s->words; /* LINEAR_ABSENT everywhere */
    s->by_answer = allocate(s->count, sizeof *s->by_answer);
    s->by_place = allocate(s->count, sizeof *s->by_place);
    struct answer *answers = allocate(s->count, sizeof *answers);
    for (uint32_t i = 0; i < s->count; i++) {
        s->units[i].same = i;
        for (uint32_t k = 0; k < i; k++)
            if (same_unit(s->ops, &s->units[i], &s->units[k])) {
                s->units[i].same = s->units[k].same;
                break;
            }
        if (!pending(&s->units[i]))
            answers[s->completed++] = (struct answer){s->units[i].answer, i};
    }
    qsort(answers, s->completed, sizeof *answers, by_answer);
    for (uint32_t k = 0; k < s->completed; k++)
        s->by_answer[k] = answers[k].unit;
    for (uint32_t i = 0; i < s->count; i++)
        answers[i] = (struct answer){s->units[i].first, i};
    qsort(answers, s->count, sizeof *answers, by_answer);
    for (uint32_t i = 0; i < s->count; i++)
        s->by_place[i] = answers[i].unit;
    free(answers);
    s->left = s->completed;
    s->best_left = UINT32_MAX;
    s->blamed = NOBODY;
    s->trail = allocate((size_t)s->count + 1, sizeof *s->trail);
    s->saved = allocate(((size_t)s->count + 1) * s->keys, sizeof *s->saved);
    s->levels = allocate((size_t)s->count + 2, sizeof *s->levels);
}

static void search_end(struct search *s)
{
    free(s->done);
    free(s->by_place);
    free(s->by_answer);
    free(s->trail);
    free(s->saved);
    free(s->levels);
    free(s->choices);
    free(s->memo);
    free(s->table);
}

/* take_back() restores from `saved`, which holds the state before each placed unit; the state of a
 * level is the one before the unit that was placed from it. */
static enum linear_verdict check_object(struct search *s, char failure[256])
{
    search_begin(s);
    uint64_t *scratch = allocate(s->keys, sizeof *scratch);
    enum linear_verdict verdict = walk(s, scratch);
    free(scratch);
    if (verdict != LINEAR_YES) {
        failure[0] = '\0';
        if (verdict == LINEAR_GAVE_UP) add_text(failure, 256, "gave up at ");
        if (s->blamed != NOBODY) describe(s->ops, s->units[s->blamed].first, failure, 256);
        add_text(failure, 256, "%s; %" PRIu32 " of %" PRIu32 " placed, %" PRIu32 " keys",
                 verdict == LINEAR_NO ? ": no order places it" : "", s->completed - s->best_left,
                 s->completed, s->keys);
    }
    search_end(s);
    return verdict;
}

/* ---- objects ---- */

static uint32_t root_of(uint32_t *parent, uint32_t key)
{
    while (parent[key] != key)
        key = parent[key] = parent[parent[key]];
    return key;
}

/* Units in the order of the history; keys that one unit touches become one object. */
static uint32_t make_units(const struct linear_op *ops, size_t count, struct unit *units,
                           uint32_t *parent)
{
    uint32_t made = 0;
    for (uint32_t key = 0; key < LINEAR_KEYS_MAX; key++)
        parent[key] = key;
    for (size_t i = 0; i < count; i++) {
        const struct linear_op *op = &ops[i];
        PBFT_ASSERT(op->key < LINEAR_KEYS_MAX && op->count <= LINEAR_KEYS_MAX - op->key);
        bool next = i > 0 && op->bundle != 0 && op->bundle == ops[i - 1].bundle;
        if (!next)
            units[made++] = (struct unit){.first = i, .call = op->call_ns, .answer = op->return_ns};
        struct unit *u = &units[made - 1];
        u->count++;
        if (op->call_ns > u->call) u->call = op->call_ns;
        if (op->return_ns < u->answer) u->answer = op->return_ns;
        note_keys(op, u);
        uint32_t root = root_of(parent, ops[u->first].key);
        for (uint32_t key = op->key; key <= last_key(op); key++)
            parent[root_of(parent, key)] = root;
    }
    return made;
}

/* A value that nobody can have written before it was read needs no search. */
static bool written(const struct linear_op *ops, size_t count, uint32_t key, uint64_t value,
                    uint64_t before)
{
    if (value == LINEAR_ABSENT) return true; /* at the beginning, if nothing else */
    for (size_t i = 0; i < count; i++) {
        const struct linear_op *op = &ops[i];
        bool writes = op->kind == LINEAR_PUT ||
                      (op->kind == LINEAR_CAS && (op->ok || op->return_ns == LINEAR_PENDING));
        if (writes && op->key == key && op->value == value && op->call_ns <= before) return true;
    }
    return false;
}

static bool all_written(const struct linear_op *ops, size_t count, char failure[256])
{
    for (size_t i = 0; i < count; i++) {
        const struct linear_op *op = &ops[i];
        if (op->return_ns == LINEAR_PENDING) continue;
        bool ok = true;
        if (op->kind == LINEAR_GET)
            ok = written(ops, count, op->key, op->value, op->return_ns);
        else if (op->kind == LINEAR_CAS && op->ok)
            ok = written(ops, count, op->key, op->expect, op->return_ns);
        for (uint32_t k = 0; op->kind == LINEAR_RANGE && ok && k < op->count; k++)
            ok = written(ops, count, op->key + k, op->values[k], op->return_ns);
        if (ok) continue;
        failure[0] = '\0';
        describe(ops, i, failure, 256);
        add_text(failure, 256, ": nobody had written what it found");
        return false;
    }
    return true;
}

enum linear_verdict linear_check(const struct linear_op *ops, size_t count, uint64_t budget,
                                 char failure[256])
{
    if (!all_written(ops, count, failure)) return LINEAR_NO;
    uint32_t parent[LINEAR_KEYS_MAX];
    struct unit *units = allocate(count, sizeof *units);
    struct unit *chosen = allocate(count, sizeof *chosen);
    uint32_t made = make_units(ops, count, units, parent);
    enum linear_verdict worst = LINEAR_YES;
    for (uint32_t object = 0; object < LINEAR_KEYS_MAX && worst == LINEAR_YES; object++) {
        if (root_of(parent, object) != object) continue;
        struct search s = {.ops = ops, .units = chosen, .budget = &budget};
        for (uint32_t i = 0; i < made; i++)
            if (root_of(parent, ops[units[i].first].key) == object) chosen[s.count++] = units[i];
        if (s.count > 0) worst = check_object(&s, failure);
    }
    free(units);
    free(chosen);
    return worst;
}
