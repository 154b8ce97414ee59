# The tools, bin_PROGRAMS += tools/kvf_NAME. What their command lines share is in libkvfcli.la; its
# headers are "cli.h", "cut.h", "out.h" and "side_opts.h", which need no path from inside tools/.
noinst_LTLIBRARIES += libkvfcli.la
libkvfcli_la_SOURCES = \
	tools/cli.c \
	tools/cli.h \
	tools/cut.c \
	tools/cut.h \
	tools/json.c \
	tools/out.c \
	tools/out.h \
	tools/side_opts.c \
	tools/side_opts.h \
	src/base/limits.c \
	src/base/memory.c

# The reader of request traces, for kvf_replay. It needs no MPI and no engine; header "trace.h".
noinst_LTLIBRARIES += libkvftrace.la
libkvftrace_la_SOURCES = \
	tools/trace.c \
	tools/trace.h \
	tools/fit.c \
	tools/fit.h \
	tools/jsonline.c \
	tools/jsonline.h

# The sample trace, and what makes it.
dist_pkgdata_DATA = share/sample_trace.jsonl
EXTRA_DIST += share/make_sample_trace.py

bin_PROGRAMS += tools/kvf_info
tools_kvf_info_SOURCES = \
	tools/kvf_info.c \
	tools/machine.c \
	tools/machine.h
tools_kvf_info_CPPFLAGS = $(AM_CPPFLAGS)
tools_kvf_info_LDADD = libkvferry.la libkvfcli.la

if HAVE_MPI
bin_PROGRAMS += tools/kvf_bench
tools_kvf_bench_SOURCES = \
	tools/kvf_bench.c \
	tools/same_line.c \
	tools/same_line.h \
	tools/bench/args.c \
	tools/bench/bench.h \
	tools/bench/beside.c \
	tools/bench/content.c \
	tools/bench/figures.c \
	tools/bench/floor.c \
	tools/bench/job.c \
	tools/bench/layerfloor.c \
	tools/bench/layerwise.c \
	tools/bench/layout.c \
	tools/bench/measure.c \
	tools/bench/memory.c \
	tools/bench/peer.c \
	tools/bench/plan.c \
	tools/bench/plot.c \
	tools/bench/report.c \
	tools/bench/rma.c \
	tools/bench/shape.c \
	tools/bench/socket.c \
	tools/bench/stream.c \
	tools/bench/bare/ucx.c
tools_kvf_bench_CPPFLAGS = $(AM_CPPFLAGS) $(MPI_CFLAGS) $(UCX_CFLAGS)
tools_kvf_bench_LDADD = libkvferry_mpi.la libkvferry.la libkvfcli.la $(MPI_LIBS) $(UCX_LIBS) -lm
endif

dist_doc_DATA += docs/measuring.md docs/performance.md docs/zen5-vm.svg

include tools/replay/local.mk
include tools/explain/local.mk
