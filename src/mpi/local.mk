# libkvferry_mpi, the only library that includes mpi.h.
EXTRA_DIST += src/mpi/kvferry_mpi.map
if HAVE_MPI
pkginclude_HEADERS += include/kvferry/mpi.h
lib_LTLIBRARIES += libkvferry_mpi.la
libkvferry_mpi_la_SOURCES = \
	src/mpi/exchange.c \
	src/mpi/gone.c \
	src/mpi/job.c \
	src/mpi/job.h \
	src/mpi/launch.c \
	src/mpi/launch.h \
	src/mpi/layouts.c \
	src/mpi/names.c \
	src/mpi/roll.c \
	src/mpi/wait.c
libkvferry_mpi_la_CPPFLAGS = $(AM_CPPFLAGS) $(MPI_CFLAGS)
libkvferry_mpi_la_LIBADD = libkvferry.la $(MPI_LIBS)
libkvferry_mpi_la_LDFLAGS = $(AM_LDFLAGS) -version-info $(LIBKVFERRY_MPI_SO) -no-undefined \
	-Wl,--version-script=$(top_srcdir)/src/mpi/kvferry_mpi.map
EXTRA_libkvferry_mpi_la_DEPENDENCIES = src/mpi/kvferry_mpi.map
endif
