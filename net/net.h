/**
 * net/net.h - proven peers and opaque frames over nng's byte streams (DESIGN 5, NOTES 0.1 and B).
 *
 * One struct pbft_net belongs to one replica or one client process. A replica listens for peers and
 * for clients on two ports and dials the replicas with greater ids; a client dials every replica.
 * Everything behind it (nng's threads, one service thread) is invisible: the owner's thread drains
 * events with pbft_net_poll(). Sending, waking, disconnecting and looking are allowed from any
 * thread.
 *
 *   Never silently lost, inbound: a full inbound queue or an empty frame pool stops reading from
 *   that connection (back pressure), nothing else. Frames of a connection arrive in order, after
 *   its UP and before its DOWN.
 *   Dropped and counted, outbound: a frame that does not fit into its connection's bounded queue,
 *   or that was still queued when the connection ended. STATUS retransmits what matters.
 *   Nothing a stranger does costs more than its address's share of handshakes.
 *
 * On the wire: u32 length (little-endian, capped before any allocation), then that many bytes: a
 * handshake message (crypto/channel.h) until both sides are proven, afterwards a sealed record
 * whose plaintext is (u32 length, frame) repeated. An empty record is a ping.
 */
#ifndef PBFT_NET_NET_H
#define PBFT_NET_NET_H

#include "crypto/channel.h"
#include "crypto/cluster.h"
#include "crypto/door.h"
#include "crypto/keys.h"
#include "pbft/frame.h"

/* ---- what the simulator implements too ---- */

enum pbft_net_event_kind {
    PBFT_NET_UP = 1, /* peer.connection is open; for replicas it is now the current one */
    PBFT_NET_DOWN,   /* it ended; `reason` says why; no more events of this connection */
    PBFT_NET_FRAME,  /* one frame from it; the receiver owns one reference: release it */
    PBFT_NET_EPOCH,  /* somebody has proven that the epoch after the net's own has begun (PROTOCOL
                      * 29): `frame`, to be released too, holds the proof (crypto/epoch.h), checked.
                      * The owner closes the net and opens one of that epoch; until then nobody who
                      * has moved on can be reached, and the event may come again */
};

struct pbft_net_event {
    enum pbft_net_event_kind kind;
    struct pbft_peer peer;    /* connection is never 0; EPOCH: all zero, for nobody vouches */
    const char *reason;       /* DOWN: short static text, else NULL */
    struct pbft_frame *frame; /* FRAME, EPOCH, else NULL */
};

/**
 * A transport: what pbftd, the client library and the simulator drive a node with.
 *
 * send  queue `frame` for `to` (retains it; the caller keeps its own reference). to->connection 0
 *       with kind REPLICA means the current connection of that replica. Never blocks. False: not
 *       connected, or the bounded queue is full; the frame is dropped and counted.
 * poll  the next events, at most `max`; waits at most timeout_ns (UINT64_MAX: for ever) when there
 *       are none. May return 0 early after a wake. Also starts the writes of what was sent.
 */
struct pbft_transport {
    void *self;
    bool (*send)(void *self, const struct pbft_peer *to, struct pbft_frame *frame);
    size_t (*poll)(void *self, uint64_t timeout_ns, struct pbft_net_event *events, size_t max);
};

/* ---- configuration ---- */

/* Bounds. A zero stands for the default in brackets. */
struct pbft_net_limits {
    uint32_t frame_max_bytes;        /* a frame from or to a replica [PBFT_FRAME_MAX_BYTES] */
    uint32_t client_frame_max_bytes; /* a frame from a client [PBFT_FRAME_MAX_BYTES] */
    uint64_t out_max_bytes;          /* queued for one connection, frames' bytes [32 MiB] */
    uint32_t out_max_frames;         /* [16384] */
    uint64_t in_max_bytes;           /* received from one replica, not polled yet [16 MiB] */
    uint64_t client_in_max_bytes;    /* the same for one client's connection [1 MiB] */
    uint32_t connections_max;        /* open connections of clients [1024] */
    uint32_t connections_per_client; /* of one client key; the oldest gives way [64] */
    uint32_t handshakes_max;         /* unfinished, per listener [64] */
    uint32_t handshakes_per_address; /* unfinished, per listener; 0 = [half of handshakes_max] */
    uint32_t hellos_per_second;      /* per address; the burst is twice this; a proof of
                                      * another epoch counts as q [500] */
    uint64_t handshake_timeout_ns;   /* [2 s] */
    uint64_t ping_ns;                /* a record at least this often [1 s] */
    uint64_t dead_ns;                /* silence after which a peer counts as dead [5 s] */
    uint64_t redial_min_ns;          /* [10 ms] */
    uint64_t redial_max_ns;          /* [1 s] */
};

struct pbft_net_config {
    const struct pbft_cluster *cluster;  /* sealed; outlives the net */
    const struct pbft_keypair *self;     /* a replica's key makes a replica, any other a client */
    struct pbft_frame_pool *pool;        /* for frames from replicas; outlives every frame */
    struct pbft_frame_pool *client_pool; /* for frames from clients, so that these cannot starve
                                          * replicas; NULL: the same */
    const char *listen_peers;            /* replica: "tcp://host:port", port 0 = any; NULL: none */
    const char *listen_clients;          /* replica: the same */
    /* cluster->params.n addresses by replica id: a replica gives peer addresses, a client the
     * client addresses. NULL, or an entry that is NULL: see pbft_net_address(). Copied. */
    const char *const *addresses;
    struct pbft_net_limits limits;
};

/* ---- the object ---- */

struct pbft_net; /* opaque */

/**
 * Bind, start to listen and to dial.
 *
 * error    takes one sentence when the status is not OK
 * Returns  PBFT_STATUS_NETWORK (address in use, bad address), MEMORY, ARGUMENT, or OK
 */
PBFT_MUST_USE enum pbft_status pbft_net_open(struct pbft_net **out,
                                             const struct pbft_net_config *config, char error[256]);
/* Close every connection at once, join, free. Undelivered frames are released. No other call may be
 * running. Traffic may. */
void pbft_net_close(struct pbft_net *net);

/* Set or change where a replica is dialled. PBFT_STATUS_ARGUMENT for an id that we do not dial. An
 * open connection stays. */
PBFT_MUST_USE enum pbft_status pbft_net_address(struct pbft_net *net, pbft_id id, const char *url);
/* Bound ports, 0 where there is no listener. */
uint16_t pbft_net_peer_port(const struct pbft_net *net);
uint16_t pbft_net_client_port(const struct pbft_net *net);

/* ---- use ---- */

/* As pbft_transport.poll. Owner's thread only. */
size_t pbft_net_poll(struct pbft_net *net, uint64_t timeout_ns, struct pbft_net_event *events,
                     size_t max);
/* Make the running poll, or the next one, return at once. Any thread; many wakes count as one. */
void pbft_net_wake(struct pbft_net *net);

/* As pbft_transport.send. Small frames wait for the next flush, so that a batch becomes one record:
 * pbft_net_poll() flushes; who sends from another thread calls pbft_net_flush(). */
bool pbft_net_send(struct pbft_net *net, const struct pbft_peer *to, struct pbft_frame *frame);
/* To the current connection of each replica in `to` (but not to ourselves); one shared frame.
 * Returns those that took it. */
pbft_signers pbft_net_broadcast(struct pbft_net *net, pbft_signers to, struct pbft_frame *frame);
void pbft_net_flush(struct pbft_net *net);
/* End a connection at once (a client that earned it, a test). False: there is none of that number.
 * DOWN follows, with `reason` (static text). */
bool pbft_net_disconnect(struct pbft_net *net, uint64_t connection, const char *reason);

struct pbft_transport pbft_net_transport(struct pbft_net *net);

/* ---- looking ---- */

/* Why a connection never came to be: the handshake's own reasons (crypto/channel.h), then ours. */
#define PBFT_NET_REFUSALS(X)                                                                       \
    X(PBFT_NET_REFUSED_TIMEOUT, "timeout") /* the handshake took too long */                       \
    X(PBFT_NET_REFUSED_CLOSED, "closed")   /* the other side, or the network, ended it */          \
    X(PBFT_NET_REFUSED_SIZE, "size")       /* a length beyond the handshake's */                   \
    X(PBFT_NET_REFUSED_SLOTS, "slots")     /* had to give way to a newer one */                    \
    X(PBFT_NET_REFUSED_RATE, "rate")       /* its address says hello too often */                  \
    X(PBFT_NET_REFUSED_CLIENTS, "clients") /* connections_max is reached */                        \
    X(PBFT_NET_REFUSED_MEMORY, "memory")   /* ours ran out; or the pool, for an EPOCH */

enum pbft_net_refusal {
#define X(name, text) name,
    PBFT_NET_REFUSALS(X)
#undef X
        PBFT_NET_REFUSAL_COUNT
};
const char *pbft_net_refusal_text(enum pbft_net_refusal refusal);

struct pbft_net_stats {
    uint64_t frames_in, frames_out;
    uint64_t records_in, records_out; /* pings included */
    uint64_t bytes_in, bytes_out;     /* on the wire */
    uint64_t dropped_full;            /* outbound frames refused: the queue was full */
    uint64_t dropped_down;            /* outbound frames that their connection took along */
    uint64_t connected;               /* handshakes completed */
    uint64_t reconnected;             /* of these, replicas that had been connected before */
    uint64_t disconnected;
    uint64_t dials_failed;   /* no TCP connection came about */
    uint64_t accepts_failed; /* e.g. out of file descriptors; retried */
    uint64_t paused;         /* times that back pressure stopped reading */
    uint64_t handshakes_failed[PBFT_CHANNEL_FAILURE_COUNT]; /* by enum pbft_channel_failure */
    uint64_t refused[PBFT_NET_REFUSAL_COUNT];
    uint32_t replicas_up, clients_up, handshaking; /* now */
    uint64_t in_bytes, out_bytes;                  /* queued now */
};
void pbft_net_stats(struct pbft_net *net, struct pbft_net_stats *out);

struct pbft_net_peer_stats {
    uint64_t connection;          /* 0: not connected */
    uint64_t in_bytes, out_bytes; /* queued now */
    uint32_t out_frames;
    uint64_t dropped;      /* outbound frames to this replica, for any reason, ever */
    uint64_t connects;     /* ever */
    char last_failure[96]; /* why the last attempt to reach it failed; "" */
};
/* Of a replica. False: id out of range. */
bool pbft_net_peer(struct pbft_net *net, pbft_id id, struct pbft_net_peer_stats *out);

#endif
