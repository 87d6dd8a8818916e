#!/usr/bin/env bash
# sim-alarms.sh BINARY HEARD: does the simulator's oracle ring?
#
# BINARY is the suite of tests/sim, HEARD what it wrote down (PBFT_SIM_ALARMS) in a whole run: which test
# made which alarm ring. The alarms themselves, calls of sim_fail() and twins_fail(), stand in a section of
# the binary (tests/sim/alarm.h). Fails when one of them
#   never rang,
#   or can be dead (PBFT_SIM_DEAD) and the tests in which it rang still pass.
# tests/sim/alarms.silent names those that cannot ring, each with its reason.
set -uo pipefail

binary=$1 heard=$2
silent=tests/sim/alarms.silent
seconds=120 # of one test with a dead alarm: it may wait for what never comes

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

objcopy -O binary --only-section=alarms "$binary" "$work/section" || exit
tr -s '\0' '\n' <"$work/section" | grep -v '^tests/sim/test_' | LC_ALL=C sort -u >"$work/alarms"
[[ -s $work/alarms ]] || { echo "sim-alarms.sh: $binary has no alarms" >&2; exit 1; }
cut -f 2 "$heard" | LC_ALL=C sort -u >"$work/rang"
grep -v '^#' "$silent" | LC_ALL=C sort >"$work/silent"

failed=0
complain() { # WHAT, lines from stdin
    local line
    while IFS= read -r line; do
        echo "sim-alarms.sh: $1: $line" >&2
        failed=1
    done
}
complain "it never rang, add a test" < <(LC_ALL=C comm -23 "$work/alarms" "$work/rang" | LC_ALL=C comm -23 - "$work/silent")
complain "it rings, so it is not silent ($silent)" < <(LC_ALL=C comm -12 "$work/silent" "$work/rang")
complain "there is no such alarm ($silent)" < <(LC_ALL=C comm -23 "$work/silent" "$work/alarms")

# is_minded ALARM: one of the tests in which it rang fails without it.
is_minded() {
    local tests status
    tests=$(ALARM=$1 awk -F '\t' '$2 == ENVIRON["ALARM"] && !seen[$1]++ { printf "|%s", $1 }' "$heard")
    PBFT_SIM_DEAD=$1 timeout -k 5 "$seconds" "$binary" --color=never -j1 --filter "@(${tests#|})" \
        >"$work/log.$BASHPID" 2>&1 </dev/null
    status=$?
    [[ $status -ne 0 && $status -ne 124 && $status -ne 137 ]]
}
worker() {
    local k=$1 number alarm
    for ((number = k; number < ${#alarms[@]}; number += 2)); do
        alarm=${alarms[number]}
        is_minded "$alarm" || echo "$alarm"
    done >"$work/unminded.$k"
}
mapfile -t alarms < <(LC_ALL=C comm -12 "$work/alarms" "$work/rang")
worker 0 & worker 1 &
wait
complain "nobody minds when it is dead" < <(cat "$work"/unminded.*)

[[ $failed -eq 0 ]] || { echo "== sim-alarms: FAILED"; exit 1; }
echo "== sim-alarms: ${#alarms[@]} alarms ring, and each is missed when it is dead"
