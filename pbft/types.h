/**
 * pbft/types.h - the words that every other header uses: numbers, digests, spans, and the three
 * channels through which trouble is reported (verdict, status, assert).
 *
 * Nothing here allocates, blocks or depends on the platform.
 */
#ifndef PBFT_TYPES_H
#define PBFT_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PBFT_VERSION "0.1.0"

/* Sizes in bytes. */
#define PBFT_DIGEST_BYTES     32u /* BLAKE2b-256 */
#define PBFT_PUBLIC_KEY_BYTES 32u /* Ed25519 */
#define PBFT_SIGNATURE_BYTES  64u /* Ed25519 */

/* Bounds that hold for every cluster. A cluster's own parameters (struct pbft_params) lie within.
 */
#define PBFT_REPLICAS_MIN 4u
#define PBFT_REPLICAS_MAX 64u /* a signer bitmap is one uint64_t */
#define PBFT_CLIENTS_MAX  65536u

typedef uint64_t pbft_view;    /* view number; 0 is the first */
typedef uint64_t pbft_seq;     /* sequence number; 1 is the first proposal, 0 is genesis; after
                                * a restore both are later (PROTOCOL 2) */
typedef uint64_t pbft_lsn;     /* position in a replica's own log; 0 = relies on nothing */
typedef uint32_t pbft_epoch;   /* configuration epoch; 0 is genesis */
typedef uint32_t pbft_id;      /* replica, 0 .. n-1 */
typedef uint64_t pbft_signers; /* bitmap of replicas: bit i is replica i */

struct pbft_digest {
    uint8_t bytes[PBFT_DIGEST_BYTES];
};

struct pbft_signature {
    uint8_t bytes[PBFT_SIGNATURE_BYTES];
};

struct pbft_public_key {
    uint8_t bytes[PBFT_PUBLIC_KEY_BYTES];
};

/* Borrowed bytes. `data` may be NULL only when `size` is 0. Whoever hands out a span says how long
 * it lives. */
struct pbft_span {
    const uint8_t *data;
    size_t size;
};

/**
 * Verdicts: what is wrong with a *peer's or client's* content. A message is dropped with one, and
 * each is a metric (pbft_dropped_total{verdict="..."}). They never abort anything.
 */
#define PBFT_VERDICTS(X)                                                                           \
    X(PBFT_OK, "ok")                                                                               \
    X(PBFT_DROP_MALFORMED, "malformed")     /* not the canonical encoding of any message */        \
    X(PBFT_DROP_SIZE, "size")               /* a length or count beyond its bound */               \
    X(PBFT_DROP_TYPE, "type")               /* unknown type, or not for this kind of sender */     \
    X(PBFT_DROP_VERSION, "version")         /* format version that we do not speak */              \
    X(PBFT_DROP_EPOCH, "epoch")             /* another configuration epoch */                      \
    X(PBFT_DROP_SENDER, "sender")           /* sender out of range or not who the channel says */  \
    X(PBFT_DROP_CLIENT, "client")           /* client key that genesis does not list */            \
    X(PBFT_DROP_SIGNATURE, "signature")     /* a signature does not verify */                      \
    X(PBFT_DROP_DIGEST, "digest")           /* contents do not hash to the digest named */         \
    X(PBFT_DROP_CERTIFICATE, "certificate") /* certificate without quorum, or of mixed votes */    \
    X(PBFT_DROP_ROLE, "role")               /* e.g. a PREPARE by the primary (FAULTS 2.8) */       \
    X(PBFT_DROP_VIEW, "view")               /* past view, or too far in the future */              \
    X(PBFT_DROP_WINDOW, "window")           /* outside (h, h+L] */                                 \
    X(PBFT_DROP_DUPLICATE, "duplicate")     /* already held */                                     \
    X(PBFT_DROP_CONFLICT, "conflict")       /* differs from what the same signer said before */    \
    X(PBFT_DROP_UNWANTED, "unwanted")       /* cannot matter any more (PROTOCOL 16) */             \
    X(PBFT_DROP_TIME, "time")         /* agreed time that the clock test holds (PROTOCOL 11) */    \
    X(PBFT_DROP_NEW_VIEW, "new_view") /* NEW-VIEW whose O is not the recomputed one */             \
    X(PBFT_DROP_QUOTA, "quota")       /* beyond what this sender may hold here */                  \
    X(PBFT_DROP_BUSY, "busy")         /* no room; the sender may retry */                          \
    X(PBFT_DROP_MUTE, "mute")         /* we, or the sender, may not vote (PROTOCOL 29) */          \
    X(PBFT_DROP_STATE, "state")       /* not meaningful in the state that we are in */

enum pbft_verdict {
#define X(name, text) name,
    PBFT_VERDICTS(X)
#undef X
        PBFT_VERDICT_COUNT
};

/**
 * Statuses: the *environment* failed, or a caller's input from outside (a file, an option) is bad.
 */
#define PBFT_STATUSES(X)                                                                           \
    X(PBFT_STATUS_OK, "ok")                                                                        \
    X(PBFT_STATUS_MEMORY, "out of memory")                                                         \
    X(PBFT_STATUS_IO, "input/output error")                                                        \
    X(PBFT_STATUS_NOT_FOUND, "not found")                                                          \
    X(PBFT_STATUS_EXISTS, "exists already")                                                        \
    X(PBFT_STATUS_PERMISSION, "permissions are not as required")                                   \
    X(PBFT_STATUS_CONFIG, "bad configuration")                                                     \
    X(PBFT_STATUS_CORRUPT, "damaged or foreign data")                                              \
    X(PBFT_STATUS_CRYPTO, "cryptographic self-test or key check failed")                           \
    X(PBFT_STATUS_NETWORK, "network error")                                                        \
    X(PBFT_STATUS_TIMEOUT, "timed out")                                                            \
    X(PBFT_STATUS_FULL, "no room")                                                                 \
    X(PBFT_STATUS_CLOSED, "closed")                                                                \
    X(PBFT_STATUS_REFUSED, "refused")                                                              \
    X(PBFT_STATUS_ARGUMENT, "bad argument")                                                        \
    X(PBFT_STATUS_LATER, "written by a newer version of pbft")

enum pbft_status {
#define X(name, text) name,
    PBFT_STATUSES(X)
#undef X
        PBFT_STATUS_COUNT
};

#define PBFT_MUST_USE __attribute__((warn_unused_result))

/* Short lower-case text, static lifetime; "?" for a value out of range. */
const char *pbft_verdict_text(enum pbft_verdict verdict);
const char *pbft_status_text(enum pbft_status status);

/**
 * Assertions: *our* bug, never a peer's. On in release builds. Ends the process.
 */
_Noreturn void pbft_panic(const char *file, int line, const char *condition);
#define PBFT_ASSERT(condition) ((condition) ? (void)0 : pbft_panic(__FILE__, __LINE__, #condition))

/* Small helpers on the types above. Constant time is not promised: digests are public. */
bool pbft_digest_equal(const struct pbft_digest *a, const struct pbft_digest *b);
int pbft_digest_compare(const struct pbft_digest *a, const struct pbft_digest *b);
bool pbft_digest_is_zero(const struct pbft_digest *a);

static inline unsigned pbft_signers_count(pbft_signers s)
{
    /* Not __builtin_popcountll: gcc turns it into a call of libgcc, which `make purity` refuses. */
    s -= (s >> 1) & UINT64_C(0x5555555555555555);
    s = (s & UINT64_C(0x3333333333333333)) + ((s >> 2) & UINT64_C(0x3333333333333333));
    s = (s + (s >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (unsigned)((s * UINT64_C(0x0101010101010101)) >> 56);
}
static inline bool pbft_signers_has(pbft_signers s, pbft_id id)
{
    return id < PBFT_REPLICAS_MAX && ((s >> id) & 1u) != 0;
}
static inline pbft_signers pbft_signers_of(pbft_id id)
{
    return (pbft_signers)1 << id;
}

/**
 * What genesis fixes for a cluster (PROTOCOL 2); part of the cluster id. Every size in bytes.
 */
struct pbft_params {
    uint32_t n;      /* replicas, 4 .. 64 */
    uint32_t window; /* L: proposals between watermarks, a multiple of checkpoint_interval */
    uint32_t checkpoint_interval; /* K: a checkpoint at every n that is a multiple */
    uint32_t pipeline_depth;      /* proposals in flight, 1 .. window */
    uint32_t batch_max_bytes;     /* all requests of a proposal, <= 4 MiB */
    uint32_t batch_max_requests;  /* requests (bundles) of a proposal, 1 .. 4096 */
    uint32_t bundle_max_ops;      /* operations of a request, 1 .. 4096 */
    uint32_t key_max_bytes;       /* <= 1 KiB */
    uint32_t value_max_bytes;     /* <= 1 MiB */
    uint32_t reply_max_bytes;     /* results of one request that are cached, <= 2 MiB */
    uint32_t session_window;      /* W: outstanding request numbers of a session */
    uint32_t sessions_per_client;
    uint32_t sessions_total;
    uint32_t client_quota;        /* requests of one client key pending at a replica */
    uint64_t session_idle_ns;     /* agreed time after which a session may be retired */
    uint64_t clock_skew_ns;       /* PROTOCOL 11 */
    uint64_t view_timeout_ns;     /* base, PROTOCOL 23 */
    uint64_t view_timeout_max_ns; /* cap of the back-off */
};

/* Defaults for n replicas: the values that `pbftctl init` writes. */
struct pbft_params pbft_params_default(uint32_t n);
/* NULL if the parameters are within bounds and PROTOCOL 20 holds, else one sentence (static). */
const char *pbft_params_check(const struct pbft_params *p);

#endif
