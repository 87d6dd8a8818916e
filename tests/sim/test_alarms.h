/**
 * tests/sim/test_alarms.h - for tests in which the oracle must ring: a cluster that is sound, a
 * wrong thing that one of its replicas is made to do, and the alarm that has to follow.
 */
#ifndef PBFT_TESTS_SIM_TEST_ALARMS_H
#define PBFT_TESTS_SIM_TEST_ALARMS_H

#include "tests/sim/fixture_internal.h"

/* Four replicas and a client, whose operations are answered; nothing is wrong so far. */
struct sim *sound(uint64_t operations);
struct sim *sound_with(const struct sim_options *options, uint64_t operations);
/* The run has failed and says so by these words. Frees it. */
void rings(struct sim *sim, const char *words);
/* Nothing has rung. Frees it. */
void is_silent(struct sim *sim);

/* What the node of replica `id` is made to do, as its hooks hear of it. */
void decides(struct sim *sim, pbft_id id, const struct pbft_effect *effect);
/* The frames are consumed; `b` may be NULL. */
void persists(struct sim *sim, pbft_id id, enum pbft_record_kind record, struct pbft_frame *a,
              struct pbft_frame *b);
/* To one other replica, or to client 0. The frame is consumed. */
void says(struct sim *sim, pbft_id id, struct pbft_frame *frame);
void answers(struct sim *sim, pbft_id id, struct pbft_frame *frame);
/* The same of something that is synced in its log. */
void says_synced(struct sim *sim, pbft_id id, struct pbft_frame *frame);
/* A digest of nothing that there is. */
extern const struct pbft_digest some;
/* The frame with another last byte. Consumed; one reference is returned. */
struct pbft_frame *spoilt(struct sim *sim, struct pbft_frame *frame);
/* The checkpoint certificate that replica `id` would serve now. */
struct pbft_frame *certificate_of(struct sim *sim, pbft_id id);

/* ---- q replicas agree on a lie ---- */

#define LIE_BODY_MAX 1024u

/* What becomes of the body of an answer. */
struct lie {
    size_t at;              /* this byte is wrong */
    const char *find, *put; /* or this text, of equal length, */
    bool again;             /* or all of it: that of an earlier answer, */
    bool keep;              /* which is remembered while answers are true */
    bool told;
    uint8_t body[LIE_BODY_MAX];
    size_t size;
};
/* From now on; `lie` is borrowed. */
void lie_to_clients(struct sim *sim, struct lie *lie);

#endif
