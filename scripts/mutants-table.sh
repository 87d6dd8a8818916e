#!/usr/bin/env bash
# mutants-table.sh: run every wrong rule of tests/mutants against the tests and against pbft-sim, and write
# docs/mutants.md. About an hour on two cores; TESTS=FILE and SIM=FILE take reports that exist instead
# (REPORT= of scripts/mutants.sh and scripts/sim-mutants.sh).
set -uo pipefail

cd "$(dirname "$0")/.." || exit
seeds=${SEEDS:-1000} row_seeds=${ROW_SEEDS:-10}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
tests=${TESTS:-} sim=${SIM:-}
if [[ -z $tests ]]; then
    tests=$work/tests
    REPORT=$tests scripts/mutants.sh || exit
fi
if [[ -z $sim ]]; then
    sim=$work/sim
    SEEDS=$seeds ROW_SEEDS=$row_seeds REPORT=$sim scripts/sim-mutants.sh || exit
fi

# What is wrong in each: the first line of its patch.
for patch in tests/mutants/*.patch; do
    printf '%s\t%s\n' "$(basename "$patch" .patch)" \
        "$(head -n 1 "$patch" | sed 's/^# *//; s/wrong here: //; s/|/\\|/g')"
done >"$work/rules"

LC_ALL=C awk -F '\t' -v seeds="$seeds" -v row_seeds="$row_seeds" '
    FILENAME == ARGV[1] { test[$1] = $2; next }
    FILENAME == ARGV[2] { seed[$1] = $2; check[$1] = $3; next }
    {
        name = $1; rule = $2
        colon = index(rule, ": ")
        noticed = test[name]
        sub(/^caught by /, "", noticed)
        if (noticed == "" || noticed ~ /SURVIVED|no longer|compile/) alive = alive " " name
        n++
        if (seed[name] == "" || seed[name] == "-") by = "-"
        else {
            killed++
            if (seed[name] == "all") by = check[name]
            else if (index(seed[name], ":"))
                by = check[name] ", row " substr(seed[name], 1, index(seed[name], ":") - 1) \
                     ", seed " substr(seed[name], index(seed[name], ":") + 1)
            else { by = check[name] ", seed " seed[name]; drawn++; if (seed[name] <= 100) early++ }
        }
        gsub(/::/, ".", noticed); sub(/: /, " `", noticed); noticed = noticed "`"
        row[n] = sprintf("| %s | %s | %s | %s | %s |", name, substr(rule, 1, colon - 1),
                         substr(rule, colon + 2), noticed, by)
    }
    END {
        print "# Wrong rules, and what notices them"
        print ""
        print "Each patch of `tests/mutants` breaks one rule of the protocol. Made by `make mutants-table`: `make mutants`"
        print "(a gate of CI) demands that the named test fails, `make sim-mutants` runs `pbft-sim` on the broken engine."
        print ""
        printf "Of %d wrong rules %d are killed by a test", n, n - split(alive, dead, " ")
        printf " and %d also by the simulator: %d in drawn worlds within %d seeds\n", killed, drawn, seeds
        printf "(%d of them within 100), the others in a row of the faults'"'"' catalogue within %d seeds, or because a campaign\n", early, row_seeds
        print "no longer meets what it must. The simulator looks at replicas and clients that talk; what it does not see are mostly"
        print "rules whose breaking costs time and not safety, or which a second rule still guards, and what only a forger with"
        print "other tools than ours would use."
        print ""
        print "| mutant | rule | what is wrong in it | killed by the test | killed by the simulator: check, after how many seeds |"
        print "|---|---|---|---|---|"
        for (i = 1; i <= n; i++) print row[i]
        if (alive != "") { print "mutants-table.sh: survived:" alive > "/dev/stderr"; exit 1 }
    }' "$tests" "$sim" "$work/rules" >"$work/table" || exit
cp "$work/table" docs/mutants.md
echo "== mutants-table: docs/mutants.md: $(($(grep -c '^| ' docs/mutants.md) - 1)) mutants"
