/**
 * pbft/certificate.h - structure of certificates (PROTOCOL 17, 18): distinct signers, quorum, the
 * right roles, one statement. Pure and cheap; the door verifies the signatures afterwards.
 */
#ifndef PBFT_CERTIFICATE_H
#define PBFT_CERTIFICATE_H

#include "pbft/wire.h"

/* q COMMITs or q CHECKPOINTs of distinct replicas. */
enum pbft_verdict pbft_certificate_check(const struct pbft_params *p,
                                         const struct pbft_certificate *c);
/* A P entry: PRE-PREPARE by primary(view), exactly q-1 PREPAREs of distinct backups, view < limit.
 */
enum pbft_verdict pbft_prepared_check(const struct pbft_params *p, const struct pbft_prepared *e,
                                      pbft_view limit);
/* A whole VIEW-CHANGE: stable proof (only genesis may lack it, with its own root, FAULTS 4.10),
 * entries ascending in (h, h+L] (PROTOCOL 18), each a valid P entry of a lower view. */
enum pbft_verdict pbft_view_change_check(const struct pbft_params *p, pbft_seq genesis_seq,
                                         const struct pbft_digest *genesis_root,
                                         const struct pbft_view_change *vc);
/* Exactly q distinct VIEW-CHANGEs named, signer is primary(view), count <= L. */
enum pbft_verdict pbft_new_view_check(const struct pbft_params *p, const struct pbft_new_view *nv);

#endif
