/* What many replicas say of themselves, liars among them, made into one status. */
#include "client/ctl/status_merge.h"
/* The program's files are in no library. */
#include "client/ctl/status_merge.c" /* NOLINT(bugprone-suspicious-include) */

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define NODES 4u

static const char ROOT[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static struct pbft_cluster make_cluster(uint32_t n)
{
    struct pbft_cluster c = {.params = pbft_params_default(n)};
    for (size_t i = 0; i < PBFT_DIGEST_BYTES; i++)
        c.id.bytes[i] = (uint8_t)(i * 7 + 1);
    return c;
}

/* A right answer; `extra` comes before the closing brace. */
static void answer_of(const struct pbft_cluster *c, unsigned id, unsigned long long view,
                      const char *extra, char out[1024])
{
    char hex[2 * PBFT_DIGEST_BYTES + 1];
    pbft_hex_encode(c->id.bytes, PBFT_DIGEST_BYTES, hex);
    snprintf(out, 1024,
             "{\"cluster_id\":\"%s\",\"n\":4,\"f\":1,\"id\":%u,\"reachable\":true,\"role\":\"%s\","
             "\"epoch\":0,\"view\":%llu,\"view_active\":true,\"last_executed\":300,\"stable\":256,"
             "\"root\":"
             "\"%s\",\"mute\":false%s}",
             hex, id, view % 4 == id ? "primary" : "backup", view, ROOT, extra);
}

static json_t *parsed(const struct pbft_cluster *c, unsigned id, const char *text)
{
    return ctl_status_parse(c, id, (struct pbft_span){(const uint8_t *)text, strlen(text)});
}

static json_t *said(const struct pbft_cluster *c, unsigned id, unsigned long long view,
                    const char *extra)
{
    char text[1024];
    answer_of(c, id, view, extra, text);
    json_t *object = parsed(c, id, text);
    cr_assert_not_null(object, "%s", text);
    return object;
}

static void release(json_t **objects)
{
    for (unsigned i = 0; i < NODES; i++)
        json_decref(objects[i]);
}

Test(ctl_status, answers_that_make_no_sense_are_refused)
{
    struct pbft_cluster c = make_cluster(NODES);
    char right[1024], wrong[1024];
    answer_of(&c, 2, 6, "", right);
    json_t *object = parsed(&c, 2, right);
    cr_assert_not_null(object);
    json_decref(object);
    cr_expect_null(parsed(&c, 1, right), "another replica's");
    static const char *const changes[][2] = {
        {"\"role\":\"primary\"", "\"role\":\"emperor\""},
        {"\"role\":\"primary\"", "\"role\":7"},
        {"\"epoch\":0", "\"epoch\":-1"},
        {"\"epoch\":0", "\"epoch\":4294967296"},
        {"\"epoch\":0", "\"age\":0"},
        {"\"view\":6", "\"view\":-6"},
        {"\"view\":6", "\"view\":\"6\""},
        {"\"view_active\":true", "\"view_active\":1"},
        {"\"last_executed\":300", "\"last_executed\":null"},
        {"\"stable\":256", "\"stable\":2.5"},
        {"\"root\":\"00", "\"root\":\"\\u001b["},
        {"\"root\":\"00", "\"root\":\"0"},
        {"\"cluster_id\":\"01", "\"cluster_id\":\"02"},
        {"\"id\":2", "\"id\":2,\"id\":2"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        const char *at = strstr(right, changes[i][0]);
        cr_assert_not_null(at, "%s", changes[i][0]);
        snprintf(wrong, sizeof wrong, "%.*s%s%s", (int)(at - right), right, changes[i][1],
                 at + strlen(changes[i][0]));
        cr_expect_null(parsed(&c, 2, wrong), "%s", changes[i][1]);
    }
    static const char *const junk[] = {"", "[]", "null", "7", "{}", "{\"id\":2", "\"x\""};
    for (size_t i = 0; i < sizeof junk / sizeof junk[0]; i++)
        cr_expect_null(parsed(&c, 2, junk[i]), "%s", junk[i]);
    for (size_t size = 0; size < strlen(right); size++)
        cr_expect_null(ctl_status_parse(&c, 2, (struct pbft_span){(const uint8_t *)right, size}));
}

Test(ctl_status, one_liar_accuses_nobody)
{
    struct pbft_cluster c = make_cluster(NODES);
    json_t *objects[NODES] = {said(&c, 0, 0, ",\"evidence_against\":[3]"), NULL,
                              said(&c, 2, 0, ",\"evidence_against\":[3,3,3]"),
                              said(&c, 3, 0,
                                   ",\"evidence_against\":[0,0,1,4,-1,64,\"2\",2.0,99999999999]")};
    pbft_signers doubtful = 77;
    pbft_signers accused = ctl_status_accused(NODES, objects, &doubtful);
    cr_expect_eq(accused, pbft_signers_of(3), "two accuse replica 3, f = 1");
    cr_expect_eq(doubtful, pbft_signers_of(0) | pbft_signers_of(1), "one, twice, is one");
    json_decref(objects[2]);
    objects[2] = NULL;
    cr_expect_eq(ctl_status_accused(NODES, objects, &doubtful), 0u);
    cr_expect_eq(doubtful, pbft_signers_of(0) | pbft_signers_of(1) | pbft_signers_of(3));
    release(objects);
}

/* Three of four would have been let in by now; two may be a liar and a key that was replaced. */
Test(ctl_status, f_plus_one_of_fewer_than_a_quorum_accuse_nobody)
{
    struct pbft_cluster c = make_cluster(NODES);
    json_t *objects[NODES] = {said(&c, 0, 0, ",\"evidence_against\":[3]"),
                              said(&c, 1, 0, ",\"evidence_against\":[3]"), NULL, NULL};
    pbft_signers doubtful = 0;
    cr_expect_eq(ctl_status_accused(NODES, objects, &doubtful), 0u);
    cr_expect_eq(doubtful, pbft_signers_of(3), "their proof must be seen");
    objects[2] = said(&c, 2, 0, "");
    cr_expect_eq(ctl_status_accused(NODES, objects, &doubtful), pbft_signers_of(3));
    cr_expect_eq(doubtful, 0u);
    release(objects);
}

Test(ctl_status, merged_object_is_the_contract)
{
    struct pbft_cluster c = make_cluster(NODES);
    struct ctl_status_summary s;
    json_t *objects[NODES] = {said(&c, 0, 4, ""), said(&c, 1, 4, ",\"accused\":true"), NULL,
                              said(&c, 3, 4, "")};
    json_t *status = ctl_status_merge(&c, objects, pbft_signers_of(2) | pbft_signers_of(3), &s);
    cr_assert_not_null(status);
    cr_expect_eq(json_integer_value(json_object_get(status, "n")), 4);
    cr_expect_eq(json_integer_value(json_object_get(status, "f")), 1);
    cr_expect_eq(json_string_length(json_object_get(status, "cluster_id")), 64u);
    cr_expect(json_is_true(json_object_get(status, "healthy")));
    json_t *replicas = json_object_get(status, "replicas");
    cr_assert_eq(json_array_size(replicas), NODES);
    for (unsigned i = 0; i < NODES; i++) {
        json_t *r = json_array_get(replicas, i);
        cr_expect_eq(json_integer_value(json_object_get(r, "id")), (json_int_t)i);
        cr_expect_eq(json_is_true(json_object_get(r, "reachable")), i != 2);
        cr_expect_eq(json_is_true(json_object_get(r, "accused")), i >= 2,
                     "its own word does not count");
        cr_expect_eq(json_object_get(r, "root") != NULL, i != 2);
    }
    cr_expect_str_eq(json_string_value(json_object_get(json_array_get(replicas, 0), "role")),
                     "primary");
    cr_expect_str_eq(json_string_value(json_object_get(json_array_get(replicas, 3), "root")), ROOT);
    json_decref(status);
    release(objects);
}

/* {view, or -1: no answer, -2: mute, -3: between views, -4: no room for its votes, -5: for its
 * checkpoints alone, in view 2} of each; healthy; view; active */
Test(ctl_status, health_is_a_quorum_active_in_one_view)
{
    static const struct {
        int views[NODES];
        bool healthy;
        unsigned reachable, active, view;
    } cases[] = {
        {{0, 0, 0, 0}, true, 4, 4, 0},      {{5, 5, -1, 5}, true, 3, 3, 5},
        {{5, 5, -1, -1}, false, 2, 2, 5},   {{5, 5, 6, 6}, false, 4, 2, 6},
        {{7, 8, 8, 8}, true, 4, 3, 8},      {{1, 1, 1, 9}, true, 4, 3, 1},
        {{2, 2, -2, 3}, false, 4, 2, 2},    {{2, 2, -3, 2}, true, 4, 3, 2},
        {{2, -3, -3, 2}, false, 4, 2, 2},   {{-1, -1, -1, -1}, false, 0, 0, 0},
        {{-2, -2, -2, -2}, false, 4, 0, 0}, {{0, 1, 2, 3}, false, 4, 1, 3},
        {{2, 2, -4, 3}, false, 4, 2, 2},    {{2, 2, -5, 3}, true, 4, 3, 2},
    };
    struct pbft_cluster c = make_cluster(NODES);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *objects[NODES] = {NULL};
        struct ctl_status_summary s;
        for (unsigned id = 0; id < NODES; id++) {
            int view = cases[i].views[id];
            if (view == -1) continue;
            objects[id] = said(&c, id, view < 0 ? 2 : (unsigned long long)view, "");
            if (view == -2) json_object_set_new(objects[id], "mute", json_true());
            if (view == -3) json_object_set_new(objects[id], "view_active", json_false());
            if (view == -4) json_object_set_new(objects[id], "votes_wait", json_true());
            if (view < -3) json_object_set_new(objects[id], "disk_full", json_true());
        }
        json_t *status = ctl_status_merge(&c, objects, 0, &s);
        cr_expect_eq(s.healthy, cases[i].healthy, "case %zu", i);
        cr_expect_eq(s.reachable, cases[i].reachable, "case %zu", i);
        cr_expect_eq(s.active, cases[i].active, "case %zu", i);
        cr_expect_eq(s.view, cases[i].view, "case %zu", i);
        cr_expect_eq(json_is_true(json_object_get(status, "healthy")), cases[i].healthy);
        json_decref(status);
        release(objects);
    }
}

/* View 2 of one epoch has nothing in common with view 2 of another. */
Test(ctl_status, views_of_different_epochs_are_not_one)
{
    static const struct {
        int epochs[NODES], views[NODES];
        bool healthy;
        unsigned active, epoch, view;
    } cases[] = {
        {{1, 1, 1, 1}, {0, 0, 0, 0}, true, 4, 1, 0},  {{0, 0, 1, 1}, {2, 2, 2, 2}, false, 2, 1, 2},
        {{0, 0, 1, 1}, {3, 3, 0, 0}, false, 2, 1, 0}, {{7, 6, 6, 6}, {0, 1, 1, 1}, true, 3, 6, 1},
        {{1, 0, 0, 2}, {1, 1, 2, 1}, false, 1, 2, 1},
    };
    struct pbft_cluster c = make_cluster(NODES);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *objects[NODES];
        struct ctl_status_summary s;
        for (unsigned id = 0; id < NODES; id++) {
            objects[id] = said(&c, id, (unsigned long long)cases[i].views[id], "");
            json_object_set_new(objects[id], "epoch", json_integer(cases[i].epochs[id]));
        }
        json_decref(ctl_status_merge(&c, objects, 0, &s));
        cr_expect_eq(s.healthy, cases[i].healthy, "case %zu", i);
        cr_expect_eq(s.active, cases[i].active, "case %zu", i);
        cr_expect_eq(s.epoch, cases[i].epoch, "case %zu", i);
        cr_expect_eq(s.view, cases[i].view, "case %zu", i);
        release(objects);
    }
}

/* Whatever is wrong, a person reads what to do. */
Test(ctl_status, notes_say_what_is_wrong_and_what_to_do)
{
    struct pbft_cluster c = make_cluster(NODES);
    static const struct {
        const char *extra, *line;
    } cases[] = {
        {"", "ok"},
        {",\"disk_full\":false,\"votes_wait\":false,\"accused\":false", "ok"},
        {",\"disk_full\":1,\"accused\":\"true\"", "ok"},
        {",\"transferring\":true,\"accused\":true",
         "catching up, ACCUSED (see `pbftctl evidence list`)"},
        {",\"disk_full\":true", "DISK FULL: it goes on by itself when there is room"},
        {",\"disk_full\":true,\"votes_wait\":true",
         "DISK FULL: it goes on by itself when there is room, does not vote until then"},
    };
    char line[CTL_STATUS_NOTES_BYTES];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *object = said(&c, 1, 4, cases[i].extra);
        ctl_status_notes(object, line);
        cr_expect_str_eq(line, cases[i].line, "case %zu: %s", i, line);
        json_decref(object);
    }
    json_t *object = said(&c, 3, 4,
                          ",\"transferring\":true,\"repairing\":true,"
                          "\"disk_full\":true,\"votes_wait\":true,\"accused\":true");
    json_object_set_new(object, "mute", json_true());
    json_object_set_new(object, "view_active", json_false());
    ctl_status_notes(object, line);
    cr_expect_not_null(strstr(line, "mute (does not vote: `pbftctl replica replace 3`, "), "%s",
                       line);
    json_decref(object);
}

Test(ctl_status, a_transfer_has_a_bar)
{
    struct pbft_cluster c = make_cluster(NODES);
    static const struct {
        const char *extra, *line; /* NULL: none */
    } cases[] = {
        {"", NULL},
        {",\"transfer\":7", NULL},
        {",\"transfer\":{\"seq\":256,\"pages_have\":3,\"entries\":9}", NULL},
        {",\"transfer\":{\"seq\":256,\"pages_have\":3,\"entries_have\":10,\"entries\":9}", NULL},
        {",\"transfer\":{\"seq\":256,\"pages_have\":3,\"entries_have\":-1,\"entries\":9}", NULL},
        {",\"transfer\":{\"seq\":256,\"pages_have\":0,\"entries_have\":0,\"entries\":0}",
         "[..............................] 0 % of the state at 256 (0 pages)"},
        {",\"transfer\":{\"seq\":256,\"pages_have\":40,\"entries_have\":500,\"entries\":1000}",
         "[###############...............] 50 % of the state at 256 (40 pages)"},
        {",\"transfer\":{\"seq\":9223372036854775807,\"pages_have\":9223372036854775807,"
         "\"entries_have\":9223372036854775807,\"entries\":9223372036854775807}",
         "[##############################] 100 % of the state at 9223372036854775807 "
         "(9223372036854775807 pages)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *object = said(&c, 1, 4, cases[i].extra);
        char line[CTL_STATUS_BAR_BYTES] = "";
        cr_assert_eq(ctl_status_bar(object, line), cases[i].line != NULL, "case %zu", i);
        if (cases[i].line != NULL) cr_assert_str_eq(line, cases[i].line);
        json_decref(object);
    }
}
