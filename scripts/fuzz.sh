#!/usr/bin/env bash
# Run the fuzz targets that mk/fuzz.mk has built in build/fuzz/bin.
#
#   fuzz.sh run MINUTES TARGET...     each for so long (MINUTES=0.5 will do), JOBS (2) at a
#                                     time; what is new goes to build/fuzz/corpus
#   fuzz.sh smoke TARGET...           the committed corpus and SMOKE_SECONDS (5) more, each
#   fuzz.sh corpus TARGET...          minimise corpus and what runs found into tests/fuzz/corpus
#
# FILTER chooses among the targets (a name, or a shell pattern). A finding is an input below
# build/fuzz/findings/TARGET; the command that repeats it is printed, and the exit status is 1.
set -euo pipefail
out=build/fuzz
mode=$1
shift
if [[ $mode == run ]]; then
    minutes=$1
    shift
fi
# An input that takes this long, or this much memory, is a finding too.
limits=(-timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=1024 -print_final_stats=1)

targets=()
for target in "$@"; do
    # shellcheck disable=SC2053
    [[ -z ${FILTER:-} || $target == $FILTER ]] && targets+=("$target")
done
if [[ ${#targets[@]} -eq 0 ]]; then
    echo "fuzz: no target is named '${FILTER:-}'; there are: $*" >&2
    exit 2
fi

max_len() { # no longer input makes sense
    case $1 in
    client | core) echo 768 ;;
    log) echo 1024 ;;
    config | epoch | install | kv | receive) echo 2048 ;;
    snapshot) echo 16384 ;;
    *) echo 4096 ;;
    esac
}

# run_one TARGET SECONDS: to $out/log/TARGET; fails on a finding.
run_one() {
    local target=$1 seconds=$2 log=$out/log/$1 committed=tests/fuzz/corpus/$1
    local found=$out/corpus/$target findings=$out/findings/$target
    mkdir -p "$found" "$findings" "$out/log" "$committed"
    local options=("${limits[@]}" -max_len="$(max_len "$target")" -max_total_time="$seconds"
        -artifact_prefix="$findings/")
    [[ -f tests/fuzz/$target.dict ]] && options+=("-dict=tests/fuzz/$target.dict")
    [[ $mode == smoke ]] && found=$(mktemp -d)
    local status=0
    # A small quarantine: memory would be spent on it, and caches.
    ASAN_OPTIONS=quarantine_size_mb=8:detect_stack_use_after_return=0:allocator_may_return_null=1 \
        "$out/bin/$target" "${options[@]}" "$found" "$committed" >"$log" 2>&1 || status=$?
    [[ $mode == smoke ]] && rm -rf "$found"
    local runs rate edges
    runs=$(awk '/^stat::number_of_executed_units/ { print $2 }' "$log")
    rate=$(awk '/^stat::average_exec_per_sec/ { print $2 }' "$log")
    edges=$(awk '/ cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") c = $(i + 1) } END { print c }' "$log")
    if [[ $status -eq 0 && ${runs:-0} -gt 0 ]]; then
        printf '%-20s %12s runs %9s/s %6s edges   no finding\n' "$target" "$runs" "$rate" "$edges"
        return 0
    fi
    printf '%-20s FINDING\n' "$target"
    grep -aE '^(FINDING|panic:|recheck:|==[0-9]+==ERROR|SUMMARY|.*runtime error)' "$log" | sort -u | head -n 6
    local input
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    if [[ -n $input ]]; then
        echo "    repeat it:  make fuzz-build && $out/bin/$target $input"
    else
        echo "    it has no input: see $log"
    fi
    return 1
}

# JOBS at a time; prints in the order in which they end.
run_all() {
    local seconds=$1 failed=0 running=0 target
    for target in "${targets[@]}"; do
        if [[ $running -ge "${JOBS:-2}" ]]; then
            wait -n || failed=1
            running=$((running - 1))
        fi
        run_one "$target" "$seconds" &
        running=$((running + 1))
    done
    while [[ $running -gt 0 ]]; do
        wait -n || failed=1
        running=$((running - 1))
    done
    return $failed
}

corpus_one() {
    local target=$1 committed=tests/fuzz/corpus/$1 new
    new=$(mktemp -d)
    mkdir -p "$committed" "$out/corpus/$target"
    "$out/bin/$target" -merge=1 -use_counters=0 -max_len="$(max_len "$target")" "$new" "$committed" \
        "$out/corpus/$target" >"$out/log/$target.merge" 2>&1
    # One input for each edge, small ones first: a corpus is a start, not an archive.
    # Regressions stay, and so do the programs that make cores or the client work: they are long, and
    # deep; and the evidence against another, which reaches nothing while it is refused.
    find "$committed" -type f ! -name 'regress-*' ! -path '*/core/seed-*' ! -path '*/client/seed-*' \
        ! -path '*/evidence/seed-another-*' -delete
    find "$new" -type f -printf '%s %p\n' | sort -n |
        awk -v max="${CORPUS_BYTES:-24000}" '{ sum += $1; if (sum <= max) print $2 }' |
        xargs -r cp -t "$committed"
    rm -rf "$new"
    printf '%-20s %5d inputs %7d bytes\n' "$target" "$(find "$committed" -type f | wc -l)" \
        "$(find "$committed" -type f -printf '%s\n' | awk '{ s += $1 } END { print s + 0 }')"
}

case $mode in
run)
    echo "== fuzz: ${#targets[@]} targets, $minutes minutes each, ${JOBS:-2} at a time"
    run_all "$(awk -v m="$minutes" 'BEGIN { print int(m * 60) }')"
    ;;
smoke)
    run_all "${SMOKE_SECONDS:-5}"
    echo "== fuzz-smoke: ${#targets[@]} targets without a finding"
    ;;
corpus)
    mkdir -p "$out/log"
    for target in "${targets[@]}"; do corpus_one "$target"; done
    ;;
*)
    sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
