/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kvf_bench: how fast blocks go over one path, beside a floor measured in the same run, with every byte
 * compared. This file runs the cases one after the other and decides on the exit code; tools/bench/
 * has the rest. Rank 0 speaks, errors of the other rank too.
 */
#include "config.h"

#include "bench/bench.h"

#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "same_line.h"

static void complain(const struct bench_shape *shape)
{
    char piece[32];

    if (shape == NULL) {
        fprintf(stderr, "kvf_bench: %s\n", kvfi_cli_error());
        return;
    }
    fprintf(stderr, "kvf_bench: %s, pieces of %s: %s\n", shape->name,
            kvfi_cli_bytes(shape->piece, piece, sizeof(piece)), kvfi_cli_error());
}

/* What the figures say of the work itself. Rank 0's only. */
static int judge(const struct bench_args *args, const struct bench_plan *plan, const struct bench_ends *ends,
                 const struct bench_figures *f)
{
    uint64_t want = plan->run_bytes * args->reps * (args->beside != 0 ? 2 : 1) + f->beside.posted_bytes;

    if (f->mismatched != 0) {
        return kvfi_cli_fail("%llu bytes are wrong", (unsigned long long)f->mismatched);
    }
    if (f->peers_mismatched != 0) {
        return kvfi_cli_fail("the floor or a peer left %llu bytes wrong",
                             (unsigned long long)f->peers_mismatched);
    }
    if (args->beside != 0 && f->beside.latencies == 0) {
        return kvfi_cli_fail("--beside: the large batch had ended whenever its post returned, so that "
                             "nothing ran beside it: take more bytes");
    }
    if (f->elsewhere != 0 || f->bytes != want) {
        return kvfi_cli_fail("%llu bytes went over %s and %llu over other paths, and %llu were meant to",
                             (unsigned long long)f->bytes, kvf_path_name(ends->path),
                             (unsigned long long)f->elsewhere, (unsigned long long)want);
    }
    return 0;
}

enum outcome {
    RAN,
    REFUSED,
    FAILED
}; /* REFUSED: nothing ran, and why is in the sentence */

/* A report begins with its first case: until then the file is as it was. */
static int tell_case(struct bench_report *report, const struct bench_case *c,
                     const struct bench_figures *figures)
{
    int rc = 0;

    if (c->args->json != NULL && report->json.file == NULL) {
        rc = kvfi_out_open("--json", c->args->json, &report->json);
    }
    kvfi_bench_report_case(report, c, figures);
    return rc;
}

static enum outcome run_case(const struct bench_job *job, const struct bench_args *args,
                             const struct bench_shape *shape, struct bench_report *report, bool *wrong_p)
{
    struct bench_plan plan = {0};
    struct bench_ends ends = {0};
    struct bench_figures figures = {0};
    const struct bench_case c = {job, args, &plan, &ends};
    int rc = kvfi_bench_meet(job, kvfi_bench_plan_make(args, shape, &plan));

    rc = rc == 0 ? kvfi_bench_room(job, args, &plan) : rc;
    rc = rc == 0 ? kvfi_bench_meet(job, kvfi_bench_plan_ids(&plan)) : rc;
    rc = rc == 0 ? kvfi_bench_ends_open(job, args, &plan, true, &ends) : rc;
    if (rc != 0) {
        kvfi_bench_plan_free(&plan);
        return REFUSED;
    }
    rc = kvfi_bench_measure(&c, &figures);
    if (rc == 0 && job->rank == 0) {
        if (tell_case(report, &c, &figures) != 0) {
            complain(NULL);
            *wrong_p = true;
        }
        if (judge(args, &plan, &ends, &figures) != 0) {
            complain(shape);
            *wrong_p = true;
        }
    }
    kvfi_bench_figures_free(&figures);
    kvfi_bench_ends_close(job, &ends);
    kvfi_bench_plan_free(&plan);
    return rc == 0 ? RAN : FAILED;
}

/* Each shape at each depth. */
static int run_cases(const struct bench_job *job, struct bench_args *args, struct bench_report *report)
{
    const uint32_t dir = args->dir;
    bool wrong = false, bar = job->rank == 0 && isatty(STDERR_FILENO) && report->table == NULL;

    for (size_t i = 0; i < args->shape_count * args->depth_count; i++) {
        const struct bench_shape *shape = &args->shapes[i / args->depth_count];
        args->depth = args->depths[i % args->depth_count];
        args->dir = shape->layerwise ? KVF_WRITE : dir;
        if (bar) {
            fprintf(stderr, "\rcase %zu of %zu ", i + 1, args->shape_count * args->depth_count);
        }
        enum outcome outcome = run_case(job, args, shape, report, &wrong);
        if (outcome == RAN) {
            continue;
        }
        if (job->rank == 0) {
            complain(shape);
        }
        if (outcome == FAILED || !args->sweep || args->way_count == 1) {
            return KVFI_EXIT_WRONG;
        }
        break; /* the sweep goes on with the next path */
    }
    args->dir = dir;
    if (bar) {
        fputs("\r                    \r", stderr);
    }
    return wrong ? KVFI_EXIT_WRONG : KVFI_EXIT_OK;
}

/* Whether all that is asked for can be written. */
static int check_report(const struct bench_args *args, struct bench_report *report)
{
    report->table = kvfi_out_is_stdout(args->json) ? NULL : stdout;
    if (args->plot != NULL && kvfi_bench_plot_check(args) != 0) {
        return -1;
    }
    return args->json == NULL ? 0 : kvfi_out_check("--json", args->json);
}

/* One path after the other, with a job of kvferry's for each: far or near is the engine's to know. */
static int run_paths(struct bench_args *args, struct bench_report *report)
{
    int code = KVFI_EXIT_OK, rank;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    for (size_t i = 0; i < args->way_count && code == KVFI_EXIT_OK; i++) {
        struct bench_job job;
        args->way = i;
        args->path = args->ways[i].path;
        args->adopts = args->ways[i].adopts;
        code = kvfi_bench_job_open(args, &job);
        if (code != KVFI_EXIT_OK) {
            if (rank == 0) {
                complain(NULL);
            }
            return code;
        }
        kvfi_bench_report_cpus(&job, report);
        code = run_cases(&job, args, report);
        kvfi_bench_tell(&job, 0, &code, sizeof(code));
        kvfi_bench_job_close(&job);
    }
    return code;
}

static int close_report(const struct bench_args *args, struct bench_report *report, int code)
{
    if (report->json.file != NULL && kvfi_out_close(&report->json) != 0) {
        complain(NULL);
        code = KVFI_EXIT_WRONG;
    }
    if (args->plot != NULL && report->point_count > 0 && kvfi_bench_plot(args, report) != 0) {
        complain(NULL);
        code = KVFI_EXIT_WRONG;
    }
    return code;
}

static int run_mpi(struct bench_args *args, int argc, char *const *argv)
{
    struct bench_report report = {0};
    int code = KVFI_EXIT_OK, rank, size;

    MPI_Init(NULL, NULL);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (kvfi_same_line(argc, argv) != 0 || kvfi_bench_job_paths(args, size) != 0 ||
        (rank == 0 && check_report(args, &report) != 0)) {
        code = KVFI_EXIT_USAGE;
        if (rank == 0) {
            complain(NULL);
        }
    }
    MPI_Bcast(&code, 1, MPI_INT, 0, MPI_COMM_WORLD);
    if (code == KVFI_EXIT_OK) {
        code = run_paths(args, &report);
        if (rank == 0) {
            code = close_report(args, &report, code);
        }
        MPI_Bcast(&code, 1, MPI_INT, 0, MPI_COMM_WORLD);
    }
    kvfi_bench_report_free(&report);
    MPI_Finalize();
    return code;
}

int main(int argc, char **argv)
{
    struct bench_args args;
    int code = KVFI_EXIT_OK;

    if (kvfi_bench_parse(argc, argv, &args) != 0) {
        if (kvfi_cli_speaks()) {
            complain(NULL);
            fputs("kvf_bench --help says more\n", stderr);
        }
        return KVFI_EXIT_USAGE;
    }
    if (args.help || args.version) {
        if (kvfi_cli_speaks() && args.help) {
            kvfi_bench_usage(stdout);
        } else if (kvfi_cli_speaks()) {
            printf("kvf_bench %s, UCX %s\n", kvf_version(), kvf_ucx_version());
        }
    } else {
        code = run_mpi(&args, argc, argv);
    }
    kvfi_bench_args_free(&args);
    return code;
}
