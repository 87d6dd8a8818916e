/**
 * pbft/wire_io.h - internal to pbft/wire*.c: a cursor that reads, writes, measures or prints.
 *
 * Each message has one schema: a function that names its fields in order. Run in four modes it is
 * decoder, encoder, size and printer, so the four cannot drift apart.
 *
 * `bad` is sticky: after the first fault every call does nothing, and what it would have read is
 * left as it was. A schema needs no error branches, only loops that stop.
 */
#ifndef PBFT_WIRE_IO_H
#define PBFT_WIRE_IO_H

#include "pbft/wire.h"

enum pbft_io_mode { PBFT_IO_READ, PBFT_IO_WRITE, PBFT_IO_SIZE, PBFT_IO_PRINT };

struct pbft_io {
    enum pbft_io_mode mode;
    enum pbft_verdict bad; /* PBFT_OK while all is well */
    const uint8_t *in;     /* READ */
    uint8_t *out;          /* WRITE; PRINT: text, not terminated */
    size_t end;            /* bytes of `in`, or room in `out` */
    size_t at;
    const struct pbft_params *params; /* READ: the bounds */
    struct pbft_arena *arena;         /* READ: takes arrays */
};

static inline bool pbft_io_ok(const struct pbft_io *io)
{
    return io->bad == PBFT_OK;
}

/* Fail with `verdict` unless `holds`; the first failure stays. */
static inline void pbft_io_require(struct pbft_io *io, bool holds, enum pbft_verdict verdict)
{
    if (!holds && io->bad == PBFT_OK) io->bad = verdict;
}

/* Bytes not yet read. READ only. */
static inline size_t pbft_io_left(const struct pbft_io *io)
{
    return io->end - io->at;
}

/* Fields. `name` is what the printer shows; NULL keeps the field out of the text. */
void pbft_io_u8(struct pbft_io *io, const char *name, uint8_t *v);
void pbft_io_u16(struct pbft_io *io, const char *name, uint16_t *v);
void pbft_io_u32(struct pbft_io *io, const char *name, uint32_t *v);
void pbft_io_u64(struct pbft_io *io, const char *name, uint64_t *v);
/* One byte, 0 or 1. */
void pbft_io_bool(struct pbft_io *io, const char *name, bool *v);
/* A replica bitmap; bits at or above n are refused. */
void pbft_io_signers(struct pbft_io *io, const char *name, pbft_signers *v);
/* `size` bytes that the struct itself holds; printed as the hex of the first 8. */
void pbft_io_array(struct pbft_io *io, const char *name, uint8_t *bytes, size_t size);
/* `size` bytes that the struct points to. NULL is written as zeros. Never printed. */
void pbft_io_pointer(struct pbft_io *io, const uint8_t **bytes, size_t size);
/* Exactly `size` borrowed bytes. */
void pbft_io_bytes(struct pbft_io *io, const char *name, struct pbft_span *span, size_t size);
/* Borrowed bytes up to `reserve` bytes before the end. */
void pbft_io_tail(struct pbft_io *io, const char *name, struct pbft_span *span, size_t reserve);

/* READ: room for `count` items of `item_bytes` in the arena. Each takes at least `wire_bytes` of
 * what is left: a count that cannot be true is refused before anything is reserved. NULL when bad.
 */
void *pbft_io_reserve(struct pbft_io *io, uint32_t count, size_t item_bytes, size_t wire_bytes);

/* READ: the bytes since `start`. Other modes leave `span` alone. */
void pbft_io_mark(const struct pbft_io *io, size_t start, struct pbft_span *span);

/* PRINT: plain text; a full buffer cuts it off. Other modes do nothing. */
void pbft_io_text(struct pbft_io *io, const char *text);
/* PRINT: a space, the name and '='; false when there is nothing to print. */
bool pbft_io_label(struct pbft_io *io, const char *name);
void pbft_io_text_u64(struct pbft_io *io, uint64_t v);
void pbft_io_text_hex(struct pbft_io *io, const uint8_t *bytes, size_t size);
void pbft_io_text_signers(struct pbft_io *io, pbft_signers v);

/* The schema of every message, header included (pbft/wire.c). `msg->type` decides; READ sets it. */
void pbft_wire_message(struct pbft_io *io, struct pbft_msg *msg);

#endif
