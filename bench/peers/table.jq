# bench/results/peers.json as Markdown.

def fixed($digits): . as $x | pow(10; $digits) as $p | ($x * $p | round) as $n |
  if $digits == 0 then "\($n)" else
    ($n / $p | floor | tostring) + "." + (("0" * $digits) + "\($n % $p)")[-$digits:] end;
# Three digits that mean something.
def short: if . >= 100 then fixed(0) elif . >= 10 then fixed(1) elif . >= 1 then fixed(2) else fixed(3) end;
def range: "\(.median | short) (\(.min | short) to \(.max | short))";
def mib: . / 1048576 | fixed(0);

def named:
  {"signed/pbft-sync": "pbft sync, each signed", "signed/pbft-memory": "pbft memory, each signed",
   "bundled/pbft-sync": "pbft sync, bundled", "bundled/pbft-memory": "pbft memory, bundled",
   "reads/pbft-sync": "pbft sync, each alone", "bundled-reads/pbft-sync": "pbft sync, bundled",
   "pbft-sync": "pbft sync", "pbft-memory": "pbft memory", "zookeeper": "ZooKeeper",
   "redis-always": "Redis, always", "redis-everysec": "Redis, everysec", "redis-wait": "Redis, always, WAIT 1"};
def name: . as $case | named[$case] // named[$case | sub("^.*/"; "")] // ($case | sub("^.*/"; ""));

def rows($cases): .cases as $all | $cases[] | {key: ., value: $all[.]} |
  "| \(.key | name) | \(.value.ops_per_s | range) | \(.value.p50_ms | range) | \(.value.p99_ms | range) | \(.value.cpu_ms_per_op | range) | \(.value.rss_bytes.median | mib) | \(.value.errors)\(if .value.broken_off > 0 then ", and \(.value.broken_off) measurements broke off" else "" end) |";
def head($what): "| \($what) | ops/s | p50 ms | p99 ms | CPU ms an operation, all processes | memory of the servers, MiB | failed |\n|---|---|---|---|---|---|---|";

("Machine: \(.machine); load before the start \(.load), between \(.stolen_percent.min) and \(.stolen_percent.max) % of the time taken by the host. \(.date). \(.rounds) rounds of \(.round_seconds) s each after one of warm-up, all systems in every round; medians (lowest to highest). Values of \(.value_bytes) bytes, \(.keys) keys, all put before. All servers and the load share this machine over loopback; those that wait take \(.waiting_cpu_percent) % of a core together."),
"",
(if .machine | test("tmpfs") then "**The servers' folders are in memory (tmpfs): fsync costs nothing here. TMPDIR=DIR puts them on a disk.**", "" else empty end),
"pbft \(.versions.pbft), 4 replicas. etcd \(.versions.etcd), 3 members; ZooKeeper \(.versions.zookeeper) on Java \(.versions.java), 3; Redis \(.versions.redis), 1, with WAIT 1 and 2 replicas.",
"",
head("\(.outstanding) puts outstanding"),
rows(["signed/pbft-sync", "bundled/pbft-sync", "loaded/etcd", "loaded/zookeeper", "loaded/redis-always", "loaded/redis-wait",
      "signed/pbft-memory", "bundled/pbft-memory", "loaded/redis-everysec"]),
"",
head("1 put outstanding"),
rows(["single/pbft-sync", "single/etcd", "single/zookeeper", "single/redis-always", "single/redis-wait", "single/pbft-memory",
      "single/redis-everysec"]),
"",
head("\(.outstanding) reads outstanding"),
rows(["reads/pbft-sync", "bundled-reads/pbft-sync", "reads/etcd", "reads/zookeeper", "reads/redis-always"]),
"",
head("1 read outstanding"),
rows(["single-reads/pbft-sync", "single-reads/etcd", "single-reads/zookeeper", "single-reads/redis-always"]),
"",
"PBFT over the other, round by round: median (lowest to highest) of the ratios. Of operations a second more than 1 is for PBFT, of latency and CPU less than 1.",
"",
"| against | ops/s: sync, each signed | sync, bundled | memory, each signed | memory, bundled |",
"|---|---|---|---|---|",
(.ratios | to_entries[] | "| \(.key | name) | " +
  ([.value.ops["signed-sync", "bundled-sync", "signed-memory", "bundled-memory"] | range] | join(" | ")) + " |"),
"",
"| against | CPU an operation: sync, each signed | sync, bundled | 1 put outstanding, p50: sync | memory | reads, ops/s: each alone | bundled | 1 read outstanding, p50 |",
"|---|---|---|---|---|---|---|---|",
(.ratios | to_entries[] | "| \(.key | name) | " +
  ([.value.cpu["signed-sync", "bundled-sync"], .value.single_p50["sync", "memory"], .value.reads_ops, .value.bundled_reads_ops, .value.single_reads_p50 |
    if . then range else "" end] | join(" | ")) + " |")
