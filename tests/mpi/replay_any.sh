#!/bin/bash
# Jobs of kvf_replay that nobody would think of: models, cuts of both sides, layouts, block sizes, paths and traces at
# random, each byte checked and counted; those that cannot be are refused by name. KVF_SETUPS says how many, KVF_SEED
# the first seed (both are printed; a failure prints its own, and the whole command line).
. "$top_srcdir/tests/lib.sh"
. "$top_srcdir/tests/mpi/replay_lib.sh"

launcher=("$MPIRUN")
if "$MPIRUN" --version 2>/dev/null | grep -q 'Open MPI'; then
    launcher+=(--oversubscribe --bind-to none "${MPI_ARGS[@]}")
fi
how=(--setups "${KVF_SETUPS:-16}" --seed "${KVF_SEED:-$((RANDOM << 15 | RANDOM))}" --patience "${KVF_PATIENCE:-1}")
if "$top_builddir/tools/kvf_info" | grep -q '^  cma  *yes'; then
    how+=(--cma)
fi
python3 "$here/replay_any.py" --tool "$tool" --check "$here/replay_check.py" --dir "$TMP" "${how[@]}" -- \
    "${launcher[@]}" || fail "a setup is not right"
