# Jobs across two hosts made of network namespaces.
EXTRA_DIST += tests/net/lib.sh tests/net/nodes tests/net/slurm-up tests/net/slurm-down \
	tests/net/slurm-on tests/net/nodes.sh tests/net/slurm.sh \
	tests/net/examples.sh

if HAVE_MPI
check_PROGRAMS += tests/net/mpi_hello
tests_net_mpi_hello_SOURCES = tests/net/mpi_hello.c
tests_net_mpi_hello_CPPFLAGS = $(AM_CPPFLAGS) $(MPI_CFLAGS)
tests_net_mpi_hello_LDADD = $(MPI_LIBS)
TESTS += tests/net/nodes.sh tests/net/slurm.sh tests/net/examples.sh
endif
