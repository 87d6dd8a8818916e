/* tests/fuzz/core/life.c - the cluster, requests and proposals of the world; its beginning and end.
 */
#include "tests/fuzz/core/world.h"

static bool showing;

static void make_request(unsigned i)
{
    uint8_t item[12];
    pbft_put_u32(item, 8);
    pbft_put_u64(item + 4, i);
    struct pbft_msg m = {.type = PBFT_REQUEST};
    m.request.client = w.client_public[i % CLIENTS];
    m.request.session = 1;
    m.request.t = 1 + i / CLIENTS;
    m.request.op_count = 1;
    m.request.ops = (struct pbft_span){item, sizeof item};
    w.requests[i] = frame_of(&m);
    pbft_frame_sign(&w.cluster, &pbft_signer_fast, &w.client_keys[i % CLIENTS].secret,
                    w.requests[i]->bytes, w.requests[i]->size);
}

/* Batch 0 is empty, 1 .. 4 hold a request, 5 two, 6 and 7 times that the clock test holds. */
static void make_batch(unsigned i)
{
    struct batch *b = &w.batches[i];
    uint64_t time_ns = i < 6 ? WALL_BASE_NS + i : WALL_BASE_NS + (i - 5) * UINT64_C(7200000000000);
    uint32_t count = i == 0 ? 0 : i == 5 ? 2 : 1;
    uint8_t leaves[2 * 96];
    pbft_put_u64(b->bytes, time_ns);
    pbft_put_u32(b->bytes + 8, count);
    b->size = 12;
    for (uint32_t k = 0; k < count; k++) {
        const struct pbft_frame *r = w.requests[(i - 1 + k) % 8];
        pbft_put_u32(b->bytes + b->size, r->size);
        memcpy(b->bytes + b->size + 4, r->bytes, r->size);
        b->size += 4 + (size_t)r->size;
        struct pbft_digest digest;
        pbft_digest_request(&digest, pbft_wire_signed_body(pbft_frame_span(r)));
        memcpy(leaves + (size_t)k * 96, digest.bytes, 32);
        memcpy(leaves + (size_t)k * 96 + 32, r->bytes + r->size - 64, 64);
    }
    pbft_digest_proposal(&b->digest, time_ns, count,
                         (struct pbft_span){leaves, (size_t)count * 96});
}

void world_create(void)
{
    REQUIRE(pbft_crypto_init() == PBFT_STATUS_OK);
    showing = getenv("FUZZ_SHOW") != NULL;
    w.pool = (struct pbft_frame_pool){frame_alloc, frame_free};
    struct pbft_params *p = &w.cluster.params;
    *p = pbft_params_default(N);
    p->checkpoint_interval = INTERVAL;
    p->window = WINDOW;
    p->pipeline_depth = 4;
    p->batch_max_requests = 2;
    p->key_max_bytes = 64;
    p->value_max_bytes = 1024;
    p->batch_max_bytes = 4096;
    p->client_quota = 8;
    p->clock_skew_ns = UINT64_C(3600000000000);
    p->view_timeout_ns = 500 * MS;
    p->view_timeout_max_ns = 8000 * MS;
    memcpy(w.cluster.service, "fuzz", sizeof "fuzz");
    for (uint8_t i = 0; i < N + CLIENTS; i++) {
        uint8_t seed[32] = {(uint8_t)(i + 1), 'f'};
        struct pbft_keypair *keys = i < N ? &w.keys[i] : &w.client_keys[i - N];
        pbft_keypair_from_seed(keys, seed);
        *(i < N ? &w.cluster.replicas[i] : &w.client_public[i - N]) = keys->public;
    }
    w.cluster.clients = w.client_public;
    w.cluster.client_count = CLIENTS;
    memset(&w.cluster.genesis_root, 0x11, sizeof w.cluster.genesis_root);
    char error[256];
    REQUIRE(pbft_cluster_seal(&w.cluster, error) == PBFT_STATUS_OK);
    pbft_digest_null(&w.null_digest);
    for (unsigned i = 0; i < 8; i++)
        make_request(i);
    for (unsigned i = 0; i < BATCHES; i++)
        make_batch(i);

    w.config = (struct pbft_core_config){.params = *p,
                                         .client_count = CLIENTS,
                                         .genesis_root = w.cluster.genesis_root,
                                         .pool = &w.pool};
    w.effects.capacity = pbft_core_effects_capacity(p);
    w.effects.items = calloc(w.effects.capacity, sizeof *w.effects.items);
    REQUIRE(w.effects.items != NULL);
    for (pbft_id id = 0; id < N; id++) {
        struct node *node = &w.nodes[id];
        struct pbft_door_config door = {.cluster = &w.cluster,
                                        .signer = &pbft_signer_fast,
                                        .wants = wants,
                                        .wants_context = node,
                                        .cache_entries = 256};
        node->memory = malloc(pbft_core_size(&w.config));
        node->door = pbft_door_new(&door);
        REQUIRE(node->memory != NULL && node->door != NULL);
    }
}

void world_begin(uint8_t how)
{
    w.trio = how & 1u;
    w.no_wants = (how & 8u) != 0;
    pbft_signers special = pbft_signers_of(how >> 1 & 3u); /* the real one, or the traitor */
    w.traitors = w.trio ? special : pbft_everyone(N) & ~special;
    w.now_ns = 1000 * MS;
    w.wall_skew_ns = 0;
    w.steps = 0;
    w.config.body_max_bytes = how & 16u ? 1 : 0;
    for (pbft_id id = 0; id < N; id++) {
        struct node *node = &w.nodes[id];
        void *memory = node->memory;
        struct pbft_door *door = node->door;
        *node = (struct node){.id = id, .memory = memory, .door = door};
        node->real = !pbft_signers_has(w.traitors, id);
        node->state.root = w.cluster.genesis_root;
        if (!node->real) continue;
        struct pbft_core_config config = w.config;
        config.id = id;
        config.functions =
            (struct pbft_core_functions){.context = node,
                                         .digest_proposal = core_digest_proposal,
                                         .digest_null = pbft_digest_null,
                                         .digest_view_change = pbft_digest_view_change,
                                         .digest_new_view = pbft_digest_new_view,
                                         .sign_frame = core_sign_frame,
                                         .sign_body = core_sign_body};
        node->core = pbft_core_init(node->memory, &config);
        pbft_core_info(node->core, &node->info);
    }
}

/* FUZZ_SHOW=1: how far each input came. */
static void show(void)
{
    for (pbft_id id = 0; id < N; id++) {
        const struct pbft_core_info *i = &w.nodes[id].info;
        if (!w.nodes[id].real) continue;
        (void)fprintf(stderr,
                      "%s replica=%u view=%llu%s stable=%llu executed=%llu new_views=%llu\n",
                      w.trio ? "trio" : "solo", id, (unsigned long long)i->view,
                      i->view_active ? "" : "?", (unsigned long long)i->stable,
                      (unsigned long long)i->executed, (unsigned long long)i->new_views);
    }
}

void world_end(int64_t live)
{
    if (showing) show();
    w.refuse = false;
    while (w.queue_count > 0)
        pbft_frame_release(queue_take(w.queue_count - 1).frame);
    for (size_t i = 0; i < 32; i++) {
        pbft_frame_release(w.heard[i]);
        w.heard[i] = NULL;
    }
    unsigned cores = 0;
    for (pbft_id id = 0; id < N; id++) {
        for (unsigned i = 0; i < 4; i++) {
            pbft_frame_release(w.vcs[id][i]);
            w.vcs[id][i] = NULL;
        }
        w.vc_count[id] = 0;
        drop_jobs(&w.nodes[id]);
        cores += w.nodes[id].real;
    }
    REQUIRE(w.live - live <= (int64_t)(cores * FRAMES_MAX));
    for (pbft_id id = 0; id < N; id++)
        if (w.nodes[id].real) pbft_core_release(w.nodes[id].core);
    REQUIRE(w.live == live);
    for (size_t i = 0; i < w.said_count; i++)
        w.said[w.said_used[i]].type = 0;
    w.said_count = w.heard_count = w.digest_count = 0;
    memset(w.digests, 0, sizeof w.digests);
    memset(w.ordered_known, 0, sizeof w.ordered_known);
    memset(w.roots_known, 0, sizeof w.roots_known);
}
