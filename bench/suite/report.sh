# shellcheck shell=bash disable=SC2034,SC2154 # sourced by bench/suite.sh, whose variables these are
# performance.json, performance.md, performance.csv and the plots.

report_write() {
    local conf out=$results/performance
    cluster_init settings
    conf="$c/cluster.conf"
    jq -n --arg machine "$(machine)" --arg started "$suite_begun" --arg ended "$(date -u +%FT%TZ)" --arg version "$("$bin/pbft-bench" --version)" \
        --arg load_begin "$suite_load" --arg load_end "$(load_now)" --argjson stolen "$(stolen "$suite_ticks" "$(cpu_ticks)")" \
        --argjson cores "$(nproc)" --argjson page "$(sed -n 's/.*PBFT_TREE_PAGE_TARGET *\([0-9]*\)u.*/\1/p' store/tree.h)" \
        --argjson interval "$(setting checkpoint_interval "$conf")" --argjson window "$(setting window "$conf")" \
        --argjson depth "$(setting pipeline_depth "$conf")" --argjson round "$ROUND_SECONDS" --argjson keys "$KEYS" \
        --argjson clients "$CLIENTS" --argjson bundles "$BUNDLES" --argjson bundle "$BUNDLE" --argjson rate "$HOSTILE_RATE" \
        '{machine: $machine, cores: $cores, version: $version, started: $started, ended: $ended, load_begin: $load_begin, load_end: $load_end,
          stolen_percent: $stolen, page_bytes: $page, checkpoint_interval: $interval, window: $window, pipeline_depth: $depth,
          round_seconds: $round, keys_default: $keys, clients: $clients, bundles: $bundles, bundle: $bundle, hostile_rate: $rate}' >"$dir/about.json" || die "the settings can not be written"
    jq -n --slurpfile rounds "$rounds" --argjson about "$(cat "$dir/about.json")" -f bench/suite/summary.jq >"$out.json" || die "$out.json could not be made"
    jq -r -f bench/suite/table.jq "$out.json" >"$out.md" || die "$out.md could not be made"
    jq -r '["case", "round", "n", "what", "durability", "ops_per_s", "p50_ms", "p99_ms", "p999_ms", "cpu_ms_per_op", "stolen_percent"],
        (.rounds[] | select(.bench) | [.case, .round, .n, (.strategy // .name // .keys // ""), .bench.durability, .bench.ops_per_s, .bench.p50_ms, .bench.p99_ms,
         .bench.p999_ms, .bench.cpu_ms_per_op, .stolen_percent]) | @csv' "$out.json" >"$out.csv" || die "$out.csv could not be made"
    cat "$out.md"
    plots "$out.json"
    note "wrote $out.json, .md, .csv${plotted:+ and plots:$plotted}"
}
