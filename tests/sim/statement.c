#include "tests/sim/statement.h"

#include "pbft/quorum.h"

bool sim_statement(uint32_t n, struct pbft_span frame, struct pbft_claim *claim, pbft_id *signer)
{
    if (pbft_wire_peek(frame, claim) != PBFT_OK) return false;
    switch ((enum pbft_type)claim->type) {
    case PBFT_HEADER: /* the same signature */
        claim->type = PBFT_PRE_PREPARE;
        *signer = pbft_primary(n, claim->view);
        return true;
    case PBFT_PRE_PREPARE:
    case PBFT_NEW_VIEW: *signer = pbft_primary(n, claim->view); return true;
    case PBFT_PREPARE:
    case PBFT_COMMIT:
    case PBFT_CHECKPOINT:
    case PBFT_VIEW_CHANGE: *signer = claim->sender; return true;
    case PBFT_REQUEST:
    case PBFT_STATUS_MSG:
    case PBFT_FETCH:
    case PBFT_BATCH:
    case PBFT_PAGE:
    case PBFT_CERTIFICATE:
    case PBFT_REPLY:
    case PBFT_QUERY:
    case PBFT_QUERY_REPLY:
    case PBFT_BUSY:
    case PBFT_RESULT_FETCH:
    case PBFT_ADMIN:
    case PBFT_ADMIN_REPLY: break;
    }
    return false;
}
