#!/usr/bin/env bash
# Install Debian packages for the groups named (build, ci, coverage, bench, peers, regression, fresh, model). A no-op
# when all of them are there. Needs root or sudo only when something is missing. Servers among them (peers) are neither
# started by their installation nor at the next boot.
set -euo pipefail

peer_libraries="libnghttp2-dev libhiredis-dev libzookeeper-st-dev"
declare -A packages=(
    [build]="gcc libc6-dev make binutils pkg-config procps libsodium-dev libnng-dev libcriterion-dev libinih-dev libjansson-dev liblmdb-dev jq curl xxd"
    [peers]="etcd-server redis-server zookeeper $peer_libraries"
    [ci]="clang-14 libclang-rt-14-dev clang-tidy-14 clang-format-14 cppcheck patch valgrind $peer_libraries"
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

# ---- services stay down: policy-rc.d is asked before any is started

policy=/usr/sbin/policy-rc.d
policy_ours=
services=()
for name in "${missing[@]}"; do
    case $name in
        etcd-server) services+=(etcd) ;;
        redis-server) services+=(redis-server) ;;
    esac
done

policy_begin() {
    # A link that leads nowhere is somebody's, too.
    if [[ -e $policy || -L $policy ]]; then
        local service status
        for service in "${services[@]}"; do
            status=0
            "$policy" "$service" start >/dev/null 2>&1 || status=$?
            [[ $status -eq 101 ]] && continue
            echo "$policy of this machine lets packages start $service: move it away for the time of the" \
                "installation, or install ${missing[*]} yourself." >&2
            exit 1
        done
        return
    fi
    policy_ours=1
    # noclobber: whoever came first keeps it
    if ! "${as_root[@]}" sh -c "set -C; printf '#!/bin/sh\\nexit 101\\n' >$policy && chmod 755 $policy"; then
        policy_ours=
        echo "$policy could not be written, and without it packages start ${services[*]}." >&2
        exit 1
    fi
}

end() {
    [[ -z $policy_ours ]] || "${as_root[@]}" rm -f "$policy"
    rm -f "$log"
}

echo "Installing: ${missing[*]}"
log=$(mktemp)
trap end EXIT
trap 'exit 130' INT TERM HUP
[[ ${#services[@]} -eq 0 ]] || policy_begin
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
for service in "${services[@]}"; do
    command -v systemctl >/dev/null || break
    "${as_root[@]}" systemctl disable --quiet "$service" 2>/dev/null ||
        echo "deps.sh: '$service' starts at the next boot: systemctl disable $service" >&2
done
