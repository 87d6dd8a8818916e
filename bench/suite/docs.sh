#!/bin/bash
# make bench-docs: the table of bench/results between the markers of docs/performance.md, and the
# plots beside it.
set -u
cd "$(dirname "$0")/../.." || exit 1
results=${PBFT_RESULTS:-bench/results}
page=docs/performance.md
[ -s "$results/performance.md" ] || { echo "$0: there is no $results/performance.md: make bench first" >&2; exit 1; }
[ "$(grep -c '^<!-- table: \(begin\|end\) -->$' "$page")" = 2 ] || { echo "$0: $page has lost its markers" >&2; exit 1; }
awk -v table="$results/performance.md" '
    /^<!-- table: begin -->$/ { print; print ""; while ((getline line < table) > 0) print line; skipping = 1 }
    /^<!-- table: end -->$/ { skipping = 0 }
    !skipping { print }' "$page" >"$page.new" && mv "$page.new" "$page" || exit 1
for plot in "$results"/performance-*.svg; do
    if [ -e "$plot" ]; then cp "$plot" docs/images/; fi
done
echo "wrote $page and $(find "$results" -name 'performance-*.svg' | wc -l) plots in docs/images"
