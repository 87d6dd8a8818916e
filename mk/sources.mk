# What belongs to what. Files are found by wildcard; a program whose main file does not exist (yet)
# is not built.

LIBRARY_DIRS := pbft crypto net store service replica client
PROGRAM_SRC  := replica/pbftd.c $(wildcard client/pbftctl*.c client/ctl/*.c client/pbft_gateway*.c)
LIB_SRC      := $(filter-out $(PROGRAM_SRC),$(foreach d,$(LIBRARY_DIRS),$(sort $(wildcard $(d)/*.c))))
# Byzantine strategies: a library of their own, so that pbftd contains none.
FAULTS_SRC   := $(filter-out replica/faults/pbftd_faulty.c,$(sort $(wildcard replica/faults/*.c)))

pbftd_SRC        := $(wildcard replica/pbftd.c)
pbftd-faulty_SRC := $(wildcard replica/faults/pbftd_faulty.c)
pbftctl_SRC      := $(sort $(wildcard client/pbftctl*.c client/ctl/*.c))
pbft-bench_SRC   := $(if $(wildcard bench/pbft_bench.c),$(sort $(wildcard bench/*.c)))
# Hostile on purpose, as pbftd-faulty is: never installed.
pbft-hostile_SRC := $(wildcard bench/hostile/pbft_hostile.c)
pbft-gateway_SRC := $(sort $(wildcard client/pbft_gateway*.c))
pbft-sim_SRC     := $(wildcard tests/sim/pbft_sim.c)
# The toy proof-of-work chain: a library for its program and for unit tests.
pbft-chain_SRC   := $(wildcard bench/chain/pbft_chain.c)
CHAIN_SRC        := $(filter-out bench/chain/pbft_chain.c,$(sort $(wildcard bench/chain/*.c))) bench/histogram.c

# True when one of the files $(1) defines main().
has_main = $(if $(strip $(1)),$(shell grep -lE '^int main\b' $(1)))
PROGRAMS := $(foreach p,pbftd pbftd-faulty pbftctl pbft-bench pbft-hostile pbft-gateway pbft-sim pbft-chain,\
              $(if $(call has_main,$($(p)_SRC)),$(p)))
EXAMPLES_SRC := $(sort $(wildcard examples/*.c))

# Tests. tests/sim holds the virtual-time cluster, a library for rules, unit and sim.
SIM_SRC         := $(filter-out tests/sim/test_%.c tests/sim/pbft_%.c,$(sort $(wildcard tests/sim/*.c)))
unit_TEST_SRC   := $(sort $(wildcard tests/unit/*.c))
rules_TEST_SRC  := $(sort $(wildcard tests/rules/*.c))
golden_TEST_SRC := $(sort $(wildcard tests/golden/*.c))
sim_TEST_SRC    := $(sort $(wildcard tests/sim/test_*.c))
live_TEST_SRC   := $(sort $(wildcard tests/live/*.c))
# Linked into each of them.
RUNNER_SRC      := $(sort $(wildcard tests/runner/*.c))
TSAN_SRC        := $(sort $(wildcard tests/tsan/*.c))
CRASH_SRC       := $(sort $(wildcard tests/crash/*.c))
INJECT_SRC      := $(sort $(wildcard tests/inject/*.c))
# Other systems under the same load: built by `make bench-peers`, whose libraries nothing else needs.
PEERS_SRC       := $(sort $(wildcard bench/peers/*.c))
BENCH_PAGES_SRC := $(sort $(wildcard bench/pages/*.c))
BENCH_REGRESSION_SRC := $(sort $(wildcard bench/regression/*.c))
SUITES          := unit rules golden sim live
TEST_SRC        := $(foreach s,$(SUITES),$($(s)_TEST_SRC))

SHIPPED_SRC := $(sort $(LIB_SRC) $(FAULTS_SRC) $(CHAIN_SRC) $(foreach p,$(PROGRAMS),$($(p)_SRC)) $(EXAMPLES_SRC))
HEADERS     := $(sort $(foreach d,$(LIBRARY_DIRS) client/ctl replica/faults bench bench/chain bench/peers bench/regression examples \
                 $(addprefix tests/,$(SUITES) tsan crash),$(wildcard $(d)/*.h)))
EVERY_SRC   := $(sort $(SHIPPED_SRC) $(SIM_SRC) $(TEST_SRC) $(RUNNER_SRC) $(TSAN_SRC) $(CRASH_SRC) $(INJECT_SRC) $(PEERS_SRC) $(BENCH_PAGES_SRC) \
                 $(BENCH_REGRESSION_SRC))
PUBLIC_HEADERS := $(sort $(foreach d,$(LIBRARY_DIRS),$(wildcard $(d)/*.h)))
