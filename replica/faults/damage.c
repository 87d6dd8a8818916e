/* A bit of a replica's state flips, as in a memory without ECC: no operation did it, no change mark
 * tells of it, and the root of the next checkpoint is another one. */
#include "crypto/hash.h"
#include "replica/faults/faults.h"
#include "replica/node_internal.h"
#include "service/txn.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t service_first[] = {PBFT_TXN_KEYSPACE};
static const uint8_t service_end[] = {PBFT_TXN_KEYSPACE + 1u};

struct search {
    uint64_t left; /* entries to pass by */
    struct pbft_span key, value;
    uint64_t count; /* entries with a value */
};

static bool look(void *context, struct pbft_span key, struct pbft_span value)
{
    struct search *s = context;
    if (value.size == 0) return true;
    s->count++;
    s->key = key;
    s->value = value;
    return s->left-- > 0;
}

static bool find(const struct pbft_tree *tree, uint64_t pick, struct search *s)
{
    struct pbft_span from = {service_first, 1}, to = {service_end, 1};
    *s = (struct search){.left = UINT64_MAX};
    (void)pbft_tree_scan(tree, from, to, look, s, NULL);
    if (s->count == 0) return false;
    *s = (struct search){.left = pick % s->count};
    (void)pbft_tree_scan(tree, from, to, look, s, NULL);
    return true;
}

bool pbft_damage_state(struct pbft_node *node, uint64_t pick, struct pbft_damage *out)
{
    struct pbft_node_info info;
    pbft_node_info(node, &info);
    if (node->apply_running || info.core.transferring || node->side.apply == NULL) return false;
    struct pbft_tree *tree = pbft_apply_tree(node->side.apply);
    struct search found;
    if (!find(tree, pick, &found)) return false;
    uint8_t *value = node_alloc(found.value.size);
    memcpy(value, found.value.data, found.value.size);
    memcpy(out->key, found.key.data, found.key.size);
    out->key_size = found.key.size;
    out->byte = (uint32_t)(pick / 8 % found.value.size);
    out->seq = node->applied;
    pbft_hash(&out->before, "pbft-value", &found.value, 1);
    value[out->byte] ^= (uint8_t)(1u << pick % 8);
    uint64_t mark = 0;
    struct pbft_span key = {out->key, out->key_size};
    (void)pbft_tree_get(tree, key, NULL, &mark);
    enum pbft_status status =
        pbft_tree_put(tree, key, (struct pbft_span){value, found.value.size}, mark);
    PBFT_ASSERT(status == PBFT_STATUS_OK);
    free(value);
    return true;
}
