/* The pages of a checkpoint, from all replicas at once. */
#include "client/ctl/snapshot_fetch.h"

#include "client/ctl/ask.h"
#include "pbft/quorum.h"
#include "service/kv.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LANES_MAX     4u /* questions outstanding at one replica */
#define WORKERS_MAX   64u
#define IDLE_NS       UINT64_C(500000)    /* everything is asked for */
#define PAUSE_NS      UINT64_C(5000000)   /* it serves no more now */
#define MISSING_NS    UINT64_C(100000000) /* it does not have what it was asked for */
#define SILENT_MAX    6u                  /* doublings of the pause after silence */
#define ABANDONED_MAX 64u                 /* targets whose pages are kept */

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static void pause_for(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / UINT64_C(1000000000)), (long)(ns % UINT64_C(1000000000))};
    (void)nanosleep(&t, NULL);
}

/* ---- what replicas say of their newest checkpoint ---- */

struct word {
    bool answered, refused;
    uint64_t executed;
    bool false_certificate;
    struct pbft_pages_checkpoint checkpoint; /* seq 0: none yet */
};

static void read_word(const struct pbft_cluster *cluster, struct pbft_span body, struct word *w)
{
    w->answered = body.size >= 8;
    w->checkpoint.seq = 0;
    if (body.size < 8) return;
    w->executed = pbft_get_u64(body.data);
    struct pbft_span frame = {body.data + 8, body.size - 8};
    if (frame.size == 0) return;
    struct pbft_pages_checkpoint *cp = &w->checkpoint;
    if (frame.size >= PBFT_WIRE_HEADER_BYTES && pbft_get_u32(frame.data + 4) != cluster->epoch) {
        w->answered = false; /* of the epoch before ours: no lie, and no use any more */
        return;
    }
    if (frame.size > PBFT_PAGES_CERTIFICATE_MAX ||
        !pbft_backup_certified(cluster, &pbft_signer_ed25519, frame, &cp->seq, &cp->root)) {
        w->false_certificate = true;
        cp->seq = 0;
        return;
    }
    cp->certificate_size = (uint32_t)frame.size;
    memcpy(cp->certificate, frame.data, frame.size);
}

static void ask_word(struct pbft_client *client, pbft_id id, uint64_t timeout_ns, struct word *w)
{
    memset(w, 0, sizeof *w);
    struct pbft_answer answer = {0};
    enum pbft_status status = ctl_ask(client, id, PBFT_ADMIN_CHECKPOINT,
                                      (struct pbft_span){NULL, 0}, timeout_ns, &answer);
    w->refused = status == PBFT_STATUS_REFUSED;
    if (status != PBFT_STATUS_OK) return;
    struct pbft_cluster now;
    if (pbft_client_configuration(client, &now) == PBFT_STATUS_OK) {
        read_word(&now, (struct pbft_span){answer.bytes, answer.size}, w);
        pbft_epoch_free(&now);
    }
    pbft_answer_free(&answer);
}

struct words {
    const struct ctl_snapshot_request *request;
    struct word of[PBFT_REPLICAS_MAX];
};

static void ask_one(void *context, pbft_id id)
{
    struct words *words = context;
    if (words->request->one && words->request->from != id) return;
    ask_word(words->request->client, id, CTL_ASK_MAX_NS, &words->of[id]);
}

static struct words *ask_words(const struct ctl_snapshot_request *request)
{
    struct words *words = calloc(1, sizeof *words);
    if (words == NULL) return NULL;
    words->request = request;
    ctl_ask_all(pbft_client_cluster(request->client)->params.n, ask_one, words);
    return words;
}

static const struct pbft_pages_checkpoint *newest(const struct words *words)
{
    const struct pbft_pages_checkpoint *best = NULL;
    for (pbft_id id = 0; id < PBFT_REPLICAS_MAX; id++) {
        const struct pbft_pages_checkpoint *cp = &words->of[id].checkpoint;
        if (cp->seq > 0 && (best == NULL || cp->seq > best->seq)) best = cp;
    }
    return best;
}

/* ---- a checkpoint behind what was acknowledged ---- */

static bool order_read(struct pbft_client *client)
{
    uint8_t op[64];
    struct pbft_span key = {(const uint8_t *)"snapshot", 8};
    struct pbft_span get = {op, pbft_kv_encode_get(op, sizeof op, key)};
    struct pbft_answer answer;
    enum pbft_status status = pbft_client_call(client, get, 0, &answer);
    pbft_answer_free(&answer);
    return status == PBFT_STATUS_OK;
}

static int descending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* What was acknowledged was executed by f+1 correct replicas. When k of all n do not answer, one of
 * these is among the first f+1-k of those that do, whoever lies; when more are silent, who knows.
 * 0: it cannot be said. */
static uint64_t executed_by_one(const struct words *words, uint32_t n)
{
    uint64_t executed[PBFT_REPLICAS_MAX] = {0};
    uint32_t silent = 0, faults = pbft_quorum_faults(n);
    for (pbft_id id = 0; id < n; id++) {
        executed[id] = words->of[id].executed;
        silent += !words->of[id].answered;
    }
    qsort(executed, n, sizeof executed[0], descending);
    return silent > faults ? 0 : executed[faults - silent];
}

uint64_t ctl_snapshot_fresh(const struct ctl_snapshot_request *request)
{
    const struct pbft_cluster *cluster = pbft_client_cluster(request->client);
    struct ctl_snapshot_request all = *request;
    all.one = false;
    if (strcmp(cluster->service, pbft_kv_service.name) != 0 || !order_read(request->client))
        return 0;
    uint32_t interval = cluster->params.checkpoint_interval;
    uint64_t target = 0, left = 0, deadline = now_ns() + request->patience_ns;
    for (;;) {
        struct words *words = ask_words(&all);
        if (words == NULL) return 0;
        if (target == 0) {
            target = executed_by_one(words, cluster->params.n);
            left = (interval - target % interval) % interval;
        }
        const struct pbft_pages_checkpoint *cp = newest(words);
        bool there = target > 0 && cp != NULL && cp->seq >= target;
        free(words);
        if (there) return target;
        if (target == 0 || now_ns() > deadline) return 0;
        for (left = left == 0 ? 1 : left; left > 0 && now_ns() < deadline; left--)
            if (!order_read(request->client)) return 0;
        pause_for(PAUSE_NS);
    }
}

/* ---- the fetch ---- */

struct fetch {
    const struct ctl_snapshot_request *request;
    const struct pbft_cluster *cluster;
    pthread_mutex_t lock;
    struct pbft_tree *tree;
    struct pbft_install *install; /* of the target */
    struct pbft_install *abandoned[ABANDONED_MAX];
    size_t abandoned_count;
    struct pbft_pages_checkpoint target;
    uint64_t pages, moves;
    uint64_t moved_ns; /* when a page or a newer target came last */
    pbft_signers liars;
    bool done, timed_out, impossible, no_memory;
};

struct worker {
    struct fetch *fetch;
    pbft_id id;
    pthread_t thread;
    bool started;
    unsigned silent;
    struct word word;
};

static bool over(const struct fetch *f)
{
    return f->done || f->timed_out || f->impossible || f->no_memory;
}

/* Locked. Whatever was here of older targets is found by the installation of the new one. */
static bool aim(struct fetch *f, const struct pbft_pages_checkpoint *cp)
{
    const struct pbft_install_limits limits = {UINT64_MAX, UINT64_MAX};
    struct pbft_install *install = NULL;
    if (pbft_install_begin(&install, f->tree, &cp->root, &limits) != PBFT_STATUS_OK) {
        f->no_memory = true;
        return false;
    }
    if (f->install != NULL && f->abandoned_count == ABANDONED_MAX) {
        pbft_install_abort(f->abandoned[0]);
        for (unsigned i = 1; i < ABANDONED_MAX; i++)
            f->abandoned[i - 1] = f->abandoned[i];
        f->abandoned_count--;
    }
    if (f->install != NULL) {
        f->abandoned[f->abandoned_count++] = f->install;
        f->moves++;
    }
    f->install = install;
    f->target = *cp;
    f->moved_ns = now_ns();
    return true;
}

/* Locked. What to ask for next; our own pages are taken on the way. */
static size_t take_wanted(struct fetch *f, struct pbft_digest *out, size_t most)
{
    struct pbft_install_progress p;
    size_t count = 0;
    do {
        count = pbft_install_wanted(f->install, out, most);
        pbft_install_progress(f->install, &p);
    } while (count == 0 && p.pages_pending > 0 && !p.failed);
    if (p.failed) f->impossible = true;
    if (pbft_install_done(f->install)) f->done = true;
    if (now_ns() - f->moved_ns > f->request->patience_ns) f->timed_out = true;
    return over(f) ? 0 : count;
}

enum outcome { IDLE, SERVED, NOTHING_NOW, MISSING, SILENT, LIED };

/* Locked. */
static enum outcome take_pages(struct fetch *f, struct pbft_span body,
                               const struct pbft_digest *asked, size_t count)
{
    size_t at = 0, served = 0, missing = 0;
    struct pbft_span page;
    for (size_t i = 0; i < count && pbft_wire_next_item(body, &at, &page); i++) {
        if (page.size == 0) {
            missing++;
            continue;
        }
        enum pbft_verdict verdict = pbft_install_page(f->install, &asked[i], page);
        if (verdict == PBFT_DROP_DIGEST || verdict == PBFT_DROP_SIZE) return LIED;
        if (verdict == PBFT_DROP_BUSY) f->no_memory = true;
        served++;
        if (verdict != PBFT_OK) continue; /* of an older target, or it has failed for good */
        f->pages++;
        f->moved_ns = now_ns();
    }
    if (at != body.size) return LIED;
    struct pbft_install_progress p;
    pbft_install_progress(f->install, &p);
    if (f->request->progress != NULL)
        f->request->progress(f->request->context, p.pages_have, p.pages_known);
    return served > 0 ? SERVED : missing > 0 ? MISSING : NOTHING_NOW;
}

static enum outcome ask_pages(struct worker *w, const struct pbft_digest *asked, size_t count)
{
    struct fetch *f = w->fetch;
    struct pbft_answer answer = {0};
    struct pbft_span argument = {asked[0].bytes, count * PBFT_DIGEST_BYTES};
    enum pbft_status status =
        ctl_ask(f->request->client, w->id, PBFT_ADMIN_PAGES, argument, CTL_ASK_MAX_NS, &answer);
    (void)pthread_mutex_lock(&f->lock);
    enum outcome outcome = SILENT;
    if (status == PBFT_STATUS_OK)
        outcome = take_pages(f, (struct pbft_span){answer.bytes, answer.size}, asked, count);
    if (outcome == LIED) f->liars |= pbft_signers_of(w->id);
    for (size_t i = 0; i < count; i++) /* those that are here are not awaited any more */
        pbft_install_reoffer(f->install, &asked[i]);
    (void)pthread_mutex_unlock(&f->lock);
    if (status == PBFT_STATUS_OK) pbft_answer_free(&answer);
    return outcome;
}

/* It has let go of the target, or never had it. */
static void look_for_newer(struct worker *w)
{
    struct fetch *f = w->fetch;
    ask_word(f->request->client, w->id, CTL_ASK_MAX_NS, &w->word);
    (void)pthread_mutex_lock(&f->lock);
    bool newer = w->word.answered && w->word.checkpoint.seq > f->target.seq;
    if (w->word.false_certificate) f->liars |= pbft_signers_of(w->id);
    if (newer && !over(f)) (void)aim(f, &w->word.checkpoint);
    (void)pthread_mutex_unlock(&f->lock);
    if (!newer) pause_for(MISSING_NS);
}

static void *work(void *context)
{
    struct worker *w = context;
    struct fetch *f = w->fetch;
    for (;;) {
        struct pbft_digest asked[PBFT_ADMIN_PAGES_MAX];
        (void)pthread_mutex_lock(&f->lock);
        size_t count = over(f) ? 0 : take_wanted(f, asked, PBFT_ADMIN_PAGES_MAX);
        bool ended = over(f);
        (void)pthread_mutex_unlock(&f->lock);
        if (ended) return NULL;
        enum outcome outcome = count == 0 ? IDLE : ask_pages(w, asked, count);
        w->silent = outcome != SILENT ? 0 : w->silent < SILENT_MAX ? w->silent + 1 : SILENT_MAX;
        switch (outcome) {
        case IDLE: pause_for(IDLE_NS); break;
        case SERVED: break;
        case NOTHING_NOW: pause_for(PAUSE_NS); break;
        case MISSING: look_for_newer(w); break;
        case SILENT: pause_for(MISSING_NS << w->silent); break;
        case LIED: return NULL;
        }
        (void)pthread_mutex_lock(&f->lock);
        bool liar = pbft_signers_has(f->liars, w->id);
        (void)pthread_mutex_unlock(&f->lock);
        if (liar) return NULL;
    }
}

/* Several for each replica, so that its answers do not wait for the way of the next question. */
static void run(struct fetch *f)
{
    struct worker *workers = calloc(WORKERS_MAX, sizeof *workers);
    uint32_t n = f->cluster->params.n;
    uint32_t lanes = WORKERS_MAX / (f->request->one ? 1 : n);
    if (workers == NULL) {
        f->no_memory = true;
        return;
    }
    if (lanes > LANES_MAX) lanes = LANES_MAX;
    size_t count = 0, started = 0;
    for (pbft_id id = 0; id < n; id++)
        for (uint32_t lane = 0; lane < lanes; lane++)
            if ((!f->request->one || f->request->from == id) && !pbft_signers_has(f->liars, id))
                workers[count++] = (struct worker){.fetch = f, .id = id};
    for (size_t i = 0; i < count; i++) {
        workers[i].started = pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0;
        started += workers[i].started;
    }
    if (started == 0) f->no_memory = true;
    for (size_t i = 0; i < count; i++)
        if (workers[i].started) (void)pthread_join(workers[i].thread, NULL);
    free(workers);
}

/* ---- all together ---- */

/* The sentence of a replica that refuses; its REFUSED alone says nothing. */
static int refused(struct pbft_client *client, pbft_id id)
{
    struct pbft_answer answer = {0};
    enum pbft_status status =
        pbft_client_admin(client, id, PBFT_ADMIN_CHECKPOINT, (struct pbft_span){NULL, 0},
                          CTL_ASK_MAX_NS, &answer);
    int size = status != PBFT_STATUS_REFUSED ? 0 : answer.size > 120 ? 120 : (int)answer.size;
    int code = ctl_fail(CTL_REFUSED, "replica %u refuses: %.*s.", (unsigned)id, size,
                        answer.bytes == NULL ? "" : (const char *)answer.bytes);
    pbft_answer_free(&answer);
    return code;
}

static int begin(struct fetch *f)
{
    struct words *words = ask_words(f->request);
    if (words == NULL) return ctl_fail(CTL_NO, "out of memory.");
    bool answered = false;
    int refuser = -1;
    for (pbft_id id = 0; id < f->cluster->params.n; id++) {
        answered = answered || words->of[id].answered;
        if (words->of[id].refused) refuser = (int)id;
        if (words->of[id].false_certificate) f->liars |= pbft_signers_of(id);
    }
    const struct pbft_pages_checkpoint *cp = newest(words);
    int code = CTL_OK;
    if (cp == NULL && refuser >= 0)
        code = refused(f->request->client, (pbft_id)refuser);
    else if (!answered)
        code = ctl_nobody(f->request->client);
    else if (cp == NULL)
        code = ctl_fail(CTL_NO, "there is no checkpoint yet: one is made after every %u batches.",
                        (unsigned)f->cluster->params.checkpoint_interval);
    else if (!aim(f, cp))
        code = ctl_fail(CTL_NO, "out of memory.");
    free(words);
    return code;
}

/* From genesis to the epoch whose replicas have signed; the client may be further by now. */
static bool proofs_up_to(const struct fetch *f, struct pbft_backup *b)
{
    struct pbft_cluster now;
    if (pbft_client_configuration(f->request->client, &now) != PBFT_STATUS_OK) return false;
    b->epoch = pbft_get_u32(b->checkpoint.certificate + 4);
    b->proofs_size = b->epoch * pbft_epoch_proof_size(&now);
    b->proofs = now.history; /* the backup's now, pbft_backup_free() */
    return true;
}

static int finish(struct fetch *f, struct ctl_snapshot_fetched *out)
{
    if (f->no_memory) return ctl_fail(CTL_NO, "out of memory.");
    if (f->impossible)
        return ctl_fail(CTL_REFUSED, "the certified root leads to a page that is none.");
    if (!f->done)
        return ctl_fail(CTL_TIMEOUT,
                        "no replica serves the pages that are missing: %llu were fetched.",
                        (unsigned long long)f->pages);
    if (pbft_install_finish(f->install) != PBFT_STATUS_OK) return CTL_NO;
    f->install = NULL;
    out->state = pbft_tree_snapshot(f->tree);
    if (out->state == NULL) return ctl_fail(CTL_NO, "out of memory.");
    out->backup.cluster_id = f->cluster->id;
    out->backup.checkpoint = f->target;
    if (!proofs_up_to(f, &out->backup)) return ctl_fail(CTL_NO, "out of memory.");
    out->pages = f->pages;
    out->moves = f->moves;
    return CTL_OK;
}

int ctl_snapshot_fetch(const struct ctl_snapshot_request *request, struct ctl_snapshot_fetched *out)
{
    memset(out, 0, sizeof *out);
    struct fetch f = {.request = request, .cluster = pbft_client_cluster(request->client)};
    (void)pthread_mutex_init(&f.lock, NULL);
    int code = CTL_OK;
    if (pbft_tree_create(&f.tree, NULL) != PBFT_STATUS_OK)
        code = ctl_fail(CTL_NO, "out of memory.");
    if (code == CTL_OK) code = begin(&f);
    if (code == CTL_OK) {
        run(&f);
        code = finish(&f, out);
    }
    out->liars = f.liars;
    pbft_install_abort(f.install);
    for (size_t i = 0; i < f.abandoned_count; i++)
        pbft_install_abort(f.abandoned[i]);
    if (f.tree != NULL) pbft_tree_destroy(f.tree);
    (void)pthread_mutex_destroy(&f.lock);
    return code;
}
