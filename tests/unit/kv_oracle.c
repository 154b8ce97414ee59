/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The slow oracle of kv_oracle.h. Slow on purpose: one byte at a time, one piece at a time.
 */
#include <check.h>
#include <string.h>

#include "kv_oracle.h"

/* An assertion of check writes to a pipe each time, which is too slow for each byte. */
static void must(bool holds, const char *what)
{
    if (!holds)
        ck_abort_msg("%s", what);
}

kvf_kv_model_t oracle_model(bool mla)
{
    return (kvf_kv_model_t){.struct_size = sizeof(kvf_kv_model_t),
                            .name = "tiny",
                            .layers = 7,
                            .heads = mla ? 1 : 5,
                            .mla = mla,
                            .k_bytes = mla ? 11 : 6,
                            .v_bytes = mla ? 0 : 6,
                            .element = "bf16"};
}

static void add_region(cache_t *c, const kvf_kv_model_t *model, const kvf_layout_opts_t *opts,
                       const char *axes, bool window)
{
    region_t r = {.axes = axes,
                  .block_tokens = opts->block_tokens,
                  .heads = opts->heads,
                  .first_head = opts->first_head,
                  .blocks = opts->blocks,
                  .halves = model->mla ? 1 : 2,
                  .half_bytes = {model->k_bytes, model->v_bytes},
                  .window = window ? model->window : 0,
                  .group = c->count};

    for (uint32_t i = 0; i < opts->layer_count; i++) {
        if (model->window == 0 || (opts->layers[i] % model->window_every == 0) == window)
            r.layers[r.layer_count++] = opts->layers[i];
    }
    r.base = c->memory.len;
    c->memory.len += r.layer_count * r.blocks * r.block_tokens * r.heads * (model->k_bytes + model->v_bytes);
    c->regions[c->count++] = r;
    if (model->indexer_bytes == 0)
        return;
    r.halves = 1;
    r.kind = 1;
    r.half_bytes[0] = model->indexer_bytes;
    r.half_bytes[1] = 0;
    r.base = c->memory.len;
    c->memory.len += r.layer_count * r.blocks * r.block_tokens * model->indexer_bytes;
    c->regions[c->count++] = r;
}

void oracle_make(cache_t *c, const kvf_kv_model_t *model, const kvf_layout_opts_t *opts, const char *axes,
                 uint64_t after)
{
    memset(c, 0, sizeof(*c));
    c->memory.len = opts->base;
    add_region(c, model, opts, axes, false);
    if (model->window != 0)
        add_region(c, model, opts, axes, true);
    c->memory.len += after;
}

typedef struct place {
    uint64_t layer, block, token, head, half, byte;
} place_t;

static uint64_t find(const region_t *r, const place_t *p)
{
    uint64_t at = 0;

    for (const char *axis = r->axes; *axis != '\0'; axis++) {
        switch (*axis) {
        case 'L':
            at = at * r->layer_count + p->layer;
            break;
        case 'B':
            at = at * r->blocks + p->block;
            break;
        case 'N':
            at = at * r->block_tokens + p->token;
            break;
        case 'H':
            at = at * r->heads + p->head;
            break;
        case '2':
            at = at * 2 + p->half;
            break;
        case 'D':
            at = at * r->half_bytes[0] + p->byte;
            break;
        default:
            at = at * (r->half_bytes[0] + r->half_bytes[1]) + p->byte;
            at += p->half ? r->half_bytes[0] : 0;
        }
    }
    return r->base + at;
}

static uint8_t content(const region_t *r, const place_t *p, uint64_t token)
{
    uint64_t x = token;

    x = x * 1000003 + r->layers[p->layer];
    x = x * 1000003 + r->first_head + p->head;
    x = x * 1000003 + r->kind * 2 + p->half;
    x = x * 1000003 + p->byte;
    x ^= x >> 29;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    return (uint8_t)(x >> 37);
}

/* Write token token of a region into a block; mark may be NULL. */
static void put_token(const cache_t *cache, const region_t *r, uint64_t block, uint64_t token, uint8_t *mark)
{
    place_t p = {.block = block, .token = token % r->block_tokens};

    for (p.layer = 0; p.layer < r->layer_count; p.layer++)
        for (p.head = 0; p.head < r->heads; p.head++)
            for (p.half = 0; p.half < r->halves; p.half++)
                for (p.byte = 0; p.byte < r->half_bytes[p.half]; p.byte++) {
                    uint64_t at = find(r, &p);

                    must(at < cache->memory.len, "the oracle left the cache");
                    cache->memory.mem[at] = content(r, &p, token);
                    if (mark != NULL)
                        mark[at]++;
                }
}

void oracle_fill(const cache_t *cache, const table_t *table)
{
    for (unsigned i = 0; i < cache->count; i++) {
        const region_t *r = &cache->regions[i];

        for (uint64_t t = 0; t < table->count * r->block_tokens; t++) {
            uint32_t id = table->ids[t / r->block_tokens];

            if (id != KVF_SKIP)
                put_token(cache, r, id, table->first + t, NULL);
        }
    }
}

void oracle_expect(const cache_t *dst, const table_t *src_table, const table_t *dst_table, uint64_t from,
                   uint64_t to, bool window, uint8_t *mark)
{
    for (unsigned i = 0; i < dst->count; i++) {
        const region_t *r = &dst->regions[i];

        for (uint64_t t = from; t < to; t++) {
            uint64_t src_tokens = src_table->block_tokens != 0 ? src_table->block_tokens : r->block_tokens;
            uint32_t src_id = src_table->ids[(t - src_table->first) / src_tokens];
            uint32_t dst_id = dst_table->ids[(t - dst_table->first) / r->block_tokens];

            if (window && r->window != 0 && to - t > r->window)
                continue;
            if (src_id != KVF_SKIP && dst_id != KVF_SKIP)
                put_token(dst, r, dst_id, t, mark);
        }
    }
}

static void move(struct kvf_segment *from, uint64_t from_at, struct kvf_segment *to, uint64_t to_at,
                 uint64_t len)
{
    must(len <= from->len && from_at <= from->len - len, "a piece leaves the source");
    must(len <= to->len && to_at <= to->len - len, "a piece leaves the destination");
    memcpy(to->mem + to_at, from->mem + from_at, len);
    for (uint64_t i = 0; to->writes != NULL && i < len; i++)
        to->writes[to_at + i]++;
}

static void run_pair(const kvf_op_t *op, uint64_t local_id, uint64_t remote_id)
{
    must(local_id < op->local_cap, "an id is past local_cap");
    must(remote_id < op->remote_cap, "an id is past remote_cap");
    for (uint32_t y = 0; y < op->count[1]; y++)
        for (uint32_t x = 0; x < op->count[0]; x++) {
            uint64_t local = op->local_off + local_id * op->local_block + y * (uint64_t)op->local_stride[1] +
                             x * (uint64_t)op->local_stride[0];
            uint64_t remote = op->remote_off + remote_id * op->remote_block +
                              y * (uint64_t)op->remote_stride[1] + x * (uint64_t)op->remote_stride[0];

            if (op->dir == KVF_READ)
                move(&op->remote->memory, remote, op->segment, local, op->len);
            else
                move(op->segment, local, &op->remote->memory, remote, op->len);
        }
}

void oracle_run(const kvf_op_t *ops, size_t count)
{
    for (const kvf_op_t *op = ops; op < ops + count; op++) {
        must(op->len >= 1 && op->count[0] >= 1 && op->count[1] >= 1, "an op counts 0");
        must(op->reserved[0] == 0 && op->reserved[1] == 0, "reserved is set");
        for (uint32_t i = 0; i < op->blocks; i++) {
            uint32_t local = op->local_ids != NULL ? op->local_ids[i] : i;
            uint32_t remote = op->remote_ids != NULL ? op->remote_ids[i] : i;
            bool skip = local == KVF_SKIP || remote == KVF_SKIP;

            if (op->block_status != NULL)
                op->block_status[i] = skip ? KVF_SKIPPED : KVF_OK;
            if (!skip)
                run_pair(op, local, remote);
        }
    }
}
