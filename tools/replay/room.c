/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Room and time for a replay: room.h says what this room does. What fits is found by trying: a shape
 * for each candidate, and its memory on each node against three quarters of what is free there, so
 * that the rest of the machine has some. Allocates nothing that stays.
 */
#include "config.h"

#include "room.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/memory.h"

#include "../cli.h"

#define POOL_MOST  4096u      /* trace blocks, where nobody says how many */
#define SCALE_LAST (1u << 16) /* denominator */

/* Whether all nodes have room for the options. code_p: an exit code if they make no shape. */
static bool fits(struct replay_comm *comm, const struct replay_opts *opts, const kvfi_trace_t *trace,
                 uint64_t room, struct replay_shape *shape, int *code_p)
{
    char text[REPLAY_TEXT_LEN];

    *code_p = kvfi_replay_shape(opts, trace, comm->size, shape);
    if (*code_p != 0) {
        return false;
    }
    bool enough = kvfi_replay_shape_need(comm, opts, shape, trace) <= room;
    return kvfi_replay_agree(comm, !enough, "", text) == 0;
}

/* The most blocks up to most that fit, 0: none; opts and shape are left at them. */
static uint64_t most_blocks(struct replay_comm *comm, struct replay_opts *opts, const kvfi_trace_t *trace,
                            uint64_t room, uint64_t most, struct replay_shape *shape, int *code_p)
{
    uint64_t low = 0, high = most;

    while (low < high && *code_p == 0) {
        opts->blocks = high == most && low == 0 ? most : low + (high - low + 1) / 2;
        if (fits(comm, opts, trace, room, shape, code_p)) {
            low = opts->blocks;
        } else {
            high = opts->blocks - 1;
        }
    }
    opts->blocks = low > 0 ? low : 1;
    if (*code_p == 0) {
        *code_p = kvfi_replay_shape(opts, trace, comm->size, shape);
    }
    return low;
}

static uint64_t largest_request(const kvfi_trace_t *trace)
{
    uint64_t largest = 1;

    for (uint64_t i = 0; i < trace->request_count; i++) {
        largest = trace->requests[i].count > largest ? trace->requests[i].count : largest;
    }
    return largest;
}

int kvfi_replay_room(struct replay_comm *comm, struct replay_opts *opts, const kvfi_trace_t *trace,
                     struct replay_shape *shape)
{
    bool own_blocks = opts->blocks == 0, own_scale = opts->scale_num == 0;
    uint64_t most = own_blocks ? POOL_MOST : opts->blocks, free_bytes, wanted, found = 0;
    const char *limit;
    char bytes[32];
    int code = 0;

    if (own_scale) {
        opts->scale_num = opts->scale_den = 1;
    }
    if (!own_blocks && !own_scale) {
        return kvfi_replay_shape(opts, trace, comm->size, shape);
    }
    most = own_blocks && trace->id_count < most ? trace->id_count : most;
    wanted = largest_request(trace);
    wanted = own_blocks && wanted < most ? wanted : most;
    free_bytes = kvfi_memory_available(&limit);
    for (;; opts->scale_den *= 2) {
        found = own_blocks ? most_blocks(comm, opts, trace, free_bytes / 4 * 3, most, shape, &code)
                : fits(comm, opts, trace, free_bytes / 4 * 3, shape, &code) ? most
                                                                            : 0;
        if (code != 0 || found >= wanted || !own_scale || shape->least || opts->scale_den == SCALE_LAST) {
            break;
        }
    }
    if (code == 0 && comm->rank == 0 && !opts->quiet) {
        fprintf(stderr,
                "kvf_replay: %s%s that are free (%s): --blocks %" PRIu64 " --scale %" PRIu64 "/%" PRIu64 "\n",
                found > 0 ? "chosen for the " : "even this takes more than three quarters of the ",
                kvfi_cli_bytes(free_bytes, bytes, sizeof(bytes)), limit, opts->blocks, opts->scale_num,
                opts->scale_den);
    }
    return code;
}

/* ------------------------------------------------------------------ time */

/* 93784: "1 d 2 h 3 min 4 s", without those in front that are 0 */
static const char *lasting(double seconds, char *buf, size_t len)
{
    uint64_t s = (uint64_t)seconds;

    if (seconds >= 1e9) {
        snprintf(buf, len, "%.3g years", seconds / 31557600);
    } else if (s >= 86400) {
        snprintf(buf, len, "%" PRIu64 " d %" PRIu64 " h %" PRIu64 " min", s / 86400, s / 3600 % 24,
                 s / 60 % 60);
    } else if (s >= 60) {
        snprintf(buf, len, "%" PRIu64 " h %" PRIu64 " min %" PRIu64 " s", s / 3600, s / 60 % 60, s % 60);
    } else {
        snprintf(buf, len, "%.3g s", seconds);
    }
    return buf;
}

int kvfi_replay_time(const struct replay_comm *comm, const struct replay_opts *opts,
                     const kvfi_trace_t *trace)
{
    const kvfi_trace_request_t *requests = trace->requests;
    double last = 0, gap = 0, speed = (double)opts->speed;
    uint64_t after = 0; /* the request behind the longest gap */
    char all[48], one[48];

    if (opts->speed == 0) {
        return 0;
    }
    for (uint64_t i = 0; i < trace->request_count; i++) {
        double at = (requests[i].timestamp_s - requests[0].timestamp_s) / speed;

        if (at - last > gap) {
            gap = at - last;
            after = i;
        }
        last = at > last ? at : last;
    }
    lasting(last, all, sizeof(all));
    lasting(gap, one, sizeof(one));
    if (last > (double)opts->max_seconds) {
        kvfi_cli_fail("--speed: the trace takes %s by its clock, %s of them before line %" PRIu64
                      ", and --max-seconds is %" PRIu64,
                      all, one, requests[after].line, opts->max_seconds);
        return KVFI_EXIT_USAGE;
    }
    if (comm->rank == 0 && !opts->quiet) {
        fprintf(stderr,
                "kvf_replay: the trace takes %s by its clock, the longest wait is %s before line %" PRIu64
                "\n",
                all, one, requests[after].line);
    }
    return 0;
}
