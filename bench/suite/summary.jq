# Rounds to performance.json: --slurpfile rounds, --argjson about.

def median: sort | if length == 0 then null elif length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end;
def spread: map(select(. != null)) | if length == 0 then null else {min: min, median: median, max: max} end;
def mib: . / 1048576;

def figures: {
    rounds: length, n: .[0].n, durability: .[0].bench.durability,
    clients: .[0].bench.clients, bundle: .[0].bench.bundle, inflight: .[0].bench.inflight,
    keys: .[0].bench.keys, reads_percent: .[0].bench.reads, value_bytes: .[0].bench.value_bytes,
    ops_per_s: map(.bench.ops_per_s) | spread,
    p50_ms: map(.bench.p50_ms) | spread,
    p99_ms: map(.bench.p99_ms) | spread,
    cpu_ms_per_op: map(.bench.cpu_ms_per_op) | spread,
    client_cpu_share: map(.bench | .cpu_s_client / ([.cpu_s_client + .cpu_s_replicas, 1e-9] | max)) | spread,
    memory_mib: map(.bench.replica_rss_bytes | max | mib) | spread,
    state_mib: map(.state_bytes | mib) | spread,
    ops_per_batch: map(select(.batches > 0) | .operations_executed / .batches) | spread,
    stolen_percent: map(.stolen_percent) | spread,
    # Means; what is no stage of the primary is the client, the network, and the reply.
    stages_ms: (map(select(.stages_ms and .bench.reads == 0) | (.stages_ms + [.bench.mean_ms - (.stages_ms | add)])) |
        if . == [] then null else transpose | map(spread) | {wait: .[0], prepare: .[1], commit: .[2], execute: .[3], else: .[4]} end),
    failed: map(.bench.errors + .bench.wrong + .bench.lost) | add
};

# Kilobytes a second by least squares over the second half of the samples, of each replica.
def growth: (.[length / 2 | floor:]) as $half
    | [range(1; $half[0] | length) as $r
       | ($half | map(.[0])) as $t | ($half | map(.[$r])) as $m | ($t | length) as $k
       | ($t | add / $k) as $mt | ($m | add / $k) as $mm
       | ([range($k) | ($t[.] - $mt) * ($m[.] - $mm)] | add) / ([range($k) | ($t[.] - $mt) * ($t[.] - $mt)] | add | if . == 0 then 1 else . end)];

def of($case): [$rounds[] | select(.case == $case)];
def cases: ["A", "B", "C", "D", "E", "F", "F1"];

$about + {
    basic: (reduce cases[] as $c ({}; of($c) as $r | if $r == [] then . else .[$c] = ($r | figures) end)),
    keys: (of("keys") | group_by([.keys, .durability]) | map(figures)),
    lies: (of("G") + of("hostile") | group_by([.hostile, .strategy]) | map({
        strategy: .[0].strategy, liar: .[0].liar, hostile: (.[0].hostile == true), rounds: length, acts: map(.acts) | spread,
        before_ops_per_s: map(.before_ops_per_s) | spread, after_ops_per_s: map(.after_ops_per_s) | spread, ratio: map(.ratio) | spread,
        p99_ms: map(.bench.p99_ms) | spread, failed: map(.bench.errors + .bench.wrong + .bench.lost) | add, timeline: .[0].timeline})),
    failover: (of("H") | if . == [] then null else {
        rounds: length, durability: .[0].bench.durability, view_timeout_ms: .[0].view_timeout_ms, back_ms: map(.back_ms) | spread,
        time_outs: map(.time_outs) | spread, silence_ms: map(.silence_ms) | spread,
        verified: map(.bench.verified) | spread, lost: map(.bench.lost) | add, errors: map(.bench.errors) | add, timeline: .[0].timeline} end),
    memory: (of("I") | if . == [] then null else .[0] | {
        durability: .bench.durability, seconds: .bench.seconds, ops: .bench.ops, ops_per_s: .bench.ops_per_s, state_mib: (.state_bytes | mib),
        most_mib: ([.resident_kib[][1:][]] | max / 1024), peak_mib: (.peak_kib / 1024),
        beyond_state_mib: (([.resident_kib[][1:][]] | max / 1024) - (.state_bytes | mib)),
        growth_mib_per_minute: (.resident_kib | growth | map(. * 60 / 1024)), resident_kib: .resident_kib} end),
    growth: (of("J") | group_by(.n) | map(figures + {
        window: .[0].window, checkpoint_interval: .[0].checkpoint_interval,
        messages_per_batch: map(select(.batches > 0) | .frames_sent / .batches) | spread,
        signatures_per_batch: map(select(.batches > 0) | .signatures_verified / .batches) | spread,
        protocol_messages: (.[0].n as $n | 2 * $n * ($n - 1))})),
    curve: (of("curve") | map({name, share_percent, closed_loop_ops_per_s, rate: .bench.rate, ops_per_s: .bench.ops_per_s, p50_ms: .bench.p50_ms,
        p99_ms: .bench.p99_ms, p999_ms: .bench.p999_ms, overdue: .bench.overdue, cpu_ms_per_op: .bench.cpu_ms_per_op})),
    transfer: (of("transfer")[0] // null),
    rounds: $rounds
}
