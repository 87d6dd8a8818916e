#!/usr/bin/env bash
# Lines of C by folder, without blank lines and comments.
set -euo pipefail

total=0
printf '%-18s %6s %8s\n' folder files lines
for folder in pbft crypto net store service replica replica/faults client client/ctl bench bench/chain \
    examples tests/unit tests/rules tests/golden tests/sim tests/live tests/tsan tests/fuzz; do
    shopt -s nullglob
    files=("$folder"/*.c "$folder"/*.h)
    [[ ${#files[@]} -eq 0 ]] && continue
    lines=$(cat "${files[@]}" | awk '
        { line = $0
          while (1) {
              if (inside) { i = index(line, "*/"); if (!i) { line = ""; break }
                            line = substr(line, i + 2); inside = 0 }
              i = index(line, "/*"); if (!i) break
              rest = substr(line, i + 2); head = substr(line, 1, i - 1)
              if (head ~ /[^ \t]/) code = 1
              line = rest; inside = 1 }
          sub(/^[ \t]*\/\/.*/, "", line)
          if (line ~ /[^ \t]/ || code) n++
          code = 0 }
        END { print n + 0 }')
    printf '%-18s %6d %8d\n' "$folder" "${#files[@]}" "$lines"
    total=$((total + lines))
done
printf '%-18s %6s %8d\n' total '' "$total"
