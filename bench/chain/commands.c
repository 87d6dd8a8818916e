#include "bench/chain/commands.h"

#include "bench/chain/file.h"
#include "bench/chain/gossip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

int chain_usage(const char *text)
{
    fprintf(stderr, "pbft-chain: %s; see pbft-chain --help\n", text);
    return 2;
}

int chain_bad_number(const char *option, const char *text)
{
    fprintf(stderr, "pbft-chain: '%s' is not a number that fits --%s; see --help\n", text, option);
    return 2;
}

bool chain_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    *out = strtoull(text, &end, 10);
    return *end == '\0' && *out >= min && *out <= max;
}

bool chain_write_json(const char *path, json_t *json)
{
    bool written;
    if (json == NULL) {
        fprintf(stderr, "pbft-chain: out of memory\n");
        return false;
    }
    if (strcmp(path, "-") == 0) {
        written = json_dumpf(json, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) == 0 &&
                  putchar('\n') == '\n' && fflush(stdout) == 0;
    } else {
        written = json_dump_file(json, path, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) == 0;
    }
    json_decref(json);
    if (!written) fprintf(stderr, "pbft-chain: cannot write '%s'\n", path);
    return written;
}

double chain_cpu_s(void)
{
    struct rusage use;
    (void)getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static const char verify_help[] =
    "Usage: pbft-chain verify [--json] FILE\n"
    "Check a chain that `pbft-chain mine --out FILE` has written: work, links, targets, times,\n"
    "Merkle roots, signatures, and that nothing is executed twice. The first thing that is wrong\n"
    "is named.\n"
    "\n"
    "Example: pbft-chain verify chain.dat\n"
    "Exit codes: 0 it holds; 1 a block breaks a rule; 2 usage, or the file cannot be read; 4 it\n"
    "is no chain file, or damaged: cut short, trailing bytes, a block that is none.\n";

static int verify_code(enum pbft_status status)
{
    switch ((int)status) {
    case PBFT_STATUS_OK: return 0;
    case PBFT_STATUS_CORRUPT: return 4;
    case PBFT_STATUS_NOT_FOUND:
    case PBFT_STATUS_PERMISSION:
    case PBFT_STATUS_ARGUMENT: return 2;
    default: return 1;
    }
}

int chain_verify(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    bool json = false;
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(verify_help, stdout);
            return 0;
        }
        if (option != 'j') return chain_usage("verify has no such option");
        json = true;
    }
    if (optind != argc - 1) return chain_usage("verify takes one FILE");
    const char *path = argv[optind];
    struct chain_file_report r;
    char error[256] = "", tip[65];
    enum pbft_status status = chain_file_verify(path, chain_clock_ms(), &r, error);
    pbft_hex_encode(r.tip.bytes, sizeof r.tip.bytes, tip);
    if (json) {
        json_t *o =
            json_pack("{s:b,s:I,s:I,s:f,s:s,s:s}", "valid", status == PBFT_STATUS_OK, "blocks",
                      (json_int_t)r.blocks, "operations", (json_int_t)r.operations, "work", r.work,
                      "tip", tip, "error", status == PBFT_STATUS_OK ? "" : error);
        if (!chain_write_json("-", o)) return 1;
    } else if (status == PBFT_STATUS_OK) {
        printf("%s holds: %llu blocks, %llu requests, work of %.3g hashes, tip %.16s...\n", path,
               (unsigned long long)r.blocks, (unsigned long long)r.operations, r.work, tip);
    }
    if (status != PBFT_STATUS_OK) fprintf(stderr, "pbft-chain: %s: %s\n", path, error);
    return verify_code(status);
}
