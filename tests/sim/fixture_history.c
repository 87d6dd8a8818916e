/* The history of honest clients, and what the linearizability checker makes of it (FAULTS 3.16).
 * Of the engine nothing is used here but the bytes of operations and results. */
#include "tests/sim/fixture_clients.h"

#include "service/kv.h"
#include "service/kv_codec.h"
#include "tests/sim/linear.h"

#include <stdlib.h>
#include <string.h>

#define BUDGET    UINT64_C(1000000000) /* steps of the search: seconds; nearly all take thousands */
#define VALUE_MAX 64u

struct history *history_of(struct sim *sim)
{
    if (sim->history == NULL) {
        sim->history = sim_alloc(sizeof *sim->history);
        sim->history->patience_ns = sim_alloc(sim->o.clients * sizeof *sim->history->patience_ns);
        sim->history->budget = BUDGET;
    }
    return sim->history;
}

static uint64_t stamp(struct sim *sim)
{
    struct history *h = sim->history;
    h->clock_ns = sim->now_ns > h->clock_ns ? sim->now_ns : h->clock_ns + 1;
    return h->clock_ns;
}

void history_submitted(struct sim *sim, size_t number)
{
    struct history *h = history_of(sim);
    while (number >= h->capacity) /* grown by sim_grow() as one grows: zeroed */
        h->past = sim_grow(h->past, &h->capacity, h->capacity, sizeof *h->past);
    h->past[number] = (struct past){.call_ns = stamp(sim), .return_ns = LINEAR_PENDING};
}

void history_answered(struct sim *sim, size_t number, struct pbft_span results)
{
    struct past *past = &sim->history->past[number];
    past->return_ns = stamp(sim);
    past->size = results.size;
    past->results = sim_alloc(past->size);
    if (results.size > 0) memcpy(past->results, results.data, results.size);
}

void history_free(struct sim *sim)
{
    if (sim->history == NULL) return;
    for (size_t i = 0; i < sim->history->capacity; i++)
        free(sim->history->past[i].results);
    free(sim->history->past);
    free(sim->history->patience_ns);
    free(sim->history);
    sim->history = NULL;
}

static bool next_item(const uint8_t *items, size_t size, size_t *cursor, struct pbft_span *item)
{
    return pbft_wire_next_item((struct pbft_span){items, size}, cursor, item);
}

static bool has_prefix(const char *key, struct pbft_span prefix)
{
    return strlen(key) >= prefix.size && memcmp(key, prefix.data, prefix.size) == 0;
}

static bool is_text(struct pbft_span bytes, const char *text)
{
    return bytes.size == strlen(text) &&
           (bytes.size == 0 || memcmp(bytes.data, text, bytes.size) == 0);
}

/* ---- fast ranges ---- */

/* The state of a watched key right after `seq`. */
static const struct version *version_at(const struct key_history *k, pbft_seq seq)
{
    size_t i = k->count;
    while (i > 1 && k->versions[i - 1].seq > seq)
        i--;
    return &k->versions[i - 1];
}

/* Next watched key with this prefix above `after` ("": the first). */
static const struct key_history *key_above(const struct sim *sim, struct pbft_span prefix,
                                           const char *after)
{
    const struct key_history *best = NULL;
    for (size_t i = 0; i < sim->key_count; i++) {
        const struct key_history *k = &sim->keys[i];
        if (!has_prefix(k->key, prefix) || strcmp(k->key, after) <= 0) continue;
        if (best == NULL || strcmp(k->key, best->key) < 0) best = k;
    }
    return best;
}

static bool range_was(const struct sim *sim, const struct pbft_kv_request *asked,
                      const struct pbft_kv_result *found, pbft_seq seq)
{
    size_t cursor = 0;
    uint32_t count = 0;
    struct pbft_kv_entry entry;
    const struct key_history *k = key_above(sim, asked->key, "");
    for (; k != NULL; k = key_above(sim, asked->key, k->key)) {
        const struct version *v = version_at(k, seq);
        if (!v->present) continue;
        if (asked->limit != 0 && count == asked->limit) return found->more == 1;
        if (!pbft_kv_next_entry(found->entries, &cursor, &entry) || !is_text(entry.key, k->key) ||
            !is_text(entry.value, v->value))
            return false;
        count++;
    }
    return found->more == 0 && count == found->count;
}

void check_fast_range(struct sim *sim, const struct op *op, size_t number)
{
    struct pbft_kv_request asked;
    struct pbft_kv_result found;
    struct pbft_span bytes = {op->bytes + 4, op->size - 4};
    bool ok = pbft_kv_decode_op(bytes, &sim->o.params, &asked) &&
              pbft_kv_decode_result(sim_result(sim, number, 0), &found) &&
              found.status == PBFT_KV_OK && found.op == PBFT_KV_RANGE;
    if (ok && range_was(sim, &asked, &found, op->floor)) return;
    pbft_seq best = UINT64_MAX;
    for (size_t i = 0; ok && i < sim->key_count; i++) {
        const struct key_history *k = &sim->keys[i];
        for (size_t v = 0; has_prefix(k->key, asked.key) && v < k->count; v++) {
            pbft_seq seq = k->versions[v].seq;
            if (seq > op->floor && seq < best && range_was(sim, &asked, &found, seq)) best = seq;
        }
    }
    if (best == UINT64_MAX)
        sim_fail(sim, "FAULTS 3.16: client %u read a range %s* that it was not at %llu or later",
                 op->op.client, op->op.key, (unsigned long long)op->floor);
    else if (best > sim->answered_floor)
        sim->answered_floor = best;
}

/* ---- the whole history ---- */

struct name {
    char text[VALUE_MAX];
};

struct story {
    struct sim *sim;
    struct name keys[LINEAR_KEYS_MAX]; /* sorted, so that a prefix is a run of numbers */
    uint32_t key_count;
    struct name *values; /* number - 1 */
    size_t value_count, value_capacity;
    struct linear_op *ops;
    size_t op_count, op_capacity;
    uint64_t **found; /* arrays of ranges, to be freed */
    size_t found_count, found_capacity;
};

static bool wrong(struct story *s, size_t number, const char *what)
{
    sim_fail(s->sim, "FAULTS 3.16: operation %zu of client %u: %s", number,
             s->sim->ops[number].op.client, what);
    return false;
}

static bool add_key(struct story *s, struct pbft_span key)
{
    uint32_t i = 0;
    while (i < s->key_count) {
        if (is_text(key, s->keys[i].text)) return true;
        size_t size = strlen(s->keys[i].text), least = size < key.size ? size : key.size;
        int order = memcmp(s->keys[i].text, key.data, least);
        if (order > 0 || (order == 0 && size > key.size)) break;
        i++;
    }
    if (s->key_count == LINEAR_KEYS_MAX || key.size >= VALUE_MAX) {
        sim_fail(s->sim, "the history has more than %u keys", LINEAR_KEYS_MAX);
        return false;
    }
    memmove(&s->keys[i + 1], &s->keys[i], (s->key_count - i) * sizeof s->keys[0]);
    memset(&s->keys[i], 0, sizeof s->keys[i]);
    memcpy(s->keys[i].text, key.data, key.size);
    s->key_count++;
    return true;
}

static uint32_t key_number(const struct story *s, struct pbft_span key)
{
    uint32_t i = 0;
    while (i < s->key_count && !is_text(key, s->keys[i].text))
        i++;
    return i;
}

static uint64_t value_number(struct story *s, struct pbft_span value)
{
    for (size_t i = 0; i < s->value_count; i++)
        if (is_text(value, s->values[i].text)) return i + 1;
    s->values = sim_grow(s->values, &s->value_capacity, s->value_count, sizeof *s->values);
    struct name *name = &s->values[s->value_count++];
    memset(name, 0, sizeof *name);
    memcpy(name->text, value.data, value.size < VALUE_MAX - 1 ? value.size : VALUE_MAX - 1);
    return s->value_count;
}

static struct linear_op *add_op(struct story *s, enum linear_kind kind, size_t number)
{
    const struct past *past = &s->sim->history->past[number];
    s->ops = sim_grow(s->ops, &s->op_capacity, s->op_count, sizeof *s->ops);
    struct linear_op *op = &s->ops[s->op_count++];
    *op = (struct linear_op){.kind = kind,
                             .client = s->sim->ops[number].op.client,
                             .call_ns = past->call_ns,
                             .return_ns = past->return_ns,
                             .bundle = number + 1};
    return op;
}

/* What a RANGE says about each key of its prefix, up to where its limit cut it. */
static bool add_range(struct story *s, size_t number, const struct pbft_kv_request *asked,
                      const struct pbft_kv_result *found)
{
    uint32_t first = 0;
    while (first < s->key_count && !has_prefix(s->keys[first].text, asked->key))
        first++;
    uint32_t end = first;
    while (end < s->key_count && has_prefix(s->keys[end].text, asked->key))
        end++;
    uint64_t *values = sim_alloc(LINEAR_KEYS_MAX * sizeof *values);
    s->found = sim_grow(s->found, &s->found_capacity, s->found_count, sizeof *s->found);
    s->found[s->found_count++] = values;
    size_t cursor = 0;
    struct pbft_kv_entry entry;
    uint32_t at = first;
    while (pbft_kv_next_entry(found->entries, &cursor, &entry)) {
        uint32_t key = key_number(s, entry.key);
        if (key < at || key >= end) return wrong(s, number, "a range holds a foreign key");
        values[key - first] = value_number(s, entry.value);
        at = key + 1;
    }
    if (found->more == 1) end = at;
    if (first == end) return true;
    struct linear_op *op = add_op(s, LINEAR_RANGE, number);
    op->key = first;
    op->count = end - first;
    op->values = values;
    return true;
}

/* A refused CAS also says what it found, as a GET in the same place would. */
static void add_cas(struct story *s, size_t number, const struct pbft_kv_request *asked,
                    const struct pbft_kv_result *found)
{
    uint64_t expect = asked->expect_present ? value_number(s, asked->expected) : LINEAR_ABSENT;
    uint64_t value = value_number(s, asked->value);
    struct linear_op *op = add_op(s, LINEAR_CAS, number);
    op->key = key_number(s, asked->key);
    op->expect = expect;
    op->value = value;
    op->ok = found != NULL && found->status == PBFT_KV_OK;
    if (found == NULL || op->ok) return;
    uint32_t key = op->key;
    bool present = found->meta.version != 0;
    uint64_t seen = present ? value_number(s, found->value) : LINEAR_ABSENT;
    op = add_op(s, LINEAR_GET, number);
    op->key = key;
    op->value = seen;
}

/* One operation; `found` NULL: its outcome is not known. */
static bool add_part(struct story *s, size_t number, const struct pbft_kv_request *asked,
                     const struct pbft_kv_result *found)
{
    if (found != NULL && (found->status == PBFT_KV_BAD_REQUEST || found->op != asked->op))
        return wrong(s, number, "the answer belongs to another operation");
    uint32_t key = key_number(s, asked->key);
    struct linear_op *op;
    switch ((enum pbft_kv_op)asked->op) {
    case PBFT_KV_PUT:
        op = add_op(s, LINEAR_PUT, number);
        op->value = value_number(s, asked->value);
        break;
    case PBFT_KV_GET:
        if (found == NULL) return true;
        op = add_op(s, LINEAR_GET, number);
        op->value =
            found->status == PBFT_KV_OK ? value_number(s, found->value) : (uint64_t)LINEAR_ABSENT;
        break;
    case PBFT_KV_DELETE:
        op = add_op(s, LINEAR_DELETE, number);
        op->ok = found != NULL && found->status == PBFT_KV_OK;
        break;
    case PBFT_KV_RANGE: return found == NULL || add_range(s, number, asked, found);
    case PBFT_KV_CAS: add_cas(s, number, asked, found); return true;
    default: return wrong(s, number, "it is none of ours");
    }
    op->key = key;
    return true;
}

/* Whatever was not executed for the client's eyes may have been, or may be later: EXPIRED and STALE
 * hide an outcome, LIMIT leaves no record. */
static bool add_request(struct story *s, size_t number)
{
    const struct op *op = &s->sim->ops[number];
    const struct past *past = &s->sim->history->past[number];
    bool known = op->op.state == SIM_OP_ANSWERED && op->op.outcome == PBFT_OUTCOME_EXECUTED;
    if (!known) PBFT_ASSERT(past->return_ns == LINEAR_PENDING);
    size_t at = 0, result_at = 0;
    struct pbft_span bytes, result;
    while (next_item(op->bytes, op->size, &at, &bytes)) {
        struct pbft_kv_request asked;
        struct pbft_kv_result found;
        if (!pbft_kv_decode_op(bytes, &s->sim->o.params, &asked))
            return wrong(s, number, "it does not decode");
        if (known && (!next_item(past->results, past->size, &result_at, &result) ||
                      !pbft_kv_decode_result(result, &found)))
            return wrong(s, number, "a result is missing");
        if (!add_part(s, number, &asked, known ? &found : NULL)) return false;
    }
    if (known && result_at != past->size) return wrong(s, number, "there are results too many");
    return true;
}

/* A guess of the order for the checker, which only saves it time: by the number under which the
 * oracle executed it, then by the revision that the service told the client. */
struct guess {
    uint64_t seq, revision;
    size_t number;
};

static struct guess guess_of(const struct sim *sim, size_t number)
{
    const struct sim_op *op = &sim->ops[number].op;
    const struct past *past = &sim->history->past[number];
    struct guess guess = {UINT64_MAX, 0, number};
    struct pbft_digest key = {{0}};
    pbft_put_u64(key.bytes, op->client); /* as the results are kept in fixture_check.c */
    pbft_put_u64(key.bytes + 8, sim->clients[op->client].session);
    pbft_put_u64(key.bytes + 16, op->t);
    const struct map_entry *entry = op->t == 0 ? NULL : map_find(&sim->results, &key);
    if (entry != NULL) guess.seq = entry->number;
    size_t at = 0;
    struct pbft_span item;
    struct pbft_kv_result kv;
    while (guess.revision == 0 && next_item(past->results, past->size, &at, &item))
        if (pbft_kv_decode_result(item, &kv)) guess.revision = kv.revision;
    return guess;
}

static int by_guess(const void *a, const void *b)
{
    const struct guess *x = a, *y = b;
    if (x->seq != y->seq) return x->seq < y->seq ? -1 : 1;
    if (x->revision != y->revision) return x->revision < y->revision ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

static bool collect_ops(struct story *s)
{
    size_t count = s->sim->op_count;
    struct guess *order = sim_alloc(count * sizeof *order);
    for (size_t i = 0; i < count; i++)
        order[i] = guess_of(s->sim, i);
    qsort(order, count, sizeof *order, by_guess);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++)
        if (s->sim->ops[order[i].number].op.kind != SIM_RAW) ok = add_request(s, order[i].number);
    free(order);
    return ok;
}

static bool collect_keys(struct story *s)
{
    for (size_t i = 0; i < s->sim->op_count; i++) {
        const struct op *op = &s->sim->ops[i];
        size_t at = 0;
        struct pbft_span bytes;
        struct pbft_kv_request asked;
        if (op->op.kind == SIM_RAW) continue;
        while (next_item(op->bytes, op->size, &at, &bytes)) {
            if (!pbft_kv_decode_op(bytes, &s->sim->o.params, &asked))
                return wrong(s, i, "it does not decode");
            if (asked.op != PBFT_KV_RANGE && !add_key(s, asked.key)) return false;
        }
    }
    return true;
}

static void report(struct story *s, const char *failure)
{
    char keys[128] = "";
    for (uint32_t i = 0; i < s->key_count; i++) {
        size_t used = strlen(keys);
        snprintf(keys + used, sizeof keys - used, " %s", s->keys[i].text);
    }
    sim_fail(s->sim, "FAULTS 3.16: not linearizable: %s (keys from 0:%s)", failure, keys);
}

bool sim_check_history(struct sim *sim)
{
    if (sim->failed) return false;
    if (sim->history == NULL || sim->o.service != &pbft_kv_service) return true;
    struct story s = {.sim = sim};
    bool ok = collect_keys(&s) && collect_ops(&s);
    char failure[256] = "";
    if (ok && linear_check(s.ops, s.op_count, sim->history->budget, failure) != LINEAR_YES)
        report(&s, failure);
    for (size_t i = 0; i < s.found_count; i++)
        free(s.found[i]);
    free(s.found);
    free(s.values);
    free(s.ops);
    return !sim->failed;
}
