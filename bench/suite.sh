#!/bin/bash
# make bench: every case of docs/performance.md on real clusters of this machine. Writes
# bench/results/performance.{json,md} and plots beside them; less than half an hour with the defaults.
#
#   CASES="A B C D E F G H I J keys curve transfer"   which of them
#   ROUND_SECONDS=3       counted time of one round
#   REPEATS=5             rounds of A to F and H
#   REPEATS_MORE=5        rounds of G, J, and of other numbers of keys
#   HALF_SECONDS=2        of G: before a lie, and after it was detected
#   LIES="equivocate ..." strategies of G; HOSTILE="forge ..." its hostile clients, HOSTILE_RATE=500 frames a second
#   NODES="4 7 10 13 16"  clusters of J
#   MEMORY_SECONDS=30     load of I
#   KEYS=100000           keys, where a case does not say otherwise
#   CLIENTS=4 BUNDLES=2 BUNDLE=512  of bundled cases: clients, bundles that each keeps outstanding, operations of one
#
# Cases with repetitions alternate: round 1 of each, round 2 of each, so that a noisy minute of the
# machine does not hit one of them alone.
set -u
cd "$(dirname "$0")/.." || exit 1
. bench/lib.sh

CASES=${CASES:-A B C D E F G H I J keys curve transfer}
ROUND_SECONDS=${ROUND_SECONDS:-3}
REPEATS=${REPEATS:-5}
REPEATS_MORE=${REPEATS_MORE:-5}
LIES=${LIES:-silent equivocate lie-reply wrong-digest bad-signature censor=0 delay=20 replay forge-new-view wrong-checkpoint}
HOSTILE=${HOSTILE:-forge conflict replay garbage flood}
HOSTILE_RATE=${HOSTILE_RATE:-500}
NODES=${NODES:-4 7 10 13 16}
MEMORY_SECONDS=${MEMORY_SECONDS:-30}
KEYS=${KEYS:-100000}
CLIENTS=${CLIENTS:-4}
BUNDLES=${BUNDLES:-2}
BUNDLE=${BUNDLE:-512}
load=
. bench/suite/round.sh
. bench/suite/basic.sh
. bench/suite/lies.sh
. bench/suite/failover.sh
. bench/suite/growth.sh
. bench/suite/curve.sh
. bench/suite/plots.sh
. bench/suite/report.sh

for name in $CASES; do
    case $name in
    A | B | C | D | E | F | G | H | I | J | keys | curve | transfer) ;;
    *) die "there is no case '$name': CASES takes some of A B C D E F G H I J keys curve transfer" ;;
    esac
done
for name in ROUND_SECONDS HALF_SECONDS REPEATS REPEATS_MORE KEYS CLIENTS BUNDLES BUNDLE MEMORY_SECONDS HOSTILE_RATE; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || die "$name is '${!name}', and must be a whole number above 0"
done
command -v jq >/dev/null || die "there is no jq: make deps installs it"
wants() { [[ " $CASES " == *" $1 "* ]]; }

lib_begin performance
rounds=$dir/rounds.json # a line each
: >"$rounds"
suite_begun=$(date -u +%FT%TZ)
suite_load=$(load_now)
suite_ticks=$(cpu_ticks)

for ((round = 1; round <= REPEATS || round <= REPEATS_MORE; round++)); do
    if [ "$round" -le "$REPEATS" ]; then
        basic_round
        if wants H; then failover_round; fi
    fi
    if [ "$round" -le "$REPEATS_MORE" ]; then
        if wants keys; then keys_round; fi
        if wants G; then lies_round; fi
        if wants J; then growth_round; fi
    fi
done
round=1
if wants I; then memory_run; fi
if wants curve; then curve_run; fi
if wants transfer; then transfer_run; fi

report_write
[ "$bad_rounds" = 0 ] || die "$bad_rounds rounds had operations that failed, read wrong or were lost: see $results/performance.json"
