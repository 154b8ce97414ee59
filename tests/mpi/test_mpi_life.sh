#!/usr/bin/env bash
# Open and close over 1, 2 and 4 ranks, near and far; the cases are in mpi_life.c.
. "$top_srcdir/tests/mpi/cases.sh"

run_cases mpi_life 1,2,4 near every_rank_knows_all one_rank_has_a_wrong_option \
    first_wrong_rank_is_named no_communicator_to_agree_on sub_communicators \
    two_jobs_in_a_process error_handler_stays close_after_finalize close_leaves_at_its_timeout \
    options_of_a_newer_header a_child_is_refused
run_cases mpi_life 1 near no_job
run_cases mpi_life 2 near a_child_leaves_mpi_alone
run_cases mpi_life 2,4 far every_rank_knows_all sub_communicators two_jobs_in_a_process
run_cases mpi_life 2 caller every_rank_knows_all close_after_finalize

# Each rank is a job of its own, but a launcher claims to have started four.
SLURM_STEP_NUM_TASKS=4 "$top_builddir/tests/mpi/mpi_life" every_rank_knows_all >"$TMP/out" 2>&1 &&
    fail "a launch in pieces was let through"
grep -q 'srun started 4 ranks (SLURM_STEP_NUM_TASKS) and MPI sees 1: say srun --mpi=pmix' \
    "$TMP/out" ||
    { cat "$TMP/out"; fail "the sentence about the launch"; }
SLURM_STEP_NUM_TASKS=4 SLURM_NTASKS=4 run_cases mpi_life 1 near every_rank_knows_all
