/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A lock for loops that take it again and again. With a plain mutex, threads that wait for it would starve:
 * the thread that gives it back and takes it again at once is faster than one that has to be woken. So giving
 * back a lock that others wait for yields the processor.
 */
#ifndef KVFI_BASE_LOCK_H
#define KVFI_BASE_LOCK_H

#include <pthread.h>
#include <stdatomic.h>

typedef struct kvfi_lock {
    pthread_mutex_t mutex;
    _Atomic int waiting; /* threads that want it */
} kvfi_lock_t;

void kvfi_lock_init(kvfi_lock_t *lock);
void kvfi_lock_destroy(kvfi_lock_t *lock);
void kvfi_lock_take(kvfi_lock_t *lock);
int kvfi_lock_try(kvfi_lock_t *lock); /* 1 if taken */
void kvfi_lock_give(kvfi_lock_t *lock);

#endif
