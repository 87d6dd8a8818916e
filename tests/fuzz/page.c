/*
 * tests/fuzz/page.c - pages of the state tree from anywhere (store/codec.c): what is accepted is
 * canonical, so the decoded page has exactly these bytes and this hash again.
 */
#include "store/page.h"
#include "tests/fuzz/fuzz.h"

static struct pbft_space *spaces[2];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    static const struct pbft_tree_config configs[2] = {{128, 128}, {4096, 4096}};
    for (unsigned i = 0; i < 2; i++)
        REQUIRE((spaces[i] = pbft_space_create(&configs[i])) != NULL);
    return 0;
}

/* An inner page's bytes name its children; stand-ins that are what they say. */
static void give_children(struct pbft_space *space, struct pbft_page *page, const uint8_t *bytes)
{
    for (uint32_t i = 0; i < page->count; i++) {
        struct pbft_child_view view = pbft_page_child(bytes, i);
        struct pbft_page *child = pbft_page_alloc(space, 0, LEAF_HEADER_BYTES, 0);
        REQUIRE(child != NULL);
        memcpy(child->hash.bytes, view.digest, sizeof child->hash.bytes);
        child->entries = view.entries;
        child->payload = view.payload;
        page->children[i].page = child;
        struct pbft_span key = inner_key(page, i);
        REQUIRE(fuzz_same(key, view.key));
        REQUIRE(pbft_inner_find(page, key) == i);
    }
}

static void check_leaf(const struct pbft_page *page)
{
    uint64_t payload = 0;
    for (uint32_t i = 0; i < page->count; i++) {
        struct pbft_span key, value;
        bool found;
        leaf_entry(page->data, page->count, i, &key, &value);
        payload += key.size + value.size;
        REQUIRE(value.data + value.size <= page->data + page->length);
        REQUIRE(pbft_leaf_find(page, key, &found) == i && found);
    }
    REQUIRE(payload == page->payload && page->entries == page->count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct pbft_space *space = spaces[data[0] & 1];
    struct pbft_span bytes = {data + 1, size - 1};
    uint8_t *copy = fuzz_copy(bytes);
    bytes.data = copy;
    struct pbft_digest digest, again;
    bool known = pbft_page_digest(bytes, &digest);
    if (pbft_page_check(&space->config, bytes) == PBFT_OK) {
        REQUIRE(known);
        uint64_t entries, payload;
        pbft_page_totals(bytes, &entries, &payload);
        struct pbft_page *page = pbft_page_decode(space, bytes);
        REQUIRE(page != NULL && page->entries == entries && page->payload == payload);
        if (page->level > 0)
            give_children(space, page, bytes.data);
        else
            check_leaf(page);
        REQUIRE(page_size(page) == bytes.size);
        uint8_t *out = malloc(bytes.size);
        REQUIRE(out != NULL);
        pbft_page_encode(page, out);
        REQUIRE(memcmp(out, bytes.data, bytes.size) == 0);
        REQUIRE(pbft_page_rehash(page, &again) && pbft_digest_equal(&digest, &again));
        free(out);
        pbft_page_unref(space, page);
        REQUIRE(atomic_load(&space->bytes) == 0);
    }
    free(copy);
    return 0;
}
