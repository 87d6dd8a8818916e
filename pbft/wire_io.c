/* pbft/wire_io.c - the cursor under every schema: bounds and byte order live here and nowhere else.
 */
#include "pbft/wire_io.h"

#include "pbft/quorum.h"

#include <string.h>

#define PRINTED_BYTES 8u /* of a digest or key; enough to tell two apart */

uint16_t pbft_get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | (unsigned)p[1] << 8);
}

uint32_t pbft_get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t pbft_get_u64(const uint8_t *p)
{
    return (uint64_t)pbft_get_u32(p) | (uint64_t)pbft_get_u32(p + 4) << 32;
}

void pbft_put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

void pbft_put_u32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

void pbft_put_u64(uint8_t *p, uint64_t v)
{
    pbft_put_u32(p, (uint32_t)v);
    pbft_put_u32(p + 4, (uint32_t)(v >> 32));
}

/* READ: the next `size` bytes, or NULL and bad. */
static const uint8_t *take(struct pbft_io *io, size_t size)
{
    pbft_io_require(io, size <= pbft_io_left(io), PBFT_DROP_MALFORMED);
    if (!pbft_io_ok(io)) return NULL;
    const uint8_t *p = io->in + io->at;
    io->at += size;
    return p;
}

/* WRITE and SIZE: append; `bytes` NULL appends zeros. */
static void put(struct pbft_io *io, const uint8_t *bytes, size_t size)
{
    if (!pbft_io_ok(io)) return;
    if (io->mode == PBFT_IO_WRITE) {
        pbft_io_require(io, size <= io->end - io->at, PBFT_DROP_SIZE);
        if (!pbft_io_ok(io) || size == 0) return;
        if (bytes != NULL)
            memcpy(io->out + io->at, bytes, size);
        else
            memset(io->out + io->at, 0, size);
    }
    io->at += size;
}

/* ---- text ---- */

static void put_char(struct pbft_io *io, char c)
{
    if (io->at < io->end) io->out[io->at++] = (uint8_t)c;
}

void pbft_io_text(struct pbft_io *io, const char *text)
{
    if (io->mode != PBFT_IO_PRINT) return;
    while (*text != '\0')
        put_char(io, *text++);
}

bool pbft_io_label(struct pbft_io *io, const char *name)
{
    if (io->mode != PBFT_IO_PRINT || name == NULL || !pbft_io_ok(io)) return false;
    put_char(io, ' ');
    pbft_io_text(io, name);
    put_char(io, '=');
    return true;
}

void pbft_io_text_u64(struct pbft_io *io, uint64_t v)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + (char)(v % 10));
        v /= 10;
    } while (v != 0);
    while (count > 0)
        put_char(io, digits[--count]);
}

void pbft_io_text_hex(struct pbft_io *io, const uint8_t *bytes, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        put_char(io, hex[bytes[i] >> 4]);
        put_char(io, hex[bytes[i] & 15]);
    }
}

void pbft_io_text_signers(struct pbft_io *io, pbft_signers v)
{
    const char *separator = "{";
    for (pbft_id i = 0; i < PBFT_REPLICAS_MAX; i++) {
        if (!pbft_signers_has(v, i)) continue;
        pbft_io_text(io, separator);
        pbft_io_text_u64(io, i);
        separator = ",";
    }
    pbft_io_text(io, v == 0 ? "{}" : "}");
}

/* ---- fields ---- */

void pbft_io_u8(struct pbft_io *io, const char *name, uint8_t *v)
{
    if (io->mode == PBFT_IO_READ) {
        const uint8_t *p = take(io, 1);
        if (p != NULL) *v = *p;
    } else if (io->mode == PBFT_IO_PRINT) {
        if (pbft_io_label(io, name)) pbft_io_text_u64(io, *v);
    } else {
        put(io, v, 1);
    }
}

void pbft_io_u16(struct pbft_io *io, const char *name, uint16_t *v)
{
    uint8_t bytes[2];
    if (io->mode == PBFT_IO_READ) {
        const uint8_t *p = take(io, sizeof bytes);
        if (p != NULL) *v = pbft_get_u16(p);
    } else if (io->mode == PBFT_IO_PRINT) {
        if (pbft_io_label(io, name)) pbft_io_text_u64(io, *v);
    } else {
        pbft_put_u16(bytes, *v);
        put(io, bytes, sizeof bytes);
    }
}

void pbft_io_u32(struct pbft_io *io, const char *name, uint32_t *v)
{
    uint8_t bytes[4];
    if (io->mode == PBFT_IO_READ) {
        const uint8_t *p = take(io, sizeof bytes);
        if (p != NULL) *v = pbft_get_u32(p);
    } else if (io->mode == PBFT_IO_PRINT) {
        if (pbft_io_label(io, name)) pbft_io_text_u64(io, *v);
    } else {
        pbft_put_u32(bytes, *v);
        put(io, bytes, sizeof bytes);
    }
}

void pbft_io_u64(struct pbft_io *io, const char *name, uint64_t *v)
{
    uint8_t bytes[8];
    if (io->mode == PBFT_IO_READ) {
        const uint8_t *p = take(io, sizeof bytes);
        if (p != NULL) *v = pbft_get_u64(p);
    } else if (io->mode == PBFT_IO_PRINT) {
        if (pbft_io_label(io, name)) pbft_io_text_u64(io, *v);
    } else {
        pbft_put_u64(bytes, *v);
        put(io, bytes, sizeof bytes);
    }
}

void pbft_io_bool(struct pbft_io *io, const char *name, bool *v)
{
    uint8_t byte = *v ? 1 : 0;
    pbft_io_u8(io, name, &byte);
    pbft_io_require(io, byte <= 1, PBFT_DROP_MALFORMED);
    *v = byte == 1;
}

void pbft_io_signers(struct pbft_io *io, const char *name, pbft_signers *v)
{
    if (io->mode == PBFT_IO_PRINT) {
        if (pbft_io_label(io, name)) pbft_io_text_signers(io, *v);
        return;
    }
    pbft_io_u64(io, name, v);
    if (io->mode == PBFT_IO_READ)
        pbft_io_require(io, (*v & ~pbft_everyone(io->params->n)) == 0, PBFT_DROP_MALFORMED);
}

void pbft_io_array(struct pbft_io *io, const char *name, uint8_t *bytes, size_t size)
{
    if (io->mode == PBFT_IO_READ) {
        const uint8_t *p = take(io, size);
        if (p != NULL) memcpy(bytes, p, size);
    } else if (io->mode == PBFT_IO_PRINT) {
        if (pbft_io_label(io, name))
            pbft_io_text_hex(io, bytes, size < PRINTED_BYTES ? size : PRINTED_BYTES);
    } else {
        put(io, bytes, size);
    }
}

void pbft_io_pointer(struct pbft_io *io, const uint8_t **bytes, size_t size)
{
    if (io->mode == PBFT_IO_READ) {
        const uint8_t *p = take(io, size);
        if (p != NULL) *bytes = size > 0 ? p : NULL;
    } else if (io->mode != PBFT_IO_PRINT) {
        put(io, *bytes, size);
    }
}

void pbft_io_bytes(struct pbft_io *io, const char *name, struct pbft_span *span, size_t size)
{
    if (io->mode == PBFT_IO_PRINT) {
        if (!pbft_io_label(io, name)) return;
        pbft_io_text(io, "<");
        pbft_io_text_u64(io, span->size);
        pbft_io_text(io, ">");
        return;
    }
    if (io->mode == PBFT_IO_READ) {
        const uint8_t *p = take(io, size);
        if (p != NULL) *span = (struct pbft_span){p, size};
        return;
    }
    pbft_io_require(io, span->size == size && (span->data != NULL || size == 0),
                    PBFT_DROP_MALFORMED);
    put(io, span->data, size);
}

void pbft_io_tail(struct pbft_io *io, const char *name, struct pbft_span *span, size_t reserve)
{
    size_t size = span->size;
    if (io->mode == PBFT_IO_READ) {
        pbft_io_require(io, reserve <= pbft_io_left(io), PBFT_DROP_MALFORMED);
        if (!pbft_io_ok(io)) return;
        size = pbft_io_left(io) - reserve;
    }
    pbft_io_bytes(io, name, span, size);
}

void *pbft_io_reserve(struct pbft_io *io, uint32_t count, size_t item_bytes, size_t wire_bytes)
{
    if (!pbft_io_ok(io) || io->mode != PBFT_IO_READ) return NULL;
    pbft_io_require(io, count <= pbft_io_left(io) / wire_bytes, PBFT_DROP_MALFORMED);
    struct pbft_arena *a = io->arena;
    /* Only the start of the arena is aligned to 16: keep it so. */
    size_t room = a->used <= a->size ? a->size - a->used : 0;
    pbft_io_require(io, count <= room / item_bytes, PBFT_DROP_SIZE);
    if (!pbft_io_ok(io)) return NULL;
    void *items = a->base + a->used;
    size_t bytes = (count * item_bytes + 15u) & ~(size_t)15u;
    a->used += bytes <= room ? bytes : room;
    return items;
}

void pbft_io_mark(const struct pbft_io *io, size_t start, struct pbft_span *span)
{
    if (io->mode == PBFT_IO_READ && pbft_io_ok(io))
        *span = (struct pbft_span){io->in + start, io->at - start};
}
