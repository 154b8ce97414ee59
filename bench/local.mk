# What is measured beside kvf_bench.
check_PROGRAMS += bench/cost
bench_cost_LDADD = libkvferry.la
EXTRA_DIST += bench/cost.sh docs/cost.md tests/cost.sh
TESTS += tests/cost.sh
