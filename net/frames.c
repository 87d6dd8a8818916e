/* net/frames.c - a growing ring of frame references. Bounds are the callers' business. */
#include "net/net_internal.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 16u

bool frames_push(struct frames *q, struct pbft_frame *frame)
{
    if (q->count == q->capacity) {
        uint32_t capacity = q->capacity == 0 ? FIRST_CAPACITY : q->capacity * 2;
        struct pbft_frame **at = malloc((size_t)capacity * sizeof(struct pbft_frame *));
        if (at == NULL) return false;
        for (uint32_t i = 0; i < q->count; i++)
            at[i] = q->at[(q->head + i) & (q->capacity - 1)];
        free(q->at);
        q->at = at;
        q->capacity = capacity;
        q->head = 0;
    }
    q->at[(q->head + q->count) & (q->capacity - 1)] = frame;
    q->count++;
    q->bytes += (uint64_t)frame->size + FRAME_COST;
    return true;
}

struct pbft_frame *frames_pop(struct frames *q)
{
    if (q->count == 0) return NULL;
    struct pbft_frame *frame = q->at[q->head];
    q->head = (q->head + 1) & (q->capacity - 1);
    q->count--;
    q->bytes -= (uint64_t)frame->size + FRAME_COST;
    return frame;
}

void frames_clear(struct frames *q)
{
    for (struct pbft_frame *frame = frames_pop(q); frame != NULL; frame = frames_pop(q))
        pbft_frame_release(frame);
    free(q->at);
    memset(q, 0, sizeof(*q));
}
