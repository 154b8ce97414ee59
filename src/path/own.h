/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Copies from and to memory that is the caller's own, which may lose its pages, a right, or the end of its
 * file at any time. Where this thread touched such an address a signal would end the process, and a library
 * installs no handlers; so the kernel touches it first, and answers EFAULT instead: one byte of each page
 * is asked for, then all is copied. Only a page that another thread takes away in the microseconds between
 * the two is a signal. Nothing here waits.
 */
#ifndef KVFI_PATH_OWN_H
#define KVFI_PATH_OWN_H

#include "copy/copy.h"

/* How the kernel is asked; zero at the start. For one thread at a time. */
typedef struct kvfi_own {
    int one_by_one; /* process_vm_readv or its twin is forbidden here */
} kvfi_own_t;

/* As kvfi_copy_gather() and kvfi_copy_scatter(). What lies before the first byte that cannot be touched is
 * moved and added to *moved_p. FAULT: there is such a byte; after it
 * the cursor is of no use. SYSTEM, with a sentence: the kernel cannot be asked. */
kvf_status_t kvfi_own_gather(kvfi_own_t *own, kvfi_cursor_t *cursor, const char *base, char *buf,
                             uint64_t cap, kvfi_moved_t *moved_p);
kvf_status_t kvfi_own_scatter(kvfi_own_t *own, kvfi_cursor_t *cursor, char *base, const char *buf,
                              uint64_t len, kvfi_moved_t *moved_p);

#endif
