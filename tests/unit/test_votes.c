/* pbft/votes.h: one vote for each replica, the first one stays. */
#include "pbft/votes.h"

#include <criterion/criterion.h>
#include <string.h>

static uint64_t next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static struct pbft_digest digest(uint8_t which)
{
    struct pbft_digest d;
    memset(d.bytes, which, sizeof d.bytes);
    return d;
}

Test(votes, first_vote_stays)
{
    struct pbft_vote_entry by[4];
    struct pbft_votes v = {.by = by};
    struct pbft_digest a = digest(1), b = digest(2);
    uint8_t signature[PBFT_SIGNATURE_BYTES] = {7};
    cr_assert_eq(pbft_votes_check(&v, 2, &a), PBFT_VOTE_NEW);
    pbft_votes_add(&v, 2, &a, signature);
    cr_assert_eq(pbft_votes_check(&v, 2, &a), PBFT_VOTE_DUPLICATE);
    cr_assert_eq(pbft_votes_check(&v, 2, &b), PBFT_VOTE_CONFLICT);
    cr_assert_eq(pbft_votes_for(&v, &a), pbft_signers_of(2));
    cr_assert_eq(pbft_votes_for(&v, &b), 0u);
    cr_assert_eq(v.by[2].signature.bytes[0], 7u);
    pbft_votes_clear(&v);
    cr_assert_eq(pbft_votes_check(&v, 2, &b), PBFT_VOTE_NEW);
}

Test(votes, the_last_byte_of_a_digest_counts)
{
    struct pbft_vote_entry by[1];
    struct pbft_votes v = {.by = by};
    struct pbft_digest a = digest(1), b = a;
    b.bytes[PBFT_DIGEST_BYTES - 1] ^= 1;
    uint8_t signature[PBFT_SIGNATURE_BYTES] = {0};
    pbft_votes_add(&v, 0, &a, signature);
    cr_assert_eq(pbft_votes_check(&v, 0, &b), PBFT_VOTE_CONFLICT);
}

/* Random votes of 64 replicas over three digests, against arrays. */
Test(votes, like_the_model)
{
    uint64_t random = 20260;
    for (unsigned round = 0; round < 200; round++) {
        struct pbft_vote_entry by[PBFT_REPLICAS_MAX];
        struct pbft_votes v = {.by = by};
        int model[PBFT_REPLICAS_MAX];
        for (unsigned i = 0; i < PBFT_REPLICAS_MAX; i++)
            model[i] = -1;
        for (unsigned i = 0; i < 150; i++) {
            pbft_id id = (pbft_id)(next(&random) % PBFT_REPLICAS_MAX);
            int which = (int)(next(&random) % 3);
            struct pbft_digest d = digest((uint8_t)which);
            enum pbft_vote_check expected = model[id] < 0        ? PBFT_VOTE_NEW
                                            : model[id] == which ? PBFT_VOTE_DUPLICATE
                                                                 : PBFT_VOTE_CONFLICT;
            if (pbft_votes_check(&v, id, &d) != expected) cr_assert_fail("seed 20260");
            if (expected != PBFT_VOTE_NEW) continue;
            uint8_t signature[PBFT_SIGNATURE_BYTES];
            memset(signature, (int)id, sizeof signature);
            pbft_votes_add(&v, id, &d, signature);
            model[id] = which;
        }
        for (int which = 0; which < 3; which++) {
            struct pbft_digest d = digest((uint8_t)which);
            pbft_signers expected = 0;
            for (pbft_id id = 0; id < PBFT_REPLICAS_MAX; id++)
                if (model[id] == which) expected |= pbft_signers_of(id);
            cr_assert_eq(pbft_votes_for(&v, &d), expected);
        }
    }
}

/* The lowest ids, ascending, each with its own signature. */
Test(votes, collect)
{
    struct pbft_vote_entry by[PBFT_REPLICAS_MAX];
    struct pbft_votes v = {.by = by};
    struct pbft_digest d = digest(9);
    static const pbft_id ids[] = {63, 5, 40, 0, 17};
    for (unsigned i = 0; i < 5; i++) {
        uint8_t signature[PBFT_SIGNATURE_BYTES];
        memset(signature, (int)ids[i] + 1, sizeof signature);
        pbft_votes_add(&v, ids[i], &d, signature);
    }
    uint8_t out[3 * PBFT_SIGNATURE_BYTES + 1];
    memset(out, 0xEE, sizeof out);
    pbft_signers from = pbft_votes_for(&v, &d) & ~pbft_signers_of(5);
    pbft_signers taken = pbft_votes_collect(&v, from, 3, out);
    cr_assert_eq(taken, pbft_signers_of(0) | pbft_signers_of(17) | pbft_signers_of(40));
    cr_assert_eq(out[0], 1u);
    cr_assert_eq(out[PBFT_SIGNATURE_BYTES], 18u);
    cr_assert_eq(out[(size_t)2 * PBFT_SIGNATURE_BYTES], 41u);
    cr_assert_eq(out[(size_t)3 * PBFT_SIGNATURE_BYTES], 0xEEu, "nothing beyond the three");
    cr_assert_eq(pbft_votes_collect(&v, pbft_votes_for(&v, &d), 5, (uint8_t[5 * 64]){0}),
                 pbft_votes_for(&v, &d));
}
