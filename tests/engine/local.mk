# Engines in one, two and four processes, joined by pipes, no MPI.

# No test: prints the table of docs/footprint.md.
check_PROGRAMS += tests/engine/footprint
tests_engine_footprint_SOURCES = tests/engine/footprint.c
tests_engine_footprint_CPPFLAGS = $(AM_CPPFLAGS) $(UCX_CFLAGS)
tests_engine_footprint_LDADD = libkvferry.la $(UCX_LIBS)

# Bound plans through an engine, against the oracle of tests/unit.
if HAVE_CHECK
check_PROGRAMS += tests/engine/test_kv
TESTS += tests/engine/test_kv
tests_engine_test_kv_SOURCES = tests/engine/test_kv.c tests/unit/kv_oracle.c tests/unit/kv_oracle.h
tests_engine_test_kv_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests $(CHECK_CFLAGS)
tests_engine_test_kv_LDADD = libkvferry.la $(CHECK_LIBS)

check_PROGRAMS += tests/engine/test_exchange
TESTS += tests/engine/test_exchange
tests_engine_test_exchange_SOURCES = tests/engine/test_exchange.c
tests_engine_test_exchange_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_engine_test_exchange_LDADD = libkvferry.la $(CHECK_LIBS)
endif
