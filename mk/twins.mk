# Twins: a replica that runs twice under one key (tests/sim/twins.h). Included after quality.mk.

.PHONY: twins twins-smoke twins-mutants
TWINS      := $(OUT)/tests/pbft-twins
TWINS_SRC  := tests/sim/pbft_twins.c
TWINS_JOBS ?= 2
EVERY_SRC  += $(TWINS_SRC)
-include $(patsubst %.c,$(OUT)/obj/%.d,$(TWINS_SRC))
tidy: $(patsubst %.c,build/tidy/%.ok,$(TWINS_SRC))

$(TWINS): $(call object,$(TWINS_SRC)) $(SIM_LIB) $(FAULTS_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD $@)$(CC) $(ALL_LDFLAGS) -o $@ $(call object,$(TWINS_SRC)) $(SIM_LIB) $(FAULTS_LIB) \
	    $(LIB) $(LIBS)

twins: $(TWINS) ## all 16^5 and all 52^3 scenarios of a primary that runs twice; drawn ones too
	$(TWINS) --groups 2 --rounds 5 --jobs $(TWINS_JOBS)
	$(TWINS) --groups all --rounds 3 --jobs $(TWINS_JOBS)
	$(TWINS) --random 100000 --jobs $(TWINS_JOBS)

twins-smoke: $(TWINS) ## all 16^3 and 52^2 scenarios, and 2000 drawn ones
	@$(TWINS) --quiet --groups 2 --rounds 3 --jobs $(TWINS_JOBS)
	@$(TWINS) --quiet --groups all --rounds 2 --jobs $(TWINS_JOBS)
	@$(TWINS) --quiet --random 2000 --jobs $(TWINS_JOBS)
	@echo "== twins-smoke: passed"

twins-mutants: $(TWINS) ## which wrong rules of tests/mutants the twins find (FILTER=NAME for some)
	@MAKE='$(MAKE)' scripts/twins-mutants.sh $(FILTER)
