#!/usr/bin/env bash
# run-tests.sh NAME SECONDS BINARY [OPTIONS...]: run one Criterion binary within a time limit, show
# what failed, and end with one closing line. The whole report is kept in BINARY.log.
#
# The limit is timeout(1)'s, for the whole binary: Criterion's own --timeout can leave its runner
# waiting for a child that is gone.
set -uo pipefail

name=$1 limit=$2 binary=$3
shift 3
log=$binary.log
filter=()
[[ -n ${FILTER:-} ]] && filter=(--filter "$FILTER")

start=$SECONDS
timeout -k 5 "$limit" "$binary" --verbose --color=never --short-filename "$@" \
    "${filter[@]}" >"$log" 2>&1 </dev/null
status=$?
took="$((SECONDS - start)) s"

# All but the noise of success: started, passed and (with a filter) disabled tests.
grep -vE '^\[(RUN |PASS|SKIP)|^\[====\]|^\[----\] Criterion v' "$log" || true
synthesis=$(grep -E '^\[====\] Synthesis:' "$log" | tail -n 1 | sed 's/^\[====\] //; s/ *$//')

if [[ $status -eq 124 || $status -eq 137 ]]; then
    awk '/^\[RUN \]/ { open[$3] = 1 }
         /^\[(PASS|FAIL|SKIP)\]/ { sub(/:$/, "", $2); delete open[$2] }
         END { for (t in open) print "still running: " t }' "$log"
    echo "== $name: FAILED: not done within $limit s"
    exit 1
fi
if [[ $status -ne 0 || -z $synthesis ]]; then
    echo "== $name: FAILED ($took, exit status $status). ${synthesis:-No summary: the runner itself failed.}"
    sed -nE 's/^\[FAIL\] ([^ ]+):.*/== failed: \1/p' "$log" | sort -u | head -n 20
    exit 1
fi
# A filter that matches nothing, or a binary without tests, has proved nothing.
if [[ $synthesis == *"Tested: 0 "* ]]; then
    echo "== $name: FAILED: no test was run"
    exit 1
fi
echo "== $name: passed ($took). $synthesis"
