/* Encodings, Merkle proofs and operations of the chain (bench/chain/block.h, hash.h, operation.h).
 */
#include "tests/unit/chain_fixture.h"

static struct pbft_digest chain = {{9}};

Test(chain_block, sha256d_is_bitcoins)
{
    /* SHA-256d("hello"), a vector that its developers' guide uses. */
    struct pbft_digest hash;
    char hex[65];
    chain_sha256d(&hash, (const uint8_t *)"hello", 5);
    pbft_hex_encode(hash.bytes, sizeof hash.bytes, hex);
    cr_expect_str_eq(hex, "9595c9df90075148eb06860365df33584b75bff782a510c6cd4883a419833d50");
}

static void leaves_of(struct pbft_digest *leaves, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint8_t name[4];
        pbft_put_u32(name, i);
        chain_merkle_leaf(&leaves[i], (struct pbft_span){name, sizeof name});
    }
}

Test(chain_block, merkle_proofs_hold_for_their_leaf_and_place_only)
{
    for (uint32_t count = 1; count <= 19; count++) {
        struct pbft_digest leaves[20], root;
        leaves_of(leaves, count);
        chain_merkle_root(&root, leaves, count);
        for (uint32_t i = 0; i < count; i++) {
            struct chain_proof proof, wrong;
            uint8_t name[4], other[4];
            struct pbft_span leaf = {name, 4}, stranger = {other, 4};
            pbft_put_u32(name, i);
            pbft_put_u32(other, i + 100);
            leaves_of(leaves, count);
            chain_merkle_prove(&proof, leaves, count, i);
            cr_expect(chain_merkle_verify(&proof, leaf, &root), "%u of %u", i, count);
            cr_expect_not(chain_merkle_verify(&proof, stranger, &root));
            for (uint32_t j = 0; j < proof.depth; j++) {
                wrong = proof;
                wrong.sibling[j].bytes[31] ^= 1;
                cr_expect_not(chain_merkle_verify(&wrong, leaf, &root), "sibling %u", j);
            }
            wrong = proof;
            wrong.count++;
            cr_expect_not(chain_merkle_verify(&wrong, leaf, &root));
            wrong = proof;
            wrong.index ^= 1;
            cr_expect_not(chain_merkle_verify(&wrong, leaf, &root));
            wrong = proof;
            wrong.depth = proof.depth + 1;
            cr_expect_not(chain_merkle_verify(&wrong, leaf, &root));
            wrong.depth = proof.depth - 1; /* of none: beyond every bound */
            cr_expect_not(chain_merkle_verify(&wrong, leaf, &root));
            root.bytes[0] ^= 1;
            cr_expect_not(chain_merkle_verify(&proof, leaf, &root));
            root.bytes[0] ^= 1;
        }
    }
}

Test(chain_block, merkle_roots_tell_duplicated_leaves_apart)
{
    /* CVE-2012-2459: [a b c] and [a b c c] had one root. */
    struct pbft_digest a[4], b[4], one, two;
    leaves_of(a, 3);
    memcpy(b, a, sizeof a);
    b[3] = b[2];
    chain_merkle_root(&one, a, 3);
    chain_merkle_root(&two, b, 4);
    cr_expect_not(pbft_digest_equal(&one, &two));
}

Test(chain_block, an_inner_node_is_no_leaf)
{
    struct pbft_digest leaves[2], root, forged;
    leaves_of(leaves, 2);
    uint8_t pair[64];
    memcpy(pair, leaves[0].bytes, 32);
    memcpy(pair + 32, leaves[1].bytes, 32);
    chain_merkle_root(&root, leaves, 2);
    chain_merkle_leaf(&leaves[0], (struct pbft_span){pair, sizeof pair});
    chain_merkle_root(&forged, leaves, 1);
    cr_expect_not(pbft_digest_equal(&root, &forged));
}

Test(chain_block, a_block_reads_as_it_was_written)
{
    struct bytes ops[3] = {put(&chain, 1, 1, "a", "1"), put(&chain, 1, 2, "bb", "22"),
                           put(&chain, 2, 1, "ccc", "333")};
    struct bytes block = block_on(&chain, NOW_MS, EASY_BITS, 5, ops, 3);
    struct chain_header h;
    struct chain_reader r;
    cr_assert(chain_block_read(span_of(&block), &h, &r));
    cr_expect_eq(h.miner, 5);
    cr_expect_eq(h.time_ms, NOW_MS);
    uint8_t again[CHAIN_HEADER_BYTES];
    chain_header_encode(&h, again);
    cr_expect_arr_eq(again, block.at, sizeof again);
    for (int i = 0; i < 3; i++) {
        struct pbft_span frame;
        cr_assert(chain_reader_next(&r, &frame));
        cr_expect_eq(frame.size, ops[i].size);
        cr_expect_arr_eq(frame.data, ops[i].at, frame.size);
    }
    struct pbft_span none;
    cr_expect_not(chain_reader_next(&r, &none));
    cr_expect_not(r.bad);
}

static bool reads(const uint8_t *bytes, size_t size)
{
    struct chain_header h;
    struct chain_reader r;
    struct pbft_span frame;
    /* A copy of exactly that size, so that a sanitizer sees one byte too many. */
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    cr_assert_not_null(copy);
    memcpy(copy, bytes, size);
    bool ok = chain_block_read((struct pbft_span){copy, size}, &h, &r);
    while (ok && chain_reader_next(&r, &frame)) {
    }
    free(copy);
    return ok && !r.bad;
}

Test(chain_block, truncated_and_longer_blocks_are_refused)
{
    struct bytes ops[2] = {put(&chain, 1, 1, "a", "1"), put(&chain, 1, 2, "b", "2")};
    struct bytes block = block_on(&chain, NOW_MS, EASY_BITS, 5, ops, 2);
    cr_expect(reads(block.at, block.size));
    for (size_t size = 0; size < block.size; size++)
        cr_expect_not(reads(block.at, size), "%zu of %zu bytes", size, block.size);
    cr_expect_not(reads(block.at, block.size + 1));
    struct bytes empty = block_on(&chain, NOW_MS, EASY_BITS, 5, NULL, 0);
    cr_expect(reads(empty.at, empty.size));
    cr_expect_not(reads(empty.at, empty.size + 4));
    pbft_put_u32(block.at + CHAIN_HEADER_BYTES, UINT32_MAX);
    cr_expect_not(reads(block.at, block.size));
}

Test(chain_block, operations_bind_key_contents_and_chain)
{
    struct bytes frame = put(&chain, 1, 7, "key", "value");
    struct chain_operation op, other;
    cr_assert_eq(chain_operation_open(span_of(&frame), &chain, &op), CHAIN_OK);
    cr_expect_eq(op.op_count, 1);
    struct pbft_digest elsewhere = {{8}};
    cr_expect_eq(chain_operation_open(span_of(&frame), &elsewhere, &op), CHAIN_DROP_SIGNATURE);
    for (size_t i = 0; i < frame.size; i++) {
        struct bytes changed = frame;
        changed.at[i] ^= 1;
        cr_expect_neq(chain_operation_open(span_of(&changed), &chain, &other), CHAIN_OK, "byte %zu",
                      i);
    }
    struct bytes longer = frame;
    longer.size++;
    cr_expect_eq(chain_operation_read(span_of(&longer), &other), CHAIN_DROP_OPERATION);
    for (size_t size = 0; size < frame.size; size++)
        cr_expect_eq(chain_operation_read((struct pbft_span){frame.at, size}, &other),
                     CHAIN_DROP_OPERATION);
}

Test(chain_block, one_slot_whatever_is_signed_for_it)
{
    struct bytes a = put(&chain, 1, 7, "key", "value"), b = put(&chain, 1, 7, "key", "other"),
                 c = put(&chain, 1, 8, "key", "value"), d = put(&chain, 2, 7, "key", "value");
    struct chain_operation x, y;
    cr_assert_eq(chain_operation_read(span_of(&a), &x), CHAIN_OK);
    cr_assert_eq(chain_operation_read(span_of(&b), &y), CHAIN_OK);
    cr_expect(pbft_digest_equal(&x.slot, &y.slot));
    cr_expect_not(pbft_digest_equal(&x.id, &y.id));
    cr_assert_eq(chain_operation_read(span_of(&c), &y), CHAIN_OK);
    cr_expect_not(pbft_digest_equal(&x.slot, &y.slot));
    cr_assert_eq(chain_operation_read(span_of(&d), &y), CHAIN_OK);
    cr_expect_not(pbft_digest_equal(&x.slot, &y.slot));
}

Test(chain_block, parameters_come_back_and_are_checked)
{
    struct chain_params p = easy_params(), q;
    uint8_t bytes[CHAIN_PARAMS_BYTES];
    p.name = 77;
    chain_params_encode(&p, bytes);
    chain_params_decode(&q, bytes);
    cr_expect_eq(memcmp(&p, &q, sizeof p), 0);
    cr_expect_null(chain_params_check(&p));
    struct chain_header h;
    struct pbft_digest one, two;
    chain_genesis(&p, &h, &one);
    q.spacing_ms++;
    chain_genesis(&q, &h, &two);
    cr_expect_not(pbft_digest_equal(&one, &two), "other parameters are another chain");
    q = p;
    q.spacing_ms = 0;
    cr_expect_not_null(chain_params_check(&q));
    q = p;
    q.retarget_blocks = 3;
    cr_expect_not_null(chain_params_check(&q));
    q = p;
    q.limit_bits = 0x1d00ffff;
    cr_expect_not_null(chain_params_check(&q));
    q = p;
    q.block_max_bytes = CHAIN_BLOCK_MAX_BYTES + 1;
    cr_expect_not_null(chain_params_check(&q));
}
