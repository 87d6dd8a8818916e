# What the measuring scripts of bench/ share; sourced. bash and awk only, no curl, no jq:
# looking at a replica must not cost what is measured.
# The caller has set -u and calls lib_begin NAME first.

bin=${PBFT_BIN_DIR:-build/bin}
results=${PBFT_RESULTS:-bench/results}
pids=() # of replicas by id, 0: down

note() { printf '%s\n' "$*" >&2; }
die() {
    note "$0: $*"
    exit 1
}

lib_begin() {
    for program in pbftd pbftctl pbft-bench; do
        [ -x "$bin/$program" ] || die "there is no $bin/$program: make first"
    done
    dir=$(mktemp -d "${TMPDIR:-/tmp}/pbft-$1-XXXXXX") || exit 1
    trap lib_end EXIT
    trap 'exit 130' INT TERM
    mkdir -p "$results"
}

lib_end() {
    local id
    for id in "${!pids[@]}"; do replica_stop "$id" TERM; done
    [ -n "${load:-}" ] && kill "$load" 2>/dev/null && wait "$load" 2>/dev/null
    [ -n "${KEEP:-}" ] && note "kept: $dir" || rm -rf "$dir"
}

free_port_block() { # free_port_block [COUNT]: a base port with so many free ports from it on
    local base port
    for _ in $(seq 50); do
        base=$((10000 + RANDOM % 20000))
        for port in $(seq "$base" $((base + ${1:-12} - 1))); do
            (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue 2
        done
        echo "$base"
        return
    done
    die "no free ports"
}

now_ms() { # EPOCHREALTIME: no process
    local t=${EPOCHREALTIME/[.,]/}
    ms=${t%???}
}

# ---- replicas

cluster_init() { # cluster_init FOLDER [N]: sets $c, $base and $n, all replicas down
    local id
    c="$dir/$1"
    n=${2:-4}
    base=$(free_port_block $((3 * n))) || exit 1
    "$bin/pbftctl" init "$c" --nodes "$n" --base-port "$base" --clients 4 >/dev/null || exit 1
    pids=()
    for ((id = 0; id < n; id++)); do pids[id]=0; done
}

# replica_start ID MODE [STRATEGY]: with a strategy, a liar. $niceness: of the process.
replica_start() {
    local program=pbftd fault=()
    [ -n "${3:-}" ] && program=pbftd-faulty fault=(--fault "$3")
    nice -n "${niceness:-0}" "$bin/$program" ${fault[@]+"${fault[@]}"} --config "$c/node-$1/node.conf" --durability "$2" 2>>"$c/node-$1/stderr" &
    pids[$1]=$!
    echo "$!" >"$c/node-$1/pbftd.pid" # pbft-bench reads it
}

replica_stop() { # replica_stop ID SIGNAL
    [ "${pids[$1]}" = 0 ] && return
    kill -"$2" "${pids[$1]}" 2>/dev/null
    wait "${pids[$1]}" 2>/dev/null
    pids[$1]=0
}

http_get() { # http_get ID PATH: sets $http_status and $http_body; fails if nobody answers
    local line fd
    http_status=0 http_body=
    { exec {fd}<>"/dev/tcp/127.0.0.1/$((base + 3 * $1 + 2))"; } 2>/dev/null || return 1
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&"$fd"
    IFS=' ' read -r _ http_status _ <&"$fd"
    while IFS= read -r line <&"$fd" && [ "$line" != $'\r' ] && [ -n "$line" ]; do :; done
    IFS= read -r -d '' http_body <&"$fd"
    exec {fd}>&-
    [ "${http_status:-0}" != 0 ]
}

ready() { http_get "$1" /readyz && [ "$http_status" = 200 ]; }

wait_ready() { # wait_ready ID SECONDS
    local until=$((SECONDS + $2))
    until ready "$1"; do
        [ "${pids[$1]}" != 0 ] && kill -0 "${pids[$1]}" 2>/dev/null || {
            tail -3 "$c/node-$1/stderr" >&2
            die "replica $1 has ended"
        }
        [ "$SECONDS" -lt "$until" ] || die "replica $1 was not ready within $2 s"
        sleep 0.02
    done
}

cluster_start() { # cluster_start MODE
    local id
    for ((id = 0; id < n; id++)); do replica_start "$id" "$1"; done
    for ((id = 0; id < n; id++)); do wait_ready "$id" 20; done
}

cluster_end() { # all replicas down, the folder gone
    local id
    for ((id = 0; id < n; id++)); do replica_stop "$id" TERM; done
    [ -n "${KEEP:-}" ] || rm -rf "$c"
}

metrics() { # metrics ID: sets the array $m, name (with labels) to value
    local name value
    declare -gA m=()
    http_get "$1" /metrics || return 1
    while read -r name value; do
        case $name in pbft_* | process_*) m[$name]=$value ;; esac
    done <<<"$http_body"
}

# ---- the machine

machine() {
    local model
    model=$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)
    echo "${model:-unknown processor}, $(nproc) cores, Linux $(uname -r), $(awk '/MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), $(df --output=fstype "$dir" | tail -1) on $(df --output=source "$dir" | tail -1)"
}
load_now() { cut -d ' ' -f 1-3 /proc/loadavg; }
# CPU time since the boot, in ticks: all of it, and what the host gave to others meanwhile.
cpu_ticks() { awk '$1 == "cpu" { for (i = 2; i <= 9; i++) sum += $i; print sum, $9 }' /proc/stat; }
stolen() { # stolen "$earlier" "$later": per cent
    awk -v a="$1" -v b="$2" 'BEGIN { split(a, x); split(b, y); printf "%.0f", (y[1] > x[1] ? 100 * (y[2] - x[2]) / (y[1] - x[1]) : 0) }'
}
memory_kb() { awk -v f="$2:" '$1 == f { print $2 }' "/proc/$1/status" 2>/dev/null; } # PID VmRSS|VmHWM
io_bytes() { awk -v f="$2:" '$1 == f { print $2 }' "/proc/$1/io" 2>/dev/null; }      # PID write_bytes

# What the disk below $dir was given since it started, by anybody. Not /proc/PID/io: where the page
# cache holds large folios, that counts the whole folio for each byte that is changed in it.
device_bytes() {
    local device
    device=$(df --output=source "$dir" | tail -1)
    sync -f "$dir"
    awk '{ printf "%.0f\n", $7 * 512 }' "/sys/class/block/${device##*/}/stat" 2>/dev/null || echo 0
}

json_number() { # json_number FILE KEY: of pbft-bench --json
    awk -v k="\"$2\":" '$1 == k { sub(/,$/, "", $2); print $2; exit }' "$1"
}
div() { awk -v a="$1" -v b="$2" -v f="${3:-%.2f}" 'BEGIN { if (b == 0) print "n/a"; else printf f, a / b }'; }
