#!/bin/bash
# etcd, ZooKeeper and Redis of Debian's packages beside PBFT on this machine: the same puts, the same
# number outstanding, in alternating rounds. A table on standard output;
# bench/results/peers.{json,md,svg}. About eight minutes.
#
#   ROUNDS=5  ROUND_SECONDS=2   rounds, and seconds of each measurement in each (and one of warm-up)
#   KEYS=100000  VALUE_BYTES=100
#   OUTSTANDING=100             of the loaded cases
#   BUNDLE=                     operations of one signed request, or of one fast read, where they are bundled;
#                               all outstanding if empty
#   ETCD_CONNS=1  ZOOKEEPER_CONNS=4  REDIS_CONNS=10   connections of the loaded cases
set -u
cd "$(dirname "$0")/.." || exit
. bench/lib.sh
. bench/peers/servers.sh

ROUNDS=${ROUNDS:-5}
ROUND_SECONDS=${ROUND_SECONDS:-2}
KEYS=${KEYS:-100000}
VALUE_BYTES=${VALUE_BYTES:-100}
OUTSTANDING=${OUTSTANDING:-100}
BUNDLE=${BUNDLE:-$OUTSTANDING}
ETCD_CONNS=${ETCD_CONNS:-1}
ZOOKEEPER_CONNS=${ZOOKEEPER_CONNS:-4}
REDIS_CONNS=${REDIS_CONNS:-10}
WARMUP=1
load=
for number in ROUNDS ROUND_SECONDS KEYS VALUE_BYTES OUTSTANDING BUNDLE ETCD_CONNS ZOOKEEPER_CONNS REDIS_CONNS; do
    [[ ${!number} =~ ^[1-9][0-9]*$ ]] || die "$number=${!number}: it takes a whole number, 1 or more"
done
[ "$BUNDLE" -le "$OUTSTANDING" ] || die "BUNDLE=$BUNDLE is more than OUTSTANDING=$OUTSTANDING"
[ -x "$bin/pbft-bench-peers" ] || die "there is no $bin/pbft-bench-peers: make bench-peers builds it"
for program in etcd redis-server redis-cli java curl jq; do
    command -v "$program" >/dev/null || die "there is no $program: make bench-peers installs what it takes"
done
lib_begin peers
trap 'servers_end; lib_end' EXIT
trap 'exit 129' HUP

# ---- one measurement

run() { # run COMMAND...: waited for in a way that Ctrl-C ends at once; its code
    local code
    "$@" &
    load=$!
    wait "$load"
    code=$?
    load=
    return "$code"
}

pbft_load() { # pbft_load MODE OPTIONS...
    run "$bin/pbft-bench" --cluster "$dir/pbft-$1" --keys "$KEYS" --value-bytes "$VALUE_BYTES" "${@:2}"
}

peer_load() { # peer_load SYSTEM OUTSTANDING CONNS OPTIONS...
    local system=$1 name=${1%%-*} pid port pids_of=()
    case $name in
        redis) port=${base_of[$system]} ;;
        # A follower would only pass it on.
        *) "${name}_leader" || wait_for "$system" "electing a leader" "${name}_leader"; port=$leader ;;
    esac
    for pid in ${servers[$system]}; do pids_of+=(--pid "$pid"); done
    run "$bin/pbft-bench-peers" --system "$name" --endpoint "127.0.0.1:$port" "${pids_of[@]}" --keys "$KEYS" \
        --value-bytes "$VALUE_BYTES" --outstanding "$2" --conns "$3" "${@:4}"
}

conns_of() { # conns_of SYSTEM OUTSTANDING
    local n=1
    case $1 in
        etcd) n=$ETCD_CONNS ;;
        zookeeper) n=$ZOOKEEPER_CONNS ;;
        redis) n=$REDIS_CONNS ;;
        redis-wait) n=$2 ;; # WAIT holds up its connection
    esac
    echo $((n < $2 ? n : $2))
}

# A case is LOAD/SYSTEM-VARIANT; LOAD says how many are outstanding, and whether they are reads.
puts=(signed/pbft-sync signed/pbft-memory bundled/pbft-sync bundled/pbft-memory
    loaded/etcd loaded/zookeeper loaded/redis-always loaded/redis-everysec loaded/redis-wait)
single=(single/pbft-sync single/pbft-memory
    single/etcd single/zookeeper single/redis-always single/redis-everysec single/redis-wait)
reads=(reads/pbft-sync bundled-reads/pbft-sync reads/etcd reads/zookeeper reads/redis-always
    single-reads/pbft-sync single-reads/etcd single-reads/zookeeper single-reads/redis-always)
cases=("${puts[@]}" "${single[@]}" "${reads[@]}")

# once CASE FILE: one measurement, to FILE.json and FILE.log; its code
once() {
    local kind=${1%/*} system=${1#*/} outstanding=$OUTSTANDING options=()
    [[ $kind == single* ]] && outstanding=1
    [[ $kind == *reads ]] && options+=(--reads 100)
    options+=(--seconds "$ROUND_SECONDS" --warmup "$WARMUP" --json "$2.json")
    case $kind/$system in
        signed/*) options+=(--clients "$OUTSTANDING") ;;
        bundled/* | bundled-reads/*) options+=(--clients 1 --inflight "$OUTSTANDING" --bundle "$BUNDLE") ;;
        */pbft-*) options+=(--clients "$outstanding") ;;
        */redis-wait) options+=(--wait-replicas 1) ;;
        */redis-*)
            redis_fsync "${system#redis-}"
            system=redis
            ;;
    esac
    rm -f "$2.json"
    sync -f "$dir" # what others left to be written
    case $system in
        pbft-*) pbft_load "${system#pbft-}" "${options[@]}" >"$2.log" 2>&1 ;;
        *) peer_load "$system" "$outstanding" "$(conns_of "$system" "$outstanding")" "${options[@]}" >"$2.log" 2>&1 ;;
    esac
}

# A measurement that breaks off (an election, a connection that the system drops) is taken again, twice
# at most, and the table says how often. Operations that failed are counted and shown. What was read
# wrong ends the run.
measure() { # measure CASE ROUND: a line to $dir/runs
    local out="$dir/${1//\//-}.$2" before broken=0 pid
    while :; do
        before=$(cpu_ticks)
        once "$1" "$out" && break
        if [ -s "$out.json" ]; then
            [ "$(json_number "$out.json" wrong)" = 0 ] && break
            cat "$out.log" >&2
            die "$1 returned wrong values in round $2"
        fi
        # shellcheck disable=SC2068 # process ids, several in a word
        for pid in ${servers[@]}; do kill -0 "$pid" 2>/dev/null || die "a server has ended: $1 failed in round $2: $(tail -n 1 "$out.log")"; done
        broken=$((broken + 1))
        note "$1, round $2: $(tail -n 1 "$out.log")"
        [ "$broken" -le 2 ] || die "$1 failed three times in round $2"
    done
    [ "$(json_number "$out.json" ops)" -gt 0 ] || die "$1 answered nothing in $ROUND_SECONDS s: raise ROUND_SECONDS"
    [[ $1 != *reads/* ]] || [ "$(jq '.missing // 0' "$out.json")" = 0 ] || die "$1: keys that were put are missing"
    jq -c --arg case "$1" --argjson round "$2" --argjson stolen "$(stolen "$before" "$(cpu_ticks)")" --arg load "$(load_now)" \
        --argjson broken "$broken" \
        '{case: $case, round: $round, broken_off: $broken, stolen_percent: $stolen, load: $load} + .' "$out.json" >>"$dir/runs" || die "jq failed"
}

# ---- all systems run all the time: who is not measured waits

load_before=$(load_now)
note "starting: PBFT (4 replicas, twice), etcd (3), ZooKeeper (3), Redis (1, and 1 with 2 replicas)"
pbft_start sync
pbft_start memory
etcd_start
zookeeper_start
redis_start

note "putting $KEYS keys into each"
populate=(--sequential --seconds 0 --ops "$KEYS")
for mode in sync memory; do
    pbft_load "$mode" --warmup 0 --clients 1 --inflight 1000 --bundle 100 "${populate[@]}" >"$dir/populate.log" 2>&1 ||
        { cat "$dir/populate.log" >&2; die "PBFT ($mode) did not take the keys"; }
done
for system in etcd zookeeper redis redis-wait; do
    n=1000
    [ "$system" = redis-wait ] && n=100
    peer_load "$system" "$n" "$(conns_of "$system" "$n")" "${populate[@]}" >"$dir/populate.log" 2>&1 ||
        { cat "$dir/populate.log" >&2; die "$system did not take the keys"; }
done

# What waiting takes, in per cent of a core: in everybody's figures alike.
cpu_of_all() { # in ticks
    local pid sum=0 used
    # shellcheck disable=SC2068 # process ids, several in a word
    for pid in ${servers[@]}; do
        used=$(sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }') || die "a server has ended"
        sum=$((sum + used))
    done
    echo "$sum"
}
sync -f "$dir"
idle=$(cpu_of_all)
sleep 2
idle=$(awk -v t=$(($(cpu_of_all) - idle)) -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.1f", 100 * t / hz / 2 }')

started=$SECONDS
for round in $(seq "$ROUNDS"); do
    note "round $round of $ROUNDS: ${#cases[@]} measurements (load $(load_now))"
    # There and back again, so that not always the same one comes after the same one.
    for ((i = 0; i < ${#cases[@]}; i++)); do
        measure "${cases[round % 2 == 1 ? i : ${#cases[@]} - 1 - i]}" "$round"
    done
done
note "measured for $((SECONDS - started)) s"
servers_end

# ---- results

jq -n --slurpfile runs "$dir/runs" --arg machine "$(machine)" --arg load "$load_before" --argjson rounds "$ROUNDS" \
    --argjson seconds "$ROUND_SECONDS" --argjson outstanding "$OUTSTANDING" --argjson bundle "$BUNDLE" --argjson keys "$KEYS" \
    --argjson value_bytes "$VALUE_BYTES" --argjson idle "$idle" --arg date "$(date -u +%Y-%m-%d)" \
    --arg pbft "$("$bin/pbft-bench" --version | cut -d ' ' -f 2)" --arg etcd "$(version_of etcd-server)" \
    --arg zookeeper "$(version_of zookeeper)" --arg java "$(java -version 2>&1 | awk -F'"' 'NR == 1 { print $2 }')" \
    --arg redis "$(version_of redis-server)" --arg nghttp2 "$(version_of libnghttp2-14)" \
    --arg hiredis "$(version_of libhiredis0.14)" --arg libzookeeper "$(version_of libzookeeper-st2)" \
    -f bench/peers/summary.jq >"$results/peers.json" || die "the results could not be written"
jq -r -f bench/peers/table.jq "$results/peers.json" >"$dir/tables.md" || die "the tables could not be written"
{
    cat "$dir/tables.md"
    echo
    sed -n '/^## What they promise/,/^## /{ /^|/p }' docs/peers.md
} | tee "$results/peers.md"

if command -v gnuplot >/dev/null; then
    plot_data() { # plot_data MEMBER CASE...: name, median, lowest, highest
        jq -r '.cases as $all | $ARGS.positional[1:][] |
            [(sub("^(loaded|single)/"; "") | sub("(?<kind>signed|bundled)/(?<system>.*)"; "\(.system) \(.kind)")),
             ($all[.][$ARGS.positional[0]] | .median, .min, .max)] | @tsv' "$results/peers.json" --args "$@"
    }
    plot_data ops_per_s signed/pbft-sync bundled/pbft-sync loaded/etcd loaded/zookeeper loaded/redis-always \
        loaded/redis-wait signed/pbft-memory bundled/pbft-memory loaded/redis-everysec >"$dir/plot-loaded"
    plot_data p50_ms single/pbft-sync single/etcd single/zookeeper single/redis-always single/redis-wait \
        single/pbft-memory single/redis-everysec >"$dir/plot-single"
    gnuplot >/dev/null 2>"$dir/gnuplot.err" <<END || { cat "$dir/gnuplot.err" >&2; die "gnuplot failed"; }
set terminal svg size 1000,520 background "white" font "sans,13"
set output "$results/peers.svg"
set datafile separator "\t"
set style fill solid 0.8
set boxwidth 0.7
set grid y
unset key
set xtics rotate by -40
set bmargin 9
set rmargin 6
set multiplot layout 1,2
colour(name) = name[1:4] eq "pbft" ? 0x2a7f3f : 0x7a8ca0
set title "$OUTSTANDING outstanding: operations a second"
set logscale y
set yrange [100:]
plot "$dir/plot-loaded" using 0:2:(colour(strcol(1))):xtic(1) with boxes lc rgb variable, \\
     "" using 0:2:3:4 with yerrorbars lc rgb "black" pt 0
set title "1 outstanding: latency, p50, ms"
set yrange [0.01:]
plot "$dir/plot-single" using 0:2:(colour(strcol(1))):xtic(1) with boxes lc rgb variable, \\
     "" using 0:2:3:4 with yerrorbars lc rgb "black" pt 0
unset multiplot
END
    note "wrote $results/peers.json, peers.md and peers.svg"
else
    note "wrote $results/peers.json and peers.md; without gnuplot (make deps-bench) no plot"
fi
