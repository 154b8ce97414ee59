#!/bin/bash
# Which of many interfaces far peers meet over. Both nodes have a bridge of containers, with the same
# address on each, and a link-local one; one has a cable that leads elsewhere, and one more interfaces
# than UCX bears.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
# shellcheck source=tests/net/lib.sh
. "$top_srcdir/tests/net/lib.sh"
need_mpi
need_replay
net_sandbox 60
"$nodes" up 2 || fail "two nodes"

# ip_of NODE: commands of ip from standard input, in that node
ip_of() { nsenter -t "$("$nodes" pid "$1")" -n ip -batch - || fail "interfaces of $1"; }

for node in node1 node2; do
    ip_of $node <<'IP'
link add docker0 type bridge
link add c0 type veth peer name c1
link set c1 master docker0
addr add 172.17.0.1/16 dev docker0
link add usb0 type veth peer name usb1
addr add 169.254.3.1/16 dev usb0
link set c0 up
link set c1 up
link set docker0 up
link set usb0 up
link set usb1 up
IP
done
ip_of node1 <<'IP'
link add eth1 type veth peer name eth1p
addr add 10.9.0.1/24 dev eth1
link set eth1 up
link set eth1p up
IP

# the job's bytes go over tcp/eth0, and over nothing else
job_over_eth0()
{
    expect "$1" "$nodes" mpirun -H node1:1,node2:1 -np 2 --map-by node \
        "$replay" "${job[@]}" --requests 5 --prefill 1 --json "$work/report.json"
    grep -A1 '"nics": {' "$work/report.json" | grep -q '"tcp/eth0": [1-9]' ||
        fail "$1: not over eth0: $(grep -A3 '"nics"' "$work/report.json")"
    echo "ok: $1"
}

job_over_eth0 "bridges, a link-local address and a cable to elsewhere"
for ((i = 0; i < 65; i++)); do
    printf 'link add d%d type veth peer name e%d\n' $i $i
    printf 'addr add 10.9.%d.1/24 dev d%d\naddr add 10.8.%d.1/24 dev e%d\n' $((i + 1)) $i $((i + 1)) $i
    printf 'link set d%d up\nlink set e%d up\n' $i $i
done | ip_of node1
before=$(date +%s%N)
job_over_eth0 "130 more interfaces"
ms=$((($(date +%s%N) - before) / 1000000))
echo "in $ms ms"
[ $ms -lt 20000 ] || fail "a job beside 130 interfaces takes $ms ms"
