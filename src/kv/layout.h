/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the files of the KV layer share: the layout as it is kept, lattices and their overlap,
 * boxes.
 *
 * A layout is kept as the caller described it (one allocation, deep copy) plus two views that
 * make two layouts comparable: layers by rising id, and planes as parts. A part is K, V or any
 * other content by itself, so that K and V compare the same whether a plane fuses them or not.
 */
#ifndef KVFI_KV_LAYOUT_H
#define KVFI_KV_LAYOUT_H

#include <stdbool.h>

#include <kvferry/kv.h>

#include "base/status.h"

typedef __int128 kvfi_wide_t;

typedef struct kvfi_kv_part {
    uint32_t kind; /* never KVF_PLANE_KV */
    uint32_t index;
    const kvf_plane_t *plane;
    uint64_t off; /* from the start of the plane's cell */
    uint64_t content;
} kvfi_kv_part_t;

typedef struct kvfi_kv_view {
    uint32_t *order;       /* places in the layer list, by rising layer id */
    kvfi_kv_part_t *parts; /* by rising index, kind: K and V of a plane are neighbours */
    uint32_t part_count;
} kvfi_kv_view_t;

struct kvf_layout {
    kvf_layout_desc_t desc;
    kvfi_kv_view_t *views; /* one a group */
    uint64_t block_bytes;
    uint64_t fingerprint;
};

/* Cells at fixed strides: a (group, plane), or a layer of it where each layer has its own base. */
enum {
    KVFI_AXIS_BLOCK,
    KVFI_AXIS_LAYER,
    KVFI_AXIS_HEAD,
    KVFI_AXIS_STATE,
    KVFI_AXIS_COUNT
};

typedef struct kvfi_lattice {
    uint32_t group, plane, layer; /* layer: place in the list, or UINT32_MAX for all */
    uint32_t segment;
    kvfi_wide_t base; /* lowest offset, strides being made positive */
    uint64_t content;
    kvfi_wide_t stride[KVFI_AXIS_COUNT];
    uint32_t count[KVFI_AXIS_COUNT];
} kvfi_lattice_t;

typedef enum kvfi_overlap {
    KVFI_OVERLAP_NO,
    KVFI_OVERLAP_YES,
    KVFI_OVERLAP_UNKNOWN /* too irregular */
} kvfi_overlap_t;

/* Whether a cell of one and another cell of other share a byte; with one == other, whether two of
 * its cells do, and then *axis_p is the outermost axis along which they differ. Exact. Takes the
 * steps of its search from *steps; UNKNOWN if they run out. */
kvfi_overlap_t kvfi_kv_overlap(const kvfi_lattice_t *one, const kvfi_lattice_t *other, unsigned *axis_p,
                               uint32_t *steps);

/* Check a description and everything under it but overlap and bounds, before it is copied. */
kvf_status_t kvfi_kv_check_desc(const kvf_layout_desc_t *desc);

/* Check a copied layout for bounds and overlap. */
kvf_status_t kvfi_kv_check_cells(const kvf_layout_t *layout);

/* The fingerprint of a copied layout whose views are filled. */
uint64_t kvfi_kv_fingerprint(const kvf_layout_t *layout);

/* Segment of layer i (place in the list) of a plane, and offset of its first cell there. */
uint32_t kvfi_kv_layer_segment(const kvf_plane_t *plane, uint32_t i);
uint64_t kvfi_kv_layer_base(const kvf_plane_t *plane, uint32_t i);

/* States in a block of a group. */
static inline uint32_t kvfi_kv_states(const kvf_group_t *group)
{
    return group->block_tokens / group->tokens_per_state;
}

#endif
