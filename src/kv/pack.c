/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A layout as bytes, in the envelope that all blobs have: its description, field by field. What is
 * read is bounded by the blob's length, and what comes out is created like any other layout, so a
 * damaged or hostile blob gives an error and never a layout that does not hold.
 */
#include <stdlib.h>
#include <string.h>

#include "base/blob.h"
#include "kv/layout.h"

enum {
    HAS_BASES = 1,
    HAS_SEGMENTS = 2
};

#define GROUP_LEAST 48u /* bytes that a group takes at least */
#define PLANE_LEAST 88u /* and a plane */

static void put_plane(kvfi_writer_t *w, const kvf_group_t *group, const kvf_plane_t *plane)
{
    kvfi_put_u32(w, plane->kind);
    kvfi_put_u32(w, plane->index);
    kvfi_put(w, plane->element, sizeof(plane->element));
    kvfi_put_u64(w, plane->content);
    kvfi_put_u64(w, plane->k_content);
    kvfi_put_u64(w, plane->block_stride);
    kvfi_put_u64(w, (uint64_t)plane->layer_stride);
    kvfi_put_u64(w, (uint64_t)plane->head_stride);
    kvfi_put_u64(w, (uint64_t)plane->state_stride);
    kvfi_put_u64(w, plane->base);
    kvfi_put_u32(w, plane->segment);
    kvfi_put_u32(w, (plane->layer_base != NULL ? HAS_BASES : 0) |
                        (plane->layer_segment != NULL ? HAS_SEGMENTS : 0));
    if (plane->layer_base != NULL)
        kvfi_put(w, plane->layer_base, group->layer_count * sizeof(uint64_t));
    if (plane->layer_segment != NULL)
        kvfi_put(w, plane->layer_segment, group->layer_count * sizeof(uint32_t));
}

static void put_group(kvfi_writer_t *w, const kvf_group_t *group)
{
    const uint32_t fields[] = {
        group->block_tokens, group->tokens_per_state, group->first_head,  group->heads,
        group->heads_total,  group->window,           group->blocks,      group->cp_ranks,
        group->cp_rank,      group->cp_tokens,        group->layer_count, group->plane_count,
    };

    kvfi_put(w, fields, sizeof(fields));
    kvfi_put(w, group->layers, group->layer_count * sizeof(uint32_t));
    for (uint32_t p = 0; p < group->plane_count; p++)
        put_plane(w, group, &group->planes[p]);
}

kvf_status_t kvf_layout_pack(const kvf_layout_t *layout, void *buf, size_t *len_p)
{
    if (layout == NULL || len_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "pack: %s is NULL", layout == NULL ? "layout" : "len_p");
    kvfi_writer_t w = kvfi_blob_begin(buf, buf != NULL ? *len_p : 0);

    kvfi_put_u32(&w, layout->desc.group_count);
    kvfi_put_u32(&w, layout->desc.segment_count);
    kvfi_put(&w, layout->desc.segment_len, layout->desc.segment_count * sizeof(uint64_t));
    for (uint32_t g = 0; g < layout->desc.group_count; g++)
        put_group(&w, &layout->desc.groups[g]);
    /* A layout belongs to no engine; what tells one from another is its fingerprint. */
    return kvfi_blob_end(&w, KVFI_BLOB_LAYOUT, 0, layout->fingerprint, len_p);
}

/* -------------------------------------------------------------------- back */

/* Reads arrays, and keeps them for one free(). */
typedef struct in {
    kvfi_reader_t r;
    void **kept;
    size_t count, cap;
    kvf_status_t status;
} in_t;

/* count zeroed elements, if the blob can hold so many of least bytes each. */
static void *take_room(in_t *in, uint32_t count, size_t size, size_t least)
{
    void *room = NULL;

    if (in->status != KVF_OK)
        return NULL;
    if (in->r.failed || count > (in->r.len - in->r.off) / least) {
        in->status = kvfi_fail(KVF_ERR_BLOB, "layout blob: it counts %u, and is too short for that", count);
        return NULL;
    }
    if (in->count == in->cap) {
        size_t cap = in->cap == 0 ? 64 : 2 * in->cap;
        void **more = realloc(in->kept, cap * sizeof(*more));

        if (more != NULL) {
            in->kept = more;
            in->cap = cap;
        }
    }
    if (in->count < in->cap)
        room = calloc(count + 1, size);
    if (room == NULL)
        in->status = kvfi_fail(KVF_ERR_NOMEM, "layout blob: no memory for %u elements", count);
    else
        in->kept[in->count++] = room;
    return room;
}

static void *take_array(in_t *in, uint32_t count, size_t size)
{
    void *array = take_room(in, count, size, size);
    const void *from = array != NULL ? kvfi_get(&in->r, count * size) : NULL;

    if (from != NULL)
        memcpy(array, from, count * size);
    return array;
}

static void get_plane(in_t *in, const kvf_group_t *group, kvf_plane_t *plane)
{
    kvfi_reader_t *r = &in->r;
    const void *element;
    uint32_t flags;

    plane->kind = kvfi_get_u32(r);
    plane->index = kvfi_get_u32(r);
    element = kvfi_get(r, sizeof(plane->element));
    if (element != NULL)
        memcpy(plane->element, element, sizeof(plane->element));
    plane->content = kvfi_get_u64(r);
    plane->k_content = kvfi_get_u64(r);
    plane->block_stride = kvfi_get_u64(r);
    plane->layer_stride = (int64_t)kvfi_get_u64(r);
    plane->head_stride = (int64_t)kvfi_get_u64(r);
    plane->state_stride = (int64_t)kvfi_get_u64(r);
    plane->base = kvfi_get_u64(r);
    plane->segment = kvfi_get_u32(r);
    flags = kvfi_get_u32(r);
    if ((flags & HAS_BASES) != 0)
        plane->layer_base = take_array(in, group->layer_count, sizeof(uint64_t));
    if ((flags & HAS_SEGMENTS) != 0)
        plane->layer_segment = take_array(in, group->layer_count, sizeof(uint32_t));
}

static void get_group(in_t *in, kvf_group_t *group)
{
    kvfi_reader_t *r = &in->r;
    kvf_plane_t *planes;

    group->block_tokens = kvfi_get_u32(r);
    group->tokens_per_state = kvfi_get_u32(r);
    group->first_head = kvfi_get_u32(r);
    group->heads = kvfi_get_u32(r);
    group->heads_total = kvfi_get_u32(r);
    group->window = kvfi_get_u32(r);
    group->blocks = kvfi_get_u32(r);
    group->cp_ranks = kvfi_get_u32(r);
    group->cp_rank = kvfi_get_u32(r);
    group->cp_tokens = kvfi_get_u32(r);
    group->layer_count = kvfi_get_u32(r);
    group->plane_count = kvfi_get_u32(r);
    group->layers = take_array(in, group->layer_count, sizeof(uint32_t));
    planes = take_room(in, group->plane_count, sizeof(*planes), PLANE_LEAST);
    group->planes = planes;
    for (uint32_t p = 0; p < group->plane_count && in->status == KVF_OK; p++)
        get_plane(in, group, &planes[p]);
}

static kvf_status_t get_layout(in_t *in, kvf_layout_t **layout_p)
{
    kvf_layout_desc_t desc = {.struct_size = sizeof(desc)};
    kvf_group_t *groups;
    kvf_status_t status;

    desc.group_count = kvfi_get_u32(&in->r);
    desc.segment_count = kvfi_get_u32(&in->r);
    desc.segment_len = take_array(in, desc.segment_count, sizeof(uint64_t));
    groups = take_room(in, desc.group_count, sizeof(*groups), GROUP_LEAST);
    desc.groups = groups;
    for (uint32_t g = 0; g < desc.group_count && in->status == KVF_OK; g++)
        get_group(in, &groups[g]);
    if (in->status == KVF_OK && in->r.failed)
        in->status = kvfi_fail(KVF_ERR_BLOB, "layout blob: it ends within a field");
    if (in->status != KVF_OK)
        return in->status;
    status = kvf_layout_create(&desc, layout_p);
    if (status != KVF_OK && status != KVF_ERR_NOMEM)
        return kvfi_fail_within(KVF_ERR_BLOB, "layout blob");
    return status;
}

kvf_status_t kvf_layout_unpack(const void *buf, size_t len, kvf_layout_t **layout_p)
{
    in_t in = {.status = KVF_OK};
    uint64_t fingerprint;
    kvf_layout_t *layout;
    kvf_status_t status;

    if (buf == NULL || layout_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "unpack: %s is NULL", buf == NULL ? "buf" : "layout_p");
    status = kvfi_blob_open(buf, len, KVFI_BLOB_LAYOUT, &fingerprint, &in.r);
    if (status != KVF_OK)
        return status;
    status = get_layout(&in, &layout);
    for (size_t i = 0; i < in.count; i++)
        free(in.kept[i]);
    free(in.kept);
    if (status != KVF_OK)
        return status;
    if (layout->fingerprint != fingerprint) {
        kvf_layout_destroy(layout);
        return kvfi_fail(KVF_ERR_BLOB, "layout blob: its fingerprint is not that of its fields");
    }
    *layout_p = layout;
    return KVF_OK;
}
