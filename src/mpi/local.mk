# libkvferry_mpi, the only library that includes mpi.h.
if HAVE_MPI
pkginclude_HEADERS += include/kvferry/mpi.h
endif
