/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The loop over rows of short pieces at one stride on either side, as token by token one head of many,
 * for all kernels; the file that includes this has included streaming.h. Eight rows go at a time, a
 * piece of each in turn, so that a core waits for eight places of memory at once, as with long pieces;
 * where the next piece of a row lies is known without a table of them, and its source is fetched while
 * the other rows have their turn.
 */
#define ROWS_AHEAD 512u /* bytes that are fetched ahead in each row */

/* Each line is read once, and soon. */
static inline void fetch_once(const char *src, uint64_t len)
{
    for (uint64_t at = 0; at < len; at += 64)
        __builtin_prefetch(src + at, 0, 0);
}

/* What would be fetched past the end of a row is taken from its successor in next. */
static inline __attribute__((always_inline)) void
copy_row_lanes(const kvfi_rows_t *shape, const kvfi_row_t *rows, const kvfi_row_t *next, unsigned lanes)
{
    uint64_t len = shape->len, lines = len / 64;
    int64_t dst_off = 0, src_off = 0;
    uint32_t ahead = len < ROWS_AHEAD ? (uint32_t)(ROWS_AHEAD / len) : 1;

    ahead = ahead < shape->count ? ahead : shape->count;
    for (uint32_t x = 0; x < shape->count; x++) {
        int inside = x + ahead < shape->count;
        const kvfi_row_t *from = inside ? rows : next;
        int64_t off = (int64_t)x + ahead - (inside ? 0 : shape->count);

        off *= shape->src_stride;
        for (unsigned k = 0; k < lanes; k++) {
            fetch_once(from[k].src + off, len);
            copy_lines(rows[k].dst + dst_off, rows[k].src + src_off, lines);
        }
        dst_off += shape->dst_stride;
        src_off += shape->src_stride;
    }
}

static void copy_rows(const kvfi_rows_t *shape, const kvfi_row_t *rows, unsigned count, unsigned ahead)
{
    const kvfi_rows_t all = *shape;
    unsigned row = 0, total = count + ahead;

    for (; row + LANES <= count; row += LANES) {
        const kvfi_row_t *next = rows + row + (row + 2 * LANES <= total ? LANES : 0);

        copy_row_lanes(&all, rows + row, next, LANES);
    }
    for (; row < count; row++)
        copy_row_lanes(&all, rows + row, rows + row + (row + 1 < total), 1);
    fence();
}
