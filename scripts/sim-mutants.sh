#!/usr/bin/env bash
# sim-mutants.sh [NAME...]: after how many seeds pbft-sim notices each wrong rule of tests/mutants, and by
# which check. Without names: all of them.
#
# Each patch is applied to a copy of the tree, pbft-sim is built and run, and the patch is taken back. First
# SEEDS drawn worlds, 1 .. SEEDS (default 1000), one after the other; if none fails, each row of FAULTS 2 under
# ROW_SEEDS seeds (default 10). REPORT=FILE gets one line for each mutant, separated by tabs:
#   NAME  seed, row:seed, all (what a campaign must meet never happened) or -  the check that noticed
# A report, not a gate: much of what the patches break is no matter of replicas that talk (keys, the wire,
# the client's file formats), and rules or unit tests are the ones to notice. LEAST=N makes it one: fewer than N
# killed is a failure.
set -uo pipefail

cd "$(dirname "$0")/.." || exit
root=$PWD
make=${MAKE:-make}
seeds=${SEEDS:-1000} row_seeds=${ROW_SEEDS:-10} workers=${WORKERS:-2} least=${LEAST:-0}
unset MAKEFLAGS MFLAGS MAKELEVEL

. scripts/mutants-common.sh
choose_patches "$@"
[[ ${#patches[@]} -gt 0 ]] || { echo "sim-mutants.sh: no patch matches '$*'" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# simulate TREE: prints "seed<TAB>check" of the first failure, or nothing.
simulate() {
    local tree=$1 status row
    (cd "$tree" && exec timeout -k 5 900 build/bin/pbft-sim --seeds "$seeds" --jobs 1 --failures 1 \
        --signatures fast --quiet --json sim.json) >"$tree/sim.log" 2>&1 </dev/null
    status=$?
    if [[ $status -eq 0 ]]; then
        for row in $(cd "$tree" && build/bin/pbft-sim --scenario list | awk '{ print $1 }'); do
            (cd "$tree" && exec timeout -k 5 300 build/bin/pbft-sim --scenario "$row" \
                --seeds "$row_seeds" --jobs 1 --failures 1 --quiet) >"$tree/sim.log" 2>&1 </dev/null && continue
            printf '%s:%s\n' "$row" "$(noticed "$tree/sim.log")"
            return
        done
        return
    fi
    noticed "$tree/sim.log"
}

# noticed LOG: "seed<TAB>check". The check is what stands before the first colon of the failure, after
# where it happened; a panic is an assertion of the core's own.
noticed() {
    awk -F '\t' '
        /^FAILED/ && !seed {
            seed = $0; sub(/^[^0-9]*/, "", seed); sub(/[^0-9].*/, "", seed)
            text = $0
            sub(/^FAILED[^:]*: */, "", text)
            if (match(text, /at [0-9.]+ s: /)) text = substr(text, RSTART + RLENGTH)
        }
        /^panic: / && !panic { panic = "assertion, " $0; sub(/panic: /, "", panic); sub(/: broken.*/, "", panic) }
        /^== pbft-sim: / && !/passed/ { verdict = $0; sub(/^== pbft-sim: (FAILED: )?/, "", verdict) }
        END {
            if (panic) text = panic
            else if (match(text, /FAULTS 3\.[0-9]+|PROTOCOL [0-9]+/)) text = substr(text, RSTART, RLENGTH)
            if (seed) print seed "\t" text
            else print "all\t" (verdict ? verdict : "no end")
        }' "$1"
}

# worker K: every workers-th patch, in a tree of its own.
worker() {
    local k=$1 tree=$work/tree$1 number patch name result
    copy_tree "$tree" obj lib
    "$make" -C "$tree" -j1 MUTANT=1 WERROR=0 build/bin/pbft-sim >"$tree/build.log" 2>&1
    cp "$tree/build/bin/pbft-sim" "$work/right$k"
    for ((number = k; number < ${#patches[@]}; number += workers)); do
        patch=${patches[number]}
        name=$(basename "$patch" .patch)
        if ! (cd "$tree" && patch -p1 --fuzz=0 --force --silent --no-backup-if-mismatch <"$root/$patch") >"$tree/patch.log" 2>&1
        then
            echo "sim-mutants.sh: $name no longer applies" >&2
            echo "$name" >>"$work/broken"
            rm -rf "$tree"; copy_tree "$tree" obj lib
            continue
        fi
        if "$make" -C "$tree" -j1 MUTANT=1 WERROR=0 build/bin/pbft-sim >"$tree/build.log" 2>&1; then
            # What is not in pbft-sim it cannot notice.
            result=
            cmp -s "$tree/build/bin/pbft-sim" "$work/right$k" || result=$(simulate "$tree")
            printf '%s\t%s\n' "$name" "${result:--	-}" >>"$work/report"
            printf '%-44s %s\n' "$name" "${result:-survived}"
        else
            echo "sim-mutants.sh: $name does not compile" >&2
            echo "$name" >>"$work/broken"
        fi
        (cd "$tree" && patch -R -p1 --fuzz=0 --force --silent --no-backup-if-mismatch <"$root/$patch")
    done
}

"$make" build/bin/pbft-sim >"$work/build.log" 2>&1 || { tail "$work/build.log" >&2; exit 1; }
: >"$work/report"
for ((k = 0; k < workers; k++)); do worker "$k" & done
wait
sort "$work/report" >"$work/sorted"
if [[ -n ${REPORT:-} ]]; then cp "$work/sorted" "$REPORT"; fi
awk -F '\t' -v seeds="$seeds" -v least="$least" '
    { n++ } $2 != "-" { killed++ }
    END {
        printf "== sim-mutants: %d of %d killed by pbft-sim within %d seeds\n", killed, n, seeds
        exit killed < least
    }' "$work/sorted" && [[ ! -e $work/broken ]]
