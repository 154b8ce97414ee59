/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Copies by the C library's memcpy, run by run.
 */
#include "copy/copy.h"

#include <string.h>

kvfi_moved_t kvfi_copy_box(kvfi_cursor_t *cursor, char *local, char *remote, uint32_t dir,
                           uint64_t budget)
{
    kvfi_moved_t moved = {0};
    kvfi_run_t   run;

    while (moved.bytes < budget && moved.pieces < KVFI_COPY_PIECES &&
           kvfi_cursor_next(cursor, budget - moved.bytes, &run)) {
        if (dir == KVF_READ)
            memcpy(local + run.local, remote + run.remote, run.len);
        else
            memcpy(remote + run.remote, local + run.local, run.len);
        moved.bytes += run.len;
        moved.pieces++;
    }
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
