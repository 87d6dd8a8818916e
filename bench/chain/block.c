#include "bench/chain/block.h"

#include "bench/chain/hash.h"
#include "pbft/wire.h"

#include <stdlib.h>
#include <string.h>

#define NONCE_AT    (CHAIN_HEADER_BYTES - 8u)
#define FRAME_BYTES 4u /* length before each */

const char *chain_verdict_text(enum chain_verdict verdict)
{
    static const char *const texts[] = {
#define X(name, text) text,
        CHAIN_VERDICTS(X)
#undef X
    };
    return (unsigned)verdict < CHAIN_VERDICT_COUNT ? texts[verdict] : "?";
}

struct chain_params chain_params_default(void)
{
    return (struct chain_params){.genesis_ms = UINT64_C(1767225600000), /* 2026-01-01 */
                                 .spacing_ms = 5000,
                                 .retarget_blocks = 32,
                                 .start_bits = 0x1e00ffff,
                                 .limit_bits = 0x207fffff,
                                 .block_max_bytes = 65536,
                                 .future_ms = 60000};
}

const char *chain_params_check(const struct chain_params *p)
{
    struct chain_u256 start, limit;
    if (p->spacing_ms < 1 || p->spacing_ms > 600000)
        return "the time between blocks must be 1 ms to 10 minutes";
    if (p->retarget_blocks < 4 || p->retarget_blocks > 1024)
        return "a retargeting period must have 4 to 1024 blocks";
    if (!chain_target(p->limit_bits, &limit) || !chain_target(p->start_bits, &start))
        return "a target is not in canonical compact form";
    if (chain_u256_compare(&start, &limit) > 0) return "the first target is easier than the limit";
    if (p->block_max_bytes < CHAIN_BLOCK_MIN_BYTES || p->block_max_bytes > CHAIN_BLOCK_MAX_BYTES)
        return "a block must have room for 100 bytes to 1 MiB";
    if (p->genesis_ms > (uint64_t)INT64_MAX / 4) return "the genesis time is out of range";
    return NULL;
}

void chain_params_encode(const struct chain_params *p, uint8_t out[CHAIN_PARAMS_BYTES])
{
    pbft_put_u64(out, p->genesis_ms);
    pbft_put_u64(out + 8, p->name);
    pbft_put_u32(out + 16, p->spacing_ms);
    pbft_put_u32(out + 20, p->retarget_blocks);
    pbft_put_u32(out + 24, p->start_bits);
    pbft_put_u32(out + 28, p->limit_bits);
    pbft_put_u32(out + 32, p->block_max_bytes);
    pbft_put_u32(out + 36, p->future_ms);
}

void chain_params_decode(struct chain_params *p, const uint8_t bytes[CHAIN_PARAMS_BYTES])
{
    p->genesis_ms = pbft_get_u64(bytes);
    p->name = pbft_get_u64(bytes + 8);
    p->spacing_ms = pbft_get_u32(bytes + 16);
    p->retarget_blocks = pbft_get_u32(bytes + 20);
    p->start_bits = pbft_get_u32(bytes + 24);
    p->limit_bits = pbft_get_u32(bytes + 28);
    p->block_max_bytes = pbft_get_u32(bytes + 32);
    p->future_ms = pbft_get_u32(bytes + 36);
}

void chain_header_encode(const struct chain_header *h, uint8_t out[CHAIN_HEADER_BYTES])
{
    pbft_put_u32(out, h->version);
    pbft_put_u32(out + 4, h->bits);
    memcpy(out + 8, h->parent.bytes, PBFT_DIGEST_BYTES);
    memcpy(out + 40, h->merkle.bytes, PBFT_DIGEST_BYTES);
    pbft_put_u64(out + 72, h->time_ms);
    pbft_put_u64(out + 80, h->miner);
    pbft_put_u64(out + NONCE_AT, h->nonce);
}

void chain_header_decode(struct chain_header *h, const uint8_t bytes[CHAIN_HEADER_BYTES])
{
    h->version = pbft_get_u32(bytes);
    h->bits = pbft_get_u32(bytes + 4);
    memcpy(h->parent.bytes, bytes + 8, PBFT_DIGEST_BYTES);
    memcpy(h->merkle.bytes, bytes + 40, PBFT_DIGEST_BYTES);
    h->time_ms = pbft_get_u64(bytes + 72);
    h->miner = pbft_get_u64(bytes + 80);
    h->nonce = pbft_get_u64(bytes + NONCE_AT);
}

void chain_header_hash(struct pbft_digest *out, const struct chain_header *h)
{
    uint8_t bytes[CHAIN_HEADER_BYTES];
    chain_header_encode(h, bytes);
    chain_sha256d(out, bytes, sizeof bytes);
}

bool chain_header_works(const struct pbft_digest *hash, uint32_t bits)
{
    struct chain_u256 target, value = chain_u256_of_hash(hash);
    return chain_target(bits, &target) && chain_u256_compare(&value, &target) <= 0;
}

bool chain_grind(struct chain_header *h, uint64_t tries)
{
    struct chain_u256 target;
    uint8_t bytes[CHAIN_HEADER_BYTES];
    if (!chain_target(h->bits, &target)) return false;
    chain_header_encode(h, bytes);
    for (; tries > 0; tries--) {
        struct pbft_digest hash;
        chain_sha256d(&hash, bytes, sizeof bytes);
        struct chain_u256 value = chain_u256_of_hash(&hash);
        if (chain_u256_compare(&value, &target) <= 0) return true;
        pbft_put_u64(bytes + NONCE_AT, ++h->nonce);
    }
    return false;
}

void chain_genesis(const struct chain_params *p, struct chain_header *out, struct pbft_digest *id)
{
    uint8_t bytes[CHAIN_PARAMS_BYTES];
    memset(out, 0, sizeof *out);
    out->version = CHAIN_VERSION;
    out->bits = p->start_bits;
    out->time_ms = p->genesis_ms;
    chain_params_encode(p, bytes);
    chain_sha256d(&out->merkle, bytes, sizeof bytes);
    chain_header_hash(id, out);
}

size_t chain_block_bytes(const struct pbft_span *frames, uint32_t count)
{
    size_t size = CHAIN_BLOCK_MIN_BYTES;
    for (uint32_t i = 0; i < count; i++)
        size += FRAME_BYTES + frames[i].size;
    return size;
}

bool chain_block_encode(struct chain_header *h, const struct pbft_span *frames, uint32_t count,
                        uint8_t *out)
{
    struct pbft_digest *leaves = calloc(count == 0 ? 1 : count, sizeof *leaves);
    if (leaves == NULL) return false;
    uint8_t *at = out + CHAIN_BLOCK_MIN_BYTES;
    for (uint32_t i = 0; i < count; i++) {
        chain_merkle_leaf(&leaves[i], frames[i]);
        pbft_put_u32(at, (uint32_t)frames[i].size);
        memcpy(at + FRAME_BYTES, frames[i].data, frames[i].size);
        at += FRAME_BYTES + frames[i].size;
    }
    chain_merkle_root(&h->merkle, leaves, count);
    free(leaves);
    chain_header_encode(h, out);
    pbft_put_u32(out + CHAIN_HEADER_BYTES, count);
    return true;
}

bool chain_block_read(struct pbft_span block, struct chain_header *h, struct chain_reader *r)
{
    memset(r, 0, sizeof *r);
    r->bad = true;
    if (block.size < CHAIN_BLOCK_MIN_BYTES) return false;
    chain_header_decode(h, block.data);
    r->count = pbft_get_u32(block.data + CHAIN_HEADER_BYTES);
    r->at = block.data + CHAIN_BLOCK_MIN_BYTES;
    r->left = block.size - CHAIN_BLOCK_MIN_BYTES;
    r->bad = r->count > r->left / FRAME_BYTES || (r->count == 0 && r->left > 0);
    return !r->bad;
}

bool chain_reader_next(struct chain_reader *r, struct pbft_span *frame)
{
    if (r->bad || r->count == 0) return false;
    r->bad = r->left < FRAME_BYTES || pbft_get_u32(r->at) > r->left - FRAME_BYTES;
    if (r->bad) return false;
    *frame = (struct pbft_span){r->at + FRAME_BYTES, pbft_get_u32(r->at)};
    r->at += FRAME_BYTES + frame->size;
    r->left -= FRAME_BYTES + frame->size;
    r->count--;
    r->bad = r->count == 0 && r->left > 0;
    return !r->bad;
}
