# Engines in one, two and four processes, joined by pipes, no MPI.

# No test: prints the table of docs/footprint.md.
check_PROGRAMS += tests/engine/footprint
tests_engine_footprint_SOURCES = tests/engine/footprint.c
tests_engine_footprint_CPPFLAGS = $(AM_CPPFLAGS) $(UCX_CFLAGS)
tests_engine_footprint_LDADD = libkvferry.la $(UCX_LIBS)
