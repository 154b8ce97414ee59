# Tests of one room, without peers.

if HAVE_CHECK
check_PROGRAMS += tests/unit/test_cli
TESTS += tests/unit/test_cli
tests_unit_test_cli_SOURCES = tests/unit/test_cli.c
tests_unit_test_cli_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_unit_test_cli_LDADD = libkvfcli.la $(CHECK_LIBS)
endif
