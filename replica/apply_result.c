/* RESULT-FETCH: a client asks by (session, t) for what it may have heard the digest of only. */
#include "replica/apply_internal.h"

struct pbft_frame *pbft_apply_result(struct pbft_apply *apply, uint32_t client_index,
                                     uint64_t session, uint64_t t)
{
    PBFT_ASSERT(client_index < apply->cluster->client_count);
    struct apply_session s = pbft_apply_session_find(apply, client_index, session);
    uint32_t window = apply->cluster->params.session_window;
    struct apply_answer answer;
    if (!s.open || pbft_session_place(s.max_t, window, t) != PBFT_SESSION_WINDOW ||
        !pbft_apply_record_find(apply, &s, t, &answer))
        return NULL;
    return pbft_apply_reply(apply, session, t, &answer, true);
}
