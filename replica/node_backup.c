/* Backups: the newest certified checkpoint and its pages, for the administrator's client. The pages
 * are those that laggards are served, and less at a time: agreement must not starve. */
#include "replica/node_internal.h"

#include <stdlib.h>
#include <string.h>

/* What backups are served, all together: as much as one peer. */
#define BUCKET_BYTES     (2 << 20)
#define BYTES_PER_SECOND (16 << 20)
#define ANSWER_BYTES     262144u /* no further page once there are so many */

#define ADMINISTRATOR 0u

static enum pbft_verdict answer_checkpoint(struct pbft_node *node, const struct pbft_peer *to,
                                           uint64_t id)
{
    const struct certified *newest = node_certified_state(node);
    if (newest != NULL && node_silenced(node, newest->signers)) {
        node_answer_text(node, to, id, false,
                         "it is mute, and its own vote is in its newest certificate; ask others");
        return PBFT_DROP_MUTE;
    }
    size_t size = newest == NULL ? 0 : newest->certificate->size;
    uint8_t *body = node_alloc(8 + size);
    pbft_put_u64(body, node->applied);
    if (size > 0) memcpy(body + 8, newest->certificate->bytes, size);
    /* It may hold our own signature, which nobody may see before it is durable (FAULTS 4.4). */
    node_answer_admin(node, to, id, true, node->core_last, (struct pbft_span){body, 8 + size});
    free(body);
    return PBFT_OK;
}

/* As many of the pages as one answer, and what may be served now, have room for. */
static size_t gather(struct pbft_node *node, struct pbft_span digests, uint8_t *body)
{
    size_t size = 0;
    for (size_t at = 0; at < digests.size && size < ANSWER_BYTES; at += PBFT_DIGEST_BYTES) {
        struct pbft_digest digest;
        struct pbft_span page;
        memcpy(digest.bytes, digests.data + at, PBFT_DIGEST_BYTES);
        if (node->backup.bytes <= 0) break;
        if (node_page(node, &digest, &page) != PBFT_STATUS_OK) page.size = 0;
        node->backup.bytes -= (int64_t)page.size;
        pbft_put_u32(body + size, (uint32_t)page.size);
        if (page.size > 0) memcpy(body + size + 4, page.data, page.size);
        size += 4 + page.size;
    }
    return size;
}

static enum pbft_verdict answer_pages(struct pbft_node *node, const struct pbft_peer *to,
                                      const struct pbft_admin *admin)
{
    struct pbft_span digests = admin->argument;
    if (digests.size == 0 || digests.size % PBFT_DIGEST_BYTES != 0 ||
        digests.size > (size_t)PBFT_ADMIN_PAGES_MAX * PBFT_DIGEST_BYTES)
        return PBFT_DROP_MALFORMED;
    node_bucket_refill(node, &node->backup, BUCKET_BYTES, BYTES_PER_SECOND);
    uint8_t *body = NULL;
    size_t size = 0;
    if (node->backup.bytes > 0) {
        body = malloc(ANSWER_BYTES + PBFT_PAGE_BYTES_MAX + 4 * PBFT_ADMIN_PAGES_MAX);
        if (body == NULL) return PBFT_DROP_BUSY;
        size = gather(node, digests, body);
    }
    node_answer_admin(node, to, admin->id, true, 0, (struct pbft_span){body, size});
    free(body);
    return size == 0 ? PBFT_DROP_QUOTA : PBFT_OK;
}

enum pbft_verdict node_on_backup(struct pbft_node *node, const struct pbft_peer *from,
                                 const struct pbft_admin *admin)
{
    if (from->index != ADMINISTRATOR) {
        node_answer_text(node, from, admin->id, false,
                         "only the administrator (client 0) is given the whole state");
        return PBFT_DROP_ROLE;
    }
    if (admin->kind == PBFT_ADMIN_CHECKPOINT) return answer_checkpoint(node, from, admin->id);
    return answer_pages(node, from, admin);
}
