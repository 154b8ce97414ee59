/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kvf_replay: an MPI job whose ranks serve a request trace from each other's KV memory.
 *
 *   options -> input -> shape -> serve (prefill, decode) -> report
 *                       comm: the control plane below all of them
 *
 * After each step all ranks agree on how it went; where one failed, all end with the same code and
 * rank 0 says whose sentence it is. So nothing here exits in the middle.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cli.h"
#include "../out.h"
#include "bar.h"
#include "input.h"
#include "report.h"
#include "room.h"
#include "serve.h"

#define CLOSE_NS UINT64_C(30000000000)
#define NAMED    5 /* refused requests and skipped lines that are told one by one */

static int say(const struct replay_comm *comm, int code, const char *text)
{
    if (comm->rank == 0) {
        fprintf(stderr, "kvf_replay: %s\n", text);
    }
    return code;
}

static void say_left_out(const struct replay_opts *opts, const kvfi_trace_t *trace,
                         const struct replay_shape *shape)
{
    uint64_t named = 0;

    for (uint64_t i = 0; i < trace->skips_kept; i++) {
        fprintf(stderr, "kvf_replay: skipped: %s\n", trace->skips[i]);
    }
    for (uint64_t i = 0; i < trace->request_count && named < NAMED && shape->refused > 0; i++) {
        if (kvfi_replay_too_large(opts, trace, i)) {
            named++;
            fprintf(stderr,
                    "kvf_replay: refused: request %" PRIu64 " (line %" PRIu64 ") has %" PRIu64
                    " trace blocks, and a pool holds %" PRIu64 " (--blocks)%s\n",
                    i, trace->requests[i].line, trace->requests[i].count, opts->blocks,
                    named == NAMED && shape->refused > NAMED ? "; more like this follow" : "");
        }
    }
}

static int write_json(const struct replay_job *job, const struct replay_report *report)
{
    struct kvfi_out out;

    if (job->opts->json == NULL) {
        return 0;
    }
    if (kvfi_out_open("--json", job->opts->json, &out) != 0) {
        return -1;
    }
    kvfi_replay_report_json(job, report, out.file);
    return kvfi_out_close(&out);
}

static int tell(struct replay_job *job, const struct replay_report *report)
{
    int code = report->problem_count > 0 ? KVFI_EXIT_WRONG : KVFI_EXIT_OK;

    if (!job->opts->quiet) {
        kvfi_replay_report_people(job, report, kvfi_out_is_stdout(job->opts->json) ? stderr : stdout);
    } else {
        for (int i = 0; i < report->problem_count; i++) {
            fprintf(stderr, "kvf_replay: %s\n", report->problems[i]);
        }
    }
    if (write_json(job, report) != 0) {
        fprintf(stderr, "kvf_replay: %s\n", kvfi_cli_error());
        code = KVFI_EXIT_WRONG;
    }
    return code;
}

/* Everything between the engines' opening and closing. */
static int serve_and_report(struct replay_job *job)
{
    struct replay_report report;
    char text[REPLAY_TEXT_LEN], failure[REPLAY_TEXT_LEN] = "";
    double seconds = 0;
    bool bar = job->comm->rank == 0 && !job->opts->quiet && kvfi_replay_bar_wanted();
    int code;

    kvfi_replay_bcast(job->comm, 0, &bar, sizeof(bar));
    code = kvfi_replay_serve(job, bar, &seconds, failure);
    if (code != 0 && seconds == 0) {
        return say(job->comm, code, failure);
    }
    code = kvfi_replay_report_gather(job, seconds, code != 0 ? failure : NULL, &report, text);
    if (code != 0) {
        say(job->comm, code, text);
    } else if (job->comm->rank == 0) {
        code = tell(job, &report);
    }
    kvfi_replay_report_free(&report);
    kvfi_replay_bcast(job->comm, 0, &code, sizeof(code));
    return code;
}

static int run_job(struct replay_comm *comm, const struct replay_opts *opts, const kvfi_trace_t *trace,
                   const struct replay_shape *shape)
{
    kvf_engine_opts_t engine_opts = {.struct_size = sizeof(engine_opts), .net = opts->net};
    struct replay_job job = {.comm = comm, .opts = opts, .shape = shape, .trace = trace};
    char text[REPLAY_TEXT_LEN];
    kvf_status_t closed;
    int code;

    if (kvfi_replay_comm_engine(comm, &engine_opts, &job.mpi) != KVF_OK) {
        return say(comm, KVFI_EXIT_WRONG, kvf_last_error());
    }
    job.engine = comm->engine;
    code = serve_and_report(&job);
    free(job.pulls_ns);
    closed = kvf_mpi_close(job.mpi, CLOSE_NS);
    comm->engine = NULL;
    if (kvfi_replay_agree(comm, closed != KVF_OK, kvf_last_error(), text) != 0) {
        say(comm, KVFI_EXIT_WRONG, text);
        code = code != 0 ? code : KVFI_EXIT_WRONG;
    }
    return code;
}

/* Reads and checks all that can be before memory is taken. */
static int prepare(struct replay_comm *comm, int argc, char **argv, struct replay_opts *opts,
                   kvfi_trace_t *trace, struct replay_shape *shape)
{
    char text[REPLAY_TEXT_LEN];
    int code = kvfi_replay_options_parse(argc, argv, opts) != 0 ? KVFI_EXIT_USAGE : 0;

    code = kvfi_replay_agree(comm, code, kvfi_cli_error(), text);
    if (code != 0) {
        say(comm, code, text);
        if (comm->rank == 0) {
            fputs("kvf_replay --help says more\n", stderr);
        }
        return code;
    }
    if (kvfi_replay_options_compare(comm, opts) != 0) {
        return say(comm, KVFI_EXIT_USAGE, kvfi_cli_error());
    }
    if (comm->rank == 0 && opts->json != NULL &&
        (kvfi_out_apart("--json", opts->json, "--trace", opts->trace) != 0 ||
         kvfi_out_check("--json", opts->json) != 0)) {
        code = KVFI_EXIT_USAGE;
    }
    code = kvfi_replay_agree(comm, code, kvfi_cli_error(), text);
    code = code != 0 ? code : kvfi_replay_input_read(comm, opts, trace, text);
    if (code != 0) {
        return say(comm, code, text);
    }
    code = kvfi_replay_room(comm, opts, trace, shape);
    code = code != 0 ? code : kvfi_replay_time(comm, opts, trace);
    code = kvfi_replay_agree(comm, code, kvfi_cli_error(), text);
    if (code != 0) {
        return say(comm, code, text);
    }
    code = kvfi_replay_shape_memory(comm, opts, shape, trace);
    code = kvfi_replay_agree(comm, code, kvfi_cli_error(), text);
    if (code != 0) {
        return say(comm, code, text);
    }
    if (comm->rank == 0) {
        say_left_out(opts, trace, shape);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct replay_comm comm;
    struct replay_opts opts = {0};
    struct replay_shape shape = {0};
    kvfi_trace_t trace = {0};
    int code;

    if (kvfi_replay_options_help(argc, argv)) {
        return fflush(stdout) == 0 ? KVFI_EXIT_OK : KVFI_EXIT_WRONG;
    }
    if (kvfi_replay_comm_open(&argc, &argv, &comm) != 0) {
        fprintf(stderr, "kvf_replay: MPI does not start\n");
        return KVFI_EXIT_WRONG;
    }
    kvfi_replay_serve_signals();
    code = prepare(&comm, argc, argv, &opts, &trace, &shape);
    if (code == 0) {
        code = run_job(&comm, &opts, &trace, &shape);
    }
    kvfi_trace_free(&trace);
    kvfi_replay_comm_close(&comm);
    return code;
}
