/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Telling what came out, to people and as one JSON object: report.h says what stands behind the
 * numbers. Writes to the files it is given, nothing else.
 */
#include "config.h"

#include "report.h"

#include <inttypes.h>
#include <string.h>

#include "../cli.h"

#define MATRIX_RANKS 8 /* more make no readable table */

/* 12031 as "12,031", into buf, which it returns */
static const char *grouped(uint64_t value, char *buf, size_t len)
{
    char digits[24];
    size_t count = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, value), at = 0;

    for (size_t i = 0; i < count && at + 2 < len; i++) {
        if (i > 0 && (count - i) % 3 == 0) {
            buf[at++] = ',';
        }
        buf[at++] = digits[i];
    }
    buf[at] = '\0';
    return buf;
}

/* a number, and a word that ends in s unless it is one */
static const char *counted(uint64_t value, const char *word, char *buf, size_t len)
{
    char number[32];

    snprintf(buf, len, "%s %s%s", grouped(value, number, sizeof(number)), word, value == 1 ? "" : "s");
    return buf;
}

static double rate(const struct replay_report *report)
{
    return report->seconds > 0 ? (double)report->sum.bytes / report->seconds / 1e9 : 0;
}

static double hit_rate(const struct replay_report *report)
{
    return report->sum.lookups > 0 ? (double)report->sum.hits / (double)report->sum.lookups : 0;
}

static void scale_text(const struct replay_shape *shape, char *buf, size_t len)
{
    if (shape->left_den == 1) {
        snprintf(buf, len, "1");
    } else {
        snprintf(buf, len, "%" PRIu64 "/%" PRIu64, shape->left_num, shape->left_den);
    }
}

/* -------------------------------------------------------------------- people */

static const char *time_unit(const kvfi_trace_t *trace)
{
    return trace->format == KVFI_TRACE_BAILIAN ? "s" : "ms";
}

static void say_input(const struct replay_job *job, FILE *file)
{
    const struct replay_shape *shape = job->shape;
    char a[48], b[48], left[48];

    scale_text(shape, left, sizeof(left));
    fprintf(file, "  trace     %s: %s of %" PRIu32 " tokens a block (%s, timestamps in %s)%s%s\n",
            strcmp(job->opts->trace, "-") == 0 ? "standard input" : job->opts->trace,
            counted(job->trace->request_count, "request", a, sizeof(a)), shape->trace_tokens,
            kvfi_trace_format_name(job->trace->format), time_unit(job->trace),
            job->trace->skipped_lines > 0 ? ", lines skipped: " : "",
            job->trace->skipped_lines > 0 ? grouped(job->trace->skipped_lines, b, sizeof(b)) : "");
    fprintf(file, "  cache     %s", shape->model->name);
    if (shape->left_num == shape->left_den) {
        fprintf(file, ", whole");
    } else {
        fprintf(file,
                ", scale %s: %" PRIu32 " of %" PRIu32 " tokens of a trace block, %" PRIu32 " of %" PRIu32
                " layers",
                left, shape->kept_tokens, shape->trace_tokens, shape->layers, shape->full_layers);
    }
    fprintf(file, "\n");
    if (shape->less_asked) {
        fprintf(file, "            (less was asked for: a KV block of both sides, two layers and one a "
                      "stage always stay)\n");
    }
}

/* Ranks of a side, and how a block lies in their memory. */
static void say_side(const struct replay_shape *shape, int which, const char *name, FILE *file)
{
    const struct replay_side *side = &shape->side[which];
    char a[48];

    fprintf(file, "  %-9s %s", name, counted(side->ranks, "rank", a, sizeof(a)));
    if (side->members > 1) {
        fprintf(file, " in %s of TP %" PRIu32 " x PP %" PRIu32,
                counted(side->instances, "instance", a, sizeof(a)), side->tp, side->pp);
    }
    fprintf(file, ", %s, %s a KV block", side->layout, counted(side->block_tokens, "token", a, sizeof(a)));
}

static void say_ranks(const struct replay_job *job, FILE *file)
{
    const struct replay_shape *shape = job->shape;
    struct replay_held held = kvfi_replay_held(shape, REPLAY_SRC, 0);
    uint64_t block = kvfi_replay_bytes(shape->model, &held.cut, held.block_tokens);
    char a[48], b[48];

    say_side(shape, REPLAY_SRC, "prefill", file);
    fprintf(file, "; a pool of %s (%s)%s\n", counted(job->opts->blocks, "trace block", a, sizeof(a)),
            kvfi_cli_bytes(shape->pool_blocks * block, b, sizeof(b)),
            job->opts->no_pin ? ", not pinned while read" : "");
    say_side(shape, REPLAY_DST, "decode", file);
    fprintf(file, "; depth %" PRIu64 "%s\n", job->opts->depth, shape->both ? "; one rank is both" : "");
}

/* With --speed trace: whether the job kept up. */
static void say_speed(const struct replay_job *job, const struct replay_report *report, FILE *file)
{
    if (job->opts->speed > 0) {
        fprintf(file,
                "  clock     the trace's, %" PRIu64 " times as fast; the latest request began %.3f s "
                "after its time\n",
                job->opts->speed, (double)report->sum.late_ns / 1e9);
    }
}

static void say_served(const struct replay_job *job, const struct replay_report *report, FILE *file)
{
    const struct replay_stats *sum = &report->sum;
    const struct replay_shape *shape = job->shape;
    struct replay_cut whole = {.layers = shape->layers, .heads = shape->model->heads};
    uint64_t block = kvfi_replay_bytes(shape->model, &whole, shape->side[REPLAY_DST].block_tokens);
    char a[48], b[48], c[48], d[48];

    fprintf(file, "  served    %s: %s, that is %s of %s", counted(sum->requests, "request", a, sizeof(a)),
            counted(sum->trace_blocks, "trace block", b, sizeof(b)),
            counted(sum->blocks, "KV block", c, sizeof(c)), kvfi_cli_bytes(block, d, sizeof(d)));
    if (job->shape->refused > 0) {
        fprintf(file, "; refused as larger than a pool: %s", grouped(job->shape->refused, a, sizeof(a)));
    }
    fprintf(file, "\n  hits      %s of %s (%.1f %%)\n", grouped(sum->hits, a, sizeof(a)),
            counted(sum->lookups, "lookup", b, sizeof(b)), 100 * hit_rate(report));
}

static void say_moved(const struct replay_report *report, FILE *file)
{
    const struct replay_stats *sum = &report->sum;
    double pulling = sum->pull_ns > 0 ? (double)sum->bytes / (double)sum->pull_ns : 0;
    char a[48], b[48];

    fprintf(file,
            "  moved     %s in %s and %.2f s: %.2f GB/s with producing and checking, %.2f GB/s a "
            "rank that pulls\n",
            kvfi_cli_bytes(sum->bytes, a, sizeof(a)), counted(sum->pieces, "piece", b, sizeof(b)),
            report->seconds, rate(report), pulling);
    fprintf(file, "  a pull    p50 %.0f us, p99 %.0f us\n", report->p50_us, report->p99_us);
    const char *comma = "";
    fprintf(file, "  by path  ");
    for (int path = 0; path < KVF_PATH_COUNT; path++) {
        if (report->flows[path].ops > 0) {
            fprintf(file, "%s %s %s (%s)", comma, kvf_path_name((kvf_path_t)path),
                    kvfi_cli_bytes(report->flows[path].bytes, a, sizeof(a)),
                    counted(report->flows[path].ops, "op", b, sizeof(b)));
            comma = ",";
        }
    }
    fprintf(file, "\n  by place  same process %s, ",
            kvfi_cli_bytes(report->counters.self_bytes, a, sizeof(a)));
    fprintf(file, "same node %s, ", kvfi_cli_bytes(report->counters.node_bytes, a, sizeof(a)));
    fprintf(file, "other node %s\n", kvfi_cli_bytes(report->counters.cross_bytes, a, sizeof(a)));
    for (size_t i = 0; i < report->nic_count; i++) {
        fprintf(file, "  %s  %s %s\n", i == 0 ? "by wire " : "        ", report->nics[i].name,
                kvfi_cli_bytes(report->nics[i].bytes, a, sizeof(a)));
    }
}

static void say_matrix(const struct replay_job *job, const struct replay_report *report, FILE *file)
{
    int ranks = job->comm->size;
    char a[48];

    if (ranks < 2 || ranks > MATRIX_RANKS) {
        return;
    }
    fprintf(file, "  from \\ to");
    for (int to = 0; to < ranks; to++) {
        fprintf(file, " %11d", to);
    }
    fprintf(file, "\n");
    for (int from = 0; from < ranks; from++) {
        uint64_t row = 0;
        for (int to = 0; to < ranks; to++) {
            row += report->matrix[from * ranks + to];
        }
        if (row == 0) {
            continue;
        }
        fprintf(file, "  %9d", from);
        for (int to = 0; to < ranks; to++) {
            uint64_t bytes = report->matrix[from * ranks + to];
            fprintf(file, " %11s", bytes > 0 ? kvfi_cli_bytes(bytes, a, sizeof(a)) : ".");
        }
        fprintf(file, "\n");
    }
}

static void say_checked(const struct replay_job *job, const struct replay_report *report, FILE *file)
{
    const struct replay_stats *sum = &report->sum;
    char a[48], b[48];

    if (job->opts->verify == REPLAY_VERIFY_NONE) {
        fprintf(file, "  checked   nothing (--verify none)");
    } else {
        fprintf(file, "  checked   %s%s: %s", kvfi_cli_bytes(sum->verified_bytes, a, sizeof(a)),
                job->opts->verify == REPLAY_VERIFY_SAMPLE ? " (one block in eight)" : "",
                counted(sum->mismatched_bytes, "wrong byte", b, sizeof(b)));
    }
    if (sum->stale_blocks > 0) {
        fprintf(file, "; %s (%s) found stale and dropped", counted(sum->stale_blocks, "block", a, sizeof(a)),
                kvfi_cli_bytes(sum->stale_bytes, b, sizeof(b)));
    }
    fprintf(file, "\n");
}

void kvfi_replay_report_people(const struct replay_job *job, const struct replay_report *report, FILE *file)
{
    fprintf(file, "kvf_replay %s on UCX %s, net %s%s\n", kvf_version(), kvf_ucx_version(), report->net,
            report->complete ? "" : "; a partial report");
    say_input(job, file);
    say_ranks(job, file);
    say_speed(job, report, file);
    say_served(job, report, file);
    say_moved(report, file);
    say_matrix(job, report, file);
    say_checked(job, report, file);
    for (int i = 0; i < report->problem_count; i++) {
        fprintf(file, "%s%s\n", i == 0 ? "WRONG: " : "       ", report->problems[i]);
    }
    if (report->problem_count == 0) {
        fprintf(file, "right: every request%s was served%s\n",
                job->shape->refused > 0 ? " that fits a pool" : "",
                job->opts->verify == REPLAY_VERIFY_ALL      ? ", every byte is the one it should be"
                : job->opts->verify == REPLAY_VERIFY_SAMPLE ? ", every byte looked at is right"
                                                            : "; no byte was looked at");
    }
    fflush(file);
}

/* ---------------------------------------------------------------------- JSON */

static void write_numbers(struct kvfi_json *json, const struct replay_job *job,
                          const struct replay_report *report)
{
    const struct replay_stats *sum = &report->sum;

    kvfi_json_u64(json, "requests", sum->requests);
    kvfi_json_u64(json, "trace_blocks", sum->trace_blocks);
    kvfi_json_u64(json, "blocks", sum->blocks);
    kvfi_json_u64(json, "bytes", sum->bytes);
    kvfi_json_u64(json, "pieces", sum->pieces);
    kvfi_json_u64(json, "mismatched_bytes", sum->mismatched_bytes);
    kvfi_json_u64(json, "verified_bytes", sum->verified_bytes);
    kvfi_json_u64(json, "stale_blocks", sum->stale_blocks);
    kvfi_json_u64(json, "stale_bytes", sum->stale_bytes);
    kvfi_json_u64(json, "hits", sum->hits);
    kvfi_json_real(json, "hit_rate", hit_rate(report));
    kvfi_json_u64(json, "refused_requests", job->shape->refused);
    kvfi_json_u64(json, "skipped_lines", job->trace->skipped_lines);
    kvfi_json_real(json, "seconds", report->seconds);
    kvfi_json_real(json, "gbps", rate(report));
    kvfi_json_real(json, "p50_us", report->p50_us);
    kvfi_json_real(json, "p99_us", report->p99_us);
}

static void write_side(struct kvfi_json *json, const char *name, const struct replay_side *side)
{
    kvfi_json_open(json, name, '{');
    kvfi_json_text(json, "layout", side->layout);
    kvfi_json_u64(json, "block_tokens", side->block_tokens);
    kvfi_json_u64(json, "tp", side->tp);
    kvfi_json_u64(json, "pp", side->pp);
    kvfi_json_u64(json, "instances", side->instances);
    kvfi_json_close(json, '}');
}

static void write_setup(struct kvfi_json *json, const struct replay_job *job,
                        const struct replay_report *report)
{
    const struct replay_shape *shape = job->shape;
    const struct replay_side *src = &shape->side[REPLAY_SRC], *dst = &shape->side[REPLAY_DST];
    char scale[48], speed[32] = "max";

    scale_text(shape, scale, sizeof(scale));
    if (job->opts->speed == 1) {
        snprintf(speed, sizeof(speed), "trace");
    } else if (job->opts->speed > 1) {
        snprintf(speed, sizeof(speed), "trace:%" PRIu64, job->opts->speed);
    }
    kvfi_json_text(json, "model", shape->model->name);
    kvfi_json_text(json, "layout", dst->layout);
    kvfi_json_text(json, "scale", scale);
    kvfi_json_u64(json, "trace_block_tokens", shape->trace_tokens);
    kvfi_json_u64(json, "block_tokens", dst->block_tokens);
    kvfi_json_u64(json, "layers", shape->layers);
    kvfi_json_u64(json, "prefill", src->ranks);
    kvfi_json_u64(json, "decode", dst->ranks);
    write_side(json, "src", src);
    write_side(json, "dst", dst);
    kvfi_json_u64(json, "depth", job->opts->depth);
    kvfi_json_u64(json, "pool_blocks", job->opts->blocks);
    kvfi_json_u64(json, "seed", job->opts->seed);
    kvfi_json_text(json, "speed", speed);
    kvfi_json_text(json, "time_unit", time_unit(job->trace));
    kvfi_json_real(json, "late_s", (double)report->sum.late_ns / 1e9);
    kvfi_json_text(json, "ucx", kvf_ucx_version());
    kvfi_json_text(json, "net", report->net);
    kvfi_json_bool(json, "complete", report->complete);
}

static void write_ways(struct kvfi_json *json, const struct replay_job *job,
                       const struct replay_report *report)
{
    const kvf_counters_t *counters = &report->counters;
    int ranks = job->comm->size;

    kvfi_json_open(json, "paths", '{');
    for (int path = 0; path < KVF_PATH_COUNT; path++) {
        if (report->flows[path].ops > 0 || report->flows[path].bytes > 0) {
            kvfi_json_open(json, kvf_path_name((kvf_path_t)path), '{');
            kvfi_json_u64(json, "bytes", report->flows[path].bytes);
            kvfi_json_u64(json, "ops", report->flows[path].ops);
            kvfi_json_close(json, '}');
        }
    }
    kvfi_json_close(json, '}');
    kvfi_json_open(json, "locality", '{');
    kvfi_json_u64(json, "self", counters->self_bytes);
    kvfi_json_u64(json, "node", counters->node_bytes);
    kvfi_json_u64(json, "cross", counters->cross_bytes);
    kvfi_json_close(json, '}');
    kvfi_json_open(json, "matrix", '[');
    for (int from = 0; from < ranks; from++) {
        kvfi_json_open(json, NULL, '[');
        for (int to = 0; to < ranks; to++) {
            kvfi_json_u64(json, NULL, report->matrix[from * ranks + to]);
        }
        kvfi_json_close(json, ']');
    }
    kvfi_json_close(json, ']');
    kvfi_json_open(json, "nics", '{');
    for (size_t i = 0; i < report->nic_count; i++) {
        kvfi_json_u64(json, report->nics[i].name, report->nics[i].bytes);
    }
    kvfi_json_close(json, '}');
}

void kvfi_replay_report_json(const struct replay_job *job, const struct replay_report *report, FILE *file)
{
    struct kvfi_json json;

    kvfi_json_init(&json, file, 0);
    kvfi_json_open(&json, NULL, '{');
    write_numbers(&json, job, report);
    write_setup(&json, job, report);
    write_ways(&json, job, report);
    kvfi_json_close(&json, '}');
}
