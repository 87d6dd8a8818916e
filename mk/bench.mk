# Measurements of this machine: tables on standard output, JSON in bench/results/.

.PHONY: bench bench-docs deps-bench bench-catch-up bench-chain bench-durability bench-pages bench-peers bench-peers-docs \
    peers-program
deps-bench: ## install what the plots of benchmarks need beside that (gnuplot)
	@scripts/deps.sh build bench
# CASES, ROUND_SECONDS, REPEATS and the rest of bench/suite.sh come in by the environment.
bench: ## every case of docs/performance.md: JSON, table, plots (less than half an hour; CASES="A C" REPEATS=N)
	@scripts/deps.sh build bench
	@$(MAKE) programs
	$(LIVE_OUTPUT)@PBFT_BIN_DIR='$(PBFT_BIN_DIR)' bench/suite.sh
bench-docs: ## the table and the plots of the last make bench into docs/
	@bench/suite/docs.sh performance
bench-catch-up: programs ## a replica 1,000,000 keys behind catches up, and restarts (about 5 minutes; KEYS=N)
	$(LIVE_OUTPUT)@PBFT_BIN_DIR='$(PBFT_BIN_DIR)' bench/catch_up.sh
bench-chain: ## PBFT and a proof-of-work chain side by side: one table, one plot (about 5 minutes)
	@scripts/deps.sh build bench
	@$(MAKE) programs
	$(LIVE_OUTPUT)@PBFT_BIN_DIR='$(PBFT_BIN_DIR)' bench/chain.sh
bench-durability: programs ## what durability costs: memory, async and sync side by side (about 2 minutes)
	$(LIVE_OUTPUT)@PBFT_BIN_DIR='$(PBFT_BIN_DIR)' bench/durability.sh

BENCH_PEERS := $(OUT)/bin/pbft-bench-peers
bench-peers: ## etcd, Redis and ZooKeeper from Debian's packages beside PBFT, in alternating rounds (about 8 minutes)
	@scripts/deps.sh build bench peers
	@$(MAKE) programs peers-program
	$(LIVE_OUTPUT)@PBFT_BIN_DIR='$(PBFT_BIN_DIR)' bench/peers.sh
bench-peers-docs: ## the tables and the plot of the last make bench-peers into docs/
	@bench/suite/docs.sh peers
peers-program: $(BENCH_PEERS)
PEERS_OBJ := $(call object,$(PEERS_SRC) bench/histogram.c bench/processes.c)
# Debian's ZooKeeper has no file for pkg-config.
$(BENCH_PEERS): $(PEERS_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD $@)$(CC) $(ALL_LDFLAGS) -o $@ $(PEERS_OBJ) $(LIB) $$(pkg-config --libs libnghttp2 hiredis) -lzookeeper_st $(LIBS)

OPERATIONS ?= 10000000
BENCH_PAGES := $(OUT)/bench/pages
bench-pages: $(BENCH_PAGES) ## how much disk the page store takes after 10,000,000 overwrites (about 10 minutes; OPERATIONS=N)
	$(LIVE_OUTPUT)@$(BENCH_PAGES) $(OPERATIONS)
$(BENCH_PAGES): $(call object,$(BENCH_PAGES_SRC)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD $@)$(CC) $(ALL_LDFLAGS) -o $@ $(call object,$(BENCH_PAGES_SRC)) $(LIB) $(LIBS)

.PHONY: bench-regression bench-regression-baseline
BENCH_REGRESSION := $(OUT)/bench/regression
# What is shipped is counted, and no other build.
REGRESSION_ONLY  := $(if $(filter-out release,$(VARIANT)),\
  echo "bench-regression: the baseline is of the release build: leave VARIANT=$(VARIANT) out." >&2; exit 1)
bench-regression: ## instructions an operation of the hot paths, none above 1.25 times its baseline (valgrind)
	@$(REGRESSION_ONLY)
	@scripts/deps.sh build regression
	@bench/regression.sh --self-test
	@$(MAKE) $(BENCH_REGRESSION)
	$(LIVE_OUTPUT)@bench/regression.sh check $(BENCH_REGRESSION)
bench-regression-baseline: ## the baseline anew: bench/regression/baseline.txt
	@$(REGRESSION_ONLY)
	@scripts/deps.sh build regression
	@$(MAKE) $(BENCH_REGRESSION)
	$(LIVE_OUTPUT)@bench/regression.sh baseline $(BENCH_REGRESSION)
$(BENCH_REGRESSION): $(call object,$(BENCH_REGRESSION_SRC)) $(SIM_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD $@)$(CC) $(ALL_LDFLAGS) -o $@ $(call object,$(BENCH_REGRESSION_SRC)) $(SIM_LIB) $(LIB) $(LIBS)
