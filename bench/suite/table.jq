# performance.json to Markdown, the goals beside what was measured. A goal is of the median.

def digits($d): if . == null then "n/a" else . * pow(10; $d) | round / pow(10; $d) | tostring end;
def thousands: . as $x | if $x == null then "n/a" else ($x | round | tostring) | [match("(\\d{1,3})(?=(\\d{3})*$)"; "g").string] | join(",") end;
def range3(f): if . == null then "n/a" else "\(.median | f) (\(.min | f) to \(.max | f))" end;
def met($ok): if $ok then "yes" else "**no**" end;
def at_most($d; $limit): if . == null then "" else "\(range3(digits($d))) | ≤ \($limit): \(met(.median <= $limit))" end;
def at_least($limit): if . == null then "" else "\(range3(thousands)) | ≥ \($limit | thousands): \(met(.median >= $limit))" end;
def plain_ops: "\(range3(thousands)) |";
def plain($d): "\(range3(digits($d))) |";

def goal($c): {A: [200000, null, 50, 0.009], B: [120000, null, 60, null], C: [7000, null, 40, null], D: [null, 1.0, null, 1.3],
               E: [null, 1.6, null, null], F: [400000, null, null, null], F1: [null, 0.4, null, null]}[$c];
def what($c): {A: "A. bundled", B: "B. bundled", C: "C. 100 clients, one signed operation each", D: "D. one client, one operation at a time",
               E: "E. the same", F: "F. fast reads, bundled", F1: "F. one reader, one at a time"}[$c];
def row($title; $goal): "| \($title) | \(.durability) | " +
    (if $goal[0] then .ops_per_s | at_least($goal[0]) else .ops_per_s | plain_ops end) + " | " +
    (if $goal[1] then .p50_ms | at_most(2; $goal[1]) else .p50_ms | plain(2) end) + " | " +
    (if $goal[2] then .p99_ms | at_most(1; $goal[2]) else .p99_ms | plain(1) end) + " | " +
    (if $goal[3] then .cpu_ms_per_op | at_most(4; $goal[3]) else .cpu_ms_per_op | plain(4) end) +
    " | \(.memory_mib | range3(digits(0))) | \(.rounds) |";

. as $all |
"Machine: \(.machine). \(.started) to \(.ended), \(.version). Everything ran on this machine, over loopback: all replicas and all clients; the host took \(.stolen_percent) % of its CPU meanwhile, and the load average was \(.load_begin) at the beginning and \(.load_end) at the end. Puts of 100 bytes over \(.keys_default | thousands) uniformly drawn keys that were all written before, unless said otherwise; state pages of \(.page_bytes) bytes, checkpoint interval \(.checkpoint_interval), window \(.window), pipeline depth \(.pipeline_depth) (n = 4). Bundled: \(.clients) clients, each with \(.bundles) signed bundles of \(.bundle) operations outstanding. Rounds of \(.round_seconds) s after 1 s of warm-up, each cluster new, cases alternating: median (lowest to highest). CPU and latencies are of everything together: all replicas and the clients.",
"",
(if .basic != {} then
"| case | durability | operations/s | goal | p50 ms | goal | p99 ms | goal | CPU ms an operation | goal | memory a replica, MiB | rounds |",
"|---|---|---|---|---|---|---|---|---|---|---|---|",
(.basic | to_entries[] | .key as $c | .value | row(what($c); goal($c))), "" else empty end),
(if any(.basic[]?; .stages_ms) then
"| stages of a request at the primary, mean ms | waits for its batch | until prepared | until committed | execution | client, network, reply |", "|---|---|---|---|---|---|",
(.basic | to_entries[] | select(.value.stages_ms) | .key as $c | .value.stages_ms |
 "| \(what($c)) | \([.wait, .prepare, .commit, .execute, .else | range3(digits(2))] | join(" | ")) |"), "" else empty end),
(if .keys != [] then
"| A and B with other numbers of keys | durability | operations/s | | p50 ms | | p99 ms | | CPU ms an operation | | memory a replica, MiB | rounds |",
"|---|---|---|---|---|---|---|---|---|---|---|---|",
(.keys[] | . as $f | row("\($f.keys | thousands) keys, state of \($f.state_mib.median | digits(0)) MiB"; [null, null, null, null])), "" else empty end),
(if .lies != [] then
"| G. one lies, case A | lies told | operations/s before | after | ratio | goal | p99 ms of the whole run | failed, wrong or lost | rounds |",
"|---|---|---|---|---|---|---|---|---|",
(.lies[] | . as $l | (if .hostile then 0.9 else 0.5 end) as $goal |
 "| \(if .hostile then "a client: \(.strategy)" else "replica \(.liar): \(.strategy)" end) | \(.acts | range3(thousands)) | \(.before_ops_per_s | range3(thousands)) | \(.after_ops_per_s | range3(thousands)) | \(.ratio | range3(digits(2))) | ≥ \($goal): \(met($l.ratio.median >= $goal)) | \(.p99_ms | range3(digits(0))) | \(.failed) | \(.rounds) |"),
"", "Lies of a hostile client are frames sent, \(.hostile_rate) a second to each replica. Before: the seconds before the first lie; after: from 2 s after it on (client: 1 s), to the end of the run.", "" else empty end),
(if .failover then .failover |
"| H. primary killed with -9, case B | | goal |", "|---|---|---|",
"| service back after | \(.back_ms | range3(digits(0))) ms, \(.time_outs | range3(digits(2))) time-outs of \(.view_timeout_ms) ms | ≤ 2 time-outs: \(met(.time_outs.median <= 2)) |",
"| keys read in the end that hold what was last acknowledged | \(.verified | range3(thousands)) | |",
"| keys that do not | \(.lost) in \(.rounds) rounds | 0: \(met(.lost == 0)) |",
"| requests that failed | \(.errors) | 0: \(met(.errors == 0)) |", "" else empty end),
(if .memory then .memory |
"| I. memory of a replica under case A, \(.seconds | digits(0)) s, \(.ops | thousands) operations | | goal |", "|---|---|---|",
"| resident at most, of any of the four | \(.most_mib | digits(0)) MiB, of it state \(.state_mib | digits(0)) MiB | ≤ 60 MiB + state: \(met(.beyond_state_mib <= 60)) (\(.beyond_state_mib | digits(0)) MiB) |",
"| growth in the second half, MiB a minute, each replica | \([.growth_mib_per_minute[] | digits(1)] | join(", ")) | flat: \(met((.growth_mib_per_minute | max) < 5)) (below 5) |", "" else empty end),
(if .growth != [] then
"| J. replicas | operations/s | p50 ms | operations a batch | messages a batch | 2n(n-1) | signatures verified a batch | CPU ms an operation | memory a replica, MiB | window, checkpoint interval | rounds |",
"|---|---|---|---|---|---|---|---|---|---|---|",
(.growth[] | "| \(.n) | \(.ops_per_s | range3(thousands)) | \(.p50_ms | range3(digits(0))) | \(.ops_per_batch | range3(thousands)) | \(.messages_per_batch | range3(digits(0))) | \(.protocol_messages) | \(.signatures_per_batch | range3(digits(0))) | \(.cpu_ms_per_op | range3(digits(4))) | \(.memory_mib | range3(digits(0))) | \(.window), \(.checkpoint_interval) | \(.rounds) |"),
"" else empty end),
(if .transfer then .transfer |
"A replica that was away for \(.down_s | digits(1)) s under case B came back within \(if .ready_ms then "\(.ready_ms / 1000 | digits(1)) s" else "more than a minute" end), after fetching \(.bytes_fetched / 1e6 | digits(0)) MB of state in \(.transfers) transfers, under the same load.", "" else empty end)
