/*
 * What the requests of lately opened proposals hash to. Execution needs these digests again, and
 * would hash every byte of the batch a second time. They are found by the proposal's digest, which
 * holds them (PROTOCOL 3), so that whatever else is opened meanwhile cannot take their place.
 */
#include "replica/node_internal.h"

#include "crypto/hash.h"

#include <stdlib.h>
#include <string.h>

#define LEAF_BYTES (PBFT_DIGEST_BYTES + PBFT_SIGNATURE_BYTES)

/* Twice what is in flight: a proposal may be opened again, by a certificate, before it executes. */
bool node_opened_init(struct pbft_node *node)
{
    size_t most = 2u * (size_t)node->p->pipeline_depth;
    if (most < OPENED_LEAST) most = OPENED_LEAST;
    node->opened = calloc(most, sizeof *node->opened);
    if (node->opened != NULL) node->opened_capacity = most;
    return node->opened != NULL;
}

static struct opened *find(struct pbft_node *node, const struct pbft_digest *proposal)
{
    for (size_t i = 0; i < node->opened_capacity; i++) {
        struct opened *o = &node->opened[i];
        if (o->requests != NULL && pbft_digest_equal(&o->proposal, proposal)) return o;
    }
    return NULL;
}

/* Room for `count` digests; the oldest make way. NULL when they are known, or there are none. */
static struct pbft_digest *add(struct pbft_node *node, const struct pbft_digest *proposal,
                               uint32_t count)
{
    if (count == 0 || find(node, proposal) != NULL) return NULL;
    struct opened *o = &node->opened[node->opened_next];
    node->opened_next = (node->opened_next + 1) % node->opened_capacity;
    free(o->requests);
    *o = (struct opened){*proposal, count, node_buffer(count * sizeof *o->requests)};
    return o->requests;
}

static void add_proposal(struct pbft_node *node, const struct pbft_proposal *p)
{
    struct pbft_digest *out = add(node, &p->digest, p->request_count);
    for (uint32_t i = 0; out != NULL && i < p->request_count; i++)
        out[i] = p->requests[i].digest;
}

void node_opened(struct pbft_node *node, const struct pbft_msg *msg)
{
    if (msg->type == PBFT_PRE_PREPARE) add_proposal(node, &msg->pre_prepare.proposal);
    if (msg->type == PBFT_BATCH) add_proposal(node, &msg->batch);
    if (msg->type == PBFT_CERTIFICATE && msg->certificate.has_proposal)
        add_proposal(node, &msg->certificate.proposal);
}

/* The primary's own. */
void node_digest_proposal(void *context, struct pbft_digest *out, uint64_t time_ns, uint32_t count,
                          struct pbft_span leaves)
{
    pbft_digest_proposal(out, time_ns, count, leaves);
    struct pbft_digest *requests = add(context, out, count);
    for (uint32_t i = 0; requests != NULL && i < count; i++)
        memcpy(requests[i].bytes, leaves.data + (size_t)i * LEAF_BYTES, PBFT_DIGEST_BYTES);
}

struct pbft_digest *node_opened_take(struct pbft_node *node, const struct pbft_digest *proposal,
                                     uint32_t *count)
{
    struct opened *o = find(node, proposal);
    struct pbft_digest *requests = o == NULL ? NULL : o->requests;
    *count = o == NULL ? 0 : o->count;
    if (o != NULL) o->requests = NULL;
    return requests;
}

void node_opened_free(struct pbft_node *node)
{
    for (size_t i = 0; i < node->opened_capacity; i++)
        free(node->opened[i].requests);
    free(node->opened);
}
