/* The codec under random messages, mutations and noise. */
#include "tests/unit/wire_random.h"

static const uint64_t seed = UINT64_C(0x7072747262667470);

Test(wire_random, random_messages_survive_a_round_trip)
{
    struct bench *b = bench_new(seed);
    for (size_t i = 0; i < TYPES; i++) {
        for (int round = 0; round < 300; round++) {
            b->gen.used = 0;
            struct pbft_msg m = random_message(&b->gen, types[i]);
            struct pbft_span frame = encode(&b->gen, &m);
            enum pbft_verdict verdict = decode_checked(b, frame.data, frame.size);
            cr_assert_eq(verdict, PBFT_OK, "%s, seed %llu, round %d: %s", pbft_type_text(types[i]),
                         (unsigned long long)seed, round, pbft_verdict_text(verdict));
        }
    }
    bench_free(b);
}

/* Any bit flipped, any byte missing, any byte too many: refused, or canonical all the same. */
Test(wire_random, mutated_messages_are_refused_or_canonical)
{
    struct bench *b = bench_new(seed + 1);
    size_t accepted = 0;
    size_t refused = 0;
    for (size_t i = 0; i < TYPES; i++) {
        for (int round = 0; round < 12; round++) {
            b->gen.used = 0;
            struct pbft_msg m = random_message(&b->gen, types[i]);
            struct pbft_span frame = encode(&b->gen, &m);
            uint8_t *copy = calloc(1, frame.size + 4);
            memcpy(copy, frame.data, frame.size);
            for (size_t at = 0; at < frame.size; at++) {
                uint8_t was = copy[at];
                for (unsigned bit = 0; bit < 9; bit++) {
                    copy[at] = (uint8_t)(bit < 8 ? was ^ (1u << bit) : next(&b->gen));
                    bool ok = decode_checked(b, copy, frame.size) == PBFT_OK;
                    accepted += ok;
                    refused += !ok;
                }
                copy[at] = was;
            }
            for (size_t size = 0; size < frame.size; size++)
                (void)decode_checked(b, copy, size);
            for (size_t more = 1; more <= 4; more++)
                (void)decode_checked(b, copy, frame.size + more);
            free(copy);
        }
    }
    /* Both happen, or the test looks at nothing. */
    cr_assert(accepted > 10000 && refused > 10000, "%zu %zu", accepted, refused);
    bench_free(b);
}

/* Types of which no prefix and no extension is a message. */
Test(wire_random, fixed_ends_refuse_truncation_and_trailing_bytes)
{
    struct bench *b = bench_new(seed + 2);
    for (size_t i = 0; i < TYPES; i++) {
        uint8_t type = types[i];
        bool open = type == PBFT_PAGE || type == PBFT_ADMIN || type == PBFT_ADMIN_REPLY ||
                    type == PBFT_QUERY_REPLY || type == PBFT_REPLY;
        if (open) continue;
        b->gen.used = 0;
        struct pbft_msg m = random_message(&b->gen, type);
        struct pbft_span frame = encode(&b->gen, &m);
        uint8_t *copy = calloc(1, frame.size + 200);
        memcpy(copy, frame.data, frame.size);
        for (size_t size = 0; size < frame.size + 200; size++)
            if (size != frame.size)
                cr_assert_neq(decode_checked(b, copy, size), PBFT_OK, "%s of %zu bytes, not %zu",
                              pbft_type_text(type), size, frame.size);
        free(copy);
    }
    bench_free(b);
}

Test(wire_random, random_bytes_do_no_harm)
{
    struct bench *b = bench_new(seed + 3);
    uint8_t noise[600];
    for (int round = 0; round < 60000; round++) {
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (uint8_t)next(&b->gen);
        noise[0] = types[below(&b->gen, TYPES)];
        noise[1] = PBFT_WIRE_VERSION;
        noise[2] = noise[3] = 0;
        if (round % 2) memset(noise + 8, 0, below(&b->gen, 200)); /* small numbers get further */
        (void)decode_checked(b, noise, below(&b->gen, sizeof noise + 1));
    }
    bench_free(b);
}

Test(wire_random, peeking_agrees_with_decoding)
{
    struct bench *b = bench_new(seed + 4);
    for (size_t i = 0; i < TYPES; i++) {
        b->gen.used = 0;
        struct pbft_msg m = random_message(&b->gen, types[i]);
        struct pbft_span frame = encode(&b->gen, &m);
        struct pbft_claim claim;
        cr_assert_eq(pbft_wire_peek(frame, &claim), PBFT_OK);
        struct pbft_claim want = {.type = m.type, .epoch = m.epoch, .sender = PBFT_REPLICAS_MAX};
        switch ((enum pbft_type)m.type) {
        case PBFT_PRE_PREPARE:
        case PBFT_HEADER:
            want.view = m.pre_prepare.view;
            want.seq = m.pre_prepare.seq;
            want.digest = m.pre_prepare.digest;
            break;
        case PBFT_PREPARE:
        case PBFT_COMMIT:
            want.view = m.vote.view;
            want.seq = m.vote.seq;
            want.digest = m.vote.digest;
            want.sender = m.vote.sender;
            break;
        case PBFT_CHECKPOINT:
            want.seq = m.checkpoint.seq;
            want.digest = m.checkpoint.root;
            want.sender = m.checkpoint.sender;
            break;
        case PBFT_VIEW_CHANGE:
            want.view = m.view_change.view;
            want.sender = m.view_change.sender;
            break;
        case PBFT_NEW_VIEW:
            want.view = m.new_view.view;
            want.sender = m.new_view.sender;
            break;
        case PBFT_STATUS_MSG: want.view = m.status.view; break;
        case PBFT_FETCH:
            want.view = m.fetch.view;
            want.seq = m.fetch.seq;
            want.digest = m.fetch.digest;
            break;
        case PBFT_CERTIFICATE:
            want.view = m.certificate.view;
            want.seq = m.certificate.seq;
            want.digest = m.certificate.digest;
            want.signers = m.certificate.signatures.signers;
            break;
        case PBFT_REQUEST:
        case PBFT_BATCH:
        case PBFT_PAGE:
        case PBFT_REPLY:
        case PBFT_QUERY:
        case PBFT_QUERY_REPLY:
        case PBFT_BUSY:
        case PBFT_RESULT_FETCH:
        case PBFT_ADMIN:
        case PBFT_ADMIN_REPLY: break;
        }
        cr_assert_eq(claim.type, want.type);
        cr_assert_eq(claim.epoch, want.epoch);
        cr_assert_eq(claim.view, want.view, "%s", pbft_type_text(m.type));
        cr_assert_eq(claim.seq, want.seq, "%s", pbft_type_text(m.type));
        cr_assert_eq(claim.sender, want.sender, "%s", pbft_type_text(m.type));
        cr_assert(pbft_digest_equal(&claim.digest, &want.digest), "%s", pbft_type_text(m.type));
        cr_assert_eq(claim.signers, want.signers, "%s", pbft_type_text(m.type));
    }
    bench_free(b);
}
