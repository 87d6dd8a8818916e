/**
 * tests/sim/statement.h - whose word a frame is.
 */
#ifndef PBFT_TESTS_SIM_STATEMENT_H
#define PBFT_TESTS_SIM_STATEMENT_H

#include "pbft/wire.h"

/* A statement that its signer is bound by: what it claims, and who says it. A HEADER is the
 * PRE-PREPARE whose signature it carries. False for frames that state nothing of that kind. */
bool sim_statement(uint32_t n, struct pbft_span frame, struct pbft_claim *claim, pbft_id *signer);

#endif
