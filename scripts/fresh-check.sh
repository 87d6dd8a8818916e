#!/usr/bin/env bash
# fresh-check.sh [COMMAND]: what a newcomer does. In a fresh Debian 12 that has only git, make and
# ca-certificates: clone HEAD, `make demo`, `make test`, nothing else. With COMMAND, run that in the
# clone instead (to try the chroot itself). Root only. KEEP=1 leaves the chroot behind.
#
# The mirror, keys, proxies and name servers are this machine's own, read at run time.
set -euo pipefail

cd "$(dirname "$0")/.."
root=$PWD
suite=bookworm
base=$root/build/fresh/base-$suite.tar

[[ $(id -u) -eq 0 ]] || { echo "fresh-check needs root (chroot, mount)." >&2; exit 1; }
if [[ -z $(git rev-parse --verify --quiet HEAD) ]]; then
    echo "fresh-check clones HEAD, and there is no commit yet." >&2
    exit 1
fi
[[ -z $(git status --porcelain) ]] || echo "note: uncommitted changes are not part of what is checked"

chroot_dir=$(mktemp -d "${TMPDIR:-/var/tmp}/pbft-fresh.XXXXXX")
mounted=()
cleanup() {
    local i
    # What still runs inside would keep the mounts busy.
    for i in /proc/[0-9]*; do
        [[ $(readlink "$i/root" 2>/dev/null) == "$chroot_dir"* ]] && kill -9 "${i#/proc/}" 2>/dev/null
    done
    for ((i = ${#mounted[@]} - 1; i >= 0; i--)); do
        umount "${mounted[i]}" 2>/dev/null || umount -l "${mounted[i]}" || true
    done
    if [[ ${KEEP:-0} == 1 ]]; then
        echo "kept: $chroot_dir"
    elif ! grep -q " $chroot_dir/" /proc/mounts; then
        rm -rf --one-file-system "$chroot_dir"
    else
        echo "still mounted, not removed: $chroot_dir" >&2
    fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# The repository that this machine's apt takes Debian's main packages from.
mirror() {
    apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
        awk -v s="$suite" '$2 == s && $3 == "main" { print $1; exit }'
}

if [[ ! -s $base ]]; then
    uri=$(mirror)
    [[ -n $uri ]] || { echo "apt of this machine has no source for $suite main." >&2; exit 1; }
    echo "== debootstrap $suite from ${uri%%\?*}"
    mkdir -p "$(dirname "$base")"
    debootstrap --variant=minbase --include=git,make,ca-certificates "$suite" "$chroot_dir" "$uri" \
        >"$base.log" 2>&1 || { tail -n 20 "$base.log" >&2; exit 1; }
    tar -C "$chroot_dir" --one-file-system -cf "$base.part" .
    mv "$base.part" "$base"
else
    echo "== base system from $base"
    tar -C "$chroot_dir" -xf "$base"
fi

# The chroot installs packages the way this machine does.
for part in sources.list sources.list.d apt.conf apt.conf.d auth.conf auth.conf.d preferences.d keyrings trusted.gpg.d; do
    [[ -e /etc/apt/$part ]] || continue
    rm -rf "$chroot_dir/etc/apt/$part"
    cp -a "/etc/apt/$part" "$chroot_dir/etc/apt/$part"
done
for part in /etc/resolv.conf /etc/hosts /etc/ssl/certs /usr/local/share/ca-certificates; do
    [[ -e $part ]] || continue
    mkdir -p "$chroot_dir$(dirname "$part")"
    rm -rf "${chroot_dir:?}$part"
    cp -aL "$part" "$chroot_dir$part"
done
mount -t proc proc "$chroot_dir/proc"
mounted+=("$chroot_dir/proc")
mount -t tmpfs -o mode=1777 tmpfs "$chroot_dir/dev/shm" 2>/dev/null && mounted+=("$chroot_dir/dev/shm")
for device in null zero full random urandom; do
    [[ -e $chroot_dir/dev/$device ]] || cp -a "/dev/$device" "$chroot_dir/dev/$device"
done

git clone --quiet --no-hardlinks "$root" "$chroot_dir/root/pbft"
echo "== fresh clone of $(git rev-parse --short HEAD)"

inside() {
    echo "== fresh: $1"
    local start=$SECONDS status=0
    chroot "$chroot_dir" /usr/bin/env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
        bash -c "cd /root/pbft && $1" </dev/null || status=$?
    if [[ $status -ne 0 ]]; then
        echo "== fresh-check: FAILED: $1 (exit status $status, $((SECONDS - start)) s)"
        exit 1
    fi
    echo "== fresh: $1: ok ($((SECONDS - start)) s)"
}

if [[ $# -gt 0 ]]; then
    inside "$*"
else
    inside "make demo"
    inside "make test"
fi
echo "== fresh-check: passed"
