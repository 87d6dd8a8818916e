/* Structure of certificates: quorum, roles, windows (PROTOCOL 17, 18; FAULTS 4.2, 4.8, 4.10, 4.11).
 */
#include <criterion/criterion.h>
#include <string.h>

#include "pbft/certificate.h"
#include "pbft/quorum.h"

static struct pbft_params params(uint32_t n)
{
    struct pbft_params p = pbft_params_default(n);
    p.window = 16;
    p.checkpoint_interval = 8;
    return p;
}

/* The `count` lowest replicas without `skip`. */
static pbft_signers some(uint32_t count, pbft_id skip)
{
    pbft_signers set = 0;
    for (pbft_id i = 0; count > 0; i++) {
        if (i == skip) continue;
        set |= pbft_signers_of(i);
        count--;
    }
    return set;
}

Test(certificate, needs_exactly_q_replicas)
{
    for (uint32_t n = PBFT_REPLICAS_MIN; n <= PBFT_REPLICAS_MAX; n++) {
        struct pbft_params p = params(n);
        uint32_t q = pbft_quorum(n);
        struct pbft_certificate c = {.kind = PBFT_CERT_COMMIT, .seq = 5, .view = 3};
        for (uint32_t count = 0; count <= n; count++) {
            c.signatures.signers = some(count, UINT32_MAX);
            cr_assert_eq(pbft_certificate_check(&p, &c) == PBFT_OK, count == q, "n = %u: %u", n,
                         count);
        }
        c.signatures.signers = some(q - 1, UINT32_MAX) | (n < 64 ? pbft_signers_of(n) : 0);
        cr_assert_neq(pbft_certificate_check(&p, &c), PBFT_OK, "n = %u: replica n", n);
    }
}

Test(certificate, kinds_have_their_fields)
{
    struct pbft_params p = params(4);
    struct pbft_certificate c = {.kind = PBFT_CERT_CHECKPOINT, .seq = 8};
    c.signatures.signers = 7;
    cr_assert_eq(pbft_certificate_check(&p, &c), PBFT_OK);
    c.seq = 9;
    cr_assert_eq(pbft_certificate_check(&p, &c), PBFT_DROP_CERTIFICATE, "no checkpoint is there");
    c.seq = 0;
    cr_assert_eq(pbft_certificate_check(&p, &c), PBFT_DROP_CERTIFICATE, "genesis has none");
    c.seq = UINT64_MAX - 7;
    cr_assert_eq(pbft_certificate_check(&p, &c), PBFT_DROP_CERTIFICATE, "h+L would overflow");
    c.seq = 8;
    c.view = 1;
    cr_assert_eq(pbft_certificate_check(&p, &c), PBFT_DROP_CERTIFICATE);
    c.view = 0;
    c.has_proposal = true;
    cr_assert_eq(pbft_certificate_check(&p, &c), PBFT_DROP_CERTIFICATE);
    c.kind = PBFT_CERT_COMMIT;
    c.seq = 9;
    cr_assert_eq(pbft_certificate_check(&p, &c), PBFT_OK);
    c.seq = 0;
    cr_assert_eq(pbft_certificate_check(&p, &c), PBFT_DROP_CERTIFICATE);
    c.seq = 9;
    c.kind = 3;
    cr_assert_eq(pbft_certificate_check(&p, &c), PBFT_DROP_CERTIFICATE);
}

/* FAULTS 4.2: q-1 backups; the primary's PREPARE does not count. */
Test(certificate, prepared_is_q_minus_1_backups)
{
    for (uint32_t n = PBFT_REPLICAS_MIN; n <= 16; n++) {
        struct pbft_params p = params(n);
        uint32_t q = pbft_quorum(n);
        for (pbft_view view = 0; view < n; view++) {
            pbft_id primary = pbft_primary(n, view);
            struct pbft_prepared e = {.seq = 1, .view = view};
            e.prepares.signers = some(q - 1, primary);
            cr_assert_eq(pbft_prepared_check(&p, &e, view + 1), PBFT_OK);
            cr_assert_eq(pbft_prepared_check(&p, &e, view), PBFT_DROP_VIEW);
            e.prepares.signers = some(q - 2, primary) | pbft_signers_of(primary);
            cr_assert_eq(pbft_prepared_check(&p, &e, view + 1), PBFT_DROP_ROLE);
            e.prepares.signers = some(q - 2, primary);
            cr_assert_eq(pbft_prepared_check(&p, &e, view + 1), PBFT_DROP_CERTIFICATE);
            e.prepares.signers = some(q < n ? q : n - 1, primary);
            bool exact = pbft_signers_count(e.prepares.signers) == q - 1;
            cr_assert_eq(pbft_prepared_check(&p, &e, view + 1) == PBFT_OK, exact);
            e.prepares.signers = some(q - 2, primary) | pbft_signers_of(n);
            cr_assert_eq(pbft_prepared_check(&p, &e, view + 1), PBFT_DROP_SENDER);
            e.prepares.signers = some(q - 1, primary);
            e.seq = 0;
            cr_assert_eq(pbft_prepared_check(&p, &e, view + 1), PBFT_DROP_CERTIFICATE);
        }
    }
}

struct view_change {
    struct pbft_params p;
    pbft_seq genesis_seq;
    struct pbft_digest genesis;
    struct pbft_prepared entries[17];
    struct pbft_view_change vc;
};

static void fill(struct view_change *f, pbft_seq stable)
{
    memset(f, 0, sizeof *f);
    f->p = params(4);
    memset(f->genesis.bytes, 9, 32);
    f->vc = (struct pbft_view_change){.view = 3, .sender = 1, .stable = stable};
    if (stable == 0)
        f->vc.stable_root = f->genesis;
    else
        f->vc.stable_proof.signers = 7;
    f->vc.prepared = f->entries;
    f->vc.prepared_count = 3;
    for (uint32_t i = 0; i < 17; i++) {
        f->entries[i] = (struct pbft_prepared){.seq = stable + 1 + i, .view = i % 3};
        f->entries[i].prepares.signers = some(2, i % 3);
    }
}

static enum pbft_verdict check(const struct view_change *f)
{
    return pbft_view_change_check(&f->p, f->genesis_seq, &f->genesis, &f->vc);
}

/* FAULTS 4.10: only genesis needs no proof, and only with its own root. */
Test(certificate, view_change_proves_its_low_mark)
{
    struct view_change f;
    fill(&f, 0);
    cr_assert_eq(check(&f), PBFT_OK);
    f.vc.stable_root.bytes[0] ^= 1;
    cr_assert_eq(check(&f), PBFT_DROP_CERTIFICATE, "another root");
    fill(&f, 0);
    f.vc.stable_proof.signers = 7;
    cr_assert_eq(check(&f), PBFT_DROP_CERTIFICATE, "a proof of what needs none");

    fill(&f, 8);
    cr_assert_eq(check(&f), PBFT_OK);
    f.vc.stable_proof.signers = 0;
    cr_assert_eq(check(&f), PBFT_DROP_CERTIFICATE, "no proof at n = K");
    f.vc.stable_root = f.genesis;
    cr_assert_eq(check(&f), PBFT_DROP_CERTIFICATE);
    f.vc.stable_proof.signers = 3;
    cr_assert_eq(check(&f), PBFT_DROP_CERTIFICATE, "f+1 do not suffice (FAULTS 4.21)");
    f.vc.stable_proof.signers = 15;
    cr_assert_eq(check(&f), PBFT_DROP_CERTIFICATE, "more than q: not canonical");
    f.vc.stable_proof.signers = 0x13;
    cr_assert_eq(check(&f), PBFT_DROP_SENDER);
    fill(&f, 9);
    cr_assert_eq(check(&f), PBFT_DROP_CERTIFICATE, "no checkpoint is there");

    /* A restored cluster: genesis is later, and nothing is before it. */
    fill(&f, 64);
    f.genesis_seq = 64;
    cr_assert_eq(check(&f), PBFT_DROP_CERTIFICATE, "a proof of what needs none");
    f.vc.stable_proof.signers = 0;
    cr_assert_eq(check(&f), PBFT_DROP_CERTIFICATE, "another root");
    f.vc.stable_root = f.genesis;
    cr_assert_eq(check(&f), PBFT_OK);
    fill(&f, 56);
    f.genesis_seq = 64;
    cr_assert_eq(check(&f), PBFT_DROP_CERTIFICATE, "before genesis, with a proof");
    fill(&f, 0);
    f.genesis_seq = 64;
    cr_assert_eq(check(&f), PBFT_DROP_CERTIFICATE, "the genesis of another history");
    fill(&f, 72);
    f.genesis_seq = 64;
    cr_assert_eq(check(&f), PBFT_OK);
    f.vc.stable_proof.signers = 0;
    f.vc.stable_root = f.genesis;
    cr_assert_eq(check(&f), PBFT_DROP_CERTIFICATE, "no proof after genesis");

    fill(&f, UINT64_MAX - 7);
    f.vc.prepared_count = 0;
    cr_assert_eq(check(&f), PBFT_DROP_CERTIFICATE, "h+L would overflow");
}

/* PROTOCOL 18. */
Test(certificate, view_change_entries_lie_in_the_proved_window)
{
    struct view_change f;
    for (pbft_seq stable = 0; stable <= 16; stable += 8) {
        fill(&f, stable);
        f.vc.prepared_count = 16;
        cr_assert_eq(check(&f), PBFT_OK, "all of (h, h+L]");
        f.entries[15].seq++;
        cr_assert_eq(check(&f), PBFT_DROP_WINDOW, "h+L+1");
        f.entries[15].seq = UINT64_MAX;
        cr_assert_eq(check(&f), PBFT_DROP_WINDOW);
        fill(&f, stable);
        f.entries[0].seq = stable;
        cr_assert_neq(check(&f), PBFT_OK, "h");
        fill(&f, stable);
        f.entries[2].seq = f.entries[1].seq;
        cr_assert_eq(check(&f), PBFT_DROP_WINDOW, "one n twice");
        f.entries[2].seq = f.entries[1].seq - 1;
        cr_assert_eq(check(&f), PBFT_DROP_WINDOW, "descending");
        fill(&f, stable);
        f.vc.prepared_count = 17;
        cr_assert_eq(check(&f), PBFT_DROP_SIZE);
    }
}

Test(certificate, view_change_entries_are_of_lower_views)
{
    struct view_change f;
    fill(&f, 0);
    f.entries[1].view = 3;
    f.entries[1].prepares.signers = some(2, 3);
    cr_assert_eq(check(&f), PBFT_DROP_VIEW);
    f.entries[1].view = UINT64_MAX;
    cr_assert_eq(check(&f), PBFT_DROP_VIEW);
    fill(&f, 0);
    f.entries[2].prepares.signers = 7; /* one too many, the primary of view 2 */
    cr_assert_eq(check(&f), PBFT_DROP_ROLE);
    fill(&f, 0);
    f.vc.sender = 4;
    cr_assert_eq(check(&f), PBFT_DROP_SENDER);
    fill(&f, 0);
    f.vc.view = 0;
    f.vc.prepared_count = 0;
    cr_assert_eq(check(&f), PBFT_DROP_VIEW, "nobody changes into view 0");
}

/* FAULTS 4.11. */
Test(certificate, new_view_is_by_its_primary_from_q_view_changes)
{
    struct pbft_params p = params(4);
    const struct pbft_new_view good = {
        .view = 5, .sender = 1, .signers = 0x0e, .min_s = 8, .count = 16};
    struct pbft_new_view nv = good;
    cr_assert_eq(pbft_new_view_check(&p, &nv), PBFT_OK);
    for (pbft_id id = 0; id < 6; id++) {
        nv.sender = id;
        enum pbft_verdict want = id >= 4 ? PBFT_DROP_SENDER : PBFT_DROP_ROLE;
        cr_assert_eq(pbft_new_view_check(&p, &nv), id == 1 ? PBFT_OK : want);
    }
    nv = good;
    for (pbft_signers set = 0; set < 64; set++) {
        nv.signers = set;
        bool ok = set < 16 && pbft_signers_count(set) == 3;
        cr_assert_eq(pbft_new_view_check(&p, &nv) == PBFT_OK, ok, "%llu", (unsigned long long)set);
    }
    nv = good;
    nv.count = 17;
    cr_assert_eq(pbft_new_view_check(&p, &nv), PBFT_DROP_SIZE);
    nv = good;
    nv.min_s = 7;
    cr_assert_eq(pbft_new_view_check(&p, &nv), PBFT_DROP_CERTIFICATE);
    nv.min_s = UINT64_MAX - 7;
    cr_assert_eq(pbft_new_view_check(&p, &nv), PBFT_DROP_CERTIFICATE, "min_s + count overflows");
    nv = good;
    nv.view = 0;
    nv.sender = 0;
    cr_assert_eq(pbft_new_view_check(&p, &nv), PBFT_DROP_VIEW);
}
