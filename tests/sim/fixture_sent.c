/* What correct replicas say: FAULTS 3.2, 3.5 to 3.8, 3.12, 3.13 and 3.15 over the frames that
 * leave.
 */
#include "tests/sim/fixture_internal.h"

#include "crypto/hash.h"
#include "pbft/quorum.h"
#include "tests/sim/statement.h"

bool own_statement(const struct sim *sim, pbft_id id, struct pbft_span frame,
                   struct pbft_claim *claim)
{
    pbft_id signer;
    return sim_statement(sim->n, frame, claim, &signer) && signer == id;
}

void statement_content(const struct pbft_claim *claim, struct pbft_span frame,
                       struct pbft_digest *out)
{
    if (claim->type == PBFT_VIEW_CHANGE || claim->type == PBFT_NEW_VIEW)
        pbft_hash(out, "sim-frame", &frame, 1);
    else
        *out = claim->digest;
}

void statement_key(const struct pbft_claim *claim, const struct pbft_digest *content,
                   struct pbft_digest *key)
{
    key_with_digest(key, claim->type, claim->view, claim->seq, content);
}

/* A record's payload: frames behind their lengths. */
void note_synced(struct node *node, struct pbft_span payload)
{
    struct sim *sim = node->sim;
    if (!sim_is_correct(sim, node->id)) return;
    size_t at = 0;
    struct pbft_span frame;
    while (pbft_wire_next_item(payload, &at, &frame)) {
        struct pbft_claim claim;
        if (!own_statement(sim, node->id, frame, &claim)) continue;
        struct pbft_digest content, key;
        statement_content(&claim, frame, &content);
        statement_key(&claim, &content, &key);
        bool fresh;
        map_put(&node->synced, &key, &fresh);
    }
    if (at != payload.size) sim_fail(sim, "a log record of replica %u does not parse", node->id);
}

/* FAULTS 3.6: read from what is synced on the disk itself, not from what the node believes. */
static void check_synced(struct sim *sim, struct node *node, const struct pbft_claim *claim,
                         const struct pbft_digest *content)
{
    struct pbft_digest key;
    statement_key(claim, content, &key);
    if (map_find(&node->synced, &key) != NULL) return;
    disk_show_synced(node->log);
    if (map_find(&node->synced, &key) != NULL) return;
    if (claim->type == PBFT_PRE_PREPARE) { /* an O entry: its NEW-VIEW is what was synced */
        struct pbft_digest said_key;
        key_numbers(&said_key, PBFT_NEW_VIEW, claim->view, 0, 0);
        if (map_find(&node->said, &said_key) != NULL) return;
    }
    sim_fail(sim, "FAULTS 3.6: replica %u sends %s v %llu n %llu that its log does not hold",
             node->id, pbft_type_text(claim->type), (unsigned long long)claim->view,
             (unsigned long long)claim->seq);
}

/* FAULTS 3.5, across all incarnations. */
static void check_said(struct sim *sim, struct node *node, const struct pbft_claim *claim,
                       const struct pbft_digest *content)
{
    struct pbft_digest key;
    key_numbers(&key, claim->type, claim->view, claim->seq, 0);
    bool fresh;
    struct map_entry *entry = map_put(&node->said, &key, &fresh);
    if (fresh)
        entry->value = *content;
    else if (!pbft_digest_equal(&entry->value, content))
        sim_fail(sim, "FAULTS 3.5: replica %u says two things in %s v %llu n %llu", node->id,
                 pbft_type_text(claim->type), (unsigned long long)claim->view,
                 (unsigned long long)claim->seq);
}

/* In an earlier life: others hold it, and whoever fetches it may get it from anybody. */
static bool said_before(const struct node *node, const struct pbft_claim *claim,
                        const struct pbft_digest *content)
{
    struct pbft_digest key;
    key_numbers(&key, claim->type, claim->view, claim->seq, 0);
    const struct map_entry *entry = map_find(&node->said, &key);
    return entry != NULL && pbft_digest_equal(&entry->value, content);
}

/* FAULTS 3.5: whoever has asked for a view says nothing new in those below it, in no life. A HEADER
 * repeats what was said. */
static void check_view_left(struct sim *sim, struct node *node, const struct pbft_claim *claim,
                            const struct pbft_digest *content, uint8_t type)
{
    bool of_a_view = type == PBFT_PRE_PREPARE || type == PBFT_PREPARE || type == PBFT_COMMIT ||
                     type == PBFT_NEW_VIEW || type == PBFT_VIEW_CHANGE;
    if (!of_a_view) return;
    if (claim->view < node->asked_view && !said_before(node, claim, content))
        sim_fail(sim, "FAULTS 3.5: replica %u says %s v %llu n %llu, but has asked for view %llu",
                 node->id, pbft_type_text(claim->type), (unsigned long long)claim->view,
                 (unsigned long long)claim->seq, (unsigned long long)node->asked_view);
    if (type == PBFT_VIEW_CHANGE && claim->view > node->asked_view) node->asked_view = claim->view;
}

/* Decided: by q COMMITs, of which liars' count once a correct replica has taken them. */
static void count_commit(struct sim *sim, const struct pbft_claim *claim, pbft_id signer)
{
    struct pbft_digest votes_key, key;
    bool fresh;
    key_with_digest(&votes_key, claim->seq, claim->view, 0, &claim->digest);
    struct map_entry *votes = map_put(&sim->committed, &votes_key, &fresh);
    votes->number |= pbft_signers_of(signer);
    if (pbft_signers_count(votes->number) < pbft_quorum(sim->n)) return;
    key_numbers(&key, claim->seq, 0, 0, 0);
    struct map_entry *now = map_put(&sim->decided, &key, &fresh);
    if (!fresh && now->number <= claim->view) return;
    now->value = claim->digest;
    now->number = claim->view;
}

void check_commit_taken(struct sim *sim, struct pbft_span frame)
{
    struct pbft_claim claim;
    pbft_id signer;
    if (sim_statement(sim->n, frame, &claim, &signer) && claim.type == PBFT_COMMIT &&
        !sim_is_correct(sim, signer))
        count_commit(sim, &claim, signer);
}

static void check_commit(struct sim *sim, const struct node *node, const struct pbft_claim *claim)
{
    struct pbft_digest key;
    bool fresh;
    key_numbers(&key, claim->view, claim->seq, 0, 0);
    struct map_entry *entry = map_put(&sim->prepared, &key, &fresh);
    if (!fresh && !pbft_digest_equal(&entry->value, &claim->digest))
        sim_fail(sim, "FAULTS 3.8: two digests prepared at v %llu n %llu",
                 (unsigned long long)claim->view, (unsigned long long)claim->seq);
    entry->value = claim->digest;

    key_numbers(&key, claim->seq, 0, 0, 0);
    const struct map_entry *decided = map_find(&sim->decided, &key);
    if (decided != NULL && claim->view >= decided->number &&
        !pbft_digest_equal(&decided->value, &claim->digest))
        sim_fail(sim, "FAULTS 3.2: n %llu was decided in view %llu, another digest in view %llu",
                 (unsigned long long)claim->seq, (unsigned long long)decided->number,
                 (unsigned long long)claim->view);
    count_commit(sim, claim, node->id);
}

static void check_own_checkpoint(struct sim *sim, const struct node *node,
                                 const struct pbft_claim *claim)
{
    struct pbft_digest key;
    key_numbers(&key, claim->seq, 0, 0, 0);
    const struct map_entry *root = map_find(&sim->roots, &key);
    if (root == NULL || !pbft_digest_equal(&root->value, &claim->digest))
        sim_fail(sim, "FAULTS 3.12: replica %u signs another root at %llu", node->id,
                 (unsigned long long)claim->seq);
}

/* FAULTS 3.15, 3.23: a reply about an execution says what the oracle got, now and for ever; nobody
 * answers out of a state that is half installed. */
static void check_reply(struct sim *sim, const struct node *node, uint32_t client,
                        struct pbft_span frame)
{
    struct pbft_msg msg;
    sim->arena.used = 0;
    if (pbft_wire_decode(frame, &sim->o.params, &sim->arena, &msg) != PBFT_OK) {
        sim_fail(sim, "replica %u sends a REPLY that does not decode", node->id);
        return;
    }
    const struct pbft_reply *r = &msg.reply;
    if (r->outcome != PBFT_OUTCOME_EXECUTED && r->outcome != PBFT_OUTCOME_INVALID) return;
    struct pbft_digest key;
    key_numbers(&key, client, r->session, r->t, 0);
    const struct map_entry *entry = map_find(&sim->results, &key);
    if (entry == NULL || !pbft_digest_equal(&entry->value, &r->result))
        sim_fail(sim, "FAULTS 3.15: replica %u gives client %u another result for t %llu", node->id,
                 client, (unsigned long long)r->t);
}

void check_outbound(struct sim *sim, struct node *node, const struct pbft_peer *to,
                    struct pbft_frame *frame)
{
    struct pbft_claim claim;
    char why[RECHECK_WHY_BYTES];
    if (sim->failed) return;
    node->sent++;
    reach_outbound(sim, node, to, frame);
    if (frame == node->last_sent && to->kind == PBFT_PEER_REPLICA) return; /* to one more */
    pbft_frame_release(node->last_sent);
    node->last_sent = pbft_frame_retain(frame);
    if (!recheck_sent(sim->epochs[node->epoch].recheck, pbft_frame_span(frame), why))
        sim_fail(sim, "FAULTS 3.7: replica %u sends %s: %s", node->id,
                 pbft_type_text(frame->bytes[0]), why);
    if (frame->bytes[0] == PBFT_REPLY && to->kind == PBFT_PEER_CLIENT)
        check_reply(sim, node, to->index, pbft_frame_span(frame));
    if (pbft_wire_peek(pbft_frame_span(frame), &claim) == PBFT_OK &&
        pbft_signers_has(claim.signers, node->id) && sim_info(sim, node->id).core.mute)
        sim_fail(sim, "PROTOCOL 29: mute replica %u sends a certificate with its own vote",
                 node->id);
    if (!own_statement(sim, node->id, pbft_frame_span(frame), &claim)) return;
    struct pbft_digest content;
    statement_content(&claim, pbft_frame_span(frame), &content);
    if (node->mute) {
        if (!said_before(node, &claim, &content))
            sim_fail(sim, "PROTOCOL 29: mute replica %u sends %s", node->id,
                     pbft_type_text(claim.type));
        return;
    }
    check_synced(sim, node, &claim, &content);
    check_view_left(sim, node, &claim, &content, frame->bytes[0]);
    check_said(sim, node, &claim, &content);
    if (claim.type == PBFT_COMMIT) keep_promise(sim, node->given, &claim);
    pbft_seq highest = node->stable + sim->o.params.window;
    if ((claim.type == PBFT_PREPARE || claim.type == PBFT_COMMIT) && claim.seq > highest)
        sim_fail(sim, "FAULTS 3.13: replica %u votes for %llu above %llu", node->id,
                 (unsigned long long)claim.seq, (unsigned long long)highest);
    if (node->storage_failed)
        sim_fail(sim, "FAULTS 2.41: replica %u sends %s although its disk has failed", node->id,
                 pbft_type_text(claim.type));
    if (claim.type == PBFT_COMMIT && !sim->o.agreement_only) check_commit(sim, node, &claim);
    if (claim.type == PBFT_CHECKPOINT) check_own_checkpoint(sim, node, &claim);
}
