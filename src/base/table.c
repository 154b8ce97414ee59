/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Open addressing with linear probing; a removal moves later entries of the run back, so there
 * are no tombstones.
 */
#include "base/table.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"

static size_t home(const kvfi_table_t *table, uint64_t key)
{
    key ^= table->salt;
    key ^= key >> 32;
    key *= UINT64_C(0x9E3779B97F4A7C15);
    key ^= key >> 29;
    key *= UINT64_C(0xBF58476D1CE4E5B9);
    return (size_t)(key >> 32) & (table->capacity - 1);
}

/* Early in a boot there may be nothing to draw from: then what no other process sees exactly. */
static uint64_t draw(const void *place)
{
    uint64_t salt;

    if (getrandom(&salt, sizeof salt, GRND_NONBLOCK) == (ssize_t)sizeof salt)
        return salt;
    return kvfi_now_ns() ^ (uint64_t)(uintptr_t)place << 16;
}

static size_t find(const kvfi_table_t *table, uint64_t key)
{
    size_t i = home(table, key);

    while (table->entries[i].key && table->entries[i].key != key)
        i = (i + 1) & (table->capacity - 1);
    return i;
}

void *kvfi_table_get(const kvfi_table_t *table, uint64_t key)
{
    return table->capacity ? table->entries[find(table, key)].value : NULL;
}

static int grow(kvfi_table_t *table)
{
    kvfi_table_t larger = {.capacity = table->capacity ? table->capacity * 2 : 16};

    larger.entries = calloc(larger.capacity, sizeof *larger.entries);
    if (!larger.entries)
        return -1;
    larger.salt = table->salt ? table->salt : draw(larger.entries);
    for (size_t i = 0; i < table->capacity; i++)
        if (table->entries[i].key)
            larger.entries[find(&larger, table->entries[i].key)] = table->entries[i];
    larger.count = table->count;
    free(table->entries);
    *table = larger;
    return 0;
}

int kvfi_table_room(kvfi_table_t *table, size_t more)
{
    while ((table->count + more) * 2 > table->capacity)
        if (grow(table))
            return -1;
    return 0;
}

int kvfi_table_put(kvfi_table_t *table, uint64_t key, void *value)
{
    size_t i;

    if (table->count * 2 >= table->capacity && grow(table))
        return -1;
    i = find(table, key);
    table->count += table->entries[i].key == 0;
    table->entries[i].key = key;
    table->entries[i].value = value;
    return 0;
}

void *kvfi_table_take(kvfi_table_t *table, uint64_t key)
{
    size_t mask = table->capacity - 1, i, j;
    void *value;

    if (!table->capacity || table->entries[i = find(table, key)].key == 0)
        return NULL;
    value = table->entries[i].value;
    for (j = (i + 1) & mask; table->entries[j].key; j = (j + 1) & mask) {
        size_t from = home(table, table->entries[j].key);

        if (((j - from) & mask) >= ((j - i) & mask)) {
            table->entries[i] = table->entries[j];
            i = j;
        }
    }
    table->entries[i].key = 0;
    table->entries[i].value = NULL;
    table->count--;
    return value;
}

void kvfi_table_free(kvfi_table_t *table)
{
    free(table->entries);
    *table = (kvfi_table_t){0};
}
