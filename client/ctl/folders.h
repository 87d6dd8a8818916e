/**
 * client/ctl/folders.h - folders that a verb makes and fills: nothing is ever overwritten.
 */
#ifndef PBFT_CLIENT_CTL_FOLDERS_H
#define PBFT_CLIENT_CTL_FOLDERS_H

#include "pbft/types.h"

/* Made now. error takes one sentence without its full stop, 256 bytes. PBFT_STATUS_IO. */
enum pbft_status ctl_folder_make(const char *path, char error[256]) PBFT_MUST_USE;
/* Made, or there and empty. verb: what overwrites nothing. PBFT_STATUS_EXISTS, PBFT_STATUS_IO. */
enum pbft_status ctl_folder_claim(const char *path, const char *verb,
                                  char error[256]) PBFT_MUST_USE;

#endif
