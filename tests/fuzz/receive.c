/*
 * tests/fuzz/receive.c - the bytes of a connection (net/receive.c): length prefixes, handshake
 * messages, records, frames; cut into any pieces, under back pressure and with a pool that runs
 * dry.
 *
 * The real file, with the rest of net/ and the channel replaced by the few lines below: no sockets,
 * no cryptography (tests/fuzz/channel.c has that). However the stream is cut, the frames come
 * out and the connection ends as in a parser that has the whole stream and no bounds to keep.
 *
 * Input: u8 how, u8 seed of the cuts, then the stream. A handshake message is judged by its first
 * byte: 'm' more, 'd' done, anything else fails. A record opens unless its first byte is 0xee.
 */
#include "net/receive.c"
#include "tests/fuzz/fuzz.h"

struct pbft_channel {
    bool failed;
    unsigned messages;
};

static struct pbft_net net;
static struct connection conn;
static struct pbft_channel channel;
static const uint8_t news[5] = "proof";
static struct pbft_frame_pool pool;
static int64_t live;
static unsigned dry; /* every so many allocations fail once */
static unsigned allocations;

static struct {
    struct pbft_span stream;
    uint32_t cuts; /* 0: as much as fits */
    uint8_t *into;
    size_t room, count;
    uint64_t frames, hash;
    bool killed, opened;
} run;

/* ---- instead of the rest of net/ ---- */

uint64_t net_now(void)
{
    return 1;
}

void connection_kill(struct connection *c, const char *reason)
{
    REQUIRE(reason[0] != '\0');
    c->dead = true;
    run.killed = true;
}

void connection_ready(struct connection *c)
{
    (void)c;
}

bool connection_open(struct connection *c, struct pbft_peer peer)
{
    c->peer = peer;
    c->open = true;
    run.opened = true;
    return true;
}

void connection_note_failure(struct connection *c, const char *text)
{
    (void)c;
    REQUIRE(text != NULL);
}

bool connection_start(struct connection *c, nng_aio *aio, uint8_t *bytes, size_t size)
{
    (void)aio;
    REQUIRE(size > 0 && bytes == c->in + c->in_fill && c->in_fill + size <= c->in_capacity);
    run.into = bytes;
    run.room = size;
    return true;
}

void transmit_tell(struct connection *c, const uint8_t *bytes, size_t size, bool ending)
{
    REQUIRE(size > 0 && size <= PBFT_HANDSHAKE_MAX_BYTES && bytes != NULL);
    if (ending) c->ending = true;
}

bool gate_hello(struct pbft_net *n, const struct address *address, uint32_t hellos)
{
    (void)n;
    (void)address;
    REQUIRE(hellos > 0);
    return true;
}

void owner_news(struct pbft_net *n, struct pbft_span proof)
{
    (void)n;
    REQUIRE(channel.failed && proof.size == sizeof news);
}

void owner_poke(struct pbft_net *n)
{
    (void)n;
}

const char *pbft_net_refusal_text(enum pbft_net_refusal refusal)
{
    (void)refusal;
    return "refused";
}

int nng_aio_result(nng_aio *aio)
{
    (void)aio;
    return 0;
}

size_t nng_aio_count(nng_aio *aio)
{
    (void)aio;
    return run.count;
}

/* ---- instead of the channel ---- */

/* Every other message is one that may be long. */
size_t pbft_channel_next_max(const struct pbft_channel *c)
{
    return c->messages % 2 == 0 ? PBFT_HANDSHAKE_FIRST_BYTES : PBFT_HANDSHAKE_MAX_BYTES;
}

uint32_t pbft_channel_next_cost(const struct pbft_channel *c)
{
    return c->messages % 2 == 0 ? 1 : 7;
}

bool pbft_channel_news(const struct pbft_channel *c, struct pbft_span *proof)
{
    REQUIRE(c->failed);
    *proof = (struct pbft_span){news, sizeof news};
    return c->messages % 2 == 0;
}

enum pbft_channel_step pbft_channel_step(struct pbft_channel *c, struct pbft_span in, uint8_t *out,
                                         size_t *out_size)
{
    REQUIRE(in.size >= 1 && in.size <= pbft_channel_next_max(c) && !c->failed);
    c->messages++;
    memset(out, in.data[in.size - 1], PBFT_HANDSHAKE_MAX_BYTES);
    *out_size = in.data[0] == 'd' ? 0 : 12;
    if (in.data[0] == 'm') return PBFT_CHANNEL_MORE;
    if (in.data[0] == 'd') return PBFT_CHANNEL_DONE;
    c->failed = true;
    return PBFT_CHANNEL_FAIL;
}

struct pbft_peer pbft_channel_peer(const struct pbft_channel *c)
{
    REQUIRE(!c->failed);
    return (struct pbft_peer){conn.listener == LISTENER_CLIENTS ? PBFT_PEER_CLIENT
                                                                : PBFT_PEER_REPLICA,
                              1, 1};
}

enum pbft_channel_failure pbft_channel_failure(const struct pbft_channel *c)
{
    return c->failed ? PBFT_CHANNEL_MALFORMED : PBFT_CHANNEL_NO_FAILURE;
}

const char *pbft_channel_reason(const struct pbft_channel *c)
{
    return c->failed ? "failed" : "";
}

size_t pbft_channel_refusal(enum pbft_channel_failure failure, uint8_t *out)
{
    memset(out, (int)failure, 12);
    return 12;
}

bool pbft_channel_open_record(struct pbft_channel *c, struct pbft_span sealed, uint8_t *out)
{
    REQUIRE(!c->failed && sealed.size >= PBFT_CHANNEL_OVERHEAD && out == sealed.data + 1);
    if (sealed.data[0] == 0xee) return false;
    return true; /* the plaintext stands where it is, one byte in, as the real one leaves it */
}

/* ---- the pool ---- */

static struct pbft_frame *frame_alloc(struct pbft_frame_pool *p, uint32_t capacity)
{
    REQUIRE(capacity <= net.limits.frame_max_bytes);
    if (dry != 0 && ++allocations % dry == 0) return NULL;
    struct pbft_frame *frame = malloc(sizeof *frame + capacity);
    REQUIRE(frame != NULL);
    frame->pool = p;
    atomic_init(&frame->refs, 1);
    frame->size = 0;
    frame->capacity = capacity;
    live++;
    return frame;
}

static void frame_free(struct pbft_frame_pool *p, struct pbft_frame *frame)
{
    (void)p;
    live--;
    free(frame);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    REQUIRE(pthread_mutex_init(&net.lock, NULL) == 0);
    pool = (struct pbft_frame_pool){frame_alloc, frame_free};
    net.pool = net.client_pool = &pool;
    net.limits.frame_max_bytes = 512;
    net.limits.client_frame_max_bytes = 64;
    net.limits.in_max_bytes = 1024;
    net.limits.client_in_max_bytes = 256;
    net.limits.connections_max = 8;
    return 0;
}

/* ---- one run over the stream ---- */

static void drain(void)
{
    struct pbft_frame *frame;
    while ((frame = frames_pop(&conn.inbox)) != NULL) {
        REQUIRE(frame->size > 0 && frame->size <= frame->capacity);
        for (uint32_t i = 0; i < frame->size; i++)
            run.hash = (run.hash ^ frame->bytes[i]) * UINT64_C(0x100000001b3);
        run.hash = (run.hash ^ frame->size) * UINT64_C(0x100000001b3);
        run.frames++;
        pbft_frame_release(frame);
    }
}

static size_t next_cut(void)
{
    if (run.cuts == 0) return SIZE_MAX;
    run.cuts = run.cuts * 1664525u + 1013904223u;
    return 1 + (run.cuts >> 16) % (run.cuts & 0x8000u ? 7u : 300u);
}

static void receive(struct pbft_span stream, uint8_t how, uint32_t cuts)
{
    memset(&run, 0, sizeof run);
    memset(&conn, 0, sizeof conn);
    memset(&net.stats, 0, sizeof net.stats);
    net.paused_count = 0;
    channel.failed = false;
    channel.messages = 0;
    allocations = 0;
    run.stream = stream;
    run.cuts = cuts;
    conn.net = &net;
    conn.channel = &channel;
    conn.handshaking = true;
    conn.listener = how & 1u ? LISTENER_CLIENTS : LISTENER_PEERS;
    conn.rx_busy = true;
    receive_more(&conn);
    while (run.into != NULL && run.stream.size > 0) {
        run.count = next_cut();
        if (run.count > run.room) run.count = run.room;
        if (run.count > run.stream.size) run.count = run.stream.size;
        memcpy(run.into, run.stream.data, run.count);
        run.stream.data += run.count;
        run.stream.size -= run.count;
        run.into = NULL;
        receive_callback(&conn);
        while (conn.paused) {
            REQUIRE(!conn.rx_busy && net.paused_count == 1);
            drain();
            conn.paused = false;
            net.paused_count = 0;
            conn.rx_busy = true;
            receive_resume(&conn);
        }
        REQUIRE(conn.inbox.bytes <= net.limits.in_max_bytes + BATCH_BYTES + 1024);
        if (!(how & 2u)) drain();
        REQUIRE((run.into == NULL) == !conn.rx_busy);
    }
    drain();
    frames_clear(&conn.inbox);
    free(conn.in);
    REQUIRE(live == 0);
}

/* ---- the same stream, read in the simplest way ---- */

/* The frames of one opened record; false: it is malformed. */
static bool plain_frames(struct pbft_span plain, uint32_t most)
{
    while (plain.size > 0) {
        uint32_t size = plain.size < 4 ? 0 : pbft_get_u32(plain.data);
        if (size == 0 || size > most || size > plain.size - 4) return false;
        for (uint32_t i = 0; i < size; i++)
            run.hash = (run.hash ^ plain.data[4 + i]) * UINT64_C(0x100000001b3);
        run.hash = (run.hash ^ size) * UINT64_C(0x100000001b3);
        run.frames++;
        plain.data += 4 + size;
        plain.size -= 4 + size;
    }
    return true;
}

static void read_simply(struct pbft_span stream, uint8_t how)
{
    uint32_t most = how & 1u ? net.limits.client_frame_max_bytes : net.limits.frame_max_bytes;
    bool open = false, dead = false;
    unsigned messages = 0;
    memset(&run, 0, sizeof run);
    while (!dead && stream.size >= 4) {
        uint32_t size = pbft_get_u32(stream.data);
        dead = open
                   ? size < PBFT_CHANNEL_OVERHEAD || size > RECORD_PLAIN_MAX + PBFT_CHANNEL_OVERHEAD
                   : size == 0 || size > (messages % 2 == 0 ? PBFT_HANDSHAKE_FIRST_BYTES
                                                            : PBFT_HANDSHAKE_MAX_BYTES);
        if (dead) run.killed = true;
        if (dead || size > stream.size - 4) break;
        const uint8_t *in = stream.data + 4;
        if (!open) messages++;
        if (open) {
            struct pbft_span plain = {in + 1, size - PBFT_CHANNEL_OVERHEAD};
            dead = in[0] == 0xee || !plain_frames(plain, most);
            run.killed = dead;
        } else if (in[0] == 'd') {
            open = run.opened = true;
        } else {
            dead = in[0] != 'm'; /* a "no" goes out, and then it is closed */
        }
        stream.data += 4 + size;
        stream.size -= 4 + size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    uint8_t how = fuzz_u8(&f), seed = fuzz_u8(&f);
    dry = how & 4u ? 2 + (how >> 3) % 4u : 0;
    receive((struct pbft_span){f.at, f.left}, how, 0);
    uint64_t frames = run.frames, hash = run.hash;
    bool killed = run.killed, opened = run.opened;
    read_simply((struct pbft_span){f.at, f.left}, how);
    REQUIRE(frames == run.frames && hash == run.hash);
    REQUIRE(killed == run.killed && opened == run.opened);
    receive((struct pbft_span){f.at, f.left}, how, 1u + seed);
    REQUIRE(frames == run.frames && hash == run.hash);
    REQUIRE(killed == run.killed && opened == run.opened);
    return 0;
}
