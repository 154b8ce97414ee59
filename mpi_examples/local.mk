# The MPI examples, noinst_PROGRAMS += mpi_examples/NAME, inside if HAVE_MPI.
