/* The check of a data directory: superblock, pages, and the report of all of it. */
#include "replica/check_internal.h"

#include "crypto/keys.h"
#include "replica/apply.h"
#include "replica/config.h"
#include "replica/pbft_replica.h"
#include "store/pages_verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FINDINGS_SHOWN  50u
#define CACHE_ENTRIES   4096u
#define PAGES_BYTES_MAX (UINT64_C(1) << 40) /* of address space */
#define PATH_BYTES      4096u

/* ---- the report ---- */

static void line(struct check *c, const char *label, const char *format, va_list arguments)
{
    char text[400];
    (void)vsnprintf(text, sizeof text, format, arguments);
    (void)fprintf(c->config->out, "  %s%s\n", label, text);
    if (label[0] != '\0' && c->first[0] == '\0')
        (void)snprintf(c->first, sizeof c->first, "%.239s", text);
}

void check_found(struct check *c, const char *format, ...)
{
    c->findings++;
    if (c->findings == FINDINGS_SHOWN + 1)
        (void)fprintf(c->config->out, "  WRONG: and more, which are counted only\n");
    if (c->findings > FINDINGS_SHOWN) return;
    va_list arguments;
    va_start(arguments, format);
    line(c, "WRONG: ", format, arguments);
    va_end(arguments);
}

void check_failed(struct check *c, const char *format, ...)
{
    c->failures++;
    va_list arguments;
    va_start(arguments, format);
    line(c, "UNREAD: ", format, arguments);
    va_end(arguments);
}

void check_say(struct check *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    line(c, "", format, arguments);
    va_end(arguments);
}

/* The first bytes, for people. */
static const char *brief(const struct pbft_digest *digest, char out[17])
{
    pbft_hex_encode(digest->bytes, 8, out);
    return out;
}

/* ---- superblock ---- */

static void compare_owner(struct check *c, const struct pbft_superblock_info *info)
{
    const struct pbft_superblock_owner *have = &info->owner, *should = &c->owner;
    char a[17], b[17];
    if (!pbft_digest_equal(&have->cluster_id, &should->cluster_id))
        check_found(c, "the superblock is of cluster %s.., not of %s..",
                    brief(&have->cluster_id, a), brief(&should->cluster_id, b));
    if (have->replica != should->replica)
        check_found(c, "the superblock is of replica %u, not of %u", (unsigned)have->replica,
                    (unsigned)should->replica);
    if (!pbft_digest_equal(&have->key_fingerprint, &should->key_fingerprint))
        check_found(c, "the superblock is of the key %s, not of %s",
                    brief(&have->key_fingerprint, a), brief(&should->key_fingerprint, b));
}

static void check_superblock(struct check *c)
{
    struct pbft_superblock_info *info = &c->superblock;
    char a[17], b[17];
    (void)fprintf(c->config->out, "superblock\n");
    enum pbft_status status = pbft_superblock_look(c->config->dir, info);
    if (status == PBFT_STATUS_NOT_FOUND) {
        check_found(c, "there is no superblock: never initialised, or wiped");
    } else if (info->version != 0 && status != PBFT_STATUS_OK) {
        check_found(c, "the superblock has format %u, which this program cannot read%s",
                    (unsigned)info->version,
                    status == PBFT_STATUS_LATER ? ": a newer version of pbft wrote it, run that"
                                                : "");
    } else if (status == PBFT_STATUS_CORRUPT) {
        check_found(c, "the superblock is damaged");
    } else if (status != PBFT_STATUS_OK) {
        check_failed(c, "superblock: %s", pbft_status_text(status));
    } else {
        check_say(c, "format %u, cluster %s.., replica %u, key %s", (unsigned)info->version,
                  brief(&info->owner.cluster_id, a), (unsigned)info->owner.replica,
                  brief(&info->owner.key_fingerprint, b));
        check_say(c, "%" PRIu64 " starts, %" PRIu64 " of them forgot their votes%s", info->starts,
                  info->forgot, info->forgot > 0 ? ": the replica is mute (PROTOCOL 29)" : "");
        compare_owner(c, info);
    }
}

/* ---- pages ---- */

bool check_certificate(struct check *c, const struct pbft_pages_checkpoint *cp,
                       struct pbft_msg *msg)
{
    struct pbft_span bytes = {cp->certificate, cp->certificate_size};
    return pbft_door_open(c->door, &c->self, bytes, msg) == PBFT_OK &&
           msg->type == PBFT_CERTIFICATE && msg->certificate.kind == PBFT_CERT_CHECKPOINT &&
           msg->certificate.seq == cp->seq &&
           pbft_digest_equal(&msg->certificate.digest, &cp->root);
}

static void page_wrong(void *context, enum pbft_pages_wrong what, const struct pbft_digest *digest)
{
    static const char *const texts[] = {
        [PBFT_PAGES_ROTTEN] = "does not have its hash",
        [PBFT_PAGES_MALFORMED] = "is no page",
        [PBFT_PAGES_MISPLACED] = "is not of the level that its parent says",
        [PBFT_PAGES_ABSENT] = "is missing: the checkpoint leads to it",
    };
    char hex[17];
    check_found(context, "page %s.. %s", brief(digest, hex), texts[what]);
}

/* The way of a restart, which also sees that counts and keys are in their places. */
static bool load_state(struct check *c, struct pbft_pages *pages)
{
    const struct pbft_check_config *config = c->config;
    struct pbft_apply_config apply_config = {config->cluster, config->service, config->pool};
    struct pbft_apply *apply = pbft_apply_new(&apply_config);
    pbft_seq seq = 0;
    uint64_t effective_ns, next_due_ns;
    enum pbft_status status = apply == NULL ? PBFT_STATUS_MEMORY : PBFT_STATUS_OK;
    if (status == PBFT_STATUS_OK)
        status = pbft_pages_load(pages, pbft_apply_tree(apply), &c->checkpoint->root);
    if (status == PBFT_STATUS_OK)
        status = pbft_apply_reload(apply, &seq, &effective_ns, &next_due_ns);
    pbft_apply_free(apply);
    if (status == PBFT_STATUS_MEMORY)
        check_failed(c, "the state: %s", pbft_status_text(status));
    else if (status != PBFT_STATUS_OK)
        check_found(c, "the state cannot be loaded: %s", pbft_status_text(status));
    else if (seq != c->checkpoint->seq)
        check_found(c, "the state is of sequence number %" PRIu64 ", the checkpoint of %" PRIu64,
                    seq, c->checkpoint->seq);
    return status == PBFT_STATUS_OK && seq == c->checkpoint->seq;
}

/* What a restored cluster begins with has no certificate but the cluster id, what a later epoch
 * begins with, none but its proof. */
static bool is_genesis(const struct pbft_cluster *cluster, const struct pbft_pages_checkpoint *cp)
{
    return cp->seq == cluster->genesis_seq && pbft_digest_equal(&cp->root, &cluster->genesis_root);
}

static void check_pages(struct check *c, struct pbft_pages *pages)
{
    struct pbft_pages_checkpoint *cp = c->checkpoint;
    struct pbft_pages_audit audit;
    struct pbft_msg msg;
    char hex[17];
    enum pbft_status status = pbft_pages_checkpoint(pages, cp);
    if (status == PBFT_STATUS_CORRUPT) check_found(c, "the record of the checkpoint is damaged");
    if (status != PBFT_STATUS_OK && status != PBFT_STATUS_CORRUPT)
        check_failed(c, "the record of the checkpoint: %s", pbft_status_text(status));
    if (status != PBFT_STATUS_OK) cp->seq = 0;
    bool has = cp->seq != 0, genesis = has && is_genesis(c->config->cluster, cp);
    bool outdated =
        has && c->config->cluster->epoch > 0 && cp->seq < c->config->cluster->genesis_seq;
    bool certified = has && !genesis && !outdated && check_certificate(c, cp, &msg);
    if (has)
        check_say(c, "owner ok, checkpoint %" PRIu64 ", root %s..", cp->seq, brief(&cp->root, hex));
    else if (status == PBFT_STATUS_OK)
        check_say(c, "owner ok, no checkpoint was flushed yet");
    if (certified)
        check_say(c, "its certificate is signed by %u replicas",
                  pbft_signers_count(msg.certificate.signatures.signers));
    else if (genesis)
        check_say(c, c->config->cluster->epoch > 0
                         ? "it is what this epoch began with, by its proof"
                         : "it is the genesis that the cluster was restored with");
    else if (outdated)
        check_say(c, "it is of an epoch that is over: a start fetches a later one");
    else if (has)
        check_found(c, "the certificate of checkpoint %" PRIu64 " is none", cp->seq);
    status = pbft_pages_audit(pages, NULL, has ? &cp->root : NULL, page_wrong, c, &audit);
    check_say(c,
              "%" PRIu64 " pages of %" PRIu64 " bytes hashed; reached %" PRIu64 " of %" PRIu64
              " bytes, out of reach %" PRIu64 ", missing %" PRIu64,
              audit.pages, audit.bytes, audit.reached, audit.reached_bytes,
              audit.pages - audit.reached, audit.wrong[PBFT_PAGES_ABSENT]);
    uint64_t wrong = 0;
    for (unsigned i = 0; i <= PBFT_PAGES_ABSENT; i++)
        wrong += audit.wrong[i];
    if (status == PBFT_STATUS_CORRUPT)
        check_found(c, "the index of the pages is damaged");
    else if (status != PBFT_STATUS_OK)
        check_failed(c, "pages.mdb: %s", pbft_status_text(status));
    else if (has && !outdated && wrong == 0)
        c->loads = load_state(c, pages) && (certified || genesis);
    else if (wrong == 0)
        c->loads = !has || outdated; /* begins with nothing */
    c->loaded = has && !outdated ? cp->seq : 0;
    if ((!certified && !genesis) || wrong > 0 || status != PBFT_STATUS_OK) cp->seq = 0;
}

/* An unreadable byte would end the process where it is mapped. */
static enum pbft_status read_through(const char *path)
{
    switch (pbft_pages_read_through(path, NULL)) {
    case 0: return PBFT_STATUS_OK;
    case ENOENT: return PBFT_STATUS_NOT_FOUND;
    case EACCES: return PBFT_STATUS_PERMISSION;
    case ELOOP:
    case EINVAL: return PBFT_STATUS_CORRUPT;
    case ENOMEM: return PBFT_STATUS_MEMORY;
    default: return PBFT_STATUS_IO;
    }
}

static void open_pages(struct check *c)
{
    char path[PATH_BYTES], error[PBFT_PAGES_ERROR_BYTES] = "";
    (void)fprintf(c->config->out, "pages\n");
    int size = snprintf(path, sizeof path, "%s/pages.mdb", c->config->dir);
    if (size < 0 || (size_t)size >= sizeof path) {
        check_failed(c, "the path is too long");
        return;
    }
    enum pbft_status status = read_through(path);
    if (status == PBFT_STATUS_NOT_FOUND) {
        c->pages_missing = c->loads = true;
        check_say(c, "there is no pages.mdb: nothing was ever flushed");
        return;
    }
    struct pbft_pages_lmdb_config config = {.dir = c->config->dir,
                                            .owner = c->owner,
                                            .bytes_max = PAGES_BYTES_MAX,
                                            .read_only = true};
    struct pbft_pages *pages = NULL;
    if (status == PBFT_STATUS_OK) status = pbft_pages_lmdb_open(&pages, &config, error);
    if (status == PBFT_STATUS_OK) {
        check_pages(c, pages);
        pbft_pages_close(pages);
    } else if (status == PBFT_STATUS_CORRUPT || status == PBFT_STATUS_LATER) {
        check_found(c, "%s", error[0] != '\0' ? error : "pages.mdb is no file of pages");
    } else if (status == PBFT_STATUS_IO) {
        check_found(c, "pages.mdb cannot be read: %s", pbft_status_text(status));
    } else {
        check_failed(c, "pages.mdb: %s", pbft_status_text(status));
    }
}

static void note_leftovers(struct check *c)
{
    static const char *const names[][2] = {
        {"pages.mdb.new", "of a flush that a crash cut short; a start removes it"},
        {"pages.mdb.damaged", "set aside by an earlier start"},
    };
    char path[PATH_BYTES];
    struct stat info;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", c->config->dir, names[i][0]);
        if (lstat(path, &info) == 0) check_say(c, "%s: %s", names[i][0], names[i][1]);
    }
}

/* ---- all together ---- */

static bool in_use(const struct check *c, char sentence[320], const char *when)
{
    bool held = false;
    enum pbft_status status = pbft_superblock_in_use(c->config->dir, &held);
    if (status != PBFT_STATUS_OK)
        (void)snprintf(sentence, 320, "%.200s: %s.", c->config->dir, pbft_status_text(status));
    else if (held)
        (void)snprintf(sentence, 320, "%.200s is in use by a replica%s: stop it first.",
                       c->config->dir, when);
    return status != PBFT_STATUS_OK || held;
}

static int verdict(const struct check *c, char sentence[320])
{
    if (c->findings > 0)
        (void)snprintf(sentence, 320, "%.120s is damaged or foreign (%" PRIu64 " findings): %.140s",
                       c->config->dir, c->findings, c->first);
    else if (c->failures > 0)
        (void)snprintf(sentence, 320, "%.120s could not be read in full: %.140s", c->config->dir,
                       c->first);
    else
        (void)snprintf(sentence, 320, "%.200s: ok", c->config->dir);
    return c->findings > 0 ? PBFT_EXIT_DATA : c->failures > 0 ? PBFT_EXIT_FAILURE : PBFT_EXIT_CLEAN;
}

int pbft_check_data(const struct pbft_check_config *config, char sentence[320])
{
    struct check c = {.config = config, .self = {.kind = PBFT_PEER_REPLICA, .index = config->id}};
    pbft_config_owner(config->cluster, config->id, &c.owner);
    struct stat folder;
    if (stat(config->dir, &folder) != 0 && errno == ENOENT) {
        (void)snprintf(
            sentence, 320,
            "there is no %.200s: check `data`, or, if it was lost, `pbftctl replica replace %u`.",
            config->dir, (unsigned)config->id);
        return PBFT_EXIT_DATA;
    }
    if (in_use(&c, sentence, "")) return PBFT_EXIT_FAILURE;
    struct pbft_door_config door = {.cluster = config->cluster,
                                    .signer = &pbft_signer_ed25519,
                                    .cache_entries = CACHE_ENTRIES};
    c.door = pbft_door_new(&door);
    c.checkpoint = calloc(1, sizeof *c.checkpoint);
    int code = PBFT_EXIT_FAILURE;
    if (c.door == NULL || c.checkpoint == NULL) {
        (void)snprintf(sentence, 320, "out of memory.");
    } else {
        check_superblock(&c);
        open_pages(&c);
        note_leftovers(&c);
        check_log(&c);
        code = verdict(&c, sentence);
        if (in_use(&c, sentence, " that was started meanwhile")) code = PBFT_EXIT_FAILURE;
    }
    pbft_door_free(c.door);
    free(c.checkpoint);
    return code;
}
