/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What two layouts must have in common before anything is carried between them: the meaning of
 * their cells. The fingerprint hashes it, the comparison walks the same fields in the same order
 * and names the first that differs. Where the cells lie is no part of it.
 */
#include <string.h>

#include "kv/layout.h"

/* FNV-1a over the low byte first, so that the number is the same on any machine. */
static uint64_t mix(uint64_t hash, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        hash ^= value >> (8 * i) & 0xff;
        hash *= UINT64_C(0x100000001b3);
    }
    return hash;
}

static uint64_t mix_text(uint64_t hash, const char *text)
{
    hash = mix(hash, strlen(text));
    for (; *text != '\0'; text++)
        hash = mix(hash, (unsigned char)*text);
    return hash;
}

uint64_t kvfi_kv_fingerprint(const kvf_layout_t *layout)
{
    uint64_t hash = mix(UINT64_C(0xcbf29ce484222325), layout->desc.group_count);

    for (uint32_t g = 0; g < layout->desc.group_count; g++) {
        const kvf_group_t *group = &layout->desc.groups[g];
        const kvfi_kv_view_t *view = &layout->views[g];

        hash = mix(hash, group->layer_count);
        for (uint32_t i = 0; i < group->layer_count; i++)
            hash = mix(hash, group->layers[view->order[i]]);
        hash = mix(hash, group->heads_total);
        hash = mix(hash, group->tokens_per_state);
        hash = mix(hash, group->window);
        hash = mix(hash, view->part_count);
        for (uint32_t p = 0; p < view->part_count; p++) {
            hash = mix(hash, view->parts[p].kind);
            hash = mix(hash, view->parts[p].index);
            hash = mix(hash, view->parts[p].content);
            hash = mix_text(hash, view->parts[p].plane->element);
        }
    }
    return hash != 0 ? hash : 1;
}

static kvf_status_t differ(uint32_t g, const char *field, uint64_t one, uint64_t other)
{
    return kvfi_fail(KVF_ERR_INVALID, "group %u: %s is %llu in one layout, %llu in the other", g,
                     field, (unsigned long long)one, (unsigned long long)other);
}

static kvf_status_t compare_part(uint32_t g, const kvfi_kv_part_t *one, const kvfi_kv_part_t *other)
{
    const char *name = kvf_plane_name(one->kind);

    if (one->kind != other->kind)
        return kvfi_fail(KVF_ERR_INVALID,
                         "group %u: planes differ: %s in one layout, %s in the other", g, name,
                         kvf_plane_name(other->kind));
    if (one->index != other->index)
        return kvfi_fail(KVF_ERR_INVALID,
                         "group %u, plane %s: index is %u in one layout, %u in the other", g, name,
                         one->index, other->index);
    if (one->content != other->content)
        return kvfi_fail(
            KVF_ERR_INVALID, "group %u, plane %s: content is %llu in one layout, %llu in the other",
            g, name, (unsigned long long)one->content, (unsigned long long)other->content);
    if (strcmp(one->plane->element, other->plane->element) != 0)
        return kvfi_fail(KVF_ERR_INVALID,
                         "group %u, plane %s: element is %s in one layout, %s in the other", g,
                         name, one->plane->element, other->plane->element);
    return KVF_OK;
}

static kvf_status_t compare_group(const kvf_layout_t *one, const kvf_layout_t *other, uint32_t g)
{
    const kvf_group_t *a = &one->desc.groups[g], *b = &other->desc.groups[g];
    const kvfi_kv_view_t *va = &one->views[g], *vb = &other->views[g];
    kvf_status_t status = KVF_OK;

    if (a->layer_count != b->layer_count)
        return differ(g, "layer_count", a->layer_count, b->layer_count);
    for (uint32_t i = 0; i < a->layer_count; i++) {
        uint32_t x = a->layers[va->order[i]], y = b->layers[vb->order[i]];

        if (x != y)
            return kvfi_fail(KVF_ERR_INVALID,
                             "group %u: layers differ: only one layout holds layer %u", g,
                             x < y ? x : y);
    }
    if (a->heads_total != b->heads_total)
        return differ(g, "heads_total", a->heads_total, b->heads_total);
    if (a->tokens_per_state != b->tokens_per_state)
        return differ(g, "tokens_per_state", a->tokens_per_state, b->tokens_per_state);
    if (a->window != b->window)
        return differ(g, "window", a->window, b->window);
    for (uint32_t p = 0; p < va->part_count && p < vb->part_count && status == KVF_OK; p++)
        status = compare_part(g, &va->parts[p], &vb->parts[p]);
    if (status == KVF_OK && va->part_count != vb->part_count)
        status =
            differ(g, "number of planes (fused K and V are two)", va->part_count, vb->part_count);
    return status;
}

kvf_status_t kvf_layout_compare(const kvf_layout_t *one, const kvf_layout_t *other)
{
    kvf_status_t status = KVF_OK;

    if (one == NULL || other == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "compare: %s is NULL", one == NULL ? "one" : "other");
    if (one->desc.group_count != other->desc.group_count)
        return kvfi_fail(KVF_ERR_INVALID, "group_count is %u in one layout, %u in the other",
                         one->desc.group_count, other->desc.group_count);
    for (uint32_t g = 0; g < one->desc.group_count && status == KVF_OK; g++)
        status = compare_group(one, other, g);
    return status;
}
