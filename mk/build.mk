# Objects, libraries, programs, test binaries.

object = $(patsubst %.c,$(OUT)/obj/%.o,$(1))

LIB        := $(OUT)/lib/libpbft.a
FAULTS_LIB := $(if $(FAULTS_SRC),$(OUT)/lib/libpbft-faults.a)
SIM_LIB    := $(if $(SIM_SRC),$(OUT)/lib/libpbft-sim.a)
CHAIN_LIB  := $(OUT)/lib/libpbft-chain.a
SONAME     := libpbft.so.$(SOMAJOR)
# A shared object of sanitized code is of use to nobody.
SHARED     := $(if $(filter release clang,$(VARIANT)),$(if $(LIB_SRC),$(OUT)/lib/libpbft.so))

PROGRAM_BIN := $(addprefix $(OUT)/bin/,$(PROGRAMS))
EXAMPLE_BIN := $(patsubst examples/%.c,$(OUT)/examples/%,$(EXAMPLES_SRC))
TEST_BIN    := $(foreach s,$(SUITES),$(if $($(s)_TEST_SRC),$(OUT)/tests/$(s)))
TSAN_BIN    := $(patsubst tests/tsan/%.c,$(OUT)/tests/tsan/%,$(TSAN_SRC))
CRASH_BIN   := $(if $(CRASH_SRC),$(OUT)/tests/crash)
# Faults of system calls, preloaded by live tests.
INJECT_SO   := $(if $(INJECT_SRC),$(OUT)/tests/inject.so)

.PHONY: all programs test-binaries
all: $(LIB) $(FAULTS_LIB) $(SHARED) $(OUT)/lib/pkgconfig/pbft.pc programs ## library and programs, in build/
programs: $(PROGRAM_BIN) $(EXAMPLE_BIN)
test-binaries: $(TEST_BIN) $(CRASH_BIN) $(INJECT_SO)

# ---- objects; rebuilt when the compiler or its flags change

FLAGS_FILE := $(OUT)/obj/flags
FLAGS_TEXT  = $(CC) $(ALL_CFLAGS) | $(ALL_LDFLAGS)
$(FLAGS_FILE): FORCE
	@mkdir -p $(@D); printf '%s\n' '$(FLAGS_TEXT)' | cmp -s - $@ || printf '%s\n' '$(FLAGS_TEXT)' > $@
.PHONY: FORCE
FORCE:

$(OUT)/obj/%.o: %.c $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call say,CC $<)$(CC) $(ALL_CFLAGS) $(LOCAL_CFLAGS) -MMD -MP -c $< -o $@

-include $(patsubst %.o,%.d,$(call object,$(EVERY_SRC)))

# ---- libraries

# The list of members is a prerequisite of its own, so that a source that is gone leaves the archive
# (or program): $(1) the file, $(2) its sources.
members = $(patsubst $(OUT)/%,$(OUT)/obj/members/%,$(1))
define member_list
$(call members,$(1)): FORCE
	@mkdir -p $$(@D); echo '$(2)' | cmp -s - $$@ || echo '$(2)' > $$@
endef
define archive
$(call member_list,$(1),$(2))
$(1): $(call object,$(2)) $(call members,$(1))
	@mkdir -p $$(@D); rm -f $$@
	$$(call say,AR $$@)$$(AR) rcs $$@ $(call object,$(2))
endef
$(eval $(call archive,$(LIB),$(LIB_SRC)))
$(if $(FAULTS_LIB),$(eval $(call archive,$(FAULTS_LIB),$(FAULTS_SRC))))
$(if $(SIM_LIB),$(eval $(call archive,$(SIM_LIB),$(SIM_SRC))))
$(eval $(call archive,$(CHAIN_LIB),$(CHAIN_SRC)))

$(OUT)/lib/libpbft.so: $(call object,$(LIB_SRC)) $(call members,$(LIB))
	@mkdir -p $(@D)
	$(call say,LD $@)$(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,-z,defs -Wl,-z,relro,-z,now \
	    -o $@.$(VERSION) $(call object,$(LIB_SRC)) $(LIBS)
	@ln -sf libpbft.so.$(VERSION) $(@D)/$(SONAME); ln -sf $(SONAME) $@

# From $(OUT) up to the root of the tree: one `..` for each of its folders.
EMPTY :=
UP    := $(subst $(EMPTY) ,/,$(patsubst %,..,$(subst /, ,$(OUT))))

# Usable where it lies: headers in the tree, libraries beside it.
$(OUT)/lib/pkgconfig/pbft.pc: mk/pbft.pc.in pbft/types.h
	@mkdir -p $(@D)
	$(call say,GEN $@)sed -e 's|@PREFIX@|$${pcfiledir}/../../..|' -e 's|@VERSION@|$(VERSION)|' \
	    -e 's|@LIBDIR@|$${pcfiledir}/..|' \
	    -e 's|@INCLUDEDIR@|$${pcfiledir}/../../$(UP)|' $< > $@

# ---- programs. pbftd is never linked with the faults' library.

define program
$(call member_list,$(OUT)/bin/$(1),$($(1)_SRC) $(2))
$(OUT)/bin/$(1): $(call members,$(OUT)/bin/$(1)) $(call object,$($(1)_SRC)) $(2) $(LIB)
	@mkdir -p $$(@D)
	$$(call say,LD $$@)$$(CC) $$(ALL_LDFLAGS) -o $$@ $(call object,$($(1)_SRC)) $(2) $$(LIB) $$(LIBS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program,$(p),\
  $(if $(filter pbft-sim,$(p)),$(SIM_LIB)) $(if $(filter pbft-chain,$(p)),$(CHAIN_LIB)) \
  $(if $(filter pbftd,$(p)),,$(FAULTS_LIB)))))

$(OUT)/examples/%: $(OUT)/obj/examples/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD $@)$(CC) $(ALL_LDFLAGS) -o $@ $< $(LIB) $(LIBS)

# ---- test binaries

define test_binary
$(call member_list,$(OUT)/tests/$(1),$($(1)_TEST_SRC) $(RUNNER_SRC) $(CHAIN_LIB) $(SIM_LIB) $(FAULTS_LIB))
$(OUT)/tests/$(1): $(call members,$(OUT)/tests/$(1)) $(call object,$($(1)_TEST_SRC) $(RUNNER_SRC)) $(CHAIN_LIB) $(SIM_LIB) $(FAULTS_LIB) $(LIB)
	@mkdir -p $$(@D)
	$$(call say,LD $$@)$$(CC) $$(ALL_LDFLAGS) $$(LOCAL_LDFLAGS) -o $$@ $$(TEST_FIRST_LIBS) $(call object,$($(1)_TEST_SRC) $(RUNNER_SRC)) \
	    $(CHAIN_LIB) $(SIM_LIB) $(FAULTS_LIB) $$(LIB) $$(LIBS) $$(TEST_LIBS)
endef
$(foreach s,$(SUITES),$(if $($(s)_TEST_SRC),$(eval $(call test_binary,$(s)))))

$(OUT)/tests/tsan/%: $(OUT)/obj/tests/tsan/%.o $(SIM_LIB) $(FAULTS_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD $@)$(CC) $(ALL_LDFLAGS) -o $@ $< $(SIM_LIB) $(FAULTS_LIB) $(LIB) $(LIBS)

# Without sanitizers: it comes before their runtimes.
$(INJECT_SO): $(INJECT_SRC) $(FLAGS_FILE)
	@mkdir -p $(@D)
	$(call say,LD $@)$(CC) $(filter-out $(SANITIZE),$(ALL_CFLAGS)) $(LOCAL_CFLAGS) -shared -o $@ $(INJECT_SRC) -ldl

.SECONDARY:

.PHONY: clean
clean: ## remove build/
	rm -rf build
