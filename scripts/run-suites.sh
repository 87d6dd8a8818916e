#!/usr/bin/env bash
# run-suites.sh MAKE [VAR=VALUE...] SUITE...: run every suite, also after one failed, and say which did.
set -uo pipefail

make=$1
shift
variables=()
failed=()
for word in "$@"; do
    if [[ $word == *=* ]]; then
        variables+=("$word")
    elif ! "$make" "${variables[@]}" "$word"; then
        failed+=("$word")
    fi
done
if [[ ${#failed[@]} -gt 0 ]]; then
    echo "== FAILED: ${failed[*]}"
    exit 1
fi
echo "== all suites passed"
