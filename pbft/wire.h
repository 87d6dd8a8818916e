/**
 * pbft/wire.h - every message, as a struct and as canonical bytes.
 *
 * Little-endian, fixed width, versioned, and canonical: exactly one byte string for a message.
 * Trailing bytes, unknown flags, unsorted sets and non-minimal bitmaps are refused. docs/wire.md
 * shows each layout as a table.
 *
 * Every frame starts with an 8-byte header: type u8, version u8 (PBFT_WIRE_VERSION), flags u16 (0),
 * epoch u32. A signed message ends with its 64-byte signature, except PRE-PREPARE, whose signature
 * stands before the proposal that travels beside it.
 *
 * Decoding copies no large bytes: spans and signature pointers in a struct pbft_msg point into the
 * decoded frame; arrays live in the caller's arena. Both must outlive the message. Only the door
 * (crypto/door.h) and tests call pbft_wire_decode().
 *
 * Source: OSDI'99 §4.2-4.4 for the messages; PROTOCOL 1, 3, 9, 17-19 for what is in them.
 */
#ifndef PBFT_WIRE_H
#define PBFT_WIRE_H

#include "pbft/types.h"

#define PBFT_WIRE_VERSION      1u
#define PBFT_WIRE_HEADER_BYTES 8u
#define PBFT_FRAME_MAX_BYTES   8388608u /* 8 MiB: no frame is larger, PROTOCOL 20 */

/* Wire numbers. Never reused; a removed message leaves its number empty. */
enum pbft_type {
    PBFT_REQUEST = 1,     /* client: a signed bundle of operations */
    PBFT_PRE_PREPARE = 2, /* primary: (v, n, proposal digest) + the proposal itself */
    PBFT_PREPARE = 3,
    PBFT_COMMIT = 4,
    PBFT_CHECKPOINT = 5,
    PBFT_VIEW_CHANGE = 6,
    PBFT_NEW_VIEW = 7,
    PBFT_STATUS_MSG = 8,   /* what a replica has; drives retransmission */
    PBFT_FETCH = 9,        /* ask for something by digest or sequence number */
    PBFT_BATCH = 10,       /* a proposal without its header; digest-verified */
    PBFT_PAGE = 11,        /* a page of the state tree; digest-verified */
    PBFT_CERTIFICATE = 12, /* q COMMITs or q CHECKPOINTs, and for COMMITs the proposal */
    PBFT_HEADER = 13,      /* a PRE-PREPARE without its proposal (evidence, PROTOCOL 37) */
    PBFT_REPLY = 32,       /* replica to client: outcome of a REQUEST */
    PBFT_QUERY = 33,       /* client: fast read */
    PBFT_QUERY_REPLY = 34,
    PBFT_BUSY = 35,         /* replica to client: no room for (session, t) now */
    PBFT_RESULT_FETCH = 36, /* client: send the full results of (session, t), PROTOCOL 34 */
    PBFT_ADMIN = 37,        /* client: read-only question about the replica itself */
    PBFT_ADMIN_REPLY = 38,
};

/* "PRE-PREPARE" and the like; static; "?" for an unknown number. */
const char *pbft_type_text(uint8_t type);

struct pbft_request {
    struct pbft_public_key client;
    uint64_t session;
    uint64_t t;               /* request number, from 1 */
    uint32_t op_count;        /* 1 .. bundle_max_ops */
    struct pbft_span ops;     /* op_count times (length u32, bytes) */
    struct pbft_span body;    /* what the digest covers: all of the above as encoded */
    struct pbft_span frame;   /* the whole REQUEST frame */
    const uint8_t *signature; /* 64 bytes */
    /* Filled by the door: */
    uint32_t client_index;     /* position of the key in genesis */
    struct pbft_digest digest; /* H("request", body) */
};

/* A proposal: what the primary orders at one sequence number. Bytes: time u64, count u32, then
 * count times (length u32, REQUEST frame). */
struct pbft_proposal {
    uint64_t time_ns; /* agreed time, wall clock, PROTOCOL 11 */
    uint32_t request_count;
    struct pbft_request *requests; /* arena */
    struct pbft_span bytes;        /* its encoding; what BATCH and PRE-PREPARE carry */
    struct pbft_digest digest;     /* filled by the door: the proposal digest, PROTOCOL 3 */
};

struct pbft_pre_prepare {
    pbft_view view;
    pbft_seq seq;
    struct pbft_digest digest;     /* proposal digest */
    const uint8_t *signature;      /* by primary(view) */
    struct pbft_proposal proposal; /* PRE-PREPARE only; zero in a HEADER */
};

struct pbft_vote { /* PREPARE, COMMIT */
    pbft_view view;
    pbft_seq seq;
    struct pbft_digest digest;
    pbft_id sender;
    const uint8_t *signature;
};

struct pbft_checkpoint {
    pbft_seq seq;
    struct pbft_digest root;
    pbft_id sender;
    const uint8_t *signature;
};

/* A set of signatures over one statement, PROTOCOL 17: bitmap, then one signature for each set bit
 * in ascending order of replica id. */
struct pbft_signatures {
    pbft_signers signers;
    const uint8_t *bytes; /* 64 * count of signers */
};

/* One P entry: the prepared certificate of highest view for one sequence number. */
struct pbft_prepared {
    pbft_seq seq;
    pbft_view view;
    struct pbft_digest digest;
    const uint8_t *pre_prepare_signature; /* by primary(view) */
    struct pbft_signatures prepares;      /* exactly q-1 backups */
};

struct pbft_view_change {
    pbft_view view; /* the view asked for */
    pbft_id sender;
    pbft_seq stable; /* h of the sender; genesis' has its root and no signatures */
    struct pbft_digest stable_root;
    struct pbft_signatures stable_proof; /* exactly q CHECKPOINTs, none for genesis */
    uint32_t prepared_count;             /* <= window */
    struct pbft_prepared *prepared;      /* arena; ascending, distinct seq in (stable, stable+L] */
    struct pbft_span body;
    const uint8_t *signature;
    struct pbft_digest digest; /* filled by the door: H("view-change", body) */
};

struct pbft_new_view {
    pbft_view view;
    pbft_id sender;
    pbft_signers signers;      /* whose VIEW-CHANGEs are named; exactly q */
    const uint8_t *vc_digests; /* 32 bytes for each set bit, ascending */
    pbft_seq min_s;            /* O covers (min_s, min_s + count] */
    uint32_t count;            /* <= window */
    const uint8_t *entries;    /* count times: proposal digest 32, PRE-PREPARE signature 64 */
    struct pbft_span body;
    const uint8_t *signature;
    struct pbft_digest digest; /* filled by the door: H("new-view", body) */
};
#define PBFT_NEW_VIEW_ENTRY_BYTES (PBFT_DIGEST_BYTES + PBFT_SIGNATURE_BYTES)

/* Flags of STATUS. */
#define PBFT_STATUS_VIEW_CHANGING 1u /* `view` is pending: VIEW-CHANGE sent, NEW-VIEW awaited */
#define PBFT_STATUS_MUTE          2u /* PROTOCOL 29 */
#define PBFT_STATUS_FLAGS         3u
#define PBFT_STATUS_NONE          UINT32_MAX /* in waits_client; session and t are 0 then */

struct pbft_status_msg {
    pbft_view view;
    pbft_seq stable;
    pbft_seq executed;
    uint64_t counter; /* increases with every STATUS of a connection's life */
    uint8_t flags;
    pbft_signers view_changes; /* whose VIEW-CHANGE for `view` is held */
    /* The request that its timer watches: the primary proposes it next (PROTOCOL 21). */
    uint32_t waits_client; /* index in the cluster file; PBFT_STATUS_NONE: it watches none */
    uint64_t waits_session, waits_t;
    uint16_t count;                 /* bits in each bitmap; bit i is seq executed+1+i */
    struct pbft_span have_proposal; /* (count+7)/8 bytes each; surplus bits 0 */
    struct pbft_span prepared;
    struct pbft_span committed;
};

enum pbft_fetch_kind {
    PBFT_FETCH_BATCH = 1,       /* digest: proposal digest; seq is a hint */
    PBFT_FETCH_PAGE = 2,        /* digest: page hash */
    PBFT_FETCH_VIEW_CHANGE = 3, /* digest: VIEW-CHANGE digest */
    PBFT_FETCH_HEADER = 4,      /* view, seq: the PRE-PREPARE header that you hold, PROTOCOL 37 */
    PBFT_FETCH_COMMIT = 5,      /* seq: commit certificate with its proposal */
    PBFT_FETCH_CHECKPOINT = 6,  /* seq: a stable certificate at or above it */
};

struct pbft_fetch {
    uint8_t kind;              /* enum pbft_fetch_kind */
    struct pbft_digest digest; /* zero where unused */
    pbft_view view;            /* zero where unused */
    pbft_seq seq;
};

enum pbft_certificate_kind { PBFT_CERT_COMMIT = 1, PBFT_CERT_CHECKPOINT = 2 };

struct pbft_certificate {
    uint8_t kind;   /* enum pbft_certificate_kind */
    pbft_view view; /* 0 for a checkpoint */
    pbft_seq seq;
    struct pbft_digest digest;         /* proposal digest, or state root */
    struct pbft_signatures signatures; /* exactly q */
    bool has_proposal;                 /* commit only; false when the digest is the null digest */
    struct pbft_proposal proposal;     /* commit only */
};

/* How a REQUEST ended. Deterministic, part of what clients match on. */
enum pbft_outcome {
    PBFT_OUTCOME_EXECUTED = 0,
    PBFT_OUTCOME_EXPIRED = 1,  /* unknown session, not newer than the newest, PROTOCOL 6 */
    PBFT_OUTCOME_STALE = 2,    /* t <= maxT - W, PROTOCOL 7 */
    PBFT_OUTCOME_CONFLICT = 3, /* t executed with another digest */
    PBFT_OUTCOME_LIMIT = 4,    /* sessions of this key or of all are at their bound, PROTOCOL 8 */
    PBFT_OUTCOME_INVALID = 5,  /* breaks a bound of PROTOCOL 9 */
    PBFT_OUTCOME_COUNT
};

#define PBFT_REPLY_HAS_BODY 1u
#define PBFT_REPLY_FLAGS    1u

struct pbft_reply {
    pbft_view view; /* a hint about the primary, never matched on (PROTOCOL 31) */
    pbft_seq seq;   /* where it executed; a hint, never matched on */
    uint64_t session;
    uint64_t t;
    struct pbft_digest request; /* request digest */
    uint8_t outcome;            /* enum pbft_outcome */
    uint8_t flags;
    struct pbft_digest result; /* H("result", outcome, body) */
    struct pbft_span body; /* op count u32, then (length u32, result bytes); empty without flag */
};

struct pbft_query {
    uint64_t id;          /* chosen by the client, echoed */
    uint64_t floor;       /* hold the answer until the replica has executed this seq, PROTOCOL 32 */
    uint8_t want_body;    /* 0 or 1: digests only, or the results too */
    uint32_t op_count;    /* 1 .. bundle_max_ops; all are answered out of one state */
    struct pbft_span ops; /* items: (length u32, bytes) each */
};

struct pbft_query_reply {
    uint64_t id;
    uint8_t outcome;           /* EXECUTED, or INVALID */
    uint8_t flags;             /* PBFT_REPLY_HAS_BODY */
    uint64_t mark;             /* highest change mark, matched on (PROTOCOL 32) */
    pbft_seq executed;         /* not matched on */
    struct pbft_digest result; /* H("query", outcome, mark, body) */
    /* Result count u32, the change mark u64 of each, then the results as items. Marks of present
     * keys and of pages count different things, so that the highest one does not stand for all.
     * Empty without the flag, and where nothing was executed. */
    struct pbft_span body;
};

struct pbft_busy {
    uint64_t session;
    uint64_t t;
};

struct pbft_result_fetch {
    uint64_t session;
    uint64_t t;
};

enum pbft_admin_kind {
    PBFT_ADMIN_STATUS = 1,        /* answer: one JSON object, DESIGN section 6 */
    PBFT_ADMIN_EVIDENCE_LIST = 2, /* answer: JSON array */
    PBFT_ADMIN_EVIDENCE_GET = 3,  /* argument: item number u32; answer: evidence file bytes */
    /* The administrator's alone (client 0): a backup. */
    PBFT_ADMIN_CHECKPOINT =
        4,                /* answer: last executed u64, then the CERTIFICATE frame of the newest
                           * stable checkpoint that is served; nothing: there is none yet */
    PBFT_ADMIN_PAGES = 5, /* argument: 1 .. PBFT_ADMIN_PAGES_MAX page hashes; answer: for each,
                           * in order, (size u32, page), size 0: it is not here. Fewer when it
                           * would be too long, none when too much was asked for just now */
};

#define PBFT_ADMIN_PAGES_MAX 8u

struct pbft_admin {
    uint64_t id;
    uint8_t kind;              /* enum pbft_admin_kind */
    struct pbft_span argument; /* <= 256 bytes */
};

struct pbft_admin_reply {
    uint64_t id;
    uint8_t ok; /* 1, or 0: `body` is one sentence */
    struct pbft_span body;
};

/* One decoded message. */
struct pbft_msg {
    uint8_t type; /* enum pbft_type */
    pbft_epoch epoch;
    struct pbft_span frame; /* all of it */
    union {
        struct pbft_request request;
        struct pbft_pre_prepare pre_prepare; /* also HEADER */
        struct pbft_vote vote;               /* PREPARE, COMMIT */
        struct pbft_checkpoint checkpoint;
        struct pbft_view_change view_change;
        struct pbft_new_view new_view;
        struct pbft_status_msg status;
        struct pbft_fetch fetch;
        struct pbft_proposal batch;
        struct pbft_span page;
        struct pbft_certificate certificate;
        struct pbft_reply reply;
        struct pbft_query query;
        struct pbft_query_reply query_reply;
        struct pbft_busy busy;
        struct pbft_result_fetch result_fetch;
        struct pbft_admin admin;
        struct pbft_admin_reply admin_reply;
    };
};

/* Where decoded arrays go. Reset `used` to 0 before each frame. */
struct pbft_arena {
    uint8_t *base; /* aligned to 16 */
    size_t size;
    size_t used;
};

/* Bytes of arena that suffice for any message under these parameters. */
size_t pbft_wire_arena_bytes(const struct pbft_params *p);

/**
 * What a frame claims to be, from its first bytes alone: enough for pbft_core_wants (PROTOCOL 16).
 * Fields that the type does not have are 0. Nothing is authenticated yet.
 */
struct pbft_claim {
    uint8_t type;
    pbft_epoch epoch;
    pbft_view view;
    pbft_seq seq;
    pbft_id sender; /* PBFT_REPLICAS_MAX where the type names none */
    struct pbft_digest digest;
    pbft_signers signers; /* of a CERTIFICATE */
};
enum pbft_verdict pbft_wire_peek(struct pbft_span frame, struct pbft_claim *claim);

/**
 * Decode one frame: structure, bounds of `p` and canonical form; no signature and no digest.
 *
 * frame   borrowed; `msg` points into it
 * arena   takes the arrays; PBFT_DROP_SIZE when it is too small
 * Returns PBFT_OK, PBFT_DROP_MALFORMED, _SIZE, _TYPE or _VERSION.
 */
enum pbft_verdict pbft_wire_decode(struct pbft_span frame, const struct pbft_params *p,
                                   struct pbft_arena *arena, struct pbft_msg *msg);

/* Decode a proposal's bytes alone (a stored batch). Same verdicts. */
enum pbft_verdict pbft_wire_decode_proposal(struct pbft_span bytes, const struct pbft_params *p,
                                            struct pbft_arena *arena, struct pbft_proposal *out);

/**
 * Encode `msg` (type, epoch and the union's member; spans and pointers are read) into `out`.
 * Signature pointers may be NULL: 64 zero bytes are written, to be filled by the signer.
 * Returns the size in bytes, or 0 when it does not fit into `capacity`.
 */
size_t pbft_wire_encode(const struct pbft_msg *msg, uint8_t *out, size_t capacity);
/* What pbft_wire_encode() will need. */
size_t pbft_wire_size(const struct pbft_msg *msg);

/**
 * The span of a frame that its signature covers (or whose digest it covers), and where the
 * signature stands. Valid for frames that decode. {NULL, 0} for unsigned types.
 */
struct pbft_span pbft_wire_signed_body(struct pbft_span frame);
size_t pbft_wire_signature_offset(struct pbft_span frame);

/* Bodies rebuilt from fields, for checking signatures inside certificates (PROTOCOL 17). Each
 * returns the size written; `out` holds PBFT_BODY_MAX_BYTES. */
#define PBFT_BODY_MAX_BYTES 64u
size_t pbft_wire_pre_prepare_body(pbft_view view, pbft_seq seq, const struct pbft_digest *digest,
                                  uint8_t *out);
size_t pbft_wire_vote_body(pbft_view view, pbft_seq seq, const struct pbft_digest *digest,
                           pbft_id sender, uint8_t *out);
size_t pbft_wire_checkpoint_body(pbft_seq seq, const struct pbft_digest *root, pbft_id sender,
                                 uint8_t *out);

/**
 * The domain tag, PROTOCOL 1: 16 bytes that open what is signed and name type and format version.
 * Signed bytes = tag, cluster id (32), epoch u32, then the body, or for the types of
 * pbft_wire_signs_digest() the body's 32-byte digest.
 */
#define PBFT_TAG_BYTES 16u
void pbft_wire_tag(uint8_t type, uint8_t out[PBFT_TAG_BYTES]);
bool pbft_wire_signs_digest(
    uint8_t type); /* REQUEST, VIEW-CHANGE, NEW-VIEW: by type, never by length */
#define PBFT_SIGNED_MAX_BYTES (PBFT_TAG_BYTES + PBFT_DIGEST_BYTES + 4u + PBFT_BODY_MAX_BYTES)
/* Assemble signed bytes; returns their size (<= PBFT_SIGNED_MAX_BYTES). `body` is the body or its
 * digest, as the type demands. */
size_t pbft_wire_signed_bytes(uint8_t type, const struct pbft_digest *cluster, pbft_epoch epoch,
                              struct pbft_span body, uint8_t out[PBFT_SIGNED_MAX_BYTES]);

/* Walk the operations of a request, or the results of a reply body: reads (length u32, bytes) at
 * *cursor and advances it. False at the end. The bytes were validated by the decoder. */
bool pbft_wire_next_item(struct pbft_span items, size_t *cursor, struct pbft_span *item);
/* Check an items list: exactly `count` items that fill `items`. */
bool pbft_wire_items_valid(struct pbft_span items, uint32_t count);
/* The results in the body of a QUERY-REPLY that was decoded, as items; none of an empty one. */
struct pbft_span pbft_wire_query_results(struct pbft_span body);

/* One line of text for people and traces; returns `out`. */
const char *pbft_wire_print(const struct pbft_msg *msg, char *out, size_t capacity);

/* Little-endian access to unaligned bytes. */
uint16_t pbft_get_u16(const uint8_t *p);
uint32_t pbft_get_u32(const uint8_t *p);
uint64_t pbft_get_u64(const uint8_t *p);
void pbft_put_u16(uint8_t *p, uint16_t v);
void pbft_put_u32(uint8_t *p, uint32_t v);
void pbft_put_u64(uint8_t *p, uint64_t v);

#endif
