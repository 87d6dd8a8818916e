#!/usr/bin/env bash
# Install Debian packages for the groups named (build, ci, coverage, bench, regression, fresh, model). A no-op when
# all of them are there. Needs root or sudo only when something is missing.
set -euo pipefail

declare -A packages=(
    [build]="gcc libc6-dev make binutils pkg-config procps libsodium-dev libnng-dev libcriterion-dev libinih-dev libjansson-dev liblmdb-dev jq curl xxd"
    [ci]="clang-14 libclang-rt-14-dev clang-tidy-14 clang-format-14 cppcheck patch valgrind"
    [coverage]="gcovr"
    [bench]="gnuplot-nox"
    [regression]="valgrind"
    [model]="spin gcc libc6-dev"
    [fresh]="debootstrap git"
)

wanted=()
for group in "${@:-build}"; do
    if [[ -z ${packages[$group]:-} ]]; then
        echo "deps.sh: unknown group '$group' (one of: ${!packages[*]})" >&2
        exit 2
    fi
    read -ra names <<<"${packages[$group]}"
    wanted+=("${names[@]}")
done

if ! command -v dpkg-query >/dev/null; then
    echo "deps.sh: not a Debian system: install the equivalents of: ${wanted[*]}" >&2
    exit 1
fi

# A package counts as present when it, or (pkg-config, provided by pkgconf) what it gives, is there.
missing=()
for name in "${wanted[@]}"; do
    [[ $(dpkg-query -W -f='${Status}' "$name" 2>/dev/null) == *" ok installed" ]] && continue
    [[ $name == pkg-config ]] && command -v pkg-config >/dev/null && continue
    missing+=("$name")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

if [[ $(id -u) -eq 0 ]]; then
    as_root=(env)
elif command -v sudo >/dev/null; then
    as_root=(sudo env)
else
    echo "Cannot install ${missing[*]}: run this as root, install sudo, or install them yourself." >&2
    exit 1
fi

echo "Installing: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
apt() {
    "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
        -o Acquire::Retries=3 "$@"
}
if ! { apt update && apt install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "Installing failed: ${missing[*]}" >&2
    exit 1
fi
