#!/usr/bin/env bash
# no-faults.sh PROGRAM LIBRARY: PROGRAM contains no function of LIBRARY (Byzantine strategies).
set -euo pipefail

found=$(comm -12 <(nm --defined-only "$1" | awk '{ print $3 }' | sort -u) \
    <(nm --defined-only -g "$2" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u))
if [[ -n $found ]]; then
    echo "== purity: FAILED: $1 contains fault strategies:" $found
    exit 1
fi
echo "== purity: $1 contains none of $(basename "$2")"
