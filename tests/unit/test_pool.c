/* replica/pool: one budget for all frames, counted, from any thread. */
#include "replica/pool.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

Test(pool, counts_and_budget)
{
    struct pbft_pool *pool = pbft_pool_new(4 * (sizeof(struct pbft_frame) + 100));
    struct pbft_frame_pool *frames = pbft_pool_frames(pool);
    struct pbft_frame *held[4];
    for (unsigned i = 0; i < 4; i++) {
        held[i] = pbft_frame_new(frames, 100);
        cr_assert_not_null(held[i]);
        cr_assert_eq(held[i]->size, 0u);
        cr_assert_eq(held[i]->capacity, 100u);
        memset(held[i]->bytes, 0xAB, 100);
    }
    cr_assert_null(pbft_frame_new(frames, 1));
    cr_assert_null(pbft_frame_new(frames, UINT32_MAX));
    struct pbft_pool_stats stats;
    pbft_pool_stats(pool, &stats);
    cr_assert_eq(stats.live_frames, 4u);
    cr_assert_eq(stats.refused, 2u);
    uint64_t full = stats.live_bytes;
    pbft_frame_retain(held[0]);
    pbft_frame_release(held[0]);
    pbft_pool_stats(pool, &stats);
    cr_assert_eq(stats.live_frames, 4u);
    pbft_frame_release(held[0]);
    held[0] = pbft_frame_new(frames, 100); /* room again */
    cr_assert_not_null(held[0]);
    for (unsigned i = 0; i < 4; i++)
        pbft_frame_release(held[i]);
    pbft_pool_stats(pool, &stats);
    cr_assert_eq(stats.live_frames, 0u);
    cr_assert_eq(stats.live_bytes, 0u);
    cr_assert_eq(stats.peak_bytes, full);
    pbft_pool_free(pool);
}

Test(pool, copy)
{
    struct pbft_pool *pool = pbft_pool_new(1000);
    struct pbft_span text = {(const uint8_t *)"hello", 5};
    struct pbft_frame *frame = pbft_frame_copy(pbft_pool_frames(pool), text);
    cr_assert_eq(frame->size, 5u);
    cr_assert_arr_eq(frame->bytes, "hello", 5);
    pbft_frame_release(frame);
    frame = pbft_frame_copy(pbft_pool_frames(pool), (struct pbft_span){NULL, 0});
    cr_assert_eq(frame->size, 0u);
    pbft_frame_release(frame);
    pbft_pool_free(pool);
}

Test(pool, a_leak_is_a_panic, .signal = SIGABRT)
{
    struct pbft_pool *pool = pbft_pool_new(1000);
    struct pbft_frame *frame = pbft_frame_new(pbft_pool_frames(pool), 1);
    cr_assert_not_null(frame);
    pbft_pool_free(pool);
}

static void *churn(void *context)
{
    struct pbft_frame_pool *frames = context;
    for (unsigned i = 0; i < 20000; i++) {
        struct pbft_frame *frame = pbft_frame_new(frames, i % 200);
        if (frame == NULL) continue;
        pbft_frame_retain(frame);
        pbft_frame_release(frame);
        pbft_frame_release(frame);
    }
    return NULL;
}

Test(pool, threads_never_overdraw)
{
    uint64_t budget = 3 * (sizeof(struct pbft_frame) + 200);
    struct pbft_pool *pool = pbft_pool_new(budget);
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, churn, pbft_pool_frames(pool)), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    struct pbft_pool_stats stats;
    pbft_pool_stats(pool, &stats);
    cr_assert_leq(stats.peak_bytes, budget);
    pbft_pool_free(pool);
}
