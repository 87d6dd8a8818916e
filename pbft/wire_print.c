/* pbft/wire_print.c - messages as one line of text, out of the same schemas as their bytes. */
#include "pbft/wire_io.h"

const char *pbft_type_text(uint8_t type)
{
    switch ((enum pbft_type)type) {
    case PBFT_REQUEST: return "REQUEST";
    case PBFT_PRE_PREPARE: return "PRE-PREPARE";
    case PBFT_PREPARE: return "PREPARE";
    case PBFT_COMMIT: return "COMMIT";
    case PBFT_CHECKPOINT: return "CHECKPOINT";
    case PBFT_VIEW_CHANGE: return "VIEW-CHANGE";
    case PBFT_NEW_VIEW: return "NEW-VIEW";
    case PBFT_STATUS_MSG: return "STATUS";
    case PBFT_FETCH: return "FETCH";
    case PBFT_BATCH: return "BATCH";
    case PBFT_PAGE: return "PAGE";
    case PBFT_CERTIFICATE: return "CERTIFICATE";
    case PBFT_HEADER: return "HEADER";
    case PBFT_REPLY: return "REPLY";
    case PBFT_QUERY: return "QUERY";
    case PBFT_QUERY_REPLY: return "QUERY-REPLY";
    case PBFT_BUSY: return "BUSY";
    case PBFT_RESULT_FETCH: return "RESULT-FETCH";
    case PBFT_ADMIN: return "ADMIN";
    case PBFT_ADMIN_REPLY: return "ADMIN-REPLY";
    }
    return "?";
}

const char *pbft_wire_print(const struct pbft_msg *msg, char *out, size_t capacity)
{
    if (capacity == 0) return "";
    struct pbft_msg copy = *msg;
    struct pbft_io io = {.mode = PBFT_IO_PRINT, .out = (uint8_t *)out, .end = capacity - 1};
    pbft_wire_message(&io, &copy);
    out[io.at] = '\0';
    return out;
}
