/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whether the ranks of a job were all given the same command line. Two that differ would each do work
 * that the other does not know of, and wait for one another. Collective; waits for all ranks.
 */
#ifndef KVFI_TOOLS_SAME_LINE_H
#define KVFI_TOOLS_SAME_LINE_H

/* Between MPI_Init and the first thing that the options decide. 0, or -1 on every rank, with a sentence in
 * kvfi_cli_error() that names the first rank that differs and the first option in which it does. */
int kvfi_same_line(int argc, char *const *argv);

#endif
