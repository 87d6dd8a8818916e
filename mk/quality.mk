# The gates. Each fails on a finding and says what it looked at.

.PHONY: model purity tidy cppcheck format format-check lint mutants sim-mutants sim-mutants-smoke mutants-table fresh-check demo ci loc

PURE_SRC := $(filter-out pbft/panic.c,$(sort $(wildcard pbft/*.c)))

purity: ## the core calls nothing but mem*; pbftd contains no fault strategy
	@CC='$(CC)' scripts/purity.sh --self-test
	@CC='$(CC)' scripts/purity.sh $(PURE_SRC)
	@$(if $(and $(filter pbftd,$(PROGRAMS)),$(FAULTS_SRC)),\
	    $(MAKE) $(OUT)/bin/pbftd $(FAULTS_LIB) && scripts/no-faults.sh $(OUT)/bin/pbftd $(FAULTS_LIB),\
	    echo "== purity: pbftd or replica/faults does not exist yet: its part skipped")

# Tests are excepted: Criterion's macros expand to code that trips the checks.
TIDY_SRC    := $(sort $(SHIPPED_SRC) $(SIM_SRC) $(BENCH_REGRESSION_SRC) $(PEERS_SRC))
TIDY_STAMPS := $(patsubst %.c,build/tidy/%.ok,$(TIDY_SRC))
tidy: $(TIDY_STAMPS) ## clang-tidy: bugprone-*, clang-analyzer-*
	@echo "== tidy: $(words $(TIDY_SRC)) files clean"
build/tidy/%.ok: %.c $(HEADERS) .clang-tidy
	@mkdir -p $(@D)
	$(call say,TIDY $<)$(CLANG_TIDY) --quiet $< -- $(STANDARD) 2> $@.log || \
	    { cat $@.log >&2; exit 1; }
	@touch $@

cppcheck: ## cppcheck: warning, performance, portability
ifeq ($(TIDY_SRC),)
	@echo "== cppcheck: no sources yet: skipped"
else
	@mkdir -p build/cppcheck
	@cppcheck --quiet --std=c11 --platform=unix64 -j2 --max-configs=4 \
	    --enable=warning,performance,portability --error-exitcode=1 --inline-suppr \
	    --suppressions-list=scripts/cppcheck-suppressions.txt --cppcheck-build-dir=build/cppcheck \
	    -D_POSIX_C_SOURCE=200809L -I. $(TIDY_SRC)
	@echo "== cppcheck: $(words $(TIDY_SRC)) files clean"
endif

format: ## rewrite every source with clang-format
	@$(CLANG_FORMAT) -i $(EVERY_SRC) $(HEADERS)
format-check: ## every source is formatted as .clang-format says
	@$(CLANG_FORMAT) --dry-run -Werror $(EVERY_SRC) $(HEADERS)
	@echo "== format-check: $(words $(EVERY_SRC) $(HEADERS)) files clean"

lint: ## purity, format-check, tidy, cppcheck
	@$(MAKE) purity
	@$(MAKE) format-check
	@$(MAKE) tidy
	@$(MAKE) cppcheck

mutants: ## every wrong-rule patch of tests/mutants is caught (FILTER=NAME for some)
	@$(if $(wildcard tests/mutants/*.patch),\
	    $(MAKE) test-binaries && MAKE='$(MAKE)' WERROR='$(WERROR)' SHARD='$(SHARD)' scripts/mutants.sh $(FILTER),\
	    echo "== mutants: no patches yet (tests/mutants): skipped")

sim-mutants: $(PBFT_SIM) ## after how many seeds pbft-sim notices each of them (SEEDS=1000, FILTER=NAME)
	@MAKE='$(MAKE)' SEEDS='$(or $(SEEDS),1000)' scripts/sim-mutants.sh $(FILTER)

SIMULATED := $(shell grep -v '^\#' tests/mutants/simulated)
sim-mutants-smoke: $(PBFT_SIM) ## those of tests/mutants/simulated, within 200 seeds each
	@MAKE='$(MAKE)' SEEDS=200 ROW_SEEDS=1 LEAST=$(words $(SIMULATED)) scripts/sim-mutants.sh $(SIMULATED)

mutants-table: test-binaries $(PBFT_SIM) ## docs/mutants.md anew, from both; about an hour
	@MAKE='$(MAKE)' SEEDS='$(or $(SEEDS),1000)' scripts/mutants-table.sh

model: ## view change modelled in Promela: the whole bounded space, and every wrong rule breaks it
	@scripts/deps.sh model
	@scripts/model.sh $(FILTER)

fresh-check: ## make demo and make test in a fresh Debian 12 (root, debootstrap)
	@scripts/deps.sh fresh
	@scripts/fresh-check.sh

demo: ## four real replicas, a liar, a killed primary: the whole story in a minute
	@scripts/deps.sh build
	@$(MAKE) all
	@$(if $(wildcard scripts/demo.sh),scripts/demo.sh,echo "scripts/demo.sh does not exist yet" >&2; exit 1)

# By another name: where a recipe says MAKE itself, it runs in a dry run, too.
CI_MAKE = $(MAKE)
ci: ## exactly what CI runs
	@scripts/deps.sh build ci
	$(LIVE_OUTPUT)@scripts/ci.sh $(CI_MAKE) WERROR=1 $(MAKEOVERRIDES)

loc: ## lines of code by folder, without blank lines and comments
	@scripts/loc.sh
