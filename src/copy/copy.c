/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The walk collects pieces, a kernel copies them: so the stores of the walk do not queue behind
 * those of each copy, and a streaming kernel sees many pieces at once.
 */
#include "copy/copy.h"

#include <string.h>

#include "copy/kernel.h"

#define COLLECT 64u /* pieces that the kernel gets at a time */

kvfi_moved_t kvfi_copy_box(kvfi_cursor_t *cursor, char *local, char *remote, uint32_t dir,
                           uint64_t budget, uint64_t whole)
{
    kvfi_kernel_t kernel = whole >= kvfi_kernel_threshold() ? kvfi_kernel_streaming()
                                                            : kvfi_kernel_plain;
    kvfi_piece_t  pieces[COLLECT];
    kvfi_moved_t  moved = {0};
    kvfi_run_t    run;
    unsigned      count;

    do {
        for (count = 0; count < COLLECT && moved.bytes < budget && moved.pieces < KVFI_COPY_PIECES &&
                        kvfi_cursor_next(cursor, budget - moved.bytes, &run); count++) {
            char *here = local + run.local, *there = remote + run.remote;

            pieces[count] = dir == KVF_READ ? (kvfi_piece_t){here, there, run.len}
                                            : (kvfi_piece_t){there, here, run.len};
            moved.bytes += run.len;
            moved.pieces++;
        }
        kernel(pieces, count);
    } while (count == COLLECT);
    return moved;
}

uint64_t kvfi_copy_gather(kvfi_cursor_t *cursor, const char *base, char *buf, uint64_t cap,
                          uint64_t *pieces_p)
{
    uint64_t   len = 0;
    kvfi_run_t run;

    while (len < cap && kvfi_cursor_next(cursor, cap - len, &run)) {
        memcpy(buf + len, base + run.local, run.len);
        len += run.len;
        ++*pieces_p;
    }
    return len;
}

uint64_t kvfi_copy_scatter(kvfi_cursor_t *cursor, char *base, const char *buf, uint64_t len,
                           uint64_t *pieces_p)
{
    uint64_t   done = 0;
    kvfi_run_t run;

    while (done < len && kvfi_cursor_next(cursor, len - done, &run)) {
        memcpy(base + run.local, buf + done, run.len);
        done += run.len;
        ++*pieces_p;
    }
    return done;
}
