# shellcheck shell=bash disable=SC2034,SC2154 # sourced by bench/suite.sh, whose variables these are
# Case I: memory over time. Case J: what more replicas cost.

memory_run() {
    local id begun samples=
    cluster_init memory
    cluster_start memory
    populate "$KEYS"
    round_begin
    now_ms
    begun=$ms
    load_start "${bundled[@]}" --keys "$KEYS" --seconds "$MEMORY_SECONDS"
    while kill -0 "$load" 2>/dev/null; do
        now_ms
        samples+="${samples:+,}[$(((ms - begun) / 1000))"
        for id in 0 1 2 3; do samples+=",$(memory_kb "${pids[$id]}" VmRSS)"; done
        samples+="]"
        sleep 1
    done
    load_end
    round_end I "{\"resident_kib\":[$samples]}"
    cluster_end
}

growth_round() {
    local count conf
    for count in $NODES; do
        cluster_init "n-$count-$round" "$count"
        conf="$c/cluster.conf"
        cluster_start memory
        measure J "{\"window\":$(setting window "$conf"),\"checkpoint_interval\":$(setting checkpoint_interval "$conf")}" \
            "${bundled[@]}" --keys "$KEYS" --timeout 60
        cluster_end
    done
}

setting() { sed -n "s/^$1 = //p" "$2"; } # of a .conf
