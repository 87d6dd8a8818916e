#!/bin/bash
# Instructions an operation of the engine's hot paths (bench/regression), beside those of the committed
# baseline: a table on standard output, JSON in bench/results/regression.json. About 20 seconds.
#
#   regression.sh check PROGRAM      fails if a row takes more than 1.25 times its baseline
#   regression.sh baseline PROGRAM   writes the baseline anew
#   regression.sh --self-test        shows that the comparison rings
#
# Valgrind counts, and libsodium and glibc are told that there is nothing beyond plain x86-64: no figure
# depends on the processor or on what else it does. Each is divided by that of a calibration loop, in
# millions, so that another libsodium or libc moves both. A row has two: all instructions, and those
# outside libsodium, whose signatures and hashes would hide what the engine does around them.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

baseline=bench/regression/baseline.txt
results=${PBFT_RESULTS:-bench/results}
most=1.25    # times the baseline: above it the bench fails
little=0.8   # below it the baseline should be renewed
drift=0.02   # of the calibration loop, either way, before it is mentioned
share=0.05   # of a row: where less of it is outside libsodium, that part is not judged by itself

die() {
    printf 'bench-regression: %s\n' "$*" >&2
    exit 1
}

# count PROGRAM: lines of "row all outside", per operation and million of the calibration loop; that of
# the loop itself is in instructions. What valgrind wrote stays beside the program, a file a row.
count() {
    local counts=${1%/*}/regression-counts file line
    command -v valgrind >/dev/null || die "valgrind is not installed: run scripts/deps.sh regression."
    rm -rf "$counts"
    mkdir -p "$counts"
    # As bench/regression/portable.c does it for libsodium.
    GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX,-ERMS,-FSRM,-BMI1,-BMI2,-SSSE3,-SSE4_1,-SSE4_2,-LZCNT,-MOVBE,-POPCNT,-FMA,-XSAVE,-XSAVEC,-AVX_Fast_Unaligned_Load \
        valgrind --tool=callgrind --instr-atstart=no --compress-strings=no --compress-pos=no \
        --callgrind-out-file="$counts/row" "$1" >"$counts/log" 2>&1 ||
        { cat "$counts/log" >&2; die "the program that is counted failed; what it said stands above."; }
    for file in $(printf '%s\n' "$counts"/row.* | sort -t. -k2n); do
        line=$(sums "$file") || exit 1
        mv "$file" "$counts/${line%% *}"
        echo "$line"
    done | per_calibration
}

# sums FILE: "row operations all outside". After calls= comes what the callee took, which is in its own
# lines, too.
sums() {
    awk '/^desc: Trigger: Client Request: / { row = $5; operations = $6 }
         /^ob=/ { sodium = /libsodium/ }
         /^calls=/ { callee = 1; next }
         /^[0-9]/ { if (!callee) { all += $2; if (!sodium) outside += $2 } callee = 0 }
         /^totals:/ { totals = $2 }
         END { if (row == "" || all != totals) exit 1; printf "%s %d %d %d\n", row, operations, all, outside }' "$1" ||
        die "cannot read what valgrind wrote to $1."
}

per_calibration() {
    awk '$1 == "calibration" { loop = $3 / $2; printf "%s %.0f %.0f\n", $1, loop, $4 / $2; next }
         { printf "%s %.1f %.1f\n", $1, $3 / $2 / loop * 1e6, $4 / $2 / loop * 1e6 }'
}

# compare BASELINE NOW: the table; fails if a row is too slow, missing or new, and says which.
compare() {
    awk -v most="$most" -v little="$little" -v drift="$drift" -v share="$share" '
        # Keeps what is to be said of a row, once; returns the ratio.
        function judge(row, was, now, where,   ratio) {
            ratio = was > 0 ? now / was : 1
            if (ratio > most) slow = slow (slow == "" ? "" : ", ") sprintf("%s takes %.2f times its instructions%s", row, ratio, where)
            if (ratio < little) fast = fast (fast == "" ? "" : ", ") sprintf("%s takes %.2f times its instructions%s", row, ratio, where)
            return sprintf("%.3f", ratio)
        }
        /^#/ { next }
        FNR == NR { was_all[$1] = $2; was_outside[$1] = $3; next }
        $1 == "calibration" { loop = $2; seen[$1] = 1; next }
        { names[++rows] = $1; all[$1] = $2; outside[$1] = $3; seen[$1] = 1 }
        END {
            print "| row | baseline | now | ratio | outside libsodium: baseline | now | ratio |"
            print "|---|---|---|---|---|---|---|"
            for (i = 1; i <= rows; i++) {
                row = names[i]
                if (!(row in was_all)) { printf "| %s | | %.0f | | | %.0f | |\n", row, all[row], outside[row]; odd = odd " " row; continue }
                of_all = judge(row, was_all[row], all[row], "")
                of_outside = "–"
                if (was_outside[row] >= share * was_all[row])
                    of_outside = judge(row, was_outside[row], outside[row], " outside libsodium")
                printf "| %s | %.0f | %.0f | %s | %.0f | %.0f | %s |\n", row, was_all[row], all[row], of_all, was_outside[row], outside[row], of_outside
            }
            print "\nInstructions an operation for each million of the calibration loop."
            for (row in was_all) if (!(row in seen)) odd = odd " " row
            if (loop < was_all["calibration"] * (1 - drift) || loop > was_all["calibration"] * (1 + drift))
                printf "Note: the calibration loop takes %d instructions, and took %d at the baseline: another libsodium, libc or compiler.\n", loop, was_all["calibration"]
            if (fast != "")
                printf "Note: against the baseline %s: renew it with `make bench-regression-baseline`, so that it guards what was won.\n", fast
            fflush()
            if (slow != "")
                printf "bench-regression: FAILED: against the baseline %s: see why in callgrind_annotate build/bench/regression-counts/ROW, or, if they are worth it, write the baseline anew with `make bench-regression-baseline` and say in its commit what they are spent on.\n", slow > "/dev/stderr"
            if (odd != "")
                printf "bench-regression: FAILED: the baseline and the program have not the same rows (%s): write it anew with `make bench-regression-baseline`.\n", substr(odd, 2) > "/dev/stderr"
            exit slow != "" || odd != ""
        }' "$1" "$2"
}

# ---- the comparison itself: each case must end as it says

self_test() {
    local cases=0
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    printf '# comment\ncalibration 1000 500\na 100 40\nb 200 200\nc 1000 10\n' >"$work/was"
    expect() { # expect VERDICT WORDS NOW...: lines of what was measured
        local verdict=passes words=$2 wanted=$1
        shift 2
        printf '%s\n' "$@" >"$work/now"
        compare "$work/was" "$work/now" >"$work/said" 2>&1 || verdict=fails
        [[ $verdict == "$wanted" ]] || die "the self-test is wrong: '$*' $verdict."
        grep -q -- "$words" "$work/said" || die "the self-test is wrong: '$*' is not told of as '$words'."
        cases=$((cases + 1))
    }
    local loop='calibration 1000 500' a='a 100 40' b='b 200 200' c='c 1000 10'
    expect passes '| a | 100 | 100 | 1.000 | 40 | 40 | 1.000 |' "$loop" "$a" "$b" "$c"
    expect passes '| b | 200 | 250 | 1.250 |' "$loop" "$a" 'b 250 250' "$c"
    expect fails 'FAILED: against the baseline b takes 1.26 times' "$loop" "$a" 'b 252 200' "$c"
    expect fails 'FAILED: against the baseline a takes 1.50 times its instructions outside libsodium' "$loop" 'a 120 60' "$b" "$c"
    expect passes '| 10 | 20 | – |' "$loop" "$a" "$b" 'c 1010 20'
    expect passes 'Note: against the baseline b takes 0.75 times' "$loop" "$a" 'b 150 150' "$c"
    expect passes 'Note: the calibration loop takes 1030' 'calibration 1030 500' "$a" "$b" "$c"
    expect fails 'not the same rows (b)' "$loop" "$a" "$c"
    expect fails 'not the same rows (d)' "$loop" "$a" "$b" "$c" 'd 1 1'
    expect fails 'not the same rows' ''
    echo "== bench-regression: the comparison rings ($cases cases)"
}

# ---- a run

json() {
    awk 'BEGIN { printf "{" }
         { printf "%s\"%s\":{\"all\":%s,\"outside_libsodium\":%s}", comma, $1, $2, $3; comma = "," }
         END { print "}" }' "$1"
}

[[ ${1:-} != --self-test ]] || { self_test; exit; }
[[ $# -eq 2 && ($1 == check || $1 == baseline) ]] || die "say check or baseline, and the program: make bench-regression."
[[ -x $2 ]] || die "there is no program $2: make bench-regression."
now=$(mktemp)
trap 'rm -f "$now"' EXIT
count "$2" >"$now" || exit 1
mkdir -p "$results"
json "$now" >"$results/regression.json"
if [[ $1 == baseline ]]; then
    {
        echo "# What make bench-regression compares with; written by make bench-regression-baseline."
        echo "# Row, all instructions an operation, those outside libsodium, for each million of the calibration"
        echo "# loop; of the loop itself: instructions."
        echo "# machine $(uname -m)"
        cat "$now"
    } >"$baseline"
    echo "Written: $baseline. Say in its commit why the figures moved."
    exit
fi
[[ -f $baseline ]] || die "there is no $baseline: write it with \`make bench-regression-baseline\`."
machine=$(awk '$2 == "machine" { print $3 }' "$baseline")
if [[ $machine != "$(uname -m)" ]]; then
    echo "== bench-regression: the baseline is of $machine, and this is $(uname -m): counted, not judged"
    exit
fi
compare "$baseline" "$now" || exit 1
echo "== bench-regression: $(($(wc -l <"$now") - 1)) rows, none above $most times its baseline"
