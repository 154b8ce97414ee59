/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The trace on every rank: input.h says what this room does. The arrays go as they are: all ranks run
 * the same program on machines of one kind.
 */
#include "config.h"

#include "input.h"

#include <stdlib.h>
#include <string.h>

#include "../cli.h"

static int load(const struct replay_opts *opts, kvfi_trace_t *trace_p, char *err_p)
{
    kvfi_trace_opts_t how = {
        .max_requests = opts->requests,
        .block_tokens = opts->trace_block_tokens,
        .skip_bad = opts->skip_bad,
    };

    switch (kvfi_trace_load(opts->trace, &how, trace_p, err_p)) {
    case KVFI_TRACE_OK:
        return KVFI_EXIT_OK;
    case KVFI_TRACE_NOMEM:
        return KVFI_EXIT_WRONG;
    default:
        return KVFI_EXIT_USAGE;
    }
}

/* what the others need besides the two arrays */
struct head {
    uint64_t request_count;
    uint64_t id_count;
    uint64_t block_tokens;
    uint64_t line_count;
    uint64_t skipped_lines;
    kvfi_trace_format_t format;
};

int kvfi_replay_input_read(struct replay_comm *comm, const struct replay_opts *opts, kvfi_trace_t *trace_p,
                           char text_p[REPLAY_TEXT_LEN])
{
    char err[KVFI_TRACE_ERR_LEN] = "";
    struct head head = {0};
    int code = 0;

    memset(trace_p, 0, sizeof(*trace_p));
    if (comm->rank == 0) {
        code = load(opts, trace_p, err);
        head = (struct head){
            .request_count = trace_p->request_count,
            .id_count = trace_p->id_count,
            .block_tokens = trace_p->block_tokens,
            .line_count = trace_p->line_count,
            .skipped_lines = trace_p->skipped_lines,
            .format = trace_p->format,
        };
    }
    code = kvfi_replay_agree(comm, code, err, text_p);
    if (code != 0) {
        return code;
    }
    kvfi_replay_bcast(comm, 0, &head, sizeof(head));
    if (comm->rank != 0) {
        trace_p->requests = calloc(head.request_count, sizeof(*trace_p->requests));
        trace_p->ids = calloc(head.id_count, sizeof(*trace_p->ids));
        trace_p->request_count = head.request_count;
        trace_p->id_count = head.id_count;
        trace_p->block_tokens = head.block_tokens;
        trace_p->line_count = head.line_count;
        trace_p->skipped_lines = head.skipped_lines;
        trace_p->format = head.format;
    }
    code = trace_p->requests == NULL || trace_p->ids == NULL;
    code = kvfi_replay_agree(comm, code, "no memory for the trace", text_p);
    if (code != 0) {
        return code;
    }
    kvfi_replay_bcast(comm, 0, trace_p->requests, head.request_count * sizeof(*trace_p->requests));
    kvfi_replay_bcast(comm, 0, trace_p->ids, head.id_count * sizeof(*trace_p->ids));
    return 0;
}
