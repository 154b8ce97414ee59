# What is measured beside kvf_bench.
check_PROGRAMS += bench/cost bench/bind
bench_cost_SOURCES = bench/cost.c bench/owner.c bench/owner.h
bench_cost_LDADD = libkvferry.la
bench_bind_SOURCES = bench/bind.c bench/owner.c bench/owner.h
bench_bind_LDADD = libkvferry.la
EXTRA_DIST += bench/cost.sh bench/cost_line.sh tests/cost.sh tests/cost_line.sh bench/two_nodes.sh
dist_doc_DATA += docs/cost.md
TESTS += tests/cost.sh tests/cost_line.sh

# What others do on the same machine; by hand only, for it takes wheels from PyPI.
EXTRA_DIST += bench/peers/README.md bench/peers/grid.py bench/peers/mooncake_peer.py \
	bench/peers/nixl_peer.py bench/peers/run.sh bench/peers/setup.sh bench/peers/stub_cuda.c \
	bench/peers/table.py
