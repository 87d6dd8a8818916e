#!/bin/bash
# The same signed puts over PBFT and over a proof-of-work chain, on this machine: throughput, time to
# finality, CPU and energy an operation, and what a partition and a lying node do. A table on standard
# output; bench/results/chain.{json,md,svg}. About four minutes.
#
#   SECONDS_EACH=10   of each measurement of PBFT
#   LOAD_SECONDS=60   of operations into the chain
#   RATE=200          requests a second offered to the chain; PBFT is measured at that rate, too
#   SPACING=2000      ms between blocks, on average
#   BLOCK_BYTES=262144
#   HASHES=           of each miner a second at most; as many as it can if empty
#   CONFIRMATIONS=6   that count as final
#   VALUE_BYTES=100
#   WATTS=10          of one busy core: the assumption behind joules
#   RUNS=200000       races of each double spend
set -u
cd "$(dirname "$0")/.."
. bench/lib.sh

SECONDS_EACH=${SECONDS_EACH:-10}
LOAD_SECONDS=${LOAD_SECONDS:-60}
RATE=${RATE:-200}
SPACING=${SPACING:-2000}
BLOCK_BYTES=${BLOCK_BYTES:-262144}
CONFIRMATIONS=${CONFIRMATIONS:-6}
VALUE_BYTES=${VALUE_BYTES:-100}
WATTS=${WATTS:-10}
RUNS=${RUNS:-200000}
HASHES=${HASHES:-}
MINERS=4
SETTLE=16 # blocks before the load: one retargeting period
load=
miners=()
lib_begin chain
[ -x "$bin/pbft-chain" ] || die "there is no $bin/pbft-chain: make first"
miners_end() {
    local pid
    for pid in "${miners[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${miners[@]}"; do wait "$pid" 2>/dev/null; done
    miners=()
}
trap 'miners_end; lib_end' EXIT

# ---- PBFT

# run_bench NAME OPTIONS...: pbft-bench to $dir/NAME.json; $code. Fails loudly unless it may.
run_bench() {
    local name=$1
    shift
    "$bin/pbft-bench" --cluster "$c" --clients 64 --value-bytes "$VALUE_BYTES" --warmup 1 --seconds "$SECONDS_EACH" \
        --json "$dir/$name.json" "$@" >"$dir/$name.out" 2>&1
    code=$?
}
of() { json_number "$dir/$1.json" "$2"; } # of NAME KEY
needs() { [ "$code" = 0 ] || { cat "$dir/$1.out" >&2; die "the measurement '$1' failed with code $code"; }; }

note "PBFT: 4 replicas, durability sync"
cluster_init pbft
cluster_start sync
run_bench warm && run_bench full
needs full
run_bench paced --rate "$RATE"
needs paced

note "PBFT: one replica cut off (stopped), then two"
kill -STOP "${pids[3]}"
run_bench cut1
needs cut1
kill -STOP "${pids[2]}"
run_bench cut2 --timeout 2
cut2_code=$code
cut2_ops=0
[ -s "$dir/cut2.json" ] && cut2_ops=$(of cut2 ops)
kill -CONT "${pids[2]}" "${pids[3]}"
for id in 0 1 2 3; do wait_ready "$id" 60; done
run_bench healed
needs healed
for id in 0 1 2 3; do replica_stop "$id" TERM; done

note "PBFT: the primary equivocates"
cluster_init liar
for id in 1 2 3; do replica_start "$id" sync; done
"$bin/pbftd-faulty" --config "$c/node-0/node.conf" --durability sync --fault equivocate 2>>"$c/node-0/stderr" &
pids[0]=$!
echo "$!" >"$c/node-0/pbftd.pid"
for id in 1 2 3; do wait_ready "$id" 30; done
run_bench lied
needs lied
evidence=$("$bin/pbftctl" --cluster "$c" evidence list 2>/dev/null | grep -c .)
for id in 0 1 2 3; do replica_stop "$id" TERM; done

# ---- the chain

# Four miners share the machine: what they find together a second, for the first target.
note "chain: how fast this machine hashes"
for i in 1 2 3 4; do
    "$bin/pbft-chain" mine --quiet --start-bits 1d00ffff --seconds 3 ${HASHES:+--hashes "$HASHES"} --json "$dir/rate-$i.json" >/dev/null &
    miners+=("$!")
done
for pid in "${miners[@]}"; do wait "$pid" || die "pbft-chain mine failed"; done
miners=()
hashes=0
for i in 1 2 3 4; do hashes=$((hashes + $(json_number "$dir/rate-$i.json" hashes) / 3)); done
# Compact form of 2^256 / (hashes a block): exponent 1e counts in 2^216.
bits=$(awk -v w=$((hashes * SPACING / 1000)) 'BEGIN {
    e = 30; m = 2 ^ 40 / w
    while (m >= 8388608) { m /= 256; e++ }
    while (m < 32768) { m *= 256; e-- }
    printf "%02x%06x", e, int(m) }')

note "chain: $MINERS miners, $hashes hashes a second, first target $bits, a block every $SPACING ms"
base=$(free_port_block) || exit 1
total=$((SETTLE * SPACING / 1000 + LOAD_SECONDS + (2 * CONFIRMATIONS + 4) * SPACING / 1000))
for i in 1 2 3 4; do
    peers=()
    for ((j = 1; j < i; j++)); do peers+=(--peer "tcp://127.0.0.1:$((base + j))"); done
    extra=()
    [ "$i" = 4 ] && extra=(--rate "$RATE" --load-seconds "$LOAD_SECONDS" --after-blocks "$SETTLE"
        --confirmations "$CONFIRMATIONS" --value-bytes "$VALUE_BYTES")
    "$bin/pbft-chain" mine --quiet --listen "tcp://127.0.0.1:$((base + i))" ${peers[@]+"${peers[@]}"} ${extra[@]+"${extra[@]}"} \
        --name "$base" --spacing "$SPACING" --retarget 16 --start-bits "$bits" --block-bytes "$BLOCK_BYTES" ${HASHES:+--hashes "$HASHES"} \
        --seconds "$total" --json "$dir/miner-$i.json" --out "$dir/chain-$i.dat" >/dev/null 2>"$dir/miner-$i.err" &
    miners+=("$!")
done
for pid in "${miners[@]}"; do wait "$pid" || { cat "$dir"/miner-*.err >&2; die "pbft-chain mine failed"; }; done
miners=()
"$bin/pbft-chain" verify "$dir/chain-4.dat" >&2 || die "the chain does not verify"
chain_cpu=0
for i in 1 2 3 4; do chain_cpu=$(awk -v a="$chain_cpu" -v b="$(of "miner-$i" cpu_s)" 'BEGIN { print a + b }'); done
chain_ops=$(of miner-4 ops)
[ "${chain_ops:-0}" -gt 0 ] || die "no operation had $CONFIRMATIONS confirmations: the machine is too busy; raise LOAD_SECONDS"
# All that was burnt, from the first block on, for the operations that became final.
chain_cpu_ms=$(awk -v c="$chain_cpu" -v n="$chain_ops" 'BEGIN { printf "%.3f", c * 1000 / n }')

note "chain: partition, liar, majority, double spends"
"$bin/pbft-chain" demo --quiet --runs "$RUNS" --json "$dir/demo.json" || die "pbft-chain demo failed"
# Of the demo's JSON: jq is among what `make deps` installs.
demo() { jq -r "$1" "$dir/demo.json"; }

# ---- results

joules() { awk -v ms="$1" -v w="$WATTS" 'BEGIN { printf "%.3g", ms / 1000 * w }'; }
{
    echo "Machine: $(machine); load $(load_now). Puts of $VALUE_BYTES bytes, one signed request each. PBFT: 4 replicas, 64 clients, durability sync. Chain: $MINERS miners of one thread each${HASHES:+ and at most $HASHES hashes a second}, a block every $SPACING ms, $BLOCK_BYTES bytes a block, $RATE requests a second offered. Joules: CPU-seconds times $WATTS W a core, an assumption. All processes share this machine."
    echo
    echo "| | PBFT | PBFT at $RATE/s | chain, 1 confirmation | chain, $CONFIRMATIONS confirmations |"
    echo "|---|---|---|---|---|"
    printf '| operations a second | %.0f | %.0f | %.0f offered | %.0f |\n' "$(of full ops_per_s)" "$(of paced ops_per_s)" "$RATE" "$(of miner-4 ops_per_s)"
    printf '| time to it, p50 | %.1f ms | %.1f ms | %.0f ms | %.0f ms |\n' "$(of full p50_ms)" "$(of paced p50_ms)" "$(of miner-4 p50_ms)" "$(of miner-4 final_p50_ms)"
    printf '| time to it, p99 | %.1f ms | %.1f ms | %.0f ms | %.0f ms |\n' "$(of full p99_ms)" "$(of paced p99_ms)" "$(of miner-4 p99_ms)" "$(of miner-4 final_p99_ms)"
    at() { demo ".double_spend[] | select(.q == $1 and .k == $2) | \"\(.measured * 10000 | round / 10000) (\(.nakamoto * 10000 | round / 10000))\""; }
    printf '| reversed by an attacker with 10 %%, measured (Nakamoto) | never | never | %s | %s |\n' "$(at 0.1 1)" "$(at 0.1 6)"
    printf '| the same with 30 %% | never | never | %s | %s |\n' "$(at 0.3 1)" "$(at 0.3 6)"
    printf '| CPU an operation, all processes | %.2f ms | %.2f ms | | %s ms |\n' "$(of full cpu_ms_per_op)" "$(of paced cpu_ms_per_op)" "$chain_cpu_ms"
    printf '| energy an operation (estimate) | %s J | %s J | | %s J |\n' "$(joules "$(of full cpu_ms_per_op)")" "$(joules "$(of paced cpu_ms_per_op)")" "$(joules "$chain_cpu_ms")"
    printf '| 1 of 4 cut off (chain: 3 of 8) | %.0f operations/s, none reversed | | both sides go on | healing reverses %s of %s, %s of them with 6 confirmations |\n' \
        "$(of cut1 ops_per_s)" "$(demo .partition.reversed)" "$(demo .partition.minority_confirmed)" "$(demo .partition.reversed_safe)"
    printf '| 2 of 4 cut off | stands still: %s operations; healed %.0f/s | | goes on | as above |\n' "$cut2_ops" "$(of healed ops_per_s)"
    printf '| one lies (PBFT: the primary; chain: 1 of 8) | %.0f operations/s, %s wrong results, signed proofs against it: %s | | %s of %s confirmed, %s false ones | banned by %s of 7 |\n' \
        "$(of lied ops_per_s)" "$(of lied wrong)" "$evidence" "$(demo .liar.confirmed)" "$(demo .liar.submitted)" "$(demo .liar.false_values)" "$(demo .liar.banned_by)"
    printf '| a majority lies | not tolerated: more than f of 3f+1 | | %s confirmations reversed by 55 %% of the power | |\n' "$(demo .majority.confirmations)"
} | tee "$results/chain.md"

jq -n --slurpfile full "$dir/full.json" --slurpfile paced "$dir/paced.json" --slurpfile cut1 "$dir/cut1.json" \
    --slurpfile healed "$dir/healed.json" --slurpfile lied "$dir/lied.json" --slurpfile miner "$dir/miner-4.json" \
    --slurpfile demo "$dir/demo.json" --arg machine "$(machine)" --argjson cpu_ms "$chain_cpu_ms" --argjson watts "$WATTS" \
    --argjson rate "$RATE" --argjson spacing "$SPACING" --argjson block "$BLOCK_BYTES" --argjson hashes "$hashes" \
    --argjson cut2_ops "$cut2_ops" --argjson cut2_code "$cut2_code" --argjson evidence "${evidence:-0}" \
    '{machine: $machine, watts_per_core: $watts,
      pbft: {full: $full[0], paced: $paced[0], one_cut_off: $cut1[0], two_cut_off: {ops: $cut2_ops, exit_code: $cut2_code},
             healed: $healed[0], equivocating_primary: ($lied[0] + {evidence: $evidence})},
      chain: {rate: $rate, spacing_ms: $spacing, block_bytes: $block, hashes_per_s: $hashes, cpu_ms_per_op: $cpu_ms, measured: $miner[0]},
      demo: $demo[0]}' >"$results/chain.json" || die "the results could not be written"

# The plot: how likely an operation is reversed, by how long one has waited for it.
for q in 0.1 0.3 0.45; do
    demo ".double_spend[] | select(.q == $q) | [.k * $SPACING / 1000, .measured, .low, .high, .rosenfeld, .nakamoto] | @tsv" >"$dir/reversal-$q"
done
if command -v gnuplot >/dev/null; then
    p50=$(of full p50_ms) p99=$(of full p99_ms)
    gnuplot >/dev/null 2>"$dir/gnuplot.err" <<END || { cat "$dir/gnuplot.err" >&2; die "gnuplot failed"; }
set terminal svg size 1000,480 background "white" font "sans,13"
set output "$results/chain.svg"
set title "How likely is an operation reversed after so long?"
set xlabel "seconds since it was sent (chain: k blocks of $SPACING ms)"
set ylabel "probability of reversal"
set logscale xy
set xrange [0.001:100]
set yrange [1e-5:2]
set format y "10^{%L}"
set key outside right center samplen 2
set grid
p50 = $p50 / 1000.
p99 = $p99 / 1000.
set arrow from p50, graph 0 to p50, graph 1 nohead lw 2 lc rgb "#2a7f3f"
set arrow from p99, graph 0 to p99, graph 1 nohead lw 2 dt 2 lc rgb "#2a7f3f"
set label "PBFT: final, p50 and p99" at p99, graph 0.06 left offset 1,0 tc rgb "#2a7f3f"
plot for [i=1:3] word("$dir/reversal-0.1 $dir/reversal-0.3 $dir/reversal-0.45", i) using 1:5 with lines lw 1.5 lc i title word("10% 30% 45%", i)." of the power, exact", \\
     for [i=1:3] word("$dir/reversal-0.1 $dir/reversal-0.3 $dir/reversal-0.45", i) using 1:6 with lines dt 3 lc i title word("10% 30% 45%", i).", Nakamoto", \\
     for [i=1:3] word("$dir/reversal-0.1 $dir/reversal-0.3 $dir/reversal-0.45", i) using 1:(\$2 > 0 ? \$2 : NaN):3:4 with yerrorbars pt 7 ps 0.5 lc i title word("10% 30% 45%", i).", measured"
END
    note "wrote $results/chain.json, chain.md and chain.svg"
else
    note "wrote $results/chain.json and chain.md; without gnuplot (make deps-bench) no plot"
fi
