/* Fetching what the core misses, from one peer at a time, in rotation (FAULTS 4.14); and serving
 * what peers miss: pages out of snapshots here, the rest out of the core. */
#include "replica/node_internal.h"

#include "pbft/quorum.h"

#include <stdlib.h>
#include <string.h>

/* Time that fills a bucket at once. */
#define BUCKET_STEP_NS UINT64_C(1000000)
#define BUCKET_MOST_NS UINT64_C(1000000000)

static bool same(const struct pbft_fetch *a, const struct pbft_fetch *b)
{
    return a->kind == b->kind && a->view == b->view && a->seq == b->seq &&
           pbft_digest_equal(&a->digest, &b->digest);
}

void node_send_fetch(struct pbft_node *node, pbft_id to, const struct pbft_fetch *what)
{
    struct pbft_msg msg = {.type = PBFT_FETCH};
    msg.fetch = *what;
    struct pbft_frame *frame = node_encode(node, &msg);
    if (frame == NULL) return; /* asked again in time */
    node_send(node, pbft_signers_of(to), 0, frame);
    pbft_frame_release(frame);
}

pbft_signers node_links(const struct pbft_node *node)
{
    pbft_signers up = 0;
    for (pbft_id id = 0; id < node->n; id++)
        if (id != node->id && node->peers[id].up) up |= pbft_signers_of(id);
    return up;
}

/* Who is asked next: a peer that probably has it, then any other; who was asked already comes last.
 * The starting point rotates, so that no peer is everybody's first. */
static bool next_peer(struct pbft_node *node, struct fetch_item *item, pbft_id *out)
{
    pbft_signers up = node_links(node);
    if (up == 0) return false;
    if ((up & ~item->tried) == 0) item->tried = 0;
    pbft_signers from = up & item->hint & ~item->tried;
    if (from == 0) from = up & ~item->tried;
    node->rotation = (node->rotation + 1) % node->n;
    pbft_id id = node->rotation;
    while (!pbft_signers_has(from, id))
        id = (id + 1) % node->n;
    *out = id;
    return true;
}

static void ask(struct pbft_node *node, struct fetch_item *item)
{
    item->due_ns = node->now_ns + FETCH_RETRY_NS;
    if (!next_peer(node, item, &item->asked)) return;
    item->tried |= pbft_signers_of(item->asked);
    struct pbft_fetch what = item->what; /* sending may not, but could, move the table */
    node_send_fetch(node, item->asked, &what);
}

void node_fetch(struct pbft_node *node, const struct pbft_fetch *what, pbft_signers hint)
{
    for (size_t i = 0; i < node->fetch_count; i++) {
        if (!same(&node->fetches[i].what, what)) continue;
        node->fetches[i].hint |= hint;
        return;
    }
    /* One for each slot in two roles (body, header), and one for each VIEW-CHANGE. */
    if (node->fetch_count >= 4u * (size_t)node->p->window + node->n * (size_t)node->n) return;
    node->fetches =
        node_grow(node->fetches, &node->fetch_capacity, node->fetch_count, sizeof *node->fetches);
    struct fetch_item *item = &node->fetches[node->fetch_count++];
    *item = (struct fetch_item){.what = *what, .hint = hint};
    ask(node, item);
}

void node_fetch_stop(struct pbft_node *node, const struct pbft_fetch *what)
{
    for (size_t i = 0; i < node->fetch_count; i++) {
        if (!same(&node->fetches[i].what, what)) continue;
        node->fetches[i] = node->fetches[--node->fetch_count];
        return;
    }
}

void node_fetch_tick(struct pbft_node *node)
{
    for (size_t i = 0; i < node->fetch_count; i++)
        if (node->fetches[i].due_ns <= node->now_ns) ask(node, &node->fetches[i]);
}

uint64_t node_fetch_deadline(const struct pbft_node *node)
{
    uint64_t due = NEVER;
    for (size_t i = 0; i < node->fetch_count; i++)
        if (node->fetches[i].due_ns < due) due = node->fetches[i].due_ns;
    return due;
}

/* ---- serving ---- */

/* What is served must not starve agreement: each peer has a bucket of bytes, and so have backups.
 */
void node_bucket_refill(const struct pbft_node *node, struct bucket *bucket, int64_t most,
                        int64_t per_second)
{
    uint64_t passed_us = (node->now_ns - bucket->filled_ns) / 1000u;
    if (bucket->filled_ns == 0 || passed_us > BUCKET_MOST_NS / 1000u)
        passed_us = BUCKET_MOST_NS / 1000u;
    if (bucket->bytes > most) bucket->bytes = most;
    if (passed_us < BUCKET_STEP_NS / 1000u) return; /* a drop at a time would be rounded away */
    bucket->bytes += (int64_t)passed_us * per_second / 1000000;
    if (bucket->bytes > most) bucket->bytes = most;
    bucket->filled_ns = node->now_ns;
}

uint64_t node_bucket_due(const struct bucket *bucket, int64_t level, int64_t per_second)
{
    if (bucket->bytes >= level) return NEVER;
    uint64_t wait_ns = (uint64_t)((level - bucket->bytes) * 1000000 / per_second + 1) * 1000u;
    if (wait_ns > BUCKET_MOST_NS) wait_ns = BUCKET_MOST_NS;
    return bucket->filled_ns + (wait_ns < BUCKET_STEP_NS ? BUCKET_STEP_NS : wait_ns);
}

enum pbft_status node_page(struct pbft_node *node, const struct pbft_digest *digest,
                           struct pbft_span *page)
{
    if (node->page_scratch == NULL) node->page_scratch = node_buffer(PBFT_PAGE_BYTES_MAX);
    size_t size = 0;
    enum pbft_status status = PBFT_STATUS_NOT_FOUND;
    for (size_t i = node->snapshot_count; i-- > 0 && status == PBFT_STATUS_NOT_FOUND;)
        status = pbft_snapshot_page(node->snapshots[i].snapshot, digest, node->page_scratch,
                                    PBFT_PAGE_BYTES_MAX, &size);
    *page = (struct pbft_span){node->page_scratch, size};
    return status;
}

static enum pbft_verdict serve_page(struct pbft_node *node, const struct pbft_peer *from,
                                    const struct pbft_digest *digest)
{
    struct pbft_msg msg = {.type = PBFT_PAGE};
    if (node_page(node, digest, &msg.page) != PBFT_STATUS_OK)
        return PBFT_DROP_UNWANTED; /* the peer asks somebody else */
    node->peers[from->index].served.bytes -= (int64_t)msg.page.size;
    struct pbft_frame *frame = node_encode(node, &msg);
    if (frame == NULL) return PBFT_DROP_BUSY;
    node->pages_served++;
    node->pages_served_bytes += msg.page.size;
    node_send(node, pbft_signers_of(from->index), 0, frame);
    pbft_frame_release(frame);
    return PBFT_OK;
}

enum pbft_verdict node_on_fetch(struct pbft_node *node, const struct pbft_peer *from,
                                const struct pbft_fetch *fetch)
{
    struct bucket *bucket = &node->peers[from->index].served;
    node_bucket_refill(node, bucket, PAGE_BUCKET_BYTES, PAGE_BYTES_PER_SECOND);
    /* Megabytes for a FETCH of a hundred bytes: before they are copied, let alone queued. */
    if (bucket->bytes <= 0) return PBFT_DROP_QUOTA;
    if (fetch->kind == PBFT_FETCH_PAGE) return serve_page(node, from, &fetch->digest);
    struct pbft_frame *frame = pbft_core_serve(node->core, fetch);
    if (frame == NULL) return PBFT_DROP_UNWANTED;
    bucket->bytes -= frame->size;
    /* It may hold our own signature, and nobody may see that before it is durable (FAULTS 4.4). */
    node_send(node, pbft_signers_of(from->index), node->core_last, frame);
    pbft_frame_release(frame);
    return PBFT_OK;
}
