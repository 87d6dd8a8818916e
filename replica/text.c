#include "replica/text.h"

#include "pbft/quorum.h"

#include <stdarg.h>
#include <stdio.h>

void pbft_text_put(struct pbft_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = text->size < text->capacity ? text->capacity - text->size : 0;
    int written = vsnprintf(room == 0 ? NULL : text->out + text->size, room, format, arguments);
    va_end(arguments);
    PBFT_ASSERT(written >= 0);
    text->size += (size_t)written;
}

void pbft_text_put_ids(struct pbft_text *text, pbft_signers set)
{
    const char *comma = "";
    pbft_text_put(text, "[");
    for (pbft_id id = 0; id < PBFT_REPLICAS_MAX; id++) {
        if (!pbft_signers_has(set, id)) continue;
        pbft_text_put(text, "%s%u", comma, (unsigned)id);
        comma = ",";
    }
    pbft_text_put(text, "]");
}
