#include "bench/peers/etcd_message.h"

#include <string.h>

/* A field's tag is its number, shifted, and its wire type (protobuf encoding). */
enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

enum { /* rpc.proto, kv.proto */
       PUT_KEY = 1,
       PUT_VALUE = 2,
       RANGE_KEY = 1,
       RESPONSE_HEADER = 1,
       RANGE_KVS = 2,
       HEADER_REVISION = 3,
       KV_KEY = 1,
       KV_VALUE = 5,
};

/* ---- writing ---- */

struct writer {
    uint8_t *at;
    size_t left;
    bool bad;
};

static void write_bytes(struct writer *w, const void *bytes, size_t size)
{
    if (w->bad || size > w->left) {
        w->bad = true;
        return;
    }
    if (size > 0) memcpy(w->at, bytes, size);
    w->at += size;
    w->left -= size;
}

static void write_varint(struct writer *w, uint64_t value)
{
    uint8_t bytes[10];
    size_t size = 0;
    while (value >= 0x80) {
        bytes[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[size++] = (uint8_t)value;
    write_bytes(w, bytes, size);
}

static void write_field(struct writer *w, uint32_t number, struct pbft_span span)
{
    write_varint(w, (uint64_t)number << 3 | WIRE_BYTES);
    write_varint(w, span.size);
    write_bytes(w, span.data, span.size);
}

static struct writer frame_begin(uint8_t *out, size_t capacity)
{
    struct writer w = {.at = out, .left = capacity};
    static const uint8_t head[ETCD_FRAME_HEAD];
    write_bytes(&w, head, sizeof head);
    return w;
}

static size_t frame_end(const struct writer *w, uint8_t *out)
{
    if (w->bad) return 0;
    size_t size = (size_t)(w->at - out), body = size - ETCD_FRAME_HEAD;
    if (body > UINT32_MAX) return 0;
    for (unsigned i = 0; i < 4; i++)
        out[1 + i] = (uint8_t)(body >> (24 - 8 * i));
    return size;
}

size_t etcd_put_encode(uint8_t *out, size_t capacity, struct pbft_span key, struct pbft_span value)
{
    struct writer w = frame_begin(out, capacity);
    write_field(&w, PUT_KEY, key);
    write_field(&w, PUT_VALUE, value);
    return frame_end(&w, out);
}

size_t etcd_range_encode(uint8_t *out, size_t capacity, struct pbft_span key)
{
    struct writer w = frame_begin(out, capacity);
    write_field(&w, RANGE_KEY, key);
    return frame_end(&w, out);
}

/* ---- reading ---- */

struct reader {
    const uint8_t *at;
    size_t left;
    bool bad;
};

struct field {
    uint32_t number;
    enum wire_type type;
    uint64_t varint;        /* of WIRE_VARINT */
    struct pbft_span bytes; /* of WIRE_BYTES */
};

static struct pbft_span read_bytes(struct reader *r, uint64_t size)
{
    struct pbft_span span = {r->at, 0};
    if (r->bad || size > r->left) {
        r->bad = true;
        return span;
    }
    span.size = (size_t)size;
    r->at += span.size;
    r->left -= span.size;
    return span;
}

static uint64_t read_varint(struct reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        struct pbft_span byte = read_bytes(r, 1);
        if (r->bad) return 0;
        /* The tenth holds one bit more. */
        if (shift == 63 && byte.data[0] > 1) break;
        value |= (uint64_t)(byte.data[0] & 0x7F) << shift;
        if (byte.data[0] < 0x80) return value;
    }
    r->bad = true;
    return 0;
}

/* The next field; false at the end, and where it is none (`bad`). */
static bool read_field(struct reader *r, struct field *field)
{
    if (r->bad || r->left == 0) return false;
    uint64_t tag = read_varint(r);
    *field = (struct field){.number = (uint32_t)(tag >> 3)};
    if (tag >> 3 == 0 || tag >> 3 > UINT32_MAX >> 3) r->bad = true;
    switch (tag & 7) {
    case WIRE_VARINT:
        field->type = WIRE_VARINT;
        field->varint = read_varint(r);
        break;
    case WIRE_64:
        field->type = WIRE_64;
        (void)read_bytes(r, 8);
        break;
    case WIRE_BYTES: {
        field->type = WIRE_BYTES;
        uint64_t size = read_varint(r);
        field->bytes = read_bytes(r, size);
        break;
    }
    case WIRE_32:
        field->type = WIRE_32;
        (void)read_bytes(r, 4);
        break;
    default: r->bad = true; break;
    }
    return !r->bad;
}

static struct reader reader_of(struct pbft_span span)
{
    return (struct reader){.at = span.data, .left = span.size};
}

static bool frame_open(struct pbft_span frame, struct reader *message)
{
    if (frame.size < ETCD_FRAME_HEAD || frame.data[0] != 0) return false;
    size_t size = 0;
    for (unsigned i = 0; i < 4; i++)
        size = size << 8 | frame.data[1 + i];
    if (size != frame.size - ETCD_FRAME_HEAD) return false;
    *message = (struct reader){.at = frame.data + ETCD_FRAME_HEAD, .left = size};
    return true;
}

static bool header_has_revision(struct pbft_span span)
{
    struct reader r = reader_of(span);
    struct field field;
    uint64_t revision = 0;
    while (read_field(&r, &field))
        if (field.number == HEADER_REVISION && field.type == WIRE_VARINT) revision = field.varint;
    return !r.bad && revision > 0;
}

bool etcd_put_decode(struct pbft_span frame)
{
    struct reader r;
    struct field field;
    bool header = false;
    if (!frame_open(frame, &r)) return false;
    while (read_field(&r, &field))
        if (field.number == RESPONSE_HEADER && field.type == WIRE_BYTES)
            header = header_has_revision(field.bytes);
    return !r.bad && header;
}

static bool pair_decode(struct pbft_span span, struct pbft_span key, struct pbft_span *value)
{
    struct reader r = reader_of(span);
    struct field field;
    struct pbft_span found = {NULL, 0};
    *value = (struct pbft_span){span.data, 0}; /* proto3 leaves an empty one out */
    while (read_field(&r, &field)) {
        if (field.type != WIRE_BYTES) continue;
        if (field.number == KV_KEY) found = field.bytes;
        if (field.number == KV_VALUE) *value = field.bytes;
    }
    return !r.bad && found.size == key.size && found.size > 0 &&
           memcmp(found.data, key.data, key.size) == 0;
}

bool etcd_range_decode(struct pbft_span frame, struct pbft_span key, struct pbft_span *value)
{
    struct reader r;
    struct field field;
    bool header = false, right = true;
    *value = (struct pbft_span){NULL, 0};
    if (!frame_open(frame, &r)) return false;
    while (read_field(&r, &field)) {
        if (field.type != WIRE_BYTES) continue;
        if (field.number == RESPONSE_HEADER) header = header_has_revision(field.bytes);
        if (field.number == RANGE_KVS)
            right = right && value->data == NULL && pair_decode(field.bytes, key, value);
    }
    return !r.bad && header && right;
}
