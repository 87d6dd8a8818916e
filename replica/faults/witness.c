/* Statements to a file, for a comparison afterwards; it changes nothing. */
#include "replica/faults/witness.h"

#include "crypto/hash.h"
#include "pbft/quorum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEEN 8192u /* records remembered: a frame goes to every peer, and is sent again */

struct pbft_witness {
    const struct pbft_cluster *cluster;
    pbft_id self;
    pbft_epoch epoch; /* of the frame that is looked at */
    struct pbft_arena arena;
    int file;
    uint8_t seen[SEEN][WITNESS_BYTES];
};

static bool put(struct pbft_witness *w, const uint8_t record[WITNESS_BYTES])
{
    uint8_t *seen = w->seen[pbft_get_u32(record + WITNESS_HASH) % SEEN];
    if (memcmp(seen, record, WITNESS_BYTES) == 0) return false;
    memcpy(seen, record, WITNESS_BYTES);
    ssize_t written = write(w->file, record, WITNESS_BYTES);
    if (written == (ssize_t)WITNESS_BYTES) return true;
    (void)fprintf(stderr, "witness: cannot write: %s\n", written < 0 ? strerror(errno) : "no room");
    abort(); /* a gap in what it saw would prove nothing */
}

static void statement(const struct pbft_witness *w, uint8_t record[WITNESS_BYTES], char direction,
                      uint8_t type, pbft_id sender, pbft_view view, pbft_seq seq,
                      struct pbft_span body)
{
    struct pbft_digest hash;
    pbft_hash(&hash, "witness", &body, 1);
    memset(record, 0, WITNESS_BYTES);
    record[0] = (uint8_t)direction;
    record[1] = type;
    record[2] = (uint8_t)sender;
    pbft_put_u32(record + WITNESS_EPOCH, w->epoch);
    pbft_put_u64(record + WITNESS_VIEW, view);
    pbft_put_u64(record + WITNESS_SEQ, seq);
    memcpy(record + WITNESS_HASH, hash.bytes, WITNESS_BYTES - WITNESS_HASH);
}

/* The PRE-PREPAREs that a NEW-VIEW stands for: each is signed by itself. */
static void quote_new_view(struct pbft_witness *w, const struct pbft_new_view *nv)
{
    uint8_t record[WITNESS_BYTES], body[PBFT_BODY_MAX_BYTES];
    for (uint32_t i = 0; i < nv->count; i++) {
        struct pbft_digest digest;
        memcpy(digest.bytes, nv->entries + (size_t)i * PBFT_NEW_VIEW_ENTRY_BYTES,
               sizeof digest.bytes);
        pbft_seq seq = nv->min_s + 1 + i;
        size_t size = pbft_wire_pre_prepare_body(nv->view, seq, &digest, body);
        statement(w, record, 'q', PBFT_PRE_PREPARE, nv->sender, nv->view, seq,
                  (struct pbft_span){body, size});
        (void)put(w, record);
    }
}

/* The votes of others that a VIEW-CHANGE proves its P with. */
static void quote_view_change(struct pbft_witness *w, const struct pbft_view_change *vc)
{
    uint8_t record[WITNESS_BYTES], body[PBFT_BODY_MAX_BYTES];
    uint32_t n = w->cluster->params.n;
    for (uint32_t i = 0; i < vc->prepared_count; i++) {
        const struct pbft_prepared *p = &vc->prepared[i];
        size_t size = pbft_wire_pre_prepare_body(p->view, p->seq, &p->digest, body);
        statement(w, record, 'q', PBFT_PRE_PREPARE, pbft_primary(n, p->view), p->view, p->seq,
                  (struct pbft_span){body, size});
        (void)put(w, record);
        for (pbft_id id = 0; id < n; id++) {
            if ((p->prepares.signers & pbft_signers_of(id)) == 0) continue;
            size = pbft_wire_vote_body(p->view, p->seq, &p->digest, id, body);
            statement(w, record, 'q', PBFT_PREPARE, id, p->view, p->seq,
                      (struct pbft_span){body, size});
            (void)put(w, record);
        }
    }
}

bool pbft_witness_see(struct pbft_witness *w, bool sent, struct pbft_frame *frame)
{
    struct pbft_msg msg;
    struct pbft_span bytes = pbft_frame_span(frame);
    if (bytes.size < PBFT_WIRE_HEADER_BYTES || bytes.data[0] < PBFT_PRE_PREPARE ||
        bytes.data[0] > PBFT_NEW_VIEW)
        return false;
    w->arena.used = 0;
    if (pbft_wire_decode(bytes, &w->cluster->params, &w->arena, &msg) != PBFT_OK) return false;
    pbft_view view = 0;
    pbft_seq seq = 0;
    pbft_id sender = 0;
    if (msg.type == PBFT_PRE_PREPARE) {
        view = msg.pre_prepare.view;
        seq = msg.pre_prepare.seq;
        sender = pbft_primary(w->cluster->params.n, view);
    } else if (msg.type == PBFT_PREPARE || msg.type == PBFT_COMMIT) {
        view = msg.vote.view;
        seq = msg.vote.seq;
        sender = msg.vote.sender;
    } else if (msg.type == PBFT_CHECKPOINT) {
        seq = msg.checkpoint.seq;
        sender = msg.checkpoint.sender;
    } else {
        view = msg.type == PBFT_NEW_VIEW ? msg.new_view.view : msg.view_change.view;
        sender = msg.type == PBFT_NEW_VIEW ? msg.new_view.sender : msg.view_change.sender;
    }
    w->epoch = msg.epoch;
    uint8_t record[WITNESS_BYTES];
    char direction = sent && sender == w->self ? 's' : 'r';
    statement(w, record, direction, msg.type, sender, view, seq, pbft_wire_signed_body(bytes));
    if (!put(w, record)) return false;
    if (msg.type == PBFT_NEW_VIEW) quote_new_view(w, &msg.new_view);
    if (msg.type == PBFT_VIEW_CHANGE) quote_view_change(w, &msg.view_change);
    return true;
}

struct pbft_witness *pbft_witness_open(const struct pbft_cluster *cluster, pbft_id self,
                                       char error[256])
{
    const char *path = getenv(WITNESS_VARIABLE);
    if (path == NULL || path[0] == '\0') {
        (void)snprintf(error, 256,
                       "strategy 'witness' needs a file's name in " WITNESS_VARIABLE ".");
        return NULL;
    }
    struct pbft_witness *w = calloc(1, sizeof *w);
    size_t bytes = (pbft_wire_arena_bytes(&cluster->params) + 15) & ~(size_t)15;
    if (w != NULL) {
        w->cluster = cluster;
        w->self = self;
        w->arena = (struct pbft_arena){aligned_alloc(16, bytes), bytes, 0};
        w->file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (w->arena.base != NULL && w->file >= 0) return w;
    }
    (void)snprintf(error, 256, "strategy 'witness': %.180s: %s.", path,
                   w == NULL || w->arena.base == NULL ? "out of memory" : strerror(errno));
    pbft_witness_close(w);
    return NULL;
}

void pbft_witness_close(struct pbft_witness *w)
{
    if (w == NULL) return;
    if (w->file >= 0) (void)close(w->file);
    free(w->arena.base);
    free(w);
}
