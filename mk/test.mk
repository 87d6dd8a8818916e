# Tests. Each suite is one Criterion binary; scripts/run-tests.sh bounds its time and prints its
# closing line. A suite without files says so and succeeds.

FILTER ?=
export FILTER
export PBFT_BIN_DIR      := $(CURDIR)/$(OUT)/bin
export PBFT_EXAMPLES_DIR := $(CURDIR)/$(OUT)/examples

# Seconds for a whole suite; sanitizers are slow.
slower = $(if $(filter asan tsan coverage,$(VARIANT)),4)
unit_LIMIT   := $(if $(slower),1800,600)
rules_LIMIT  := $(if $(slower),1800,600)
golden_LIMIT := $(if $(slower),300,120)
sim_LIMIT    := $(if $(slower),1800,600)
live_LIMIT   := $(if $(slower),3600,1800)
# Live tests own ports and processes: one at a time.
unit_JOBS := 2
rules_JOBS := 2
golden_JOBS := 2
sim_JOBS := 2
live_JOBS := 1

.PHONY: deps deps-ci test unit rules golden live asan tsan coverage
deps: ## install what building and testing needs (apt-get; nothing when all is there)
	@scripts/deps.sh build
deps-ci: ## install what the gates of CI need beside that
	@scripts/deps.sh build ci

# What `make test` and `make asan` run; CI runs live suites beside the others.
TESTS ?= $(SUITES) crash
test: ## install what is missing, build, run every suite
	@scripts/deps.sh build
	@$(MAKE) all test-binaries
	@scripts/run-suites.sh $(MAKE) $(TESTS)

# sim is the suite and a campaign: mk/sim.mk.
define suite
$(if $(filter sim,$(1)),sim-suite,$(1)): $(if $($(1)_TEST_SRC),$(OUT)/tests/$(1) $(if $(filter live,$(1)),programs $(INJECT_SO)))
	@$(if $($(1)_TEST_SRC),scripts/run-tests.sh $(1) $($(1)_LIMIT) $(OUT)/tests/$(1) -j$($(1)_JOBS),\
	    echo "== $(1): no tests yet (tests/$(1)): skipped")
endef
$(foreach s,$(SUITES),$(eval $(call suite,$(s))))
unit:   ## unit tests (tests/unit)
rules:  ## one test for each rule of the protocol (tests/rules)
golden: ## wire vectors (tests/golden)
live:   ## real processes (tests/live)

ASAN_TESTS = $(filter $(SUITES),$(TESTS))
asan: ## every suite under AddressSanitizer and UBSan (sim, live: the brief form)
	@$(MAKE) VARIANT=asan all test-binaries
	@PBFT_LIVE_BRIEF=1 PBFT_SIM_BRIEF=1 scripts/sanitized.sh build/asan/reports/$(subst $(EMPTY) ,-,$(ASAN_TESTS)) \
	    $(MAKE) VARIANT=asan $(ASAN_TESTS)

tsan: ## threaded programs under ThreadSanitizer (tests/tsan)
ifeq ($(TSAN_SRC),)
	@echo "== tsan: no tests yet (tests/tsan): skipped"
else ifneq ($(VARIANT),tsan)
	@$(MAKE) VARIANT=tsan tsan
else
	@$(MAKE) VARIANT=tsan $(TSAN_BIN)
	@scripts/run-plain.sh tsan 300 $(TSAN_BIN)
endif

# Without the failing side of assertions, which nothing may reach.
GCOVR := gcovr --root . --object-directory build/coverage/obj --exclude-unreachable-branches \
         --exclude-throw-branches --exclude-lines-by-pattern '.*PBFT_ASSERT\(.*'
coverage: ## line and branch coverage; fails below 95 % of the branches of pbft/ (gcovr)
	@scripts/deps.sh build coverage
	@$(MAKE) VARIANT=coverage test-binaries
	@find build/coverage -name '*.gcda' -delete
	@scripts/run-suites.sh $(MAKE) VARIANT=coverage unit rules golden sim
	@$(GCOVR) --exclude 'tests/.*' --print-summary --html-details build/coverage/index.html > /dev/null
	@$(GCOVR) --filter pbft/ --branches --fail-under-branch 95
	@echo "Report: build/coverage/index.html"

# ---- kill -9, again and again (tests/crash)

CYCLES    ?= $(if $(slower),8,40)
.PHONY: crash
crash: $(CRASH_BIN) programs ## replicas killed with -9 under load; CYCLES=1000 for the long form, CRASH_SEED=S
	$(LIVE_OUTPUT)@PBFT_BIN_DIR='$(PBFT_BIN_DIR)' $(CRASH_BIN) --cycles $(CYCLES) \
	    $(if $(CRASH_SEED),--seed $(CRASH_SEED))
$(CRASH_BIN): $(call object,$(CRASH_SRC)) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD $@)$(CC) $(ALL_LDFLAGS) -o $@ $(call object,$(CRASH_SRC)) $(LIB) $(LIBS)
