# The MPI examples. They are programs of a user: public headers, and nothing of the build.
examplesdir = $(docdir)/examples
dist_examples_DATA = mpi_examples/ring.c mpi_examples/prefill_decode.c mpi_examples/reshard_2to4.c \
	mpi_examples/layerwise.c

if HAVE_MPI
noinst_PROGRAMS += mpi_examples/ring mpi_examples/prefill_decode \
	mpi_examples/reshard_2to4 mpi_examples/layerwise
mpi_examples_ring_SOURCES = mpi_examples/ring.c
mpi_examples_ring_CPPFLAGS = -I$(top_srcdir)/include $(MPI_CFLAGS)
mpi_examples_ring_LDADD = libkvferry_mpi.la libkvferry.la $(MPI_LIBS)
mpi_examples_prefill_decode_SOURCES = mpi_examples/prefill_decode.c
mpi_examples_prefill_decode_CPPFLAGS = -I$(top_srcdir)/include $(MPI_CFLAGS)
mpi_examples_prefill_decode_LDADD = libkvferry_mpi.la libkvferry.la $(MPI_LIBS)
mpi_examples_layerwise_SOURCES = mpi_examples/layerwise.c
mpi_examples_layerwise_CPPFLAGS = -I$(top_srcdir)/include $(MPI_CFLAGS)
mpi_examples_layerwise_LDADD = libkvferry_mpi.la libkvferry.la $(MPI_LIBS)
mpi_examples_reshard_2to4_SOURCES = mpi_examples/reshard_2to4.c
mpi_examples_reshard_2to4_CPPFLAGS = -I$(top_srcdir)/include $(MPI_CFLAGS)
mpi_examples_reshard_2to4_LDADD = libkvferry_mpi.la libkvferry.la $(MPI_LIBS)
endif
