# The tools, bin_PROGRAMS += tools/kvf_NAME. What their command lines share is in libkvfcli.la; its
# header is "cli.h", which needs no path from inside tools/.
noinst_LTLIBRARIES += libkvfcli.la
libkvfcli_la_SOURCES = \
	tools/cli.c \
	tools/cli.h \
	tools/json.c
