/* pbftctl put, get, del, cas, range, call: one operation, one answer, one exit code. */
#include "client/ctl/ctl.h"

#include "service/kv.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OP_AROUND    64u /* what an operation adds to keys and values */
#define STDIN_MAX    (4u << 20)
#define ARGUMENT_MAX 3

/* ---- arguments ---- */

struct arguments {
    struct pbft_span items[ARGUMENT_MAX];
    int count;
    uint8_t *memory; /* of the one that came from standard input */
};

static bool read_stdin(uint8_t **bytes, size_t *size)
{
    size_t capacity = 65536;
    *size = 0;
    *bytes = malloc(capacity);
    while (*bytes != NULL) {
        *size += fread(*bytes + *size, 1, capacity - *size, stdin);
        if (*size < capacity || *size > STDIN_MAX) break;
        uint8_t *grown = realloc(*bytes, capacity * 2);
        if (grown == NULL) break;
        *bytes = grown;
        capacity *= 2;
    }
    if (*bytes != NULL && ferror(stdin) == 0 && *size <= STDIN_MAX) return true;
    free(*bytes);
    *bytes = NULL;
    return false;
}

/* A "--" between the arguments (`put KEY -- -5`): getopt saw only one that stood before them all.
 * Returns how many are left. */
static int drop_dashes(int argc, char **argv)
{
    if (optind > 1 && strcmp(argv[optind - 1], "--") == 0) return argc;
    for (int i = optind; i < argc; i++) {
        if (strcmp(argv[i], "--") != 0) continue;
        memmove(&argv[i], &argv[i + 1], (size_t)(argc - i) * sizeof *argv); /* and the NULL */
        return argc - 1;
    }
    return argc;
}

/* Takes argv[optind ...]; the last one may be "-": standard input. -1: go on. */
static int take_arguments(struct arguments *a, const struct ctl_command *command, int argc,
                          char **argv, int count)
{
    memset(a, 0, sizeof *a);
    argc = drop_dashes(argc, argv);
    if (argc - optind != count) return ctl_usage(command, "the number of arguments is wrong");
    for (int i = 0; i < count; i++) {
        const char *text = argv[optind + i];
        a->items[i] = (struct pbft_span){(const uint8_t *)text, strlen(text)};
    }
    a->count = count;
    bool value = count > 1 || strcmp(command->name, "call") == 0; /* a key is never "-" */
    if (!value || strcmp(argv[optind + count - 1], "-") != 0) return -1;
    size_t size;
    if (!read_stdin(&a->memory, &size))
        return ctl_fail(CTL_USAGE, "standard input cannot be read, or has more than 4 MiB.");
    a->items[count - 1] = (struct pbft_span){a->memory, size};
    return -1;
}

/* Verbs without options of their own; "--" ends options. */
static int no_options(const struct ctl_command *command, int argc, char **argv)
{
    static const struct option none[] = {{NULL, 0, NULL, 0}};
    optind = 0;
    opterr = 0;
    if (getopt_long(argc, argv, "+", none, NULL) == -1) return -1;
    return ctl_usage(command, "there is no such option (put -- before a value that begins with a "
                              "dash)");
}

/* ---- the operation ---- */

static const char *outcome_text(uint8_t outcome)
{
    switch ((enum pbft_outcome)outcome) {
    case PBFT_OUTCOME_EXECUTED: return "executed";
    case PBFT_OUTCOME_EXPIRED: return "the session has expired; try again";
    case PBFT_OUTCOME_STALE: return "the request is stale; try again";
    case PBFT_OUTCOME_CONFLICT: return "another request has its number; try again";
    case PBFT_OUTCOME_LIMIT: return "this key has too many sessions open; try again later";
    case PBFT_OUTCOME_INVALID: return "the operation, or its result, is beyond a bound";
    case PBFT_OUTCOME_COUNT: break;
    }
    return "unknown outcome";
}

static int answer_failed(const struct pbft_answer *answer, bool write)
{
    switch ((int)answer->status) {
    case PBFT_STATUS_TIMEOUT:
        return ctl_fail(CTL_TIMEOUT, "no quorum of replicas answered in time%s.",
                        write ? "; the operation may or may not happen later" : "");
    case PBFT_STATUS_REFUSED:
        return ctl_fail(CTL_SERVICE, "the cluster refused: %s.", outcome_text(answer->outcome));
    case PBFT_STATUS_ARGUMENT:
        return ctl_fail(CTL_USAGE, "the operation is larger than this cluster allows.");
    default: return ctl_fail(CTL_NO, "%s.", pbft_status_text(answer->status));
    }
}

/* Runs one operation. CTL_OK: `answer` is there and to be freed. */
static int execute(const struct ctl_options *options, struct pbft_span op, bool write,
                   struct pbft_answer *answer)
{
    int code = CTL_OK;
    struct pbft_client *client = ctl_open(options, true, &code);
    if (client == NULL) return code;
    enum pbft_status status = write ? pbft_client_call(client, op, options->timeout_ns, answer)
                                    : pbft_client_read(client, op, options->timeout_ns, answer);
    if (status != PBFT_STATUS_OK) {
        code = answer_failed(answer, write);
        pbft_answer_free(answer);
    }
    pbft_client_close(client);
    return code;
}

/* ---- output ---- */

/* "NAME": text, or "NAME_base64" where the bytes are not UTF-8. */
static void set_bytes(json_t *object, const char *name, struct pbft_span bytes)
{
    json_t *text = json_stringn((const char *)bytes.data, bytes.size);
    if (bytes.size == 0) text = json_string("");
    if (text != NULL) {
        (void)json_object_set_new(object, name, text);
        return;
    }
    char label[32];
    size_t size = sodium_base64_encoded_len(bytes.size, sodium_base64_VARIANT_ORIGINAL);
    char *encoded = malloc(size);
    if (encoded == NULL) return;
    (void)snprintf(label, sizeof label, "%s_base64", name);
    sodium_bin2base64(encoded, size, bytes.data, bytes.size, sodium_base64_VARIANT_ORIGINAL);
    (void)json_object_set_new(object, label, json_string(encoded));
    free(encoded);
}

static void set_meta(json_t *object, const struct pbft_kv_meta *meta)
{
    (void)json_object_set_new(object, "create_revision",
                              json_integer((json_int_t)meta->create_revision));
    (void)json_object_set_new(object, "mod_revision", json_integer((json_int_t)meta->mod_revision));
    (void)json_object_set_new(object, "version", json_integer((json_int_t)meta->version));
}

static void print_json(json_t *object)
{
    if (object == NULL) return;
    (void)json_dumpf(object, stdout, JSON_COMPACT);
    (void)putchar('\n');
    json_decref(object);
}

static void print_bytes(struct pbft_span bytes, char end)
{
    if (bytes.size > 0) (void)fwrite(bytes.data, 1, bytes.size, stdout);
    (void)putchar(end);
}

static json_t *json_of(const struct pbft_kv_result *r, struct pbft_span key)
{
    static const char *const words[] = {"ok", "not_found", "compare_failed", "bad_request"};
    json_t *object = json_object();
    if (object == NULL) return NULL;
    (void)json_object_set_new(object, "status", json_string(words[r->status]));
    set_bytes(object, "key", key);
    if (r->op != PBFT_KV_GET)
        (void)json_object_set_new(object, "revision", json_integer((json_int_t)r->revision));
    if (r->meta.version > 0) set_meta(object, &r->meta);
    bool value = (r->op == PBFT_KV_GET && r->status == PBFT_KV_OK) ||
                 (r->status == PBFT_KV_COMPARE_FAILED && r->meta.version > 0);
    if (value) set_bytes(object, "value", r->value);
    return object;
}

/* What all verbs have in common, and the exit code. */
static int kv_code(const struct pbft_kv_result *r, struct pbft_span key, bool absent)
{
    int size = key.size > 100 ? 100 : (int)key.size;
    switch ((enum pbft_kv_status)r->status) {
    case PBFT_KV_OK: return CTL_OK;
    case PBFT_KV_NOT_FOUND:
        return ctl_fail(CTL_NO, "there is no key '%.*s'.", size, (const char *)key.data);
    case PBFT_KV_COMPARE_FAILED:
        return ctl_fail(CTL_NO, "the key '%.*s' %s.", size, (const char *)key.data,
                        r->meta.version == 0 ? "does not exist"
                        : absent             ? "exists already"
                                             : "has another value");
    case PBFT_KV_BAD_REQUEST: break;
    }
    return ctl_fail(CTL_SERVICE, "the service refused: a key has 1 to key_max_bytes bytes, a value "
                                 "at most value_max_bytes.");
}

/* Execute, decode, hand to `print`. */
static int run_kv(const struct ctl_options *options, struct pbft_span op, bool write, bool absent,
                  struct pbft_span key, void (*print)(const struct pbft_kv_result *r))
{
    struct pbft_answer answer = {.status = PBFT_STATUS_CLOSED};
    struct pbft_kv_result r;
    memset(&r, 0, sizeof r);
    int code = execute(options, op, write, &answer);
    if (code != CTL_OK) return code;
    if (!pbft_kv_decode_result((struct pbft_span){answer.bytes, answer.size}, &r)) {
        code = ctl_fail(CTL_SERVICE, "the answer is not one of the kv service: does this cluster "
                                     "run another one (`pbftctl call`)?");
    } else {
        code = kv_code(&r, key, absent);
        if (options->json && r.op != PBFT_KV_RANGE)
            print_json(json_of(&r, key));
        else if (code == CTL_OK)
            print(&r);
    }
    pbft_answer_free(&answer);
    return code;
}

static void print_ok(const struct pbft_kv_result *r)
{
    (void)r;
    (void)puts("OK");
}

static void print_value(const struct pbft_kv_result *r)
{
    print_bytes(r->value, '\n');
}

static void print_entries(const struct pbft_kv_result *r)
{
    size_t cursor = 0;
    struct pbft_kv_entry entry;
    while (pbft_kv_next_entry(r->entries, &cursor, &entry)) {
        print_bytes(entry.key, '\t');
        print_bytes(entry.value, '\n');
    }
    if (r->more != 0) (void)fprintf(stderr, "pbftctl: there are more keys with this prefix.\n");
}

static void print_entries_json(const struct pbft_kv_result *r)
{
    size_t cursor = 0;
    struct pbft_kv_entry entry;
    json_t *list = json_array();
    while (list != NULL && pbft_kv_next_entry(r->entries, &cursor, &entry)) {
        json_t *object = json_object();
        if (object == NULL) break;
        set_bytes(object, "key", entry.key);
        set_bytes(object, "value", entry.value);
        set_meta(object, &entry.meta);
        (void)json_array_append_new(list, object);
    }
    print_json(json_pack("{s:o,s:b}", "entries", list, "more", r->more != 0));
}

/* ---- verbs ---- */

enum { PUT, GET, DEL, CAS, RANGE, CALL };

/* The buffer of an operation made of `a`. */
static uint8_t *op_buffer(const struct arguments *a, size_t *capacity)
{
    *capacity = OP_AROUND;
    for (int i = 0; i < a->count; i++)
        *capacity += a->items[i].size;
    return malloc(*capacity);
}

/* Encodes with `encode`, runs, frees. */
static int run_encoded(const struct ctl_options *options, struct arguments *a, int verb,
                       bool expect_present, uint32_t limit)
{
    size_t capacity;
    uint8_t *bytes = op_buffer(a, &capacity);
    size_t size = 0;
    void (*print)(const struct pbft_kv_result *r) = print_ok;
    struct pbft_span old = expect_present ? a->items[1] : (struct pbft_span){NULL, 0};
    if (bytes != NULL) {
        if (verb == PUT) size = pbft_kv_encode_put(bytes, capacity, a->items[0], a->items[1]);
        if (verb == GET) size = pbft_kv_encode_get(bytes, capacity, a->items[0]);
        if (verb == DEL) size = pbft_kv_encode_delete(bytes, capacity, a->items[0]);
        if (verb == RANGE) size = pbft_kv_encode_range(bytes, capacity, a->items[0], limit);
        if (verb == CAS)
            size = pbft_kv_encode_cas(bytes, capacity, a->items[0], expect_present, old,
                                      a->items[expect_present ? 2 : 1]);
    }
    if (verb == GET) print = print_value;
    if (verb == RANGE) print = options->json ? print_entries_json : print_entries;
    int code = size == 0
                   ? ctl_fail(CTL_NO, "out of memory.")
                   : run_kv(options, (struct pbft_span){bytes, size}, verb != GET && verb != RANGE,
                            !expect_present, a->items[0], print);
    free(bytes);
    free(a->memory);
    return code;
}

static int run_simple(const struct ctl_options *options, int argc, char **argv, int verb, int count)
{
    struct arguments a = {.count = 0};
    int code = no_options(&ctl_kv_commands[verb], argc, argv);
    if (code < 0) code = take_arguments(&a, &ctl_kv_commands[verb], argc, argv, count);
    return code < 0 ? run_encoded(options, &a, verb, false, 0) : code;
}

static int run_put(const struct ctl_options *options, int argc, char **argv)
{
    return run_simple(options, argc, argv, PUT, 2);
}

static int run_get(const struct ctl_options *options, int argc, char **argv)
{
    return run_simple(options, argc, argv, GET, 1);
}

static int run_del(const struct ctl_options *options, int argc, char **argv)
{
    return run_simple(options, argc, argv, DEL, 1);
}

static int run_cas(const struct ctl_options *options, int argc, char **argv)
{
    static const struct option known[] = {{"absent", no_argument, NULL, 'a'}, {NULL, 0, NULL, 0}};
    const struct ctl_command *command = &ctl_kv_commands[CAS];
    bool absent = false;
    int option;
    optind = 0;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "+", known, NULL)) != -1) {
        if (option != 'a') return ctl_usage(command, "there is no such option");
        absent = true;
    }
    struct arguments a = {.count = 0};
    int code = take_arguments(&a, command, argc, argv, absent ? 2 : 3);
    return code < 0 ? run_encoded(options, &a, CAS, !absent, 0) : code;
}

static int run_range(const struct ctl_options *options, int argc, char **argv)
{
    static const struct option known[] = {{"limit", required_argument, NULL, 'l'},
                                          {NULL, 0, NULL, 0}};
    const struct ctl_command *command = &ctl_kv_commands[RANGE];
    unsigned long limit = 0;
    int option;
    optind = 0;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        char *end = NULL;
        errno = 0;
        if (option == 'l') limit = strtoul(optarg, &end, 10);
        if (end == NULL || *end != '\0' || errno != 0 || optarg[0] == '-' || limit == 0 ||
            limit > UINT32_MAX)
            return ctl_usage(command, "--limit takes a number from 1");
    }
    struct arguments a = {.count = 0};
    int code = take_arguments(&a, command, argc, argv, 1);
    return code < 0 ? run_encoded(options, &a, RANGE, false, (uint32_t)limit) : code;
}

/* Any service: the bytes are the operation, and the result is printed as it is. */
static int run_call(const struct ctl_options *options, int argc, char **argv)
{
    struct arguments a;
    struct pbft_answer answer = {.status = PBFT_STATUS_CLOSED};
    memset(&a, 0, sizeof a);
    int code = no_options(&ctl_kv_commands[CALL], argc, argv);
    if (code < 0) code = take_arguments(&a, &ctl_kv_commands[CALL], argc, argv, 1);
    if (code >= 0) return code;
    code = execute(options, a.items[0], true, &answer);
    free(a.memory);
    if (code != CTL_OK) return code;
    struct pbft_span result = {answer.bytes, answer.size};
    if (options->json) {
        json_t *object = json_object();
        if (object != NULL) set_bytes(object, "result", result);
        print_json(object);
    } else {
        print_bytes(result, '\n');
    }
    pbft_answer_free(&answer);
    return CTL_OK;
}

const struct ctl_command ctl_kv_commands[] = {
    [PUT] =
        {"put", "put KEY VALUE", "set a key",
         "VALUE - is read from standard input. Behind -- nothing is an option: put a -- --json\n\n"
         "Example: pbftctl --cluster d put greeting hello",
         run_put},
    [GET] = {"get", "get KEY", "print the value of a key",
             "A linearizable read. Prints the value alone; exit code 1 if there is no such key.\n\n"
             "Example: pbftctl --cluster d get greeting",
             run_get},
    [DEL] = {"del", "del KEY", "delete a key",
             "Exit code 1 if there is no such key.\n\nExample: pbftctl --cluster d del greeting",
             run_del},
    [CAS] = {"cas", "cas KEY OLD NEW | cas --absent KEY NEW", "set a key if it has a given value",
             "Exit code 1 if it has another one. --absent: only if there is no such key.\n\n"
             "Example: pbftctl --cluster d cas greeting hello goodbye",
             run_cas},
    [RANGE] = {"range", "range PREFIX [--limit N]", "print keys and values by prefix",
               "One line each: key, tab, value. An empty PREFIX ('') is every key.\n\n"
               "Example: pbftctl --cluster d range user/ --limit 10",
               run_range},
    [CALL] = {"call", "call TEXT", "send an operation to a service of your own",
              "TEXT - is read from standard input. Ordered, exactly once; prints the result.\n\n"
              "Example: pbftctl --cluster d call \"add 41\"",
              run_call},
    {NULL, NULL, NULL, NULL, NULL},
};
