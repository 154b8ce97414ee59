/* SPDX-License-Identifier: BSD-3-Clause
 *
 * All ranks' layouts on each rank: packed by their owners, exchanged at the length of the longest, and
 * unpacked. Every step that can fail on one rank alone ends in an agreement before the next begins, and
 * the caller's array is written when all have all. Blocks, asleep, until every rank has come.
 */
#include "mpi/job.h"

#include <stdlib.h>
#include <string.h>

typedef struct swap {
    size_t size;    /* ranks */
    uint64_t *lens; /* bytes of each one's packed layout; 0: it has none */
    size_t longest;
    char *mine, *all; /* at a stride of the longest */
    kvf_layout_t **layouts;
} swap_t;

static kvf_status_t swap_open(swap_t *s, const kvf_layout_t *layout, const void *out, uint64_t *len_p)
{
    size_t len = 0;
    if (!out) {
        return kvf_fail(KVF_ERR_INVALID, "layouts_p is NULL");
    }
    s->lens = calloc(s->size, sizeof(*s->lens));
    s->layouts = calloc(s->size, sizeof(*s->layouts));
    if (!s->lens || !s->layouts) {
        return kvf_fail(KVF_ERR_NOMEM, "no memory for the layouts of %zu ranks", s->size);
    }
    kvf_status_t status = layout ? kvf_layout_pack(layout, NULL, &len) : KVF_OK;
    *len_p = len;
    return status;
}

/* Each rank's layout in a room of the longest. */
static kvf_status_t swap_fill(swap_t *s, const kvf_layout_t *layout)
{
    size_t len = s->longest;
    s->mine = calloc(1, s->longest);
    s->all = calloc(s->size, s->longest);
    if (!s->mine || !s->all) {
        return kvf_fail(KVF_ERR_NOMEM, "no memory for the layouts of %zu ranks, %zu bytes each", s->size,
                        s->longest);
    }
    return layout ? kvf_layout_pack(layout, s->mine, &len) : KVF_OK;
}

static kvf_status_t swap_unpack(swap_t *s)
{
    kvf_status_t status = KVF_OK;
    for (size_t rank = 0; rank < s->size && status == KVF_OK; rank++) {
        if (s->lens[rank] > 0) {
            status = kvf_layout_unpack(s->all + rank * s->longest, s->lens[rank], &s->layouts[rank]);
        }
    }
    return status;
}

static kvf_status_t swap(kvfi_mpi_line_t *line, swap_t *s, const kvf_layout_t *layout, const void *out)
{
    uint64_t len = 0;
    kvf_status_t status = kvfi_mpi_agree(line, swap_open(s, layout, out, &len));
    if (status == KVF_OK) {
        status = kvfi_mpi_allgather(line, &len, sizeof(len), s->lens);
    }
    for (size_t rank = 0; rank < s->size && status == KVF_OK; rank++) {
        s->longest = s->lens[rank] > s->longest ? s->lens[rank] : s->longest;
    }
    if (status != KVF_OK || s->longest == 0) {
        return status;
    }
    status = kvfi_mpi_agree(line, swap_fill(s, layout));
    if (status == KVF_OK) {
        status = kvfi_mpi_allgather(line, s->mine, s->longest, s->all);
    }
    return status == KVF_OK ? kvfi_mpi_agree(line, swap_unpack(s)) : status;
}

kvf_status_t kvf_mpi_exchange_layouts(kvf_mpi_t *job, const kvf_layout_t *layout, kvf_layout_t **layouts_p)
{
    kvf_status_t status = kvfi_mpi_check(job);
    if (status != KVF_OK) {
        return status;
    }
    swap_t s = {.size = (size_t)job->line.size};
    status = swap(&job->line, &s, layout, layouts_p);
    if (status == KVF_OK) {
        memcpy(layouts_p, s.layouts, s.size * sizeof(*layouts_p));
    }
    for (size_t rank = 0; rank < s.size && status != KVF_OK && s.layouts; rank++) {
        kvf_layout_destroy(s.layouts[rank]);
    }
    free(s.layouts);
    free(s.lens);
    free(s.mine);
    free(s.all);
    return status;
}
