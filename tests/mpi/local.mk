# Jobs of several ranks on this node.
if HAVE_CHECK
if HAVE_MPI
check_PROGRAMS += tests/mpi/test_mpi_launch
TESTS += tests/mpi/test_mpi_launch
tests_mpi_test_mpi_launch_SOURCES = tests/mpi/test_mpi_launch.c src/mpi/launch.c src/mpi/launch.h
tests_mpi_test_mpi_launch_CPPFLAGS = $(AM_CPPFLAGS) $(CHECK_CFLAGS)
tests_mpi_test_mpi_launch_LDADD = $(CHECK_LIBS)
endif
endif

# An independent count of what a job must report.
EXTRA_DIST += tests/mpi/count_trace.py tests/mpi/count_trace.sh
TESTS += tests/mpi/count_trace.sh

# kvf_info, which needs no MPI.
EXTRA_DIST += tests/mpi/test_info.sh
TESTS += tests/mpi/test_info.sh
