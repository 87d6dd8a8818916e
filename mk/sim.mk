# Simulated clusters out of seeds: pbft-sim. Included after build.mk and test.mk.
#
#   make sim                                       the suite of tests/sim, whether its oracle rings, and a
#                                                  small campaign
#   make sim SEEDS=100000 [SEED=1] [STATE=FILE]    a campaign; STATE=FILE: interrupted, it goes on

.PHONY: sim sim-suite sim-regressions sim-images sim-compare
PBFT_SIM  := $(OUT)/bin/pbft-sim
SEED      ?= 1
STATE     ?=
# Of `make sim` and of `make test`. From 100 on a campaign demands seeds of a certain size.
SIM_SMALL := $(if $(slower),100,300)

SIM_PAIRS := $(if $(slower),30,100)

# --output-sync would keep the progress bar to itself; a recipe that calls make (+) is not synced. It
# also runs in a dry run, so not then.
LIVE_OUTPUT := $(if $(findstring n,$(filter-out --%,$(firstword $(MAKEFLAGS)))),,+)

# A campaign is worth a build of its own.
CAMPAIGN  := $(if $(SEEDS),$(filter release,$(VARIANT)))

sim: $(if $(CAMPAIGN),,$(if $(filter pbft-sim,$(PROGRAMS)),$(PBFT_SIM))) ## clusters under virtual time (tests/sim); SEEDS=N [SEED=S] [STATE=FILE]: a campaign
ifneq ($(CAMPAIGN),)
	$(LIVE_OUTPUT)@$(MAKE) VARIANT=fast sim SEEDS='$(SEEDS)' SEED='$(SEED)' STATE='$(STATE)'
else ifneq ($(SEEDS),)
	$(LIVE_OUTPUT)@$(PBFT_SIM) --seeds $(SEEDS) --seed $(SEED) $(if $(STATE),--state $(STATE))
else
	@rm -f $(SIM_HEARD)
	@$(MAKE) sim-suite
	@$(if $(FILTER)$(slower),,scripts/sim-alarms.sh $(OUT)/tests/sim $(SIM_HEARD))
	@$(if $(FILTER),,$(MAKE) sim-regressions && $(PBFT_SIM) --seeds $(SIM_SMALL) --quiet && \
	    echo "== sim: $(SIM_SMALL) seeds passed" && $(PBFT_SIM) --scenario pairs --seeds $(SIM_PAIRS) --quiet && \
	    echo "== sim: $(SIM_PAIRS) pairs of rows passed")
endif

# What rang in the suite, and in which test.
SIM_HEARD := $(CURDIR)/$(OUT)/tests/sim.alarms
sim-suite: export PBFT_SIM_ALARMS := $(SIM_HEARD)
# That the alarms ring, and equal runs are equal, is no matter of sanitizers.
sim-suite: export FILTER := $(or $(FILTER),$(if $(slower),!(alarms*)/*))

sim-regressions: $(PBFT_SIM) ## every seed that once failed (tests/sim/regressions), twice
	@scripts/sim-regressions.sh $(PBFT_SIM) $(if $(slower),once)

IMAGES ?= docs/images
sim-images: $(PBFT_SIM) ## draw the pictures of docs/images again
	@mkdir -p $(IMAGES)
	@$(PBFT_SIM) --scenario 2.3 --seed 4 --quiet --svg $(IMAGES)/view-change.svg

sim-compare: $(PBFT_SIM) ## gcc's and clang's builds make the same traces, and the picture in docs/images
	@$(MAKE) VARIANT=clang build/clang/bin/pbft-sim
	@scripts/sim-compare.sh $(PBFT_SIM) build/clang/bin/pbft-sim

# The commit that a failing seed is reported with.
SIM_COMMIT := $(OUT)/obj/sim-commit
$(SIM_COMMIT): FORCE
	@mkdir -p $(@D); commit=$$(git describe --always --dirty 2>/dev/null || echo unknown); \
	    echo "$$commit" | cmp -s - $@ || echo "$$commit" > $@
$(OUT)/obj/tests/sim/pbft_sim.o: $(SIM_COMMIT)
$(OUT)/obj/tests/sim/pbft_sim.o: LOCAL_CFLAGS += -DSIM_COMMIT='"'$$(cat $(SIM_COMMIT))'"'
