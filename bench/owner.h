/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The other side of what the programs of bench/ measure: who owns the memory that a batch reads, this
 * process or a child that sleeps. Any failure ends the program with a sentence.
 */
#ifndef KVFI_BENCH_OWNER_H
#define KVFI_BENCH_OWNER_H

#include <kvferry.h>

#include <stddef.h>
#include <stdint.h>

#define BLOB_MAX 65536u

typedef enum owner_kind {
    OWNER_SHARED,  /* the library's memory */
    OWNER_PRIVATE, /* the owner's own */
    OWNER_FAR      /* as shared, of a process that is made far: over the wire of loopback */
} owner_kind_t;

typedef struct owner {
    const char *program; /* whose name sentences begin with */
    owner_kind_t kind;
    kvf_engine_t *engine;
    kvf_segment_t *segment;
    kvf_grant_t *grant;
    uint8_t blob[2][BLOB_MAX]; /* engine, grant */
    size_t len[2];
    int hold; /* closing it ends the child; -1: there is none */
} owner_t;

/* len bytes, granted by engine in this process. */
void owner_here(owner_t *owner, const char *program, kvf_engine_t *engine, uint64_t len);
/* The same by a child; before this process opens an engine. */
void owner_fork(owner_t *owner, const char *program, uint64_t len, owner_kind_t kind);
/* What the owner grants, seen from engine. */
kvf_remote_t *owner_import(owner_t *owner, kvf_engine_t *engine);
/* Ends the child, if there is one, after the engine that imported was closed. */
void owner_end(owner_t *owner);

#endif
