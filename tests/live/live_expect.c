/* What several suites demand of a cluster, and do to it. */
#include "tests/live/live.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void live_shell(const char *format, ...)
{
    char command[2048];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    cr_assert_eq(system(command), 0, "%s", command);
}

void live_fill(const struct live *l, unsigned operations, unsigned value_bytes)
{
    live_shell("'%s' --cluster '%s' --clients 4 --keys 60 --value-bytes %u --seconds 0 --warmup 0 "
               "--timeout 60 --ops %u >/dev/null",
               live_bin("pbft-bench"), l->dir, value_bytes, operations);
}

void live_replace(const struct live *l, unsigned node)
{
    char number[16], out[512];
    (void)snprintf(number, sizeof number, "%u", node);
    int code = live_ctl(l, out, sizeof out, "replica", "replace", number, "--timeout", "90s", NULL);
    if (code != 0) live_dump_log(l);
    cr_assert_eq(code, 0, "replica replace %u: %s", node, out);
    cr_assert_not_null(strstr(out, "since epoch"), "%s", out);
}

void live_until(const struct live *l, unsigned node, const char *what, json_int_t value)
{
    for (unsigned i = 0; i < 900 && live_number(l, node, what) != value; i++)
        live_sleep_ms(100);
    cr_assert_eq(live_number(l, node, what), value, "%s of node %u", what, node);
}

void live_expect_votes(struct live *l, unsigned victim)
{
    live_kill9(l, victim);
    for (unsigned i = 0; i < 5; i++)
        cr_expect_eq(live_ctl(l, NULL, 0, "put", "after", "loss", "--timeout", "60s", NULL), 0,
                     "nothing is ordered without node %u", victim);
}

void live_expect_written(struct live_writer *writer, unsigned least)
{
    live_writer_until(writer, least + 1);
    unsigned lost, wrong;
    double longest_ms;
    unsigned acknowledged = live_writer_finish(writer, &lost, &longest_ms, &wrong);
    fprintf(stderr, "%u writes acknowledged, longest wait %.0f ms\n", acknowledged, longest_ms);
    cr_expect_gt(acknowledged, least);
    cr_expect_eq(lost, 0u, "%u acknowledged writes were lost", lost);
    cr_expect_eq(wrong, 0u, "%u keys have another value, or were written twice", wrong);
}
