/*
 * tests/fuzz/epoch.c - how a replica's key is replaced: the administrator's operation
 * (crypto/replace.h), the proofs that lead from epoch to epoch (crypto/epoch.h), and the file that
 * keeps them (crypto/epoch_file.h), by those who have keys and can make checksums.
 *
 * Input: u8 kind, then
 *
 *   operation  bytes as they are
 *   signed     u8 whose key, u32 epoch, u32 replica: well signed, then changed where the input says
 *   proof      u8 of which epoch, a change, signers and who signs for them: judged as PROTOCOL 29
 *              says it
 *   file       a good one, changed; its hash is repaired or not
 *   bytes      a file as it is
 */
#include "crypto/epoch_file.h"
#include "crypto/hash.h"
#include "crypto/replace.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/epoch_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define REPLICAS   4u
#define FILE_HEAD  16u
#define FILE_BYTES 8192u

enum kind { OPERATION, SIGNED, PROOF, SAVED, BYTES, KINDS };

static struct epoch_chain *chain;
static char folder[64]; /* in memory where there is such a place */
static char path[96], again[96];
static uint8_t good[FILE_BYTES]; /* of the chain's last epoch */
static size_t good_size;

static void remove_folder(void)
{
    (void)unlink(path);
    (void)unlink(again);
    (void)rmdir(folder);
}

static size_t slurp(const char *name, uint8_t bytes[FILE_BYTES])
{
    int fd = open(name, O_RDONLY);
    REQUIRE(fd >= 0);
    ssize_t size = read(fd, bytes, FILE_BYTES);
    REQUIRE(size >= 0 && (size_t)size < FILE_BYTES && close(fd) == 0);
    return (size_t)size;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    chain = chain_new(REPLICAS, 7);
    struct stat info;
    bool memory = stat("/dev/shm", &info) == 0 && S_ISDIR(info.st_mode);
    (void)snprintf(folder, sizeof folder, "%s/pbft-fuzz-XXXXXX", memory ? "/dev/shm" : "/tmp");
    REQUIRE(mkdtemp(folder) != NULL && atexit(remove_folder) == 0);
    (void)snprintf(path, sizeof path, "%s/epochs", folder);
    (void)snprintf(again, sizeof again, "%s/again", folder);
    REQUIRE(pbft_epoch_file_save(path, &chain->at[CHAIN_EPOCHS - 1]) == PBFT_STATUS_OK);
    good_size = slurp(path, good);
    return 0;
}

/* Somebody's: a replica's of some epoch, a client's, a stranger's. */
static const struct pbft_keypair *a_key(struct fuzz *f)
{
    uint8_t who = fuzz_u8(f);
    if (who >= 0xc0) return &chain->stranger;
    if (who >= 0x80) return &chain->clients[who % CHAIN_CLIENTS];
    return &chain->keys[who / 16 % CHAIN_EPOCHS][who % REPLICAS];
}

/* ---- the operation ---- */

static void operation(struct pbft_span bytes)
{
    uint8_t *op = fuzz_copy(bytes);
    struct pbft_span span = {op, bytes.size};
    struct pbft_replace replace;
    bool is = pbft_replace_is(span);
    REQUIRE(is == (bytes.size >= PBFT_REPLACE_MAGIC_BYTES &&
                   memcmp(op, "\0pbft-replace-1", PBFT_REPLACE_MAGIC_BYTES) == 0));
    if (pbft_replace_decode(&chain->at[0], span, &replace))
        REQUIRE(is && bytes.size == PBFT_REPLACE_OP_BYTES);
    free(op);
    for (unsigned status = 0; status < 256; status++)
        REQUIRE(pbft_replace_text((uint8_t)status)[0] != '\0');
}

static void signed_operation(struct fuzz *f)
{
    uint8_t op[PBFT_REPLACE_OP_BYTES], same[PBFT_REPLACE_OP_BYTES];
    const struct pbft_keypair *key = a_key(f);
    struct pbft_cluster cluster = chain->at[0];
    cluster.epoch = (pbft_epoch)fuzz_number(f, 4);
    pbft_id replica = (pbft_id)fuzz_number(f, 4);
    pbft_replace_encode(&cluster, replica, key, op);

    struct pbft_replace replace;
    struct pbft_span span = {op, sizeof op};
    REQUIRE(pbft_replace_is(span) && pbft_replace_decode(&cluster, span, &replace));
    REQUIRE(replace.epoch == cluster.epoch && replace.replica == replica);
    REQUIRE(memcmp(replace.key.bytes, key->public.bytes, PBFT_PUBLIC_KEY_BYTES) == 0);
    cluster.epoch = replace.epoch;
    pbft_replace_encode(&cluster, replace.replica, key, same);
    REQUIRE(memcmp(op, same, sizeof op) == 0);

    struct pbft_cluster other = cluster; /* it is not for another cluster */
    other.id.bytes[fuzz_u8(f) % PBFT_DIGEST_BYTES] ^= (uint8_t)(fuzz_u8(f) | 1);
    REQUIRE(!pbft_replace_decode(&other, span, &replace));
    op[fuzz_u8(f) % sizeof op] ^= (uint8_t)(fuzz_u8(f) | 1); /* nor anything else */
    REQUIRE(!pbft_replace_decode(&cluster, span, &replace));
}

/* ---- a proof ---- */

/* PROTOCOL 29, once more. `right`: each signer's own signature is there. */
static enum pbft_verdict verdict_of(const struct pbft_cluster *from,
                                    const struct pbft_epoch_change *change, pbft_signers signers,
                                    bool right)
{
    if (change->epoch != (uint64_t)from->epoch + 1) return PBFT_DROP_EPOCH;
    bool known = false;
    for (unsigned i = 0; i < REPLICAS; i++)
        known = known || memcmp(&change->key, &from->replicas[i], sizeof change->key) == 0;
    for (unsigned i = 0; i < CHAIN_CLIENTS; i++)
        known = known || memcmp(&change->key, &from->clients[i], sizeof change->key) == 0;
    if (known || !pbft_public_key_valid(&change->key) || change->replica >= REPLICAS ||
        change->seq <= from->genesis_seq || change->seq % from->params.checkpoint_interval != 0 ||
        change->seq > UINT64_MAX - from->params.window || signers >> REPLICAS != 0 ||
        __builtin_popcountll(signers) != 3)
        return PBFT_DROP_CERTIFICATE;
    return right ? PBFT_OK : PBFT_DROP_SIGNATURE;
}

static struct pbft_epoch_change a_change(const struct pbft_cluster *from, struct fuzz *f)
{
    uint8_t what = fuzz_u8(f);
    struct pbft_epoch_change change = chain_change(from, fuzz_u8(f) % REPLICAS, a_key(f));
    if ((what & 1) != 0) change.epoch = (pbft_epoch)fuzz_number(f, 4);
    if ((what & 2) != 0) change.seq = fuzz_number(f, 8);
    if ((what & 4) != 0) change.seq = from->params.checkpoint_interval * fuzz_number(f, 7);
    if ((what & 8) != 0) change.seq = UINT64_MAX - fuzz_number(f, 2);
    if ((what & 16) != 0) change.replica = (pbft_id)fuzz_number(f, 4);
    if ((what & 32) != 0) change.key.bytes[fuzz_u8(f) % PBFT_PUBLIC_KEY_BYTES] ^= fuzz_u8(f);
    if ((what & 64) != 0) memset(&change.key, fuzz_u8(f), sizeof change.key);
    if ((what & 128) != 0) change.root.bytes[0] = fuzz_u8(f);
    return change;
}

/* Each by its replica, or by another key. Returns the proof's size; a set that is not a quorum
 * gives one of another length, or of the same with bits that name nobody. */
static size_t a_proof(const struct pbft_cluster *from, const struct pbft_epoch_change *change,
                      struct fuzz *f, pbft_signers *signers, bool *right,
                      uint8_t proof[PBFT_EPOCH_PROOF_MAX])
{
    uint8_t how = fuzz_u8(f);
    *signers = (how & 1) != 0 ? fuzz_number(f, 8) : how / 16u;
    *right = true;
    uint8_t signatures[PBFT_REPLICAS_MAX * PBFT_SIGNATURE_BYTES] = {0}, *at = signatures;
    unsigned count = 0;
    pbft_signers taken = 0;
    for (pbft_signers rest = *signers; rest != 0 && count < 5; rest &= rest - 1, count++) {
        pbft_id id = (pbft_id)__builtin_ctzll(rest);
        bool wrong = (how & 2) != 0 && fuzz_u8(f) % 2 != 0;
        const struct pbft_keypair *own = &chain->keys[from->epoch][id % REPLICAS];
        const struct pbft_keypair *key = wrong ? a_key(f) : own;
        *right = *right && memcmp(&key->public, &own->public, sizeof key->public) == 0;
        chain_sign(from, change, id, key, at);
        at += PBFT_SIGNATURE_BYTES;
        taken |= (pbft_signers)1 << id;
    }
    *signers = taken;
    struct pbft_signatures certificate = {taken, signatures};
    size_t size = pbft_epoch_proof(change, &certificate, proof);
    if ((how & 4) == 0) return size;
    *signers = fuzz_number(f, 8); /* not those who are there */
    *right = *right && *signers == taken;
    pbft_put_u64(proof + PBFT_EPOCH_CHANGE_BYTES, *signers);
    return size;
}

static void proof(struct fuzz *f)
{
    const struct pbft_cluster *from = &chain->at[fuzz_u8(f) % CHAIN_EPOCHS];
    struct pbft_epoch_change change = a_change(from, f), found;
    uint8_t bytes[PBFT_EPOCH_PROOF_MAX];
    pbft_signers signers;
    bool right;
    size_t size = a_proof(from, &change, f, &signers, &right, bytes);
    uint8_t *copy = fuzz_copy((struct pbft_span){bytes, size});
    struct pbft_span span = {copy, size};
    enum pbft_verdict wanted = size != pbft_epoch_proof_size(from)
                                   ? PBFT_DROP_MALFORMED
                                   : verdict_of(from, &change, signers, right);
    REQUIRE(pbft_epoch_check(from, &pbft_signer_ed25519, span, &found) == wanted);
    struct pbft_cluster next;
    REQUIRE(pbft_epoch_next(from, &pbft_signer_ed25519, span, &next) == wanted);
    if (wanted == PBFT_OK) {
        struct pbft_cluster twin;
        struct pbft_signatures signatures;
        REQUIRE(next.epoch == from->epoch + 1 && next.genesis_seq == change.seq);
        REQUIRE(memcmp(&next.replicas[change.replica], &change.key, sizeof change.key) == 0);
        REQUIRE(fuzz_same(pbft_epoch_history(&next, next.epoch), span));
        pbft_epoch_signatures(span, &signatures);
        REQUIRE(signatures.signers == signers);
        REQUIRE(pbft_epoch_copy(&next, &twin) && twin.history != next.history);
        REQUIRE(memcmp(twin.history, next.history, next.epoch * size) == 0);
        pbft_epoch_free(&twin);
        pbft_epoch_free(&next);
        copy[fuzz_number(f, 2) % size] ^= (uint8_t)(fuzz_u8(f) | 1); /* all of it is signed */
        REQUIRE(pbft_epoch_check(from, &pbft_signer_ed25519, span, &found) != PBFT_OK);
    }
    free(copy);
}

/* ---- the file ---- */

static void put(const char *name, struct pbft_span bytes)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    REQUIRE(fd >= 0 && write(fd, bytes.data, bytes.size) == (ssize_t)bytes.size);
    REQUIRE(close(fd) == 0);
}

/* What is accepted is whole, and what we would have written. */
static bool judge(struct pbft_span bytes)
{
    uint8_t back[FILE_BYTES];
    pbft_epoch seen = 0, led = 0;
    struct pbft_cluster cluster = chain->at[0], second = chain->at[0];
    put(path, bytes);
    enum pbft_status looked = pbft_epoch_file_look(path, NULL, &seen);
    REQUIRE(looked == PBFT_STATUS_OK || looked == PBFT_STATUS_CORRUPT);
    enum pbft_status status = pbft_epoch_file_load(path, &cluster);
    REQUIRE(status == PBFT_STATUS_OK || status == PBFT_STATUS_CORRUPT);
    enum pbft_status alike =
        pbft_epoch_file_look(path, &chain->at[1 + seen % (CHAIN_EPOCHS - 1)], &led);
    REQUIRE(alike == PBFT_STATUS_OK || alike == PBFT_STATUS_CORRUPT);
    if (looked != PBFT_STATUS_OK) REQUIRE(status != PBFT_STATUS_OK && alike != PBFT_STATUS_OK);
    if (status != PBFT_STATUS_OK) {
        REQUIRE(memcmp(&cluster, &chain->at[0], sizeof cluster) == 0);
        return false;
    }
    REQUIRE(cluster.epoch == seen && seen > 0);
    REQUIRE(pbft_epoch_file_look(path, &cluster, &led) == PBFT_STATUS_OK && led == seen);
    REQUIRE(pbft_epoch_file_save(again, &cluster) == PBFT_STATUS_OK);
    size_t size = slurp(again, back);
    REQUIRE(fuzz_same(bytes, (struct pbft_span){back, size}));
    REQUIRE(pbft_epoch_file_load(again, &second) == PBFT_STATUS_OK);
    REQUIRE(second.epoch == cluster.epoch && second.genesis_seq == cluster.genesis_seq);
    REQUIRE(memcmp(second.replicas, cluster.replicas, sizeof cluster.replicas) == 0);
    pbft_epoch_free(&second);
    pbft_epoch_free(&cluster);
    return true;
}

/* Another proof of that epoch, which somebody signed. */
static void other_proof(uint8_t *bytes, size_t size, struct fuzz *f)
{
    size_t each = pbft_epoch_proof_size(&chain->at[0]);
    pbft_epoch which = fuzz_u8(f) % (CHAIN_EPOCHS - 1);
    struct pbft_epoch_change change = a_change(&chain->at[which], f);
    uint8_t proof_bytes[PBFT_EPOCH_PROOF_MAX];
    pbft_signers signers;
    bool right;
    size_t length = a_proof(&chain->at[which], &change, f, &signers, &right, proof_bytes);
    size_t at = FILE_HEAD + which * each;
    if (length == each && at + each <= size) memcpy(bytes + at, proof_bytes, each);
}

static void change_file(uint8_t bytes[FILE_BYTES], size_t *size, struct fuzz *f)
{
    size_t each = pbft_epoch_proof_size(&chain->at[0]), body = *size - FILE_HEAD;
    unsigned a = fuzz_u8(f) % (CHAIN_EPOCHS - 1), b = fuzz_u8(f) % (CHAIN_EPOCHS - 1);
    switch (fuzz_u8(f) % 6) {
    case 0: bytes[fuzz_number(f, 2) % *size] ^= fuzz_u8(f); break;
    case 1: pbft_put_u32(bytes + 12, (uint32_t)fuzz_number(f, 4)); break;
    case 2: /* fewer, or with a part of one */
        *size = FILE_HEAD + fuzz_number(f, 2) % (body + 1);
        break;
    case 3: /* whole ones, counted */
        *size = FILE_HEAD + a * each;
        pbft_put_u32(bytes + 12, a);
        break;
    case 4: /* one twice */
        if ((a > b ? a : b) * each + each <= body)
            memmove(bytes + FILE_HEAD + a * each, bytes + FILE_HEAD + b * each, each);
        break;
    default: other_proof(bytes, *size, f); break;
    }
}

static void file(struct fuzz *f)
{
    uint8_t bytes[FILE_BYTES];
    size_t size = good_size - PBFT_DIGEST_BYTES;
    memcpy(bytes, good, good_size);
    bool repaired = fuzz_u8(f) % 8 != 0;
    for (unsigned changes = fuzz_u8(f) % 4; changes > 0; changes--)
        change_file(bytes, &size, f);
    bool same = size == good_size - PBFT_DIGEST_BYTES && memcmp(bytes, good, size) == 0;
    struct pbft_digest digest;
    pbft_hash(&digest, "pbft-epochs", &(struct pbft_span){bytes, size}, 1);
    memcpy(bytes + size, repaired ? digest.bytes : good + good_size - PBFT_DIGEST_BYTES,
           PBFT_DIGEST_BYTES);
    bool accepted = judge((struct pbft_span){bytes, size + PBFT_DIGEST_BYTES});
    if (same) REQUIRE(accepted);
    if (!same && !repaired) REQUIRE(!accepted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    switch ((enum kind)(fuzz_u8(&f) % KINDS)) {
    case OPERATION: operation((struct pbft_span){f.at, f.left}); break;
    case SIGNED: signed_operation(&f); break;
    case PROOF: proof(&f); break;
    case SAVED: file(&f); break;
    case BYTES:
        if (f.left < FILE_BYTES) (void)judge((struct pbft_span){f.at, f.left});
        break;
    case KINDS: break;
    }
    return 0;
}
