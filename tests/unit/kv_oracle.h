/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A slow oracle for plans. It knows a cache as regions, each a string of axes from the outermost
 * inwards, and finds a byte by counting along the string; it shares no code with layouts or plans.
 * It fills a source, says what a destination must be, and runs ops one memcpy at a time, counting
 * how often each destination byte is written.
 */
#ifndef KV_ORACLE_H
#define KV_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

#include <kvferry/kv.h>

/* Handles are opaque to plans, so a test may make its own. */
struct kvf_segment {
    uint8_t *mem;
    uint8_t *writes; /* per byte, or NULL */
    uint64_t len;
};

struct kvf_remote {
    struct kvf_segment memory;
};

/* Cells of one kind: K and V are halves 0 and 1 of a region, fused ('C') or apart ('2', 'D'). */
typedef struct region {
    const char *axes;
    uint64_t base;
    uint64_t block_tokens, heads, first_head, blocks;
    uint64_t layer_count;
    uint32_t layers[8];
    unsigned halves;
    uint64_t half_bytes[2];
    unsigned kind; /* makes contents differ */
    unsigned group;
    uint64_t window;
} region_t;

typedef struct cache {
    region_t regions[4];
    unsigned count;
    struct kvf_segment memory;
} cache_t;

/* A model that is small and awkward: 7 layers, 5 heads (or one latent), odd cells. */
kvf_kv_model_t oracle_model(bool mla);

/* How a model's cache lies by the letters of a name, with opts complete (layers a list). Its memory
 * is not there yet: memory.len is from the start of the segment to after bytes behind. */
void oracle_make(cache_t *cache, const kvf_kv_model_t *model, const kvf_layout_opts_t *opts, const char *axes,
                 uint64_t after);

/* A request: for each entry of a table, tokens from first + entry * block_tokens on. */
typedef struct table {
    const uint32_t *ids;
    uint64_t first;
    uint32_t count;
    uint32_t block_tokens; /* 0: those of the region that it is used with */
} table_t;

/* Write each cell of the table's blocks; contents tell layer, head, kind, half, token and byte. */
void oracle_fill(const cache_t *cache, const table_t *table);

/* Write to dst what tokens [from, to) bring, skipping pairs that either table skips; mark[] the
 * bytes of it. With window set, regions with a window take their last tokens only. */
void oracle_expect(const cache_t *dst, const table_t *src_table, const table_t *dst_table, uint64_t from,
                   uint64_t to, bool window, uint8_t *mark);

/* Run ops, refusing what an engine would refuse. */
void oracle_run(const kvf_op_t *ops, size_t count);

#endif
