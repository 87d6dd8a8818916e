/**
 * tests/sim/fixture_clients.h - what the clients' files of the fixture share: the history of the
 * honest ones and the state of the hostile ones. Each hangs on one pointer of struct sim.
 */
#ifndef PBFT_TESTS_SIM_FIXTURE_CLIENTS_H
#define PBFT_TESTS_SIM_FIXTURE_CLIENTS_H

#include "tests/sim/fixture_internal.h"

/* ---- history (fixture_history.c) ---- */

/* When an operation was called and answered, on a clock that no two of them share: virtual time,
 * moved on by a nanosecond where two would be equal. */
struct past {
    uint64_t call_ns, return_ns; /* LINEAR_PENDING: not answered */
    uint8_t *results;            /* items, as the client accepted them */
    size_t size;
};
struct history {
    struct past *past; /* by number of the operation */
    size_t capacity;
    uint64_t clock_ns;
    uint64_t *patience_ns; /* by client: gives up after that; 0: never */
    uint64_t budget;       /* of linear_check() */
};
struct history *history_of(struct sim *sim); /* made when first asked for */
void history_submitted(struct sim *sim, size_t number);
/* What a client accepted. A read has one result, `results` is it; a request has items. */
void history_answered(struct sim *sim, size_t number, struct pbft_span results);
void history_free(struct sim *sim);
/* FAULTS 3.16 for a fast RANGE: all that it found was there at one moment, not before `op->floor`.
 */
void check_fast_range(struct sim *sim, const struct op *op, size_t number);

/* ---- hostile clients (fixture_hostile.c) ---- */

uint64_t hostile_due(const struct sim *sim, uint32_t client); /* NEVER: it is not hostile */
void hostile_tick(struct sim *sim, uint32_t client);
/* An honest client's request, which others may come to know. */
void hostile_overhears(struct sim *sim, struct pbft_frame *frame);
void hostile_free(struct sim *sim);

/* ---- fixture_client.c, fixture_load.c ---- */

void client_schedule(struct sim *sim, uint32_t client);
/* Fill the window of a client that has a load. */
void client_load_more(struct sim *sim, uint32_t client);
struct pbft_span text_span(const char *text);

#endif
