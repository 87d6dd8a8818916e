#!/usr/bin/env bash
# mutants.sh [NAME...]: every wrong rule of tests/mutants is caught by a test.
#
# Each NAME.patch (-p1) breaks one rule. It is applied to a copy of the tree, what it touches is built
# again, and what its line `Killed-by: SUITE[:TEST] [SUITE[:TEST]...]` names (default: rules, then unit)
# must fail; TEST, a pattern of --filter, spares it the rest of a long suite. Of the suite rules the tests
# of its own rule come first. A patch that does not apply or does not compile is an error, not a success;
# so is a copy whose tests fail without any patch. A hang counts as caught once it has lasted LIMIT seconds.
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

# build_suites TREE SUITE...
build_suites() {
    local tree=$1
    shift
    "$make" -C "$tree" -j1 MUTANT=1 WERROR="${WERROR:-0}" "${@/#/build/tests/}" >"$tree.build" 2>&1
}

# run_suite TREE SUITE[:TEST] LOG: prints one word and a detail:
#   passed | failed TEST | hung TEST | absent (no such test)
run_suite() {
    local tree=$1 suite=${2%%:*} status most=$limit log=$3 filter=()
    [[ $2 == *:* ]] && filter=(--filter "${2#*:}")
    [[ $suite == sim || $2 == unit ]] && most=$((2 * limit)) # the longest by far, when whole
    (cd "$tree" && exec timeout -k 5 "$most" "build/tests/$suite" --verbose --color=never -j1 \
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

# own_tests NAME: the pattern of the tests of the rule that a patch is named after, in the suite rules.
# They are the likely ones to notice; the whole suite takes ten times as long.
own_tests() {
    if [[ $1 =~ ^4\.([0-9]+)- ]]; then printf 'faults_4/r%02d_*' "${BASH_REMATCH[1]}"
    elif [[ $1 =~ ^P0*([0-9]+)- ]]; then printf 'protocol/r%d_*' "${BASH_REMATCH[1]}"; fi
}

# try_patch TREE PATCH: leaves one line in $work/NAME.result: OK or BAD, name, text.
try_patch() {
    local tree=$1 patch=$2 name verdict detail suite own text="SURVIVED" mark=BAD
    name=$(basename "$patch" .patch)
    if ! (cd "$tree" && patch -p1 --fuzz=0 --force --silent --no-backup-if-mismatch <"$root/$patch") >"$tree.patch" 2>&1; then
        echo "BAD $name the patch no longer applies" >"$work/$name.result"
        return
    fi
    for suite in $(suites_of "$patch"); do
        if ! build_suites "$tree" "${suite%%:*}"; then
            text="does not compile: $(grep -m1 -E 'error|Error' "$tree.build")"
            break
        fi
        own=$([[ $suite != rules ]] || own_tests "$name")
        verdict=
        if [[ -n $own ]]; then read -r verdict detail < <(run_suite "$tree" "rules:$own" "$tree.log"); fi
        if [[ $verdict != failed ]]; then
            read -r verdict detail < <(run_suite "$tree" "$suite" "$tree.log")
        fi
        case $verdict in
        failed)
            if [[ -n $detail ]]; then mark=OK text="caught by ${suite%%:*}: $detail"
            else text="$suite failed without naming a test"; fi
            break ;;
        hung) mark=OK text="caught by ${suite%%:*}: time-out in $detail"; break ;;
        absent) text="SURVIVED (there is no $suite)" ;;
        *) ;;
        esac
    done
    echo "$mark $name $text" >"$work/$name.result"
}

# worker TREE: takes one patch after the other. What a patch changed, and what was built for it, is then
# replaced by what the clean tree has, with its time.
worker() {
    local tree=$1 number file
    cp -a "$clean" "$tree"
    touch "$tree.begun"
    sleep 0.1
    while number=$(flock "$work/next" sh -c 'read -r n <"$1" && echo $((n + 1)) >"$1" && echo "$n"' - "$work/next") &&
        [[ $number -lt ${#patches[@]} ]]; do
        try_patch "$tree" "${patches[number]}"
        while IFS= read -r -d '' file; do
            if [[ -e $clean/$file ]]; then cp -p "$clean/$file" "$tree/$file"; else rm "$tree/$file"; fi
        done < <(cd "$tree" && find . -type f -newer "$tree.begun" -print0)
    done
}

# Without a patch everything must pass, or every mutant would count as caught.
clean=$work/clean
mkdir -p "$clean"
copy_tree "$clean" obj lib
# Symbols for debuggers are most of what a linker has to write.
find "$clean/build/obj" "$clean/build/lib" -name '*.[oa]' -type f -exec strip --strip-debug {} + 2>/dev/null
find "$clean/build/obj" -name '*.o' -exec touch {} +
touch "$clean"/build/lib/*.a
mapfile -t needed < <(for patch in "${patches[@]}"; do suites_of "$patch"; done | tr ' ' '\n' | sort -u)
mapfile -t suites < <(printf '%s\n' "${needed[@]%%:*}" | sort -u)
if ! build_suites "$clean" "${suites[@]}"; then
    tail -n 20 "$clean.build"
    echo "== mutants: FAILED: without any patch it does not compile"
    exit 1
fi
if grep -q '^CC ' "$clean.build"; then
    echo "note: the copy was compiled again although nothing changed; this will take longer"
fi
for index in "${!needed[@]}"; do
    while [[ $(jobs -rp | wc -l) -ge $workers ]]; do wait -n; done
    run_suite "$clean" "${needed[index]}" "$work/$index.log" >"$work/$index.verdict" &
done
wait
for index in "${!needed[@]}"; do
    read -r verdict detail <"$work/$index.verdict"
    if [[ $verdict != passed ]]; then
        echo "== mutants: FAILED: ${needed[index]} without any patch: $verdict ${detail:-}"
        exit 1
    fi
done

echo 0 >"$work/next"
for ((k = 0; k < workers; k++)); do worker "$work/tree$k" & done
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
