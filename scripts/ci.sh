#!/usr/bin/env bash
# ci.sh MAKE [VAR=VALUE...]: every gate in turn; all of them run, and the end says which failed.
set -uo pipefail

make=("$@")
failed=()
gate() {
    local name=$1 start=$SECONDS
    shift
    echo "#### $name"
    if "${make[@]}" "$@"; then
        echo "#### $name: ok ($((SECONDS - start)) s)"
    else
        echo "#### $name: FAILED ($((SECONDS - start)) s)"
        failed+=("$name")
    fi
}

gate "build (gcc, -Werror)" all test-binaries
gate "build (clang, -Werror)" VARIANT=clang all test-binaries
gate purity purity
gate format-check format-check
gate cppcheck cppcheck
gate tidy tidy
gate test test
gate asan asan
gate tsan tsan
gate "sim (5000 seeds)" sim SEEDS=5000
gate twins twins-smoke
gate fuzz fuzz-smoke
gate mutants mutants

if [[ ${#failed[@]} -gt 0 ]]; then
    echo "#### CI: FAILED: ${failed[*]}"
    exit 1
fi
echo "#### CI: all gates passed"
