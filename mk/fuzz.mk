# Fuzzing: libFuzzer with ASan and UBSan (clang-14, libclang-rt-14-dev). One C file a target in
# tests/fuzz; tests/fuzz/wire.c is one target for each message, by the name that it is called by.

FUZZ_OUT     := build/fuzz
FUZZ_SRC     := $(filter-out tests/fuzz/seeds.c,$(sort $(wildcard tests/fuzz/*.c)))
FUZZ_WIRE    := $(addprefix wire-,request pre-prepare prepare commit checkpoint view-change new-view \
                  status fetch batch page certificate header reply query query-reply busy result-fetch \
                  admin admin-reply)
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,%,$(filter-out %/wire.c,$(FUZZ_SRC))) $(FUZZ_WIRE)
FUZZ_BIN     := $(addprefix $(FUZZ_OUT)/bin/,$(FUZZ_TARGETS))
# What the targets look into. net/receive.c is part of its target.
FUZZ_LIB_SRC := $(sort $(wildcard pbft/*.c crypto/*.c store/*.c service/*.c)) replica/backup.c replica/config.c \
                replica/config_files.c replica/evidence.c net/frames.c client/match.c \
                client/match_body.c client/match_read.c $(addprefix bench/chain/,accept.c block.c hash.c node.c \
                operation.c pool.c state.c table.c tree.c work.c) tests/sim/samples.c tests/sim/signer_fast.c tests/sim/recheck.c tests/sim/vdisk.c
# The parts of a target that is more than one file.
FUZZ_SPLIT   := core client log
FUZZ_PARTS   := $(sort $(wildcard $(FUZZ_SPLIT:%=tests/fuzz/%/*.c)))
FUZZ_LIB     := $(FUZZ_OUT)/libfuzzed.a
FUZZ_CHECKS  := address,undefined
FUZZ_CFLAGS  := $(STANDARD) -O2 -g $(WARNINGS) -Werror -fno-omit-frame-pointer \
                -fno-sanitize-recover=all
MINUTES      ?= 10
EVERY_SRC    += $(FUZZ_SRC) $(FUZZ_PARTS) tests/fuzz/seeds.c
HEADERS      += $(wildcard tests/fuzz/*.h $(FUZZ_SPLIT:%=tests/fuzz/%/*.h))

fuzz_object = $(patsubst %.c,$(FUZZ_OUT)/obj/%.o,$(1))

$(FUZZ_OUT)/obj/%.o: %.c mk/fuzz.mk
	@mkdir -p $(@D)
	$(call say,CLANG $<)$(CLANG) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link,$(FUZZ_CHECKS) -MMD -MP -c $< -o $@

-include $(patsubst %.o,%.d,$(call fuzz_object,$(FUZZ_LIB_SRC) $(wildcard tests/fuzz/*.c) $(FUZZ_PARTS)))

$(FUZZ_LIB): $(call fuzz_object,$(FUZZ_LIB_SRC))
	@mkdir -p $(@D); rm -f $@
	$(call say,AR $@)$(AR) rcs $@ $^

$(FUZZ_OUT)/bin/%: $(FUZZ_OUT)/obj/tests/fuzz/%.o $(FUZZ_LIB)
	@mkdir -p $(@D)
	$(call say,LD $@)$(CLANG) -fsanitize=fuzzer,$(FUZZ_CHECKS) -o $@ $< $(FUZZ_LIB) -lsodium -linih -llmdb -lpthread
$(foreach t,$(FUZZ_SPLIT),$(eval $(FUZZ_OUT)/bin/$(t): \
    $(call fuzz_object,tests/fuzz/$(t).c $(sort $(wildcard tests/fuzz/$(t)/*.c)))))
$(FUZZ_SPLIT:%=$(FUZZ_OUT)/bin/%): $(FUZZ_LIB)
	@mkdir -p $(@D)
	$(call say,LD $@)$(CLANG) -fsanitize=fuzzer,$(FUZZ_CHECKS) -o $@ $(filter %.o,$^) $(FUZZ_LIB) -lsodium -linih -llmdb -lpthread
$(FUZZ_OUT)/bin/wire-%: $(FUZZ_OUT)/bin/wire
	@ln -sf wire $@
$(FUZZ_OUT)/bin/seeds: $(FUZZ_OUT)/obj/tests/fuzz/seeds.o $(FUZZ_LIB)
	@mkdir -p $(@D)
	$(call say,LD $@)$(CLANG) -fsanitize=$(FUZZ_CHECKS) -o $@ $< $(FUZZ_LIB) -lsodium -linih -llmdb -lpthread

.PHONY: fuzz fuzz-smoke fuzz-build fuzz-seeds fuzz-corpus
fuzz-build: $(FUZZ_BIN)

fuzz: fuzz-build ## fuzz every parser and the core (MINUTES=10 each, FILTER=target)
	@scripts/fuzz.sh run $(MINUTES) $(FUZZ_TARGETS)

fuzz-smoke: fuzz-build ## every fuzz target for a few seconds, over its corpus
	@scripts/fuzz.sh smoke $(FUZZ_TARGETS)

fuzz-seeds: $(FUZZ_OUT)/bin/seeds $(FUZZ_OUT)/bin/wire
	@$(FUZZ_OUT)/bin/seeds tests/fuzz/corpus

fuzz-corpus: fuzz-build ## what longer runs found, minimised, into tests/fuzz/corpus
	@scripts/fuzz.sh corpus $(FUZZ_TARGETS)
