#!/usr/bin/env bash
# sim-compare.sh PBFT_SIM OTHER: the two builds, of one compiler each, do the same to the last event: the
# hashes of all traces of SEEDS (400) seeds are equal. And docs/images shows what pbft-sim draws today.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
hash_of() { "$1" --seeds "${SEEDS:-400}" --quiet --json - | jq -er .hash; }

here=$(hash_of "$1") there=$(hash_of "$2")
if [[ $here != "$there" ]]; then
    echo "== sim-compare: FAILED: $here ($1), $there ($2): --trace FILE of a seed shows where they part"
    exit 1
fi
make --no-print-directory sim-images IMAGES="$work"
if ! cmp -s "$work/view-change.svg" docs/images/view-change.svg; then
    echo "== sim-compare: FAILED: docs/images/view-change.svg is not what pbft-sim draws: make sim-images"
    exit 1
fi
echo "== sim-compare: ${SEEDS:-400} seeds, one hash ($here); the picture is up to date"
