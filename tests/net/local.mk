# Jobs across two hosts made of network namespaces.
net_tests = tests/net/hosts.sh tests/net/slurm.sh tests/net/examples.sh tests/net/two_nodes_mpirun.sh \
	tests/net/two_nodes_explain.sh tests/net/two_nodes_parallel.sh \
	tests/net/two_nodes_slurm.sh tests/net/same_hostname.sh tests/net/only_lo.sh tests/net/no_socket.sh \
	tests/net/kill.sh tests/net/interfaces.sh
EXTRA_DIST += tests/net/lib.sh tests/net/nodes tests/net/slurm-up tests/net/slurm-down \
	tests/net/slurm-on $(net_tests)
dist_pkgdata_DATA += slurm/replay.sbatch

if HAVE_MPI
check_PROGRAMS += tests/net/mpi_hello
tests_net_mpi_hello_SOURCES = tests/net/mpi_hello.c
tests_net_mpi_hello_CPPFLAGS = $(AM_CPPFLAGS) $(MPI_CFLAGS)
tests_net_mpi_hello_LDADD = $(MPI_LIBS)
TESTS += $(net_tests)
endif
