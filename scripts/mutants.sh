#!/usr/bin/env bash
# mutants.sh [NAME...]: every wrong rule of tests/mutants is caught by a test.
#
# Each NAME.patch (-p1) breaks one rule. It is applied to a copy of the tree, what it touches is built
# again, and what its line `Killed-by: SUITE[:TEST] [SUITE[:TEST]...]` names (default: rules, then unit)
# must fail; TEST, a pattern of --filter, spares it the rest of a long suite. A patch that does not apply or does not compile is an error, not a success; so is a copy
# whose tests fail without any patch. A hang counts as caught once it has lasted LIMIT seconds.
#
# SHARD=K/N takes every N-th patch, from the K-th on (K = 0 .. N-1). REPORT=FILE gets a line for each
# mutant: NAME, a tab, what noticed it.
set -uo pipefail

cd "$(dirname "$0")/.." || exit
root=$PWD
make=${MAKE:-make}
limit=${LIMIT:-120}
workers=${WORKERS:-2}
[[ $limit -gt 60 ]] || { echo "mutants.sh: LIMIT must be above 60 seconds" >&2; exit 2; }
# The parent's job server is not ours to use.
unset MAKEFLAGS MFLAGS MAKELEVEL

. scripts/mutants-common.sh
choose_patches "$@"
if [[ -n ${SHARD:-} ]]; then
    shard=()
    for ((i = ${SHARD%/*}; i < ${#patches[@]}; i += ${SHARD#*/})); do shard+=("${patches[i]}"); done
    echo "shard $SHARD: ${#shard[@]} of ${#patches[@]} patches"
    patches=("${shard[@]}")
fi
if [[ ${#patches[@]} -eq 0 ]]; then
    echo "== mutants: no patch${1:+ matches '$*'}"
    [[ $# -eq 0 ]]
    exit
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

suites_of() {
    local named
    named=$(sed -n '/^\(---\|diff\) /q; s/^[# ]*Killed-by: *//p' "$1" | head -n 1 | tr ',|' '  ')
    echo "${named:-rules unit}"
}

# run_suite FOLDER SUITE[:TEST]: builds and runs; prints one word and a detail:
#   passed | failed TEST | hung TEST | broken (does not compile) | absent (no such suite, or test)
run_suite() {
    local dir=$1 suite=${2%%:*} status most=$limit log filter=()
    [[ $2 == *:* ]] && filter=(--filter "${2#*:}")
    log=$dir/$suite.log
    [[ $suite == sim || $2 == unit ]] && most=$((2 * limit)) # the longest by far, when whole
    [[ -n $(echo "$root"/tests/"$suite"/*.c) ]] || { echo absent; return; }
    if ! "$make" -C "$dir" -j1 MUTANT=1 WERROR="${WERROR:-0}" "build/tests/$suite" >"$dir/build.log" 2>&1; then
        echo broken
        return
    fi
    (cd "$dir" && exec timeout -k 5 "$most" "build/tests/$suite" --verbose --color=never -j1 \
        --fail-fast "${filter[@]}") >"$log" 2>&1 </dev/null
    status=$?
    if [[ $status -eq 0 ]] && ! grep -q '^\[PASS\]' "$log"; then
        echo absent
    elif [[ $status -eq 0 ]]; then
        echo passed
    elif [[ $status -eq 124 || $status -eq 137 ]]; then
        echo "hung $(sed -n 's/^\[RUN *\] *//p' "$log" | tail -n 1)"
    else
        echo "failed $(sed -n 's/^\[FAIL\] *\([^ ]*::[^ ]*\): .*/\1/p' "$log" | head -n 1)"
    fi
}

# try_patch PATCH: leaves one line in $work/NAME.result: OK or BAD, name, text.
try_patch() {
    local patch=$1 name dir verdict detail suite
    name=$(basename "$1" .patch)
    dir=$work/$name
    mkdir -p "$dir"
    copy_tree "$dir" obj lib tests
    if ! (cd "$dir" && patch -p1 --fuzz=0 --force --silent --no-backup-if-mismatch <"$root/$patch") >"$dir.out" 2>&1; then
        echo "BAD $name the patch no longer applies" >"$work/$name.result"
        rm -rf "$dir"
        return
    fi
    local text="SURVIVED" mark=BAD
    for suite in $(suites_of "$patch"); do
        read -r verdict detail < <(run_suite "$dir" "$suite")
        case $verdict in
        failed)
            if [[ -n $detail ]]; then mark=OK text="caught by ${suite%%:*}: $detail"
            else text="$suite failed without naming a test"; fi
            break ;;
        hung) mark=OK text="caught by ${suite%%:*}: time-out in $detail"; break ;;
        broken) text="does not compile: $(grep -m1 -E 'error|Error' "$dir/build.log")"; break ;;
        absent) text="SURVIVED (there is no $suite)" ;;
        *) ;;
        esac
    done
    echo "$mark $name $text" >"$work/$name.result"
    rm -rf "$dir"
}

# Without a patch everything must pass, or every mutant would count as caught.
baseline=$work/.baseline
mkdir -p "$baseline"
copy_tree "$baseline" obj lib tests
needed=$(for patch in "${patches[@]}"; do suites_of "$patch"; done | tr ' ' '\n' | sort -u)
for suite in $needed; do
    read -r verdict detail < <(run_suite "$baseline" "$suite")
    if [[ $verdict != passed ]]; then
        [[ $verdict == broken ]] && tail -n 20 "$baseline/build.log"
        echo "== mutants: FAILED: $suite without any patch: $verdict ${detail:-}"
        exit 1
    fi
done
if grep -q '^CC ' "$baseline/build.log"; then
    echo "note: the copy was compiled again although nothing changed; this will take longer"
fi
rm -rf "$baseline"

for patch in "${patches[@]}"; do
    while [[ $(jobs -rp | wc -l) -ge $workers ]]; do wait -n; done
    try_patch "$patch" &
done
wait

passed=0 failed=0
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    read -r mark _ text <"$work/$name.result" || { mark=BAD text="no result"; }
    printf '%-44s %s\n' "$name" "$text"
    printf '%s\t%s\n' "$name" "$text" >>"$work/report"
    if [[ $mark == OK ]]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
if [[ -n ${REPORT:-} ]]; then cp "$work/report" "$REPORT"; fi
echo "== mutants: $passed passed, $failed failed"
[[ $failed -eq 0 ]]
