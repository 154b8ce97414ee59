# Tests of one room, without peers.

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_cli
TESTS += tests/unit/test_cli
tests_unit_test_cli_SOURCES = tests/unit/test_cli.c
tests_unit_test_cli_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_cli_LDADD = libkvfcli.la $(CHECK_LIBS)
endif

# The reader of request traces.
if HAVE_CHECK
check_PROGRAMS += tests/unit/test_trace tests/unit/test_trace_fit
TESTS += tests/unit/test_trace tests/unit/test_trace_fit
tests_unit_test_trace_SOURCES = tests/unit/test_trace.c
tests_unit_test_trace_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_trace_LDADD = libkvftrace.la $(CHECK_LIBS)
tests_unit_test_trace_fit_SOURCES = tests/unit/test_trace_fit.c
tests_unit_test_trace_fit_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_trace_fit_LDADD = libkvftrace.la $(CHECK_LIBS)
endif
check_PROGRAMS += tests/unit/test_trace_fuzz
TESTS += tests/unit/test_trace_fuzz
tests_unit_test_trace_fuzz_SOURCES = tests/unit/test_trace_fuzz.c
tests_unit_test_trace_fuzz_LDADD = libkvftrace.la
EXTRA_DIST += tests/unit/sample_trace.sh
TESTS += tests/unit/sample_trace.sh

# What a path is predicted to cost.
if HAVE_CHECK
check_PROGRAMS += tests/unit/test_cost
TESTS += tests/unit/test_cost
tests_unit_test_cost_SOURCES = tests/unit/test_cost.c
tests_unit_test_cost_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_cost_LDADD = libkvfall.la $(CHECK_LIBS)
endif

# Where a calibration is written.
if HAVE_CHECK
check_PROGRAMS += tests/unit/test_calibration
TESTS += tests/unit/test_calibration
tests_unit_test_calibration_SOURCES = tests/unit/test_calibration.c
tests_unit_test_calibration_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_calibration_LDADD = libkvfall.la $(CHECK_LIBS)
endif

# The KV layer. The oracle shares no code with it.
if HAVE_CHECK
check_PROGRAMS += tests/unit/test_layout tests/unit/test_layout_check tests/unit/test_plan \
	tests/unit/test_plan_shape tests/unit/test_plan_any tests/unit/test_sources \
	tests/unit/test_results tests/unit/test_bind tests/unit/test_plan_refused \
	tests/unit/test_layout_large
TESTS += tests/unit/test_layout tests/unit/test_layout_check tests/unit/test_plan \
	tests/unit/test_plan_shape tests/unit/test_plan_any tests/unit/test_sources \
	tests/unit/test_results tests/unit/test_bind tests/unit/test_plan_refused \
	tests/unit/test_layout_large
tests_unit_test_bind_SOURCES = tests/unit/test_bind.c
tests_unit_test_bind_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_bind_LDADD = libkvfall.la $(CHECK_LIBS)
tests_unit_test_results_SOURCES = tests/unit/test_results.c
tests_unit_test_results_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_results_LDADD = libkvfall.la $(CHECK_LIBS)
tests_unit_test_sources_SOURCES = tests/unit/test_sources.c
tests_unit_test_sources_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_sources_LDADD = libkvfall.la $(CHECK_LIBS)
tests_unit_test_plan_any_SOURCES = tests/unit/test_plan_any.c tests/unit/any.h \
	tests/unit/any_make.c tests/unit/any_results.c tests/unit/kv_oracle.c tests/unit/kv_oracle.h
tests_unit_test_plan_any_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_plan_any_LDADD = libkvfall.la $(CHECK_LIBS)
tests_unit_test_layout_SOURCES = tests/unit/test_layout.c
tests_unit_test_layout_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_layout_LDADD = libkvfall.la $(CHECK_LIBS)
tests_unit_test_layout_check_SOURCES = tests/unit/test_layout_check.c
tests_unit_test_layout_check_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_layout_check_LDADD = libkvfall.la $(CHECK_LIBS)
tests_unit_test_layout_large_SOURCES = tests/unit/test_layout_large.c
tests_unit_test_layout_large_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_layout_large_LDADD = libkvfall.la $(CHECK_LIBS)
tests_unit_test_plan_SOURCES = tests/unit/test_plan.c tests/unit/kv_oracle.c tests/unit/kv_oracle.h
tests_unit_test_plan_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_plan_LDADD = libkvfall.la $(CHECK_LIBS)
tests_unit_test_plan_shape_SOURCES = tests/unit/test_plan_shape.c tests/unit/plans.h
tests_unit_test_plan_shape_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_plan_shape_LDADD = libkvfall.la $(CHECK_LIBS)
tests_unit_test_plan_refused_SOURCES = tests/unit/test_plan_refused.c tests/unit/plans.h
tests_unit_test_plan_refused_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_plan_refused_LDADD = libkvfall.la $(CHECK_LIBS)
endif

# What kvf_bench calls right.
if HAVE_CHECK
check_PROGRAMS += tests/unit/test_bench_plan
TESTS += tests/unit/test_bench_plan
tests_unit_test_bench_plan_SOURCES = tests/unit/test_bench_plan.c tools/bench/plan.c \
	tools/bench/layout.c tools/bench/content.c tools/bench/shape.c tools/bench/floor.c \
	tools/bench/figures.c
tests_unit_test_bench_plan_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_bench_plan_LDADD = libkvferry.la libkvfcli.la $(CHECK_LIBS) -lm
endif

# The block store and the checker of kvf_replay.
if HAVE_CHECK
if HAVE_MPI
check_PROGRAMS += tests/unit/test_replay_check
TESTS += tests/unit/test_replay_check
tests_unit_test_replay_check_SOURCES = tests/unit/test_replay_check.c tools/replay/verify.c \
	tools/replay/verify.h
tests_unit_test_replay_check_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS) $(MPI_CFLAGS)
tests_unit_test_replay_check_LDADD = libkvfall.la libkvfcli.la $(CHECK_LIBS)
endif
check_PROGRAMS += tests/unit/test_replay_store
TESTS += tests/unit/test_replay_store
tests_unit_test_replay_store_SOURCES = tests/unit/test_replay_store.c tools/replay/store.c \
	tools/replay/store.h
tests_unit_test_replay_store_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_replay_store_LDADD = $(CHECK_LIBS)
endif

# The rooms below the engine, from the inside.
if HAVE_CHECK
check_PROGRAMS += tests/unit/test_base tests/unit/test_extent tests/unit/test_box tests/unit/test_kernel tests/unit/test_walk
TESTS += tests/unit/test_base tests/unit/test_extent tests/unit/test_box tests/unit/test_kernel tests/unit/test_walk
tests_unit_test_base_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_base_LDADD = libkvfall.la $(CHECK_LIBS)
tests_unit_test_extent_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_extent_LDADD = libkvfall.la $(CHECK_LIBS)
tests_unit_test_kernel_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_kernel_LDADD = libkvfall.la $(CHECK_LIBS)
tests_unit_test_walk_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_walk_LDADD = libkvfall.la $(CHECK_LIBS)
tests_unit_test_box_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_box_LDADD = libkvfall.la $(CHECK_LIBS)
endif

# Cores and nodes of machines that are files.
if HAVE_CHECK
check_PROGRAMS += tests/unit/test_cores
TESTS += tests/unit/test_cores
tests_unit_test_cores_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_cores_LDADD = libkvfall.la $(CHECK_LIBS)
endif

# Pages, limits, and segments that killed processes left.
if HAVE_CHECK
check_PROGRAMS += tests/unit/test_memory
TESTS += tests/unit/test_memory
tests_unit_test_memory_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_memory_LDADD = libkvfall.la $(CHECK_LIBS)
endif

# The copy room on another processor.
TESTS += tests/unit/cross_neon.sh
EXTRA_DIST += tests/unit/cross_neon.sh tests/unit/cross/check.h

# A carrier of the am machine, made up by the test.
if HAVE_CHECK
check_PROGRAMS += tests/unit/test_carrier
TESTS += tests/unit/test_carrier
tests_unit_test_carrier_SOURCES = tests/unit/test_carrier.c
tests_unit_test_carrier_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_carrier_LDADD = libkvfall.la $(CHECK_LIBS)
endif

# Moments of the protocols between neighbours.
if HAVE_CHECK
check_PROGRAMS += tests/unit/test_near
TESTS += tests/unit/test_near
tests_unit_test_near_SOURCES = tests/unit/test_near.c
tests_unit_test_near_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_near_LDADD = libkvfall.la $(CHECK_LIBS)
endif
