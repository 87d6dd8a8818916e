# shellcheck shell=bash disable=SC2034,SC2154 # sourced by bench/suite.sh, whose variables these are
# Case H, a primary killed under load, and a replica that fetches the state under load.

# first_silence FILE EVENT_MS WITHIN_MS: of the silences of a timeline that begin so soon after the
# event, the longest: its length and when it ended, in ms, the latter since the event. A later one is
# another matter (a checkpoint, say).
first_silence() {
    awk -v event="$2" -v within="$3" '
        function close_at(t) { if (from && t - from > most) { most = t - from; at = t - event } from = 0 }
        $1 >= event && $2 > 0 { close_at($1) }
        $1 >= event && $2 == 0 && !from && prior <= event + within { from = (prior > event ? prior : event) }
        { prior = $1 }
        END { close_at(prior); printf "%d %d\n", most, at }' "$1"
}

failover_round() {
    local primary event silence back timeout view
    cluster_init "failover-$round"
    cluster_start sync
    populate "$KEYS"
    round_begin
    load_start "${bundled[@]}" --keys "$KEYS" --seconds $((2 * ROUND_SECONDS + 2)) --verify
    sleep "$ROUND_SECONDS"
    metrics 1 || die "replica 1 does not answer"
    primary=${m[pbft_primary]} timeout=${m[pbft_view_timeout_seconds]} view=${m[pbft_view]}
    kill -KILL "${pids[$primary]}"
    now_ms
    event=$ms
    wait "${pids[$primary]}" 2>/dev/null
    pids[primary]=0
    load_end
    read -r silence back < <(first_silence "$dir/timeline" "$event" "$(awk -v s="$timeout" 'BEGIN { print s * 1000 }')")
    # The dead one's counters are gone with it: nothing is counted from here on.
    totals
    round_batches=$batches round_executed=$executed round_frames=$frames round_verified=$verified
    round_end H "{\"killed\":$primary,\"view\":$view,\"silence_ms\":$silence,\"back_ms\":$back,\"view_timeout_ms\":$(awk -v s="$timeout" 'BEGIN { print s * 1000 }'),\"time_outs\":$(awk -v b="$back" -v s="$timeout" 'BEGIN { print b / 1000 / s }'),\"timeline\":$(timeline_bins "$dir/timeline" "$event")}"
    cluster_end
}

# Replica 3 is down until the others are beyond what certificates bridge, so that it needs pages.
transfer_run() {
    local down up ready=0 limit fetched transfers
    cluster_init transfer
    cluster_start sync
    populate "$KEYS"
    load_start "${bundled[@]}" --keys "$KEYS" --seconds 600
    sleep "$ROUND_SECONDS"
    now_ms
    down=$ms
    replica_stop 3 KILL
    metrics 0 || die "replica 0 does not answer"
    local target=$((m[pbft_executed_seq] + 3 * 256))
    limit=$((SECONDS + 60))
    until metrics 0 && [ "${m[pbft_executed_seq]}" -gt "$target" ]; do
        [ "$SECONDS" -lt "$limit" ] || die "the others are not far enough ahead after a minute"
        sleep 0.5
    done
    now_ms
    up=$ms
    replica_start 3 sync
    limit=$((SECONDS + 60))
    while [ "$SECONDS" -lt "$limit" ]; do
        sleep 0.3
        metrics 3 && [ "${m[pbft_ready]}" = 1 ] && [ "${m[pbft_transfers_total]}" != 0 ] && break
    done
    now_ms
    [ "${m[pbft_ready]:-0}" = 1 ] && ready=$((ms - up))
    fetched=${m[pbft_transfer_fetched_bytes_total]:-0} transfers=${m[pbft_transfers_total]:-0}
    sleep "$ROUND_SECONDS"
    kill -TERM "$load"
    wait "$load" 2>/dev/null
    load=
    [ "$ready" != 0 ] || note "transfer: the replica was not back within a minute"
    jq -c -n --argjson ready "$ready" --argjson fetched "$fetched" --argjson transfers "$transfers" --argjson down $((up - down)) \
        --argjson timeline "$(timeline_bins "$dir/timeline" "$up")" \
        '{case: "transfer", round: 1, n: 4, durability: "sync", down_s: ($down / 1000), ready_ms: (if $ready > 0 then $ready else null end),
          transfers: $transfers, bytes_fetched: $fetched, timeline: $timeline}' >>"$rounds"
    note "transfer: ready after $ready ms, $fetched bytes fetched"
    cluster_end
}
