/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The loop over tables of single pieces, for all kernels, made once for each way to copy a piece. All
 * that the loop needs is in locals, as the compiler cannot know that a piece is no part of a table: at
 * 256 bytes each instruction more shows.
 */
typedef void copy_fn_t(char *dst, const char *src, uint64_t len);

static inline __attribute__((always_inline)) uint32_t
walk_pairs(const kvfi_pairs_t *pairs, uint32_t at, uint32_t end, uint32_t *runs_p, copy_fn_t *copy)
{
    const kvfi_pairs_t all = *pairs;
    uint32_t last_dst = KVF_SKIP - 1, last_src = KVF_SKIP - 1, runs = 0;

    for (; at < end; at++) {
        uint32_t dst = all.dst_ids[at], src = all.src_ids[at];

        if (dst == KVF_SKIP || src == KVF_SKIP)
            break;
        runs += dst != last_dst + 1 || src != last_src + 1;
        copy(all.dst + dst * all.dst_block, all.src + src * all.src_block, all.len);
        last_dst = dst;
        last_src = src;
    }
    *runs_p += runs;
    return at;
}
