/* PROTOCOL 4, 22, 27-29, 32, 38 where they are kept: in replica/node, with a world of a few lines
 * around one node (tests/rules/lone.h). */
#include "tests/rules/lone.h"

#include "pbft/pending.h"

#include <stdlib.h>
#include <string.h>

/* ---- PROTOCOL 4 ---- */

/* A client key may have several connections; replies follow the session's latest. */
Test(protocol, r4_replies_follow_the_sessions_latest_connection)
{
    struct lone *l = lone_new(false);
    for (uint64_t connection = 10; connection <= 12; connection++)
        lone_client_up(l, 0, connection);
    lone_from_client(l, 0, 10, net_request(l->t, 0, 1, 1, "op"));
    lone_from_client(l, 0, 12, net_request(l->t, 0, 1, 1, "op"));
    lone_from_client(l, 0, 11, net_request(l->t, 0, 2, 1, "another session"));
    cr_assert_eq(lone_commit(l, 1, 1, "op"), PBFT_OK);
    cr_assert_eq(lone_sent(l, PBFT_REPLY), 1u);
    for (size_t i = 0; i < l->out_count; i++)
        if (l->out[i].frame->bytes[0] == PBFT_REPLY) {
            cr_assert_eq(l->out[i].to.kind, PBFT_PEER_CLIENT);
            cr_assert_eq(l->out[i].to.connection, 12u);
        }
    lone_free(l);
}

/* ---- PROTOCOL 21 ---- */

/* A client that is there before the other replicas are: whoever took its request would leave its
 * view alone when the timer fires. */
Test(protocol, r21_no_request_is_taken_before_q_are_linked)
{
    struct lone *l = lone_new(false);
    lone_client_up(l, 0, 10);
    cr_assert_eq(lone_from_client(l, 0, 10, net_request(l->t, 0, 1, 1, "op")), PBFT_DROP_BUSY);
    lone_links_up(l, NET_BIT(2));
    cr_assert_eq(lone_from_client(l, 0, 10, net_request(l->t, 0, 1, 1, "op")), PBFT_DROP_BUSY);
    lone_pass(l, 2000);
    cr_assert_eq(lone_sent(l, PBFT_VIEW_CHANGE), 0u);
    lone_links_up(l, NET_BIT(3));
    cr_assert_eq(lone_from_client(l, 0, 10, net_request(l->t, 0, 1, 1, "op")), PBFT_OK);
    lone_pass(l, 600);
    cr_assert_gt(lone_sent(l, PBFT_VIEW_CHANGE), 0u, "a primary that does nothing is left");
    lone_free(l);
}

/* ---- PROTOCOL 22 ---- */

/* Admission depends only on session window and quota; BUSY is said to who is beyond his own. */
Test(protocol, r22_busy_beyond_the_quota_and_room_for_everybody_else)
{
    struct lone *l = lone_new(false);
    uint32_t quota = l->t->params.client_quota;
    lone_links_up(l, NET_BIT(2) | NET_BIT(3));
    lone_client_up(l, 0, 10);
    lone_client_up(l, 1, 11);
    for (uint64_t t = 1; t <= quota; t++)
        cr_assert_eq(lone_from_client(l, 0, 10, net_request(l->t, 0, 1, t, "op")), PBFT_OK);
    cr_assert_eq(lone_sent(l, PBFT_BUSY), 0u);
    cr_assert_eq(lone_from_client(l, 0, 10, net_request(l->t, 0, 1, quota + 1, "op")),
                 PBFT_DROP_QUOTA);
    cr_assert_eq(lone_sent(l, PBFT_BUSY), 1u);
    for (uint64_t t = 1; t <= quota; t++)
        cr_assert_eq(lone_from_client(l, 1, 11, net_request(l->t, 1, 1, t, "op")), PBFT_OK);
    cr_assert_eq(lone_sent(l, PBFT_BUSY), 1u);
    /* Replicas that forward have room of their own. Beyond it a request is refused without a word:
     * there is no client to tell. */
    uint32_t room = pbft_pending_room(&l->t->params, NET_CLIENTS);
    for (uint64_t t = 1; t <= room; t++)
        cr_assert_eq(lone_from_replica(l, 2, net_request(l->t, 0, 2, t, "op")), PBFT_OK);
    cr_assert_eq(lone_from_replica(l, 2, net_request(l->t, 0, 2, room + 1, "op")), PBFT_DROP_QUOTA);
    cr_assert_eq(lone_from_replica(l, 3, net_request(l->t, 0, 2, room + 1, "op")), PBFT_OK);
    cr_assert_eq(lone_sent(l, PBFT_BUSY), 1u);
    lone_pass(l, 600);
    cr_assert_eq(lone_sent(l, PBFT_VIEW_CHANGE), 3u, "BUSY does not stop the timer");
    lone_free(l);
}

/* The bytes of a client's own requests and reads leave those of forwarders alone. */
Test(protocol, r22_a_client_that_floods_leaves_forwarders_their_bytes)
{
    struct lone *l = lone_new(false);
    lone_links_up(l, NET_BIT(2) | NET_BIT(3));
    lone_client_up(l, 0, 10);
    char op[250];
    memset(op, 'x', sizeof op - 1);
    op[sizeof op - 1] = 0;
    uint32_t quota = l->t->params.client_quota;
    for (uint64_t i = 1; i <= quota; i++) /* held: of the future */
        cr_assert_eq(lone_from_client(l, 0, 10, lone_query_of(l, i, 1000, op)), PBFT_OK);
    cr_assert_eq(lone_from_client(l, 0, 10, lone_query(l, 999, 1000)), PBFT_DROP_QUOTA);
    uint64_t t = 1;
    while (t <= quota && lone_from_client(l, 0, 10, net_request(l->t, 0, 1, t, op)) == PBFT_OK)
        t++;
    cr_assert_leq(t, quota, "its bytes are the bound here");
    cr_assert_eq(lone_from_client(l, 0, 10, net_request(l->t, 0, 1, 100, op)), PBFT_DROP_BUSY);
    for (pbft_id id = 0; id < 4; id++) {
        if (id == 1) continue;
        cr_assert_eq(lone_from_replica(l, id, net_request(l->t, 0, 1, 200 + id, op)), PBFT_OK);
        cr_assert_eq(lone_from_replica(l, id, net_request(l->t, 0, 1, 300 + id, op)), PBFT_OK);
    }
    lone_free(l);
}

/* What is behind the session's window is answered, not ordered; so is what executed. */
Test(protocol, r22_the_session_window_decides_on_admission)
{
    struct lone *l = lone_new(false);
    lone_links_up(l, NET_BIT(2) | NET_BIT(3));
    lone_client_up(l, 0, 10);
    uint64_t w = l->t->params.session_window;
    cr_assert_eq(lone_commit(l, 1, w + 5, "op"), PBFT_OK);
    lone_forget(l);
    for (uint64_t t = 5; t <= w + 5; t += w)
        cr_assert_eq(lone_from_client(l, 0, 10, net_request(l->t, 0, 1, t, "op")), PBFT_OK);
    cr_assert_eq(lone_sent(l, PBFT_REPLY), 2u);
    const struct pbft_msg *m = net_decode(l->t, l->out[0].frame);
    cr_assert_eq(m->reply.outcome, PBFT_OUTCOME_STALE);
    m = net_decode(l->t, l->out[1].frame);
    cr_assert_eq(m->reply.outcome, PBFT_OUTCOME_EXECUTED);
    struct pbft_node_info info;
    pbft_node_info(l->node, &info);
    cr_assert_eq(info.core.pending, 0u);
    lone_from_client(l, 0, 10, net_request(l->t, 0, 1, 6, "op")); /* the first inside */
    pbft_node_info(l->node, &info);
    cr_assert_eq(info.core.pending, 1u);
    lone_free(l);
}

/* ---- PROTOCOL 27 ---- */

/* A SEND waits for its own lsn, for no later one; what needs none leaves at once. */
Test(protocol, r27_a_send_waits_for_its_own_lsn_only)
{
    struct lone *l = lone_new(false);
    l->no_sync = true;
    struct net_batch a = net_batch(l->t, 0, 1, 1, "a"), b = net_batch(l->t, 0, 1, 2, "b");
    lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 1, &a));
    cr_assert_eq(lone_sent(l, PBFT_PREPARE), 0u, "it is not on disk");
    lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 2, &b)); /* while the commit is under way */
    lone_pass(l, 60);
    cr_assert_geq(lone_sent(l, PBFT_STATUS_MSG), 3u, "STATUS relies on nothing");
    lone_finish_sync(l);
    cr_assert_eq(lone_sent(l, PBFT_PREPARE), 3u,
                 "the first to three peers; the second is not durable");
    for (size_t i = 0; i < l->out_count; i++)
        if (l->out[i].frame->bytes[0] == PBFT_PREPARE)
            cr_assert_eq(net_decode(l->t, l->out[i].frame)->vote.seq, 1u);
    lone_finish_sync(l);
    cr_assert_eq(lone_sent(l, PBFT_PREPARE), 6u);
    lone_free(l);
}

/* A REPLY needs the lsn of the replica's own COMMIT, or of rule 15's certificate. */
Test(protocol, r27_a_reply_waits_for_commit_or_certificate)
{
    for (unsigned certified = 0; certified < 2; certified++) {
        struct lone *l = lone_new(false);
        lone_client_up(l, 0, 10);
        lone_from_client(l, 0, 10, net_request(l->t, 0, 1, 1, "a"));
        l->no_sync = true;
        struct net_batch b = net_batch(l->t, 0, 1, 1, "a");
        if (certified) {
            cr_assert_eq(lone_from_replica(l, 2, net_commit_certificate(l->t, 0, 1, &b, 0x0d)),
                         PBFT_OK);
        } else {
            lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 1, &b));
            lone_finish_sync(l); /* the PREPARE's */
            lone_from_replica(l, 2, net_vote(l->t, PBFT_PREPARE, 2, 0, 1, &b.digest));
            lone_from_replica(l, 0, net_vote(l->t, PBFT_COMMIT, 0, 0, 1, &b.digest));
            lone_from_replica(l, 2, net_vote(l->t, PBFT_COMMIT, 2, 0, 1, &b.digest));
            cr_assert_eq(lone_sent(l, PBFT_COMMIT), 0u);
        }
        struct pbft_node_info info;
        pbft_node_info(l->node, &info);
        cr_assert_eq(info.applied, 1u, "execution waits for nobody");
        cr_assert_eq(lone_sent(l, PBFT_REPLY), 0u);
        lone_finish_sync(l);
        cr_assert_eq(lone_sent(l, PBFT_REPLY), 1u);
        lone_free(l);
    }
}

/* ---- PROTOCOL 28, 32 ---- */

/* A replica holds a fast read until it has reached the floor. */
Test(protocol, r32_a_read_is_held_until_the_floor_is_reached)
{
    struct lone *l = lone_new(false);
    lone_client_up(l, 0, 10);
    cr_assert_eq(lone_from_client(l, 0, 10, lone_query(l, 1, 2)), PBFT_OK);
    cr_assert_eq(lone_from_client(l, 0, 10, lone_query(l, 2, 0)), PBFT_OK);
    cr_assert_eq(lone_sent(l, PBFT_QUERY_REPLY), 1u);
    lone_commit(l, 1, 1, "one");
    cr_assert_eq(lone_sent(l, PBFT_QUERY_REPLY), 1u);
    lone_commit(l, 2, 2, "two");
    cr_assert_eq(lone_sent(l, PBFT_QUERY_REPLY), 2u);
    for (size_t i = 0; i < l->out_count; i++) {
        if (l->out[i].frame->bytes[0] != PBFT_QUERY_REPLY) continue;
        const struct pbft_query_reply *r = &net_decode(l->t, l->out[i].frame)->query_reply;
        if (r->id != 1) continue;
        cr_assert_eq(lone_result(r).size, 3u);
        cr_assert_eq(memcmp(lone_result(r).data, "two", 3), 0);
        cr_assert_eq(r->mark, 2u);
    }
    lone_free(l);
}

/* Each read of a bundle tells its own change mark: the highest one hides what the others were. */
Test(protocol, r32_each_read_of_a_bundle_has_its_mark)
{
    struct lone *l = lone_new(false);
    lone_client_up(l, 0, 10);
    lone_commit(l, 1, 1, "one");
    lone_forget(l);
    struct pbft_msg m = {.type = PBFT_QUERY};
    m.query = (struct pbft_query){7, 0, 1, 2, {(const uint8_t *)"\1\0\0\0?\1\0\0\0-", 10}};
    cr_assert_eq(lone_from_client(l, 0, 10, net_frame_new(l->t, &m)), PBFT_OK);
    cr_assert_eq(lone_sent(l, PBFT_QUERY_REPLY), 1u);
    for (size_t i = 0; i < l->out_count; i++) {
        if (l->out[i].frame->bytes[0] != PBFT_QUERY_REPLY) continue;
        const struct pbft_query_reply *r = &net_decode(l->t, l->out[i].frame)->query_reply;
        cr_assert_eq(pbft_get_u32(r->body.data), 2u);
        cr_assert_eq(pbft_get_u64(r->body.data + 4), 1u);
        cr_assert_eq(pbft_get_u64(r->body.data + 12), 0u, "it read nothing");
        cr_assert_eq(r->mark, 1u);
    }
    lone_free(l);
}

/* A read that shows an executed write relies on what that write relies on: else, after a crash, a
 * completed write disappears from reads. */
Test(protocol, r28_a_read_relies_on_what_it_shows)
{
    struct lone *l = lone_new(false);
    lone_client_up(l, 0, 10);
    l->no_sync = true;
    lone_commit(l, 1, 1, "one");
    cr_assert_eq(lone_from_client(l, 0, 10, lone_query(l, 1, 0)), PBFT_OK);
    cr_assert_eq(lone_sent(l, PBFT_QUERY_REPLY), 0u);
    lone_finish_sync(l);
    cr_assert_eq(lone_sent(l, PBFT_QUERY_REPLY), 1u);
    lone_free(l);
}

/* What it has sent a COMMIT for may be executed elsewhere, and seen: after a restart, too, it shows
 * nothing older. */
Test(protocol, r28_a_restart_answers_no_read_before_its_commits_are_executed)
{
    struct lone *l = lone_new(false);
    struct net_batch b = net_batch(l->t, 0, 1, 1, "one");
    cr_assert_eq(lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 1, &b)), PBFT_OK);
    cr_assert_eq(lone_from_replica(l, 2, net_vote(l->t, PBFT_PREPARE, 2, 0, 1, &b.digest)),
                 PBFT_OK);
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    lone_client_up(l, 0, 10);
    lone_forget(l);
    cr_assert_eq(lone_from_client(l, 0, 10, lone_query(l, 1, 0)), PBFT_OK);
    cr_assert_eq(lone_sent(l, PBFT_QUERY_REPLY), 0u);
    for (pbft_id id = 2; id < 4; id++)
        lone_from_replica(l, id, net_vote(l->t, PBFT_COMMIT, id, 0, 1, &b.digest));
    cr_assert_eq(lone_sent(l, PBFT_QUERY_REPLY), 1u);
    lone_free(l);
}

/* Records that it can not have written: it says so, and does not vote. */
Test(protocol, r29_a_log_of_another_replica_is_refused)
{
    struct lone *l = lone_new(false);
    struct net_batch b = net_batch(l->t, 0, 1, 1, "one");
    struct pbft_frame *vote = net_vote(l->t, PBFT_PREPARE, 2, 0, 1, &b.digest);
    uint8_t length[4];
    pbft_put_u32(length, vote->size);
    struct pbft_span parts[2] = {{length, 4}, pbft_frame_span(vote)};
    cr_assert_eq(pbft_log_append(l->log, PBFT_RECORD_PROPOSAL, 1, parts, 2), PBFT_STATUS_OK);
    pbft_frame_release(vote);
    cr_assert_eq(lone_restart(l), PBFT_STATUS_CORRUPT);
    lone_free(l);
    l = lone_new(false);
    cr_assert_eq(pbft_log_append(l->log, PBFT_RECORD_PROPOSAL, 1, parts, 1), PBFT_STATUS_OK);
    cr_assert_eq(lone_restart(l), PBFT_STATUS_CORRUPT, "a length and nothing behind it");
    lone_free(l);
}

/* ---- PROTOCOL 29 ---- */

/* A mute replica votes on nothing, sends no VIEW-CHANGE, answers no request and no read; it
 * executes what is certified, and serves. */
Test(protocol, r29_a_mute_replica_follows_and_says_nothing)
{
    struct lone *l = lone_new(true);
    struct net_batch b = net_batch(l->t, 0, 1, 1, "a");
    lone_client_up(l, 0, 10);
    cr_assert_eq(lone_from_client(l, 0, 10, net_request(l->t, 0, 1, 1, "a")), PBFT_DROP_MUTE);
    cr_assert_eq(lone_from_client(l, 0, 10, lone_query(l, 1, 0)), PBFT_DROP_MUTE);
    lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 1, &b));
    lone_from_replica(l, 2, net_vote(l->t, PBFT_PREPARE, 2, 0, 1, &b.digest));
    lone_from_replica(l, 3, net_vote(l->t, PBFT_PREPARE, 3, 0, 1, &b.digest));
    for (pbft_id id = 0; id < 4; id++)
        if (id != 1) lone_from_replica(l, id, net_vote(l->t, PBFT_COMMIT, id, 0, 1, &b.digest));
    for (pbft_seq seq = 2; seq <= 4; seq++)
        cr_assert_eq(lone_commit(l, seq, seq, "more"), PBFT_OK);
    for (pbft_id id = 2; id < 4; id++) /* f+1 want view 1, of which it would be the primary */
        lone_from_replica(l, id, net_view_change(l->t, &(struct net_vc){.view = 1, .sender = id}));
    lone_pass(l, 3000);
    struct pbft_node_info info;
    pbft_node_info(l->node, &info);
    cr_assert_eq(info.applied, 4u, "it follows");
    cr_assert_eq(lone_sent(l, PBFT_PREPARE) + lone_sent(l, PBFT_COMMIT) +
                     lone_sent(l, PBFT_CHECKPOINT) + lone_sent(l, PBFT_VIEW_CHANGE) +
                     lone_sent(l, PBFT_NEW_VIEW) + lone_sent(l, PBFT_REPLY) +
                     lone_sent(l, PBFT_QUERY_REPLY) + lone_sent(l, PBFT_PRE_PREPARE) +
                     lone_sent(l, PBFT_BUSY),
                 0u);
    for (size_t i = 0; i < l->out_count; i++)
        if (l->out[i].frame->bytes[0] == PBFT_STATUS_MSG)
            cr_assert(net_decode(l->t, l->out[i].frame)->status.flags & PBFT_STATUS_MUTE);
    lone_forget(l);
    struct pbft_msg fetch = {.type = PBFT_FETCH};
    fetch.fetch = (struct pbft_fetch){.kind = PBFT_FETCH_COMMIT, .seq = 2};
    lone_from_replica(l, 2, net_frame_new(l->t, &fetch));
    cr_assert_eq(lone_sent(l, PBFT_CERTIFICATE), 1u, "it serves");
    char json[2048];
    pbft_node_status_json(l->node, json, sizeof json);
    cr_assert_not_null(strstr(json, "\"mute\":true"), "and says so in status: %s", json);
    lone_free(l);
}

/* A target that is one checkpoint behind may be served yet; after two time-outs it is given up for
 * the one that is stable by then. */
Test(protocol, r33_a_slow_transfer_goes_on_to_what_is_stable_by_then)
{
    struct lone *l = lone_new_on_disk();
    const struct pbft_digest eight = {{8}}, twelve = {{12}};
    lone_links_up(l, 0x0d);
    lone_certify_root(l, 8, &eight);
    for (unsigned i = 0; i < 30 && !lone_info(l).core.transferring; i++)
        lone_pass(l, 100);
    cr_assert_eq(lone_info(l).transfers, 1u);
    lone_certify_root(l, 12, &twelve);
    cr_expect_eq(lone_info(l).transfers, 1u);
    for (unsigned i = 0; i < 40 && lone_info(l).transfers == 1; i++) {
        lone_forget(l);
        lone_pass(l, 100);
    }
    cr_expect_eq(lone_info(l).transfers, 2u);
    lone_free(l);
}

/* Two of n = 4 are q - 1. What a start lacks it knows once they have said what they have; a liar
 * alone makes nobody a laggard. */
Test(protocol, r33_a_start_knows_what_it_lacks_once_others_have_spoken)
{
    struct lone *l = lone_new_on_disk();
    struct pbft_core_info info = lone_info(l).core;
    cr_expect_eq(info.heard, 0u);
    cr_expect_eq(info.others_executed, 0u);
    cr_assert_eq(lone_from_replica(l, 0, net_status(l->t, 0, 0, 1000000, 1, 0)), PBFT_OK);
    info = lone_info(l).core;
    cr_expect_eq(info.heard, NET_BIT(0));
    cr_expect_eq(info.others_executed, 0u, "one may lie");
    cr_assert_eq(lone_from_replica(l, 2, net_status(l->t, 0, 0, 7, 1, 0)), PBFT_OK);
    info = lone_info(l).core;
    cr_expect_eq(info.heard, NET_BIT(0) | NET_BIT(2));
    cr_expect_eq(info.others_executed, 7u);
    cr_assert_eq(lone_from_replica(l, 3, net_status(l->t, 0, 0, 9, 1, 0)), PBFT_OK);
    cr_expect_eq(lone_info(l).core.others_executed, 9u);
    struct pbft_peer again = {PBFT_PEER_REPLICA, 3, 2};
    pbft_node_peer_up(l->node, l->time, &again);
    lone_drain(l);
    cr_expect_eq(lone_info(l).core.heard, NET_BIT(0) | NET_BIT(2) | NET_BIT(3), "what was heard");
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_expect_eq(lone_info(l).core.heard, 0u, "by this process");
    lone_free(l);
}

/* On connecting, each peer reports the newest vote and VIEW-CHANGE that it holds from a replica, as
 * signed bytes. */
Test(protocol, r29_peers_report_the_newest_vote_and_view_change)
{
    struct net *t = net_solo(4, 1);
    struct pbft_digest d = {{1}};
    net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 3, &d));
    net_deliver(t, 2, 1, net_vote(t, PBFT_PREPARE, 2, 0, 5, &d));
    net_deliver(t, 2, 1, net_vote(t, PBFT_COMMIT, 2, 0, 5, &d));
    struct net_vc vc = {.view = 1, .sender = 2};
    struct pbft_frame *signed_vc = net_view_change(t, &vc);
    net_deliver(t, 2, 1, pbft_frame_retain(signed_vc));
    net_peer_up(t, 1, 2);
    const struct pbft_frame *vote = t->nodes[1].last_sent[PBFT_COMMIT];
    cr_assert_not_null(vote);
    struct pbft_frame *expected = net_vote(t, PBFT_COMMIT, 2, 0, 5, &d);
    cr_assert_eq(memcmp(vote->bytes, expected->bytes, expected->size), 0);
    const struct pbft_frame *shown = t->nodes[1].last_sent[PBFT_VIEW_CHANGE];
    cr_assert_not_null(shown);
    cr_assert_eq(memcmp(shown->bytes, signed_vc->bytes, signed_vc->size), 0);
    pbft_frame_release(expected);
    pbft_frame_release(signed_vc);
    net_free(t);
}

/* ---- PROTOCOL 38 ---- */

/* `accused` means that the answering replica holds verified evidence. */
Test(protocol, r38_accused_means_verified_evidence)
{
    struct lone *l = lone_new(false);
    struct pbft_digest x = {{1}}, y = {{2}};
    struct pbft_node_info info;
    lone_from_replica(l, 2, net_vote(l->t, PBFT_COMMIT, 2, 0, 1, &x));
    lone_from_replica(l, 3, net_spoil(net_vote(l->t, PBFT_COMMIT, 2, 0, 1, &y)));
    pbft_node_info(l->node, &info);
    cr_assert_eq(info.evidence_against, 0u, "a forgery is no evidence");
    lone_from_replica(l, 3, net_vote(l->t, PBFT_COMMIT, 2, 0, 1, &y));
    pbft_node_info(l->node, &info);
    cr_assert_eq(info.evidence_against, NET_BIT(2));
    cr_assert_eq(info.evidence_count, 1u);
    lone_free(l);
}
