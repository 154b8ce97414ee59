/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What two layouts must have in common before anything is carried between them: the meaning of
 * their cells. The fingerprint hashes it, the comparison walks the same fields in the same order
 * and names those that differ. Where the cells lie is no part of it.
 */
#include <stdarg.h>
#include <stdio.h>
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

/* Where differences go: the first sentence, and all of them as lines. */
typedef struct diff {
    uint32_t found;
    char first[256];
    char *text; /* may be NULL: only counts */
    size_t room, len;
} diff_t;

static void differ(diff_t *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void differ(diff_t *d, const char *fmt, ...)
{
    char line[256];
    size_t len;
    va_list args;

    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    if (d->found++ == 0)
        memcpy(d->first, line, sizeof(line));
    len = strlen(line);
    line[len++] = '\n';
    if (d->text != NULL && d->len + len < d->room)
        memcpy(d->text + d->len, line, len);
    d->len += len;
}

static void differ_field(diff_t *d, uint32_t g, const char *field, uint64_t one, uint64_t other)
{
    if (one != other)
        differ(d, "group %u: %s is %llu in one layout, %llu in the other", g, field, (unsigned long long)one,
               (unsigned long long)other);
}

static void compare_part(diff_t *d, uint32_t g, const kvfi_kv_part_t *one, const kvfi_kv_part_t *other)
{
    const char *name = kvf_plane_name(one->kind);

    if (one->kind != other->kind) {
        differ(d, "group %u: planes differ: %s in one layout, %s in the other", g, name,
               kvf_plane_name(other->kind));
        return;
    }
    if (one->index != other->index)
        differ(d, "group %u, plane %s: index is %u in one layout, %u in the other", g, name, one->index,
               other->index);
    if (one->content != other->content)
        differ(d, "group %u, plane %s: content is %llu in one layout, %llu in the other", g, name,
               (unsigned long long)one->content, (unsigned long long)other->content);
    if (strcmp(one->plane->element, other->plane->element) != 0)
        differ(d, "group %u, plane %s: element is %s in one layout, %s in the other", g, name,
               one->plane->element, other->plane->element);
}

/* Both by rising id. */
static void compare_layers(diff_t *d, uint32_t g, const kvf_group_t *a, const kvfi_kv_view_t *va,
                           const kvf_group_t *b, const kvfi_kv_view_t *vb)
{
    uint32_t i = 0, j = 0;

    while (i < a->layer_count || j < b->layer_count) {
        uint64_t x = i < a->layer_count ? a->layers[va->order[i]] : UINT64_MAX;
        uint64_t y = j < b->layer_count ? b->layers[vb->order[j]] : UINT64_MAX;

        if (x != y)
            differ(d, "group %u: layers differ: only %s layout holds layer %llu", g,
                   x < y ? "one" : "the other", (unsigned long long)(x < y ? x : y));
        i += x <= y;
        j += y <= x;
    }
}

static void compare_group(diff_t *d, const kvf_layout_t *one, const kvf_layout_t *other, uint32_t g)
{
    const kvf_group_t *a = &one->desc.groups[g], *b = &other->desc.groups[g];
    const kvfi_kv_view_t *va = &one->views[g], *vb = &other->views[g];

    differ_field(d, g, "layer_count", a->layer_count, b->layer_count);
    compare_layers(d, g, a, va, b, vb);
    differ_field(d, g, "heads_total", a->heads_total, b->heads_total);
    differ_field(d, g, "tokens_per_state", a->tokens_per_state, b->tokens_per_state);
    differ_field(d, g, "window", a->window, b->window);
    for (uint32_t p = 0; p < va->part_count && p < vb->part_count; p++)
        compare_part(d, g, &va->parts[p], &vb->parts[p]);
    differ_field(d, g, "number of planes (fused K and V are two)", va->part_count, vb->part_count);
}

static void compare_all(diff_t *d, const kvf_layout_t *one, const kvf_layout_t *other)
{
    uint32_t a = one->desc.group_count, b = other->desc.group_count;

    if (a != b)
        differ(d, "group_count is %u in one layout, %u in the other", a, b);
    for (uint32_t g = 0; g < a && g < b; g++)
        compare_group(d, one, other, g);
}

kvf_status_t kvf_layout_compare(const kvf_layout_t *one, const kvf_layout_t *other)
{
    diff_t d = {.found = 0};

    if (one == NULL || other == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "compare: %s is NULL", one == NULL ? "one" : "other");
    compare_all(&d, one, other);
    return d.found == 0 ? KVF_OK : kvfi_fail(KVF_ERR_INVALID, "%s", d.first);
}

kvf_status_t kvf_layout_diff(const kvf_layout_t *one, const kvf_layout_t *other, char *text, size_t *len_p)
{
    diff_t d = {.text = text};

    if (one == NULL || other == NULL || len_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "diff: %s is NULL",
                         one == NULL     ? "one"
                         : other == NULL ? "other"
                                         : "len_p");
    d.room = text != NULL ? *len_p : 0;
    compare_all(&d, one, other);
    *len_p = d.len + 1;
    if (text == NULL)
        return KVF_OK;
    if (d.len >= d.room)
        return kvfi_fail(KVF_ERR_SPACE, "diff: the text needs %zu bytes, the buffer has %zu", d.len + 1,
                         d.room);
    text[d.len] = '\0';
    return KVF_OK;
}
