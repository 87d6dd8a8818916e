# shellcheck shell=bash disable=SC2034,SC2154 # sourced by bench/suite.sh, whose variables these are
# Cases A to F, and A and B with other numbers of keys.

single=(--bundle 1 --keys "$KEYS")

# Cases of one durability share a cluster, and the state that was written before the first.
basic_round() {
    if wants A || wants C || wants D || wants F; then
        cluster_init "memory-$round"
        cluster_start memory
        populate "$KEYS"
        if wants A; then measure A null "${bundled[@]}" --keys "$KEYS"; fi
        if wants C; then measure C null --clients 100 "${single[@]}"; fi
        if wants D; then measure D null --clients 1 "${single[@]}"; fi
        if wants F; then
            measure F null "${bundled[@]}" --keys "$KEYS" --reads 100
            measure F1 null --clients 1 "${single[@]}" --reads 100
        fi
        cluster_end
    fi
    if wants B || wants E; then
        cluster_init "sync-$round"
        cluster_start sync
        populate "$KEYS"
        if wants B; then measure B null "${bundled[@]}" --keys "$KEYS"; fi
        if wants E; then measure E null --clients 1 "${single[@]}"; fi
        cluster_end
    fi
}

keys_round() {
    local keys mode
    for keys in 1000 1000000; do
        for mode in memory sync; do
            cluster_init "keys-$keys-$mode-$round"
            cluster_start "$mode"
            populate "$keys"
            # A million keys take seconds between two checkpoints: what counts has to hold some.
            ROUND_SECONDS=$((keys == 1000000 ? 3 * ROUND_SECONDS : ROUND_SECONDS)) \
                measure keys "{\"keys\":$keys,\"durability\":\"$mode\"}" "${bundled[@]}" --keys "$keys"
            cluster_end
        done
    done
}
