/* SPDX-License-Identifier: BSD-3-Clause
 *
 * See lock.h.
 */
#include "base/lock.h"

#include <sched.h>

void kvfi_lock_init(kvfi_lock_t *lock)
{
    pthread_mutex_init(&lock->mutex, NULL);
    atomic_store(&lock->waiting, 0);
}

void kvfi_lock_destroy(kvfi_lock_t *lock)
{
    pthread_mutex_destroy(&lock->mutex);
}

void kvfi_lock_take(kvfi_lock_t *lock)
{
    atomic_fetch_add(&lock->waiting, 1);
    pthread_mutex_lock(&lock->mutex);
    atomic_fetch_sub(&lock->waiting, 1);
}

int kvfi_lock_try(kvfi_lock_t *lock)
{
    return pthread_mutex_trylock(&lock->mutex) == 0;
}

void kvfi_lock_give(kvfi_lock_t *lock)
{
    pthread_mutex_unlock(&lock->mutex);
    if (atomic_load_explicit(&lock->waiting, memory_order_relaxed))
        sched_yield();
}
