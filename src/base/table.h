/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Hash map from a nonzero 64-bit key to a pointer. Not locked; the owner locks. Peers choose some of the
 * keys, so where a key goes depends on a number that each table draws: nobody outside can make keys meet.
 */
#ifndef KVFI_BASE_TABLE_H
#define KVFI_BASE_TABLE_H

#include <stddef.h>
#include <stdint.h>

typedef struct kvfi_table {
    struct kvfi_entry {
        uint64_t key; /* 0: free */
        void *value;
    } * entries;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
    uint64_t salt; /* drawn with the first entry */
} kvfi_table_t;

/* NULL if there is none. */
void *kvfi_table_get(const kvfi_table_t *table, uint64_t key);
/* 0, or -1 without memory. Replaces. */
int kvfi_table_put(kvfi_table_t *table, uint64_t key, void *value);
/* 0: so many more can be put without asking for memory; or -1. */
int kvfi_table_room(kvfi_table_t *table, size_t more);
/* What was there, or NULL. */
void *kvfi_table_take(kvfi_table_t *table, uint64_t key);
void kvfi_table_free(kvfi_table_t *table);

#endif
