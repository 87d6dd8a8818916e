#!/usr/bin/env bash
# purity.sh FILE.c...: the protocol core depends on nothing but the C library's mem*. Compiles every
# file plainly (-O2, no sanitizer) and looks at what its object leaves undefined.
# purity.sh --self-test: shows that a call of malloc, and floating point, would be noticed.
set -euo pipefail

cc=${CC:-gcc}
allowed=" memcpy memmove memset memcmp bcmp __stack_chk_fail pbft_panic _GLOBAL_OFFSET_TABLE_ "
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# check FILE.c...: prints violations, one a line; status 1 if there are any.
check() {
    local objects=() object file symbol defined bad=0
    rm -f "$work"/*.o
    for file in "$@"; do
        object=$work/$(tr / _ <<<"${file#/}").o
        $cc -std=c11 -D_POSIX_C_SOURCE=200809L -O2 -I. -fPIC -fstack-protector-strong -c "$file" -o "$object"
        objects+=("$object")
    done
    defined=" $(nm --defined-only -g --format=posix "${objects[@]}" | awk 'NF > 1 { print $1 }' | tr '\n' ' ') "
    for object in "${objects[@]}"; do
        while read -r symbol; do
            [[ $allowed == *" $symbol "* || $defined == *" $symbol "* ]] && continue
            echo "impure: $(basename "$object" .o) needs $symbol"
            bad=1
        done < <(nm -u --format=posix "$object" | awk '{ print $1 }')
        # Writable data outside a struct that the caller owns is hidden state.
        while read -r symbol; do
            echo "impure: $(basename "$object" .o) keeps state of its own in $symbol"
            bad=1
        done < <(objdump -t "$object" | awk -F'\t' '
            { n = split($1, left, " "); section = left[n]; split($2, right, " ")
              own = section == "*COM*" || (section ~ /^\.(bss|data|tbss|tdata)/ && section !~ /^\.data\.rel\.ro/)
              if (own && right[1] !~ /^0+$/) print right[2] }')
        # cvt*, add*, sub*, mul*, div*, ucomis*, comis* on scalars or packed floats.
        if objdump -d --no-show-raw-insn "$object" | grep -qE '\s(v?(add|sub|mul|div|sqrt|u?comi)[sp][sd]|v?cvt[a-z0-9]*(ss|sd|ps|pd)[a-z0-9]*|f(ld|st|add|mul|div|sub)[a-z]*)\s'; then
            echo "impure: $(basename "$object" .o) computes with floating point"
            bad=1
        fi
    done
    return $bad
}

if [[ ${1:-} == --self-test ]]; then
    # expect BAD-WORD SOURCE: the source must be refused with that word.
    expect() {
        local said
        printf '%s\n' "$2" >"$work/impure.c"
        if said=$(check "$work/impure.c") || [[ $said != *"$1"* ]]; then
            echo "purity: self-test FAILED: '$1' was not refused (said: ${said:-nothing})" >&2
            exit 1
        fi
    }
    expect "needs malloc" '#include <stdlib.h>
void *f(unsigned n); void *f(unsigned n) { return malloc(n); }'
    expect "state of its own" 'int f(void); static int n; int f(void) { return ++n; }'
    expect "floating point" 'double f(double a, double b); double f(double a, double b) { return a * b; }'
    printf '%s\n' '#include <string.h>
static const char *const t[] = {"a", "b"}; const char *f(void *p, int i); const char *f(void *p, int i) { memset(p, 0, 99); return t[i]; }' >"$work/pure.c"
    if ! check "$work/pure.c"; then
        echo "purity: self-test FAILED: a pure file was refused" >&2
        exit 1
    fi
    echo "== purity: self-test passed (malloc, hidden state and floating point are refused)"
    exit 0
fi

if [[ $# -eq 0 ]]; then
    echo "== purity: no file of pbft/ yet: skipped"
elif check "$@"; then
    echo "== purity: $# files of pbft/ need nothing but mem*"
else
    echo "== purity: FAILED"
    exit 1
fi
