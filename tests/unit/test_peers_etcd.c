/* etcd's messages (bench/peers/etcd_message.h), against what curl and etcd 3.4.23 said. */
#include "bench/peers/etcd_message.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* The program's files are in no library. */
#include "bench/peers/etcd_message.c"

#define HEADER                                                                                     \
    "\x0a\x1a\x08\xc0\xe2\xbf\x9b\xe6\xac\xc3\xb9\xc8\x01\x10\xee\xbd\xe6\xb5\xbb\xfd\xdf\xb9\x9e" \
    "\x01\x18\x02\x20\x02"
#define PAIR                                                                                       \
    "\x12\x0c\x0a\x01"                                                                             \
    "k\x10\x02\x18\x02\x20\x01\x2a\x01v"

#define COUNT "\x20\x01"
#define BYTES(text)                                                                                \
    {                                                                                              \
        (const uint8_t *)(text), sizeof(text) - 1                                                  \
    }
#define SPAN(text) ((struct pbft_span)BYTES(text))

static const struct pbft_span put_answer = BYTES("\0\0\0\0\x1c" HEADER);
static const struct pbft_span found = BYTES("\0\0\0\0\x2c" HEADER PAIR COUNT);
static const struct pbft_span empty_value =
    BYTES("\0\0\0\0\x29" HEADER "\x12\x09\x0a\x01k\x10\x02\x18\x03\x20\x02" COUNT);

static struct pbft_span text(const char *text)
{
    return (struct pbft_span){(const uint8_t *)text, strlen(text)};
}

Test(peers_etcd, requests)
{
    uint8_t out[512];
    static const uint8_t put[] = {0, 0, 0, 0, 6, 0x0a, 1, 'k', 0x12, 1, 'v'};
    static const uint8_t range[] = {0, 0, 0, 0, 3, 0x0a, 1, 'k'};
    cr_assert_eq(etcd_put_encode(out, sizeof out, text("k"), text("v")), sizeof put);
    cr_expect_arr_eq(out, put, sizeof put);
    cr_assert_eq(etcd_range_encode(out, sizeof out, text("k")), sizeof range);
    cr_expect_arr_eq(out, range, sizeof range);

    /* A length of two bytes; and all that is too small for it. */
    uint8_t value[300];
    memset(value, 'x', sizeof value);
    struct pbft_span span = {value, sizeof value};
    size_t size = etcd_put_encode(out, sizeof out, text("k"), span);
    cr_assert_eq(size, ETCD_FRAME_HEAD + 3 + 3 + sizeof value);
    cr_expect(size <= 1 + sizeof value + ETCD_FRAME_SLACK);
    cr_expect_eq(out[3], 1);
    cr_expect_eq(out[4], size - ETCD_FRAME_HEAD - 256);
    cr_expect_eq(out[9], 0xac);
    cr_expect_eq(out[10], 0x02);
    for (size_t i = 0; i < size; i++)
        cr_expect_eq(etcd_put_encode(out, i, text("k"), span), 0, "%zu bytes", i);
}

Test(peers_etcd, answers)
{
    struct pbft_span value;
    cr_expect(etcd_put_decode(put_answer));
    cr_assert(etcd_range_decode(found, text("k"), &value));
    cr_assert_eq(value.size, 1);
    cr_expect_eq(value.data[0], 'v');
    cr_assert(etcd_range_decode(put_answer, text("k"), &value), "nothing found");
    cr_expect_null(value.data);
    cr_assert(etcd_range_decode(empty_value, text("k"), &value));
    cr_expect_not_null(value.data);
    cr_expect_eq(value.size, 0);
}

Test(peers_etcd, answers_to_something_else)
{
    struct pbft_span value;
    cr_expect_not(etcd_range_decode(found, text("z"), &value));
    cr_expect_not(etcd_range_decode(found, text("kk"), &value));
    cr_expect_not(etcd_range_decode(found, text(""), &value));
    struct pbft_span twice = SPAN("\0\0\0\0\x38" HEADER PAIR PAIR);
    cr_expect_not(etcd_range_decode(twice, text("k"), &value));
    cr_expect_not(etcd_put_decode(SPAN("\0\0\0\0\0")), "no header");
    cr_expect_not(etcd_put_decode(SPAN("\0\0\0\0\x04\x0a\x02\x20\x02")), "no revision");
    cr_expect_not(etcd_put_decode(SPAN("\0\0\0\0\x04\x0a\x02\x18\x00")), "revision 0");
    cr_expect(etcd_put_decode(SPAN("\0\0\0\0\x04\x0a\x02\x18\x01")));
    cr_expect_not(etcd_put_decode(SPAN("\x01\0\0\0\x04\x0a\x02\x18\x01")), "compressed");
    cr_expect_not(etcd_put_decode((struct pbft_span){NULL, 0}));
}

Test(peers_etcd, cut_and_changed_answers_are_read_within_their_bounds)
{
    /* On the heap, so that AddressSanitizer sees a byte too far. */
    struct pbft_span value;
    for (size_t size = 0; size < found.size; size++) {
        uint8_t *cut = malloc(size + 1);
        cr_assert_not_null(cut);
        memcpy(cut, found.data, size);
        cr_expect_not(etcd_range_decode((struct pbft_span){cut, size}, text("k"), &value));
        /* The frame's length agrees; the message is cut. What ends with a field is whole. */
        if (size >= ETCD_FRAME_HEAD) cut[4] = (uint8_t)(size - ETCD_FRAME_HEAD);
        bool whole = size == put_answer.size || size == found.size - 2;
        cr_expect_eq(etcd_range_decode((struct pbft_span){cut, size}, text("k"), &value), whole,
                     "%zu bytes", size);
        free(cut);
    }
    for (size_t at = 0; at < found.size; at++)
        for (unsigned byte = 0; byte < 256; byte++) {
            uint8_t *changed = malloc(found.size);
            cr_assert_not_null(changed);
            memcpy(changed, found.data, found.size);
            changed[at] = (uint8_t)byte;
            if (etcd_range_decode((struct pbft_span){changed, found.size}, text("k"), &value) &&
                value.data != NULL) {
                cr_expect_geq(value.data, changed);
                cr_expect_leq(value.data + value.size, changed + found.size);
            }
            (void)etcd_put_decode((struct pbft_span){changed, found.size});
            free(changed);
        }
}

Test(peers_etcd, numbers)
{
    uint64_t value;
    struct reader r = reader_of(SPAN("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    value = read_varint(&r);
    cr_expect_not(r.bad);
    cr_expect_eq(value, UINT64_MAX);
    r = reader_of(SPAN("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"));
    (void)read_varint(&r);
    cr_expect(r.bad, "65 bits");
    r = reader_of(SPAN("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"));
    (void)read_varint(&r);
    cr_expect(r.bad, "eleven bytes");

    struct field field;
    r = reader_of(SPAN("\x0d\1\2\3\4\x09\1\2\3\4\5\6\7\x08\x08\x05"));
    cr_expect(read_field(&r, &field) && field.type == WIRE_32);
    cr_expect(read_field(&r, &field) && field.type == WIRE_64);
    cr_expect(read_field(&r, &field) && field.type == WIRE_VARINT && field.varint == 5);
    cr_expect(!read_field(&r, &field) && !r.bad, "the end");
    r = reader_of(SPAN("\x0b")); /* a group: not in proto3 */
    cr_expect(!read_field(&r, &field) && r.bad);
    r = reader_of(SPAN("\x02\x00")); /* field 0 */
    cr_expect(!read_field(&r, &field) && r.bad);
    r = reader_of(SPAN("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")); /* 2^64-1 bytes */
    cr_expect(!read_field(&r, &field) && r.bad);
}
