# shellcheck shell=bash disable=SC2034,SC2154 # sourced by bench/suite.sh, whose variables these are
# SVG plots of performance.json, by gnuplot. Each is made if what it shows was measured.

plotted=
plot() { # plot NAME WIDTH HEIGHT: gnuplot commands from standard input
    { echo "set terminal svg size $2,$3 background \"white\" font \"sans,13\"; set output \"$results/performance-$1.svg\"; set grid; set key outside right center samplen 2"; cat; } >"$dir/$1.gp"
    gnuplot "$dir/$1.gp" >/dev/null 2>"$dir/gnuplot.err" || { cat "$dir/gnuplot.err" >&2; die "gnuplot failed on $1"; }
    plotted+=" performance-$1.svg"
}

plots() { # plots JSON
    local json=$1 name
    command -v gnuplot >/dev/null || { note "without gnuplot (make deps-bench) no plots"; return; }
    data() { jq -r "$1 | @tsv" "$json"; } # data FILTER: rows

    if jq -e '.curve != []' "$json" >/dev/null; then
        for name in bundled single; do
            data ".curve[] | select(.name == \"$name\") | [.ops_per_s, .p50_ms, .p99_ms]" >"$dir/curve-$name"
        done
        plot curve 1000 420 <<END
set multiplot layout 1,2
set logscale y
set key top left inside
set xlabel "operations a second"
set ylabel "latency, ms, from when it was due"
set title "Bundles of $BUNDLE"
plot "$dir/curve-bundled" using 1:2 with linespoints pt 7 ps 0.5 title "p50", "" using 1:3 with linespoints pt 7 ps 0.5 title "p99"
set title "One signed operation each"
plot "$dir/curve-single" using 1:2 with linespoints pt 7 ps 0.5 title "p50", "" using 1:3 with linespoints pt 7 ps 0.5 title "p99"
END
    fi

    if jq -e 'any(.basic[]; .stages_ms)' "$json" >/dev/null; then plot_stages "$json"; fi

    if jq -e '.growth != []' "$json" >/dev/null; then
        data '.growth[] | [.n, .ops_per_s.median, .ops_per_s.min, .ops_per_s.max, .messages_per_batch.median, .protocol_messages, .signatures_per_batch.median]' >"$dir/growth"
        plot scaling 1000 420 <<END
set multiplot layout 1,2
set key top right inside
set xlabel "replicas"
set yrange [0:*]
set title "Operations a second, case A"
plot "$dir/growth" using 1:2:3:4 with yerrorlines pt 7 ps 0.5 title "median, lowest, highest"
set title "A batch"
set key top left inside
plot "$dir/growth" using 1:5 with linespoints pt 7 ps 0.5 title "messages sent, all replicas", "" using 1:6 with lines dt 2 title "2n(n-1)", "" using 1:7 with linespoints pt 5 ps 0.5 title "signatures verified, all replicas"
END
    fi

    if jq -e '.failover' "$json" >/dev/null; then
        data '.failover.timeline[]' >"$dir/failover"
        timeline failover "Primary killed, durability sync" "$dir/failover" "seconds since the kill"
    fi
    if jq -e '.transfer' "$json" >/dev/null; then
        data '.transfer.timeline[]' >"$dir/transfer"
        name=$(jq -r '.transfer | "set arrow from \(-.down_s), graph 0 to \(-.down_s), graph 1 nohead lc rgb \"#888888\"\nset label \"killed\" at \(-.down_s), graph 0.95 offset 1,0\n" +
            (if .ready_ms then "set arrow from \(.ready_ms / 1000), graph 0 to \(.ready_ms / 1000), graph 1 nohead lc rgb \"#2a7f3f\"\nset label \"ready\" at \(.ready_ms / 1000), graph 0.95 offset 1,0" else "" end)' "$json")
        timeline transfer "A replica killed, and back by state transfer, durability sync" "$dir/transfer" "seconds since it was started again" "$name"
    fi
    if jq -e '.lies != []' "$json" >/dev/null; then plot_lies "$json"; fi

    if jq -e '.memory' "$json" >/dev/null; then
        data '.memory.resident_kib[] | [.[0], (.[1:][] / 1024)]' >"$dir/memory"
        plot memory 900 360 <<END
set title "Memory of each replica under case A"
set xlabel "seconds of load"
set ylabel "resident, MiB"
set yrange [0:*]
plot for [i=2:5] "$dir/memory" using 1:i with lines lw 2 title "replica ".(i-2)
END
    fi
}

timeline() { # timeline NAME TITLE DATA XLABEL [COMMANDS]
    plot "$1" 900 360 <<END
set title "$2"
set xlabel "$4"
set ylabel "operations a second, per 100 ms"
set yrange [0:*]
set arrow from 0, graph 0 to 0, graph 1 nohead lc rgb "#b03030"
$([[ ${5:-} == set* ]] && echo "$5")
plot "$3" using 1:2 with steps lw 1.5 notitle
END
}

plot_stages() { # plot_stages JSON: of bundles (tens of ms) and of single operations, beside one another
    local of group=0
    for of in '.bundle > 1' '.bundle == 1'; do
        jq -r ".basic | to_entries[] | select(.value.stages_ms and (.value | $of)) | .key as \$c | .value |
            [\"\(\$c). \(.durability)\", (.stages_ms | .wait, .prepare, .commit, .execute, .else | .median)] | @tsv" "$1" >"$dir/stages-$group"
        group=$((group + 1))
    done
    {
        echo "set datafile separator \"\\t\"; set multiplot layout 1,2; set style data histogram; set style histogram rowstacked; set style fill solid 0.8 border -1; set boxwidth 0.6"
        echo "set key top left inside reverse Left invert; set ylabel \"mean latency, ms\"; set grid noxtics"
        for ((group = 0; group < 2; group++)); do
            [ -s "$dir/stages-$group" ] || continue
            echo "set title \"$([ $group = 0 ] && echo "Bundles of $BUNDLE" || echo "One signed operation each")\""
            echo "set yrange [0:$(awk -F '\t' '{ s = $2 + $3 + $4 + $5 + $6; if (s > most) most = s } END { print most * 1.5 }' "$dir/stages-$group")]"
            echo "plot \"$dir/stages-$group\" using 2:xtic(1) title \"waits for its batch\", \"\" using 3 title \"until prepared\", \"\" using 4 title \"until committed\", \"\" using 5 title \"execution\", \"\" using 6 title \"client, network, reply\""
        done
    } >"$dir/stages"
    plot stages 1000 420 <"$dir/stages"
}

plot_lies() { # plot_lies JSON: a small timeline each
    local i count columns=3 names=()
    mapfile -t names < <(jq -r '.lies[] | if .hostile then "client: \(.strategy)" else .strategy end' "$1")
    count=${#names[@]}
    for ((i = 0; i < count; i++)); do jq -r ".lies[$i].timeline[] | @tsv" "$1" >"$dir/lie-$i"; done
    {
        echo "set multiplot layout $(((count + columns - 1) / columns)),$columns title \"Operations a second per 100 ms; the lie begins at 0 s\""
        echo "unset key; set yrange [0:*]; set format y \"%.0s%c\"; set arrow from 0, graph 0 to 0, graph 1 nohead lc rgb \"#b03030\""
        for ((i = 0; i < count; i++)); do
            echo "set title \"${names[$i]}\""
            echo "plot \"$dir/lie-$i\" using 1:2 with steps lw 1.2"
        done
    } >"$dir/lies"
    plot lies 1000 $((170 * ((count + columns - 1) / columns) + 40)) <"$dir/lies"
}
