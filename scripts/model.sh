#!/usr/bin/env bash
# model.sh [NAME...]: search docs/model/view_change.pml with spin: the right rules over the whole
# bounded state space, and every wrong rule until it breaks agreement.
# model.sh --big [NAME...]: the longer searches instead (minutes, up to 16 GiB).
# model.sh --trace NAME: the shortest counterexample of a wrong rule, or the way to a point reached.
#
# A row fails when a right model has an error or was not searched to the end, and when a wrong model
# has none. MEMORY is the limit of one search in MiB. docs/model/README.md says what is modelled.
set -uo pipefail

cd "$(dirname "$0")/.." || exit
model=$PWD/docs/model/view_change.pml
work=$PWD/build/model
memory=${MEMORY:-6000}
depth=100000

for tool in spin gcc; do
    command -v "$tool" >/dev/null && continue
    echo "model.sh: needs $tool: apt-get install $tool (or scripts/deps.sh model)" >&2
    exit 2
done

# name | holds, breaks or reached | switches
rows='right rules            |holds  |-DLEMMAS
lost logs, mute        |holds  |-DLEMMAS -DLOST_LOGS -DNO_CRASHES
null decided           |reached|-DREACH_NULL
decided in all views   |reached|-DREACH_AGAIN
prepared, overruled    |reached|-DREACH_HIDDEN
three values prepared  |reached|-DREACH_THREE
two NEW-VIEWs          |reached|-DREACH_TWO_FACED
quorum 2f              |breaks |-DWRONG_QUORUM_2F
prepared by 2f         |breaks |-DWRONG_Q_PREPARED
decided by 2f          |breaks |-DWRONG_Q_COMMIT
NEW-VIEW of 2f         |breaks |-DWRONG_Q_NEW_VIEW
repeated VIEW-CHANGEs  |breaks |-DWRONG_REPEATED_VC
VIEW-CHANGEs of v-1    |breaks |-DWRONG_OLD_VC
primary PREPAREs too   |breaks |-DWRONG_PRIMARY_PREPARE
PREPAREs of any view   |breaks |-DWRONG_MIXED_PREPARES
COMMITs of any view    |breaks |-DWRONG_MIXED_COMMITS -DNO_CRASHES -DVIEWS=4 -DLIAR=0
bare claims            |breaks |-DWRONG_BARE_CLAIMS
f+1 must claim         |breaks |-DWRONG_WEAK_CLAIMS
lowest view wins       |breaks |-DWRONG_MIN_WINS
P forgets older views  |breaks |-DWRONG_FORGET_P
O taken on trust       |breaks |-DWRONG_O_UNCHECKED
COMMIT after leaving   |breaks |-DWRONG_LATE_VOTES
sent before synced     |breaks |-DWRONG_SEND_FIRST
view not in the log    |breaks |-DWRONG_FORGET_VIEW
amnesia, not mute      |breaks |-DLOST_LOGS -DWRONG_AMNESIA
mute, VIEW-CHANGEs     |breaks |-DLOST_LOGS -DWRONG_MUTE_VC
mute until a later view|breaks |-DLOST_LOGS -DNO_CRASHES -DWRONG_REJOIN'
big='long unsynced tails    |holds  |-DLEMMAS -DLONG_TAILS
lost logs and crashes  |holds  |-DLEMMAS -DLOST_LOGS'

trace=
case ${1:-} in
--big) rows=$big memory=${MEMORY:-16000}; shift ;;
--trace)
    [[ $# -eq 2 ]] || { sed -n '2,8s/^# //p' "$0" >&2; exit 2; }
    trace=1; shift ;;
-*) sed -n '2,8s/^# //p' "$0" >&2; exit 2 ;;
esac

# build SWITCHES GCC_OPTIONS: ./pan in the current, empty directory
build() {
    local spin_switches gcc_switches
    read -ra spin_switches <<<"$1"
    read -ra gcc_switches <<<"$2"
    spin -a "${spin_switches[@]}" "$model" >spin.log 2>&1 &&
        gcc -w -DSAFETY -DNOREDUCE -DMEMLIM="$memory" "${gcc_switches[@]}" -o pan pan.c \
            >gcc.log 2>&1 && return
    cat spin.log gcc.log >&2
    return 1
}

# judge: what the search in pan.log found: none, error, or why it says nothing
judge() {
    local errors
    errors=$(sed -n 's/^State-vector.*errors: \([0-9]*\)$/\1/p' pan.log)
    if grep -q 'assertion violated' pan.log && [[ $errors == 1 ]]; then
        echo error
    elif grep -qE 'MEMLIM|out of memory|max search depth|not completed|pan: invalid end|aborting' pan.log ||
        [[ $errors != 0 ]] || ! grep -q '^Full statespace search' pan.log; then
        echo unfinished
    elif sed -n '/^unreached in/,$p' pan.log | grep -q 'state [0-9]*, "[^-]'; then
        echo unreached # a rule that never came into play
    else
        echo none
    fi
}

# row NAME EXPECTED SWITCHES: one line of the table
row() {
    local dir=$work/${3//[^A-Z0-9_]/} found states reached seconds bytes verdict=
    rm -rf "$dir"
    mkdir -p "$dir"
    cd "$dir" || return 1
    local optimise=-O1
    [[ $2 == holds ]] && optimise=-O2
    build "$3" "$optimise" || { printf "%-24s does not build\n" "$1"; return 1; }
    ./pan -m"$depth" >pan.log 2>&1
    local status=$?
    found=$(judge)
    [[ $status -lt 128 ]] || found=signal-$((status - 128))
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log)
    reached=$(sed -n 's/^State-vector.*depth reached \([0-9]*\),.*/\1/p' pan.log)
    seconds=$(sed -n 's/^pan: elapsed time \([0-9.e+-]*\) seconds/\1/p' pan.log)
    bytes=$(sed -n 's/^ *\([0-9.]*\).total actual memory usage/\1/p' pan.log)
    case $2/$found in
    holds/none | breaks/error | reached/error) ;;
    *) verdict='  FAILED' ;;
    esac
    printf '%-24s %-8s %-10s %9s %6s %7.1f %6.0f%s\n' "$1" "$2" "$found" "${states:--}" \
        "${reached:--}" "${seconds:-0}" "${bytes:-0}" "$verdict"
    [[ -z $verdict ]]
}

# show SWITCHES: search breadth first, then replay what was found
show() {
    local dir=$work/trace switches
    rm -rf "$dir"
    mkdir -p "$dir"
    cd "$dir" || return 1
    memory=${MEMORY:-12000}
    build "$1 -DSHORTEST" "-O2 -DBFS" || return 1
    ./pan -m"$depth" >pan.log 2>&1
    if [[ $(judge) != error ]]; then
        echo "model.sh: nothing found ($(judge))" >&2
        return 1
    fi
    read -ra switches <<<"$1 -DSHORTEST"
    cp "$model" .
    spin -t -k view_change.pml.trail "${switches[@]}" "$(basename "$model")" |
        sed -n 's/^ *\(liar is\|replica [0-9]\)/\1/p'
}

matched=0 failed=0
[[ -n $trace ]] ||
    printf '%-24s %-8s %-10s %9s %6s %7s %6s\n' variant expected found states depth seconds MiB
while IFS='|' read -r name expected switches; do
    name=${name%"${name##*[! ]}"}
    wanted=$([[ $# -eq 0 ]] && echo 1)
    for word in "$@"; do
        [[ $name == *"$word"* || " $switches " == *"$word"* ]] && wanted=1
    done
    [[ -n $wanted ]] || continue
    matched=$((matched + 1))
    if [[ -n $trace ]]; then
        show "$switches"
        exit
    fi
    (row "$name" "${expected// /}" "$switches") || failed=$((failed + 1))
done <<<"$rows"

if [[ $matched -eq 0 ]]; then
    echo "model.sh: no variant matches '$*'" >&2
    exit 2
fi
echo "== model: $((matched - failed)) of $matched variants as expected"
[[ $failed -eq 0 ]]
