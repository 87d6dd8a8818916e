/*
 * Golden vectors: the bytes of every message, pinned. Each file of tests/golden/vectors holds one
 * frame of a fixed cluster with fixed keys (tests/sim/samples.c) as hex, below the line that
 * pbft_wire_print() makes of it. So a change of layout, digest, domain or signed bytes cannot pass
 * unseen.
 *
 * After an intended change (with a new PBFT_WIRE_VERSION and a line in CHANGELOG.md) write them
 * anew: `PBFT_GOLDEN_WRITE=1 make golden`. That run fails on purpose; look at the difference, then
 * run `make golden`. The files are looked for below the working directory, or in PBFT_GOLDEN_DIR.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/door.h"
#include "tests/sim/samples.h"

#define LINE_BYTES 32u /* of a frame, in each line of a file */
#define TEXT_MAX   (1u << 16)

struct vector {
    const char *name;
    uint8_t type;
    unsigned variant; /* 0: samples_frame() */
};

enum {
    PLAIN,
    CHECKPOINT_CERTIFICATE,
    NULL_CERTIFICATE,
    BOOT_VIEW_CHANGE,
    EMPTY_BATCH,
    DIGEST_REPLY
};

static const struct vector vectors[] = {
    {"request", PBFT_REQUEST, PLAIN},
    {"pre-prepare", PBFT_PRE_PREPARE, PLAIN},
    {"prepare", PBFT_PREPARE, PLAIN},
    {"commit", PBFT_COMMIT, PLAIN},
    {"checkpoint", PBFT_CHECKPOINT, PLAIN},
    {"view-change", PBFT_VIEW_CHANGE, PLAIN},
    {"view-change-boot", PBFT_VIEW_CHANGE, BOOT_VIEW_CHANGE},
    {"new-view", PBFT_NEW_VIEW, PLAIN},
    {"status", PBFT_STATUS_MSG, PLAIN},
    {"fetch", PBFT_FETCH, PLAIN},
    {"batch", PBFT_BATCH, PLAIN},
    {"batch-empty", PBFT_BATCH, EMPTY_BATCH},
    {"page", PBFT_PAGE, PLAIN},
    {"certificate-commit", PBFT_CERTIFICATE, PLAIN},
    {"certificate-checkpoint", PBFT_CERTIFICATE, CHECKPOINT_CERTIFICATE},
    {"certificate-null", PBFT_CERTIFICATE, NULL_CERTIFICATE},
    {"header", PBFT_HEADER, PLAIN},
    {"reply", PBFT_REPLY, PLAIN},
    {"reply-digest", PBFT_REPLY, DIGEST_REPLY},
    {"query", PBFT_QUERY, PLAIN},
    {"query-reply", PBFT_QUERY_REPLY, PLAIN},
    {"busy", PBFT_BUSY, PLAIN},
    {"result-fetch", PBFT_RESULT_FETCH, PLAIN},
    {"admin", PBFT_ADMIN, PLAIN},
    {"admin-reply", PBFT_ADMIN_REPLY, PLAIN},
};
#define VECTORS (sizeof vectors / sizeof vectors[0])

static struct pbft_span make(struct samples *s, const struct vector *v)
{
    struct pbft_msg m = {.type = v->type};
    if (v->variant == PLAIN) return samples_frame(s, v->type);
    if (v->variant == CHECKPOINT_CERTIFICATE) m = samples_certificate(s, PBFT_CERT_CHECKPOINT, 8);
    if (v->variant == NULL_CERTIFICATE) {
        m.certificate.kind = PBFT_CERT_COMMIT;
        m.certificate.view = 1;
        m.certificate.seq = 3;
        pbft_digest_null(&m.certificate.digest);
        m.certificate.signatures = samples_votes(s, PBFT_COMMIT, 1, 3, &m.certificate.digest, 0x0e);
    }
    if (v->variant == BOOT_VIEW_CHANGE) m = samples_view_change(s, 1, 2, 0, 0);
    if (v->variant == EMPTY_BATCH) m.batch.time_ns = SAMPLE_TIME_NS;
    if (v->variant == DIGEST_REPLY) m = samples_reply(s, false);
    bool signs = v->variant == BOOT_VIEW_CHANGE;
    return samples_encode(s, &m, signs ? &s->replicas[2] : NULL);
}

/* ---- files ---- */

static const char *directory(void)
{
    const char *dir = getenv("PBFT_GOLDEN_DIR");
    return dir != NULL ? dir : "tests/golden/vectors";
}

static FILE *open_vector(const char *name, const char *mode)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s.hex", directory(), name);
    FILE *file = fopen(path, mode);
    cr_assert_not_null(file, "cannot open %s (from the repository's root, or set PBFT_GOLDEN_DIR)",
                       path);
    return file;
}

/* What a file must hold: one line of text, then hex. */
static void render(char out[TEXT_MAX], const char *title, struct pbft_span bytes)
{
    size_t at = (size_t)snprintf(out, TEXT_MAX, "# %s\n", title);
    for (size_t i = 0; i < bytes.size; i += LINE_BYTES) {
        size_t count = bytes.size - i < LINE_BYTES ? bytes.size - i : LINE_BYTES;
        cr_assert(at + 2 * count + 2 < TEXT_MAX);
        pbft_hex_encode(bytes.data + i, count, out + at);
        at += 2 * count;
        out[at++] = '\n';
    }
    out[at] = '\0';
}

static bool writing(void)
{
    const char *value = getenv("PBFT_GOLDEN_WRITE");
    return value != NULL && strcmp(value, "1") == 0;
}

static void compare(const char *name, const char *want)
{
    if (writing()) {
        FILE *file = open_vector(name, "w");
        cr_assert_geq(fputs(want, file), 0);
        cr_assert_eq(fclose(file), 0);
        return;
    }
    static char have[TEXT_MAX];
    FILE *file = open_vector(name, "r");
    size_t size = fread(have, 1, sizeof have - 1, file);
    (void)fclose(file);
    have[size] = '\0';
    cr_assert_str_eq(have, want, "%s differs from what the code makes", name);
}

/* ---- the vectors ---- */

Test(golden, every_message_has_its_bytes)
{
    static char text[TEXT_MAX];
    static char title[TEXT_MAX / 2];
    struct samples *s = samples_new(&pbft_signer_ed25519);
    struct pbft_arena arena = {.size = pbft_wire_arena_bytes(&s->cluster.params)};
    arena.base = malloc(arena.size);
    for (size_t i = 0; i < VECTORS; i++) {
        samples_reset(s);
        struct pbft_span frame = make(s, &vectors[i]);
        struct pbft_msg m;
        arena.used = 0;
        cr_assert_eq(pbft_wire_decode(frame, &s->cluster.params, &arena, &m), PBFT_OK, "%s",
                     vectors[i].name);
        render(text, pbft_wire_print(&m, title, sizeof title), frame);
        compare(vectors[i].name, text);
    }
    render(text, "cluster id", (struct pbft_span){s->cluster.id.bytes, PBFT_DIGEST_BYTES});
    compare("cluster-id", text);
    free(arena.base);
    samples_free(s);
    cr_assert_not(writing(), "vectors were written, not checked: look at them and run again");
}

Test(golden, no_type_is_missing_and_no_file_is_stale)
{
    for (unsigned type = 0; type < 256; type++) {
        bool found = false;
        for (size_t i = 0; i < VECTORS; i++)
            found = found || vectors[i].type == type;
        cr_assert_eq(found, pbft_type_text((uint8_t)type)[0] != '?', "type %u", type);
    }
    DIR *dir = opendir(directory());
    cr_assert_not_null(dir);
    size_t files = 0;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        files += strstr(e->d_name, ".hex") != NULL;
    (void)closedir(dir);
    cr_assert_eq(files, VECTORS + 1);
}

/* ---- the files alone, without the encoder that made them ---- */

static size_t load(const char *name, uint8_t *out, size_t capacity)
{
    static char line[TEXT_MAX];
    FILE *file = open_vector(name, "r");
    size_t size = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (line[0] == '#') continue;
        size_t count = strcspn(line, "\n") / 2;
        cr_assert(count <= capacity - size);
        line[2 * count] = '\0';
        cr_assert(pbft_hex_decode(line, out + size, count), "%s: not hex", name);
        size += count;
    }
    (void)fclose(file);
    return size;
}

/* Their signatures are valid and their digests right: another implementation could trust them. */
Test(golden, vectors_pass_the_door)
{
    struct samples *s = samples_new(&pbft_signer_ed25519);
    struct pbft_door_config config = {.cluster = &s->cluster, .signer = &pbft_signer_ed25519};
    struct pbft_door *door = pbft_door_new(&config);
    cr_assert_not_null(door);
    const struct pbft_peer replica = {PBFT_PEER_REPLICA, 0, 1};
    const struct pbft_peer client = {PBFT_PEER_CLIENT, 0, 2};
    static uint8_t bytes[TEXT_MAX];
    for (size_t i = 0; i < VECTORS; i++) {
        struct pbft_span frame = {bytes, load(vectors[i].name, bytes, sizeof bytes)};
        struct pbft_msg m;
        enum pbft_verdict verdict = pbft_door_open(door, &replica, frame, &m);
        if (verdict == PBFT_DROP_TYPE) verdict = pbft_door_open(door, &client, frame, &m);
        if (verdict == PBFT_DROP_TYPE) verdict = pbft_door_open_client(door, &replica, frame, &m);
        cr_assert_eq(verdict, PBFT_OK, "%s: %s", vectors[i].name, pbft_verdict_text(verdict));
        cr_assert_eq(m.type, vectors[i].type);
    }
    pbft_door_free(door);
    samples_free(s);
}
