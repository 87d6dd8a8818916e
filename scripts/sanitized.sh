#!/usr/bin/env bash
# sanitized.sh FOLDER MAKE [VAR=VALUE...] SUITE...: run suites under ASan and UBSan. Criterion hides
# what its children print, and a test that expects a crash is content with any; so every report goes
# into FOLDER, and any file there is a failure.
set -uo pipefail

reports=$PWD/$1
shift
rm -rf "$reports"
mkdir -p "$reports"
export ASAN_OPTIONS="log_path=$reports/asan:detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=1"
export UBSAN_OPTIONS="log_path=$reports/ubsan:print_stacktrace=1:abort_on_error=1"

scripts/run-suites.sh "$@"
status=$?
shopt -s nullglob
# On a busy machine the leak checker may meet a thread that is about to end and cannot stop it. It says
# so and goes on; a leak that it then believes in is a report of its own, in the same file.
notice='^==[0-9]+==Running thread [0-9]+ was not suspended\. False leaks are possible\.$'
files=()
for file in "$reports"/*; do
    if grep -qvE "$notice" "$file"; then files+=("$file"); else echo "note: $(head -n 1 "$file")"; fi
done
if [[ ${#files[@]} -gt 0 ]]; then
    for file in "${files[@]:0:5}"; do
        echo "---- $file"
        head -n 60 "$file"
    done
    echo "== sanitizers: FAILED: ${#files[@]} reports in $reports"
    exit 1
fi
[[ $status -eq 0 ]] && echo "== sanitizers: no report"
exit $status
