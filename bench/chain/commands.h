/**
 * bench/chain/commands.h - the commands of pbft-chain. argv[0] is the command's name; each returns
 * the exit code: 0, or 1 what was asked for does not hold, 2 usage, 3 no network, 4 damaged or
 * foreign data.
 */
#ifndef PBFT_BENCH_CHAIN_COMMANDS_H
#define PBFT_BENCH_CHAIN_COMMANDS_H

#include <getopt.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

int chain_mine(int argc, char **argv);
int chain_demo(int argc, char **argv);
int chain_verify(int argc, char **argv);

/* One sentence to standard error; returns 2. */
int chain_usage(const char *text);
/* What getopt_long() did not like, by its return value; returns 2. */
int chain_bad_number(const char *option, const char *text);
bool chain_number(const char *text, uint64_t min, uint64_t max, uint64_t *out);
/* To a file or "-"; takes the reference. False, after a sentence: it could not be written. */
bool chain_write_json(const char *path, json_t *json);
/* CPU time of this process so far, s. */
double chain_cpu_s(void);

#endif
