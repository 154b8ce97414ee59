/* SPDX-License-Identifier: BSD-3-Clause
 *
 * loop: the owner is this process, and each byte goes through a pipe. A path of no use, which shows what a
 * new one takes: this file, a row, a test. The table here stands in for that of src/path/paths.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "path/path.h"

#define PIPE_BYTES  UINT64_C(65536) /* that fit without a reader */
#define PART_BYTES  (UINT64_C(1) << 18)
#define PART_PIECES 64

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int ends[2] = {-1, -1}; /* to read, to write */

static const char *reach(const kvfi_memory_t *local, const kvfi_target_t *target, uint32_t dir)
{
    (void)local, (void)dir;
    return target->in_process ? NULL : "the peer is another process";
}

static const char *here(kvfi_node_t *node)
{
    (void)node;
    return NULL;
}

static kvf_status_t prepare(kvfi_xfer_t *xfer)
{
    kvf_status_t status = KVF_OK;

    (void)xfer;
    pthread_mutex_lock(&lock);
    if (ends[0] < 0 && pipe2(ends, O_CLOEXEC))
        status = kvfi_fail(KVF_ERR_SYSTEM, "no pipe: %s", strerror(errno));
    pthread_mutex_unlock(&lock);
    return status;
}

static kvf_status_t carry(const char *from, char *to, uint64_t len)
{
    ssize_t put = write(ends[1], from, len), got = 0, now = 1;

    while (got < put && now > 0) {
        now = read(ends[0], to + got, (size_t)(put - got));
        got += now;
    }
    return got == (ssize_t)len ? KVF_OK : kvfi_fail(KVF_ERR_FAULT, "the pipe: %s", strerror(errno));
}

static kvf_status_t slice(kvfi_xfer_t *xfer, uint64_t budget)
{
    uint64_t left = budget < PART_BYTES ? budget : PART_BYTES;
    kvf_status_t status = KVF_OK;
    kvfi_run_t run;

    pthread_mutex_lock(&lock);
    while (status == KVF_OK && left &&
           kvfi_cursor_next(&xfer->cursor, left < PIPE_BYTES ? left : PIPE_BYTES, &run)) {
        char *local = xfer->local + run.local, *remote = xfer->target->map + run.remote;

        status = xfer->dir == KVF_READ ? carry(remote, local, run.len) : carry(local, remote, run.len);
        xfer->moved.bytes += run.len;
        xfer->moved.pieces++;
        xfer->calls += 2;
        left -= run.len;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

static const kvfi_path_t loop = {
    .name = "loop",
    .id = KVF_PATH_COUNT,
    .part_bytes = PART_BYTES,
    .part_pieces = PART_PIECES,
    .reach = reach,
    .here = here,
    .prepare = prepare,
    .slice = slice,
};

const kvfi_path_t *const kvfi_paths[] = {&loop, &kvfi_path_self, &kvfi_path_shm, NULL};

const uint32_t kvfi_path_bits = KVF_PATH_BIT(KVF_PATH_COUNT + 1) - 1;
