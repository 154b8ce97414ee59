#!/bin/bash
# A rank is killed, or stopped, in the middle of batches with ranks of its own node and of another
# one: the others live on, a fresh process takes its place, nothing is left behind; the cases are in
# tests/mpi/mpi_kill.c.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
# shellcheck source=tests/net/lib.sh
. "$top_srcdir/tests/net/lib.sh"
# shellcheck source=tests/mpi/kill_lib.sh
. "$top_srcdir/tests/mpi/kill_lib.sh"
need_mpi
need_open_mpi
net_sandbox 200
TMPDIR=/run/work        # all nodes see it

two_nodes() { "$nodes" mpirun "${kill_args[@]}" -H node1:2,node2:2 -np 4 --map-by node "$@"; }
on_node2() { "$nodes" exec node2 "$@"; }

"$nodes" up 2 || fail "two nodes"
run_kill kill am thread on_node2 -- two_nodes
run_kill kill am caller on_node2 -- two_nodes
run_kill stop am thread on_node2 -- two_nodes
run_kill stop am caller on_node2 -- two_nodes
nothing_left "$nodes" exec node1
nothing_left "$nodes" exec node2
