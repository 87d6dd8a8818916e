#!/bin/bash
# The demo: real replicas, real traffic, real lies. Five acts on loopback, in about a minute, with durability sync as everywhere. Ends with 0
# only if everything that it shows was really checked.
set -u
cd "$(dirname "$0")/.."
bin=${PBFT_BIN_DIR:-build/bin}
ctl="$bin/pbftctl"
dir=$(mktemp -d "${TMPDIR:-/tmp}/pbft-demo-XXXXXX")
up=0
again=0
failures=0

bold() { printf '\n\033[1m%s\033[0m\n' "$*"; }
say() { printf '   %s\n' "$*"; }
check() { # check DESCRIPTION COMMAND...
    local what=$1
    shift
    if "$@"; then
        printf '   \033[32m✓\033[0m %s\n' "$what"
    else
        printf '   \033[31m✗ %s\033[0m\n' "$what"
        failures=$((failures + 1))
    fi
}

stop() {
    if [ "$again" != 0 ]; then
        kill -TERM "$again" 2>/dev/null
        wait "$again" 2>/dev/null
        again=0
    fi
    [ "$up" = 0 ] && return
    kill -TERM "$up" 2>/dev/null
    wait "$up" 2>/dev/null
    up=0
}
cleanup() {
    stop
    if [ "$failures" = 0 ]; then rm -rf "$dir"; else echo "what happened is in $dir" >&2; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

free_port_block() { # a base port with 12 free ports after it
    local base port
    for _ in $(seq 50); do
        base=$((10000 + RANDOM % 20000))
        for port in $(seq "$base" $((base + 11))); do
            (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue 2
        done
        echo "$base"
        return
    done
    echo "no free ports" >&2
    exit 1
}

start() { # start NAME [up options...]: sets $c (folder), $up (process), $base (port)
    c="$dir/$1"
    shift
    base=$(free_port_block)
    "$ctl" init "$c" --nodes 4 --base-port "$base" --clients 4 >/dev/null || exit 1
    : >"$c.log"
    "$ctl" up "$c" "$@" >"$c.log" 2>&1 &
    up=$!
    for _ in $(seq 200); do
        grep -q '^ready' "$c.log" && return
        kill -0 "$up" 2>/dev/null || break
        sleep 0.05
    done
    cat "$c.log" >&2
    echo "the cluster did not start" >&2
    failures=$((failures + 1))
    exit 1
}

status() { "$ctl" --cluster "$c" status --json; }

# Equal stable checkpoints with equal roots on all replicas but those named.
roots_agree() {
    local without="[$1]" seen
    for _ in $(seq 100); do
        seen=$(status | jq -r --argjson w "$without" \
            '[.replicas[] | select(.id as $i | $w | index($i) | not) | select(.stable > 0) | "\(.stable):\(.root)"]
             | "\(length) \(unique | length) \(first)"')
        set -- $seen
        if [ "$1" = $((4 - $(jq length <<<"$without"))) ] && [ "$2" = 1 ]; then
            say "state root at seq ${3%%:*}: ${3#*:}"
            return 0
        fi
        sleep 0.1
    done
    say "last seen: $seen"
    return 1
}

bench() { # bench SECONDS [options]: writes $c.json
    local seconds=$1
    shift
    "$bin/pbft-bench" --cluster "$c" --seconds "$seconds" --warmup 0 --keys 10000 --json "$c.json" "$@" \
        >"$c.bench" 2>&1
}
number() { jq -r "$1" "$c.json"; }
acts() { # how often node $1 lied
    curl -s "http://127.0.0.1:$((base + 3 * $1 + 2))/metrics" 2>/dev/null |
        awk '/^pbft_fault_acts_total/ { print int($2) }'
}
# Keys 1..n put one after the other beside the load; every acknowledged one must read back.
put_keys() {
    local i
    for i in $(seq "$1"); do
        "$ctl" --cluster "$c" put "demo-$i" "value-$i" --timeout 10s >/dev/null 2>&1 && echo "$i" >>"$c.acked"
    done
}
acked_keys_read_back() {
    local i value
    for i in $(cat "$c.acked"); do
        value=$("$ctl" --cluster "$c" get "demo-$i" --timeout 10s) && [ "$value" = "value-$i" ] || {
            say "demo-$i reads '$value'"
            return 1
        }
    done
}
positive() { [ "${1:-0}" -gt 0 ] 2>/dev/null; }
none() { [ "${1:-x}" = 0 ]; }

bold "Act 1: four honest replicas"
start honest
check "a load of signed operations ran without an error" bench 4 --clients 8 --bundle 4
check "thousands of operations ($(number .ops)), errors: $(number .errors)" \
    test "$(number .ops)" -ge 2000 -a "$(number .errors)" = 0
say "$(number '"\(.ops_per_s | floor) operations/s, p50 \(.p50_ms) ms, p99 \(.p99_ms) ms"'), durability $(sed -n 's/^durability = //p' "$c/node-0/node.conf")"
check "all four state roots are equal" roots_agree ""
stop

bold "Act 2: the primary equivocates (different batches to different backups)"
start equivocate --faulty 0=equivocate
check "the load ran all the same" bench 3 --clients 4 --bundle 4
check "correct answers only: $(number .ops) operations, wrong reads accepted: $(number '.wrong // 0')" \
    none "$(number '.wrong // 0')"
check "the primary lied $(acts 0) times" positive "$(acts 0)"
evidence_shown() {
    for _ in $(seq 50); do
        "$ctl" --cluster "$c" evidence list | grep -q . && break
        sleep 0.1
    done
    "$ctl" --cluster "$c" evidence export 0 "$c.proof" >/dev/null 2>&1 || return 1
    "$ctl" --cluster "$c" evidence verify "$c.proof" | sed 's/^/     /' || return 1
    "$ctl" --cluster "$c" evidence verify "$c.proof" >/dev/null
}
check "there is signed evidence, and it verifies" evidence_shown
forged_refused() {
    local size at
    size=$(stat -c %s "$c.proof")
    at=$((size - 10))
    cp "$c.proof" "$c.forged"
    printf '%b' "$(printf '\\x%02x' $((0x$(xxd -s "$at" -l 1 -p "$c.proof") ^ 1)))" |
        dd of="$c.forged" bs=1 seek="$at" conv=notrunc 2>/dev/null
    ! "$ctl" --cluster "$c" evidence verify "$c.forged" >/dev/null 2>&1
}
check "with one bit changed it is refused" forged_refused
check "the correct replicas' state roots are equal" roots_agree 0
stop

bold "Act 3: a replica lies to clients"
start lie --faulty 2=lie-reply
check "the load ran all the same" bench 3 --clients 4 --bundle 4 --reads 50
check "replica 2 lied $(acts 2) times" positive "$(acts 2)"
check "the client saw $(number '.wrong_replies // 0') wrong replies and accepted none" \
    test "$(number '.wrong_replies // 0')" -gt 0 -a "$(number '.wrong // 0')" = 0
check "the correct replicas' state roots are equal" roots_agree 2
stop

bold "Act 4: the primary is killed with -9 under load"
start kill
bench 6 --clients 4 --bundle 4 &
load=$!
put_keys 120 &
writer=$!
sleep 2
view=$(status | jq '[.replicas[].view] | max')
victim=$((view % 4))
kill -9 "$(cat "$c/node-$victim/pbftd.pid")"
say "replica $victim, primary of view $view, is dead"
killed=$(date +%s%N)
new_views() { # when each living replica installed a view after the kill: milliseconds since, sorted
    sed -n 's/^\[[0-9]*\] //; s/.*"ts":"\([^"]*\)".*"event":"new_view".*/\1/p' "$c.log" |
        while read -r ts; do
            ms=$((($(date -d "$ts" +%s%N) - killed) / 1000000))
            [ "$ms" -gt 0 ] && echo "$ms"
        done | sort -n
}
quorum_in_new_view() {
    for _ in $(seq 100); do
        [ "$(new_views | wc -l)" -ge 3 ] && return 0
        sleep 0.1
    done
    return 1
}
check "the three others changed the view" quorum_in_new_view
say "view change: the third replica was in the new view $(new_views | sed -n 3p) ms after the kill (time-out 500 ms)"
wait "$writer"
wait "$load"
check "the load ended without an error: $(number .ops) operations" none "$(number .errors)"
check "$(wc -l <"$c.acked") of 120 writes beside it were acknowledged, and each reads back" acked_keys_read_back
check "every one of the 120 was acknowledged" test "$(wc -l <"$c.acked")" = 120
check "the living replicas' state roots are equal" roots_agree "$victim"
stop

bold "Act 5: a backup is killed with -9 under load, and comes back with its promises"
start back
bench 9 --clients 4 --bundle 4 &
load=$!
sleep 1.5
view=$(status | jq '[.replicas[].view] | max')
victim=$(((view + 1) % 4))
kill -9 "$(cat "$c/node-$victim/pbftd.pid")"
say "replica $victim, a backup, is dead; nobody waits for it"
sleep 2.5
progress() { # "EXECUTED STABLE" of the victim, then the best of the others
    status | jq -r --argjson v "$victim" '
        (.replicas[] | select(.id == $v) | "\(.last_executed // 0) \(.stable // 0)"),
        ([.replicas[] | select(.id != $v)] | "\(map(.last_executed // 0) | max) \(map(.stable // 0) | max)")' |
        paste -sd ' '
}
missed() { # said in a subshell: $1 own, $2 own stable, $3 theirs, $4 their stable
    local width=30 filled bar
    filled=$(($3 > 0 ? $1 * width / $3 : 0))
    [ "$filled" -gt "$width" ] && filled=$width
    bar=$(printf '%*s' "$filled" '' | tr ' ' '#')$(printf '%*s' $((width - filled)) '' | tr ' ' '.')
    printf '   [%s] executed %d of %d, stable checkpoint %d of %d' "$bar" "$1" "$3" "$2" "$4"
}
caught_up() {
    local seen
    for _ in $(seq 200); do
        seen=$(progress)
        set -- $seen
        if [ -t 1 ]; then printf '\r\033[K'; missed "$@"; else missed "$@" && echo; fi
        if [ "$1" -gt 0 ] && [ $(($3 - $1)) -lt 32 ] && [ "$2" -ge "$4" ]; then
            [ -t 1 ] && echo
            return 0
        fi
        sleep 0.1
    done
    echo
    return 1
}
say "the others have executed $(progress | cut -d ' ' -f 3) batches; it is started again:"
"$bin/pbftd" --config "$c/node-$victim/node.conf" >"$c.again" 2>&1 &
again=$!
check "it caught up while the load ran on" caught_up
say "$(sed -n 's/.*"event":"restored".*"records":\([0-9]*\),"view":\([0-9]*\).*/its log held \1 records, up to view \2/p' "$c.again" | head -1)"
resumed() {
    grep -q '"event":"restored"' "$c.again" &&
        [ "$(status | jq --argjson v "$victim" '.replicas[] | select(.id == $v) | .mute')" = false ]
}
check "it remembers its votes, and may vote again" resumed
wait "$load"
check "the load ended without an error: $(number .ops) operations" none "$(number .errors)"
check "all four state roots are equal" roots_agree ""
put_key() { "$ctl" --cluster "$c" put "$1" "of a vote" --timeout 20s >/dev/null; }
other=$(((victim + 1) % 4))
kill -9 "$(cat "$c/node-$other/pbftd.pid")"
check "replica $other is killed too, and the others, which need its vote now, go on" \
    put_key proof
check "their state roots are equal" roots_agree "$other"
stop

if [ "$failures" = 0 ]; then
    bold "Everything above was checked: two liars, three kills -9, no write lost, and replica $victim is back. ($SECONDS s)"
else
    bold "$failures checks failed. ($SECONDS s)"
    exit 1
fi
