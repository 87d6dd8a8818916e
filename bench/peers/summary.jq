# Of the runs of bench/peers.sh: each case by the median of its rounds, and PBFT against the others round
# by round.

def spread:
  sort | {median: (if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2 - 1] + .[length / 2]) / 2 end),
          min: .[0], max: .[-1]};

# Ours over theirs in each round, for one member of the runs.
def ratio($runs; $ours; $theirs; $member):
  [range(1; $rounds + 1) as $round |
   ($runs[] | select(.case == $ours and .round == $round) | .[$member]) /
   ($runs[] | select(.case == $theirs and .round == $round) | .[$member])] | spread;

{
  date: $date, machine: $machine, load: $load, rounds: $rounds, round_seconds: $seconds, outstanding: $outstanding,
  bundle: $bundle, keys: $keys, value_bytes: $value_bytes, waiting_cpu_percent: $idle,
  stolen_percent: ([$runs[].stolen_percent] | spread),
  versions: {pbft: $pbft, etcd: $etcd, zookeeper: $zookeeper, java: $java, redis: $redis, nghttp2: $nghttp2,
             hiredis: $hiredis, libzookeeper: $libzookeeper},
  cases: (reduce ($runs | group_by(.case)[]) as $group ({};
    .[$group[0].case] = {
      ops_per_s: ([$group[].ops_per_s] | spread),
      p50_ms: ([$group[].p50_ms] | spread),
      p99_ms: ([$group[].p99_ms] | spread),
      cpu_ms_per_op: ([$group[].cpu_ms_per_op] | spread),
      rss_bytes: ([$group[] | .replica_rss_bytes | add] | spread),
      errors: ([$group[].errors] | add),
      broken_off: ([$group[].broken_off] | add),
      checked: ([$group[].checked // 0] | add),
      conns: $group[0].conns
    })),
  ratios: (
    ["etcd", "zookeeper", "redis-always", "redis-everysec", "redis-wait"] | map(. as $peer | {
      key: $peer,
      value: ({
        ops: ([["signed", "sync"], ["bundled", "sync"], ["signed", "memory"], ["bundled", "memory"]] | map({
          key: "\(.[0])-\(.[1])",
          value: ratio($runs; "\(.[0])/pbft-\(.[1])"; "loaded/\($peer)"; "ops_per_s")}) | from_entries),
        cpu: ([["signed", "sync"], ["bundled", "sync"]] | map({
          key: "\(.[0])-\(.[1])",
          value: ratio($runs; "\(.[0])/pbft-\(.[1])"; "loaded/\($peer)"; "cpu_ms_per_op")}) | from_entries),
        single_p50: (["sync", "memory"] | map({
          key: .,
          value: ratio($runs; "single/pbft-\(.)"; "single/\($peer)"; "p50_ms")}) | from_entries)
      } + (if any($runs[]; .case == "reads/\($peer)") then {
        reads_ops: ratio($runs; "reads/pbft-sync"; "reads/\($peer)"; "ops_per_s"),
        bundled_reads_ops: ratio($runs; "bundled-reads/pbft-sync"; "reads/\($peer)"; "ops_per_s"),
        single_reads_p50: ratio($runs; "single-reads/pbft-sync"; "single-reads/\($peer)"; "p50_ms")
      } else {} end))
    }) | from_entries),
  runs: $runs
}
