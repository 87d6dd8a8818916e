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
files=("$reports"/*)
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
