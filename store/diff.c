/* Two trees side by side. Each walk stands before a subtree or inside a leaf. Where both stand
 * before subtrees with equal hashes, these are passed by: what came before them was paired off key
 * by key, so they are at the same place. */
#include "store/diff.h"

#include "crypto/hash.h"
#include "store/page.h"

#include <stdlib.h>

#define HASH_SLICE 64u /* pages; both roots are known as a rule */

struct place {
    const struct pbft_page *page;
    uint32_t index;       /* of the child that comes next */
    struct pbft_span low; /* no key of the page is less */
};

struct walk {
    struct place path[PBFT_TREE_DEPTH_MAX]; /* inner pages */
    uint32_t depth;
    const struct pbft_page *next; /* the subtree before which it stands; NULL: in `leaf` or done */
    struct pbft_span low;         /* no key of `next` is less */
    const struct pbft_page *leaf; /* NULL: in none */
    uint32_t entry;               /* of leaf */
};

struct pbft_diff {
    struct pbft_snapshot *ours, *theirs;
    uint64_t seq;
    bool hashed, done;
    struct walk a, b;
    struct pbft_diff_result result;
};

struct pbft_diff *pbft_diff_new(struct pbft_snapshot *ours, struct pbft_snapshot *theirs,
                                uint64_t seq)
{
    struct pbft_diff *diff = calloc(1, sizeof *diff);
    if (diff == NULL) return NULL;
    diff->ours = pbft_snapshot_retain(ours);
    diff->theirs = pbft_snapshot_retain(theirs);
    diff->seq = seq;
    diff->a.next = ours->root;
    diff->b.next = theirs->root;
    diff->result.differs_at = UINT64_MAX;
    return diff;
}

void pbft_diff_free(struct pbft_diff *diff)
{
    if (diff == NULL) return;
    pbft_snapshot_release(diff->ours);
    pbft_snapshot_release(diff->theirs);
    free(diff);
}

const struct pbft_diff_result *pbft_diff_result(const struct pbft_diff *diff)
{
    return &diff->result;
}

/* ---- walking ---- */

static void walk_on(struct walk *w)
{
    w->next = NULL;
    while (w->depth > 0) {
        struct place *top = &w->path[w->depth - 1];
        if (top->index < top->page->count) {
            w->low = top->index == 0 ? top->low : inner_key(top->page, top->index);
            w->next = top->page->children[top->index++].page;
            return;
        }
        w->depth--;
    }
}

static void walk_into(struct walk *w)
{
    const struct pbft_page *page = w->next;
    if (page->level > 0) {
        PBFT_ASSERT(w->depth < PBFT_TREE_DEPTH_MAX);
        w->path[w->depth++] = (struct place){page, 0, w->low};
        walk_on(w);
        return;
    }
    w->next = NULL;
    w->leaf = page;
    w->entry = 0;
}

/* Out of a leaf that is used up. */
static void walk_out(struct walk *w)
{
    if (w->leaf == NULL || w->entry < w->leaf->count) return;
    w->leaf = NULL;
    walk_on(w);
}

static bool walk_done(const struct walk *w)
{
    return w->next == NULL && w->leaf == NULL;
}

static void entry_at(const struct walk *w, struct pbft_span *key, struct pbft_span *value)
{
    leaf_entry(w->leaf->data, w->leaf->count, w->entry, key, value);
}

/* ---- what is found ---- */

static size_t copy_key(uint8_t *out, struct pbft_span key)
{
    copy_bytes(out, key.data, key.size);
    return key.size;
}

/* A bit may have flipped where our page says what is where. Theirs have been verified. */
static bool is_page(const struct pbft_diff *diff, const struct pbft_page *page)
{
    struct pbft_span bytes = {page->data, page->length};
    if (page->level == 0)
        return pbft_page_check(&diff->ours->space->config, bytes) == PBFT_OK &&
               bytes.data[0] == LEAF_TYPE && load32(bytes.data + 8) == page->count;
    for (uint32_t i = 0, start = 0; i < page->count; start = page->children[i++].key_end)
        if (page->children[i].key_end < start || page->children[i].key_end > page->length)
            return false;
    return true;
}

/* Leaves of one place; either may be NULL. */
static void note_leaves(struct pbft_diff *diff, const struct pbft_page *ours,
                        const struct pbft_page *theirs)
{
    struct pbft_diff_result *r = &diff->result;
    if (r->page_count == PBFT_DIFF_PAGES) return;
    struct pbft_diff_page *p = &r->pages[r->page_count++];
    const struct pbft_page *shown = theirs != NULL && theirs->count > 0 ? theirs : ours;
    p->in_ours = ours != NULL;
    p->in_theirs = theirs != NULL;
    if (ours != NULL) p->ours = ours->hash;
    if (theirs != NULL) p->theirs = theirs->hash;
    if (shown == NULL || shown->count == 0 || (shown == ours && !is_page(diff, ours))) return;
    p->first_size = copy_key(p->first, leaf_key(shown, 0));
    p->last_size = copy_key(p->last, leaf_key(shown, shown->count - 1));
}

static struct pbft_diff_side side_of(const struct pbft_span *value, uint64_t mark)
{
    struct pbft_diff_side side = {.present = value != NULL, .mark = mark};
    if (value == NULL) return side;
    side.size = (uint32_t)value->size;
    pbft_hash(&side.digest, "pbft-value", value, 1);
    return side;
}

static void compare_bytes(struct pbft_diff_key *k, struct pbft_span ours, struct pbft_span theirs)
{
    if (ours.size != theirs.size) return;
    k->comparable = true;
    for (size_t i = ours.size; i-- > 0;) {
        unsigned odd = ours.data[i] ^ theirs.data[i];
        if (odd == 0) continue;
        k->first_byte = (uint32_t)i;
        k->bits += (unsigned)__builtin_popcount(odd);
    }
}

/* A key that is not the same in both; NULL: it is absent there. */
static void note_key(struct pbft_diff *diff, struct pbft_span key, const struct pbft_span *ours,
                     uint64_t our_mark, const struct pbft_span *theirs, uint64_t their_mark)
{
    struct pbft_diff_result *r = &diff->result;
    if (their_mark > diff->seq) {
        r->undecided++;
        return;
    }
    uint64_t later = our_mark > their_mark ? our_mark : their_mark;
    if (later < r->differs_at) r->differs_at = later;
    if (theirs == NULL)
        r->only_ours++;
    else if (ours == NULL)
        r->only_theirs++;
    else
        r->changed++;
    if (r->key_count == PBFT_DIFF_KEYS) return;
    struct pbft_diff_key *k = &r->keys[r->key_count++];
    k->key_size = copy_key(k->key, key);
    k->ours = side_of(ours, our_mark);
    k->theirs = side_of(theirs, their_mark);
    if (ours != NULL && theirs != NULL) compare_bytes(k, *ours, *theirs);
}

static uint64_t absent_mark(const struct pbft_diff *diff, const struct pbft_snapshot *snapshot,
                            struct pbft_span key)
{
    uint64_t mark = 0;
    if (diff->result.damaged > 0) return 0; /* the way may lead there, and nothing is proved */
    (void)pbft_snapshot_get(snapshot, key, NULL, &mark);
    return mark;
}

/* ---- comparing ---- */

static void only_ours(struct pbft_diff *diff)
{
    struct pbft_span key, value;
    entry_at(&diff->a, &key, &value);
    note_key(diff, key, &value, leaf_mark(diff->a.leaf), NULL,
             absent_mark(diff, diff->theirs, key));
    diff->a.entry++;
}

static void only_theirs(struct pbft_diff *diff)
{
    struct pbft_span key, value;
    entry_at(&diff->b, &key, &value);
    note_key(diff, key, NULL, absent_mark(diff, diff->ours, key), &value, leaf_mark(diff->b.leaf));
    diff->b.entry++;
}

static void compare_entries(struct pbft_diff *diff)
{
    struct pbft_span key_a, value_a, key_b, value_b;
    PBFT_ASSERT(diff->a.leaf != NULL && diff->b.leaf != NULL);
    entry_at(&diff->a, &key_a, &value_a);
    entry_at(&diff->b, &key_b, &value_b);
    int order = span_compare(key_a, key_b);
    if (order < 0) {
        only_ours(diff);
    } else if (order > 0) {
        only_theirs(diff);
    } else {
        if (span_compare(value_a, value_b) != 0)
            note_key(diff, key_a, &value_a, leaf_mark(diff->a.leaf), &value_b,
                     leaf_mark(diff->b.leaf));
        diff->a.entry++;
        diff->b.entry++;
    }
}

/* Ours: into it, or past what cannot be read. */
static void into_ours(struct pbft_diff *diff)
{
    struct walk *a = &diff->a;
    diff->result.pages_ours++;
    if (is_page(diff, a->next)) {
        walk_into(a);
    } else {
        diff->result.damaged++;
        walk_on(a);
    }
}

static void into_theirs(struct pbft_diff *diff)
{
    diff->result.pages_theirs++;
    walk_into(&diff->b);
}

/* Before a subtree: enter it. */
static void enter(struct pbft_diff *diff, struct walk *w)
{
    bool ours = w == &diff->a;
    const struct pbft_page *page = w->next;
    if (ours)
        into_ours(diff);
    else
        into_theirs(diff);
    if (page->level == 0) note_leaves(diff, ours ? page : NULL, ours ? NULL : page);
}

/* Both before subtrees. */
static void compare_subtrees(struct pbft_diff *diff)
{
    struct walk *a = &diff->a, *b = &diff->b;
    const struct pbft_page *ours = a->next, *theirs = b->next;
    if (ours == theirs || pbft_digest_equal(&ours->hash, &theirs->hash)) {
        walk_on(a);
        walk_on(b);
    } else if (ours->level > theirs->level) {
        enter(diff, a);
    } else if (ours->level < theirs->level) {
        enter(diff, b);
    } else {
        into_ours(diff);
        into_theirs(diff);
        if (ours->level == 0) note_leaves(diff, ours, theirs);
    }
}

/* The entry that `w`, in a leaf, stands at comes before all that the other one has left. */
static bool comes_first(const struct walk *w, const struct walk *other)
{
    struct pbft_span key, value;
    entry_at(w, &key, &value);
    return walk_done(other) || (other->next != NULL && span_compare(key, other->low) < 0);
}

static void step(struct pbft_diff *diff)
{
    struct walk *a = &diff->a, *b = &diff->b;
    if (a->next != NULL && b->next != NULL)
        compare_subtrees(diff);
    else if (a->leaf != NULL && comes_first(a, b))
        only_ours(diff);
    else if (b->leaf != NULL && comes_first(b, a))
        only_theirs(diff);
    else if (a->next != NULL)
        enter(diff, a);
    else if (b->next != NULL)
        enter(diff, b);
    else
        compare_entries(diff);
    walk_out(a);
    walk_out(b);
}

bool pbft_diff_step(struct pbft_diff *diff, size_t steps)
{
    for (size_t i = 0; !diff->hashed && i < steps; i += HASH_SLICE)
        diff->hashed = pbft_snapshot_hash(diff->ours, HASH_SLICE) &&
                       pbft_snapshot_hash(diff->theirs, HASH_SLICE);
    if (!diff->hashed) return false;
    for (size_t i = 0; i < steps && !diff->done; i++) {
        step(diff);
        diff->done = walk_done(&diff->a) && walk_done(&diff->b);
    }
    return diff->done;
}
