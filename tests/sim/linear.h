/**
 * tests/sim/linear.h - is a history of a key-value store linearizable (FAULTS 3.16)?
 *
 * After Wing and Gong (1993) with Lowe's memoisation (2017): search for an order of the operations
 * that keeps real time and that a store executed one after the other would answer the same way. It
 * knows nothing of the engine, of sequence numbers or of the fixture's oracle: only what clients
 * saw. Keys are independent, so each is checked alone, unless one operation touches several: then
 * those keys are one object.
 */
#ifndef PBFT_TESTS_SIM_LINEAR_H
#define PBFT_TESTS_SIM_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINEAR_PENDING  UINT64_MAX /* return_ns of an operation that was never answered */
#define LINEAR_ABSENT   0u         /* value: no such key */
#define LINEAR_KEYS_MAX 64u

enum linear_kind {
    LINEAR_PUT,    /* key := value */
    LINEAR_GET,    /* found value, or ABSENT */
    LINEAR_DELETE, /* ok: it was there */
    LINEAR_CAS,    /* ok: it was `expect` (ABSENT: not there) and is `value` now */
    LINEAR_RANGE,  /* keys [key, key + count): values[i] found, or ABSENT */
};

/* One operation, or one of those of a bundle. Those of a bundle take effect one after the other in
 * order with nothing of others between them only where `bundle` says so: equal non-zero numbers. */
struct linear_op {
    enum linear_kind kind;
    uint32_t client;
    uint64_t call_ns, return_ns; /* PENDING: it happened once at any time after call_ns, or never */
    uint64_t bundle;             /* 0: alone; else operations of one request, in order */
    uint32_t key;                /* 0 .. LINEAR_KEYS_MAX - 1 */
    uint32_t count;              /* RANGE: how many keys */
    uint64_t value, expect;      /* values are numbers; equal numbers are equal values */
    bool ok;                     /* DELETE, CAS: what was answered */
    const uint64_t *values;      /* RANGE */
};

enum linear_verdict { LINEAR_YES, LINEAR_NO, LINEAR_GAVE_UP };

/**
 * ops      in any order; those of a bundle next to each other, in order. Where several could be
 * next the first of them in this list is tried first: whoever guesses the order lists them so, and
 * a right guess needs no search. The verdict does not depend on it budget   steps of the search
 * over all objects; GAVE_UP beyond it (a failure for the caller) failure  takes one sentence when
 * the verdict is not YES: which key, and the operation that no order could place
 */
enum linear_verdict linear_check(const struct linear_op *ops, size_t count, uint64_t budget,
                                 char failure[256]);

#endif
