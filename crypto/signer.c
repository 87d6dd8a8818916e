/* crypto/signer.c - the real signatures, and signing a frame in place. */
#include "crypto/signer.h"

#include "crypto/door.h"
#include "crypto/signed_body.h"

const struct pbft_signer pbft_signer_ed25519 = {.sign = pbft_sign, .verify = pbft_verify};

void pbft_frame_sign(const struct pbft_cluster *cluster, const struct pbft_signer *signer,
                     const struct pbft_secret_key *key, uint8_t *frame, size_t size)
{
    struct pbft_span span = {frame, size};
    struct pbft_span body = pbft_wire_signed_body(span);
    PBFT_ASSERT(body.data != NULL); /* we sign only what we have just encoded */

    uint8_t bytes[PBFT_SIGNED_MAX_BYTES];
    struct pbft_span message =
        pbft_signed_message(frame[0], &cluster->id, pbft_get_u32(frame + 4), body, bytes);
    signer->sign(key, message, frame + pbft_wire_signature_offset(span));
}
