# Variants, tools and flags.

VARIANT ?= release
WERROR  ?= 0
V       ?= 0

PREFIX  ?= /usr/local
DESTDIR ?=

VERSION := $(shell sed -n 's/^\#define PBFT_VERSION "\(.*\)"/\1/p' pbft/types.h)
SOMAJOR := $(firstword $(subst ., ,$(VERSION)))

ifeq ($(origin CC),default)
CC := gcc
endif
CLANG        ?= clang-14
CLANG_TIDY   ?= $(firstword $(shell command -v clang-tidy-14 clang-tidy 2>/dev/null) clang-tidy)
CLANG_FORMAT ?= $(firstword $(shell command -v clang-format-14 clang-format 2>/dev/null) clang-format)
AR           ?= ar

WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wswitch-enum -Wvla \
            -Wmissing-prototypes -Wstrict-prototypes
STANDARD := -std=c11 -D_POSIX_C_SOURCE=200809L -I.
HARDEN   := -fPIC -fvisibility=default -fstack-protector-strong
DEBUG    := -g

ifeq ($(VARIANT),release)
OUT      := build
OPTIMISE := -O2
else ifeq ($(VARIANT),clang)
OUT      := build/clang
OPTIMISE := -O2
CC       := $(CLANG)
else ifeq ($(VARIANT),fast)
# For campaigns: a third more seeds in the same time, at the price of a slow link.
OUT      := build/fast
OPTIMISE := -O3 -flto=auto
LINK     := $(OPTIMISE) -no-pie
HARDEN   := -fno-pie
AR       := gcc-ar
else ifeq ($(VARIANT),asan)
OUT      := build/asan
OPTIMISE := -O1
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# Shared, gcc's two runtimes shadow each other's log_path, and UBSan's reports are lost.
SANITIZE_LD := $(if $(findstring clang,$(CC)),,-static-libasan -static-libubsan)
else ifeq ($(VARIANT),tsan)
OUT      := build/tsan
OPTIMISE := -O1
SANITIZE := -fsanitize=thread -fno-omit-frame-pointer
else ifeq ($(VARIANT),coverage)
OUT      := build/coverage
OPTIMISE := -O0
SANITIZE := --coverage -fprofile-update=atomic # threads count, too
else
$(error VARIANT=$(VARIANT) is none of release, fast, asan, tsan, clang, coverage)
endif

ALL_CFLAGS  = $(STANDARD) $(OPTIMISE) $(DEBUG) $(WARNINGS) $(HARDEN) $(SANITIZE) $(CFLAGS)
ifeq ($(WERROR),1)
ALL_CFLAGS += -Werror
endif
# Kept out of build/.../flags: neither changes what is compiled, and a copy of the tree (mutants)
# must be able to reuse objects.
LOCAL_CFLAGS := -ffile-prefix-map=$(CURDIR)=.
ifeq ($(MUTANT),1)
LOCAL_CFLAGS += -Wno-error -g0
# Part of binutils, and a third of the work of its other linker.
LOCAL_LDFLAGS := $(if $(shell command -v ld.gold),-fuse-ld=gold)
endif

ALL_LDFLAGS = $(LINK) $(SANITIZE) $(SANITIZE_LD) -Wl,--as-needed $(LDFLAGS)
LIBS        = -lnng -lsodium -linih -ljansson -llmdb -lpthread -lm
TEST_LIBS   = -lcriterion
# Criterion speaks through nanomsg, and libnng exports the same names (nn_*): nanomsg must stand before
# it in the order of look-up, or Criterion's runner uses, and shares the fate of, our nng.
TEST_FIRST_LIBS = -Wl,--push-state,--no-as-needed -l:libnanomsg.so.5 -Wl,--pop-state

ifeq ($(V),1)
say  =
hush =
else
say  = @echo "$(1)";
hush = @
endif
