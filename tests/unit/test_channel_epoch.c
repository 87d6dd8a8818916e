/* The handshake between two epochs: whoever is behind is told, by a proof that speaks for itself
 * (PROTOCOL 29). */
#include "crypto/channel.h"
#include "tests/unit/epoch_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>

#define BOTH    (PBFT_PEER_REPLICA | PBFT_PEER_CLIENT)
#define HEAD    16u /* bytes of an EPOCH before its proof */
#define REFUSAL 12u

TestSuite(channel_epoch, .timeout = 60);

struct message {
    uint8_t bytes[PBFT_HANDSHAKE_MAX_BYTES + 64];
    size_t size;
};

/* A caller in one epoch and an answerer in another. */
struct pair {
    struct pbft_channel *a, *b;
    struct message hello, first, second, none;
};

static enum pbft_channel_step feed(struct pbft_channel *c, const struct message *in,
                                   struct message *out)
{
    return pbft_channel_step(c, (struct pbft_span){in->bytes, in->size}, out->bytes, &out->size);
}

static void meet(struct pair *p, const struct pbft_cluster *caller, const struct pbft_keypair *self,
                 const struct pbft_cluster *answerer, const struct pbft_keypair *other, pbft_id to)
{
    memset(p, 0, sizeof *p);
    p->a = pbft_channel_new(caller, self, true, &caller->replicas[to], 0);
    p->b = pbft_channel_new(answerer, other, false, NULL, BOTH);
    cr_assert(p->a != NULL && p->b != NULL);
    p->hello.size = pbft_channel_hello(p->a, p->hello.bytes);
    cr_assert_eq(p->hello.size, 188u);
}

static void part(struct pair *p)
{
    pbft_channel_free(p->a);
    pbft_channel_free(p->b);
}

static void expect_news(const struct pbft_channel *c, const struct pbft_cluster *from,
                        const struct pbft_cluster *to)
{
    struct pbft_span proof;
    struct pbft_epoch_change change;
    cr_assert(pbft_channel_news(c, &proof));
    cr_assert_eq(pbft_epoch_check(from, &pbft_signer_ed25519, proof, &change), PBFT_OK);
    cr_assert_eq(change.epoch, from->epoch + 1);
    cr_assert_eq(memcmp(proof.data, pbft_epoch_history(to, from->epoch + 1).data, proof.size), 0);
}

static void expect_epoch_failure(const struct pbft_channel *c, unsigned ours, unsigned theirs)
{
    char text[64];
    (void)snprintf(text, sizeof text, "(ours %u, theirs %u)", ours, theirs);
    cr_assert_eq(pbft_channel_failure(c), PBFT_CHANNEL_EPOCH, "%s", pbft_channel_reason(c));
    cr_assert_not_null(strstr(pbft_channel_reason(c), "another configuration epoch"));
    cr_assert_not_null(strstr(pbft_channel_reason(c), text), "%s", pbft_channel_reason(c));
}

static void expect_no_news(const struct pbft_channel *c)
{
    struct pbft_span proof;
    cr_assert_not(pbft_channel_news(c, &proof));
    cr_assert_eq(proof.size, 0u);
}

static void caller_is_behind(struct epoch_chain *c, pbft_epoch mine, pbft_epoch theirs,
                             const struct pbft_keypair *self, pbft_id to)
{
    static struct pair p;
    meet(&p, &c->at[mine], self, &c->at[theirs], &c->keys[theirs][to], to);
    cr_assert_eq(feed(p.b, &p.hello, &p.first), PBFT_CHANNEL_FAIL);
    expect_epoch_failure(p.b, theirs, mine);
    expect_no_news(p.b);
    cr_assert_gt(p.first.size, HEAD);
    cr_assert_leq(p.first.size, pbft_channel_next_max(p.a));
    cr_assert_leq(pbft_channel_next_max(p.a), PBFT_HANDSHAKE_MAX_BYTES);
    cr_assert_eq(feed(p.a, &p.first, &p.second), PBFT_CHANNEL_FAIL);
    cr_assert_eq(p.second.size, 0u);
    expect_epoch_failure(p.a, mine, theirs);
    expect_news(p.a, &c->at[mine], &c->at[theirs]);
    cr_assert_eq(feed(p.a, &p.first, &p.second), PBFT_CHANNEL_FAIL, "stays closed");
    part(&p);
}

static void answerer_is_behind(struct epoch_chain *c, pbft_epoch mine, pbft_epoch theirs,
                               const struct pbft_keypair *self, pbft_id to)
{
    static struct pair p;
    meet(&p, &c->at[mine], self, &c->at[theirs], &c->keys[theirs][to], to);
    cr_assert_eq(pbft_channel_next_max(p.b), PBFT_HANDSHAKE_FIRST_BYTES);
    cr_assert_eq(pbft_channel_next_cost(p.b), 1u);
    cr_assert_eq(feed(p.b, &p.hello, &p.first), PBFT_CHANNEL_MORE);
    expect_epoch_failure(p.b, theirs, mine);
    cr_assert_eq(p.first.size, HEAD);
    cr_assert_eq(pbft_channel_next_cost(p.b), pbft_quorum(c->at[0].params.n));
    cr_assert_eq(feed(p.a, &p.first, &p.second), PBFT_CHANNEL_FAIL);
    expect_epoch_failure(p.a, mine, theirs);
    expect_no_news(p.a);
    cr_assert_gt(p.second.size, HEAD);
    cr_assert_leq(p.second.size, pbft_channel_next_max(p.b));
    cr_assert_eq(feed(p.b, &p.second, &p.none), PBFT_CHANNEL_FAIL);
    cr_assert_eq(p.none.size, 0u);
    expect_epoch_failure(p.b, theirs, mine);
    expect_news(p.b, &c->at[theirs], &c->at[mine]);
    cr_assert_eq(feed(p.b, &p.second, &p.none), PBFT_CHANNEL_FAIL, "stays closed");
    cr_assert_eq(pbft_channel_next_cost(p.b), 0u);
    part(&p);
}

/* One step at a time, however far apart; by clients and replicas, whose keys may be old or new. */
Test(channel_epoch, whoever_is_behind_is_told_the_next_step)
{
    static const uint32_t sizes[] = {4, 7, PBFT_REPLICAS_MAX};
    for (unsigned k = 0; k < 3; k++) {
        struct epoch_chain *c = chain_new(sizes[k], 1);
        for (pbft_epoch low = 0; low < CHAIN_EPOCHS; low++) {
            for (pbft_epoch high = low + 1; high < CHAIN_EPOCHS; high++) {
                caller_is_behind(c, low, high, &c->clients[1], 3);
                answerer_is_behind(c, high, low, &c->clients[1], 3);
                /* Replica 0 has another key since epoch 1, replica 1 since 2, replica 2 since 3. */
                for (pbft_id to = 1; to < 3; to++) {
                    caller_is_behind(c, low, high, &c->keys[low][to - 1], to);
                    answerer_is_behind(c, high, low, &c->keys[high][to - 1], to);
                    caller_is_behind(c, low, high, &c->keys[high][to - 1], to);
                }
            }
        }
        chain_free(c);
    }
}

/* In their own epoch, those of the chain get through. */
Test(channel_epoch, equal_epochs_open)
{
    static struct pair p;
    struct epoch_chain *c = chain_new(4, 1);
    for (pbft_epoch e = 0; e < CHAIN_EPOCHS; e++) {
        meet(&p, &c->at[e], &c->keys[e][0], &c->at[e], &c->keys[e][2], 2);
        cr_assert_eq(feed(p.b, &p.hello, &p.first), PBFT_CHANNEL_MORE);
        cr_assert_eq(pbft_channel_next_max(p.b), PBFT_HANDSHAKE_FIRST_BYTES);
        cr_assert_eq(pbft_channel_next_cost(p.b), 0u);
        cr_assert_eq(feed(p.a, &p.first, &p.second), PBFT_CHANNEL_DONE);
        cr_assert_eq(feed(p.b, &p.second, &p.none), PBFT_CHANNEL_DONE);
        expect_no_news(p.a);
        expect_no_news(p.b);
        part(&p);
    }
    chain_free(c);
}

/* Another cluster is another cluster, whatever its epoch. */
Test(channel_epoch, the_cluster_comes_first)
{
    static struct pair p;
    struct epoch_chain *c = chain_new(4, 1), *other = chain_new(4, 2);
    for (pbft_epoch e = 0; e < 3; e++) {
        meet(&p, &other->at[e], &c->clients[0], &c->at[1], &c->keys[1][3], 3);
        cr_assert_eq(feed(p.b, &p.hello, &p.first), PBFT_CHANNEL_FAIL);
        cr_assert_eq(pbft_channel_failure(p.b), PBFT_CHANNEL_CLUSTER);
        cr_assert_eq(p.first.size, REFUSAL);
        part(&p);
    }
    meet(&p, &c->at[0], &c->clients[0], &c->at[1], &c->keys[1][3], 3);
    p.hello.bytes[8] = 77; /* no kind of peer */
    cr_assert_eq(feed(p.b, &p.hello, &p.first), PBFT_CHANNEL_FAIL);
    cr_assert_eq(pbft_channel_failure(p.b), PBFT_CHANNEL_MALFORMED);
    part(&p);
    chain_free(other);
    chain_free(c);
}

/* A receiver that waits for an EPOCH: `asked` calls, the other one answers. */
static struct pbft_channel *receiver(const struct epoch_chain *c, bool asked, struct message *told)
{
    static struct pair p;
    if (asked) {
        meet(&p, &c->at[0], &c->clients[0], &c->at[1], &c->keys[1][3], 3);
        cr_assert_eq(feed(p.b, &p.hello, told), PBFT_CHANNEL_FAIL);
        pbft_channel_free(p.b);
        return p.a;
    }
    meet(&p, &c->at[1], &c->clients[0], &c->at[0], &c->keys[0][3], 3);
    cr_assert_eq(feed(p.b, &p.hello, &p.first), PBFT_CHANNEL_MORE);
    cr_assert_eq(feed(p.a, &p.first, told), PBFT_CHANNEL_FAIL);
    pbft_channel_free(p.a);
    return p.b;
}

/* What the receiver makes of a message that is not what it was. */
static enum pbft_channel_failure refused(const struct epoch_chain *c, bool asked,
                                         const struct message *forged)
{
    struct message told, out;
    struct pbft_channel *r = receiver(c, asked, &told);
    cr_assert_eq(feed(r, forged, &out), PBFT_CHANNEL_FAIL);
    expect_no_news(r);
    enum pbft_channel_failure failure = pbft_channel_failure(r);
    cr_assert_neq(pbft_channel_reason(r)[0], '\0');
    pbft_channel_free(r);
    return failure;
}

Test(channel_epoch, forged_proofs_are_no_news)
{
    struct epoch_chain *c = chain_new(4, 1), *other = chain_new(4, 2);
    for (unsigned asked = 0; asked < 2; asked++) {
        struct message told, m;
        struct pbft_channel *r = receiver(c, asked, &told);
        pbft_channel_free(r);
        for (size_t at = 0; at < told.size; at++) { /* every field of it */
            m = told;
            m.bytes[at] ^= (uint8_t)(1u << at % 8);
            if (at >= 8 && at < 12) continue; /* its epoch is a word, not a proof */
            enum pbft_channel_failure failure = refused(c, asked, &m);
            cr_assert_eq(failure, at < HEAD ? PBFT_CHANNEL_MALFORMED : PBFT_CHANNEL_PROOF, "%zu",
                         at);
        }
        for (size_t size = 0; size < sizeof m.bytes; size++) { /* cut, or with something after it */
            m = told;
            m.size = size;
            if (size == told.size) continue;
            cr_assert_eq(refused(c, asked, &m), PBFT_CHANNEL_MALFORMED, "%zu", size);
            if (size < HEAD) continue;
            pbft_put_u32(m.bytes + 12, (uint32_t)(size - HEAD));
            cr_assert_eq(refused(c, asked, &m), PBFT_CHANNEL_MALFORMED, "%zu", size);
        }
        m = told; /* an epoch that is not ahead proves nothing */
        pbft_put_u32(m.bytes + 8, 0);
        cr_assert_eq(refused(c, asked, &m), PBFT_CHANNEL_MALFORMED);
        m = told; /* of another cluster, or a step that is not ours to take */
        struct pbft_span proof = pbft_epoch_history(&other->at[1], 1);
        memcpy(m.bytes + HEAD, proof.data, proof.size);
        cr_assert_eq(refused(c, asked, &m), PBFT_CHANNEL_PROOF);
        proof = pbft_epoch_history(&c->at[2], 2);
        memcpy(m.bytes + HEAD, proof.data, proof.size);
        cr_assert_eq(refused(c, asked, &m), PBFT_CHANNEL_PROOF);
    }
    chain_free(other);
    chain_free(c);
}

/* q - 1 signatures are none, whatever the message's length says. */
Test(channel_epoch, fewer_than_q_are_no_news)
{
    struct epoch_chain *c = chain_new(4, 1);
    struct pbft_epoch_change change = chain_change(&c->at[0], 0, &c->stranger);
    for (unsigned asked = 0; asked < 2; asked++) {
        struct message told, m;
        pbft_channel_free(receiver(c, asked, &told));
        m = told;
        m.size = HEAD + chain_proof(&c->at[0], c->keys[0], &change, 0x6, m.bytes + HEAD);
        pbft_put_u32(m.bytes + 12, (uint32_t)(m.size - HEAD));
        cr_assert_eq(refused(c, asked, &m), PBFT_CHANNEL_MALFORMED);
        m = told;
        (void)chain_proof(&c->at[0], c->keys[0], &change, 0x6, m.bytes + HEAD);
        cr_assert_eq(refused(c, asked, &m), PBFT_CHANNEL_PROOF);
    }
    chain_free(c);
}

/* Who waits for a proof takes nothing else, and who does not takes no proof. */
Test(channel_epoch, out_of_turn)
{
    static struct pair p;
    struct epoch_chain *c = chain_new(4, 1);
    struct message told, m, out;
    struct pbft_channel *r = receiver(c, false, &told);
    m.size = pbft_channel_refusal(PBFT_CHANNEL_BUSY, m.bytes);
    cr_assert_eq(feed(r, &m, &out), PBFT_CHANNEL_FAIL, "a refusal ends it");
    expect_no_news(r);
    pbft_channel_free(r);

    meet(&p, &c->at[1], &c->clients[0], &c->at[0], &c->keys[0][3], 3);
    cr_assert_eq(refused(c, false, &p.hello), PBFT_CHANNEL_MALFORMED, "one HELLO is enough");
    part(&p);
    /* A proof instead of a HELLO, or of a FINISH. */
    r = pbft_channel_new(&c->at[0], &c->keys[0][3], false, NULL, BOTH);
    cr_assert_eq(feed(r, &told, &out), PBFT_CHANNEL_FAIL);
    cr_assert_eq(pbft_channel_failure(r), PBFT_CHANNEL_MALFORMED);
    expect_no_news(r);
    pbft_channel_free(r);
    meet(&p, &c->at[0], &c->clients[0], &c->at[0], &c->keys[0][3], 3);
    cr_assert_eq(feed(p.b, &p.hello, &p.first), PBFT_CHANNEL_MORE);
    cr_assert_eq(feed(p.b, &told, &out), PBFT_CHANNEL_FAIL);
    expect_no_news(p.b);
    part(&p);
    /* One that claims to be behind and proves something, and one that claims to be where we are. */
    for (pbft_epoch theirs = 0; theirs < 2; theirs++) {
        meet(&p, &c->at[1], &c->clients[0], &c->at[0], &c->keys[0][3], 3);
        m = told;
        pbft_put_u32(m.bytes + 8, theirs);
        cr_assert_eq(feed(p.a, &m, &out), PBFT_CHANNEL_FAIL);
        cr_assert_eq(pbft_channel_failure(p.a), PBFT_CHANNEL_MALFORMED);
        cr_assert_eq(out.size, 0u);
        part(&p);
    }
    /* Ahead, without a proof. */
    meet(&p, &c->at[0], &c->clients[0], &c->at[0], &c->keys[0][3], 3);
    m = told;
    m.size = HEAD;
    pbft_put_u32(m.bytes + 12, 0);
    cr_assert_eq(feed(p.a, &m, &out), PBFT_CHANNEL_FAIL);
    expect_no_news(p.a);
    part(&p);
    chain_free(c);
}
