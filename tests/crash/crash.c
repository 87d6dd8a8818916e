/* The cycles of kill and start, and the verdict. */
#include "tests/crash/crash.h"

#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HEAL_MS        120000u
#define LOOK_MS        5000u /* into the logs, while nothing moves */
#define STATUS_NS      UINT64_C(5000000000)
#define BAR            30u
#define REPLACE_ONE_IN 20u /* cycles */

static atomic_uint findings;
static volatile sig_atomic_t interrupted;

void crash_found(const char *format, ...)
{
    if (atomic_fetch_add(&findings, 1) >= 40) return;
    va_list arguments;
    char line[512];
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "%sFOUND: %s\n", isatty(STDERR_FILENO) == 1 ? "\r\033[K" : "", line);
}

unsigned crash_findings(void)
{
    return atomic_load(&findings);
}

uint64_t crash_now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

void crash_sleep_ms(uint64_t ms)
{
    struct timespec t = {(time_t)(ms / 1000u), (long)(ms % 1000u) * 1000000L};
    (void)nanosleep(&t, NULL);
}

uint64_t crash_random(uint64_t *state, uint64_t below)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return below == 0 ? 0 : (z ^ z >> 31) % below;
}

struct run {
    struct crash_cluster cluster;
    struct crash_load *load;
    struct crash_compare *compare;
    uint64_t random, begun_ms;
    uint64_t patience_ms; /* the longest time without an acknowledged operation */
    unsigned cycles, cycle, ones, twos, alls;
    bool replaces; /* keys, now and then: votes are on the disk */
};

static void show(const struct run *r, bool end)
{
    unsigned step = r->cycles < 10 ? 1 : r->cycles / 10;
    bool terminal = isatty(STDERR_FILENO) == 1;
    if (!terminal && !end && r->cycle % step != 0) return;
    char bar[BAR + 1];
    for (unsigned i = 0; i < BAR; i++)
        bar[i] = i * r->cycles < r->cycle * BAR ? '#' : '.';
    bar[BAR] = '\0';
    uint64_t s = (crash_now_ms() - r->begun_ms) / 1000;
    uint64_t rest = r->cycle == 0 ? 0 : s * (r->cycles - r->cycle) / r->cycle;
    (void)fprintf(stderr, "%s[%s] %u/%u cycles, %u kills, %llu operations, %llu s, %llu s left%s",
                  terminal ? "\r\033[K" : "", bar, r->cycle, r->cycles, r->cluster.kills,
                  (unsigned long long)crash_load_acknowledged(r->load), (unsigned long long)s,
                  (unsigned long long)rest, terminal && !end ? "" : "\n");
}

/* Some operations are acknowledged from now on; false, and said, if not in time. */
static bool progress(struct run *r, uint64_t count)
{
    uint64_t from = crash_load_acknowledged(r->load), begun = crash_now_ms(), looked = begun;
    while (crash_load_acknowledged(r->load) < from + count) {
        if (!crash_all_run(&r->cluster) || crash_findings() > 0 || interrupted) return false;
        if (crash_now_ms() - looked > LOOK_MS) {
            crash_check_logs(&r->cluster);
            looked = crash_now_ms();
        }
        if (crash_now_ms() - begun > r->patience_ms) {
            crash_found("no progress for %llu s with all replicas running (cycle %u)",
                        (unsigned long long)r->patience_ms / 1000u, r->cycle);
            return false;
        }
        crash_sleep_ms(5);
    }
    return true;
}

static void shuffle(struct run *r, unsigned order[CRASH_REPLICAS])
{
    for (unsigned i = 0; i < CRASH_REPLICAS; i++)
        order[i] = i;
    for (unsigned i = CRASH_REPLICAS - 1; i > 0; i--) {
        unsigned j = (unsigned)crash_random(&r->random, i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

/* One cycle in twenty, and one at least: a replica gets a new key, while the blows go on. */
static bool replace_now_and_then(struct run *r)
{
    const struct crash_replace *replace = &r->cluster.replace;
    bool due = crash_random(&r->random, REPLACE_ONE_IN) == 0 ||
               (replace->begun == 0 && r->cycle + 1 >= r->cycles / 2);
    unsigned id = (unsigned)crash_random(&r->random, CRASH_REPLICAS);
    bool wiped = crash_random(&r->random, 2) == 0;
    uint64_t kill_after_ms =
        crash_random(&r->random, 2) == 0 ? 20 + crash_random(&r->random, 1500) : 0;
    if (!r->replaces || !due || replace->pid != 0) return true;
    if (wiped) {
        crash_kill(&r->cluster, id);
        crash_compare_file(r->compare, id, r->cluster.replicas[id].statements);
    }
    if (crash_replace(&r->cluster, id, wiped, kill_after_ms)) return true;
    crash_found("cannot replace the key of replica %u", id);
    return false;
}

/* One cycle. Three times in four the next one waits until the cluster works again; else the blow
 * falls while replicas are still coming back. */
static bool cycle(struct run *r)
{
    crash_sleep_ms(50 + crash_random(&r->random, 400));
    uint64_t draw = crash_random(&r->random, 100);
    unsigned victims = draw < 70 ? 1 : draw < 85 ? 2 : CRASH_REPLICAS, order[CRASH_REPLICAS];
    if (victims == 1) r->ones++;
    if (victims == 2) r->twos++;
    if (victims == CRASH_REPLICAS) r->alls++;
    shuffle(r, order);
    if (!crash_all_run(&r->cluster) || !replace_now_and_then(r)) return false;
    bool spread = crash_random(&r->random, 2) == 0;
    for (unsigned i = 0; i < victims; i++) {
        struct crash_replica *victim = &r->cluster.replicas[order[i]];
        if (spread && i > 0) crash_sleep_ms(crash_random(&r->random, 20));
        crash_kill(&r->cluster, order[i]);
        crash_compare_file(r->compare, order[i], victim->statements);
    }
    /* Mostly before the others give up on it, sometimes long after. */
    crash_sleep_ms(crash_random(&r->random, crash_random(&r->random, 4) == 0 ? 1500 : 400));
    for (unsigned i = victims; i-- > 0;) {
        if (!crash_start(&r->cluster, order[i])) {
            crash_found("cannot start replica %u", order[i]);
            return false;
        }
        if (spread) crash_sleep_ms(crash_random(&r->random, 50));
    }
    if (crash_random(&r->random, 4) != 0 && !progress(r, 8)) return false;
    return crash_findings() == 0 && !interrupted;
}

/* ---- the end ---- */

static json_t *status_of(struct run *r, pbft_id id)
{
    struct pbft_answer answer;
    json_t *status = NULL;
    if (pbft_client_admin(crash_load_client(r->load), id, PBFT_ADMIN_STATUS,
                          (struct pbft_span){NULL, 0}, STATUS_NS, &answer) == PBFT_STATUS_OK)
        status = json_loadb((const char *)answer.bytes, answer.size, 0, NULL);
    pbft_answer_free(&answer);
    return status;
}

/* Whether all say the same, and none is mute or busy catching up; `text` says what they say. */
static bool all_equal(struct run *r, char *text, size_t capacity)
{
    bool equal = true;
    json_int_t executed = -1, stable = -1, epoch = -1;
    char root[80] = "";
    size_t used = 0;
    for (pbft_id id = 0; id < CRASH_REPLICAS; id++) {
        json_t *s = status_of(r, id);
        const char *its_root = json_string_value(json_object_get(s, "root"));
        json_int_t e = json_integer_value(json_object_get(s, "last_executed"));
        json_int_t k = json_integer_value(json_object_get(s, "stable"));
        json_int_t p = json_integer_value(json_object_get(s, "epoch"));
        bool mute = json_is_true(json_object_get(s, "mute"));
        bool accused = json_array_size(json_object_get(s, "evidence_against")) > 0;
        int size =
            snprintf(text + used, capacity - used,
                     " %u: epoch %lld executed %lld stable %lld root %.8s%s%s;", (unsigned)id,
                     (long long)p, (long long)e, (long long)k, its_root != NULL ? its_root : "?",
                     mute ? " MUTE" : "", accused ? " HOLDS EVIDENCE" : "");
        if (size > 0 && (size_t)size < capacity - used) used += (size_t)size;
        if (s == NULL || its_root == NULL || mute || accused ||
            json_is_true(json_object_get(s, "transferring")))
            equal = false;
        if (id == 0) {
            epoch = p;
            executed = e;
            stable = k;
            (void)snprintf(root, sizeof root, "%s", its_root != NULL ? its_root : "");
        } else if (p != epoch || e != executed || k != stable || its_root == NULL ||
                   strcmp(root, its_root) != 0) {
            equal = false;
        }
        json_decref(s);
    }
    return equal && executed > 0;
}

static void heal(struct run *r)
{
    char text[1024] = "";
    uint64_t begun = crash_now_ms();
    while (!all_equal(r, text, sizeof text)) {
        if (!crash_all_run(&r->cluster)) return;
        if (crash_now_ms() - begun > HEAL_MS) {
            crash_found("the replicas do not become equal:%s", text);
            return;
        }
        crash_sleep_ms(200);
    }
    (void)fprintf(stderr, "all equal after %llu ms:%s\n",
                  (unsigned long long)(crash_now_ms() - begun), text);
}

/* What is under way comes to its end, now that nobody is killed. */
static void await_replacement(struct run *r)
{
    uint64_t begun = crash_now_ms();
    while (crash_replacing(&r->cluster) && crash_all_run(&r->cluster) && crash_findings() == 0) {
        if (crash_now_ms() - begun > HEAL_MS) {
            crash_found("replica replace %u does not come to an end", r->cluster.replace.id);
            return;
        }
        crash_sleep_ms(20);
    }
}

static void finish(struct run *r, struct crash_load_stats *stats)
{
    await_replacement(r);
    crash_load_stop(r->load);
    crash_load_totals(r->load, stats);
    if (crash_findings() == 0) crash_load_check(r->load);
    if (crash_findings() == 0) heal(r);
    crash_load_free(r->load);
    crash_stop(&r->cluster);
    for (unsigned id = 0; id < CRASH_REPLICAS; id++)
        crash_compare_file(r->compare, id, r->cluster.replicas[id].statements);
    crash_check_logs(&r->cluster);
    if (getenv("PBFT_CRASH_DURABILITY") == NULL) crash_check_data(&r->cluster);
}

static void verdict(struct run *r, const struct crash_load_stats *s)
{
    unsigned incarnations = 0;
    for (unsigned id = 0; id < CRASH_REPLICAS; id++)
        incarnations += r->cluster.replicas[id].incarnations;
    for (unsigned type = PBFT_PRE_PREPARE; type <= PBFT_COMMIT; type++)
        if (crash_findings() == 0 && crash_compare_sent(r->compare, (uint8_t)type) == 0)
            crash_found("nobody sent a %s: there was nothing to compare",
                        pbft_type_text((uint8_t)type));
    const struct crash_replace *p = &r->cluster.replace;
    if (crash_findings() == 0 && crash_compare_epoch(r->compare) < p->begun)
        crash_found("%u keys were replaced, but the last epoch was %u", p->begun,
                    (unsigned)crash_compare_epoch(r->compare));
    (void)
        printf("%u keys replaced, %u of them after a lost disk; the command killed %u times; last "
               "epoch %u\n",
               p->begun, p->wipes, p->killed, (unsigned)crash_compare_epoch(r->compare));
    (void)printf("%u cycles (%u of one replica, %u of two, %u of all), %u kills, %u incarnations\n"
                 "%llu operations acknowledged, %llu with unknown outcome, longest wait %llu ms, "
                 "%llu MB written\n"
                 "%llu signed statements seen %llu times; of their senders: %llu PRE-PREPARE, %llu "
                 "PREPARE, %llu COMMIT, %llu CHECKPOINT, %llu VIEW-CHANGE, %llu NEW-VIEW\n",
                 r->cycle, r->ones, r->twos, r->alls, r->cluster.kills, incarnations,
                 (unsigned long long)s->acknowledged, (unsigned long long)s->unknown,
                 (unsigned long long)s->longest_ms, (unsigned long long)(s->bytes >> 20),
                 (unsigned long long)crash_compare_count(r->compare),
                 (unsigned long long)crash_compare_records(r->compare),
                 (unsigned long long)crash_compare_sent(r->compare, PBFT_PRE_PREPARE),
                 (unsigned long long)crash_compare_sent(r->compare, PBFT_PREPARE),
                 (unsigned long long)crash_compare_sent(r->compare, PBFT_COMMIT),
                 (unsigned long long)crash_compare_sent(r->compare, PBFT_CHECKPOINT),
                 (unsigned long long)crash_compare_sent(r->compare, PBFT_VIEW_CHANGE),
                 (unsigned long long)crash_compare_sent(r->compare, PBFT_NEW_VIEW));
    uint64_t took = (crash_now_ms() - r->begun_ms) / 1000;
    if (crash_findings() == 0 && !interrupted)
        (void)printf("== crash: passed (%llu s)\n", (unsigned long long)took);
    else
        (void)printf("== crash: FAILED (%llu s): %u findings%s; look into %s\n",
                     (unsigned long long)took, crash_findings(), interrupted ? ", interrupted" : "",
                     r->cluster.dir);
}

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static bool options(struct run *r, int argc, char **argv, const char **durability)
{
    static const struct option longs[] = {{"cycles", required_argument, NULL, 'c'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"durability", required_argument, NULL, 'd'},
                                          {"patience", required_argument, NULL, 'p'},
                                          {NULL, 0, NULL, 0}};
    r->cycles = 40;
    r->patience_ms = 120000;
    r->random = (uint64_t)time(NULL);
    for (int o; (o = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (o == 'c')
            r->cycles = (unsigned)strtoul(optarg, NULL, 10);
        else if (o == 's')
            r->random = strtoull(optarg, NULL, 10);
        else if (o == 'p')
            r->patience_ms = 1000u * strtoull(optarg, NULL, 10);
        else if (o == 'd')
            *durability = optarg;
        else
            return false;
    }
    return r->cycles > 0 && r->patience_ms > 0 && optind == argc;
}

int main(int argc, char **argv)
{
    static struct run r;
    const char *durability = NULL;
    if (!options(&r, argc, argv, &durability)) {
        (void)fprintf(
            stderr,
            "Usage: crash [--cycles N] [--seed S] [--durability MODE] [--patience SECONDS]\n");
        return 2;
    }
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    struct crash_load_stats stats = {0};
    uint64_t seed = r.random;
    r.begun_ms = crash_now_ms();
    r.compare = crash_compare_new();
    bool ok = crash_cluster_make(&r.cluster, durability);
    r.replaces = getenv("PBFT_CRASH_DURABILITY") == NULL;
    for (unsigned id = 0; ok && id < CRASH_REPLICAS; id++)
        ok = crash_start(&r.cluster, id);
    /* Large values fill the log, so that checkpoints are flushed and it is cut. */
    if (ok) r.load = crash_load_start(&r.cluster, seed, 256u << 10);
    if (r.load == NULL) {
        (void)fprintf(stderr, "cannot make a cluster in %s\n", r.cluster.dir);
        return 1;
    }
    (void)fprintf(stderr, "seed %llu, %s\n", (unsigned long long)seed, r.cluster.dir);
    ok = progress(&r, 20);
    while (ok && r.cycle < r.cycles) {
        ok = cycle(&r);
        r.cycle++;
        show(&r, r.cycle == r.cycles || !ok);
    }
    if (ok) (void)progress(&r, 20);
    finish(&r, &stats);
    verdict(&r, &stats);
    crash_compare_free(r.compare);
    bool passed = crash_findings() == 0 && !interrupted;
    if (passed) crash_remove(&r.cluster);
    return passed ? 0 : 1;
}
