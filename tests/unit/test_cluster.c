/* Genesis: what is refused, what the cluster id covers, look-up of keys. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/cluster.h"
#include "crypto/keys.h"

#define CLIENTS 40u

struct fixture {
    struct pbft_cluster c;
    struct pbft_public_key clients[CLIENTS];
    char error[256];
};

static struct pbft_public_key key_of(uint8_t kind, uint8_t index)
{
    uint8_t seed[32] = {kind, index};
    struct pbft_keypair pair;
    pbft_keypair_from_seed(&pair, seed);
    return pair.public;
}

static void fill(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    cr_assert_eq(pbft_crypto_init(), PBFT_STATUS_OK);
    memcpy(f->c.service, "kv", 3);
    f->c.params = pbft_params_default(4);
    f->c.params.checkpoint_interval = 32;
    f->c.params.window = 128;
    for (uint8_t i = 0; i < 4; i++)
        f->c.replicas[i] = key_of(1, i);
    for (uint8_t i = 0; i < CLIENTS; i++)
        f->clients[i] = key_of(2, i);
    f->c.clients = f->clients;
    f->c.client_count = CLIENTS;
    memset(f->c.nonce, 7, sizeof f->c.nonce);
}

static struct pbft_digest sealed_id(struct fixture *f)
{
    enum pbft_status status = pbft_cluster_seal(&f->c, f->error);
    cr_assert_eq(status, PBFT_STATUS_OK, "%s", f->error);
    struct pbft_digest id = f->c.id;
    pbft_cluster_unseal(&f->c);
    return id;
}

static void refused(struct fixture *f, const char *word)
{
    cr_assert_eq(pbft_cluster_seal(&f->c, f->error), PBFT_STATUS_CONFIG);
    cr_assert_not_null(strstr(f->error, word), "'%s' does not say '%s'", f->error, word);
    cr_assert_null(f->c.client_order);
}

Test(cluster, keys_are_found)
{
    struct fixture f;
    fill(&f);
    cr_assert_eq(pbft_cluster_seal(&f.c, f.error), PBFT_STATUS_OK, "%s", f.error);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        uint32_t index = UINT32_MAX;
        cr_assert(pbft_cluster_client(&f.c, &f.clients[i], &index));
        cr_assert_eq(index, i);
        pbft_id id;
        cr_assert_not(pbft_cluster_replica(&f.c, &f.clients[i], &id));
    }
    for (pbft_id i = 0; i < 4; i++) {
        pbft_id id = UINT32_MAX;
        cr_assert(pbft_cluster_replica(&f.c, &f.c.replicas[i], &id));
        cr_assert_eq(id, i);
        uint32_t index;
        cr_assert_not(pbft_cluster_client(&f.c, &f.c.replicas[i], &index));
    }
    struct pbft_public_key stranger = key_of(3, 0);
    uint32_t index;
    cr_assert_not(pbft_cluster_client(&f.c, &stranger, &index));
    cr_assert_not(pbft_cluster_replica(&f.c, &stranger, &index));
    pbft_cluster_unseal(&f.c);
    cr_assert_null(f.c.client_order);
}

Test(cluster, may_list_no_client)
{
    struct fixture f;
    fill(&f);
    f.c.clients = NULL;
    f.c.client_count = 0;
    cr_assert_eq(pbft_cluster_seal(&f.c, f.error), PBFT_STATUS_OK, "%s", f.error);
    struct pbft_public_key key = key_of(2, 0);
    uint32_t index;
    cr_assert_not(pbft_cluster_client(&f.c, &key, &index));
    pbft_cluster_unseal(&f.c);
}

Test(cluster, bad_genesis_is_refused_with_a_sentence)
{
    struct fixture f;
    fill(&f);
    f.c.params.n = 3;
    refused(&f, "n must be");
    fill(&f);
    f.c.service[0] = '\0';
    refused(&f, "service name");
    fill(&f);
    memcpy(f.c.service, "a b", 4);
    refused(&f, "service name");
    fill(&f);
    memset(f.c.service, 'a', sizeof f.c.service); /* not terminated */
    refused(&f, "service name");
    fill(&f);
    f.c.replicas[3] = f.c.replicas[1];
    refused(&f, "replicas 1 and 3 have the same key");
    fill(&f);
    memset(f.c.replicas[2].bytes, 0, 32); /* of small order */
    refused(&f, "replica 2 is not a valid");
    fill(&f);
    memset(f.clients[5].bytes, 0xff, 32); /* not canonical */
    refused(&f, "client 5 is not a valid");
    fill(&f);
    f.clients[30] = f.clients[9];
    refused(&f, "clients 9 and 30 have the same key");
    fill(&f);
    f.clients[30] = f.c.replicas[2];
    refused(&f, "client 30 has the key of replica 2");
    fill(&f);
    f.c.client_count = PBFT_CLIENTS_MAX + 1;
    refused(&f, "65536");
}

/* Change each in turn: no two of all the ids are equal. */
#define VARIANTS 24u

static bool vary(struct fixture *f, unsigned which)
{
    struct pbft_params *p = &f->c.params;
    switch (which) {
    case 0: return true;
    case 1: f->c.service[1] = 'w'; return true;
    case 2: f->c.service[2] = 'w'; return true;
    case 3: p->window -= p->checkpoint_interval; return true;
    case 4: p->checkpoint_interval /= 2; return true;
    case 5: p->pipeline_depth++; return true;
    case 6: p->batch_max_bytes--; return true;
    case 7: p->batch_max_requests--; return true;
    case 8: p->bundle_max_ops--; return true;
    case 9: p->key_max_bytes--; return true;
    case 10: p->value_max_bytes--; return true;
    case 11: p->reply_max_bytes--; return true;
    case 12: p->session_window--; return true;
    case 13: p->sessions_per_client--; return true;
    case 14: p->sessions_total--; return true;
    case 15: p->client_quota--; return true;
    case 16: p->session_idle_ns++; return true;
    case 17: p->clock_skew_ns++; return true;
    case 18: p->view_timeout_ns++; return true;
    case 19: p->view_timeout_max_ns++; return true;
    case 20: f->c.nonce[31] ^= 1; return true;
    case 21: f->c.client_count--; return true;
    case 22: { /* the order is part of it */
        struct pbft_public_key key = f->c.replicas[0];
        f->c.replicas[0] = f->c.replicas[1];
        f->c.replicas[1] = key;
        return true;
    }
    case 23: {
        struct pbft_public_key key = f->clients[0];
        f->clients[0] = f->clients[1];
        f->clients[1] = key;
        return true;
    }
    default: return false;
    }
}

Test(cluster, id_covers_service_parameters_keys_and_nonce)
{
    struct pbft_digest ids[VARIANTS];
    struct fixture f;
    for (unsigned i = 0; i < VARIANTS; i++) {
        fill(&f);
        cr_assert(vary(&f, i));
        ids[i] = sealed_id(&f);
        for (unsigned j = 0; j < i; j++)
            cr_assert_not(pbft_digest_equal(&ids[i], &ids[j]), "variants %u and %u", i, j);
    }
    /* And nothing else: neither epoch nor genesis root (PROTOCOL 2). */
    fill(&f);
    f.c.epoch = 9;
    memset(f.c.genesis_root.bytes, 3, 32);
    memset(f.c.replicas[4].bytes, 3, 32);
    struct pbft_digest id = sealed_id(&f);
    cr_assert(pbft_digest_equal(&id, &ids[0]));
}

/* PROTOCOL 2: what a restored cluster begins with is in its id. */
Test(cluster, a_restored_cluster_is_bound_to_its_genesis)
{
    struct fixture f;
    fill(&f);
    struct pbft_digest plain = sealed_id(&f);
    f.c.genesis_seq = 64;
    struct pbft_digest restored = sealed_id(&f);
    cr_assert_not(pbft_digest_equal(&restored, &plain));
    f.c.genesis_root.bytes[31] ^= 1;
    struct pbft_digest other = sealed_id(&f);
    cr_assert_not(pbft_digest_equal(&other, &restored));
    f.c.genesis_seq = 96;
    struct pbft_digest later = sealed_id(&f);
    cr_assert_not(pbft_digest_equal(&later, &other));
    f.c.genesis_seq = 65;
    refused(&f, "genesis_seq");
    f.c.genesis_seq = UINT64_MAX - UINT64_MAX % 32;
    refused(&f, "genesis_seq");
}
