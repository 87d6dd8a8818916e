# shellcheck shell=bash
# shellcheck disable=SC2154 # dir, base and pids are of bench/lib.sh
# The systems that bench/peers.sh measures, on loopback, each in a folder of its own below $dir;
# sourced after bench/lib.sh. A server is a process started here, and is ended by its id.

ZK_JARS=/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar
declare -A servers=() # system to the process ids of its servers
declare -A base_of=() # system to its base port

server_start() { # server_start SYSTEM LOG COMMAND...
    local system=$1 log=$2
    shift 2
    "$@" >>"$log" 2>&1 </dev/null &
    servers[$system]="${servers[$system]:-} $!"
}

# Asked to end, all at once; whoever has not after ten seconds is killed.
servers_end() {
    local pid until=$((SECONDS + 10))
    # shellcheck disable=SC2068 # process ids, several in a word
    set -- ${servers[@]}
    servers=()
    [ $# -gt 0 ] && kill "$@" 2>/dev/null
    for pid in "$@"; do
        while kill -0 "$pid" 2>/dev/null && [ "$SECONDS" -lt "$until" ]; do sleep 0.05; done
        kill -9 "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
}

# wait_for SYSTEM WHAT COMMAND...: until COMMAND succeeds, for thirty seconds, while its servers run.
wait_for() {
    local system=$1 what=$2 pid until=$((SECONDS + 30))
    shift 2
    until "$@"; do
        for pid in ${servers[$system]}; do
            kill -0 "$pid" 2>/dev/null && continue
            tail -n 5 "$dir/$system"/*.log >&2
            die "a server of $system has ended"
        done
        [ "$SECONDS" -lt "$until" ] || die "$system: $what took more than 30 s"
        sleep 0.1
    done
}

# ---- pbft: 4 replicas

pbft_start() { # pbft_start MODE: as system pbft-MODE
    cluster_init "pbft-$1"
    cluster_start "$1"
    base_of[pbft-$1]=$base
    servers[pbft-$1]="${pids[*]}"
    pids=() # whoever ends: servers_end
}

# ---- etcd: 3 members

etcd_start() {
    local i at cluster=
    at=$(free_port_block) || exit 1
    base_of[etcd]=$at
    mkdir "$dir/etcd"
    for i in 0 1 2; do cluster+="${cluster:+,}e$i=http://127.0.0.1:$((at + 3 + i))"; done
    for i in 0 1 2; do
        server_start etcd "$dir/etcd/$i.log" etcd --name "e$i" --data-dir "$dir/etcd/$i" \
            --listen-client-urls "http://127.0.0.1:$((at + i))" \
            --advertise-client-urls "http://127.0.0.1:$((at + i))" \
            --listen-peer-urls "http://127.0.0.1:$((at + 3 + i))" \
            --initial-advertise-peer-urls "http://127.0.0.1:$((at + 3 + i))" \
            --initial-cluster "$cluster" --initial-cluster-token "$base" --initial-cluster-state new
    done
    wait_for etcd "electing a leader" etcd_leader
}

etcd_leader() { # sets $leader, the port where it listens
    local i answer at=${base_of[etcd]}
    for i in 0 1 2; do
        leader=$((at + i))
        answer=$(curl -s -m 2 -d '{}' "http://127.0.0.1:$leader/v3/maintenance/status") || continue
        jq -e '.leader != null and .leader == .header.member_id' <<<"$answer" >/dev/null 2>&1 && return
    done
    return 1
}

# ---- ZooKeeper: an ensemble of 3

zookeeper_start() {
    local i at
    at=$(free_port_block) || exit 1
    base_of[zookeeper]=$at
    mkdir "$dir/zookeeper"
    for i in 1 2 3; do
        mkdir "$dir/zookeeper/$i"
        echo "$i" >"$dir/zookeeper/$i/myid"
        cat >"$dir/zookeeper/$i.cfg" <<END
tickTime=2000
initLimit=10
syncLimit=5
dataDir=$dir/zookeeper/$i
clientPortAddress=127.0.0.1
clientPort=$((at + i))
admin.enableServer=false
server.1=127.0.0.1:$((at + 4)):$((at + 7))
server.2=127.0.0.1:$((at + 5)):$((at + 8))
server.3=127.0.0.1:$((at + 6)):$((at + 9))
END
        # The heap is the one that its own zkServer.sh gives.
        server_start zookeeper "$dir/zookeeper/$i.log" java -Xmx1000m -cp "$ZK_JARS" \
            -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dzookeeper.jmx.log4j.disable=true \
            org.apache.zookeeper.server.quorum.QuorumPeerMain "$dir/zookeeper/$i.cfg"
    done
    wait_for zookeeper "electing a leader" zookeeper_leader
}

zookeeper_leader() { # the same
    local i fd name mode at=${base_of[zookeeper]}
    for i in 1 2 3; do
        leader=$((at + i))
        { exec {fd}<>"/dev/tcp/127.0.0.1/$leader"; } 2>/dev/null || continue
        printf srvr >&"$fd"
        while IFS=': ' read -r -t 2 name mode <&"$fd" && [ "$name" != Mode ]; do :; done
        exec {fd}>&-
        [ "$mode" = leader ] && return
    done
    return 1
}

# ---- Redis: one server, and a primary with 2 replicas

redis_server() { # redis_server SYSTEM NUMBER OPTIONS...
    local port=$((${base_of[$1]} + $2))
    mkdir "$dir/$1/$2"
    server_start "$1" "$dir/$1/$2.log" redis-server --bind 127.0.0.1 --port "$port" --dir "$dir/$1/$2" \
        --save '' --appendonly yes --appendfsync always "${@:3}"
    wait_for "$1" "starting" redis_answers "$port"
}
redis_answers() { [ "$(redis-cli -p "$1" ping 2>/dev/null)" = PONG ]; }
redis_replicated() { # redis_replicated PORT COUNT
    [ "$(redis-cli -p "$1" info replication 2>/dev/null | grep -c 'state=online')" = "$2" ]
}

redis_start() { # as systems redis and redis-wait
    local i
    mkdir "$dir/redis" "$dir/redis-wait"
    base_of[redis]=$(free_port_block) || exit 1
    redis_server redis 0
    base_of[redis-wait]=$(free_port_block) || exit 1
    redis_server redis-wait 0
    for i in 1 2; do redis_server redis-wait "$i" --replicaof 127.0.0.1 "${base_of[redis-wait]}"; done
    wait_for redis-wait "replicating" redis_replicated "${base_of[redis-wait]}" 2
}

redis_fsync() { # redis_fsync always|everysec
    [ "$(redis-cli -p "${base_of[redis]}" config set appendfsync "$1" 2>&1)" = OK ] ||
        die "redis: appendfsync could not be set to $1"
}

# ---- versions of the packages

version_of() { dpkg-query -W -f='${Version}' "$1" 2>/dev/null || echo unknown; }
