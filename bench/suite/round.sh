# shellcheck shell=bash disable=SC2034,SC2154 # sourced by bench/suite.sh, whose variables these are
# One round: pbft-bench against the cluster of lib.sh, and what the replicas counted meanwhile.

bad_rounds=0

# Of all replicas that run: sets $batches and $executed (operations; the most of any),
# $frames, $verified, $state_bytes, $peak_kib; and $stages, which is of replica 0 alone, the primary
# if nothing happens: seconds that requests spent there by stage (replica/node.h).
totals() {
    local id peak
    stages=null batches=0 executed=0 frames=0 verified=0 state_bytes=0 peak_kib=0
    for ((id = 0; id < n; id++)); do
        [ "${pids[$id]}" != 0 ] || continue
        metrics "$id" || die "replica $id does not answer"
        [ "$id" = 0 ] && stages=$(stages_seen)
        frames=$((frames + m[pbft_net_sent_frames_total]))
        verified=$((verified + m[pbft_signatures_verified_total]))
        [ "${m[pbft_batches_executed_total]}" -gt "$batches" ] && batches=${m[pbft_batches_executed_total]}
        [ "${m[pbft_ops_executed_total]}" -gt "$executed" ] && executed=${m[pbft_ops_executed_total]}
        [ "${m[pbft_state_bytes]}" -gt "$state_bytes" ] && state_bytes=${m[pbft_state_bytes]}
        peak=$(memory_kb "${pids[$id]}" VmHWM)
        [ "${peak:-0}" -gt "$peak_kib" ] && peak_kib=$peak
    done
}

# Of the replica that metrics asked: [requests, seconds in each stage...].
stages_seen() {
    local stage key seen=${m[pbft_requests_timed_total]}
    for stage in wait prepare commit execute; do
        key="pbft_request_stage_seconds_total{stage=\"$stage\"}"
        seen+=,${m[$key]}
    done
    echo "[$seen]"
}

bundled=(--clients "$CLIENTS" --bundle "$BUNDLE" --inflight $((BUNDLES * BUNDLE)))

# Every key once, so that no round writes into an emptier store than the next.
populate() { # populate KEYS
    "$bin/pbft-bench" --cluster "$c" "${bundled[@]}" --sequential --keys "$1" --ops "$1" --seconds 0 --warmup 0 --timeout 60 >"$dir/populate.out" 2>&1 ||
        die "the keys could not be written: $(tail -1 "$dir/populate.out")"
}

# round_begin, then pbft-bench --json $dir/round.json by whatever way, then round_end.
round_begin() {
    totals
    round_batches=$batches round_executed=$executed round_stages=$stages round_frames=$frames round_verified=$verified
    round_ticks=$(cpu_ticks)
    rm -f "$dir/round.json"
}

# round_end CASE [JSON]: adds a line to $rounds; JSON is an object with more of it.
round_end() {
    local stole more=${2:-}
    stole=$(stolen "$round_ticks" "$(cpu_ticks)")
    [ -s "$dir/round.json" ] || die "case $1: pbft-bench failed: $(tail -1 "$dir/round.out")"
    totals
    jq -c -n --arg case "$1" --argjson round "$round" --argjson n "$n" --argjson stolen "$stole" \
        --argjson batches $((batches - round_batches)) --argjson executed $((executed - round_executed)) --argjson frames $((frames - round_frames)) \
        --argjson verified $((verified - round_verified)) --argjson state "$state_bytes" \
        --argjson peak "$peak_kib" --arg load "$(load_now)" --argjson more "${more:-null}" \
        --argjson before "$round_stages" --argjson after "$stages" --slurpfile bench "$dir/round.json" \
        'def mean_ms: if $before and $after and $after[0] > $before[0] then [range(1; 5) as $s | ($after[$s] - $before[$s]) * 1000 / ($after[0] - $before[0])] else null end;
         {case: $case, round: $round, n: $n, stolen_percent: $stolen, loadavg: $load, batches: $batches, operations_executed: $executed, frames_sent: $frames,
          signatures_verified: $verified, state_bytes: $state, peak_kib: $peak, stages_ms: mean_ms} + ($more // {}) + {bench: $bench[0]}' >>"$rounds" ||
        die "case $1: what was measured can not be written"
    jq -e '.errors + .wrong + .lost == 0' "$dir/round.json" >/dev/null || bad_rounds=$((bad_rounds + 1))
    note "$1 $round: $(tail -1 "$rounds" | jq -r '"\(.strategy // .name // .n) \(.bench.ops_per_s | floor)/s, p50 \(.bench.p50_ms) ms, p99 \(.bench.p99_ms) ms, \(.bench.cpu_ms_per_op) ms CPU an operation, \(.stolen_percent) % stolen"')"
}

run_bench() { # run_bench OPTIONS...: to $dir/round.json
    "$bin/pbft-bench" --cluster "$c" --json "$dir/round.json" "$@" >"$dir/round.out" 2>&1
}

measure() { # measure CASE JSON OPTIONS...
    local name=$1 more=$2
    shift 2
    round_begin
    run_bench --warmup 1 --seconds "$ROUND_SECONDS" "$@"
    round_end "$name" "$more"
}

# timeline_bins FILE EVENT_MS: [[seconds since the event, operations a second] ...] of 100 ms each.
timeline_bins() {
    awk -v event="$2" '
        { at = int(($1 - event) / 100 + 10000) - 10000; sum[at] += $2; if (NR == 1 || at < low) low = at; if (NR == 1 || at > high) high = at }
        END { printf "["; for (i = low; i <= high; i++) printf "%s[%.1f,%d]", (i > low ? "," : ""), i / 10, sum[i] * 10; print "]" }' "$1"
}
# Operations a second between two times in ms.
timeline_mean() { # timeline_mean FILE FROM TO
    awk -v a="$2" -v b="$3" '$1 > a && $1 <= b { n += $2 } END { printf "%.1f", (b > a ? n * 1000 / (b - a) : 0) }' "$1"
}

load_start() { # load_start OPTIONS...: pbft-bench in the background, its timeline in $dir/timeline
    : >"$dir/timeline"
    "$bin/pbft-bench" --cluster "$c" --json "$dir/round.json" --warmup 1 --timeline "$dir/timeline" --interval 20 "$@" \
        >"$dir/round.out" 2>&1 &
    load=$!
    # It counts from its first line on.
    until [ -s "$dir/timeline" ]; do
        kill -0 "$load" 2>/dev/null || die "pbft-bench failed: $(tail -1 "$dir/round.out")"
        sleep 0.02
    done
}
load_end() {
    wait "$load"
    load=
}
