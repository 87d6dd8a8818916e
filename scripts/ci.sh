#!/usr/bin/env bash
# ci.sh MAKE [VAR=VALUE...]: every gate; all of them run, and the end says which failed.
#
# Two lanes. What live suites test has time-outs, and they leave about one processor idle: they have
# the processors whenever they want them. Whatever computes takes the rest. What a gate prints is shown
# whole when it ends.
set -uo pipefail

lane_build() {
    gate "build (gcc, -Werror)" all test-binaries peers-program
}

lane_live() {
    gate live live
    gate crash crash
    if after "build (asan)"; then gate "asan, live" asan TESTS=live; fi
}

lane_computing() {
    gate "build (asan)" VARIANT=asan all test-binaries
    gate "build (clang, -Werror)" VARIANT=clang all test-binaries peers-program
    gate purity purity
    gate format-check format-check
    gate cppcheck cppcheck
    gate test test TESTS="unit rules golden sim"
    gate bench-regression VARIANT=release bench-regression
    gate asan asan TESTS="unit rules golden sim"
    gate tsan tsan
    gate tidy tidy
    gate mutants mutants
    gate sim-mutants sim-mutants-smoke
    gate "sim (5000 seeds)" sim SEEDS=5000
    gate sim-compare sim-compare
    gate twins twins-smoke
    gate fuzz fuzz-smoke
}

# gate NAME [VAR=VALUE...] TARGET: its verdict is left in $work/NAME.
gate() {
    local name=$1 verdict=ok wall user system TIMEFORMAT='%0R %0U %0S'
    shift
    echo "#### $name: begins"
    { time "${make[@]}" "$@" >"$work/$name.log" 2>&1 </dev/null; } 2>"$work/$name.time" || verdict=FAILED
    read -r wall user system <"$work/$name.time"
    echo "$verdict" >"$work/$name"
    {
        flock 9
        echo "#### $name"
        cat "$work/$name.log"
        echo "#### $name: $verdict ($wall s)"
        printf '%-24s %-6s %6d s %6d s\n' "$name" "$verdict" "$wall" $((user + system)) >>"$work/summary"
    } 9>"$work/lock"
}

# after NAME: waits for a gate of the computing lane; fails if that failed, or never came to it.
after() {
    until [[ -e $work/$1 ]]; do
        kill -0 "$(cat "$work/computing")" 2>/dev/null || break
        sleep 0.2
    done
    [[ $(cat "$work/$1" 2>/dev/null) == ok ]]
}

if [[ ${1:-} == --lane ]]; then
    work=$3 make=("${@:4}")
    if [[ $2 == computing ]]; then
        echo $$ >"$work/computing"
        # Between sessions the kernel may look at these alone.
        (echo 19 >/proc/self/autogroup) 2>/dev/null
    fi
    "lane_$2"
    exit
fi

make=("$@")
# Each make has jobs of its own: a live suite would hold one of the parent's all the time.
unset MAKEFLAGS MFLAGS MAKELEVEL
work=$(mktemp -d)
if chrt -i 0 true 2>/dev/null; then behind=(chrt -i 0); else behind=(nice -n 19); fi

# A lane is a session: a process group of its own (timeout) lets nobody escape.
sessions=()
left() { [[ ${#sessions[@]} -gt 0 ]] && "$@" -s "$(IFS=,; echo "${sessions[*]}")" >/dev/null; }
end_all() {
    local signal tries
    trap '' INT TERM HUP
    for signal in TERM KILL; do
        left pkill -"$signal" || break
        for ((tries = 0; tries < 100; tries++)); do
            left pgrep || break 2
            sleep 0.1
        done
    done
    rm -rf "$work"
}
trap end_all EXIT
trap 'echo "#### CI: interrupted"; exit 130' INT TERM HUP

# lanes NAME...: side by side, until all are done.
failed=()
lanes() {
    local lane start
    local -A pids=()
    for lane in "$@"; do
        start=(env --default-signal=INT,QUIT setsid) # ignored by whatever a script starts with &
        [[ $lane != computing ]] || start=("${behind[@]}" "${start[@]}")
        "${start[@]}" "$0" --lane "$lane" "$work" "${make[@]}" &
        pids[$lane]=$!
        sessions+=($!)
    done
    for lane in "$@"; do
        wait "${pids[$lane]}" || failed+=("the $lane lane broke off")
    done
}
lanes build
lanes live computing

while read -r name; do failed+=("$name"); done < <(sed -n 's/ *FAILED .*//p' "$work/summary")
# What a gate printed is far above by now: what it failed on, again.
for name in "${failed[@]}"; do
    [[ -s $work/$name.log ]] || continue
    echo "#### $name: FAILED on"
    grep -E '^\[(FAIL|CRASH|ERR|WARN|----)|FAILED|rror:|warning:|ERROR|still running|DATA RACE|FINDING|repeat it|survived' "$work/$name.log" |
        tail -n 40 | sed 's/^/  | /'
done
printf '#### %-19s %-6s %8s %8s\n' gate verdict wall CPU
cat "$work/summary"
if [[ ${#failed[@]} -gt 0 ]]; then
    echo "#### CI: FAILED: $(IFS=';'; echo "${failed[*]}")"
    exit 1
fi
echo "#### CI: all gates passed ($SECONDS s)"
