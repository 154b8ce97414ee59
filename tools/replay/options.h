/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The command line of kvf_replay: what was asked for, read on every rank and compared between them.
 * This room knows what an option may be by itself; what depends on the trace, the model or the number
 * of ranks is checked where those are known (shape.c). It prints nothing but help and version.
 */
#ifndef KVFI_REPLAY_OPTIONS_H
#define KVFI_REPLAY_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "../side_opts.h"
#include "comm.h"

enum replay_verify {
    REPLAY_VERIFY_ALL,
    REPLAY_VERIFY_SAMPLE,
    REPLAY_VERIFY_NONE
};

/* what to break, in one request */
enum replay_inject {
    REPLAY_INJECT_NONE,
    REPLAY_INJECT_FLIP,
    REPLAY_INJECT_DROP_OP,
    REPLAY_INJECT_SWAP_BLOCKS,
    REPLAY_INJECT_SWAP_HEADS,
    REPLAY_INJECT_STALE,
    REPLAY_INJECT_WRONG_PLANE
};

/* the two sides of a job */
enum {
    REPLAY_SRC = KVFI_SIDE_SRC,
    REPLAY_DST = KVFI_SIDE_DST,
    REPLAY_SIDES = KVFI_SIDES
};

struct replay_opts {
    const char *trace; /* "-": standard input */
    const char *model;
    struct kvfi_side_opts side[REPLAY_SIDES + 1]; /* the last: what was said of both */
    const char *net;                              /* NULL: the library's default */
    const char *json;                             /* NULL: none; "-": standard output */
    uint64_t requests;                            /* 0: all */
    uint64_t prefill;                             /* ranks; 0: one instance */
    uint64_t depth;                               /* requests in flight a decode rank */
    uint64_t blocks; /* trace blocks in the pool of a prefill rank; 0: by the memory, until room.h */
    uint64_t trace_block_tokens;   /* 0: what the trace's format says */
    uint64_t scale_num, scale_den; /* 0: as blocks */
    uint64_t speed;                /* so many times as fast as the trace says; 0: as fast as it goes */
    uint64_t max_seconds;          /* that a replay by the trace's clock may take */
    uint64_t seed;
    uint32_t paths; /* mask; 0: all */
    enum replay_verify verify;
    enum replay_inject inject;
    bool no_pin;
    bool skip_bad;
    bool quiet;
};

extern const char *const kvfi_replay_verify_names[]; /* by enum replay_verify */
extern const char *const kvfi_replay_inject_names[]; /* by enum replay_inject */

/* Reads argv. 0, or -1 with the sentence in kvfi_cli_error(). The strings stay argv's. */
int kvfi_replay_options_parse(int argc, char **argv, struct replay_opts *opts_p);

/* True if argv asks for help or the version, which is then printed unless this is one of the other
 * ranks of a job. Needs no MPI. */
bool kvfi_replay_options_help(int argc, char **argv);

/* Collective: 0 if all ranks were given the same, else -1 with a sentence in kvfi_cli_error() that
 * names the first option that differs, a rank, and both values; the same sentence on every rank. */
int kvfi_replay_options_compare(struct replay_comm *comm, const struct replay_opts *opts);

#endif
