# shellcheck shell=bash disable=SC2034,SC2154 # sourced by bench/suite.sh, whose variables these are
# Case G: what a lying replica, and what a hostile client, leave of case A. Each run sees the
# throughput before and after, so that its ratio is one of the same minute.

DETECT_SECONDS=2 # between the lie and what counts as after it
HALF_SECONDS=${HALF_SECONDS:-2} # before the lie, and after that
liar_of() { [ "$1" = forge-new-view ] && echo 1 || echo 0; } # 0 is the primary of the first view

lies_round() {
    local strategy
    for strategy in $LIES; do lie_run "$strategy"; done
    cluster_init "hostile-$round"
    cluster_start memory
    populate "$KEYS"
    for strategy in $HOSTILE; do hostile_run "$strategy"; done
    cluster_end
}

lie_run() { # lie_run STRATEGY
    local strategy=$1 liar detect=$DETECT_SECONDS acts id event
    liar=$(liar_of "$strategy")
    cluster_init "lie-${strategy%%=*}-$round"
    for id in 0 1 2 3; do
        if [ "$id" = "$liar" ]; then replica_start "$id" memory "$strategy@USR2"; else replica_start "$id" memory; fi
    done
    for id in 0 1 2 3; do wait_ready "$id" 20; done
    populate "$KEYS"
    round_begin
    load_start "${bundled[@]}" --keys "$KEYS" --seconds $((2 * HALF_SECONDS + detect))
    sleep "$HALF_SECONDS"
    kill -USR2 "${pids[$liar]}"
    now_ms
    event=$ms
    if [ "$strategy" = forge-new-view ]; then # its turn as a primary comes when the first one pauses
        kill -STOP "${pids[0]}"
        sleep 1
        kill -CONT "${pids[0]}"
    fi
    load_end
    metrics "$liar" || die "the liar does not answer"
    acts=0
    for id in "${!m[@]}"; do [[ $id == pbft_fault_acts_total* ]] && acts=${m[$id]}; done
    [ "$acts" != 0 ] || note "G: $strategy had no chance to lie"
    round_end G "$(disturbed "$event" "$detect" "{\"strategy\":\"$strategy\",\"liar\":$liar,\"acts\":$acts}")"
    cluster_end
}

# disturbed EVENT_MS DETECT_SECONDS JSON: that object, and what the timeline says of before and after.
disturbed() {
    local end
    end=$(tail -1 "$dir/timeline" | cut -d ' ' -f 1)
    jq -n --argjson more "$3" --argjson before "$(timeline_mean "$dir/timeline" $(($1 - HALF_SECONDS * 1000)) "$1")" \
        --argjson after "$(timeline_mean "$dir/timeline" $(($1 + $2 * 1000)) "$end")" --argjson timeline "$(timeline_bins "$dir/timeline" "$1")" \
        '$more + {before_ops_per_s: $before, after_ops_per_s: $after, ratio: (if $before > 0 then $after / $before else null end), timeline: $timeline}'
}

hostile_run() { # hostile_run KIND
    local kind=$1 enemy event
    round_begin
    load_start "${bundled[@]}" --keys "$KEYS" --conns 1 --seconds $((2 * HALF_SECONDS + 1))
    sleep "$HALF_SECONDS"
    "$bin/pbft-hostile" --cluster "$c/client-3" --kind "$kind" --rate "$HOSTILE_RATE" --seconds $((HALF_SECONDS + 1)) >"$dir/hostile.out" 2>&1 &
    enemy=$!
    now_ms
    event=$ms
    load_end
    wait "$enemy" || die "pbft-hostile failed: $(tail -1 "$dir/hostile.out")"
    round_end hostile "$(disturbed "$event" 1 "{\"strategy\":\"$kind\",\"hostile\":true,\"acts\":$(awk '{ print $1; exit }' "$dir/hostile.out")}")"
}
