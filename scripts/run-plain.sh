#!/usr/bin/env bash
# run-plain.sh NAME SECONDS PROGRAM...: run programs that report by their exit status.
set -uo pipefail

name=$1 limit=$2
shift 2
passed=0 failed=0
export TSAN_OPTIONS="halt_on_error=0:exitcode=66:second_deadlock_stack=1${TSAN_OPTIONS:+:$TSAN_OPTIONS}"
for program in "$@"; do
    if timeout -k 5 "$limit" "$program" </dev/null; then
        passed=$((passed + 1))
    else
        echo "FAILED ($?): $program"
        failed=$((failed + 1))
    fi
done
echo "== $name: $passed passed, $failed failed"
[[ $failed -eq 0 ]]
