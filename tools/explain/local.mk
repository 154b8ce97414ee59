# kvf_explain, what a transfer takes. Included by tools/local.mk.
EXTRA_DIST += docs/explain.md
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
tools_kvf_explain_CPPFLAGS = $(AM_CPPFLAGS)
tools_kvf_explain_LDADD = libkvferry.la libkvfcli.la
