# The tests, one directory a subject. Exit 77 is SKIP, with the reason as the last line.
EXTRA_DIST += docs/testing.md tests/lib.sh tests/summary.sh tests/installcheck.sh tests/skips.list tests/lsan.supp \
	tests/tsan.supp tests/model/settle.pml

include tests/unit/local.mk
include tests/engine/local.mk
include tests/path/local.mk
include tests/errors/local.mk
include tests/mpi/local.mk
include tests/net/local.mk
include tests/faults/local.mk
include tests/abi/local.mk

# The protocols in shared memory, as models.
TESTS += tests/model/run.sh
EXTRA_DIST += tests/model/run.sh tests/model/revoke.pml tests/model/pin.pml tests/model/doorbell.pml
