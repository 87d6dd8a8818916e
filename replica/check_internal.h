/* Shared by check_data.c (superblock, pages, report) and check_log.c (the vote log). */
#ifndef PBFT_REPLICA_CHECK_INTERNAL_H
#define PBFT_REPLICA_CHECK_INTERNAL_H

#include "crypto/door.h"
#include "replica/check_data.h"
#include "store/pages.h"
#include "store/superblock.h"

struct check {
    const struct pbft_check_config *config;
    struct pbft_superblock_owner owner; /* as it should be */
    struct pbft_door *door;
    struct pbft_peer self;
    struct pbft_superblock_info superblock;
    uint64_t findings; /* damaged or foreign */
    uint64_t failures; /* could not be read */
    char first[240];   /* the first of either */
    /* The checkpoint that is stored: seq 0 if there is none, or nothing of it is to be believed. */
    struct pbft_pages_checkpoint *checkpoint;
    bool pages_missing; /* there is no file */
    /* Whether it is known which state a restart would load, and that state's number: 0 is the empty
     * one. */
    bool loads;
    pbft_seq loaded;
};

__attribute__((format(printf, 2, 3))) void check_found(struct check *c, const char *format, ...);
__attribute__((format(printf, 2, 3))) void check_failed(struct check *c, const char *format, ...);
__attribute__((format(printf, 2, 3))) void check_say(struct check *c, const char *format, ...);

/* Whether q replicas have signed this checkpoint; `msg` is the opened certificate. */
bool check_certificate(struct check *c, const struct pbft_pages_checkpoint *cp,
                       struct pbft_msg *msg);

void check_log(struct check *c);

#endif
