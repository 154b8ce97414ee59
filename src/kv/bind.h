/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Binding in seven files: bind_check.c looks at the arguments, bind_slots.c at where the segments lie,
 * bind_list.c makes lists of block pairs, bind.c walks the plan and fills ops, bind_post.c posts them,
 * results.c walks it again when they have been moved, and fold.c takes what became of each pair on the way.
 */
#ifndef KVFI_KV_BIND_H
#define KVFI_KV_BIND_H

#include "kv/plan.h"

/* One end of a binding, for one part. */
typedef struct kvfi_end {
    const char *name;
    bool is_source;
    const kvf_bind_table_t *table;
    const kvfi_plan_group_t *group;
    uint32_t index;   /* of the group */
    uint32_t entries; /* blocks in a period */
    uint64_t first;   /* block of the request in entry 0 of the table */
    bool remade;      /* the table's ids mean more than ids */
    int8_t *status;   /* of each entry, for the ops to set; or NULL */
} kvfi_end_t;

/* Places of one form: of each meet those in periods [low, high) that lie within the range. */
typedef struct kvfi_places {
    const kvfi_meet_t *meets;
    uint32_t meet_count;
    uint64_t low, high;
    uint64_t from, to; /* states wanted */
    uint64_t period;
    uint64_t count;
} kvfi_places_t;

/* One end of a list of pairs. */
typedef struct kvfi_list {
    const uint32_t *ids; /* NULL: counted from entry on */
    uint64_t entry;
    const uint32_t *gens;
    int8_t *status;
} kvfi_list_t;

/* The caller's ids. */
typedef struct kvfi_ids {
    uint32_t *ids; /* NULL: only counted */
    size_t room;
    uint64_t used;
} kvfi_ids_t;

/* What a binding's pairs became, on the way to the caller's results. */
typedef struct kvfi_fold {
    const kvf_bind_t *bind;
    kvf_status_t posted;
    kvf_plan_results_t *to;
} kvfi_fold_t;

/* Why an entry of a table has no block. */
typedef enum kvfi_drop {
    KVFI_DROP_NOT = 0,
    KVFI_DROP_ID = 1,  /* the id says so */
    KVFI_DROP_SKIP = 2 /* skip says so */
} kvfi_drop_t;

/* Periods in which a meet lies whole within [from, to): [*low_p, *high_p), low <= high. */
void kvfi_kv_whole_periods(const kvfi_meet_t *meet, uint64_t period, uint64_t from, uint64_t to,
                           uint64_t *low_p, uint64_t *high_p);

/* One end of the list of some places; ids are taken from room where it must be written out. Errors:
 * BOUNDS, UNSUPPORTED. */
kvf_status_t kvfi_kv_list_make(kvfi_ids_t *room, const kvfi_places_t *places, const kvfi_end_t *end,
                               kvfi_list_t *list_p);

/* Units of a part, of the layers that a binding asks for only. */
typedef struct kvfi_units {
    const kvfi_plan_part_t *part;
    uint32_t first, last; /* ids wanted */
    uint32_t unit, place; /* to go on from: place along its axis of layers */
} kvfi_units_t;

kvfi_units_t kvfi_kv_units_of(const kvfi_plan_part_t *part, const kvf_bind_t *bind);

/* Fill *unit_p with the next unit and say true; or false at the end. */
bool kvfi_kv_units_next(kvfi_units_t *units, kvfi_unit_t *unit_p);

/* Whether a binding asks for some layers only, and whether a part has one of those it asks for. */
static inline bool kvfi_kv_some_layers(const kvf_bind_t *bind)
{
    return (bind->first_layer | bind->layer_count) != 0;
}

bool kvfi_kv_part_has(const kvfi_plan_part_t *part, const kvf_bind_t *bind);

/* Block of the request at a place of a list, in period q; and whether a place is in the list. */
uint64_t kvfi_kv_place_block(const kvfi_places_t *places, uint32_t meet, uint64_t q, const kvfi_end_t *end);
bool kvfi_kv_place_wanted(const kvfi_places_t *places, uint32_t meet, uint64_t q);

kvfi_drop_t kvfi_kv_drop(const kvfi_end_t *end, uint64_t entry);

/* Add the pairs of a list, those from pair at on of the binding. first is the state that a list of
 * one place begins with, where the range cuts it; else UINT64_MAX. */
void kvfi_kv_fold_list(const kvfi_fold_t *fold, const kvfi_plan_part_t *part, const kvfi_places_t *places,
                       const kvfi_end_t *src, const kvfi_end_t *dst, uint64_t at, uint64_t first);

/* Walk a binding: count its pairs, and with fold add them. Errors: BOUNDS, INVALID. */
kvf_status_t kvfi_kv_walk_pairs(const kvf_plan_t *plan, const kvf_bind_t *bind, const kvfi_fold_t *fold,
                                uint64_t *pairs_p);

/* Read the caller's binding, in place or into copy_p if it is of another size, and check all arguments but
 * handles. INVALID, UNSUPPORTED. */
kvf_status_t kvfi_kv_bind_check(const kvf_plan_t *plan, const kvf_bind_t **bind_p, kvf_bind_t *copy_p);

/* Check where the segments of both sides lie; *full_p: no handle is NULL. INVALID, BOUNDS, NOMEM. */
kvf_status_t kvfi_kv_bind_slots(const kvf_plan_t *plan, const kvf_bind_t *bind, bool *full_p);

#endif
