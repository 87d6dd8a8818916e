/**
 * crypto/signer.h - signing and verifying as a table of functions, so that the simulator can swap
 * Ed25519 for fast keyed signatures while the core and the door stay the same code.
 */
#ifndef PBFT_CRYPTO_SIGNER_H
#define PBFT_CRYPTO_SIGNER_H

#include "crypto/keys.h"
#include "pbft/types.h"

struct pbft_signer {
    /* Pure. `message` is at most PBFT_SIGNED_MAX_BYTES. */
    void (*sign)(const struct pbft_secret_key *key, struct pbft_span message, uint8_t *signature);
    bool (*verify)(const struct pbft_public_key *key, struct pbft_span message,
                   const uint8_t *signature);
};

extern const struct pbft_signer pbft_signer_ed25519;
/* SipHash keyed with the *public* key: no security at all, for simulation only. Not constant-zero:
 * a changed bit anywhere is refused. Compiled into the tests' library, never into pbftd. */
extern const struct pbft_signer pbft_signer_fast;

#endif
