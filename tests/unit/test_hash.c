/* BLAKE2b-256 with domains. The expected values were computed with Python's hashlib. */
#include <criterion/criterion.h>
#include <string.h>

#include "crypto/hash.h"
#include "crypto/keys.h"

static void expect_hex(const struct pbft_digest *digest, const char *hex)
{
    char text[2 * PBFT_DIGEST_BYTES + 1];
    pbft_hex_encode(digest->bytes, sizeof digest->bytes, text);
    cr_assert_str_eq(text, hex);
}

static const uint8_t text[] = {'b', 'o', 'd', 'y'};
static const struct pbft_span body = {text, sizeof text};

Test(hash, digests_of_the_protocol)
{
    struct pbft_digest d;
    pbft_digest_null(&d);
    expect_hex(&d, "74c9e1617c7f04885b56a70d1280016f552db20b3d37e904351b6f7bd8730c91");
    pbft_digest_request(&d, body);
    expect_hex(&d, "445fd2d245d7a7cdf97b53969f242fedddd58f4827146957fb17fde1b0e53ea2");
    pbft_digest_view_change(&d, body);
    expect_hex(&d, "d096d47ee499a60391667177729569e8110a2fae909142e9b415885fc1afd0d4");
    pbft_digest_new_view(&d, body);
    expect_hex(&d, "6f81b0a3a87e281882b98f9d2aa6e09ebc35ac2cf9e8f5070397a5f0e6bfcdaa");
    pbft_digest_result(&d, 3, body);
    expect_hex(&d, "43ce50d4cac12f467ebd375cbf93dd7d428b48dc9678af3fd43e480c0a5b9e5b");
    pbft_digest_query(&d, 5, 77, body);
    expect_hex(&d, "d64c89edbdbf1d2a9dab0065a4a8e33cf3d3bbfa1eb60682107e45ceb05d021a");

    uint8_t leaves[192];
    for (size_t i = 0; i < sizeof leaves; i++)
        leaves[i] = (uint8_t)(i % 96);
    pbft_digest_proposal(&d, UINT64_C(0x0102030405060708), 2,
                         (struct pbft_span){leaves, sizeof leaves});
    expect_hex(&d, "d5a8c5bbee1971b8befee49ecb8a328a079ff9f99c74c99d30751fe721887ab2");
}

/* PROTOCOL 3: time and batch are bound together, v and n are not inside. */
Test(hash, proposal_digest_covers_time_count_and_every_leaf)
{
    uint8_t leaves[192] = {0};
    struct pbft_span span = {leaves, sizeof leaves};
    struct pbft_digest first;
    struct pbft_digest other;
    pbft_digest_proposal(&first, 1, 2, span);
    pbft_digest_proposal(&other, 2, 2, span);
    cr_assert_not(pbft_digest_equal(&first, &other));
    pbft_digest_proposal(&other, 1, 1, span);
    cr_assert_not(pbft_digest_equal(&first, &other));
    for (size_t i = 0; i < sizeof leaves; i++) {
        leaves[i] = 1;
        pbft_digest_proposal(&other, 1, 2, span);
        cr_assert_not(pbft_digest_equal(&first, &other), "leaf byte %zu", i);
        leaves[i] = 0;
    }
    pbft_digest_proposal(&other, 1, 2, span);
    cr_assert(pbft_digest_equal(&first, &other));
}

Test(hash, domains_separate_and_parts_concatenate)
{
    struct pbft_digest a;
    struct pbft_digest b;
    pbft_hash(&a, "one", &body, 1);
    pbft_hash(&b, "two", &body, 1);
    cr_assert_not(pbft_digest_equal(&a, &b));
    /* A domain is padded, so none is the beginning of another plus contents. */
    const struct pbft_span e = {(const uint8_t *)"e", 1};
    pbft_hash(&a, "on", &e, 1);
    pbft_hash(&b, "one", NULL, 0);
    cr_assert_not(pbft_digest_equal(&a, &b));

    const struct pbft_span parts[] = {{text, 1}, {NULL, 0}, {text + 1, 3}};
    pbft_hash(&a, "sixteen-letters!", parts, 3);
    pbft_hash(&b, "sixteen-letters!", &body, 1);
    cr_assert(pbft_digest_equal(&a, &b));
}

Test(hash, outcome_and_mark_are_covered)
{
    struct pbft_digest a;
    struct pbft_digest b;
    pbft_digest_result(&a, 0, body);
    pbft_digest_result(&b, 1, body);
    cr_assert_not(pbft_digest_equal(&a, &b));
    pbft_digest_query(&a, 0, 1, body);
    pbft_digest_query(&b, 0, 2, body);
    cr_assert_not(pbft_digest_equal(&a, &b));
    pbft_digest_query(&b, 5, 1, body);
    cr_assert_not(pbft_digest_equal(&a, &b));
}
