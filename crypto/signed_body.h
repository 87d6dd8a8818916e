/**
 * crypto/signed_body.h - internal to crypto/: from a body to PROTOCOL 1's signed bytes. Types that
 * sign a digest are hashed here, under the domain of their type.
 */
#ifndef PBFT_CRYPTO_SIGNED_BODY_H
#define PBFT_CRYPTO_SIGNED_BODY_H

#include "crypto/hash.h"
#include "pbft/wire.h"

/* The digest of a body of a type for which pbft_wire_signs_digest() holds. */
static inline void pbft_signed_digest(uint8_t type, struct pbft_span body, struct pbft_digest *out)
{
    if (type == PBFT_REQUEST)
        pbft_digest_request(out, body);
    else if (type == PBFT_VIEW_CHANGE)
        pbft_digest_view_change(out, body);
    else
        pbft_digest_new_view(out, body);
}

/* Signed bytes of a whole body; the span lies in `bytes`. */
static inline struct pbft_span pbft_signed_message(uint8_t type, const struct pbft_digest *cluster,
                                                   pbft_epoch epoch, struct pbft_span body,
                                                   uint8_t bytes[PBFT_SIGNED_MAX_BYTES])
{
    struct pbft_digest digest;
    if (pbft_wire_signs_digest(type)) {
        pbft_signed_digest(type, body, &digest);
        body = (struct pbft_span){digest.bytes, sizeof digest.bytes};
    }
    size_t size = pbft_wire_signed_bytes(type, cluster, epoch, body, bytes);
    return (struct pbft_span){bytes, size};
}

#endif
