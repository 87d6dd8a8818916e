# pbft. GNU make, non-recursive; everything lands in build/. `make help` lists the targets.
#
#   make                    library and programs, -O2 -g, in build/lib, build/bin, build/examples
#   make VARIANT=asan       the same in build/asan (also: tsan, clang, coverage, fast)
#   make WERROR=1           warnings are errors, as in CI

.DEFAULT_GOAL := all
SHELL         := /bin/bash
.SHELLFLAGS   := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory --output-sync=target

# Parallel unless the caller said how.
ifeq ($(MAKELEVEL),0)
ifeq ($(filter -j% --jobs%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
endif

include mk/config.mk
include mk/sources.mk
include mk/build.mk
include mk/test.mk
include mk/sim.mk
include mk/quality.mk
include mk/twins.mk
include mk/bench.mk
include mk/fuzz.mk
include mk/install.mk

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":[^#]*## " } /^[a-z][a-z-]*:.*## / { printf "  %-14s %s\n", $$1, $$2 }' \
	    $(filter-out %.d,$(MAKEFILE_LIST))
	@echo "Variables: VARIANT=release|fast|asan|tsan|clang|coverage  WERROR=1  V=1  PREFIX=  DESTDIR="
	@echo "           FILTER=SUITE/TEST (unit rules golden sim live), or a mutant's name (mutants)"
