/**
 * client/client_files.h - where a client's files lie, by what its user gave.
 */
#ifndef PBFT_CLIENT_FILES_H
#define PBFT_CLIENT_FILES_H

#include "replica/config.h"

struct pbft_client_files {
    char config[PBFT_CONFIG_PATH_MAX];      /* client.conf */
    char epochs[PBFT_CONFIG_PATH_MAX + 16]; /* client.epochs, beside it */
};

/* given: client.conf, its folder, or the folder that `pbftctl init` made. PBFT_STATUS_ARGUMENT with
 * one sentence in `error`: the path is too long. */
enum pbft_status pbft_client_files(const char *given, struct pbft_client_files *out,
                                   char error[256]) PBFT_MUST_USE;

#endif
