# shellcheck shell=bash disable=SC2034,SC2154 # sourced by bench/suite.sh, whose variables these are
# Latency by throughput: an open loop at rising shares of what a closed loop reaches just before.

SHARES=${SHARES:-10 25 45 65 85 100}

curve_run() {
    cluster_init curve
    cluster_start memory
    populate "$KEYS"
    # In an open loop more is outstanding when it has to wait.
    curve_of bundled $((8 * BUNDLES * BUNDLE)) "${bundled[@]}" --keys "$KEYS"
    curve_of single 1 --clients 100 "${single[@]}"
    cluster_end
}

curve_of() { # curve_of NAME INFLIGHT OPTIONS...
    local name=$1 inflight=$2 share full rate
    shift 2
    run_bench --warmup 1 --seconds "$ROUND_SECONDS" "$@"
    full=$(json_number "$dir/round.json" ops_per_s)
    for share in $SHARES; do
        rate=$(awk -v f="$full" -v s="$share" 'BEGIN { printf "%d", f * s / 100 }')
        measure curve "{\"name\":\"$name\",\"share_percent\":$share,\"closed_loop_ops_per_s\":$full}" "$@" --inflight "$inflight" --rate "$rate" --open
    done
}
