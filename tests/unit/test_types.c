/* Texts of verdicts and statuses, digests, signer bitmaps, panic. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <signal.h>
#include <string.h>

#include "pbft/types.h"

/* Prometheus label or a phrase in the middle of a sentence: short, lower case, printable. */
static bool presentable(const char *text)
{
    size_t size = strlen(text);
    if (size == 0 || size > 60) return false;
    for (size_t i = 0; i < size; i++) {
        bool lower = text[i] >= 'a' && text[i] <= 'z';
        if (!lower && strchr(" _-/", text[i]) == NULL) return false;
    }
    return true;
}

Test(types, verdict_texts_are_distinct_labels)
{
    for (int i = 0; i < (int)PBFT_VERDICT_COUNT; i++) {
        const char *text = pbft_verdict_text((enum pbft_verdict)i);
        cr_assert(presentable(text), "verdict %d: '%s'", i, text);
        cr_assert_null(strchr(text, ' '), "verdict %d is a metric label: '%s'", i, text);
        for (int j = 0; j < i; j++)
            cr_assert_str_neq(text, pbft_verdict_text((enum pbft_verdict)j));
    }
    cr_assert_str_eq(pbft_verdict_text(PBFT_OK), "ok");
    cr_assert_str_eq(pbft_verdict_text(PBFT_DROP_NEW_VIEW), "new_view");
}

Test(types, status_texts_are_distinct)
{
    for (int i = 0; i < (int)PBFT_STATUS_COUNT; i++) {
        const char *text = pbft_status_text((enum pbft_status)i);
        cr_assert(presentable(text), "status %d: '%s'", i, text);
        for (int j = 0; j < i; j++)
            cr_assert_str_neq(text, pbft_status_text((enum pbft_status)j));
    }
    cr_assert_str_eq(pbft_status_text(PBFT_STATUS_CORRUPT), "damaged or foreign data");
}

Test(types, texts_out_of_range)
{
    cr_assert_str_eq(pbft_verdict_text(PBFT_VERDICT_COUNT), "?");
    cr_assert_str_eq(pbft_status_text(PBFT_STATUS_COUNT), "?");
    cr_assert_str_eq(pbft_verdict_text((enum pbft_verdict)255), "?");
    cr_assert_str_eq(pbft_status_text((enum pbft_status)255), "?");
}

Test(types, digest_compare_sees_every_byte)
{
    struct pbft_digest a = {{0}};
    cr_assert(pbft_digest_is_zero(&a));
    for (size_t i = 0; i < PBFT_DIGEST_BYTES; i++) {
        struct pbft_digest b = a;
        cr_assert(pbft_digest_equal(&a, &b));
        cr_assert_eq(pbft_digest_compare(&a, &b), 0);
        b.bytes[i] = 0x80;
        cr_assert_not(pbft_digest_equal(&a, &b), "byte %zu", i);
        cr_assert_not(pbft_digest_is_zero(&b), "byte %zu", i);
        cr_assert_eq(pbft_digest_compare(&a, &b), -1, "byte %zu", i);
        cr_assert_eq(pbft_digest_compare(&b, &a), 1, "byte %zu", i);
    }
}

Test(types, digest_order_is_that_of_unsigned_bytes)
{
    struct pbft_digest low = {{0x7f, 0xff}};
    struct pbft_digest high = {{0x80, 0x00}};
    cr_assert_eq(pbft_digest_compare(&low, &high), -1);
}

Test(types, signers)
{
    pbft_signers all = 0;
    for (pbft_id id = 0; id < PBFT_REPLICAS_MAX; id++) {
        cr_assert_not(pbft_signers_has(all, id));
        all |= pbft_signers_of(id);
        cr_assert(pbft_signers_has(all, id));
        cr_assert_eq(pbft_signers_count(all), id + 1);
    }
    cr_assert_eq(all, UINT64_MAX);
    cr_assert_not(pbft_signers_has(all, PBFT_REPLICAS_MAX));
    cr_assert_not(pbft_signers_has(all, UINT32_MAX));
}

Test(types, panic_aborts, .signal = SIGABRT, .init = cr_redirect_stderr)
{
    volatile int one = 1;
    PBFT_ASSERT(one == 2);
}
