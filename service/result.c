/* The writer of results: bounded, little-endian. */
#include "pbft/wire.h"
#include "service/service.h"

#include <string.h>

bool pbft_result_reserve(struct pbft_result *r, size_t size)
{
    if (r->overflow || size > r->capacity - r->size) {
        r->overflow = true;
        return false;
    }
    return true;
}

void pbft_result_write(struct pbft_result *r, const void *bytes, size_t size)
{
    if (!pbft_result_reserve(r, size) || size == 0) return;
    memcpy(r->bytes + r->size, bytes, size);
    r->size += size;
}

void pbft_result_u8(struct pbft_result *r, uint8_t v)
{
    pbft_result_write(r, &v, 1);
}

void pbft_result_u32(struct pbft_result *r, uint32_t v)
{
    uint8_t bytes[4];
    pbft_put_u32(bytes, v);
    pbft_result_write(r, bytes, sizeof bytes);
}

void pbft_result_u64(struct pbft_result *r, uint64_t v)
{
    uint8_t bytes[8];
    pbft_put_u64(bytes, v);
    pbft_result_write(r, bytes, sizeof bytes);
}
