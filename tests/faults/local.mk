# A death, or a failed system call, at every step of a scenario.
check_PROGRAMS += tests/faults/faults
tests_faults_faults_SOURCES = tests/faults/faults.c tests/faults/cast.c tests/faults/cast.h \
	tests/faults/left.c tests/faults/left.h tests/faults/run.c tests/faults/run.h \
	tests/faults/steady.c tests/faults/victim.c tests/faults/strace.c tests/faults/strace.h
tests_faults_faults_LDADD = libkvferry.la
TESTS += tests/faults/run.sh
EXTRA_DIST += tests/faults/run.sh
dist_doc_DATA += docs/reliability.md
