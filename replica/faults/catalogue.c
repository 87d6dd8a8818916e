/* The names alone, apart from the code that acts them out: pbftctl links this file. */
#include "replica/faults/faults.h"

const struct pbft_fault_strategy pbft_fault_strategies[] = {
    {"silent", NULL, "Receives everything and says nothing, to replicas or clients."},
    {"equivocate", NULL, "As primary, proposes different batches to different backups."},
    {"lie-reply", NULL, "Answers clients with wrong results that hash correctly."},
    {"wrong-digest", NULL, "Votes PREPARE and COMMIT for digests that nobody proposed."},
    {"bad-signature", NULL, "Sends signed messages whose signature does not verify."},
    {"censor", "CLIENT", "Ignores one client's requests (CLIENT: its number in genesis)."},
    {"delay", "MS", "Holds every message to replicas back for MS milliseconds."},
    {"replay", NULL, "Sends old messages, its own and others', again and again."},
    {"forge-new-view", NULL, "As new primary, sends a NEW-VIEW whose O it made up."},
    {"wrong-checkpoint", NULL, "Signs checkpoints of a state that nobody has."},
    {"wrong-page", NULL, "Serves pages, to laggards and to backups, with a byte changed."},
    {"flip-state", "SEQ", "Does not lie: flips one bit of its own state once SEQ is executed."},
    {"witness", NULL, "Does not lie: appends each signed statement it sees to $PBFT_WITNESS."},
    {NULL, NULL, NULL},
};
