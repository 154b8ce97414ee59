/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Processes: who we are, and whether a neighbour on this node still lives. A neighbour is watched
 * through a pidfd; where that is forbidden, through its start time in /proc (a zombie is dead);
 * where its PID means nothing here (another PID namespace), through its lifeline: a System V
 * segment of one page that only its maker attaches and that the kernel destroys with the maker.
 */
#ifndef KVFI_BASE_PROC_H
#define KVFI_BASE_PROC_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct kvfi_proc_id {
    int32_t  pid;      /* in its own PID namespace */
    int32_t  lifeline; /* shm id, or -1 */
    uint64_t start;    /* ticks since boot, field 22 of /proc/PID/stat; 0 unknown */
} kvfi_proc_id_t;

/* This process, without a lifeline. */
kvfi_proc_id_t kvfi_proc_self(void);

/* The lifeline of this process: one, made at the first call; -1 if System V memory is refused. */
int kvfi_proc_lifeline(void);

typedef struct kvfi_life {
    kvfi_proc_id_t  id;
    int             pidfd;     /* -1: none */
    int             pid_known; /* the PID names that process here too */
    _Atomic uint64_t seen_ns;  /* when it was last seen alive */
    _Atomic int      dead;
} kvfi_life_t;

/* Begin to watch. -1 if there is no way to watch it. */
int  kvfi_life_open(kvfi_life_t *life, kvfi_proc_id_t id);
/* 1 alive, 0 dead, from state at most max_age_ns old. */
int  kvfi_life_check(kvfi_life_t *life, uint64_t max_age_ns);
void kvfi_life_close(kvfi_life_t *life);

/* Rises in each forked child, so that a handle can tell that it is the parent's. */
unsigned kvfi_fork_count(void);

#endif
