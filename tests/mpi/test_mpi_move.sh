#!/usr/bin/env bash
# Exchange, agreement and reports over 1, 2 and 4 ranks, near and far; the cases are in mpi_move.c.
. "$top_srcdir/tests/mpi/cases.sh"

run_cases mpi_move 1,2,4 near each_row_has_its_ranges one_rank_spoils_the_exchange \
    the_matrix_follows_the_data reports_refuse_on_all_ranks
run_cases mpi_move 1,4 near each_rank_gets_all_layouts
run_cases mpi_move 2 near one_rank_spoils_the_layouts
run_cases mpi_move 2,4 near the_first_bad_rank_is_named waiting_ranks_serve closing_ranks_serve
run_cases mpi_move 2,4 far each_row_has_its_ranges the_matrix_follows_the_data
run_cases mpi_move 3 far waiting_ranks_serve closing_ranks_serve
run_cases mpi_move 2,4 caller the_matrix_follows_the_data waiting_ranks_serve closing_ranks_serve
run_cases mpi_move 3 near what_is_said_is_whole_and_fresh
run_cases mpi_move 2 near waiting_ranks_sleep
run_cases mpi_move 2 caller waiting_ranks_sleep
