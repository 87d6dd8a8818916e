/* replica/backup: a snapshot file is whole and certified, or refused with a reason. */
#include "replica/backup.h"

#include "crypto/hash.h"
#include "tests/sim/samples.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEQ     16u
#define ENTRIES 600u
#define PAGES_AT(f)                                                                                \
    (PBFT_BACKUP_HEAD_BYTES + (f)->backup.checkpoint.certificate_size + 12u) /* the root's length  \
                                                                              */

struct backup_fixture {
    struct samples *s;
    struct pbft_tree *tree;
    struct pbft_snapshot *snapshot;
    struct pbft_backup backup;
    uint8_t *file;
    size_t size;
};

static struct pbft_digest root_of(const struct backup_fixture *f)
{
    struct pbft_digest root;
    pbft_snapshot_root(f->snapshot, &root);
    return root;
}

/* By these replicas, about this. */
static void certify(struct backup_fixture *f, pbft_seq seq, struct pbft_digest root,
                    pbft_signers signers)
{
    struct pbft_msg m = samples_certificate(f->s, PBFT_CERT_CHECKPOINT, seq);
    m.certificate.digest = root;
    m.certificate.signatures = samples_checkpoints(f->s, seq, &root, signers);
    struct pbft_span frame = samples_encode(f->s, &m, NULL);
    cr_assert_leq(frame.size, PBFT_PAGES_CERTIFICATE_MAX);
    f->backup.checkpoint.certificate_size = (uint32_t)frame.size;
    memcpy(f->backup.checkpoint.certificate, frame.data, frame.size);
}

static void write_file(struct backup_fixture *f)
{
    free(f->file);
    char *bytes = NULL;
    FILE *file = open_memstream(&bytes, &f->size);
    cr_assert_not_null(file);
    cr_assert_eq(pbft_backup_write(file, &f->backup, f->snapshot, NULL, NULL), PBFT_STATUS_OK);
    cr_assert_eq(fclose(file), 0);
    f->file = (uint8_t *)bytes;
}

static void open_fixture(struct backup_fixture *f, const struct pbft_signer *signer,
                         unsigned entries)
{
    memset(f, 0, sizeof *f);
    f->s = samples_new(signer);
    cr_assert_eq(pbft_tree_create(&f->tree, NULL), PBFT_STATUS_OK);
    for (unsigned i = 0; i < entries; i++) {
        uint8_t key[8], value[40];
        pbft_put_u64(key, i * UINT64_C(0x9e3779b97f4a7c15));
        memset(value, (int)i, sizeof value);
        cr_assert_eq(pbft_tree_put(f->tree, (struct pbft_span){key, sizeof key},
                                   (struct pbft_span){value, sizeof value}, i + 1),
                     PBFT_STATUS_OK);
    }
    f->snapshot = pbft_tree_snapshot(f->tree);
    cr_assert_not_null(f->snapshot);
    f->backup.cluster_id = f->s->cluster.id;
    f->backup.epoch = f->s->cluster.epoch;
    f->backup.checkpoint.seq = SEQ;
    f->backup.checkpoint.root = root_of(f);
    certify(f, SEQ, root_of(f), 0x7);
    write_file(f);
}

static void close_fixture(struct backup_fixture *f)
{
    free(f->file);
    pbft_snapshot_release(f->snapshot);
    pbft_tree_destroy(f->tree);
    samples_free(f->s);
}

static enum pbft_status read_bytes(struct backup_fixture *f, const uint8_t *bytes, size_t size,
                                   struct pbft_snapshot **state, char error[256])
{
    FILE *file =
        size == 0 ? fopen("/dev/null", "rb") : fmemopen((void *)(uintptr_t)bytes, size, "rb");
    struct pbft_backup backup;
    cr_assert_not_null(file);
    enum pbft_status status =
        pbft_backup_read(file, &f->s->cluster, f->s->signer, &backup, state, NULL, NULL, error);
    (void)fclose(file);
    if (status == PBFT_STATUS_OK) cr_assert_eq(backup.checkpoint.seq, f->backup.checkpoint.seq);
    return status;
}

static void close_sum(uint8_t *bytes, size_t size)
{
    struct pbft_digest sum;
    struct pbft_span all = {bytes, size - PBFT_DIGEST_BYTES};
    pbft_hash(&sum, "pbft-snapshot", &all, 1);
    memcpy(bytes + all.size, sum.bytes, PBFT_DIGEST_BYTES);
}

/* With its closing checksum put right. */
static void refused(struct backup_fixture *f, uint8_t *bytes, size_t size, const char *why)
{
    char error[256];
    close_sum(bytes, size);
    struct pbft_snapshot *state = NULL;
    cr_assert_eq(read_bytes(f, bytes, size, &state, error), PBFT_STATUS_CORRUPT, "not %s", why);
    cr_assert_null(state);
    cr_assert_not_null(strstr(error, why), "'%s' does not say '%s'", error, why);
}

Test(backup, is_read_back_and_has_one_form)
{
    static const unsigned counts[] = {0, 1, 60, ENTRIES};
    for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct backup_fixture f;
        open_fixture(&f, i == 3 ? &pbft_signer_ed25519 : &pbft_signer_fast, counts[i]);
        char error[256];
        struct pbft_snapshot *state = NULL;
        cr_assert_eq(read_bytes(&f, f.file, f.size, &state, error), PBFT_STATUS_OK, "%s", error);
        struct pbft_digest root;
        pbft_snapshot_root(state, &root);
        struct pbft_digest before = root_of(&f);
        cr_assert(pbft_digest_equal(&root, &before));
        cr_assert_eq(pbft_snapshot_count(state), counts[i]);
        uint8_t *first = f.file;
        size_t size = f.size;
        f.file = NULL;
        pbft_snapshot_release(f.snapshot);
        f.snapshot = state;
        write_file(&f);
        cr_assert_eq(f.size, size);
        cr_assert_eq(memcmp(f.file, first, size), 0);
        free(first);
        close_fixture(&f);
    }
}

Test(backup, no_bit_can_change)
{
    struct backup_fixture f;
    open_fixture(&f, &pbft_signer_fast, 60);
    char error[256];
    for (size_t i = 0; i < f.size; i++) {
        f.file[i] ^= (uint8_t)(1u << (i % 8));
        cr_assert_eq(read_bytes(&f, f.file, f.size, NULL, error), PBFT_STATUS_CORRUPT, "byte %zu",
                     i);
        cr_assert_gt(strlen(error), 0u);
        f.file[i] ^= (uint8_t)(1u << (i % 8));
    }
    for (size_t size = 0; size < f.size; size++)
        cr_assert_eq(read_bytes(&f, f.file, size, NULL, error), PBFT_STATUS_CORRUPT, "cut at %zu",
                     size);
    uint8_t *longer = malloc(f.size + 1);
    cr_assert_not_null(longer);
    memcpy(longer, f.file, f.size);
    longer[f.size] = 0;
    cr_assert_eq(read_bytes(&f, longer, f.size + 1, NULL, error), PBFT_STATUS_CORRUPT);
    cr_assert_not_null(strstr(error, "behind its end"), "%s", error);
    free(longer);
    cr_assert_eq(read_bytes(&f, f.file, f.size, NULL, error), PBFT_STATUS_OK);
    close_fixture(&f);
}

/* Who can write a checksum can not write these: each field, one at a time. */
Test(backup, every_field_is_checked)
{
    struct backup_fixture f;
    open_fixture(&f, &pbft_signer_ed25519, 60);
    static const struct {
        size_t at;
        const char *why;
    } fields[] = {
        {0, "no snapshot"},
        {8, "format version"},
        {12, "another cluster"},
        {44, "one proof for each epoch"},
        {48, "another checkpoint"},
        {56, "another checkpoint"},
        {PBFT_BACKUP_HEAD_BYTES + 40, "not signed by a quorum"}, /* a digest in the certificate */
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        f.file[fields[i].at] ^= 8u; /* a multiple of the interval stays one */
        refused(&f, f.file, f.size, fields[i].why);
        f.file[fields[i].at] ^= 8u;
    }
    uint8_t *counts = f.file + PAGES_AT(&f) - 12;
    pbft_put_u32(counts, 1);
    refused(&f, f.file, f.size, "one proof for each epoch");
    pbft_put_u32(counts, 0);
    pbft_put_u32(f.file + 88, PBFT_PAGES_CERTIFICATE_MAX + 1);
    refused(&f, f.file, f.size, "too long");
    pbft_put_u32(f.file + 88, f.backup.checkpoint.certificate_size);
    pbft_put_u32(f.file + PAGES_AT(&f), PBFT_PAGE_BYTES_MAX + 1);
    refused(&f, f.file, f.size, "too long");
    close_fixture(&f);
}

/* As version 1 was written, before there were epochs: nothing between certificate and pages. What
 * follows is not guessed at. */
Test(backup, a_file_of_the_first_version_is_refused_by_its_version)
{
    struct backup_fixture f;
    open_fixture(&f, &pbft_signer_ed25519, 60);
    cr_assert_eq(pbft_get_u32(f.file + 8), 2u);
    size_t proofs = PAGES_AT(&f) - 12; /* their count */
    uint8_t *old = malloc(f.size);
    cr_assert_not_null(old);
    memcpy(old, f.file, proofs);
    memcpy(old + proofs, f.file + proofs + 4, f.size - proofs - 4);
    pbft_put_u32(old + 8, 1);
    refused(&f, old, f.size - 4, "it has format version 1, and this program reads version 2");
    free(old);
    close_fixture(&f);
}

Test(backup, only_a_quorum_of_this_cluster_certifies)
{
    struct backup_fixture f;
    open_fixture(&f, &pbft_signer_ed25519, 60);
    struct pbft_digest root = root_of(&f), other = root;
    other.bytes[3] ^= 1;
    certify(&f, SEQ, root, 0x3);
    write_file(&f);
    refused(&f, f.file, f.size, "quorum"); /* f+1 */
    certify(&f, SEQ, root, 0xf);
    write_file(&f);
    refused(&f, f.file, f.size, "quorum"); /* more than q: not canonical */
    certify(&f, SEQ, other, 0x7);
    write_file(&f);
    refused(&f, f.file, f.size, "another checkpoint");
    certify(&f, 2 * SEQ, root, 0x7);
    write_file(&f);
    refused(&f, f.file, f.size, "another checkpoint");
    f.backup.checkpoint.seq = SEQ + 1; /* no checkpoint is there */
    certify(&f, SEQ + 1, root, 0x7);
    write_file(&f);
    refused(&f, f.file, f.size, "quorum");
    f.backup.checkpoint.seq = SEQ;

    struct pbft_msg m = samples_certificate(f.s, PBFT_CERT_COMMIT, SEQ); /* signed, of a batch */
    struct pbft_span frame = samples_encode(f.s, &m, NULL);
    f.backup.checkpoint.certificate_size = (uint32_t)frame.size;
    memcpy(f.backup.checkpoint.certificate, frame.data, frame.size);
    write_file(&f);
    refused(&f, f.file, f.size, "quorum");

    /* The same replicas under another genesis: a certificate says what cluster it is of. */
    certify(&f, SEQ, root, 0x7);
    pbft_cluster_unseal(&f.s->cluster);
    f.s->cluster.nonce[0] ^= 1;
    char error[256];
    cr_assert_eq(pbft_cluster_seal(&f.s->cluster, error), PBFT_STATUS_OK);
    write_file(&f);
    refused(&f, f.file, f.size, "another cluster");
    f.backup.cluster_id = f.s->cluster.id;
    write_file(&f);
    refused(&f, f.file, f.size, "quorum");
    close_fixture(&f);
}

struct item {
    size_t at, size; /* with its length */
};

static size_t pages_of(const struct backup_fixture *f, struct item *items, size_t most)
{
    size_t at = PAGES_AT(f), count = 0;
    for (; at < f->size - PBFT_DIGEST_BYTES && count < most; count++) {
        items[count] = (struct item){at, 4 + pbft_get_u32(f->file + at)};
        at += items[count].size;
    }
    cr_assert_eq(at, f->size - PBFT_DIGEST_BYTES);
    cr_assert_eq(count, f->backup.pages);
    return count;
}

static void set_count(struct backup_fixture *f, uint8_t *bytes, uint64_t count)
{
    pbft_put_u64(bytes + PAGES_AT(f) - 8, count);
}

Test(backup, every_page_once_and_in_its_place)
{
    struct backup_fixture f;
    struct item pages[256];
    open_fixture(&f, &pbft_signer_fast, ENTRIES);
    size_t count = pages_of(&f, pages, 256);
    cr_assert_gt(count, 8u, "the state has too few pages");
    uint8_t *made = malloc(2 * f.size);
    cr_assert_not_null(made);

    for (size_t i = 0; i < count; i++) { /* one is missing, and the count says so */
        struct item p = pages[i];
        memcpy(made, f.file, p.at);
        memcpy(made + p.at, f.file + p.at + p.size, f.size - p.at - p.size);
        set_count(&f, made, count - 1);
        refused(&f, made, f.size - p.size, i + 1 == count ? "pages are missing" : "altered");
    }
    for (size_t i = 0; i < count; i++) { /* one is there twice */
        struct item p = pages[i];
        memcpy(made, f.file, p.at + p.size);
        memcpy(made + p.at + p.size, f.file + p.at, f.size - p.at);
        set_count(&f, made, count + 1);
        refused(&f, made, f.size + p.size, i + 1 == count ? "one too many" : "altered");
    }
    memcpy(made, f.file, f.size); /* leaves in another order */
    struct item a = pages[count - 2], b = pages[count - 1];
    memcpy(made + a.at, f.file + b.at, b.size);
    memcpy(made + a.at + b.size, f.file + a.at, a.size);
    refused(&f, made, f.size, "altered");

    memcpy(made, f.file, f.size); /* as many as there are, it says */
    set_count(&f, made, UINT64_MAX);
    refused(&f, made, f.size, "one too many");
    set_count(&f, made, 0);
    refused(&f, made, f.size, "pages are missing");

    for (size_t i = 0; i < count; i++) { /* a page with another content */
        memcpy(made, f.file, f.size);
        made[pages[i].at + pages[i].size - 1] ^= 1;
        refused(&f, made, f.size, "altered");
    }
    free(made);
    close_fixture(&f);
}

/* A quorum has signed a root that leads to no state: refused, not believed. */
Test(backup, a_certified_root_of_nonsense)
{
    struct backup_fixture f;
    open_fixture(&f, &pbft_signer_fast, 1);
    uint8_t page[128];
    size_t at = PAGES_AT(&f), size = pbft_get_u32(f.file + at);
    cr_assert_leq(size, sizeof page);
    memcpy(page, f.file + at + 4, size);
    page[1] = 9; /* a version that nobody knows */
    struct pbft_digest root;
    cr_assert(pbft_page_digest((struct pbft_span){page, size}, &root));
    certify(&f, SEQ, root, 0x7);
    memcpy(f.file + 56, root.bytes, PBFT_DIGEST_BYTES);
    memcpy(f.file + PBFT_BACKUP_HEAD_BYTES, f.backup.checkpoint.certificate,
           f.backup.checkpoint.certificate_size);
    memcpy(f.file + at + 4, page, size);
    refused(&f, f.file, f.size, "no page of a state");
    close_fixture(&f);
}

static void another_errno(void *context, uint64_t pages, uint64_t of)
{
    (void)context, (void)pages, (void)of;
    errno = ENOTTY; /* as isatty() does */
}

Test(backup, write_demands_the_root)
{
    struct backup_fixture f;
    open_fixture(&f, &pbft_signer_fast, 3);
    f.backup.checkpoint.root.bytes[0] ^= 1;
    FILE *file = tmpfile();
    cr_assert_not_null(file);
    cr_assert_eq(pbft_backup_write(file, &f.backup, f.snapshot, NULL, NULL), PBFT_STATUS_ARGUMENT);
    (void)fclose(file);
    file = fopen("/dev/full", "wb");
    f.backup.checkpoint.root = root_of(&f);
    if (file != NULL) {
        (void)setvbuf(file, NULL, _IONBF, 0);
        cr_assert_eq(pbft_backup_write(file, &f.backup, f.snapshot, NULL, NULL), PBFT_STATUS_IO);
        (void)fclose(file);
    }
    close_fixture(&f);
}

/* Whoever writes it is told why it failed, whatever the progress bar meets. */
Test(backup, errno_says_why_it_is_not_written)
{
    struct backup_fixture f;
    open_fixture(&f, &pbft_signer_fast, 300);
    FILE *file = fopen("/dev/full", "wb");
    cr_assert_not_null(file);
    size_t head = PAGES_AT(&f) + 4096u; /* it fails with a page, not before */
    char *buffer = malloc(head);
    cr_assert_not_null(buffer);
    (void)setvbuf(file, buffer, _IOFBF, head);
    errno = 0;
    cr_assert_eq(pbft_backup_write(file, &f.backup, f.snapshot, another_errno, NULL),
                 PBFT_STATUS_IO);
    cr_assert_eq(errno, ENOSPC, "%s", strerror(errno));
    (void)fclose(file);
    free(buffer);
    close_fixture(&f);
}
