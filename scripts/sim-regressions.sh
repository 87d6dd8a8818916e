#!/usr/bin/env bash
# sim-regressions.sh PBFT_SIM [once]: run every tests/sim/regressions/*.args, each twice. Such a file is named after
# what was wrong, and holds its story (#) and lines of arguments, as "--seed 123 --nodes 7".
#
# What a seed draws changes with the simulator, so that it may never meet its bug again: that must pass is
# all that the arguments are good for. What fails when the bug is put back is a test of its own: `# Mutant:
# NAME` is the patch of tests/mutants that does put it back, and names that test (make mutants). checks.args
# alone has none: there the simulator was wrong.
set -uo pipefail

sim=$1 twice=(--twice)
[[ ${2:-} != once ]] || twice=()
count=0 failed=0
shopt -s nullglob
for file in tests/sim/regressions/*.args; do
    mapfile -t mutants < <(sed -n 's/^# Mutant: //p' "$file")
    for mutant in "${mutants[@]}"; do
        [[ -e tests/mutants/$mutant.patch ]] && continue
        echo "FAILED: $file: there is no tests/mutants/$mutant.patch"
        failed=$((failed + 1))
    done
    if [[ ${#mutants[@]} -eq 0 && $file != */checks.args ]]; then
        echo "FAILED: $file: no '# Mutant:' puts its bug back"
        failed=$((failed + 1))
    fi
    while read -r -a arguments; do
        [[ ${#arguments[@]} -eq 0 || ${arguments[0]} == \#* ]] && continue
        count=$((count + 1))
        if ! "$sim" "${arguments[@]}" "${twice[@]}" --quiet >/dev/null; then
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
    echo "== sim-regressions: passed: $count, each ${2:-twice}"
fi
