/* client/match_body.c - the body of an answer: who brings it, how long it is waited for, and who is
 * asked when it does not come (PROTOCOL 34).
 *
 * Whoever let us wait in vain is not waited for again until it has brought BODIES_OWED bodies in
 * time: one replica that lies, or that is fetching the state, would otherwise delay every n-th
 * answer, and with a fixed number of them outstanding all the others, too. */
#include "client/match_internal.h"

#define FETCH_DIVISOR 8u /* a body that is late is asked for after retry_ns / 8 */
#define BODIES_OWED   64u

static pbft_signers reliable(const struct pbft_match *m)
{
    pbft_signers all = m->connected;
    for (pbft_id id = 0; id < m->n; id++)
        if (m->bodies_owed[id] > 0) all &= ~pbft_signers_of(id);
    return all;
}

static pbft_signers given(const struct pbft_match *m, const struct match_exchange *e)
{
    pbft_signers all = 0;
    for (pbft_id id = 0; id < m->n; id++)
        if (e->votes[id].given) all |= pbft_signers_of(id);
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

uint64_t match_fetch_interval(const struct pbft_match *m)
{
    uint64_t interval = m->config.retry_ns / FETCH_DIVISOR;
    return interval == 0 ? 1 : interval;
}

void match_body_agreed(struct pbft_match *m, struct match_exchange *e, uint64_t now_ns)
{
    e->fetch_interval = match_fetch_interval(m);
    e->fetch_at_ns = e->patient_until_ns = now_ns + e->fetch_interval;
    for (e->fetch_from = 0; !pbft_signers_has(e->sources, e->fetch_from);)
        e->fetch_from++;
}

bool match_body_due(const struct pbft_match *m, struct match_exchange *e, uint64_t now_ns)
{
    /* A source may just be the slowest; once it has spoken without the body, or can not be reached,
     * or owes some, nothing is worth waiting for. */
    bool waits = (e->sources & reliable(m) & ~given(m, e)) != 0;
    if (!waits && !e->asked) e->fetch_at_ns = now_ns;
    return e->fetch_at_ns <= now_ns;
}

void match_body_came(struct pbft_match *m, struct match_exchange *e, pbft_id from, uint64_t now_ns)
{
    pbft_signers bit = pbft_signers_of(from);
    if ((e->sources & ~e->paid & bit) == 0) return;
    e->paid |= bit;
    bool late = e->agreed && now_ns > e->patient_until_ns;
    if (!late && m->bodies_owed[from] > 0) m->bodies_owed[from]--;
}

bool match_body_ask(struct pbft_match *m, struct match_exchange *e, uint64_t now_ns)
{
    pbft_signers silent = e->sources & m->connected & ~given(m, e);
    for (pbft_id id = 0; !e->asked && now_ns >= e->patient_until_ns && id < m->n; id++)
        if (pbft_signers_has(silent, id)) m->bodies_owed[id] = BODIES_OWED;
    e->asked = true;
    e->fetch_at_ns = now_ns + e->fetch_interval;
    pbft_signers from = match_agreeing(m, e);
    if (from == 0) return false;
    if ((from & m->connected) != 0) from &= m->connected;
    e->fetch_from = next_of(m, from, e->fetch_from);
    return true;
}
