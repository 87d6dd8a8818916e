/* Lines for people: the timeline, and the last events before an invariant broke. */
#include "tests/sim/timeline.h"

#include <inttypes.h>
#include <string.h>

void sim_end_name(char name[16], bool client, uint32_t index)
{
    snprintf(name, 16, "%c%" PRIu32, client ? 'c' : 'r', index);
}

/* "123456.789" ms with six decimals, without floating point. */
static size_t put_time(char *line, uint64_t ns)
{
    return (size_t)snprintf(line, SIM_LINE_BYTES, "%7" PRIu64 ".%06" PRIu64 " ", ns / 1000000,
                            ns % 1000000);
}

static void put_frame(char *text, size_t size, const struct sim_seen *e)
{
    char from[16], to[16], digest[8] = "";
    bool lost = e->kind == SIM_SEEN_LOST;
    sim_end_name(from, e->from_client, e->from);
    sim_end_name(to, e->to_client, e->to);
    const struct pbft_claim *c = &e->claim;
    if (!pbft_digest_is_zero(&c->digest))
        snprintf(digest, sizeof digest, "%02x%02x%02x", c->digest.bytes[0], c->digest.bytes[1],
                 c->digest.bytes[2]);
    char place[48] = "";
    if (c->seq > 0 || c->view > 0 || (c->type <= PBFT_COMMIT && c->type > PBFT_REQUEST))
        snprintf(place, sizeof place, "v %-3" PRIu64 " n %-5" PRIu64, c->view, c->seq);
    const char *verdict = lost ? "lost" : pbft_verdict_text(e->verdict);
    snprintf(text, size, "%c %3s %s %-3s %-12s %-13s %-6s %6" PRIu32 " B  %s",
             e->byzantine ? '!' : ' ', from, lost ? "-x" : "->", to, pbft_type_text(c->type), place,
             digest, e->size, verdict);
}

static const char *said(const struct sim_seen *e)
{
    return e->text == NULL ? "" : e->text;
}

static void put_replica(char *text, size_t size, const struct sim_seen *e)
{
    char from[16], to[16];
    sim_end_name(from, e->from_client, e->from);
    sim_end_name(to, e->to_client, e->to);
    const struct pbft_claim *c = &e->claim;
    char mark = e->byzantine ? '!' : ' ';
    switch (e->kind) {
    case SIM_SEEN_EXECUTED:
        snprintf(text, size,
                 "%c %3s        executes     v %-3" PRIu64 " n %-5" PRIu64 " %02x%02x%02x", mark,
                 from, c->view, c->seq, c->digest.bytes[0], c->digest.bytes[1], c->digest.bytes[2]);
        return;
    case SIM_SEEN_VIEW:
        snprintf(text, size, "%c %3s        %-12s v %-3" PRIu64, mark, from,
                 e->active ? "is in view" : "asks for view", c->view);
        return;
    case SIM_SEEN_STABLE:
        snprintf(text, size, "%c %3s        stable             n %" PRIu64, mark, from, c->seq);
        return;
    case SIM_SEEN_TRANSFER:
        snprintf(text, size, "%c %3s        fetches state to   n %" PRIu64, mark, from, c->seq);
        return;
    case SIM_SEEN_EVIDENCE: snprintf(text, size, "%c %3s accuses %s", mark, from, to); return;
    case SIM_SEEN_LOG: snprintf(text, size, "%c %3s        log: %s", mark, from, said(e)); return;
    case SIM_SEEN_FAULT: snprintf(text, size, "* FAULT: %s", said(e)); return;
    case SIM_SEEN_LIE: snprintf(text, size, "! %3s        LIE: %s", from, said(e)); return;
    case SIM_SEEN_SUBMITTED:
    case SIM_SEEN_ANSWERED:
        snprintf(text, size, "%c %3s        %-12s #%" PRIu64 " %s", mark, from,
                 e->kind == SIM_SEEN_SUBMITTED ? "submits" : "has answer", e->number, said(e));
        return;
    case SIM_SEEN_FAILURE: snprintf(text, size, "X FAILURE: %s", said(e)); return;
    case SIM_SEEN_DELIVERED:
    case SIM_SEEN_LOST: put_frame(text, size, e); return;
    }
}

void sim_timeline_line(const struct sim_seen *seen, char line[SIM_LINE_BYTES])
{
    size_t used = put_time(line, seen->at_ns);
    put_replica(line + used, SIM_LINE_BYTES - 1 - used, seen);
    for (size_t i = used; line[i] != '\0'; i++)
        if (line[i] == '\n') line[i] = ' '; /* one line an event, whatever the text */
    used = strlen(line);
    while (used > 0 && line[used - 1] == ' ')
        used--;
    line[used] = '\n';
    line[used + 1] = '\0';
}

void sim_timeline_head(FILE *file)
{
    fprintf(file, "#  virtual ms  who    whom message      view  number  digest    size   "
                  "verdict     (! Byzantine or hostile, * the world)\n");
}

void sim_timeline_observe(void *context, const struct sim_seen *seen)
{
    FILE *file = context;
    char line[SIM_LINE_BYTES];
    sim_timeline_line(seen, line);
    fputs(line, file);
}

/* ---- what broke ---- */

void sim_explain_observe(void *context, const struct sim_seen *seen)
{
    struct sim_explain *x = context;
    if (x->broken || seen->kind == SIM_SEEN_LOG) return; /* the first violation stays */
    if (seen->kind == SIM_SEEN_FAILURE) {
        x->broken = true;
        return;
    }
    sim_timeline_line(seen, x->lines[x->seen++ % SIM_LINES_KEPT]);
}

static const char *const invariants[] = {
    "?",
    "FAULTS 3.1, agreement: one digest is executed at a sequence number, everywhere",
    "FAULTS 3.2, commit durability: what q replicas committed is never prepared otherwise",
    "FAULTS 3.3, no gaps: execution advances by one",
    "FAULTS 3.4, validity: what is executed, a client signed, or it is null",
    "FAULTS 3.5, no self-equivocation: a correct replica says one thing in each place",
    "FAULTS 3.6, durable before sent: every vote sent is in the synced log",
    "FAULTS 3.7, certificates re-verify with an independent checker",
    "FAULTS 3.8, prepared uniqueness: one digest prepares in a view at a sequence number",
    "FAULTS 3.9, views only grow",
    "FAULTS 3.10, the O of a NEW-VIEW is the recomputed one",
    "FAULTS 3.11, a stable checkpoint has its quorum, and h only grows",
    "FAULTS 3.12, equal sequence numbers have equal state roots",
    "FAULTS 3.13, watermarks: nothing is accepted outside (h, h+L]",
    "FAULTS 3.14, a VIEW-CHANGE names all that is prepared",
    "FAULTS 3.15, exactly once: a request has one execution and one result",
    "FAULTS 3.16, the clients' history is linearizable",
    "FAULTS 3.17, an accepted reply is the oracle's",
    "FAULTS 3.18, bounded memory",
    "FAULTS 3.19, determinism: equal seeds have equal traces",
    "FAULTS 3.20, a correct replica is never accused",
    "FAULTS 3.21, liveness: after the network healed all is answered and states converge",
    "FAULTS 3.22, no needless view change",
    "FAULTS 3.23, an installed state is the certified one",
    "FAULTS 3.24, messages for a request are bounded",
};

const char *sim_explain_invariant(const char *failure)
{
    const char *at = strstr(failure, "FAULTS 3.");
    if (at == NULL) return NULL;
    size_t number = 0;
    for (at += 9; *at >= '0' && *at <= '9' && number < 100; at++)
        number = number * 10 + (size_t)(*at - '0');
    return number == 0 || number >= sizeof invariants / sizeof *invariants ? NULL
                                                                           : invariants[number];
}

void sim_explain_write(const struct sim_explain *x, const char *failure, FILE *file)
{
    const char *invariant = sim_explain_invariant(failure);
    fprintf(file, "\nFirst violated: %s\n", invariant == NULL ? failure : invariant);
    if (invariant != NULL) fprintf(file, "In detail:      %s\n", failure);
    uint64_t count = x->seen < SIM_LINES_KEPT ? x->seen : SIM_LINES_KEPT;
    fprintf(file, "The last %" PRIu64 " of %" PRIu64 " events before it:\n", count, x->seen);
    for (uint64_t i = x->seen - count; i < x->seen; i++)
        fputs(x->lines[i % SIM_LINES_KEPT], file);
}
