/**
 * client/ctl/ask.h - the same question to every replica at once, and what may be believed of the
 * answers: each is the word of one replica, and may be a liar's.
 */
#ifndef PBFT_CLIENT_CTL_ASK_H
#define PBFT_CLIENT_CTL_ASK_H

#include "client/ctl/ctl.h"
#include "pbft/wire.h"

/* One replica may take this long at most, whatever --timeout says: a silent one must not hold up
 * those that answer. */
#define CTL_ASK_MAX_NS UINT64_C(1000000000)

uint64_t ctl_ask_timeout(const struct ctl_options *options); /* --timeout, at most CTL_ASK_MAX_NS */

/* One question to one replica; asks again while it is not connected and time is left. The caller
 * frees the answer when OK is returned. */
enum pbft_status ctl_ask(struct pbft_client *client, pbft_id replica, enum pbft_admin_kind kind,
                         struct pbft_span argument, uint64_t timeout_ns,
                         struct pbft_answer *answer);

/* Calls visit(context, id) for each replica 0 .. n-1, each on a thread of its own, and waits. A
 * replica whose thread cannot be had is visited on the caller's. */
void ctl_ask_all(uint32_t n, void (*visit)(void *context, pbft_id id), void *context);

/* Says why not one replica answers; returns the exit code. */
int ctl_nobody(struct pbft_client *client);

#endif
