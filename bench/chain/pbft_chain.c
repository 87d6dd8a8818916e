/* pbft-chain: a toy proof-of-work chain, to compare PBFT with (DESIGN 6, 8). */
#include "bench/chain/commands.h"
#include "crypto/keys.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "Usage: pbft-chain COMMAND [options]\n"
    "A toy proof-of-work chain that carries the signed operations of PBFT's clients: what a\n"
    "comparison with PBFT is measured on. Not for anything of value.\n"
    "\n"
    "  mine            run a node: mine, gossip, take operations, write the chain to a file\n"
    "  demo            real miners on this machine, a partition, a reorganisation; a liar, a\n"
    "                  majority and a selfish miner simulated (half a minute)\n"
    "  verify FILE     check a chain that was written to a file\n"
    "  --version, --help\n"
    "\n"
    "pbft-chain COMMAND --help tells more.\n"
    "Example: pbft-chain demo\n"
    "Exit codes: 0; 1 what was asked for does not hold, or it failed; 2 usage and files; 3 no\n"
    "network; 4 damaged or foreign data.\n";

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {{"mine", chain_mine}, {"demo", chain_demo}, {"verify", chain_verify}};

    if (argc < 2) return chain_usage("it takes a command: mine, demo or verify");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        fputs(help, stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("pbft-chain " PBFT_VERSION);
        return 0;
    }
    if (pbft_crypto_init() != PBFT_STATUS_OK) {
        fprintf(stderr, "pbft-chain: the cryptographic self-test failed: is libsodium intact?\n");
        return 1;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
    return chain_usage("there is no such command: it is mine, demo or verify");
}
