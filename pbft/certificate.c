/* pbft/certificate.c - structure of certificates; no signature is looked at here (PROTOCOL 17, 18).
 */
#include "pbft/certificate.h"

#include "pbft/quorum.h"

/* Exactly `count` signers, all of them replicas. Distinct by being a bitmap (FAULTS 2.9). */
static enum pbft_verdict signers_check(const struct pbft_params *p, pbft_signers signers,
                                       uint32_t count)
{
    if ((signers & ~pbft_everyone(p->n)) != 0) return PBFT_DROP_SENDER;
    return pbft_signers_count(signers) == count ? PBFT_OK : PBFT_DROP_CERTIFICATE;
}

/* Checkpoints lie at multiples of the interval; and low marks must leave room for a window. */
static bool checkpoint_seq(const struct pbft_params *p, pbft_seq seq)
{
    return seq % p->checkpoint_interval == 0 && seq <= UINT64_MAX - p->window;
}

enum pbft_verdict pbft_certificate_check(const struct pbft_params *p,
                                         const struct pbft_certificate *c)
{
    if (c->seq == 0) return PBFT_DROP_CERTIFICATE; /* genesis needs none (FAULTS 4.10) */
    switch ((enum pbft_certificate_kind)c->kind) {
    case PBFT_CERT_COMMIT: break;
    case PBFT_CERT_CHECKPOINT:
        if (c->view != 0 || c->has_proposal) return PBFT_DROP_CERTIFICATE;
        if (!checkpoint_seq(p, c->seq)) return PBFT_DROP_CERTIFICATE;
        break;
    default: return PBFT_DROP_CERTIFICATE;
    }
    return signers_check(p, c->signatures.signers, pbft_quorum(p->n));
}

enum pbft_verdict pbft_prepared_check(const struct pbft_params *p, const struct pbft_prepared *e,
                                      pbft_view limit)
{
    if (e->seq == 0) return PBFT_DROP_CERTIFICATE;
    if (e->view >= limit) return PBFT_DROP_VIEW;
    /* FAULTS 2.8, 4.2: the PRE-PREPARE is the primary's vote; its PREPARE would count it twice. */
    if (pbft_signers_has(e->prepares.signers, pbft_primary(p->n, e->view))) return PBFT_DROP_ROLE;
    return signers_check(p, e->prepares.signers, pbft_quorum(p->n) - 1);
}

/* FAULTS 4.8, 4.10: a low mark is proved by q CHECKPOINTs, or it is genesis' (0, but after a
 * restore) with its root. Nothing is below. */
static enum pbft_verdict stable_check(const struct pbft_params *p, pbft_seq genesis_seq,
                                      const struct pbft_digest *genesis_root,
                                      const struct pbft_view_change *vc)
{
    if (vc->stable == genesis_seq) {
        bool genesis =
            vc->stable_proof.signers == 0 && pbft_digest_equal(&vc->stable_root, genesis_root);
        return genesis ? PBFT_OK : PBFT_DROP_CERTIFICATE;
    }
    if (vc->stable < genesis_seq) return PBFT_DROP_CERTIFICATE;
    if (!checkpoint_seq(p, vc->stable)) return PBFT_DROP_CERTIFICATE;
    return signers_check(p, vc->stable_proof.signers, pbft_quorum(p->n));
}

enum pbft_verdict pbft_view_change_check(const struct pbft_params *p, pbft_seq genesis_seq,
                                         const struct pbft_digest *genesis_root,
                                         const struct pbft_view_change *vc)
{
    if (vc->sender >= p->n) return PBFT_DROP_SENDER;
    if (vc->view == 0) return PBFT_DROP_VIEW; /* nobody changes into the first view */
    enum pbft_verdict verdict = stable_check(p, genesis_seq, genesis_root, vc);
    if (verdict != PBFT_OK) return verdict;
    if (vc->prepared_count > p->window) return PBFT_DROP_SIZE;

    pbft_seq last = vc->stable;
    for (uint32_t i = 0; i < vc->prepared_count; i++) {
        const struct pbft_prepared *e = &vc->prepared[i];
        /* Ascending from the proved h: one entry for each n, none at or below it (PROTOCOL 18). */
        if (e->seq <= last || e->seq - vc->stable > p->window) return PBFT_DROP_WINDOW;
        last = e->seq;
        verdict = pbft_prepared_check(p, e, vc->view);
        if (verdict != PBFT_OK) return verdict;
    }
    return PBFT_OK;
}

enum pbft_verdict pbft_new_view_check(const struct pbft_params *p, const struct pbft_new_view *nv)
{
    if (nv->sender >= p->n) return PBFT_DROP_SENDER;
    if (nv->view == 0) return PBFT_DROP_VIEW;
    if (nv->sender != pbft_primary(p->n, nv->view)) return PBFT_DROP_ROLE; /* FAULTS 4.11 */
    if (!checkpoint_seq(p, nv->min_s)) return PBFT_DROP_CERTIFICATE;
    if (nv->count > p->window) return PBFT_DROP_SIZE;
    return signers_check(p, nv->signers, pbft_quorum(p->n));
}
