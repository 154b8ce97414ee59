# kvf_replay, the main job. Included by tools/local.mk.
dist_doc_DATA += docs/replay.md
if HAVE_MPI
bin_PROGRAMS += tools/kvf_replay
tools_kvf_replay_SOURCES = \
	tools/replay/bar.c \
	tools/replay/bar.h \
	tools/replay/comm.c \
	tools/replay/comm.h \
	tools/replay/content.h \
	tools/replay/decode.c \
	tools/replay/decode.h \
	tools/replay/gather.c \
	tools/replay/inject.c \
	tools/replay/inject.h \
	tools/replay/input.c \
	tools/replay/input.h \
	tools/replay/job.h \
	tools/replay/main.c \
	tools/replay/options.c \
	tools/replay/options.h \
	tools/replay/prefill.c \
	tools/replay/prefill.h \
	tools/replay/report.c \
	tools/replay/report.h \
	tools/replay/room.c \
	tools/replay/room.h \
	tools/replay/serve.c \
	tools/replay/serve.h \
	tools/replay/shape.c \
	tools/replay/shape.h \
	tools/replay/store.c \
	tools/replay/store.h \
	tools/replay/tables.c \
	tools/replay/tables.h \
	tools/replay/verify.c \
	tools/replay/verify.h
tools_kvf_replay_CPPFLAGS = $(AM_CPPFLAGS) $(MPI_CFLAGS)
tools_kvf_replay_LDADD = libkvfcli.la libkvftrace.la libkvferry_mpi.la libkvferry.la $(MPI_LIBS)
endif
