/**
 * replica/faults/faults.h - Byzantine strategies, wrapped around a real replica.
 *
 * A strategy sits at the node's hooks: it sees every frame that comes and goes and may forge,
 * withhold, delay or repeat it under the replica's own key. It can do whatever a replica that lost
 * its mind could, and nothing that cryptography forbids. pbftd-faulty, the simulator and the tests
 * act it out; pbftctl knows the names alone (catalogue.c); pbftd contains none of it.
 *
 * Each act is counted, so that a test can tell a strategy that lied from one that never had the
 * chance.
 */
#ifndef PBFT_FAULTS_H
#define PBFT_FAULTS_H

#include "replica/node.h"
#include "store/tree.h"

struct pbft_faults; /* opaque */

struct pbft_faults_config {
    const struct pbft_cluster *cluster;
    pbft_id id;
    const struct pbft_keypair *keypair;
    const struct pbft_signer *signer;
    struct pbft_frame_pool *pool;
};

/* What there is, for `pbftctl faults list`: ends with a NULL name. */
struct pbft_fault_strategy {
    const char *name;     /* "censor" */
    const char *argument; /* "CLIENT", or NULL */
    const char *text;     /* one sentence */
};
extern const struct pbft_fault_strategy pbft_fault_strategies[];

/**
 * spec   "silent", "delay=200", ...: a name, with "=argument" where the strategy takes one
 * error  takes one sentence when NULL is returned (unknown name, bad argument, out of memory)
 */
struct pbft_faults *pbft_faults_new(const char *spec, const struct pbft_faults_config *config,
                                    char error[256]);
void pbft_faults_free(struct pbft_faults *faults);

struct pbft_node_hooks pbft_faults_hooks(struct pbft_faults *faults);
/* For strategies that act later: give them time, and ask when they want it next (UINT64_MAX:
 * never). */
void pbft_faults_tick(struct pbft_faults *faults, struct pbft_node *node, uint64_t now_ns);
uint64_t pbft_faults_deadline(const struct pbft_faults *faults);
/* How often it lied, withheld, delayed or repeated something. */
uint64_t pbft_faults_acts(const struct pbft_faults *faults);

/* What flip-state has done to its own state. */
struct pbft_damage {
    uint8_t key[PBFT_TREE_KEY_MAX]; /* of the state tree (replica/apply_internal.h) */
    size_t key_size;
    uint32_t byte;             /* of the value; one bit of it was flipped */
    struct pbft_digest before; /* pbft_hash("pbft-value") of the right value */
    pbft_seq seq;              /* after which */
};
/* NULL: nothing yet, or it is another strategy. */
const struct pbft_damage *pbft_faults_damage(const struct pbft_faults *faults);

/* damage.c: flip one bit of the value of an entry of the service, `pick` says which. False: not now
 * (a job owns the state, it is about to be replaced, or there is none). */
bool pbft_damage_state(struct pbft_node *node, uint64_t pick, struct pbft_damage *out);

#endif
