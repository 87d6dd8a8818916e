#!/usr/bin/env bash
# twins-mutants.sh [NAME...]: which wrong rules of tests/mutants the twins find, and in how many of
# the scenarios of `make twins-smoke`. Without names: every patch of the files that agreement rests
# on. A report, not a gate: much of what the patches break, twins at n = 4 cannot show.
#
# Each patch is applied to one copy of the tree, built, run and taken back.
set -uo pipefail

cd "$(dirname "$0")/.." || exit
root=$PWD
make=${MAKE:-make}
unset MAKEFLAGS MFLAGS MAKELEVEL
agreement='(quorum|slot|new_view|view_change|install|certificate|votes|normal|checkpoint|evidence)'

. scripts/mutants-common.sh
choose_patches "$@"
if [[ $# -eq 0 ]]; then mapfile -t patches < <(grep -lE "^--- a/pbft/$agreement\.c" "${patches[@]}"); fi
[[ ${#patches[@]} -gt 0 ]] || { echo "twins-mutants.sh: no patch matches '$*'" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
copy_tree "$work" obj lib
cd "$work" || exit
twins=build/tests/pbft-twins
"$make" -j2 MUTANT=1 "$twins" >build.log 2>&1 || { tail build.log >&2; exit 1; }

# run OPTIONS...: "violating/all" of one enumeration, and the first violation's text in $first
run() {
    timeout 600 "$twins" --quiet --failures 0 --jobs "${JOBS:-1}" "$@" >out.log 2>err.log
    local line
    line=$(sed -n 's/^twins: \([0-9]*\) of .* \([0-9]*\) violations.*/\2 of \1/p' out.log)
    [[ -z $first ]] && first=$(sed -n 's/^VIOLATION //p' out.log | head -n 1)
    result=${line:-"no end"}
}

killed=0
format="%-34s %14s %14s %14s %14s  %s\n"
printf "$format" mutant "2 groups, 3 r." "all, 2 rounds" "n = 5, 2 r." drawn \
    'first violation'
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    if ! patch -s -p1 --fuzz=0 <"$root/$patch" >patch.log 2>&1; then
        printf '%-34s does not apply\n' "$name"
        git -C "$root" ls-files -z pbft | (cd "$root" && tar -cf - --null -T -) | tar -xf - -C .
        continue
    fi
    if "$make" -j2 MUTANT=1 "$twins" >build.log 2>&1; then
        first=
        run --groups 2 --rounds 3; a=$result
        run --groups all --rounds 2; b=$result
        run --n 5 --groups 2 --rounds 2; c=$result
        run --random 1000; d=$result
        printf "$format" "$name" "$a" "$b" "$c" "$d" \
            "${first:-survives}"
        [[ -n $first ]] && killed=$((killed + 1))
    else
        printf '%-34s does not build\n' "$name"
    fi
    patch -s -R -p1 --fuzz=0 <"$root/$patch"
done
echo "== twins-mutants: $killed of ${#patches[@]} found"
