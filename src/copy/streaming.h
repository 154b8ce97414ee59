/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The body of the streaming kernels. The file of an instruction set defines copy_line(), 64 bytes
 * from anywhere to an aligned destination by a non-temporal store, and fence(), then includes this.
 *
 *   dst    |head|line|line|line|line|line|tail|      head and tail by memcpy, so that each line
 *               ^ aligned to 64                      belongs to one kind of store
 */
#define GROUP    8u
#define TURN     4u     /* lines of a piece before the next piece has its turn */
#define AHEAD    1024u  /* bytes that are prefetched ahead */
#define SHORTEST 512u   /* below, the cost of heads and tails is more than is won */
#define LONGEST  131072u /* above, memcpy streams by itself where that pays */

typedef struct {
    char       *dst;
    const char *src;
    uint64_t    lines;
} stream_t;

/* Copy head and tail, leave the lines between. */
static inline stream_t open_stream(const kvfi_piece_t *piece)
{
    uint64_t head = -(uintptr_t)piece->dst & 63, lines = (piece->len - head) / 64;
    uint64_t tail = piece->len - head - lines * 64;

    if (head)
        memcpy(piece->dst, piece->src, head);
    if (tail)
        memcpy(piece->dst + piece->len - tail, piece->src + piece->len - tail, tail);
    return (stream_t){piece->dst + head, piece->src + head, lines};
}

static inline void copy_turn(const stream_t *stream, uint64_t at)
{
    for (unsigned i = 0; i < TURN; i++)
        copy_line(stream->dst + at + i * 64, stream->src + at + i * 64);
}

static inline void prefetch_turn(const char *src)
{
    for (unsigned i = 0; i < TURN; i++)
        __builtin_prefetch(src + i * 64, 0, 3);
}

/* Eight streams in turns over what all of them have, then the rest of each. What would be prefetched
 * past the end of a piece is taken from its successor in the next group. */
static void copy_group(const kvfi_piece_t *pieces, const kvfi_piece_t *next)
{
    stream_t streams[GROUP];
    uint64_t lines = UINT64_MAX, len;

    for (unsigned k = 0; k < GROUP; k++) {
        streams[k] = open_stream(&pieces[k]);
        if (streams[k].lines < lines)
            lines = streams[k].lines;
    }
    lines -= lines % TURN;
    len = lines * 64;
    for (uint64_t at = 0; at < len; at += TURN * 64)
        for (unsigned k = 0; k < GROUP; k++) {
            prefetch_turn(at + AHEAD < len ? streams[k].src + at + AHEAD
                          : len < AHEAD    ? next[k].src + at
                                           : next[k].src + (at + AHEAD - len));
            copy_turn(&streams[k], at);
        }
    for (unsigned k = 0; k < GROUP; k++)
        for (uint64_t line = lines; line < streams[k].lines; line++)
            copy_line(streams[k].dst + line * 64, streams[k].src + line * 64);
}

static int worthwhile(const kvfi_piece_t *pieces)
{
    for (unsigned k = 0; k < GROUP; k++)
        if (pieces[k].len < SHORTEST || pieces[k].len > LONGEST)
            return 0;
    return 1;
}

static void copy_streaming(const kvfi_piece_t *pieces, unsigned count)
{
    while (count >= GROUP) {
        if (worthwhile(pieces))
            copy_group(pieces, count >= 2 * GROUP ? pieces + GROUP : pieces);
        else
            kvfi_kernel_plain(pieces, GROUP);
        pieces += GROUP;
        count -= GROUP;
    }
    kvfi_kernel_plain(pieces, count);
    fence();
}
