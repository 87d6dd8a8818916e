#!/bin/bash
# make bench-docs, bench-peers-docs: tables of bench/results between the markers of their page in
# docs/, and the plots beside it.
#
#   bench/suite/docs.sh performance|peers
set -u
cd "$(dirname "$0")/../.." || exit 1
results=${PBFT_RESULTS:-bench/results}
die() {
    echo "$0: $*" >&2
    exit 1
}
table=$(mktemp) || exit 1
trap 'rm -f "$table"' EXIT
case ${1:-} in
    performance)
        [ -s "$results/performance.md" ] || die "there is no $results/performance.md: make bench first"
        cat "$results/performance.md" >"$table" || exit 1
        plots=("$results"/performance-*.svg)
        ;;
    peers)
        for file in peers.json peers.svg; do
            [ -s "$results/$file" ] || die "there is no $results/$file: make bench-peers first"
        done
        # Without what each system promises, which peers.md has from the page.
        jq -r -f bench/peers/table.jq "$results/peers.json" >"$table" || exit 1
        printf '\n![Operations a second, and latency](images/peers.svg)\n\n' >>"$table"
        plots=("$results/peers.svg")
        ;;
    *) die "give it performance or peers" ;;
esac
page=docs/$1.md
[ "$(grep -c '^<!-- table: \(begin\|end\) -->$' "$page")" = 2 ] || die "$page has lost its markers"
awk -v table="$table" '
    /^<!-- table: begin -->$/ { print; print ""; while ((getline line < table) > 0) print line; skipping = 1 }
    /^<!-- table: end -->$/ { skipping = 0 }
    !skipping { print }' "$page" >"$page.new" && mv "$page.new" "$page" || exit 1
written=0
for plot in "${plots[@]}"; do
    if [ -e "$plot" ]; then cp "$plot" docs/images/ && written=$((written + 1)); fi
done
echo "wrote $page and $written plots in docs/images"
