/* Snapshot files: the root's certificate and the pages below it, parents first. */
#include "replica/backup.h"

#include "crypto/door.h"
#include "crypto/hash.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC       "PBFTSNAP"
#define MAGIC_BYTES 8u
#define VERSION     2u
#define DOMAIN_FILE "pbft-snapshot"

bool pbft_backup_certified(const struct pbft_cluster *cluster, const struct pbft_signer *signer,
                           struct pbft_span frame, pbft_seq *seq, struct pbft_digest *root)
{
    struct pbft_door_config config = {.cluster = cluster, .signer = signer, .cache_entries = 1};
    struct pbft_door *door = pbft_door_new(&config);
    if (door == NULL) return false;
    /* Whoever brought it: what counts is the signatures. */
    struct pbft_peer from = {.kind = PBFT_PEER_REPLICA, .index = 0};
    struct pbft_msg msg;
    bool ok = pbft_door_open(door, &from, frame, &msg) == PBFT_OK && msg.type == PBFT_CERTIFICATE &&
              msg.certificate.kind == PBFT_CERT_CHECKPOINT;
    if (ok) {
        *seq = msg.certificate.seq;
        *root = msg.certificate.digest;
    }
    pbft_door_free(door);
    return ok;
}

/* ---- writing ---- */

struct writer {
    FILE *file;
    struct pbft_hasher hasher;
    struct pbft_snapshot *snapshot;
    uint8_t *scratch; /* one page */
    struct pbft_digest *stack;
    size_t depth, capacity;
    pbft_backup_progress progress;
    void *context;
};

static enum pbft_status put(struct writer *w, const uint8_t *bytes, size_t size)
{
    if (size == 0) return PBFT_STATUS_OK;
    pbft_hasher_add(&w->hasher, (struct pbft_span){bytes, size});
    return fwrite(bytes, 1, size, w->file) == size ? PBFT_STATUS_OK : PBFT_STATUS_IO;
}

static enum pbft_status push(struct writer *w, const struct pbft_digest *digest)
{
    if (w->depth == w->capacity) {
        size_t capacity = w->capacity == 0 ? 256 : 2 * w->capacity;
        struct pbft_digest *grown = realloc(w->stack, capacity * sizeof *grown);
        if (grown == NULL) return PBFT_STATUS_MEMORY;
        w->stack = grown;
        w->capacity = capacity;
    }
    w->stack[w->depth++] = *digest;
    return PBFT_STATUS_OK;
}

/* The page of the digest on top, which its children take the place of. */
static enum pbft_status put_page(struct writer *w)
{
    struct pbft_digest digest = w->stack[--w->depth];
    size_t size = 0;
    enum pbft_status status =
        pbft_snapshot_page(w->snapshot, &digest, w->scratch, PBFT_PAGE_BYTES_MAX, &size);
    PBFT_ASSERT(status == PBFT_STATUS_OK); /* the snapshot reaches it, and is hashed */
    uint8_t length[4];
    pbft_put_u32(length, (uint32_t)size);
    status = put(w, length, sizeof length);
    if (status == PBFT_STATUS_OK) status = put(w, w->scratch, size);
    struct pbft_span page = {w->scratch, size};
    size_t first = w->depth;
    for (uint32_t i = 0; status == PBFT_STATUS_OK && pbft_page_child_digest(page, i, &digest); i++)
        status = push(w, &digest);
    for (size_t last = w->depth; first + 1 < last; first++) { /* child 0 on top */
        struct pbft_digest swap = w->stack[first];
        w->stack[first] = w->stack[--last];
        w->stack[last] = swap;
    }
    return status;
}

static enum pbft_status count_page(void *context, const struct pbft_digest *digest,
                                   struct pbft_span page)
{
    (void)digest;
    struct pbft_backup *backup = context;
    backup->pages++;
    backup->page_bytes += page.size;
    return PBFT_STATUS_OK;
}

static enum pbft_status put_head(struct writer *w, const struct pbft_backup *b)
{
    uint8_t head[PBFT_BACKUP_HEAD_BYTES], count[4], pages[8];
    memcpy(head, MAGIC, MAGIC_BYTES);
    pbft_put_u32(head + 8, VERSION);
    memcpy(head + 12, b->cluster_id.bytes, PBFT_DIGEST_BYTES);
    pbft_put_u32(head + 44, b->epoch);
    pbft_put_u64(head + 48, b->checkpoint.seq);
    memcpy(head + 56, b->checkpoint.root.bytes, PBFT_DIGEST_BYTES);
    pbft_put_u32(head + 88, b->checkpoint.certificate_size);
    pbft_put_u32(count, b->epoch);
    pbft_put_u64(pages, b->pages);
    enum pbft_status status = put(w, head, sizeof head);
    if (status == PBFT_STATUS_OK)
        status = put(w, b->checkpoint.certificate, b->checkpoint.certificate_size);
    if (status == PBFT_STATUS_OK) status = put(w, count, sizeof count);
    if (status == PBFT_STATUS_OK) status = put(w, b->proofs, b->proofs_size);
    return status == PBFT_STATUS_OK ? put(w, pages, sizeof pages) : status;
}

enum pbft_status pbft_backup_write(FILE *file, struct pbft_backup *backup,
                                   struct pbft_snapshot *snapshot, pbft_backup_progress progress,
                                   void *context)
{
    struct pbft_digest root;
    pbft_snapshot_root(snapshot, &root);
    if (!pbft_digest_equal(&root, &backup->checkpoint.root) ||
        backup->checkpoint.certificate_size > PBFT_PAGES_CERTIFICATE_MAX ||
        (backup->epoch == 0) != (backup->proofs_size == 0))
        return PBFT_STATUS_ARGUMENT;
    backup->pages = backup->page_bytes = 0;
    enum pbft_status status = pbft_snapshot_walk(snapshot, NULL, count_page, backup);
    if (status != PBFT_STATUS_OK) return status;
    struct writer w = {.file = file,
                       .snapshot = snapshot,
                       .scratch = malloc(PBFT_PAGE_BYTES_MAX),
                       .progress = progress,
                       .context = context};
    pbft_hasher_begin(&w.hasher, DOMAIN_FILE);
    status = w.scratch == NULL ? PBFT_STATUS_MEMORY : push(&w, &root);
    if (status == PBFT_STATUS_OK) status = put_head(&w, backup);
    for (uint64_t pages = 0; status == PBFT_STATUS_OK && w.depth > 0;) {
        status = put_page(&w);
        if (progress != NULL && status == PBFT_STATUS_OK) progress(context, ++pages, backup->pages);
    }
    struct pbft_digest closing;
    pbft_hasher_end(&w.hasher, &closing);
    if (status == PBFT_STATUS_OK &&
        fwrite(closing.bytes, 1, sizeof closing.bytes, file) != sizeof closing.bytes)
        status = PBFT_STATUS_IO;
    free(w.scratch);
    free(w.stack);
    return status;
}

void pbft_backup_free(struct pbft_backup *backup)
{
    free(backup->proofs);
    backup->proofs = NULL;
    backup->proofs_size = 0;
}

/* ---- reading ---- */

struct reader {
    FILE *file;
    struct pbft_cluster cluster; /* genesis, then what the proofs lead to */
    const struct pbft_signer *signer;
    struct pbft_hasher hasher;
    struct pbft_backup *backup;
    uint8_t *scratch; /* one page */
    pbft_backup_progress progress;
    void *context;
    char *error;
};

__attribute__((format(printf, 2, 3))) static enum pbft_status refuse(struct reader *r,
                                                                     const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(r->error, 256, format, arguments);
    va_end(arguments);
    return PBFT_STATUS_CORRUPT;
}

static enum pbft_status take(struct reader *r, uint8_t *out, size_t size)
{
    if (fread(out, 1, size, r->file) != size) {
        if (ferror(r->file) == 0) return refuse(r, "it ends before its end: it was cut");
        (void)snprintf(r->error, 256, "it cannot be read");
        return PBFT_STATUS_IO;
    }
    pbft_hasher_add(&r->hasher, (struct pbft_span){out, size});
    return PBFT_STATUS_OK;
}

static enum pbft_status take_head(struct reader *r)
{
    uint8_t head[PBFT_BACKUP_HEAD_BYTES];
    struct pbft_backup *b = r->backup;
    enum pbft_status status = take(r, head, sizeof head);
    if (status != PBFT_STATUS_OK) return status;
    if (memcmp(head, MAGIC, MAGIC_BYTES) != 0) return refuse(r, "it is no snapshot");
    if (pbft_get_u32(head + 8) != VERSION)
        return refuse(r, "it has format version %u, and this program reads version %u",
                      (unsigned)pbft_get_u32(head + 8), VERSION);
    memcpy(b->cluster_id.bytes, head + 12, PBFT_DIGEST_BYTES);
    b->epoch = pbft_get_u32(head + 44);
    b->checkpoint.seq = pbft_get_u64(head + 48);
    memcpy(b->checkpoint.root.bytes, head + 56, PBFT_DIGEST_BYTES);
    b->checkpoint.certificate_size = pbft_get_u32(head + 88);
    if (!pbft_digest_equal(&b->cluster_id, &r->cluster.id))
        return refuse(r, "it is of another cluster");
    if (b->checkpoint.certificate_size > PBFT_PAGES_CERTIFICATE_MAX)
        return refuse(r, "its certificate is too long");
    return PBFT_STATUS_OK;
}

/* One epoch further. */
static enum pbft_status take_proof(struct reader *r, uint32_t number)
{
    uint8_t bytes[PBFT_EPOCH_PROOF_MAX];
    struct pbft_cluster next;
    size_t size = pbft_epoch_proof_size(&r->cluster);
    enum pbft_status status = take(r, bytes, size);
    if (status != PBFT_STATUS_OK) return status;
    enum pbft_verdict verdict =
        pbft_epoch_next(&r->cluster, r->signer, (struct pbft_span){bytes, size}, &next);
    if (verdict == PBFT_DROP_BUSY) return PBFT_STATUS_MEMORY;
    if (verdict != PBFT_OK)
        return refuse(r, "its proof of epoch %u is none: %s", (unsigned)number,
                      pbft_verdict_text(verdict));
    pbft_epoch_free(&r->cluster);
    r->cluster = next;
    return PBFT_STATUS_OK;
}

/* How the cluster came to the epoch whose replicas have signed. */
static enum pbft_status take_proofs(struct reader *r)
{
    uint8_t count[4];
    struct pbft_backup *b = r->backup;
    enum pbft_status status = take(r, count, sizeof count);
    if (status != PBFT_STATUS_OK) return status;
    if (pbft_get_u32(count) != b->epoch) return refuse(r, "it has not one proof for each epoch");
    for (uint32_t i = 1; status == PBFT_STATUS_OK && i <= b->epoch; i++)
        status = take_proof(r, i);
    if (status != PBFT_STATUS_OK) return status;
    memcpy(b->replicas, r->cluster.replicas, sizeof b->replicas);
    b->proofs_size = b->epoch * pbft_epoch_proof_size(&r->cluster);
    b->proofs = r->cluster.history; /* the caller's now */
    r->cluster.history = NULL;
    return PBFT_STATUS_OK;
}

static enum pbft_status take_certificate(struct reader *r)
{
    struct pbft_pages_checkpoint *cp = &r->backup->checkpoint;
    enum pbft_status status = take(r, cp->certificate, cp->certificate_size);
    if (status == PBFT_STATUS_OK) status = take_proofs(r);
    if (status != PBFT_STATUS_OK) return status;
    pbft_seq seq;
    struct pbft_digest root;
    if (!pbft_backup_certified(&r->cluster, r->signer,
                               (struct pbft_span){cp->certificate, cp->certificate_size}, &seq,
                               &root))
        return refuse(r, "its certificate is not signed by a quorum of this cluster");
    if (seq != cp->seq || !pbft_digest_equal(&root, &cp->root))
        return refuse(r, "its certificate is of another checkpoint than it says");
    uint8_t pages[8];
    status = take(r, pages, sizeof pages);
    r->backup->pages = pbft_get_u64(pages);
    return status;
}

static enum pbft_status take_page(struct reader *r, struct pbft_install *install, uint64_t number)
{
    uint8_t length[4];
    struct pbft_digest wanted;
    /* The installation hands digests out depth first, child 0 first: one order of pages. */
    if (pbft_install_wanted(install, &wanted, 1) != 1)
        return refuse(r, "page %llu is one too many", (unsigned long long)number);
    enum pbft_status status = take(r, length, sizeof length);
    if (status != PBFT_STATUS_OK) return status;
    size_t size = pbft_get_u32(length);
    if (size > PBFT_PAGE_BYTES_MAX)
        return refuse(r, "page %llu is too long", (unsigned long long)number);
    status = take(r, r->scratch, size);
    if (status != PBFT_STATUS_OK) return status;
    switch ((int)pbft_install_page(install, &wanted, (struct pbft_span){r->scratch, size})) {
    case PBFT_OK: break;
    case PBFT_DROP_BUSY: return PBFT_STATUS_MEMORY;
    case PBFT_DROP_DIGEST:
        return refuse(r, "page %llu has not the hash that leads to it: it was altered",
                      (unsigned long long)number);
    default: return refuse(r, "page %llu is no page of a state", (unsigned long long)number);
    }
    r->backup->page_bytes += size;
    return PBFT_STATUS_OK;
}

static enum pbft_status take_pages(struct reader *r, struct pbft_install *install)
{
    for (uint64_t i = 0; i < r->backup->pages; i++) {
        enum pbft_status status = take_page(r, install, i);
        if (status != PBFT_STATUS_OK) return status;
        if (r->progress != NULL) r->progress(r->context, i + 1, r->backup->pages);
    }
    if (!pbft_install_done(install)) return refuse(r, "pages are missing");
    return PBFT_STATUS_OK;
}

static enum pbft_status take_end(struct reader *r)
{
    struct pbft_digest computed;
    pbft_hasher_end(&r->hasher, &computed);
    uint8_t closing[PBFT_DIGEST_BYTES];
    pbft_hasher_begin(&r->hasher, DOMAIN_FILE); /* take() adds, and nobody asks any more */
    enum pbft_status status = take(r, closing, sizeof closing);
    if (status != PBFT_STATUS_OK) return status;
    if (memcmp(closing, computed.bytes, sizeof closing) != 0)
        return refuse(r, "its closing checksum does not match: it was altered");
    if (fgetc(r->file) != EOF) return refuse(r, "there is something behind its end");
    return PBFT_STATUS_OK;
}

static enum pbft_status take_state(struct reader *r, struct pbft_tree *tree)
{
    const struct pbft_install_limits limits = {UINT64_MAX, UINT64_MAX}; /* as q have signed it */
    struct pbft_install *install = NULL;
    enum pbft_status status =
        pbft_install_begin(&install, tree, &r->backup->checkpoint.root, &limits);
    if (status != PBFT_STATUS_OK) return status;
    status = take_pages(r, install);
    if (status == PBFT_STATUS_OK) status = take_end(r);
    if (status == PBFT_STATUS_OK) return pbft_install_finish(install);
    pbft_install_abort(install);
    return status;
}

enum pbft_status pbft_backup_read(FILE *file, const struct pbft_cluster *cluster,
                                  const struct pbft_signer *signer, struct pbft_backup *backup,
                                  struct pbft_snapshot **snapshot, pbft_backup_progress progress,
                                  void *context, char error[256])
{
    memset(backup, 0, sizeof *backup);
    error[0] = '\0';
    struct reader r = {.file = file,
                       .signer = signer,
                       .backup = backup,
                       .scratch = malloc(PBFT_PAGE_BYTES_MAX),
                       .progress = progress,
                       .context = context,
                       .error = error};
    struct pbft_tree *tree = NULL;
    struct pbft_snapshot *state = NULL;
    r.cluster = *cluster;
    r.cluster.history = NULL; /* genesis has none */
    pbft_hasher_begin(&r.hasher, DOMAIN_FILE);
    enum pbft_status status =
        r.scratch == NULL ? PBFT_STATUS_MEMORY : pbft_tree_create(&tree, NULL);
    if (status == PBFT_STATUS_OK) status = take_head(&r);
    if (status == PBFT_STATUS_OK) status = take_certificate(&r);
    if (status == PBFT_STATUS_OK) status = take_state(&r, tree);
    if (status == PBFT_STATUS_OK && (state = pbft_tree_snapshot(tree)) == NULL)
        status = PBFT_STATUS_MEMORY;
    if (status == PBFT_STATUS_MEMORY) (void)snprintf(error, 256, "out of memory");
    if (tree != NULL) pbft_tree_destroy(tree);
    free(r.scratch);
    pbft_epoch_free(&r.cluster);
    if (status != PBFT_STATUS_OK) pbft_backup_free(backup);
    if (snapshot != NULL)
        *snapshot = state;
    else
        pbft_snapshot_release(state);
    return status;
}
