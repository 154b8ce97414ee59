# A path of a test's own: its table stands in for the library's, so it is linked before the objects are.
if HAVE_CHECK
check_PROGRAMS += tests/path/test_loop
TESTS += tests/path/test_loop
tests_path_test_loop_SOURCES = tests/path/loop.c tests/path/test_loop.c
tests_path_test_loop_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/tests/engine $(CHECK_CFLAGS)
tests_path_test_loop_LDADD = tests/engine/libharness.la libkvfall.la $(CHECK_LIBS)
endif
