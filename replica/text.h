/**
 * replica/text.h - a writer of text into a buffer of fixed size: JSON of `status`, metrics.
 *
 * Nothing is written beyond the capacity; `size` goes on counting, as snprintf() does, so that the
 * caller sees what was needed.
 */
#ifndef PBFT_REPLICA_TEXT_H
#define PBFT_REPLICA_TEXT_H

#include "pbft/types.h"

struct pbft_text {
    char *out;
    size_t capacity, size;
};

__attribute__((format(printf, 2, 3))) void pbft_text_put(struct pbft_text *text, const char *format,
                                                         ...);
/* A JSON array of the ids in `set`: [0,2]. */
void pbft_text_put_ids(struct pbft_text *text, pbft_signers set);

#endif
