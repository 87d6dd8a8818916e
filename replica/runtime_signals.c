/* Signals, taken by a thread that waits for them. A handler runs for one alone, and ends all. */
#include "replica/runtime_internal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define SIGNAL_WAKE   SIGUSR1 /* ours: the thread looks what there is */
#define LAST_WORDS_MS 2000

/* What is mapped cannot be read any more: what the disk does not give ends the process. */
static _Atomic bool unreadable;
static const char why_unreadable[] = "the disk does not give back what is in pages.mdb, or it was "
                                     "cut short (SIGBUS)";
static const char hint_unreadable[] = "start it again: its votes are not in it, and pages that "
                                      "cannot be read are set aside and fetched from the others";

static void signal_set(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGNAL_WAKE);
}

static void say(const char *text, size_t size)
{
    if (write(STDERR_FILENO, text, size) < 0) return; /* there is nobody else to tell */
}

/* The thread that reads cannot go on, and may hold any lock: another one writes the line. If there
 * is none, or it cannot, this does. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_code != BUS_ADRERR) { /* no file's fault: what it always did */
        (void)raise(number);
        return;
    }
    atomic_store(&unreadable, true);
    (void)kill(getpid(), SIGNAL_WAKE);
    (void)poll(NULL, 0, LAST_WORDS_MS);
    say(why_unreadable, sizeof why_unreadable - 1);
    say(": ", 2);
    say(hint_unreadable, sizeof hint_unreadable - 1);
    say("\n", 1);
    _exit(PBFT_EXIT_FAILURE);
}

void pbft_runtime_block_signals(void)
{
    sigset_t set;
    signal_set(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGPIPE, &ignore, NULL);
    struct sigaction last = {.sa_sigaction = on_bus_error,
                             .sa_flags = SA_SIGINFO | (int)SA_RESETHAND};
    (void)sigaction(SIGBUS, &last, NULL);
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
        if (atomic_load(&unreadable)) {
            pbft_logger_write(r->config.logger, PBFT_LOG_ERROR, "storage_failed",
                              "what=pages why=\"%s\" hint=\"%s\"", why_unreadable, hint_unreadable);
            _exit(PBFT_EXIT_FAILURE);
        }
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
    (void)pthread_kill(r->signals.thread, SIGNAL_WAKE);
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
