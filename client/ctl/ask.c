/* One question to every replica at once. */
#include "client/ctl/ask.h"

#include <pthread.h>
#include <time.h>

#define AGAIN_NS 20000000L /* between attempts at a replica that is not connected yet */

uint64_t ctl_ask_timeout(const struct ctl_options *options)
{
    bool given = options->timeout_ns > 0 && options->timeout_ns < CTL_ASK_MAX_NS;
    return given ? options->timeout_ns : CTL_ASK_MAX_NS;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

enum pbft_status ctl_ask(struct pbft_client *client, pbft_id replica, enum pbft_admin_kind kind,
                         struct pbft_span argument, uint64_t timeout_ns, struct pbft_answer *answer)
{
    const struct timespec pause = {.tv_nsec = AGAIN_NS};
    uint64_t deadline = now_ns() + timeout_ns;
    for (;;) {
        uint64_t now = now_ns();
        uint64_t left = deadline > now ? deadline - now : 1;
        enum pbft_status status = pbft_client_admin(client, replica, kind, argument, left, answer);
        if (status == PBFT_STATUS_OK) return status;
        pbft_answer_free(answer);
        bool hopeless = status == PBFT_STATUS_REFUSED || status == PBFT_STATUS_TIMEOUT ||
                        status == PBFT_STATUS_ARGUMENT || status == PBFT_STATUS_MEMORY;
        if (hopeless || now_ns() + (uint64_t)AGAIN_NS >= deadline) return status;
        (void)nanosleep(&pause, NULL);
    }
}

struct visit {
    void (*visit)(void *context, pbft_id id);
    void *context;
    pbft_id id;
};

static void *visit_main(void *argument)
{
    const struct visit *v = argument;
    v->visit(v->context, v->id);
    return NULL;
}

void ctl_ask_all(uint32_t n, void (*visit)(void *context, pbft_id id), void *context)
{
    struct visit visits[PBFT_REPLICAS_MAX];
    pthread_t threads[PBFT_REPLICAS_MAX];
    bool started[PBFT_REPLICAS_MAX];
    PBFT_ASSERT(n <= PBFT_REPLICAS_MAX);
    for (pbft_id id = 0; id < n; id++) {
        visits[id] = (struct visit){visit, context, id};
        started[id] = pthread_create(&threads[id], NULL, visit_main, &visits[id]) == 0;
    }
    for (pbft_id id = 0; id < n; id++) {
        if (started[id])
            (void)pthread_join(threads[id], NULL);
        else
            visit(context, id);
    }
}

int ctl_nobody(struct pbft_client *client)
{
    pbft_id replica;
    char text[96];
    if (pbft_client_refused(client, &replica, text))
        return ctl_fail(CTL_REFUSED, "replica %u and this client refuse each other: %s.",
                        (unsigned)replica, text);
    return ctl_fail(CTL_TIMEOUT, "no replica answers: is the cluster running (`pbftctl up`), and "
                                 "are the addresses in cluster.conf right?");
}
