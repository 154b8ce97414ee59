/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Processes: who we are, and whether a neighbour on this node still lives.
 *
 * An identity is of one program in one process: exec() ends it as death does. No number in it holds
 * everywhere, so each stands next to the namespace in which it holds, and counts only if that is ours:
 *
 *     number                  holds in          tells
 *     pid                     PID namespace     whether the process has ended
 *     start                   time namespace    whether the pid is that process and no later one
 *     lifeline, line_made     IPC namespace     whether the program has ended, by exec() too
 *
 * The lifeline is a System V segment of one page that only its maker attaches. The kernel destroys it
 * with the maker's memory.
 *
 * Dead is what the kernel says has ended, or cannot but end. Whatever else a look answers (no descriptor, no
 * memory, no permission) proves nothing, and then the neighbour lives.
 */
#ifndef KVFI_BASE_PROC_H
#define KVFI_BASE_PROC_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct kvfi_proc_id {
    int32_t pid;
    int32_t lifeline; /* shm id, or -1 */
    uint64_t start;   /* ticks since boot, field 22 of /proc/PID/stat; 0: unknown */
    uint32_t pid_ns;  /* inodes of namespaces; 0: unknown */
    uint32_t time_ns;
    uint32_t ipc_ns;
    uint32_t line_made; /* seconds, the low bits of the lifeline's shm_ctime */
} kvfi_proc_id_t;

/* This process, with its lifeline if System V memory is allowed. 0, or -1 with errno if the kernel gives
 * no descriptor or memory to find it out. */
int kvfi_proc_self(kvfi_proc_id_t *id_p);

/* Names this boot of this machine, containers of it too; empty: unknown. */
#define KVFI_BOOT_LEN 40u
void kvfi_proc_boot(char boot_p[KVFI_BOOT_LEN]);

/* The same number for the same process, and hardly ever for two, of whatever machine. */
uint64_t kvfi_proc_number(const kvfi_proc_id_t *id, const char *boot);

/* Can the process `from` tell whether the process `id` lives? */
int kvfi_proc_watchable(const kvfi_proc_id_t *from, const kvfi_proc_id_t *id);

/* One look: 0 if it has ended. */
int kvfi_proc_lives(kvfi_proc_id_t id);

typedef struct kvfi_life {
    kvfi_proc_id_t id;
    int pidfd;                /* -1: none */
    int ours;                 /* it is this process */
    int pid_here;             /* its pid is of our namespace, and not our own; */
    int pid_known;            /* the process with that pid was seen to be it */
    int line_here;            /* its lifeline is of our namespace */
    _Atomic uint64_t seen_ns; /* when it was last seen alive */
    _Atomic int dead;
} kvfi_life_t;

/* Begin to watch. -1 if there is no way to watch it. */
int kvfi_life_open(kvfi_life_t *life, kvfi_proc_id_t id);
/* 1 alive, 0 dead, from state at most max_age_ns old. */
int kvfi_life_check(kvfi_life_t *life, uint64_t max_age_ns);
/* Its memory is not there any more: has it ended, or can it not but end? 1, and dead from here on; 0: no sign
 * of it within wait_ns. */
int kvfi_life_ends(kvfi_life_t *life, uint64_t wait_ns);
int kvfi_proc_ends(kvfi_proc_id_t id, uint64_t wait_ns);
/* A sensible wait: exec() takes memory apart bit by bit. */
#define KVFI_ENDING_NS UINT64_C(20000000)
void kvfi_life_close(kvfi_life_t *life);

/* Rises in each forked child, so that a handle can tell that it is the parent's. */
unsigned kvfi_fork_count(void);
/* Around an engine's use of UCX. -1 in a child that was forked meanwhile: UCX's locks were copied as they
 * stood, perhaps held by threads that the child does not have. */
int kvfi_fork_engage(void);
void kvfi_fork_disengage(void);

#endif
