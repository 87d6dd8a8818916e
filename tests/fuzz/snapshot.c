/*
 * tests/fuzz/snapshot.c - snapshot files from anywhere (replica/backup.h): what is accepted is
 * certified, whole, and has one encoding.
 *
 * Input: u8 how, then a file (how = 0), or pages as (u16 size, bytes). Of these a file is made,
 * with a certificate of whatever the first one hashes to, and a checksum: what a quorum of traitors
 * could have signed.
 */
#include "replica/backup.h"

#include "crypto/hash.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/samples.h"

#define SEQ 16u

static struct samples *cluster;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    cluster = samples_new(&pbft_signer_fast);
    return 0;
}

static void write_again(struct pbft_backup *backup, struct pbft_snapshot *state,
                        struct pbft_span file)
{
    char *bytes = NULL;
    size_t size = 0;
    uint64_t pages = backup->pages;
    FILE *out = open_memstream(&bytes, &size);
    REQUIRE(out != NULL);
    REQUIRE(pbft_backup_write(out, backup, state, NULL, NULL) == PBFT_STATUS_OK);
    REQUIRE(fclose(out) == 0);
    REQUIRE(backup->pages == pages);
    REQUIRE(fuzz_same((struct pbft_span){(uint8_t *)bytes, size}, file));
    free(bytes);
}

static void check(struct pbft_span file)
{
    if (file.size == 0) return; /* fmemopen() takes none */
    static struct pbft_backup backup;
    struct pbft_snapshot *state = NULL;
    char error[256];
    memset(error, 'x', sizeof error);
    FILE *in = fmemopen((void *)(uintptr_t)file.data, file.size, "rb");
    REQUIRE(in != NULL);
    enum pbft_status status = pbft_backup_read(in, &cluster->cluster, &pbft_signer_fast, &backup,
                                               &state, NULL, NULL, error);
    (void)fclose(in);
    REQUIRE(memchr(error, '\0', sizeof error) != NULL);
    REQUIRE((status == PBFT_STATUS_OK) == (state != NULL));
    if (status == PBFT_STATUS_OK) {
        pbft_seq seq;
        struct pbft_digest root, certified;
        struct pbft_span frame = {backup.checkpoint.certificate,
                                  backup.checkpoint.certificate_size};
        REQUIRE(
            pbft_backup_certified(&cluster->cluster, &pbft_signer_fast, frame, &seq, &certified));
        pbft_snapshot_root(state, &root);
        REQUIRE(pbft_digest_equal(&root, &certified) && seq == backup.checkpoint.seq);
        write_again(&backup, state, file);
    } else {
        REQUIRE(error[0] != '\0');
    }
    pbft_snapshot_release(state);
}

static void put(FILE *out, const uint8_t *bytes, size_t size)
{
    REQUIRE(fwrite(bytes, 1, size, out) == size);
}

static void certify(const struct pbft_digest *root, FILE *out)
{
    samples_reset(cluster);
    struct pbft_msg m = samples_certificate(cluster, PBFT_CERT_CHECKPOINT, SEQ);
    m.certificate.digest = *root;
    m.certificate.signatures = samples_checkpoints(cluster, SEQ, root, 0x7);
    struct pbft_span frame = samples_encode(cluster, &m, NULL);
    uint8_t head[PBFT_BACKUP_HEAD_BYTES] = "PBFTSNAP";
    pbft_put_u32(head + 8, 1);
    memcpy(head + 12, cluster->cluster.id.bytes, PBFT_DIGEST_BYTES);
    pbft_put_u32(head + 44, cluster->cluster.epoch);
    pbft_put_u64(head + 48, SEQ);
    memcpy(head + 56, root->bytes, PBFT_DIGEST_BYTES);
    pbft_put_u32(head + 88, (uint32_t)frame.size);
    put(out, head, sizeof head);
    put(out, frame.data, frame.size);
}

static void crafted(struct fuzz *f)
{
    char *bytes = NULL;
    size_t size = 0;
    struct pbft_span pages[64], all;
    uint64_t count = 0;
    for (; f->left > 0 && count < 64; count++) {
        size_t length = fuzz_number(f, 2);
        pages[count] = fuzz_bytes(f, length);
    }
    struct pbft_digest root;
    if (count == 0 || !pbft_page_digest(pages[0], &root)) return;
    FILE *out = open_memstream(&bytes, &size);
    REQUIRE(out != NULL);
    certify(&root, out);
    uint8_t counts[12];
    pbft_put_u32(counts, 0);
    pbft_put_u64(counts + 4, count);
    put(out, counts, sizeof counts);
    for (uint64_t i = 0; i < count; i++) {
        uint8_t length[4];
        pbft_put_u32(length, (uint32_t)pages[i].size);
        put(out, length, sizeof length);
        put(out, pages[i].data, pages[i].size);
    }
    REQUIRE(fflush(out) == 0);
    all = (struct pbft_span){(uint8_t *)bytes, size};
    pbft_hash(&root, "pbft-snapshot", &all, 1);
    put(out, root.bytes, sizeof root.bytes);
    REQUIRE(fclose(out) == 0);
    check((struct pbft_span){(uint8_t *)bytes, size});
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    if (fuzz_u8(&f) != 0) {
        crafted(&f);
        return 0;
    }
    uint8_t *file = fuzz_copy((struct pbft_span){f.at, f.left});
    check((struct pbft_span){file, f.left});
    free(file);
    return 0;
}
