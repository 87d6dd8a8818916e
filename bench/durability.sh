#!/bin/bash
# What durability costs: memory, async and sync side by side, alternating, each on a new cluster. A
# table on standard output, JSON in bench/results/durability.json.
#
#   REPEAT=3  SECONDS_EACH=8      repetitions of each mode, seconds of each
#   CLIENTS=64  BUNDLE=1          closed-loop clients, operations of one signed request
set -u
cd "$(dirname "$0")/.."
. bench/lib.sh

REPEAT=${REPEAT:-3}
SECONDS_EACH=${SECONDS_EACH:-8}
CLIENTS=${CLIENTS:-64}
BUNDLE=${BUNDLE:-1}
load=
lib_begin durability

# Of all replicas: batches, log commits, bytes given to the disk (0: it is none that counts them).
totals() {
    local id
    batches=0 commits=0 pages_written=0
    written=$(device_bytes)
    for id in 0 1 2 3; do
        metrics "$id" || die "replica $id does not answer"
        batches=$((batches + m[pbft_batches_executed_total]))
        commits=$((commits + m[pbft_log_commits_total]))
        pages_written=$((pages_written + m[pbft_pages_written_bytes_total]))
    done
}

one() { # one MODE: adds a line to $dir/MODE
    local mode=$1 b0 c0 w0 p0 id ops
    cluster_init "$mode-$SECONDS-$RANDOM"
    cluster_start "$mode"
    # Segments are made and pages begun before anything is counted.
    "$bin/pbft-bench" --cluster "$c" --clients "$CLIENTS" --bundle "$BUNDLE" --seconds 2 --warmup 0 >/dev/null || die "the load failed"
    totals
    b0=$batches c0=$commits w0=$written p0=$pages_written
    "$bin/pbft-bench" --cluster "$c" --clients "$CLIENTS" --bundle "$BUNDLE" --seconds "$SECONDS_EACH" --warmup 0 \
        --json "$dir/run.json" >/dev/null || die "the load failed"
    totals
    [ "$(json_number "$dir/run.json" durability)" = "\"$mode\"" ] || die "the replicas do not run with $mode"
    ops=$(json_number "$dir/run.json" ops)
    echo "$ops $(json_number "$dir/run.json" seconds) $(json_number "$dir/run.json" p50_ms) $(json_number "$dir/run.json" p99_ms) $((batches - b0)) $((commits - c0)) $((written - w0)) $((pages_written - p0))" >>"$dir/$mode"
    note "$mode: $(tail -1 "$dir/$mode") (load $(load_now))"
    for id in 0 1 2 3; do replica_stop "$id" TERM; done
    rm -rf "$c"
}

for _ in $(seq "$REPEAT"); do
    for mode in memory async sync; do one "$mode"; done
done

# Medians of the repetitions; what is counted by replicas is for one of them.
summary() { # summary MODE FORMAT
    awk -v format="$2" -v mode="$1" '
        function median(a, k,   i, j, t) {
            for (i = 2; i <= k; i++) for (j = i; j > 1 && a[j] < a[j - 1]; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
            return k % 2 ? a[(k + 1) / 2] : (a[k / 2] + a[k / 2 + 1]) / 2
        }
        { k++; rate[k] = $1 / $2; p50[k] = $3; p99[k] = $4; batch[k] = $5 / 4 / $2; commit[k] = $6 / 4 / $2
          per[k] = $5 ? $6 / $5 : 0; bytes[k] = $7 / 4 / $1; size[k] = $5 ? $1 * 4 / $5 : 0
          if (k == 1 || rate[k] < low) low = rate[k]; if (rate[k] > high) high = rate[k] }
        END { printf format, mode, median(rate, k), low, high, median(p50, k), median(p99, k), median(batch, k),
                     median(size, k), median(commit, k), (mode == "sync" ? median(per, k) : 0), median(bytes, k) }' "$dir/$1"
}
{
    echo "Machine: $(machine); load $(load_now). 4 replicas and the clients on it; $CLIENTS clients, bundles of $BUNDLE, values of 100 bytes, $REPEAT runs of $SECONDS_EACH s each, alternating; medians (lowest to highest)."
    echo
    echo "| durability | ops/s | p50 ms | p99 ms | batches/s | ops a batch | log commits/s a replica | log fsyncs a batch | bytes to disk an operation, a replica |"
    echo "|---|---|---|---|---|---|---|---|---|"
    for mode in memory async sync; do
        summary "$mode" '| %s | %.0f (%.0f to %.0f) | %.2f | %.2f | %.0f | %.1f | %.0f | %.2f | %.0f |\n'
    done
    echo
    echo "Of the log's fsyncs, those of new segments are not counted, nor those of pages.mdb when a checkpoint is flushed. Bytes are what the whole device was given."
} | tee "$results/durability.md"
{
    comma='{'
    for mode in memory async sync; do
        printf '%s' "$comma"
        summary "$mode" '"%s":{"ops_per_s":%.1f,"lowest":%.1f,"highest":%.1f,"p50_ms":%.3f,"p99_ms":%.3f,"batches_per_s":%.1f,"ops_per_batch":%.2f,"commits_per_s":%.1f,"fsyncs_per_batch":%.3f,"bytes_per_op":%.1f}'
        comma=,
    done
    printf ',"clients":%s,"bundle":%s,"repeat":%s,"machine":"%s"}\n' "$CLIENTS" "$BUNDLE" "$REPEAT" "$(machine)"
} >"$results/durability.json"
