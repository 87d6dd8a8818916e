/*
 * tests/fuzz/install.c - state transfer from sources that make up pages (store/install.c). The
 * input builds pages bottom-up, leaves and inner pages over the hashes of earlier ones, true or
 * false about what is in them; the last one's hash is the certified root. Whatever else is offered:
 * a tree that comes out has that root and is one (ascending, every key found, counts right), and
 * until it is done the old state stays what it was.
 */
#include "store/page.h"
#include "tests/fuzz/fuzz.h"

#define PAGES_MAX  24u
#define PAGE_BYTES 1024u

struct made {
    uint8_t bytes[PAGE_BYTES];
    size_t size;
    struct pbft_digest digest;
    uint64_t entries, payload;
    uint8_t level;
    struct pbft_span low; /* its first key, inside `bytes` */
};

static struct made made[PAGES_MAX];
static unsigned made_count;
static const struct pbft_tree_config config = {256, 512};

/* ---- building ---- */

static void finish_page(struct made *p)
{
    struct pbft_span bytes = {p->bytes, p->size};
    REQUIRE(pbft_page_digest(bytes, &p->digest));
    made_count++;
}

static void make_leaf(struct fuzz *f)
{
    struct made *p = &made[made_count];
    uint32_t count = fuzz_u8(f) % 6u;
    uint8_t *slots = p->bytes + LEAF_HEADER_BYTES, *base = slots + (size_t)count * LEAF_SLOT_BYTES;
    uint8_t *at = base;
    memset(p->bytes, 0, sizeof p->bytes);
    p->entries = count;
    p->payload = 0;
    p->level = 0;
    p->low = (struct pbft_span){base + 2, 0};
    for (uint32_t i = 0; i < count; i++) {
        size_t key = fuzz_u8(f) % 4u, value = fuzz_u8(f) % 8u;
        store16(at, (uint16_t)key);
        struct pbft_span bytes = fuzz_bytes(f, key);
        copy_bytes(at + 2, bytes.data, bytes.size);
        if (i == 0) p->low.size = key;
        at += 2 + key + value;
        p->payload += key + value;
        store32(slots + (size_t)i * LEAF_SLOT_BYTES, (uint32_t)(at - base));
    }
    p->size = (size_t)(at - p->bytes);
    p->bytes[0] = LEAF_TYPE;
    p->bytes[1] = PAGE_VERSION;
    store32(p->bytes + 4, (uint32_t)p->size);
    store32(p->bytes + 8, count);
    store64(p->bytes + 12, fuzz_u8(f));
    finish_page(p);
}

/* Over the pages before it; `lie` changes what is said of one child. */
static void make_inner(struct fuzz *f)
{
    if (made_count < 2) return;
    struct made *p = &made[made_count];
    uint8_t shape = fuzz_u8(f);
    uint32_t count = 2 + shape % 3u;
    uint8_t *child = p->bytes + INNER_HEADER_BYTES;
    uint8_t *keys = child + (size_t)count * INNER_CHILD_BYTES, *at = keys;
    memset(p->bytes, 0, sizeof p->bytes);
    p->entries = p->payload = 0;
    for (uint32_t i = 0; i < count; i++, child += INNER_CHILD_BYTES) {
        const struct made *c = &made[fuzz_u8(f) % made_count];
        uint8_t lie = shape & 0x80u ? fuzz_u8(f) : 0;
        if (i == 0) {
            p->level = (uint8_t)(c->level + 1);
            p->low = c->low;
        }
        uint64_t entries = c->entries + (lie & 1u), payload = c->payload + (lie >> 1 & 1u);
        store32(child, i);
        store64(child + 4, entries);
        store64(child + 12, payload);
        memcpy(child + 20, c->digest.bytes, PBFT_DIGEST_BYTES);
        child[20] ^= lie >> 2 & 1u;
        struct pbft_span key = i == 0 ? (struct pbft_span){NULL, 0} : c->low;
        struct pbft_span other = {NULL, 0};
        if (lie & 8u) other = fuzz_bytes(f, 2);
        if (other.size > 0) key = other;
        copy_bytes(at, key.data, key.size);
        at += key.size;
        store32(child + 52, (uint32_t)(at - keys));
        p->entries += entries;
        p->payload += payload;
    }
    p->size = (size_t)(at - p->bytes);
    p->bytes[0] = INNER_TYPE;
    p->bytes[1] = PAGE_VERSION;
    p->bytes[2] = p->level;
    store32(p->bytes + 4, (uint32_t)p->size);
    store32(p->bytes + 8, count);
    store64(p->bytes + 12, p->entries);
    store64(p->bytes + 20, p->payload);
    finish_page(p);
}

static void make_raw(struct fuzz *f)
{
    struct made *p = &made[made_count];
    struct pbft_span bytes = fuzz_bytes(f, fuzz_u8(f));
    memset(p, 0, sizeof *p);
    if (bytes.size == 0) return;
    copy_bytes(p->bytes, bytes.data, bytes.size);
    p->bytes[0] = 1 + (p->bytes[0] & 1u);
    p->size = bytes.size;
    p->low = (struct pbft_span){p->bytes, 0};
    finish_page(p);
}

/* ---- judging ---- */

struct walk {
    const struct pbft_tree *tree;
    uint64_t entries, payload;
    uint8_t last[PBFT_TREE_KEY_MAX];
    size_t last_size;
};

static bool visit(void *context, struct pbft_span key, struct pbft_span value)
{
    struct walk *walk = context;
    struct pbft_span found, last = {walk->last, walk->last_size};
    REQUIRE(walk->entries == 0 || span_compare(last, key) < 0);
    REQUIRE(pbft_tree_get(walk->tree, key, &found, NULL) && fuzz_same(found, value));
    copy_bytes(walk->last, key.data, key.size);
    walk->last_size = key.size;
    walk->entries++;
    walk->payload += key.size + value.size;
    return true;
}

static struct pbft_digest root_of(struct pbft_tree *tree)
{
    struct pbft_digest root;
    struct pbft_snapshot *snapshot = pbft_tree_snapshot(tree);
    REQUIRE(snapshot != NULL);
    pbft_snapshot_root(snapshot, &root);
    pbft_snapshot_release(snapshot);
    return root;
}

static void check_tree(const struct pbft_tree *tree)
{
    struct walk walk = {.tree = tree};
    uint64_t count = pbft_tree_scan(tree, (struct pbft_span){NULL, 0}, (struct pbft_span){NULL, 0},
                                    visit, &walk, NULL);
    REQUIRE(count == walk.entries && count == pbft_tree_count(tree));
    REQUIRE(walk.payload == pbft_tree_payload(tree));
}

/* Changes after it must work, whatever its shape. */
static void use(struct pbft_tree *tree, struct fuzz *f)
{
    for (unsigned i = 0; i < 8; i++) {
        struct pbft_span key = fuzz_bytes(f, fuzz_u8(f) % 4u), value = fuzz_bytes(f, 3);
        if (fuzz_u8(f) & 1u)
            REQUIRE(pbft_tree_put(tree, key, value, 9) == PBFT_STATUS_OK);
        else
            (void)pbft_tree_delete(tree, key, 9);
    }
    check_tree(tree);
    (void)root_of(tree);
}

static void offer(struct pbft_install *install, struct fuzz *f, const struct pbft_digest *wanted)
{
    for (unsigned i = 0; i < made_count; i++) {
        struct pbft_span page = {made[i].bytes, made[i].size};
        if (pbft_digest_equal(&made[i].digest, wanted))
            (void)pbft_install_page(install, wanted, page);
        else if (fuzz_u8(f) == 1)
            (void)pbft_install_page(install, fuzz_u8(f) & 1u ? wanted : NULL, page);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    made_count = 0;
    uint8_t how = fuzz_u8(&f);
    for (unsigned i = 0; i < PAGES_MAX && f.left > 0 && made_count < PAGES_MAX; i++) {
        uint8_t kind = fuzz_u8(&f) % 8u;
        if (kind == 7) break;
        if (kind < 4)
            make_leaf(&f);
        else if (kind < 6)
            make_inner(&f);
        else
            make_raw(&f);
    }
    if (made_count == 0) return 0;

    struct pbft_tree *tree;
    REQUIRE(pbft_tree_create(&tree, &config) == PBFT_STATUS_OK);
    for (uint8_t i = 0; i < (how & 15u); i++)
        REQUIRE(pbft_tree_put(tree, (struct pbft_span){&i, 1}, (struct pbft_span){&i, 1}, 1) ==
                PBFT_STATUS_OK);
    struct pbft_digest before = root_of(tree), root = made[made_count - 1].digest;
    struct pbft_install_limits limits = {how & 16u ? 8 : 1000, how & 32u ? 64 : 100000};
    struct pbft_install *install;
    REQUIRE(pbft_install_begin(&install, tree, &root, &limits) == PBFT_STATUS_OK);
    struct pbft_digest wanted[8];
    for (unsigned round = 0; round < 64 && !pbft_install_done(install); round++) {
        size_t count = pbft_install_wanted(install, wanted, 1 + how % 8u);
        for (size_t i = 0; i < count; i++)
            offer(install, &f, &wanted[i]);
        if (count == 0) pbft_install_reoffer(install, NULL);
    }
    struct pbft_digest after = root_of(tree);
    REQUIRE(pbft_digest_equal(&before, &after));
    if (pbft_install_done(install)) {
        REQUIRE(pbft_install_finish(install) == PBFT_STATUS_OK);
        after = root_of(tree);
        REQUIRE(pbft_digest_equal(&root, &after));
        REQUIRE(pbft_tree_count(tree) <= limits.entries_max);
        check_tree(tree);
        use(tree, &f);
    } else {
        REQUIRE(pbft_install_finish(install) == PBFT_STATUS_REFUSED);
        pbft_install_abort(install);
    }
    pbft_tree_destroy(tree);
    return 0;
}
