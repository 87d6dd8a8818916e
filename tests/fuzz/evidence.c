/*
 * tests/fuzz/evidence.c - evidence files from anywhere (replica/evidence.h): what is accepted was
 * signed twice by the culprit, has one encoding, and is accused by tests/sim/recheck.h too.
 *
 * Input: u8 how, then a file (how = 0), or two frames as (u16 size, bytes), of which an item is
 * made with a culprit and kind that the input names. They are signed by the culprit, or, as other
 * bits say, each by the replica that it names: what another said is no proof, however well signed.
 */
#include "replica/evidence.h"
#include "crypto/door.h"
#include "pbft/quorum.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/strict.h"
#include "tests/sim/recheck.h"
#include "tests/sim/samples.h"

static struct samples *cluster;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    cluster = samples_new(&pbft_signer_fast);
    return 0;
}

static struct pbft_span frame_at(struct pbft_span file, size_t *at)
{
    struct pbft_span frame = {file.data + *at + 4, pbft_get_u32(file.data + *at)};
    *at += 4 + frame.size;
    return frame;
}

/* Whom the frame names as its signer, or n. A HEADER is its view's primary's. */
static pbft_id author_of(struct pbft_span frame)
{
    struct pbft_claim c;
    if (pbft_wire_peek(frame, &c) != PBFT_OK) return SAMPLE_REPLICAS;
    if (c.type == PBFT_HEADER || c.type == PBFT_PRE_PREPARE)
        return pbft_primary(SAMPLE_REPLICAS, c.view);
    return c.sender < SAMPLE_REPLICAS ? c.sender : SAMPLE_REPLICAS;
}

static void check(struct pbft_span file)
{
    struct pbft_evidence e;
    char text[PBFT_EVIDENCE_TEXT_BYTES], why[RECHECK_WHY_BYTES];
    memset(text, 'x', sizeof text);
    enum pbft_verdict verdict =
        pbft_evidence_verify(&cluster->cluster, &pbft_signer_fast, file, &e, text);
    REQUIRE(memchr(text, '\0', sizeof text) != NULL);
    if (verdict != PBFT_OK) return;
    size_t at = 52;
    struct pbft_span first = frame_at(file, &at), second = frame_at(file, &at);
    REQUIRE(at == file.size && e.culprit < SAMPLE_REPLICAS);
    REQUIRE(author_of(first) == e.culprit);
    if (e.kind == PBFT_EVIDENCE_CONFLICT) REQUIRE(author_of(second) == e.culprit);
    if (!left_to_the_core(&cluster->cluster.params, first) &&
        !recheck_evidence(&cluster->cluster, &pbft_signer_fast, e.culprit, first, second, why)) {
        (void)fprintf(stderr, "recheck: %s\n", why);
        FINDING("evidence that recheck refuses");
    }
    uint8_t *again;
    size_t size;
    REQUIRE(pbft_evidence_encode(&cluster->cluster, e.kind, e.culprit, first, second, &again,
                                 &size) == PBFT_STATUS_OK);
    REQUIRE(fuzz_same((struct pbft_span){again, size}, file));
    free(again);
}

/* A frame that the input holds, signed by `signer`; n: by whom it names. */
static uint8_t *signed_frame(struct fuzz *f, pbft_id signer, struct pbft_span *frame)
{
    size_t size = fuzz_number(f, 2);
    *frame = fuzz_bytes(f, size);
    uint8_t *bytes = fuzz_copy(*frame);
    frame->data = bytes;
    struct pbft_msg m;
    _Alignas(16) static uint8_t memory[65536];
    struct pbft_arena arena = {memory, sizeof memory, 0};
    if (signer == SAMPLE_REPLICAS) signer = author_of(*frame);
    if (signer < SAMPLE_REPLICAS &&
        pbft_wire_decode(*frame, &cluster->cluster.params, &arena, &m) == PBFT_OK &&
        pbft_wire_signature_offset(*frame) != 0)
        pbft_frame_sign(&cluster->cluster, &pbft_signer_fast, &cluster->replicas[signer].secret,
                        bytes, frame->size);
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    uint8_t how = fuzz_u8(&f);
    if (how == 0) {
        uint8_t *file = fuzz_copy((struct pbft_span){f.at, f.left});
        check((struct pbft_span){file, f.left});
        free(file);
        return 0;
    }
    pbft_id culprit = (how >> 1) % SAMPLE_REPLICAS;
    struct pbft_span first, second;
    uint8_t *first_bytes = signed_frame(&f, how & 8u ? SAMPLE_REPLICAS : culprit, &first);
    uint8_t *second_bytes = signed_frame(&f, how & 16u ? SAMPLE_REPLICAS : culprit, &second);
    uint8_t *file;
    size_t file_size;
    enum pbft_evidence_kind kind = how & 1 ? PBFT_EVIDENCE_CONFLICT : PBFT_EVIDENCE_CHECKPOINT;
    if (pbft_evidence_encode(&cluster->cluster, kind, culprit, first, second, &file, &file_size) ==
        PBFT_STATUS_OK) {
        check((struct pbft_span){file, file_size});
        free(file);
    }
    free(first_bytes);
    free(second_bytes);
    return 0;
}
