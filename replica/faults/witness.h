/**
 * replica/faults/witness.h - what the strategy `witness` writes: every signed statement of the
 * agreement that a correct replica sends or receives, so that all statements of all incarnations of
 * all replicas can be compared after a run (make crash).
 *
 * Records of WITNESS_BYTES, appended by one write() each before the frame leaves, so that they
 * outlive a kill -9: whatever another process may have seen of a statement, the file has it.
 *
 *     at  size
 *      0     1  's': its own, sent by this replica; 'r': received, or another's
 *                 passed on; 'q': quoted inside another message
 *      1     1  enum pbft_type
 *      2     1  sender: the replica that signed it
 *      3     1  0
 *      4     4  epoch, little-endian
 *      8     8  view, little-endian; 0 in a CHECKPOINT
 *     16     8  sequence number; 0 in VIEW-CHANGE and NEW-VIEW
 *     24    16  the beginning of the hash of what the signature covers
 */
#ifndef PBFT_FAULTS_WITNESS_H
#define PBFT_FAULTS_WITNESS_H

#include "replica/node.h"

#define WITNESS_BYTES    40u
#define WITNESS_EPOCH    4u
#define WITNESS_VIEW     8u
#define WITNESS_SEQ      16u
#define WITNESS_HASH     24u
#define WITNESS_VARIABLE "PBFT_WITNESS" /* the file's name */

struct pbft_witness; /* opaque */

/* Append to the file that WITNESS_VARIABLE names; `error` takes one sentence if it is NULL. */
struct pbft_witness *pbft_witness_open(const struct pbft_cluster *cluster, pbft_id self,
                                       char error[256]);
/* `sent`: it is about to leave. False: this was written before, or it is no signed statement. */
bool pbft_witness_see(struct pbft_witness *witness, bool sent, struct pbft_frame *frame);
void pbft_witness_close(struct pbft_witness *witness); /* NULL is allowed */

#endif
