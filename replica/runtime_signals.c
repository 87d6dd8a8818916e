/* Signals, taken by a thread that waits for them: nothing runs in a handler. */
#include "replica/runtime_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define SIGNAL_QUIT SIGUSR1 /* ours, to end the thread */

static void signal_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGNAL_QUIT);
}

void pbft_runtime_block_signals(void)
{
    sigset_t set;
    signal_set(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGPIPE, &ignore, NULL);
}

/* False: it is time to go. */
static bool take(struct pbft_runtime *r, int signal_number)
{
    struct signals *s = &r->signals;
    pthread_mutex_lock(&s->mutex);
    bool quit = s->quit, second = false;
    if (signal_number == SIGHUP) s->reload = true;
    if (signal_number == SIGTERM || signal_number == SIGINT) {
        /* Whoever means it twice takes his time. A parent that is killed while it has several
         * threads is announced by the kernel (PR_SET_PDEATHSIG) once for each of them. */
        second = s->stop && runtime_now() - s->stop_ns >= STOP_AGAIN_NS;
        if (!s->stop) s->stop_ns = runtime_now();
        s->stop = true;
        atomic_store(&s->cancel, true);
    }
    if (s->net != NULL) pbft_net_wake(s->net);
    pthread_mutex_unlock(&s->mutex);
    if (second) {
        pbft_logger_write(r->config.logger, PBFT_LOG_WARN, "stop_forced", "why=\"second signal\"");
        _exit(PBFT_EXIT_FAILURE);
    }
    return !quit;
}

static void *signals_main(void *argument)
{
    struct pbft_runtime *r = argument;
    sigset_t set;
    signal_set(&set);
    struct timespec began = {0, 0};
    for (;;) {
        struct timespec wait = {.tv_sec = 3600}, now;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        if (signals_stop(r)) {
            if (began.tv_sec == 0) began = now;
            if (now.tv_sec - began.tv_sec > STOP_LIMIT_SECONDS) {
                pbft_logger_write(r->config.logger, PBFT_LOG_ERROR, "stop_forced",
                                  "why=\"not stopped after %d s\"", STOP_LIMIT_SECONDS);
                _exit(PBFT_EXIT_FAILURE);
            }
            wait = (struct timespec){.tv_nsec = 100000000};
        }
        int number = sigtimedwait(&set, NULL, &wait);
        if (number > 0 && !take(r, number)) return NULL;
    }
}

bool signals_open(struct pbft_runtime *r)
{
    pthread_mutex_init(&r->signals.mutex, NULL);
    r->signals.running = pthread_create(&r->signals.thread, NULL, signals_main, r) == 0;
    if (!r->signals.running) pthread_mutex_destroy(&r->signals.mutex);
    return r->signals.running;
}

void signals_wake_net(struct pbft_runtime *r, struct pbft_net *net)
{
    if (!r->signals.running) return;
    pthread_mutex_lock(&r->signals.mutex);
    r->signals.net = net;
    pthread_mutex_unlock(&r->signals.mutex);
}

void signals_close(struct pbft_runtime *r)
{
    if (!r->signals.running) return;
    pthread_mutex_lock(&r->signals.mutex);
    r->signals.quit = true;
    pthread_mutex_unlock(&r->signals.mutex);
    (void)pthread_kill(r->signals.thread, SIGNAL_QUIT);
    pthread_join(r->signals.thread, NULL);
    pthread_mutex_destroy(&r->signals.mutex);
    r->signals.running = false;
}

bool signals_stop(struct pbft_runtime *r)
{
    pthread_mutex_lock(&r->signals.mutex);
    bool stop = r->signals.stop;
    pthread_mutex_unlock(&r->signals.mutex);
    return stop;
}

bool signals_take_reload(struct pbft_runtime *r)
{
    pthread_mutex_lock(&r->signals.mutex);
    bool reload = r->signals.reload;
    r->signals.reload = false;
    pthread_mutex_unlock(&r->signals.mutex);
    return reload;
}
