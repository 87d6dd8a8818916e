#!/usr/bin/env bash
# sim-regressions.sh PBFT_SIM: run every tests/sim/regressions/*.args, each twice. Such a file holds
# comments (#: what failed, and when) and lines of arguments, as "--seed 123 --nodes 7".
set -uo pipefail

sim=$1
count=0 failed=0
shopt -s nullglob
for file in tests/sim/regressions/*.args; do
    while read -r -a arguments; do
        [[ ${#arguments[@]} -eq 0 || ${arguments[0]} == \#* ]] && continue
        count=$((count + 1))
        if ! "$sim" "${arguments[@]}" --twice --quiet >/dev/null; then
            echo "FAILED: $file: $sim ${arguments[*]} --twice --explain"
            failed=$((failed + 1))
        fi
    done <"$file"
done
if [[ $failed -gt 0 ]]; then
    echo "== sim-regressions: FAILED: $failed of $count"
    exit 1
fi
if [[ $count -eq 0 ]]; then
    echo "== sim-regressions: none yet (tests/sim/regressions)"
else
    echo "== sim-regressions: passed: $count, each twice"
fi
