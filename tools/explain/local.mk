# kvf_explain, what a transfer takes. Included by tools/local.mk.
dist_doc_DATA += docs/explain.md
bin_PROGRAMS += tools/kvf_explain
tools_kvf_explain_SOURCES = \
	tools/kvf_explain.c \
	tools/explain/explain.h \
	tools/explain/hints.c \
	tools/explain/options.c \
	tools/explain/pairs.c \
	tools/explain/predict.c \
	tools/explain/report.c \
	tools/explain/sides.c \
	tools/explain/why.c
if HAVE_MPI
tools_kvf_explain_SOURCES += \
	tools/explain/cache.c \
	tools/explain/job.c \
	tools/explain/run.c \
	tools/explain/run.h \
	tools/same_line.c \
	tools/same_line.h
else
tools_kvf_explain_SOURCES += tools/explain/no_job.c
endif
tools_kvf_explain_CPPFLAGS = $(AM_CPPFLAGS) $(MPI_CFLAGS)
if HAVE_MPI
tools_kvf_explain_LDADD = libkvferry_mpi.la libkvferry.la libkvfcli.la $(MPI_LIBS)
else
tools_kvf_explain_LDADD = libkvferry.la libkvfcli.la
endif
