/**
 * net/net_internal.h - what the files of net/ share.
 *
 * Threads. nng's task threads run the callbacks of accept, dial, receive and send; the owner polls;
 * one service thread keeps time (redial, ping, time-outs) and takes dead connections apart, because
 * stopping an aio blocks and must not happen in a callback.
 *
 * Locks. net->lock guards every field below that is not marked otherwise; it is never held during
 * cryptography, copying of large bytes or system calls. connection->io_lock only orders the start
 * of an operation with the closing of the stream (an operation started on a closed stream would
 * never finish). Order: neither is taken while the other is held.
 *
 * Tokens. Whoever set rx_busy owns the receiving half of a connection (in-buffer, opening key,
 * handshake), whoever set tx_busy the sending half (out-buffer, sealing key), through callbacks,
 * until it clears the flag. A connection is freed when it is dead, no token is out, and the owner
 * has seen its DOWN.
 */
#ifndef PBFT_NET_INTERNAL_H
#define PBFT_NET_INTERNAL_H

#include "net/net.h"
#include "pbft/wire.h"

#include <nng/nng.h>
#include <pthread.h>

#define LENGTH_BYTES      4u
#define RECORD_PLAIN_MAX  65536u /* coalesced plaintext */
#define RECORD_FRAMES_MAX 512u
#define BUFFER_HANDSHAKE  (LENGTH_BYTES + PBFT_HANDSHAKE_FIRST_BYTES)
#define BUFFER_SMALL      4096u
#define BUFFER_LARGE      (LENGTH_BYTES + RECORD_PLAIN_MAX + PBFT_CHANNEL_OVERHEAD)
#define FRAME_COST        64u /* what a queued frame counts beyond its bytes */
#define ADDRESS_BYTES     16u
#define BUCKETS           512u
#define NANOSECONDS       UINT64_C(1000000000)
#define MILLISECOND       UINT64_C(1000000)
#define LISTENERS         2u
#define LISTENER_PEERS    0u
#define LISTENER_CLIENTS  1u
#define STREAM_LOST       "connection lost"

struct address {
    uint8_t bytes[ADDRESS_BYTES]; /* IPv4 mapped; IPv6 cut to its /64 */
};

/* A queue of frames; one reference each. */
struct frames {
    struct pbft_frame **at;
    uint32_t capacity; /* 0, or a power of two */
    uint32_t head;
    uint32_t count;
    uint64_t bytes;
};

struct connection;

struct ring { /* connections that have something for the owner, in turn */
    struct connection *first;
    struct connection *last;
};

struct connection {
    struct pbft_net *net;
    struct connection *next, *prev; /* all connections */
    struct connection *hash_next;   /* open ones, by number */
    struct connection *ring_next;
    struct connection *half_next, *half_prev; /* accepted and unfinished, newest first */
    struct connection *dead_next;
    bool in_ring;
    bool in_half;
    bool in_hash;
    struct dialer *dialer; /* who made it, NULL for an accepted one */
    unsigned listener;     /* of an accepted one */
    struct address address;
    bool listed;           /* its address is a replica's */
    struct pbft_peer peer; /* valid once `open` */
    uint64_t number;
    uint64_t born_ns;
    uint64_t last_in_ns;  /* bytes came */
    uint64_t last_out_ns; /* a record went */
    uint64_t record_ns;   /* when the unfinished record began; 0 = none is */
    bool handshaking;
    bool open;      /* authenticated */
    bool dead;      /* to be taken apart */
    bool closed_io; /* io_lock: the stream is closed, start nothing */
    bool reaped;    /* stream and aios are gone */
    bool up_due;    /* UP not told yet */
    bool up_told;   /* UP told, DOWN not yet */
    bool done;      /* nothing more for the owner */
    bool paused;    /* reading stopped: inbound queue full or pool empty */
    bool dirty;     /* on the net's flush list */
    bool ping_due;
    bool noted;         /* last_failure says why already */
    bool in_large;      /* rx token: the last read filled the buffer */
    uint64_t resume_ns; /* paused for want of pool: not before */
    bool ending;        /* close once `tell` is written */
    const char *reason;
    struct connection *dirty_next;
    pthread_mutex_t io_lock;
    nng_stream *stream;
    nng_aio *rx;
    nng_aio *tx;
    nng_aio *tx_now; /* has no callback: what the socket takes at once */
    bool rx_busy;
    bool tx_busy;
    struct pbft_channel *channel;
    /* rx token: bytes as they come. A record that was opened is parsed where it lies. */
    uint8_t *in;
    uint32_t in_capacity;
    uint32_t in_start; /* first byte not consumed */
    uint32_t in_fill;
    uint32_t plain_at; /* next byte of the opened record; 0 = no opened record */
    uint32_t plain_end;
    uint32_t record_end;
    /* tx token: the record that is being written. */
    uint8_t *out;
    uint32_t out_capacity;
    uint32_t out_size;
    uint32_t out_sent;
    uint8_t *tell; /* handshake message that waits for tx, length included; NULL: none does */
    uint32_t tell_size;
    struct frames inbox;
    struct frames outbox;
};

struct listener {
    struct pbft_net *net;
    unsigned which;
    nng_stream_listener *stream;
    nng_aio *aio;
    uint16_t port;
    uint64_t retry_ns; /* accept again then; 0 = an accept is running */
};

enum dialer_state { DIALER_IDLE, DIALER_WAITING, DIALER_DIALING, DIALER_CONNECTED };

struct dialer {
    struct pbft_net *net;
    pbft_id id;
    enum dialer_state state;
    char *url;
    bool url_changed;
    nng_stream_dialer *stream; /* service thread and, while DIALING, nng */
    nng_aio *aio;
    uint64_t next_ns;
    uint64_t backoff_ns;
};

struct replica_slot {
    struct connection *current; /* where sends go */
    struct connection *shown;   /* UP told, DOWN not yet */
    uint64_t connects;
    uint64_t dropped;
    char last_failure[96];
};

struct bucket { /* hellos of one address, or what costs as much */
    struct address address;
    uint64_t tokens_milli;
    uint64_t last_ns; /* 0 = free */
};

struct pbft_net {
    pthread_mutex_t lock;
    pthread_cond_t owner_wake;
    pthread_cond_t service_wake;
    pthread_t service;
    const struct pbft_cluster *cluster;
    const struct pbft_keypair *self;
    struct pbft_frame_pool *pool;
    struct pbft_frame_pool *client_pool;
    struct pbft_net_limits limits;
    uint32_t n;
    bool replica;
    pbft_id id; /* when a replica */
    bool closing;
    bool owner_waiting;
    bool woken;
    bool service_due; /* work for the service thread before its time */
    struct listener listeners[LISTENERS];
    struct dialer dialers[PBFT_REPLICAS_MAX];
    struct replica_slot replicas[PBFT_REPLICAS_MAX];
    struct address listed[PBFT_REPLICAS_MAX];
    uint32_t listed_count;
    struct connection *connections; /* all */
    struct connection *half;        /* accepted and unfinished */
    struct connection *dead;        /* for the service thread */
    struct connection *dirty;       /* to flush */
    struct ring ready[2];           /* [0] replicas, [1] clients */
    unsigned turn;
    struct connection **hash;
    uint32_t hash_mask;
    uint64_t last_number;
    struct pbft_frame *news; /* EPOCH not told yet */
    uint32_t paused_count;
    uint32_t clients_open; /* authenticated and not done */
    struct bucket buckets[BUCKETS];
    struct pbft_net_stats stats;
};

uint64_t net_now(void);
/* The stream that a dial or an accept has brought, and NULL with *error if it failed. */
nng_stream *net_stream_of(nng_aio *aio, int *error);

/* frames.c */
bool frames_push(struct frames *q,
                 struct pbft_frame *frame);      /* takes the reference; false: memory */
struct pbft_frame *frames_pop(struct frames *q); /* NULL: empty */
void frames_clear(struct frames *q);

/* connection.c */
/* Takes the stream. `dialer` or `listener` >= 0. Starts the handshake. */
void connection_begin(struct pbft_net *net, nng_stream *stream, struct dialer *dialer,
                      unsigned listener);
/* With the lock: mark dead; the service thread does the rest. First reason stays. */
void connection_kill(struct connection *c, const char *reason);
/* Service thread, without the lock: close the stream, wait for callbacks. True when no token is
 * out any more. */
bool connection_reap(struct connection *c);
/* With the lock: the owner has seen, or will see, nothing more of it. Frees it if it is reaped. */
void connection_done(struct connection *c);
/* With the lock: unlink and free if nobody needs it any more. */
void connection_forget(struct connection *c);
/* With the lock: it has something for the owner. */
void connection_ready(struct connection *c);
struct connection *connection_find(struct pbft_net *net, uint64_t number);
/* With the lock: the handshake is over. False: refused (and killed). */
bool connection_open(struct connection *c, struct pbft_peer peer);
void connection_note_failure(struct connection *c, const char *text);
/* Start an aio on a stream that is not closed. False: it is closed, nothing was started. */
bool connection_start(struct connection *c, nng_aio *aio, uint8_t *bytes, size_t size);
/* tx token: write what the stream takes without waiting. 0: nothing, or it is lost or closed, as an
 * operation that is started then will say. */
size_t connection_write(struct connection *c, uint8_t *bytes, size_t size);

/* receive.c: rx token */
void receive_callback(void *argument);
void receive_more(struct connection *c);
void receive_resume(struct connection *c);

/* transmit.c: tx token */
void transmit_callback(void *argument);
/* With the lock: take the token if there is something to send. True: call transmit_run() unlocked.
 */
bool transmit_claim(struct connection *c);
void transmit_run(struct connection *c);
/* Handshake message, length included by us; `ending`: close afterwards. Any token; no lock. */
void transmit_tell(struct connection *c, const uint8_t *bytes, size_t size, bool ending);

/* gate.c: with the lock */
void gate_address(nng_stream *stream, struct address *out); /* no lock */
bool gate_parse(const char *url, struct address *out);      /* no lock; numeric hosts only */
bool gate_listed(const struct pbft_net *net, const struct address *address);
/* Make room for one more unfinished handshake; the oldest gives way. */
void gate_admit(struct pbft_net *net, const struct connection *newcomer);
/* What costs us as much as so many hellos. What exceeds the burst takes all that is
 * left after one hello. */
bool gate_hello(struct pbft_net *net, const struct address *address, uint32_t hellos);

/* listen.c, dial.c */
enum pbft_status listener_open(struct pbft_net *net, unsigned which, const char *url,
                               char error[256]);
void listener_accept(struct listener *l);
void listener_close(struct listener *l);
enum pbft_status dialer_init(struct pbft_net *net, pbft_id id);
void dialer_start(struct dialer *d); /* service thread, no lock, state DIALING */
void dialer_later(struct dialer *d); /* with the lock: try again after the back-off */
void dialer_close(struct dialer *d);

/* janitor.c */
void *service_run(void *argument);
void service_poke(struct pbft_net *net); /* with the lock */

/* inbox.c */
void owner_poke(struct pbft_net *net);                         /* with the lock */
void owner_news(struct pbft_net *net, struct pbft_span proof); /* no lock */

#endif
