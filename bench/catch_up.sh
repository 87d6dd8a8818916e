#!/bin/bash
# How a replica catches up and restarts: a table on standard output, JSON in bench/results/catch_up.json.
#
#   KEYS=1000000      keys of 100 bytes loaded while replica 3 is down
#   RATE=4000         operations a second of the paced load that runs while it comes back
#   PHASES="paced full changed restart"   which of them
#   KEEP=1            leave the cluster's folder
#
# In order: (1) 1,000,000 keys behind, under the paced load; (2) again, every key rewritten, under a
# load as fast as it goes, the laggard at equal and at the last priority; (3) 1 % of the keys changed,
# in one range, and (4) drawn uniformly, both idle; (5) kill -9 and restart, warm and with its files
# out of the page cache.
set -u
cd "$(dirname "$0")/.."
. bench/lib.sh

KEYS=${KEYS:-1000000}
PHASES=${PHASES:-paced full changed restart}
RATE=${RATE:-4000}
BEFORE=${BEFORE:-8} # seconds of load before it is started, and after it is there
laggard=3
load=
onepct=$((KEYS / 100))
lib_begin catch-up
rows=()
json=()

write_keys() { # write_keys OPTIONS...: each key of the range once
    "$bin/pbft-bench" --cluster "$c" --clients 8 --conns 4 --warmup 0 --seconds 0 "$@" >&2 || die "the load failed"
}

view_changes() { # of the replicas that stay: sent since their start
    local id sum=0
    for id in 0 1 2; do
        metrics "$id" || die "replica $id does not answer"
        sum=$((sum + m[pbft_view_changes_total]))
    done
    echo "$sum"
}
stable_of() { metrics "$1" && echo "${m[pbft_stable_seq]}"; }

# Mean of the timeline $dir/timeline between two times in ms, operations a second; and its worst second.
mean() {
    awk -v a="$1" -v b="$2" '$1 > a && $1 <= b { n += $2 }
        END { printf "%.0f", (b > a ? n * 1000 / (b - a) : 0) }' "$dir/timeline"
}
worst() {
    awk -v a="$1" -v b="$2" '$1 > a && $1 <= b { v[++k] = $2 }
        END { worst = -1
              for (i = 1; i + 9 <= k; i++) { s = 0; for (j = i; j < i + 10; j++) s += v[j]; if (worst < 0 || s < worst) worst = s }
              if (worst < 0) { s = 0; for (i in v) s += v[i]; worst = k ? s * 10 / k : 0 }
              printf "%.0f", worst }' "$dir/timeline"
}

# Start the laggard; wait until it serves and has reached the others. Sets $ready_ms, $transfer_ms,
# $fetched, $fetched_bytes, $transfers, $local, $pages.
come_back() {
    local t0 begun=0 ended=0 limit=$((SECONDS + ${LIMIT:-60})) target now line
    target=$(stable_of 0)
    now_ms; t0=$ms
    replica_start "$laggard" sync
    ready_ms=0
    while :; do
        sleep 0.2 # a look costs the machine that is measured some 15 ms of CPU
        if metrics "$laggard"; then
            now_ms; now=$ms
            [ "$begun" = 0 ] && [ "${m[pbft_transfers_total]}" != 0 ] && begun=$now
            if [ "${m[pbft_ready]}" = 1 ] && [ "${m[pbft_executed_seq]}" -ge "$target" ]; then
                ended=$now
                break
            fi
        fi
        [ "$SECONDS" -lt "$limit" ] || break
    done
    if [ "$ended" = 0 ]; then
        http_get "$laggard" /readyz
        note "replica $laggard did not come back in time: ${http_body:-no answer}"
    fi
    now_ms
    came_ms=$t0 here_ms=${ended/#0/$ms}
    [ "$ended" = 0 ] && here_ms=$ms
    ready_ms=$((here_ms - t0))
    transfer_ms=$((begun ? here_ms - begun : 0))
    fetched=${m[pbft_transfer_pages_fetched_total]} fetched_bytes=${m[pbft_transfer_fetched_bytes_total]}
    transfers=${m[pbft_transfers_total]}
    line=$(grep '"event":"transfer_done"' "$c/node-$laggard/stderr" | tail -1)
    pages=$(sed -n 's/.*"pages":\([0-9]*\).*/\1/p' <<<"$line")
    pages=${pages:-0}
    [ "$ended" != 0 ]
}

under_load() { # under_load NAME JSONKEY OPTIONS...
    local name=$1 key=$2 changes ok=yes before during after low ticks took i
    shift 2
    changes=$(view_changes)
    "$bin/pbft-bench" --cluster "$c" --clients 8 --conns 4 --bundle 16 --warmup 2 \
        --seconds 3600 --timeline "$dir/timeline" "$@" >"$dir/load.out" 2>&1 &
    load=$!
    sleep 2
    ticks=("$(cpu_ticks)")
    sleep "$BEFORE"
    ticks+=("$(cpu_ticks)")
    come_back || ok=no
    ticks+=("$(cpu_ticks)")
    sleep $((BEFORE + 1))
    kill "$load"
    wait "$load" 2>/dev/null
    load=
    before=$(mean $((came_ms - BEFORE * 1000)) "$came_ms")
    during=$(mean "$came_ms" "$here_ms")
    low=$(worst "$came_ms" "$here_ms")
    after=$(mean $((here_ms + 1000)) $((here_ms + 1000 + BEFORE * 1000)))
    changes=$(($(view_changes) - changes))
    ticks+=("$(cpu_ticks)")
    for i in 0 1 2; do took[i]=$(stolen "${ticks[i]}" "${ticks[i + 1]}"); done
    rows+=("| $name | $before | $during | $low | $after | $(div $((during * 100)) "$before" %.0f) % | $(div $((during * 100)) "$after" %.0f) % | $changes | $(div "$ready_ms" 1000 %.1f) s | $transfers | $fetched of $pages | $(div "$fetched_bytes" 1000000 %.0f) MB | ${took[0]}, ${took[1]}, ${took[2]} % |")
    json+=("\"$key\":{\"caught_up\":\"$ok\",\"before_ops_per_s\":$before,\"during_ops_per_s\":$during,\"worst_second_ops\":$low,\"after_ops_per_s\":$after,\"view_changes\":$changes,\"ms\":$ready_ms,\"transfer_ms\":$transfer_ms,\"targets\":$transfers,\"pages_fetched\":$fetched,\"pages\":$pages,\"bytes_fetched\":$fetched_bytes,\"stolen_percent\":[${took[0]},${took[1]},${took[2]}],\"loadavg\":\"$(load_now)\"}")
    note "$name: ${rows[-1]}"
}

after_change() { # after_change NAME JSONKEY OPTIONS...
    local name=$1 key=$2
    shift 2
    # What it has on disk is its last stable checkpoint: let that be the state before the change.
    write_keys --clients 4 --bundle 1 --ops 1600 --keys 64
    replica_stop "$laggard" TERM
    # One operation a request, so that checkpoints pass and the log alone does not lead back.
    write_keys --clients 4 --bundle 1 --ops "$onepct" "$@"
    come_back || note "$name: not caught up"
    [ "$transfers" -gt 0 ] || note "$name: it needed no transfer"
    changed+=("| $name | $onepct | $fetched | $pages | $(awk -v a="$fetched" -v b="$pages" 'BEGIN { printf "%.2f", b ? 100 * a / b : 0 }') % | $(div "$fetched_bytes" 1000000 %.2f) MB | $(div "$ready_ms" 1000 %.2f) s |")
    json+=("\"$key\":{\"keys_changed\":$onepct,\"pages_fetched\":$fetched,\"pages\":$pages,\"bytes_fetched\":$fetched_bytes,\"ms\":$ready_ms,\"transfers\":$transfers}")
    note "${changed[-1]}"
}

restart() { # restart NAME JSONKEY [cold]
    local steady pid rss peak=0 t0 bytes log
    sleep 3
    steady=$(memory_kb "${pids[$laggard]}" VmRSS)
    replica_stop "$laggard" KILL
    if [ "${3:-}" = cold ]; then
        sync
        for file in $(find "$c/node-$laggard" -type f -size +64k); do dd if="$file" iflag=nocache count=0 status=none; done
    fi
    now_ms; t0=$ms
    replica_start "$laggard" sync
    pid=${pids[$laggard]}
    until ready "$laggard"; do sleep 0.01; done
    now_ms
    local took=$((ms - t0))
    peak=$(memory_kb "$pid" VmHWM)
    local read
    read=$(io_bytes "$pid" read_bytes)
    sleep 5
    rss=$(memory_kb "$pid" VmRSS)
    restarts+=("| $1 | $(div "$took" 1000 %.2f) s | $(div "$read" 1000000 %.0f) MB | $((steady / 1024)) MiB | $((peak / 1024)) MiB | $(div "$peak" "$steady") | $((rss / 1024)) MiB | $(div "$(memory_kb "$pid" VmHWM)" "$steady") |")
    json+=("\"$2\":{\"ready_ms\":$took,\"read_bytes\":$read,\"steady_kib\":$steady,\"peak_kib\":$peak,\"after_kib\":$rss,\"peak_after_kib\":$(memory_kb "$pid" VmHWM)}")
    note "${restarts[-1]}"
}

note "load: $(load_now)"
cluster_init cluster
cluster_start sync
changed=() restarts=()
has() { [[ " $PHASES " == *" $1 "* ]]; }
write_all() { # while the laggard is down
    replica_stop "$laggard" TERM
    write_keys --bundle 64 --sequential --keys "$KEYS" --ops "$KEYS"
}
if has paced; then
    write_all
    under_load "paced load ($RATE/s, any key)" paced --keys "$KEYS" --rate "$RATE"
fi
if has full; then
    write_all
    under_load "full load (on $onepct of the keys)" full --keys "$onepct"
    # All replicas share these cores. With the last priority the laggard takes only what the others
    # leave, and what they lose is what serving costs them, as when it has a machine of its own.
    write_all
    niceness=19
    under_load "the same, the laggard at nice 19" full_niced --keys "$onepct"
    niceness=0
fi
if has changed; then
    after_change "one range" one_range --sequential --first $((KEYS * 2 / 5)) --keys "$onepct"
    after_change "uniformly drawn" uniform --keys "$KEYS"
fi
# Its checkpoint is on disk, and its log short: what a replica looks like that has run for a while.
if has restart; then
    sleep 5
    restart "files in the page cache" restart_warm
    restart "files not cached" restart_cold cold
fi

pages_file=$(find "$c/node-$laggard" -name pages.mdb)
file_bytes=$(stat -c %s "$pages_file")
metrics "$laggard"
live=$(awk -v p="${m[pbft_pages]}" 'BEGIN { print p }')
dd if="$pages_file" iflag=nocache count=0 status=none
now_ms; t0=$ms
dd if="$pages_file" of=/dev/null bs=1M status=none
now_ms
read_ms=$((ms - t0 > 0 ? ms - t0 : 1))
hash=$("$bin/pbft-bench" --hash-rate)
state=${m[pbft_state_bytes]}
{
    echo "Machine: $(machine); load $(load_now). Durability sync, 4 replicas and the clients on it."
    echo "$KEYS keys, values of 100 bytes, key and value $((KEYS * 114 / 1000000)) MB."
    echo
    echo "| behind by all keys | before (3 replicas), ops/s | during | worst second | after (4 replicas) | during : before | during : after | view changes | until served again | targets | pages fetched | bytes | CPU taken by the host before, during, after |"
    echo "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    printf '%s\n' "${rows[@]}"
    echo
    echo "| 1 % changed | keys | pages fetched | of | | bytes | until served again |"
    echo "|---|---|---|---|---|---|---|"
    printf '%s\n' "${changed[@]}"
    echo
    echo "| kill -9 and restart | until /readyz | read from disk | resident before | peak until ready | : before | 5 s later | peak by then : before |"
    echo "|---|---|---|---|---|---|---|---|"
    printf '%s\n' "${restarts[@]}"
    echo
    echo "With a log that is short; what a long one adds is in docs/operating.md."
    echo
    echo "Bound: pages.mdb is $(div "$file_bytes" 1000000 %.0f) MB, read uncached in $(div "$read_ms" 1000) s ($(div $((file_bytes / 1000)) "$read_ms" %.0f) MB/s); it is hashed at $(div "$hash" 1000000 %.0f) MB/s on one core, in $(div "$file_bytes" "$hash") s at most."
} | tee "$dir/table.md"
{
    printf '{%s' "${json[0]}"
    printf ',%s' "${json[@]:1}"
    printf ',"keys":%s,"rate":%s,"durability":"sync","pages_file_bytes":%s,"pages":%s,"state_bytes":%s,"read_ms":%s,"hash_bytes_per_s":%s,"machine":"%s"}\n' \
        "$KEYS" "$RATE" "$file_bytes" "$live" "$state" "$read_ms" "$hash" "$(machine)"
} >"$results/catch_up.json"
cp "$dir/table.md" "$results/catch_up.md"
