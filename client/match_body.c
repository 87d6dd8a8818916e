/* client/match_body.c - the body of an answer: who brings it, how long it is waited for, and who is
 * asked when it does not come (PROTOCOL 34).
 *
 * Whoever let us wait in vain is not waited for again until it has brought BODIES_OWED bodies in
 * time: one replica that lies, or that is fetching the state, would otherwise delay every n-th
 * answer, and with a fixed number of them outstanding all the others, too.
 *
 * What is decided here is who is asked when, never what is accepted: that takes q equal digests. */
#include "client/match_internal.h"

#define BODIES_OWED 64u

/* A body is late when it takes QUORUM_TIMES as long after the digests of q as these took after the
 * sending: who answers just in time then costs a small multiple of what an answer costs anyway. Not
 * less than PATIENCE_MIN_NS, for replicas that are as quick as that differ by a flush of their
 * disks or a turn of the scheduler; not more than retry_ns / PATIENCE_DIVISOR, for the q-th digest
 * may be late for a reason of its own, like a change of view.
 *
 * Digests do not say how large the body is; the bodies of late do, if it is like them. A byte takes
 * NS_PER_BYTE: 16 MB/s is a slow link, or a fast one that many clients share. */
#define QUORUM_TIMES     4u
#define PATIENCE_MIN_NS  UINT64_C(5000000)
#define PATIENCE_DIVISOR 8u
#define NS_PER_BYTE      64u
#define BODY_DECAY       8u /* a smaller body lowers what is expected by 1/8 of the difference */

static pbft_signers reliable(const struct pbft_match *m)
{
    pbft_signers all = m->connected;
    for (pbft_id id = 0; id < m->n; id++)
        if (m->bodies_owed[id] > 0) all &= ~pbft_signers_of(id);
    return all;
}

/* The next of the set after `id`, in turn; `id` itself comes last. The set has members. */
static pbft_id next_of(const struct pbft_match *m, pbft_signers set, pbft_id id)
{
    do
        id = id + 1 < m->n ? id + 1 : 0;
    while (!pbft_signers_has(set, id));
    return id;
}

pbft_signers match_body_sources(const struct pbft_match *m, pbft_id designated)
{
    pbft_signers good = reliable(m), sources = pbft_signers_of(designated);
    if (good != 0 && !pbft_signers_has(good, designated))
        sources |= pbft_signers_of(next_of(m, good, designated));
    return sources;
}

void match_body_wanted(struct match_exchange *e, pbft_signers sources, uint64_t now_ns)
{
    e->sources = e->awaited = sources;
    e->sent_ns = now_ns;
}

uint64_t match_patience_max(const struct pbft_match *m)
{
    uint64_t most = m->config.retry_ns / PATIENCE_DIVISOR;
    return most == 0 ? 1 : most;
}

static uint64_t body_patience(const struct pbft_match *m, uint64_t took_ns)
{
    uint64_t most = match_patience_max(m);
    uint64_t wait = took_ns < most / QUORUM_TIMES ? QUORUM_TIMES * took_ns : most;
    if (wait < PATIENCE_MIN_NS) wait = PATIENCE_MIN_NS;
    wait += NS_PER_BYTE * m->body_bytes;
    return wait < most ? wait : most;
}

void match_body_agreed(struct pbft_match *m, struct match_exchange *e, uint64_t now_ns)
{
    uint64_t took = now_ns - e->sent_ns, wait = body_patience(m, took);
    e->fetch_at_ns = e->patient_until_ns = now_ns + wait;
    /* Whoever is asked needs a round trip, which took no longer than the quorum. */
    if (took > m->config.retry_ns) took = m->config.retry_ns;
    e->fetch_interval = took > wait ? took : wait;
    for (e->fetch_from = 0; !pbft_signers_has(e->sources, e->fetch_from);)
        e->fetch_from++;
}

bool match_body_due(const struct pbft_match *m, struct match_exchange *e, uint64_t now_ns)
{
    /* A source may just be the slowest; once it has spoken without the body, or can not be reached,
     * or owes some, nothing is worth waiting for. Neither is who was asked and brought another one,
     * while there is somebody who was not. */
    bool waits = (e->awaited & reliable(m)) != 0;
    if (e->asked != 0)
        waits = (e->awaited & e->asked & m->connected) != 0 ||
                (match_agreeing(m, e) & m->connected & ~e->asked) == 0;
    if (!waits) e->fetch_at_ns = now_ns;
    return e->fetch_at_ns <= now_ns;
}

void match_body_heard(struct pbft_match *m, struct match_exchange *e, pbft_id from, bool whole,
                      uint64_t now_ns)
{
    pbft_signers bit = pbft_signers_of(from);
    /* A digest of who was asked may have been under way before the question. */
    if (whole || (e->asked & bit) == 0) e->awaited &= ~bit;
    if (!whole || (e->sources & ~e->paid & bit) == 0) return;
    e->paid |= bit;
    bool late = e->agreed && now_ns > e->patient_until_ns;
    if (!late && m->bodies_owed[from] > 0) m->bodies_owed[from]--;
}

/* Who was to bring a body by now, and brought none, owes. */
static void blame_silent(struct pbft_match *m, struct match_exchange *e, uint64_t now_ns)
{
    pbft_signers late = e->asked;
    if (now_ns >= e->patient_until_ns) late |= e->sources;
    late &= e->awaited;
    e->awaited &= ~late;
    for (pbft_id id = 0; id < m->n; id++)
        if (pbft_signers_has(late & m->connected, id)) m->bodies_owed[id] = BODIES_OWED;
}

bool match_body_ask(struct pbft_match *m, struct match_exchange *e, uint64_t now_ns)
{
    blame_silent(m, e, now_ns);
    e->fetch_at_ns = now_ns + e->fetch_interval;
    if (e->fetch_interval < m->config.retry_ns) e->fetch_interval *= 2;
    pbft_signers from = match_agreeing(m, e);
    if (from == 0) return false;
    if ((from & m->connected) != 0) from &= m->connected;
    /* Those that are relied on come first, but each of them once: nobody is asked for ever. */
    if ((from & reliable(m) & ~e->asked) != 0) from &= reliable(m) & ~e->asked;
    e->fetch_from = next_of(m, from, e->fetch_from);
    e->asked |= pbft_signers_of(e->fetch_from);
    e->awaited |= pbft_signers_of(e->fetch_from);
    return true;
}

void match_body_accepted(struct pbft_match *m, size_t bytes)
{
    if (bytes >= m->body_bytes)
        m->body_bytes = bytes;
    else
        m->body_bytes -= (m->body_bytes - bytes + BODY_DECAY - 1) / BODY_DECAY;
}
