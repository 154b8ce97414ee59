/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A world of a test's own: namespaces in which nobody else's shared memory, files and sockets are seen,
 * and in which the limits of shared memory are the test's to set. They belong to the calling process
 * and the children that it starts afterwards, and vanish with them; nothing is to be cleaned up.
 */
#ifndef KVF_TESTS_WORLD_H
#define KVF_TESTS_WORLD_H

#include "procs.h"

/* Ends the program with 77 and the reason where this machine lets nobody make such a world. */
void world_needed(void);

/* Mounts and System V segments of this process's own; net 1: its sockets too. */
void world_enter(int net);

/* A new, empty file system of that many bytes on a folder. */
void world_mount(const char *folder, uint64_t bytes);

/* Fills /dev/shm to the brim. */
void world_fill_shm(void);

/* A limit of System V memory here: "shmmax", "shmall", "shmmni". */
void world_limit_sysv(const char *name, const char *value);

/* From now on nobody here makes a System V segment. */
void world_forbid_sysv(void);

/* System V segments that exist. */
unsigned world_segments(void);

/* Names in a folder. */
unsigned world_names(const char *folder);

/* Abstract sockets of this net namespace. */
unsigned world_sockets(void);

#endif
