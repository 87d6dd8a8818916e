/* The operator's log: what a line looks like, what hostile text does to it, and its rate. */
#include "replica/logline.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT UINT64_C(1795253401123456789) /* 2026-11-21T09:30:01.123456789Z */

static size_t line(char *out, enum pbft_log_format format, const char *pairs)
{
    size_t size =
        pbft_logline_format(out, format, AT, PBFT_LOG_INFO, "new_view", "replica=2", pairs);
    cr_assert_eq(size, strlen(out));
    cr_assert_leq(size, PBFT_LOGLINE_BYTES - 1);
    cr_assert_eq(out[size - 1], '\n');
    cr_assert_eq(strchr(out, '\n'), out + size - 1, "exactly one line");
    return size;
}

static json_t *parsed(const char *pairs)
{
    char out[PBFT_LOGLINE_BYTES];
    size_t size = line(out, PBFT_LOG_JSON, pairs);
    json_error_t error;
    json_t *object = json_loadb(out, size, 0, &error);
    cr_assert_not_null(object, "%s in %s", error.text, out);
    cr_assert_str_eq(json_string_value(json_object_get(object, "event")), "new_view");
    return object;
}

Test(logline, logfmt)
{
    char out[PBFT_LOGLINE_BYTES];
    line(out, PBFT_LOG_LOGFMT, "view=3 status=\"no room\" last=x");
    cr_assert_str_eq(out, "ts=2026-11-21T09:30:01.123456Z level=info event=new_view replica=2 "
                          "view=3 status=\"no room\" last=x\n");
}

Test(logline, json)
{
    char out[PBFT_LOGLINE_BYTES];
    line(out, PBFT_LOG_JSON, "view=3 status=\"no room\" mute=true peer=007");
    cr_assert_str_eq(out, "{\"ts\":\"2026-11-21T09:30:01.123456Z\",\"level\":\"info\","
                          "\"event\":\"new_view\",\"replica\":2,\"view\":3,\"status\":\"no room\","
                          "\"mute\":true,\"peer\":\"007\"}\n");
}

Test(logline, numbers_that_json_would_round_are_text)
{
    json_t *object = parsed("view=18446744073709551615 small=-12");
    cr_assert_str_eq(json_string_value(json_object_get(object, "view")), "18446744073709551615");
    cr_assert_eq(json_integer_value(json_object_get(object, "small")), -12);
    json_decref(object);
}

Test(logline, cut_text_is_closed)
{
    json_t *object = parsed("what=\"was cut in the mid");
    cr_assert_str_eq(json_string_value(json_object_get(object, "what")), "was cut in the mid");
    json_decref(object);
    object = parsed("what=\"ends in \\");
    cr_assert_str_eq(json_string_value(json_object_get(object, "what")), "ends in \\");
    json_decref(object);
}

Test(logline, words_without_a_key)
{
    json_t *object = parsed("=x hello");
    cr_assert_not_null(json_object_get(object, "msg"));
    json_decref(object);
}

Test(logline, hostile_text_stays_one_valid_line)
{
    uint64_t seed = 0x243f6a8885a308d3u, state = seed;
    for (unsigned round = 0; round < 20000; round++) {
        char pairs[300];
        size_t size = 0;
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        size_t want = state % (sizeof pairs - 1);
        while (size < want) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            static const char spice[] = "\"\\= \n\r\tab=\"\x7f\xc3\xa9\xff\xed\xa0\xf4";
            pairs[size] = (state & 3) != 0 ? spice[(state >> 8) % (sizeof spice - 1)]
                                           : (char)(1 + (state >> 16) % 255);
            size++;
        }
        pairs[size] = '\0';
        char out[PBFT_LOGLINE_BYTES];
        line(out, PBFT_LOG_LOGFMT, pairs);
        for (const char *p = out; p[1] != '\0'; p++)
            cr_assert((unsigned char)*p >= 0x20 && *p != 0x7f, "seed %llx round %u",
                      (unsigned long long)seed, round);
        json_decref(parsed(pairs));
    }
}

Test(logline, whole_pairs_only_when_it_is_too_long)
{
    char pairs[500];
    memset(pairs, '\x01', sizeof pairs - 1); /* each byte becomes six */
    memcpy(pairs, "a=1 b=", 6);
    pairs[sizeof pairs - 1] = '\0';
    json_t *object = parsed(pairs);
    cr_assert_eq(json_integer_value(json_object_get(object, "a")), 1);
    cr_assert_null(json_object_get(object, "b"));
    json_decref(object);
}

Test(logline, levels)
{
    enum pbft_log_level level;
    cr_assert(pbft_log_level_parse("warn", &level));
    cr_assert_eq(level, PBFT_LOG_WARN);
    cr_assert_not(pbft_log_level_parse("warning", &level));
    cr_assert_str_eq(pbft_log_level_text(PBFT_LOG_ERROR), "error");
}

Test(logline, rate)
{
    struct pbft_lograte rate;
    memset(&rate, 0, sizeof rate);
    uint64_t suppressed = 99, now = 5;
    for (unsigned i = 0; i < 3; i++)
        cr_assert(pbft_lograte_allow(&rate, "flood", now, 3, 2, &suppressed));
    cr_assert_eq(suppressed, 0);
    for (unsigned i = 0; i < 10; i++)
        cr_assert_not(pbft_lograte_allow(&rate, "flood", now, 3, 2, &suppressed));
    cr_assert(pbft_lograte_allow(&rate, "other", now, 3, 2, &suppressed), "its own tokens");
    now += 499000000;
    cr_assert_not(pbft_lograte_allow(&rate, "flood", now, 3, 2, &suppressed));
    now += 1000000;
    cr_assert(pbft_lograte_allow(&rate, "flood", now, 3, 2, &suppressed));
    cr_assert_eq(suppressed, 11);
    cr_assert_eq(rate.suppressed, 11);
    now += UINT64_C(1) << 62; /* never more than the burst */
    for (unsigned i = 0; i < 3; i++)
        cr_assert(pbft_lograte_allow(&rate, "flood", now, 3, 2, &suppressed));
    cr_assert_not(pbft_lograte_allow(&rate, "flood", now, 3, 2, &suppressed));
}

Test(logline, rate_has_a_bounded_number_of_names)
{
    struct pbft_lograte rate;
    memset(&rate, 0, sizeof rate);
    uint64_t suppressed;
    for (unsigned i = 0; i < 2 * PBFT_LOGRATE_EVENTS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "event%u", i);
        (void)pbft_lograte_allow(&rate, name, 1, 1, 1, &suppressed);
    }
    cr_assert_eq(rate.count, PBFT_LOGRATE_EVENTS);
    cr_assert_eq(rate.suppressed, PBFT_LOGRATE_EVENTS, "the later ones share one place");
}

Test(logline, file_is_reopened)
{
    char dir[] = "/tmp/pbft-logline-XXXXXX", path[64], moved[64], error[256];
    cr_assert_not_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/log", dir);
    (void)snprintf(moved, sizeof moved, "%s/log.1", dir);
    struct pbft_logger *logger =
        pbft_logger_new(path, PBFT_LOG_INFO, PBFT_LOG_LOGFMT, "replica=1", error);
    cr_assert_not_null(logger, "%s", error);
    pbft_logger_write(logger, PBFT_LOG_INFO, "first", "a=%d", 1);
    cr_assert_eq(rename(path, moved), 0);
    cr_assert(pbft_logger_reopen(logger));
    pbft_logger_write(logger, PBFT_LOG_DEBUG, "quiet", "b=2");
    pbft_logger_level(logger, PBFT_LOG_DEBUG);
    pbft_logger_write(logger, PBFT_LOG_DEBUG, "second", "c=3");
    pbft_logger_free(logger);
    char text[512] = "";
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    cr_assert_not_null(strstr(text, "level=debug event=second replica=1 c=3\n"));
    cr_assert_null(strstr(text, "quiet"));
    cr_assert_null(strstr(text, "first"));
    unlink(path);
    unlink(moved);
    rmdir(dir);
    cr_assert_null(
        pbft_logger_new("/nonexistent/dir/log", PBFT_LOG_INFO, PBFT_LOG_LOGFMT, "", error));
}
