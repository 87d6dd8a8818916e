/* PROTOCOL 29: a replica that is shown a vote of its own that it does not know signs nothing more,
 * and what it signed before leaves it no more, around one node (tests/rules/lone.h). K = 4, L = 8.
 */
#include "tests/rules/lone.h"

/* Shown a vote of its own that its log does not know, a replica is mute from then on. */
Test(protocol, r29_shown_its_own_unknown_vote_a_replica_falls_silent)
{
    for (unsigned kind = 0; kind < 6; kind++) {
        struct lone *l = lone_new(false);
        lone_client_up(l, 0, 10);
        struct pbft_digest d = {{1}};
        struct pbft_frame *own = NULL;
        switch (kind) {
        case 5: /* what it has learned of the number since changes nothing */
            lone_commit(l, 1, 7, "b");
            d = net_batch(l->t, 0, 1, 7, "b").digest;
            own = net_vote(l->t, PBFT_COMMIT, 1, 0, 1, &d);
            lone_forget(l);
            break;
        case 4: own = net_header(l->t, 1, 1, &d); break;
        case 0: own = net_vote(l->t, PBFT_PREPARE, 1, 0, 3, &d); break;
        case 1: own = net_vote(l->t, PBFT_COMMIT, 1, 2, 3, &d); break;
        case 2: own = net_checkpoint(l->t, 1, 4, &d); break;
        default: own = net_view_change(l->t, &(struct net_vc){.view = 1, .sender = 1}); break;
        }
        cr_assert_eq(lone_from_replica(l, 2, own), PBFT_DROP_MUTE, "kind %u", kind);
        cr_assert_eq(l->muted_lines, 1u);
        struct net_batch b = net_batch(l->t, 0, 1, 1, "a");
        lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 1, &b));
        lone_commit(l, 1, 1, "a");
        lone_from_client(l, 0, 10, lone_query(l, 1, 0));
        lone_pass(l, 2000);
        cr_assert_eq(lone_sent(l, PBFT_PREPARE) + lone_sent(l, PBFT_REPLY) +
                         lone_sent(l, PBFT_QUERY_REPLY) + lone_sent(l, PBFT_VIEW_CHANGE),
                     0u, "kind %u", kind);
        lone_free(l);
    }
}

/* The checkpoint 4 is stable, by its own vote and those of 2 and 3. */
static struct pbft_digest stable_with_its_vote(struct lone *l)
{
    struct pbft_digest root;
    for (pbft_seq seq = 1; seq <= 4; seq++)
        cr_assert_eq(lone_commit(l, seq, seq, "op"), PBFT_OK);
    cr_assert(lone_own_root(l, 4, &root));
    for (pbft_id id = 2; id < 4; id++)
        lone_from_replica(l, id, net_checkpoint(l->t, id, 4, &root));
    cr_assert_eq(lone_info(l).core.stable, 4u);
    return root;
}

static bool is_told(struct lone *l, pbft_id id, struct pbft_frame *signed_by_it)
{
    lone_forget(l);
    lone_links_up(l, NET_BIT(id));
    unsigned count = 0;
    for (size_t i = 0; i < l->out_count; i++) {
        const struct pbft_frame *frame = l->out[i].frame;
        count += l->out[i].to.index == id && frame->size == signed_by_it->size &&
                 memcmp(frame->bytes, signed_by_it->bytes, frame->size) == 0;
    }
    pbft_frame_release(signed_by_it);
    return count == 1;
}

/* A peer that has restarted as well holds votes in certificates, and proposals: that is what is
 * left to tell a disk that was rolled back by while nobody ran. */
Test(protocol, r29_what_is_held_in_certificates_is_reported)
{
    struct lone *l = lone_new_on_disk();
    struct net_batch a = net_batch(l->t, 0, 1, 1, "a"), b = net_batch(l->t, 0, 1, 2, "b");
    lone_client_up(l, 0, 10);
    lone_commit(l, 1, 1, "a");
    lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 2, &b));
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_expect(is_told(l, 0, net_header(l->t, 0, 2, &b.digest)), "the primary's newest");
    cr_expect(is_told(l, 2, net_vote(l->t, PBFT_COMMIT, 2, 0, 1, &a.digest)));
    cr_expect(is_told(l, 3, net_vote(l->t, PBFT_COMMIT, 3, 0, 1, &a.digest)));
    lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 2, &b));
    lone_from_replica(l, 3, net_vote(l->t, PBFT_PREPARE, 3, 0, 2, &b.digest));
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_expect(is_told(l, 2, net_vote(l->t, PBFT_COMMIT, 2, 0, 1, &a.digest)));
    cr_expect(is_told(l, 3, net_vote(l->t, PBFT_PREPARE, 3, 0, 2, &b.digest)));
    lone_free(l);
}

/* A lost tail may end with any: what a pipeline voted on the highest number is not all that is new.
 */
Test(protocol, r29_the_newest_of_each_kind_is_reported)
{
    struct lone *l = lone_new_on_disk();
    struct net_batch a = net_batch(l->t, 0, 1, 1, "a"), b = net_batch(l->t, 0, 1, 2, "b"),
                     c = net_batch(l->t, 0, 1, 3, "c");
    struct pbft_digest root = {{4}};
    lone_client_up(l, 0, 10);
    lone_commit(l, 1, 1, "a");
    lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 2, &b));
    lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 3, &c));
    lone_from_replica(l, 3, net_vote(l->t, PBFT_PREPARE, 3, 0, 2, &b.digest));
    lone_from_replica(l, 3, net_vote(l->t, PBFT_PREPARE, 3, 0, 3, &c.digest));
    lone_from_replica(l, 3, net_checkpoint(l->t, 3, 4, &root));
    cr_expect(is_told(l, 3, net_vote(l->t, PBFT_COMMIT, 3, 0, 1, &a.digest)));
    cr_expect(is_told(l, 3, net_vote(l->t, PBFT_PREPARE, 3, 0, 3, &c.digest)));
    cr_expect_not(is_told(l, 3, net_vote(l->t, PBFT_PREPARE, 3, 0, 2, &b.digest)), "an older one");
    cr_expect(is_told(l, 3, net_checkpoint(l->t, 3, 4, &root)));
    cr_expect(is_told(l, 0, net_vote(l->t, PBFT_COMMIT, 0, 0, 1, &a.digest)));
    cr_expect(is_told(l, 0, net_header(l->t, 0, 3, &c.digest)));
    lone_free(l);
}

/* What was voted in an earlier view, on the same number or a higher one, hides nothing. */
Test(protocol, r29_the_newest_is_of_the_latest_view)
{
    struct lone *l = lone_new_on_disk();
    struct net_batch a = net_batch(l->t, 0, 1, 1, "a"), b = net_batch(l->t, 0, 1, 2, "b");
    struct pbft_frame *vcs[3];
    static const pbft_id senders[] = {0, 2, 3};
    lone_client_up(l, 0, 10);
    lone_commit(l, 1, 1, "a");
    lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 2, &b));
    lone_from_replica(l, 3, net_vote(l->t, PBFT_PREPARE, 3, 0, 2, &b.digest));
    cr_expect(is_told(l, 3, net_vote(l->t, PBFT_PREPARE, 3, 0, 2, &b.digest)));
    for (unsigned i = 0; i < 3; i++) {
        struct net_vc vc = {.view = 2, .sender = senders[i], .entry_count = 1};
        vc.entries[0] =
            (struct net_entry){.seq = 1, .digest = a.digest, .signers = NET_BIT(2) | NET_BIT(3)};
        vcs[i] = net_view_change(l->t, &vc);
        lone_from_replica(l, senders[i], pbft_frame_retain(vcs[i]));
    }
    struct net_nv nv = net_new_view(l->t, 2, vcs, 3);
    lone_from_replica(l, 2, net_new_view_frame(l->t, &nv));
    cr_assert_eq(lone_info(l).core.view, 2u);
    cr_assert(lone_info(l).core.view_active);
    lone_from_replica(l, 3, net_vote(l->t, PBFT_PREPARE, 3, 2, 1, &a.digest));
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_expect(is_told(l, 2, net_header(l->t, 2, 1, &a.digest)));
    cr_expect(is_told(l, 3, net_vote(l->t, PBFT_PREPARE, 3, 2, 1, &a.digest)));
    for (unsigned i = 0; i < 3; i++)
        pbft_frame_release(vcs[i]);
    lone_free(l);
}

Test(protocol, r29_a_stable_checkpoint_is_reported)
{
    struct lone *l = lone_new_on_disk();
    lone_client_up(l, 0, 10);
    struct pbft_digest root = stable_with_its_vote(l);
    cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
    cr_expect(is_told(l, 2, net_checkpoint(l->t, 2, 4, &root)));
    cr_expect(is_told(l, 3, net_checkpoint(l->t, 3, 4, &root)));
    cr_expect_not(is_told(l, 0, net_checkpoint(l->t, 0, 4, &root)), "it has not signed that");
    lone_free(l);
}

/* Votes, replies and reads that count; a certificate too, when one of its votes is its own. */
static unsigned own_words(struct lone *l)
{
    unsigned count = 0;
    for (size_t i = 0; i < l->out_count; i++) {
        const struct pbft_msg *m = net_decode(l->t, l->out[i].frame);
        if (m->type == PBFT_CERTIFICATE)
            count += pbft_signers_has(m->certificate.signatures.signers, 1);
        else
            count += m->type != PBFT_STATUS_MSG && m->type != PBFT_FETCH;
    }
    return count;
}

static void show_unknown_vote(struct lone *l)
{
    struct pbft_digest d = {{1}};
    cr_assert_eq(lone_from_replica(l, 2, net_vote(l->t, PBFT_COMMIT, 1, 9, 3, &d)), PBFT_DROP_MUTE);
    lone_forget(l);
}

/* What waits for the log in that moment never leaves. */
Test(protocol, r29_what_waits_when_it_falls_silent_is_never_said)
{
    for (unsigned silent = 0; silent < 2; silent++) {
        struct lone *l = lone_new(false);
        l->no_sync = true;
        lone_client_up(l, 0, 10);
        cr_assert_eq(lone_commit(l, 1, 1, "one"), PBFT_OK);
        cr_assert_eq(lone_from_client(l, 0, 10, lone_query(l, 1, 0)), PBFT_OK);
        struct net_batch b = net_batch(l->t, 0, 1, 2, "two");
        lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 2, &b));
        lone_from_replica(l, 2, net_vote(l->t, PBFT_PREPARE, 2, 0, 2, &b.digest));
        if (silent) show_unknown_vote(l);
        cr_assert_eq(own_words(l), 0u, "nothing is on disk");
        while (l->sync != NULL)
            lone_finish_sync(l);
        cr_assert_eq(lone_sent(l, PBFT_REPLY), silent ? 0u : 1u);
        cr_assert_eq(lone_sent(l, PBFT_QUERY_REPLY), silent ? 0u : 1u);
        cr_assert_eq(lone_sent(l, PBFT_PREPARE), silent ? 0u : 3u);
        cr_assert_eq(lone_sent(l, PBFT_COMMIT), silent ? 0u : 3u);
        cr_assert_eq(own_words(l), silent ? 0u : 8u);
        lone_free(l);
    }
}

static void ask(struct lone *l, uint8_t kind, pbft_view view, pbft_seq seq)
{
    struct pbft_msg m = {.type = PBFT_FETCH};
    m.fetch = (struct pbft_fetch){.kind = kind, .view = view, .seq = seq};
    (void)lone_from_replica(l, 2, net_frame_new(l->t, &m));
}

/* From a replica that is stuck. */
static void ask_by_status(struct lone *l, pbft_view view, uint8_t flags)
{
    for (uint64_t counter = 1; counter <= 4; counter++) {
        lone_pass(l, 300);
        (void)lone_from_replica(l, 2, net_status(l->t, view, 0, 0, counter, flags));
    }
}

/* Nor what it had signed before, to whoever asks for it: it may not have left until now. */
Test(protocol, r29_what_it_signed_before_it_fell_silent_is_not_repeated)
{
    for (unsigned silent = 0; silent < 2; silent++) {
        struct lone *l = lone_new(false);
        for (pbft_seq seq = 1; seq <= 5; seq++) {
            struct net_batch b = net_batch(l->t, 0, 1, seq, "op");
            lone_from_replica(l, 0, net_pre_prepare(l->t, 0, seq, &b));
            for (pbft_id id = 2; id < 4; id++)
                lone_from_replica(l, id, net_vote(l->t, PBFT_PREPARE, id, 0, seq, &b.digest));
            for (pbft_id id = 2; id < 4 && seq < 5; id++)
                lone_from_replica(l, id, net_vote(l->t, PBFT_COMMIT, id, 0, seq, &b.digest));
        }
        if (silent) show_unknown_vote(l);
        lone_forget(l);
        ask_by_status(l, 0, 0);
        cr_expect_eq(lone_sent(l, PBFT_PREPARE) > 0, !silent);
        cr_expect_eq(lone_sent(l, PBFT_COMMIT) > 0, !silent);
        cr_expect_eq(lone_sent(l, PBFT_CHECKPOINT) > 0, !silent);
        cr_expect_eq(lone_sent(l, PBFT_CERTIFICATE) > 0, !silent, "pushed");
        lone_forget(l);
        ask(l, PBFT_FETCH_COMMIT, 0, 1);
        cr_expect_eq(own_words(l), silent ? 0u : 1u);
        lone_free(l);
    }
}

Test(protocol, r29_a_stable_certificate_of_its_own_is_not_repeated)
{
    for (unsigned silent = 0; silent < 2; silent++) {
        struct lone *l = lone_new(false);
        (void)stable_with_its_vote(l);
        if (silent) show_unknown_vote(l);
        lone_forget(l);
        ask_by_status(l, 0, 0);
        cr_expect_eq(own_words(l) > 0, !silent);
        lone_forget(l);
        ask(l, PBFT_FETCH_CHECKPOINT, 0, 4);
        cr_expect_eq(own_words(l), silent ? 0u : 1u);
        lone_free(l);
    }
}

/* Its VIEW-CHANGE, as one who waits for others'; its NEW-VIEW and what that proposes. */
Test(protocol, r29_a_view_that_it_asked_for_or_led_is_not_repeated)
{
    for (unsigned i = 0; i < 4; i++) {
        bool silent = i % 2 != 0, leads = i / 2 != 0;
        struct lone *l = lone_new(false);
        struct net_batch b = net_batch(l->t, 0, 1, 1, "first");
        cr_assert_eq(lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 1, &b)), PBFT_OK);
        pbft_view view = leads ? 1 : 2;
        for (pbft_id id = 2; id < 4; id++) {
            struct net_vc vc = {.view = view, .sender = id, .entry_count = 1};
            vc.entries[0] =
                (struct net_entry){.seq = 1, .view = 0, .digest = b.digest, .signers = 0x0c};
            cr_assert_eq(lone_from_replica(l, id, net_view_change(l->t, &vc)), PBFT_OK);
        }
        cr_assert_eq(lone_info(l).core.view_active, leads);
        cr_assert_eq(lone_info(l).core.view, view);
        if (silent) show_unknown_vote(l);
        lone_forget(l);
        ask_by_status(l, view, PBFT_STATUS_VIEW_CHANGING);
        cr_expect_eq(lone_sent(l, leads ? PBFT_NEW_VIEW : PBFT_VIEW_CHANGE) > 0, !silent);
        lone_forget(l);
        if (!leads) {
            lone_free(l);
            continue;
        }
        ask(l, PBFT_FETCH_HEADER, view, 1);
        cr_expect_eq(lone_sent(l, PBFT_HEADER), silent ? 0u : 1u);
        lone_free(l);
    }
}

/* What it does know, or has rightly forgotten, does not silence it. A forgery neither. */
Test(protocol, r29_what_it_knows_or_never_signed_does_not_silence_it)
{
    struct lone *l = lone_new(false);
    struct net_batch b = net_batch(l->t, 0, 1, 1, "a");
    lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 1, &b));
    struct pbft_digest d = {{1}};
    cr_assert_neq(lone_from_replica(l, 2, net_vote(l->t, PBFT_PREPARE, 1, 0, 1, &b.digest)),
                  PBFT_DROP_MUTE);
    cr_assert_neq(lone_from_replica(l, 2, net_spoil(net_vote(l->t, PBFT_PREPARE, 1, 0, 3, &d))),
                  PBFT_DROP_MUTE);
    cr_assert_eq(l->muted_lines, 0u);
    struct pbft_node_info info;
    pbft_node_info(l->node, &info);
    cr_assert_not(info.core.mute);
    lone_free(l);
}

/* Nor does any kind of what it has said, be the number decided, the log read again. */
Test(protocol, r29_what_it_has_said_itself_does_not_silence_it)
{
    for (unsigned restarts = 0; restarts < 2; restarts++) {
        struct lone *l = lone_new_on_disk();
        struct net_batch a = net_batch(l->t, 0, 1, 1, "a"), e = net_batch(l->t, 0, 1, 5, "e");
        struct pbft_digest root;
        lone_client_up(l, 0, 10);
        lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 1, &a));
        lone_from_replica(l, 2, net_vote(l->t, PBFT_PREPARE, 2, 0, 1, &a.digest));
        cr_assert_gt(lone_sent(l, PBFT_COMMIT), 0u);
        for (pbft_seq seq = 1; seq <= 4; seq++)
            lone_commit(l, seq, seq, "a");
        cr_assert(lone_own_root(l, 4, &root));
        lone_from_replica(l, 0, net_pre_prepare(l->t, 0, 5, &e));
        lone_from_replica(l, 2, net_vote(l->t, PBFT_PREPARE, 2, 0, 5, &e.digest));
        if (restarts > 0) cr_assert_eq(lone_restart(l), PBFT_STATUS_OK);
        struct pbft_frame *own[] = {
            net_vote(l->t, PBFT_PREPARE, 1, 0, 1, &a.digest),
            net_vote(l->t, PBFT_COMMIT, 1, 0, 1, &a.digest),
            net_vote(l->t, PBFT_PREPARE, 1, 0, 5, &e.digest),
            net_vote(l->t, PBFT_COMMIT, 1, 0, 5, &e.digest),
            net_checkpoint(l->t, 1, 4, &root),
        };
        for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
            cr_expect_neq(lone_from_replica(l, 2, own[i]), PBFT_DROP_MUTE, "%zu", i);
        cr_expect_not(lone_info(l).core.mute);
        lone_free(l);
    }
}

/* ---- the administrator's client ---- */

/* The one answer. */
static const struct pbft_admin_reply *ask_admin(struct lone *l, uint8_t kind,
                                                struct pbft_span argument)
{
    struct pbft_msg m = {.type = PBFT_ADMIN};
    m.admin = (struct pbft_admin){.id = 1, .kind = kind, .argument = argument};
    lone_forget(l);
    (void)lone_from_client(l, 0, 10, net_frame_new(l->t, &m));
    for (size_t i = 0; i < l->out_count; i++)
        if (l->out[i].frame->bytes[0] == PBFT_ADMIN_REPLY)
            return &net_decode(l->t, l->out[i].frame)->admin_reply;
    return NULL;
}

/* Of the certificate in its answer. */
static pbft_signers backup_signers(struct lone *l)
{
    struct pbft_claim claim;
    const struct pbft_admin_reply *a =
        ask_admin(l, PBFT_ADMIN_CHECKPOINT, (struct pbft_span){NULL, 0});
    cr_assert(a != NULL && a->ok == 1 && a->body.size > 8);
    cr_assert_eq(pbft_wire_peek((struct pbft_span){a->body.data + 8, a->body.size - 8}, &claim),
                 PBFT_OK);
    cr_assert_eq(claim.type, PBFT_CERTIFICATE);
    return claim.signers;
}

static void commit_from(struct lone *l, pbft_seq first, pbft_seq last)
{
    for (pbft_seq seq = first; seq <= last; seq++)
        cr_assert_eq(lone_commit(l, seq, seq, "op"), PBFT_OK);
}

/* Of the state there, by one with the same history. */
static struct pbft_digest root_at(pbft_seq seq)
{
    struct lone *other = lone_new(false);
    struct pbft_digest root;
    commit_from(other, 1, seq);
    cr_assert(lone_own_root(other, seq, &root));
    lone_free(other);
    return root;
}

/* Two others; its own is the third. */
static void certify_with_own(struct lone *l, pbft_seq seq, const struct pbft_digest *root)
{
    lone_from_replica(l, 0, net_checkpoint(l->t, 0, seq, root));
    lone_from_replica(l, 2, net_checkpoint(l->t, 2, seq, root));
}

Test(protocol, r29_a_backups_certificate_with_its_own_vote_is_not_served)
{
    for (unsigned silent = 0; silent < 2; silent++) {
        struct lone *l = lone_new(false);
        struct pbft_digest root = root_at(4);
        lone_client_up(l, 0, 10);
        commit_from(l, 1, 4);
        certify_with_own(l, 4, &root);
        cr_assert_eq(lone_info(l).core.stable, 4u);
        if (!silent) {
            cr_assert_eq(backup_signers(l), 0x07u);
            lone_free(l);
            continue;
        }
        show_unknown_vote(l);
        const struct pbft_admin_reply *a =
            ask_admin(l, PBFT_ADMIN_CHECKPOINT, (struct pbft_span){NULL, 0});
        cr_assert(a != NULL && a->ok == 0, "it holds its own signature");
        cr_assert_leq(a->body.size, 120u, "pbftctl prints no more");
        cr_assert_eq(a->body.data[a->body.size - 1], 's');
        commit_from(l, 5, 8);
        root = root_at(8);
        lone_certify_root(l, 8, &root);
        cr_assert_eq(backup_signers(l), 0x0du, "the next one is signed by others alone");
        lone_free(l);
    }
}

/* ---- evidence: a false CHECKPOINT against the certified root ---- */

static const struct pbft_digest lie = {{7}};

static struct pbft_span first_item(void)
{
    static const uint8_t item[4] = {0};
    return (struct pbft_span){item, sizeof item};
}

static struct lone *with_evidence(bool no_sync)
{
    struct lone *l = lone_new(false);
    struct pbft_digest root = root_at(4);
    l->no_sync = no_sync;
    lone_client_up(l, 0, 10);
    commit_from(l, 1, 4);
    lone_from_replica(l, 3, net_checkpoint(l->t, 3, 4, &lie));
    certify_with_own(l, 4, &root);
    cr_assert_eq(lone_info(l).core.stable, 4u);
    cr_assert_eq(lone_info(l).evidence_against, NET_BIT(3));
    return l;
}

/* FAULTS 4.4. */
Test(protocol, r27_evidence_waits_for_its_own_vote_in_it)
{
    struct lone *l = with_evidence(true);
    cr_assert_eq(lone_sent(l, PBFT_CHECKPOINT), 0u, "nothing is on disk");
    cr_assert_null(ask_admin(l, PBFT_ADMIN_EVIDENCE_GET, first_item()));
    while (l->sync != NULL)
        lone_finish_sync(l);
    cr_assert_eq(lone_sent(l, PBFT_CHECKPOINT), 3u);
    cr_assert_eq(lone_sent(l, PBFT_ADMIN_REPLY), 1u);
    lone_free(l);
}

Test(protocol, r29_evidence_with_its_own_vote_is_not_shown)
{
    for (unsigned silent = 0; silent < 2; silent++) {
        struct lone *l = with_evidence(false);
        struct pbft_digest x = {{1}}, y = {{2}};
        lone_from_replica(l, 0, net_vote(l->t, PBFT_COMMIT, 0, 0, 5, &x)); /* without its vote */
        lone_from_replica(l, 0, net_vote(l->t, PBFT_COMMIT, 0, 0, 5, &y));
        cr_assert_eq(lone_info(l).evidence_count, 2u);
        if (silent) show_unknown_vote(l);
        const struct pbft_admin_reply *a = ask_admin(l, PBFT_ADMIN_EVIDENCE_GET, first_item());
        cr_assert(a != NULL && a->ok == 1);
        cr_expect_eq(a->body.data[12], silent ? 0u : 3u, "the culprit");
        cr_expect_eq(lone_info(l).evidence_against, NET_BIT(0) | (silent ? 0u : NET_BIT(3)));
        cr_expect_eq(lone_info(l).evidence_count, silent ? 1u : 2u);
        lone_free(l);
    }
}

/* Nor is it kept: what it would be shown for, others have. */
Test(protocol, r29_evidence_with_its_own_vote_is_not_kept)
{
    for (unsigned silent = 0; silent < 2; silent++) {
        struct lone *l = lone_new(false);
        struct pbft_digest root = root_at(4);
        lone_client_up(l, 0, 10);
        commit_from(l, 1, 4);
        certify_with_own(l, 4, &root);
        if (silent) show_unknown_vote(l);
        lone_from_replica(l, 3, net_checkpoint(l->t, 3, 4, &lie));
        const struct pbft_admin_reply *a = ask_admin(l, PBFT_ADMIN_EVIDENCE_GET, first_item());
        cr_expect(a != NULL && a->ok == !silent);
        lone_free(l);
    }
}
