#!/usr/bin/env bash
# operators.sh [--count N] [--seed S] [--jobs J] [--least PERCENT] [--report FILE] [FILE...]
#
# Generic mutation of the core: replaces operators, drops calls, guards and assignments in pbft/*.c, one
# at a time, and asks rules, unit, golden, pbft-sim and sim (in that order) to notice. N places are drawn
# out of all with seed S (0: all of them). A mutant that does not compile, or whose object code equals the
# original's, is none and is not counted. Fails when fewer than PERCENT are killed.
set -uo pipefail

cd "$(dirname "$0")/.." || exit
count=300 seed=1 jobs=2 least=85 report=
while [[ $# -gt 0 && $1 == --* ]]; do
    case $1 in
    --count) count=$2 ;; --seed) seed=$2 ;; --jobs) jobs=$2 ;; --least) least=$2 ;;
    --report) report=$2 ;;
    *) echo "operators.sh: unknown option $1: see its head" >&2; exit 2 ;;
    esac
    shift 2 || exit 2
done
files=("$@")
[[ ${#files[@]} -gt 0 ]] || mapfile -t files < <(ls pbft/*.c | grep -v panic.c)
make=${MAKE:-make}
unset MAKEFLAGS MFLAGS MAKELEVEL
. scripts/mutants-common.sh
# Suites of unit tests that have nothing to do with the core, and are slow.
unit_filter=${UNIT_FILTER:-'@(wire*|quorum*|votes*|pending*|session*|params*|certificate*|core*|new_view*|node*|door*|types*|evidence*|apply*)/*'}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
awk -f scripts/operators.awk "${files[@]}" |
    awk -v seed="$seed" 'BEGIN { srand(seed) } { printf "%.9f\t%s\n", rand(), $0 }' | sort -n |
    cut -f 2- > "$work/all"
all=$(wc -l < "$work/all")
if [[ $count -eq 0 ]]; then count=$all; fi
head -n "$count" "$work/all" > "$work/drawn"
echo "$all places in ${#files[@]} files; $(wc -l < "$work/drawn") drawn with seed $seed"

# killed DIR: prints the name of the check that noticed, or nothing.
killed() {
    local dir=$1 seconds
    local -a suites=(rules unit golden pbft-sim sim)
    for suite in "${suites[@]}"; do
        case $suite in
        pbft-sim) set -- build/bin/pbft-sim --seeds 150 --jobs 1 --quiet; seconds=60 ;;
        unit) set -- build/tests/unit --filter "$unit_filter" -j1 --fail-fast; seconds=90 ;;
        *) set -- "build/tests/$suite" -j1 --fail-fast; seconds=120 ;;
        esac
        if ! "$make" -C "$dir" -j1 MUTANT=1 WERROR=0 "$1" > "$dir/build.log" 2>&1; then
            [[ $suite == rules ]] && echo "does-not-compile"
            continue
        fi
        if ! (cd "$dir" && exec timeout -k 5 "$seconds" "$@") > "$dir/$suite.log" 2>&1 < /dev/null; then
            echo "$suite"
            return
        fi
    done
}

# worker K: every jobs-th drawn place, from the K-th on, in a tree of its own.
worker() {
    local k=$1 dir=$work/tree$1 number=0 by object
    copy_tree "$dir" obj lib tests bin
    while IFS=$'\t' read -r file line column length replacement name; do
        number=$((number + 1))
        [[ $((number % jobs)) -eq $k ]] || continue
        object=$dir/build/obj/${file%.c}.o
        cp -p "$dir/$file" "$work/original$k.c"
        objdump -d --no-addresses "$object" 2> /dev/null | sed 1,3d | cksum > "$work/code$k"
        awk -v n="$line" -v c="$column" -v l="$length" -v r="$replacement" \
            'NR == n { $0 = substr($0, 1, c - 1) r substr($0, c + l) } { print }' \
            "$work/original$k.c" > "$dir/$file"
        by=
        if "$make" -C "$dir" -j1 MUTANT=1 WERROR=0 "build/obj/${file%.c}.o" > "$dir/build.log" 2>&1; then
            if objdump -d --no-addresses "$object" | sed 1,3d | cksum | cmp -s - "$work/code$k"; then
                by=equal-code
            else
                by=$(killed "$dir")
            fi
        else
            by=does-not-compile
        fi
        printf '%s\t%s:%s\t%s\n' "${by:-SURVIVED}" "$file" "$line" "$name" >> "$work/results$k"
        cp "$work/original$k.c" "$dir/$file"
        [[ $k -eq 0 ]] && [[ -t 1 ]] && printf '\r%d of %d' "$number" "$(wc -l < "$work/drawn")"
        if [[ ${by:-SURVIVED} == SURVIVED ]]; then echo "survived: $file:$line $name"; fi
    done < "$work/drawn"
}

"$make" -j"$jobs" all test-binaries > "$work/build.log" 2>&1 || { tail -20 "$work/build.log"; exit 1; }
for ((k = 0; k < jobs; k++)); do worker "$k" & done
wait
cat "$work"/results* | sort > "$work/results"
if [[ -n $report ]]; then cp "$work/results" "$report"; fi
cut -f 1 "$work/results" | sort | uniq -c
awk -F '\t' -v least="$least" '
    $1 == "equal-code" || $1 == "does-not-compile" { next }
    { n++; if ($1 != "SURVIVED") dead++ }
    END {
        percent = n ? 100 * dead / n : 0
        printf "== operators: %d mutants, %d killed: %.1f %% (least: %d %%)\n", n, dead, percent, least
        exit percent < least || n == 0
    }' "$work/results"
