/* SPDX-License-Identifier: BSD-3-Clause
 *
 * System calls that the kernel refuses this process from now on, as container profiles do: a
 * seccomp filter, for good, on all threads, inherited by children.
 */
#ifndef KVF_TESTS_FORBID_H
#define KVF_TESTS_FORBID_H

/* Calls answer -1 and errno error. 0, or -1 if there are no filters here. */
int forbid(const long *calls, int count, int error);
/* process_vm_readv and process_vm_writev. */
int forbid_cma(int error);
/* 1 if the kernel has filters. */
int forbid_works(void);

#endif
