/* client/client.c - the public functions: opening, submitting, waiting, closing. */
#include "client/client_internal.h"

#include "client/client_files.h"
#include "crypto/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_DEFAULT     16u
#define SESSIONS_MAX       256u
#define QUEUE_MAX          4096u
#define ADMIN_QUEUE_MAX    1024u
#define ADMIN_ARGUMENT_MAX 256u
#define POOL_BYTES         (UINT64_C(512) << 20)

/* ---- opening ---- */

/* Its own configuration, and where epochs are kept: as the options have it, or beside that. */
static enum pbft_status load_own(struct pbft_client *c, const char *path, char error[256])
{
    struct pbft_client_files files;
    const char *given = c->options.epochs;
    enum pbft_status status = pbft_client_files(path, &files, error);
    if (status != PBFT_STATUS_OK) return status;
    int size = snprintf(c->epochs, sizeof c->epochs, "%s", given != NULL ? given : files.epochs);
    c->options.epochs = NULL; /* the caller's */
    if (size < 0 || (size_t)size >= sizeof c->epochs) {
        (void)snprintf(error, 256, "the path of the client's epochs is too long");
        return PBFT_STATUS_ARGUMENT;
    }
    return pbft_client_config_load(&c->own, files.config, error);
}

static enum pbft_status load(struct pbft_client *c, const char *path, char error[256])
{
    if (pbft_crypto_init() != PBFT_STATUS_OK) {
        (void)snprintf(error, 256, "the cryptographic self-test failed");
        return PBFT_STATUS_CRYPTO;
    }
    enum pbft_status status = load_own(c, path, error);
    if (status == PBFT_STATUS_OK)
        status = pbft_cluster_config_load(&c->config, c->own.cluster, error);
    if (status == PBFT_STATUS_OK) status = pbft_keypair_load(&c->keypair, c->own.key, error);
    if (status != PBFT_STATUS_OK) return status;
    if (pbft_cluster_client(&c->config.cluster, &c->keypair.public, &c->client_index))
        return PBFT_STATUS_OK;
    (void)snprintf(error, 256, "the key %.150s is not among the clients of this cluster",
                   c->own.key);
    return PBFT_STATUS_REFUSED;
}

static enum pbft_status set_options(struct pbft_client *c, char error[256])
{
    struct pbft_client_options *o = &c->options;
    uint32_t most = c->config.cluster.params.session_window / 2;
    if (most == 0) most = 1;
    if (o->window == 0) o->window = WINDOW_DEFAULT < most ? WINDOW_DEFAULT : most;
    if (o->timeout_ns == 0) o->timeout_ns = c->own.timeout_ns;
    if (o->sessions == 0) o->sessions = 1;
    if (o->window > most) {
        (void)snprintf(error, 256, "a window of at most %u is possible in this cluster", most);
        return PBFT_STATUS_ARGUMENT;
    }
    /* Each may leave one behind that is not retired yet (client_session.c, feed). */
    most = c->config.cluster.params.sessions_per_client / 2;
    if (most == 0) most = 1;
    if (most > SESSIONS_MAX) most = SESSIONS_MAX;
    if (o->sessions <= most) return PBFT_STATUS_OK;
    (void)snprintf(error, 256, "at most %u sessions of one handle are possible in this cluster",
                   most);
    return PBFT_STATUS_ARGUMENT;
}

static enum pbft_status start(struct pbft_client *c, char error[256])
{
    char warning[256] = "";
    c->cluster = &c->config.cluster;
    client_recall(c, warning);
    atomic_store(&c->epoch, c->cluster->epoch);
    c->pool = pbft_pool_new(POOL_BYTES);
    c->sessions = calloc(c->options.sessions, sizeof *c->sessions);
    (void)snprintf(error, 256, "out of memory or threads");
    if (c->pool == NULL || c->sessions == NULL) return PBFT_STATUS_MEMORY;
    for (uint32_t i = 0; i < c->options.sessions; i++)
        if (!client_new_session(c, &c->sessions[i])) return PBFT_STATUS_MEMORY;
    enum pbft_status status = client_connect(c, c->cluster, &c->door, &c->net, error);
    if (status != PBFT_STATUS_OK) return status;
    (void)snprintf(error, 256, "out of memory or threads");
    c->started = pthread_create(&c->thread, NULL, client_run, c) == 0;
    if (c->started) memcpy(error, warning, sizeof warning);
    return c->started ? PBFT_STATUS_OK : PBFT_STATUS_MEMORY;
}

enum pbft_status pbft_client_open(struct pbft_client **out, const char *path,
                                  const struct pbft_client_options *options, char error[256])
{
    *out = NULL;
    error[0] = '\0';
    struct pbft_client *c = calloc(1, sizeof *c);
    if (c == NULL) {
        (void)snprintf(error, 256, "out of memory");
        return PBFT_STATUS_MEMORY;
    }
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_mutex_init(&c->epoch_lock, NULL);
    if (options != NULL) c->options = *options;
    enum pbft_status status = load(c, path, error);
    if (status == PBFT_STATUS_OK) status = set_options(c, error);
    if (status == PBFT_STATUS_OK) status = start(c, error);
    if (status == PBFT_STATUS_OK)
        *out = c;
    else
        pbft_client_close(c);
    return status;
}

static void wake(struct pbft_client *c)
{
    (void)pthread_mutex_lock(&c->epoch_lock);
    pbft_net_wake(c->net);
    (void)pthread_mutex_unlock(&c->epoch_lock);
}

void pbft_client_close(struct pbft_client *c)
{
    if (c == NULL) return;
    (void)pthread_mutex_lock(&c->lock);
    c->closing = true;
    (void)pthread_mutex_unlock(&c->lock);
    if (c->started) {
        wake(c);
        (void)pthread_join(c->thread, NULL);
    }
    if (c->net != NULL) pbft_net_close(c->net);
    for (uint32_t i = 0; c->sessions != NULL && i < c->options.sessions; i++)
        client_session_free(&c->sessions[i]);
    free(c->sessions);
    pbft_door_free(c->door);
    client_epoch_free(c);
    if (c->pool != NULL) pbft_pool_free(c->pool);
    pbft_keypair_wipe(&c->keypair);
    pbft_cluster_config_free(&c->config);
    (void)pthread_mutex_destroy(&c->lock);
    (void)pthread_mutex_destroy(&c->epoch_lock);
    free(c);
}

/* ---- submitting ---- */

static struct job *job_new(const struct pbft_client *c, enum job_kind kind, size_t size,
                           uint64_t timeout_ns, pbft_client_done done, void *context)
{
    struct job *job = malloc(sizeof *job + size);
    if (job == NULL) return NULL;
    memset(job, 0, sizeof *job);
    job->kind = kind;
    job->size = size;
    job->done = done;
    job->context = context;
    job->submitted_ns = client_now();
    uint64_t timeout = timeout_ns == 0 ? c->options.timeout_ns : timeout_ns;
    bool endless = timeout >= UINT64_MAX - 1 - job->submitted_ns;
    job->deadline_ns = endless ? UINT64_MAX - 1 : job->submitted_ns + timeout;
    return job;
}

/* Hand over; the thread is woken only if it sleeps (a hop costs about 30 us, NOTES 0.2). */
static enum pbft_status enqueue(struct pbft_client *c, struct job *job, uint32_t *count,
                                uint32_t max)
{
    if (job == NULL) return PBFT_STATUS_MEMORY;
    enum pbft_status status = PBFT_STATUS_OK;
    (void)pthread_mutex_lock(&c->lock);
    if (c->closing)
        status = PBFT_STATUS_CLOSED;
    else if (count != NULL && *count >= max)
        status = PBFT_STATUS_FULL;
    bool sleeps = status == PBFT_STATUS_OK && c->sleeping;
    if (status == PBFT_STATUS_OK) {
        if (count != NULL) (*count)++;
        job_push(&c->submitted, job);
        c->sleeping = false;
    }
    (void)pthread_mutex_unlock(&c->lock);
    if (status != PBFT_STATUS_OK)
        free(job);
    else if (sleeps)
        wake(c);
    return status;
}

static uint32_t queue_max(const struct pbft_client *c)
{
    return QUEUE_MAX + 2 * c->options.window * c->options.sessions;
}

/* Size of the items list; 0 if it is beyond every bound. The match judges it exactly. */
static size_t items_size(const struct pbft_params *p, const struct pbft_span *ops, uint32_t count)
{
    size_t size = 0;
    if (count == 0 || count > p->bundle_max_ops) return 0;
    for (uint32_t i = 0; i < count; i++) {
        if (ops[i].size > p->batch_max_bytes || size > p->batch_max_bytes) return 0;
        size += 4 + ops[i].size;
    }
    return size > p->batch_max_bytes ? 0 : size;
}

static enum pbft_status submit(struct pbft_client *c, enum job_kind kind, bool single,
                               uint32_t session, const struct pbft_span *ops, uint32_t count,
                               uint64_t timeout_ns, pbft_client_done done, void *context)
{
    if (session != PBFT_CLIENT_ANY && session >= c->options.sessions) return PBFT_STATUS_ARGUMENT;
    size_t size = items_size(&c->config.cluster.params, ops, count);
    if (size == 0) return PBFT_STATUS_ARGUMENT;
    struct job *job = job_new(c, kind, size, timeout_ns, done, context);
    if (job == NULL) return PBFT_STATUS_MEMORY;
    job->single = single;
    job->op_count = count;
    job->session = session;
    uint8_t *at = job->bytes;
    for (uint32_t i = 0; i < count; i++) {
        pbft_put_u32(at, (uint32_t)ops[i].size);
        if (ops[i].size > 0) memcpy(at + 4, ops[i].data, ops[i].size);
        at += 4 + ops[i].size;
    }
    return enqueue(c, job, &c->queued, queue_max(c));
}

enum pbft_status pbft_client_submit_in(struct pbft_client *c, uint32_t session,
                                       const struct pbft_span *ops, uint32_t count,
                                       uint64_t timeout_ns, pbft_client_done done, void *context)
{
    return submit(c, JOB_CALL, false, session, ops, count, timeout_ns, done, context);
}

enum pbft_status pbft_client_submit(struct pbft_client *c, const struct pbft_span *ops,
                                    uint32_t count, uint64_t timeout_ns, pbft_client_done done,
                                    void *context)
{
    return pbft_client_submit_in(c, PBFT_CLIENT_ANY, ops, count, timeout_ns, done, context);
}

enum pbft_status pbft_client_submit_read_in(struct pbft_client *c, uint32_t session,
                                            struct pbft_span op, uint64_t timeout_ns,
                                            pbft_client_done done, void *context)
{
    return submit(c, JOB_READ, true, session, &op, 1, timeout_ns, done, context);
}

enum pbft_status pbft_client_submit_read(struct pbft_client *c, struct pbft_span op,
                                         uint64_t timeout_ns, pbft_client_done done, void *context)
{
    return pbft_client_submit_read_in(c, PBFT_CLIENT_ANY, op, timeout_ns, done, context);
}

enum pbft_status pbft_client_submit_reads_in(struct pbft_client *c, uint32_t session,
                                             const struct pbft_span *ops, uint32_t count,
                                             uint64_t timeout_ns, pbft_client_done done,
                                             void *context)
{
    return submit(c, JOB_READ, false, session, ops, count, timeout_ns, done, context);
}

enum pbft_status pbft_client_submit_reads(struct pbft_client *c, const struct pbft_span *ops,
                                          uint32_t count, uint64_t timeout_ns,
                                          pbft_client_done done, void *context)
{
    return pbft_client_submit_reads_in(c, PBFT_CLIENT_ANY, ops, count, timeout_ns, done, context);
}

enum pbft_status pbft_client_submit_admin(struct pbft_client *c, pbft_id replica,
                                          enum pbft_admin_kind kind, struct pbft_span argument,
                                          uint64_t timeout_ns, pbft_client_done done, void *context)
{
    if (replica >= c->config.cluster.params.n || argument.size > ADMIN_ARGUMENT_MAX)
        return PBFT_STATUS_ARGUMENT;
    struct job *job = job_new(c, JOB_ADMIN, argument.size, timeout_ns, done, context);
    if (job == NULL) return PBFT_STATUS_MEMORY;
    job->replica = replica;
    job->admin_kind = (uint8_t)kind;
    if (argument.size > 0) memcpy(job->bytes, argument.data, argument.size);
    return enqueue(c, job, &c->admin_queued, ADMIN_QUEUE_MAX);
}

/* ---- waiting ---- */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t ready;
    bool done;
    struct pbft_answer *answer;
};

static void waiter_done(void *context, const struct pbft_answer *answer)
{
    struct waiter *w = context;
    struct pbft_answer copy = *answer;
    copy.bytes = answer->size > 0 ? malloc(answer->size) : NULL;
    if (copy.bytes != NULL)
        memcpy(copy.bytes, answer->bytes, answer->size);
    else if (answer->size > 0)
        copy = (struct pbft_answer){.status = PBFT_STATUS_MEMORY};
    (void)pthread_mutex_lock(&w->lock);
    *w->answer = copy;
    w->done = true;
    (void)pthread_cond_signal(&w->ready);
    (void)pthread_mutex_unlock(&w->lock);
}

static void waiter_init(struct waiter *w, struct pbft_answer *answer)
{
    memset(w, 0, sizeof *w);
    memset(answer, 0, sizeof *answer);
    w->answer = answer;
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->ready, NULL);
}

static enum pbft_status waiter_wait(struct waiter *w, enum pbft_status submitted)
{
    if (submitted == PBFT_STATUS_OK) {
        (void)pthread_mutex_lock(&w->lock);
        while (!w->done)
            (void)pthread_cond_wait(&w->ready, &w->lock);
        (void)pthread_mutex_unlock(&w->lock);
    } else {
        w->answer->status = submitted;
    }
    (void)pthread_cond_destroy(&w->ready);
    (void)pthread_mutex_destroy(&w->lock);
    return w->answer->status;
}

enum pbft_status pbft_client_call(struct pbft_client *c, struct pbft_span op, uint64_t timeout_ns,
                                  struct pbft_answer *answer)
{
    struct waiter w;
    waiter_init(&w, answer);
    enum pbft_status status =
        submit(c, JOB_CALL, true, PBFT_CLIENT_ANY, &op, 1, timeout_ns, waiter_done, &w);
    return waiter_wait(&w, status);
}

enum pbft_status pbft_client_call_bundle(struct pbft_client *c, const struct pbft_span *ops,
                                         uint32_t count, uint64_t timeout_ns,
                                         struct pbft_answer *answer)
{
    struct waiter w;
    waiter_init(&w, answer);
    enum pbft_status status = pbft_client_submit(c, ops, count, timeout_ns, waiter_done, &w);
    return waiter_wait(&w, status);
}

enum pbft_status pbft_client_read(struct pbft_client *c, struct pbft_span op, uint64_t timeout_ns,
                                  struct pbft_answer *answer)
{
    struct waiter w;
    waiter_init(&w, answer);
    enum pbft_status status = pbft_client_submit_read(c, op, timeout_ns, waiter_done, &w);
    return waiter_wait(&w, status);
}

enum pbft_status pbft_client_read_bundle(struct pbft_client *c, const struct pbft_span *ops,
                                         uint32_t count, uint64_t timeout_ns,
                                         struct pbft_answer *answer)
{
    struct waiter w;
    waiter_init(&w, answer);
    enum pbft_status status = pbft_client_submit_reads(c, ops, count, timeout_ns, waiter_done, &w);
    return waiter_wait(&w, status);
}

enum pbft_status pbft_client_admin(struct pbft_client *c, pbft_id replica,
                                   enum pbft_admin_kind kind, struct pbft_span argument,
                                   uint64_t timeout_ns, struct pbft_answer *answer)
{
    struct waiter w;
    waiter_init(&w, answer);
    enum pbft_status status =
        pbft_client_submit_admin(c, replica, kind, argument, timeout_ns, waiter_done, &w);
    return waiter_wait(&w, status);
}

/* ---- looking ---- */

enum pbft_status pbft_client_wait(struct pbft_client *c, uint64_t timeout_ns)
{
    struct waiter w;
    struct pbft_answer answer;
    waiter_init(&w, &answer);
    struct job *job = job_new(c, JOB_WAIT, 0, timeout_ns, waiter_done, &w);
    enum pbft_status submitted = enqueue(c, job, NULL, 0);
    return waiter_wait(&w, submitted);
}

void pbft_client_stats(struct pbft_client *c, struct pbft_client_stats *out)
{
    memset(out, 0, sizeof *out);
    if (pthread_equal(pthread_self(), c->thread) != 0) {
        client_snapshot(c, out);
        return;
    }
    struct waiter w;
    struct pbft_answer answer;
    waiter_init(&w, &answer);
    struct job *job = job_new(c, JOB_STATS, 0, 0, waiter_done, &w);
    enum pbft_status submitted = enqueue(c, job, NULL, 0);
    if (waiter_wait(&w, submitted) == PBFT_STATUS_OK && answer.size == sizeof *out)
        memcpy(out, answer.bytes, sizeof *out);
    pbft_answer_free(&answer);
}

/* Whether that is what a handshake says, not what TCP says. */
static bool handshake_text(const char *text)
{
    static const char *const reasons[] = {
#define X(name, reason) reason,
        PBFT_CHANNEL_FAILURES(X)
#undef X
    };
    for (size_t i = PBFT_CHANNEL_CLUSTER; i < sizeof reasons / sizeof reasons[0]; i++)
        if (i != PBFT_CHANNEL_BUSY && strstr(text, reasons[i]) != NULL) return true;
    return false;
}

bool pbft_client_refused(struct pbft_client *c, pbft_id *replica, char text[96])
{
    bool refused = false;
    text[0] = '\0';
    (void)pthread_mutex_lock(&c->epoch_lock);
    for (pbft_id i = 0; i < c->config.cluster.params.n && !refused; i++) {
        struct pbft_net_peer_stats peer;
        refused = pbft_net_peer(c->net, i, &peer) && handshake_text(peer.last_failure);
        if (!refused) continue;
        *replica = i;
        (void)snprintf(text, 96, "%s", peer.last_failure);
    }
    (void)pthread_mutex_unlock(&c->epoch_lock);
    return refused;
}

void pbft_answer_free(struct pbft_answer *answer)
{
    free(answer->bytes);
    answer->bytes = NULL;
    answer->size = 0;
}

bool pbft_answer_next(const struct pbft_answer *answer, size_t *cursor, struct pbft_span *result)
{
    return pbft_wire_next_item((struct pbft_span){answer->bytes, answer->size}, cursor, result);
}

const struct pbft_cluster *pbft_client_cluster(const struct pbft_client *c)
{
    return &c->config.cluster;
}

uint32_t pbft_client_epoch(const struct pbft_client *c)
{
    return atomic_load(&c->epoch);
}

enum pbft_status pbft_client_configuration(struct pbft_client *c, struct pbft_cluster *out)
{
    (void)pthread_mutex_lock(&c->epoch_lock);
    bool copied = pbft_epoch_copy(c->cluster, out);
    (void)pthread_mutex_unlock(&c->epoch_lock);
    return copied ? PBFT_STATUS_OK : PBFT_STATUS_MEMORY;
}
