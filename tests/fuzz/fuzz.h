/**
 * tests/fuzz/fuzz.h - what every fuzz target shares: an input that is read piece by piece, and a
 * check that ends the process, which libFuzzer records as a finding.
 *
 * A target is one C file with LLVMFuzzerTestOneInput(). It must be deterministic (equal input,
 * equal run) and leave nothing behind. mk/fuzz.mk builds and runs them; corpora are committed below
 * tests/fuzz/corpus, one folder a target.
 */
#ifndef PBFT_TESTS_FUZZ_H
#define PBFT_TESTS_FUZZ_H

#include "pbft/types.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Not PBFT_ASSERT: a finding of the target, not of the code under test. */
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "FINDING %s:%d: %s\n", __FILE__, __LINE__, #condition);          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* What must not be reached. */
#define FINDING(what)                                                                              \
    do {                                                                                           \
        (void)fprintf(stderr, "FINDING %s:%d: %s\n", __FILE__, __LINE__, (what));                  \
        abort();                                                                                   \
    } while (0)

/* The input as a stream of choices. Past its end everything is 0. */
struct fuzz {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t fuzz_u8(struct fuzz *f)
{
    if (f->left == 0) return 0;
    f->left--;
    return *f->at++;
}

static inline uint64_t fuzz_number(struct fuzz *f, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)fuzz_u8(f) << (8 * i);
    return value;
}

/* Up to `size` bytes, fewer at the end. Points into the input. */
static inline struct pbft_span fuzz_bytes(struct fuzz *f, size_t size)
{
    if (size > f->left) size = f->left;
    struct pbft_span span = {f->at, size};
    f->at += size;
    f->left -= size;
    return span;
}

/* A copy of exactly its size, so that ASan sees one byte too many. Never NULL. */
static inline uint8_t *fuzz_copy(struct pbft_span span)
{
    uint8_t *copy = malloc(span.size == 0 ? 1 : span.size);
    REQUIRE(copy != NULL);
    if (span.size > 0) memcpy(copy, span.data, span.size);
    return copy;
}

static inline bool fuzz_same(struct pbft_span a, struct pbft_span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

#endif
