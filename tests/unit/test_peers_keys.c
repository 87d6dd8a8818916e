/* What a store may return after a load (bench/peers/keys.h). */
#include "bench/peers/keys.h"

#include <criterion/criterion.h>
#include <string.h>

/* The program's files are in no library. */
#include "bench/peers/keys.c"

#define COUNT 4u
#define SIZE  64u
#define RUN   77u

static struct keys keys;

static void begin(void)
{
    cr_assert(keys_init(&keys, COUNT, SIZE, RUN));
}

static void end(void)
{
    keys_free(&keys);
}

TestSuite(peers_keys, .init = begin, .fini = end);

static bool may_return(uint32_t key, const uint8_t *value)
{
    return keys_judge(&keys, key, keys_floor(&keys, key), value, value == NULL ? 0 : SIZE);
}

Test(peers_keys, a_key_and_its_value_name_each_other)
{
    char text[KEY_BYTES + 1];
    uint8_t value[SIZE];
    key_text(3, text);
    cr_expect_str_eq(text, "key-0000000003");
    keys_write(&keys, 3, value);
    cr_expect_arr_eq(value, "0000000003:77:1;", 16);
    cr_expect(may_return(3, value));
    cr_expect_not(may_return(2, value));
}

Test(peers_keys, what_was_acknowledged_is_not_missed)
{
    uint8_t first[SIZE], second[SIZE];
    cr_expect(may_return(0, NULL), "nothing was written");
    keys_write(&keys, 0, first);
    cr_expect(may_return(0, NULL), "it may not have arrived");
    cr_expect(may_return(0, first), "it may have arrived");
    keys_acknowledge(&keys, 0);
    cr_expect_not(may_return(0, NULL));
    cr_expect(may_return(0, first));
    keys_write(&keys, 0, second);
    cr_expect(may_return(0, first));
    keys_acknowledge(&keys, 0);
    cr_expect_not(may_return(0, first));
    cr_expect(may_return(0, second));
}

Test(peers_keys, writes_that_overlap_may_come_in_either_order)
{
    uint8_t old[SIZE], first[SIZE], second[SIZE];
    keys_write(&keys, 1, old);
    keys_acknowledge(&keys, 1);
    keys_write(&keys, 1, first);
    keys_write(&keys, 1, second);
    keys_acknowledge(&keys, 1);
    cr_expect_not(may_return(1, old));
    keys_acknowledge(&keys, 1);
    cr_expect(may_return(1, first));
    cr_expect(may_return(1, second));
}

Test(peers_keys, a_failed_write_may_yet_take_effect)
{
    uint8_t acknowledged[SIZE], failed[SIZE], later[SIZE];
    keys_write(&keys, 1, acknowledged);
    keys_acknowledge(&keys, 1);
    keys_write(&keys, 1, failed); /* no answer */
    cr_expect(may_return(1, acknowledged));
    keys_write(&keys, 1, later);
    keys_acknowledge(&keys, 1);
    cr_expect(may_return(1, failed), "it may come after the later one");
    cr_expect(may_return(1, later));
    cr_expect_not(may_return(1, acknowledged));
}

Test(peers_keys, a_read_is_judged_by_when_it_began)
{
    uint8_t first[SIZE], second[SIZE];
    keys_write(&keys, 2, first);
    keys_acknowledge(&keys, 2);
    uint64_t floor = keys_floor(&keys, 2);
    keys_write(&keys, 2, second);
    keys_acknowledge(&keys, 2);
    cr_expect(keys_judge(&keys, 2, floor, first, SIZE), "read before the second was put");
    cr_expect(keys_judge(&keys, 2, floor, second, SIZE));
    cr_expect_not(may_return(2, first));
}

Test(peers_keys, values_of_other_runs_and_garbage)
{
    static struct keys other;
    uint8_t foreign[SIZE], own[SIZE], bad[SIZE];
    cr_assert(keys_init(&other, COUNT, SIZE, RUN + 1));
    keys_write(&other, 0, foreign);
    keys_free(&other);
    cr_expect(may_return(0, foreign), "put before this run");
    keys_write(&keys, 0, own);
    keys_acknowledge(&keys, 0);
    cr_expect_not(may_return(0, foreign), "overwritten");
    cr_expect_not(keys_judge(&keys, 0, 0, own, SIZE - 1), "cut short");
    for (size_t i = 0; i < SIZE; i++) {
        memcpy(bad, own, SIZE);
        bad[i] ^= 0x10;
        cr_expect_not(may_return(0, bad), "byte %zu", i);
    }
    memset(bad, ':', SIZE);
    cr_expect_not(may_return(0, bad));
    memset(bad, '9', SIZE);
    cr_expect_not(may_return(0, bad));
    memset(bad, 0, SIZE);
    cr_expect_not(may_return(0, bad));
    cr_expect_not(keys_judge(&keys, 0, 0, bad, SIZE));
    /* Of a write that was never begun. */
    value_text(&keys, 0, RUN, 2, bad);
    cr_expect_not(may_return(0, bad));
}
