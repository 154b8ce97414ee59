/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How the tools cut a model over ranks: TP over heads, PP over layers. Engines differ; this is the
 * one way that the tools take by themselves, and no way of the library, which is told what each rank
 * holds. Pure arithmetic: nothing here fails, allocates or blocks.
 *
 * Rank r of TP t in stage s holds heads and layers that r and s name; among the ranks of an
 * instance its number is s * TP + t. Callers see to it that a number is below its count.
 */
#ifndef KVFI_TOOLS_CUT_H
#define KVFI_TOOLS_CUT_H

#include <stdint.h>

/* Heads of rank `rank` of TP `tp`: the first heads % tp ranks hold one more; with fewer heads than
 * ranks each rank holds one, and neighbours hold the same (replicas). */
void kvfi_cut_heads(uint32_t heads, uint32_t tp, uint32_t rank, uint32_t *first_p, uint32_t *count_p);

/* Layers of stage `stage` of PP `pp`, at most as many as layers: the first layers % pp stages hold one
 * more. */
void kvfi_cut_layers(uint32_t layers, uint32_t pp, uint32_t stage, uint32_t *first_p, uint32_t *count_p);

#endif
