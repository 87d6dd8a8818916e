/* pbft/new_view.h against a slow and obvious computation of min-s, max-s and O (OSDI'99 4.4). */
#include "pbft/new_view.h"

#include <criterion/criterion.h>
#include <string.h>

#define WINDOW 8u
#define MOST   5u

static uint64_t next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static struct pbft_digest digest(uint64_t which)
{
    struct pbft_digest d = {{0}};
    memcpy(d.bytes, &which, sizeof which);
    return d;
}

struct world {
    struct pbft_view_change_summary vcs[MOST];
    struct pbft_prepared_summary entries[MOST][WINDOW];
    uint32_t count;
};

/* A proposal's digest is a function of (view, seq): no two certificates of one view differ. */
static void draw(struct world *w, uint64_t *random)
{
    w->count = 1 + (uint32_t)(next(random) % MOST);
    for (uint32_t i = 0; i < w->count; i++) {
        struct pbft_view_change_summary *vc = &w->vcs[i];
        vc->stable = next(random) % 4 * 4;
        vc->stable_root = digest(1000 + vc->stable);
        vc->prepared_count = 0;
        vc->prepared = w->entries[i];
        for (pbft_seq seq = vc->stable + 1; seq <= vc->stable + WINDOW; seq++) {
            if (next(random) % 3 != 0) continue;
            pbft_view view = next(random) % 5;
            w->entries[i][vc->prepared_count++] =
                (struct pbft_prepared_summary){seq, view, digest(view * 100 + seq)};
        }
    }
}

static void check(const struct world *w, uint64_t round)
{
    struct pbft_digest null = digest(UINT64_MAX), out[WINDOW];
    struct pbft_new_view_selection s = {.digests = out};
    pbft_new_view_select(w->vcs, w->count, WINDOW, &null, &s);
    pbft_seq min_s = 0, max_s = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        if (w->vcs[i].stable > min_s) min_s = w->vcs[i].stable;
        for (uint32_t k = 0; k < w->vcs[i].prepared_count; k++)
            if (w->entries[i][k].seq > max_s) max_s = w->entries[i][k].seq;
    }
    struct pbft_digest root = digest(1000 + min_s);
    bool right = s.min_s == min_s && s.count == (max_s > min_s ? max_s - min_s : 0) &&
                 pbft_digest_equal(&s.root, &root);
    for (uint32_t o = 0; right && o < s.count; o++) {
        struct pbft_digest expected = null;
        pbft_view best = 0;
        for (uint32_t i = 0; i < w->count; i++)
            for (uint32_t k = 0; k < w->vcs[i].prepared_count; k++) {
                const struct pbft_prepared_summary *e = &w->entries[i][k];
                if (e->seq != min_s + 1 + o || e->view < best) continue;
                best = e->view;
                expected = e->digest;
            }
        right = pbft_digest_equal(&expected, &out[o]);
    }
    if (!right) cr_assert_fail("seed 4711, round %llu", (unsigned long long)round);
}

Test(new_view, like_the_model)
{
    uint64_t random = 4711;
    static struct world w;
    for (uint64_t round = 0; round < 20000; round++) {
        draw(&w, &random);
        check(&w, round);
    }
}

/* Who comes first does not matter. */
Test(new_view, order_does_not_matter)
{
    uint64_t random = 99;
    static struct world w;
    for (unsigned round = 0; round < 2000; round++) {
        draw(&w, &random);
        struct pbft_digest null = digest(UINT64_MAX), a[WINDOW] = {{{0}}}, b[WINDOW] = {{{0}}};
        struct pbft_new_view_selection forth = {.digests = a}, back = {.digests = b};
        pbft_new_view_select(w.vcs, w.count, WINDOW, &null, &forth);
        for (uint32_t i = 0; i < w.count / 2; i++) {
            struct pbft_view_change_summary swap = w.vcs[i];
            w.vcs[i] = w.vcs[w.count - 1 - i];
            w.vcs[w.count - 1 - i] = swap;
        }
        pbft_new_view_select(w.vcs, w.count, WINDOW, &null, &back);
        cr_assert(forth.min_s == back.min_s && forth.count == back.count, "seed 99, round %u",
                  round);
        cr_assert(memcmp(a, b, forth.count * sizeof a[0]) == 0, "seed 99, round %u", round);
    }
}

/* The ends of the arithmetic: a full window, and low marks near the top of the range. */
Test(new_view, full_window_and_large_numbers)
{
    struct pbft_prepared_summary entries[WINDOW];
    pbft_seq base = UINT64_MAX - (pbft_seq)4 * WINDOW;
    for (uint32_t i = 0; i < WINDOW; i++)
        entries[i] = (struct pbft_prepared_summary){base + 1 + i, UINT64_MAX - i, digest(i)};
    struct pbft_view_change_summary vcs[] = {{base, digest(7), WINDOW, entries},
                                             {0, digest(0), 0, NULL}};
    struct pbft_digest null = digest(UINT64_MAX), out[WINDOW];
    struct pbft_new_view_selection s = {.digests = out};
    pbft_new_view_select(vcs, 2, WINDOW, &null, &s);
    cr_assert(s.min_s == base && s.count == WINDOW);
    for (uint32_t i = 0; i < WINDOW; i++) {
        struct pbft_digest expected = digest(i);
        cr_assert(pbft_digest_equal(&out[i], &expected));
    }
}
