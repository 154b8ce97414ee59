#!/bin/bash
# The near ways need no network. On a node with no interface but lo, and with lo down while engines open,
# import and move: all bytes go through shared memory, by the same counters, whatever wire was asked for.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
# shellcheck source=tests/net/lib.sh
. "$top_srcdir/tests/net/lib.sh"
need_mpi
need_replay
net_sandbox 120
"$nodes" up -l 1 || fail "a node with no interface but lo"
[ "$("$nodes" exec node1 ls /sys/class/net)" = lo ] || fail "there is an interface besides lo"
count_trace 1 0,0,0,0
mpirun=("$nodes" exec node1 mpirun --oversubscribe --bind-to none -np 4)

for net in tcp auto; do
    expect "kvf_replay --net $net" "${mpirun[@]}" \
        "$replay" "${job[@]}" --prefill 1 --net $net --json "$work/$net.json"
    check_report "$work/$net.json" 'locality.node>0' 'nics={}'
    echo "ok: net $net"
done
paths='import json, sys
tcp, auto = (json.load(open(f))["paths"] for f in sys.argv[1:])
sys.exit(tcp != auto)'
python3 -c "$paths" "$work/tcp.json" "$work/auto.json" || fail "the counters of tcp and auto differ"

# Open MPI itself cannot start without an interface, so lo goes down when MPI is up: rank 0 then waits
# for the trace. It comes up again for MPI's end when the report is there.
mkfifo "$work/trace"
"${mpirun[@]}" "$replay" "${job[@]}" --trace "$work/trace" --prefill 1 --net tcp \
    --json "$work/down.json" > "$work/down.txt" 2>&1 &
mpi=$!
exec 8> "$work/trace"               # returns when rank 0 has opened the other end
lo() { nsenter -t "$("$nodes" pid node1)" -n ip link set lo "$1"; }
lo down || fail "lo down"
cat "$trace" >&8
exec 8>&-
for ((i = 0; i < 600; i++)); do
    [ ! -s "$work/down.json" ] || break
    kill -0 $mpi 2>/dev/null || break
    sleep 0.1
done
lo up
wait $mpi
rc=$?
cat "$work/down.txt"
[ $rc -eq 0 ] || fail "kvf_replay with lo down: exit code $rc"
check_report "$work/down.json" 'locality.node>0' 'nics={}'
echo "ok: lo down"
