/**
 * tests/sim/mutator.h - an adversary without a plan: Byzantine replicas that run the real node and
 * spoil what it says. At random they withhold, delay, repeat and alter frames, put other numbers
 * and digests into fields and sign again, tell every recipient something else, replay what they
 * once heard from anybody, and say things of their own (votes, old VIEW-CHANGEs, forged NEW-VIEWs,
 * floods of STATUS and FETCH).
 *
 * Scripted strategies (replica/faults) test what somebody thought of; this one looks for the rest.
 * Everything is drawn from the sim's seed, so a failure repeats.
 *
 *     o.byzantine = pbft_signers_of(2);
 *     struct sim *sim = sim_new(&o);
 *     struct mutator *m = mutator_new(sim, o.byzantine);      all of o.byzantine, as one conspiracy
 *     mutator_level(m, 300);                      of 1000 frames, so many are spoilt
 *     ...
 *     mutator_free(m);                            before sim_free()
 */
#ifndef PBFT_TESTS_MUTATOR_H
#define PBFT_TESTS_MUTATOR_H

#include "tests/sim/fixture.h"

struct mutator; /* opaque */

struct mutator *mutator_new(struct sim *sim, pbft_signers liars);
void mutator_free(struct mutator *m);
void mutator_level(struct mutator *m, uint32_t per_mille);
/* How often it withheld, repeated, altered or invented something. */
uint64_t mutator_acts(const struct mutator *m);

#endif
