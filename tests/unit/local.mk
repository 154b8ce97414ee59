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
