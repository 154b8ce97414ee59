# Jobs of several ranks on this node: a program a subject, whose cases a script runs one by one.
EXTRA_DIST += tests/mpi/cases.sh tests/mpi/kill_lib.sh
dist_check_SCRIPTS += tests/mpi/test_mpi_death.sh tests/mpi/test_mpi_examples.sh \
	tests/mpi/test_mpi_kill.sh tests/mpi/test_mpi_life.sh tests/mpi/test_mpi_move.sh
TESTS += tests/mpi/test_mpi_death.sh tests/mpi/test_mpi_examples.sh tests/mpi/test_mpi_kill.sh \
	tests/mpi/test_mpi_life.sh tests/mpi/test_mpi_move.sh

if HAVE_MPI
check_PROGRAMS += tests/mpi/mpi_death tests/mpi/mpi_kill tests/mpi/mpi_life tests/mpi/mpi_move
tests_mpi_mpi_death_SOURCES = tests/mpi/mpi_death.c
tests_mpi_mpi_death_CPPFLAGS = $(AM_CPPFLAGS) $(MPI_CFLAGS)
tests_mpi_mpi_death_LDADD = libkvferry_mpi.la libkvferry.la $(MPI_LIBS)
tests_mpi_mpi_kill_SOURCES = tests/mpi/mpi_kill.c tests/mpi/kill_board.h tests/mpi/kill_party.h
tests_mpi_mpi_kill_CPPFLAGS = $(AM_CPPFLAGS) $(MPI_CFLAGS)
tests_mpi_mpi_kill_LDADD = libkvferry_mpi.la libkvferry.la $(MPI_LIBS)
tests_mpi_mpi_life_SOURCES = tests/mpi/mpi_life.c tests/mpi/ranks.h
tests_mpi_mpi_life_CPPFLAGS = $(AM_CPPFLAGS) $(MPI_CFLAGS)
tests_mpi_mpi_life_LDADD = libkvferry_mpi.la libkvferry.la $(MPI_LIBS)
tests_mpi_mpi_move_SOURCES = tests/mpi/mpi_move.c tests/mpi/ranks.h
tests_mpi_mpi_move_CPPFLAGS = $(AM_CPPFLAGS) $(MPI_CFLAGS)
tests_mpi_mpi_move_LDADD = libkvferry_mpi.la libkvferry.la $(MPI_LIBS)
endif

if HAVE_CHECK
check_PROGRAMS += tests/mpi/test_mpi_launch
TESTS += tests/mpi/test_mpi_launch
tests_mpi_test_mpi_launch_SOURCES = tests/mpi/test_mpi_launch.c src/mpi/launch.c src/mpi/launch.h
tests_mpi_test_mpi_launch_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_mpi_test_mpi_launch_LDADD = $(CHECK_LIBS)
endif

# An independent count of what a job must report.
EXTRA_DIST += tests/mpi/count_trace.py tests/mpi/count_trace.sh
TESTS += tests/mpi/count_trace.sh

# The files that all tools write.
EXTRA_DIST += tests/mpi/test_outputs.sh
TESTS += tests/mpi/test_outputs.sh

# kvf_info, which needs no MPI.
EXTRA_DIST += tests/mpi/test_info.sh tests/mpi/test_calibrate.sh
TESTS += tests/mpi/test_info.sh tests/mpi/test_calibrate.sh

# kvf_explain, which needs no MPI either.
EXTRA_DIST += tests/mpi/test_explain.sh
TESTS += tests/mpi/test_explain.sh

# kvf_bench.
EXTRA_DIST += tests/mpi/test_bench.sh tests/mpi/test_cma_calls.sh tests/mpi/test_no_socket_calls.sh
TESTS += tests/mpi/test_bench.sh tests/mpi/test_cma_calls.sh tests/mpi/test_no_socket_calls.sh

# A job some of whose system calls are refused.
EXTRA_DIST += tests/mpi/test_forbidden.sh
TESTS += tests/mpi/test_forbidden.sh
check_PROGRAMS += tests/mpi/forbidden
tests_mpi_forbidden_SOURCES = tests/mpi/forbidden.c tests/engine/forbid.c tests/engine/forbid.h

# The main job.
EXTRA_DIST += tests/mpi/replay_any.py tests/mpi/replay_check.py tests/mpi/replay_faults.py \
	tests/mpi/replay_lib.sh
replay_tests = tests/mpi/replay.sh tests/mpi/replay_layouts.sh tests/mpi/replay_faults.sh \
	tests/mpi/replay_parallel.sh tests/mpi/replay_any.sh \
	tests/mpi/replay_input.sh tests/mpi/replay_options.sh tests/mpi/replay_signal.sh
EXTRA_DIST += $(replay_tests)
if HAVE_MPI
TESTS += $(replay_tests)
endif
