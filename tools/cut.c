/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How the tools cut a model over ranks: cut.h says how.
 */
#include "cut.h"

/* Part `part` of `total` in `parts` parts of which none is empty. */
static void even(uint32_t total, uint32_t parts, uint32_t part, uint32_t *first_p, uint32_t *count_p)
{
    uint32_t more = total % parts;

    *count_p = total / parts + (part < more);
    *first_p = part * (total / parts) + (part < more ? part : more);
}

void kvfi_cut_heads(uint32_t heads, uint32_t tp, uint32_t rank, uint32_t *first_p, uint32_t *count_p)
{
    if (heads >= tp) {
        even(heads, tp, rank, first_p, count_p);
    } else {
        *first_p = (uint32_t)((uint64_t)rank * heads / tp);
        *count_p = 1;
    }
}

void kvfi_cut_layers(uint32_t layers, uint32_t pp, uint32_t stage, uint32_t *first_p, uint32_t *count_p)
{
    even(layers, pp, stage, first_p, count_p);
}
