/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a case showed, as one JSON line and as one row of a table. Rates are 10^9 bytes a second; a
 * ratio is made in each repetition, of the case and the mean of the floors before and after it, and
 * the median of these is reported. Writes to files that are open already.
 */
#include "config.h"

#include "bench.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "../cli.h"

void kvfi_bench_report_cpus(const struct bench_job *job, struct bench_report *report)
{
    char *text = report->cpus[job->rank];
    size_t size = sizeof(report->cpus[0]), len = 0;
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) == 0) {
        for (int cpu = 0; cpu < CPU_SETSIZE && len < size; cpu++) {
            if (!CPU_ISSET(cpu, &set)) {
                continue;
            }
            int last = cpu;
            while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &set)) {
                last++;
            }
            len += (size_t)snprintf(text + len, size - len, last > cpu ? "%s%d-%d" : "%s%d",
                                    len > 0 ? "," : "", cpu, last);
            cpu = last;
        }
    }
    for (int rank = 0; rank < job->size; rank++) {
        kvfi_bench_tell(job, rank, report->cpus[rank], size);
    }
}

struct summary {
    double gbps, floor_gbps, ratio, ratio_min, ratio_max, spread, ops_s;
    double p50_us, p99_us, cpu_s_per_gib, floor_cpu_s_per_gib;
    double peer_gbps[BENCH_PEERS], peer_ratio[BENCH_PEERS]; /* from 1 on: the floor is above */
};

static double rate(const struct bench_plan *plan, double seconds)
{
    return (double)plan->run_bytes / seconds / 1e9;
}

static void summarise(const struct bench_args *args, const struct bench_plan *plan,
                      const struct bench_figures *f, struct summary *s, double *scratch)
{
    size_t reps = args->reps;
    double moved = (double)plan->run_bytes * (double)reps;
    const double *floors = f->peers[0].runs;

    *s = (struct summary){.ratio_min = INFINITY};
    s->gbps = rate(plan, kvfi_bench_median(f->runs, reps));
    s->floor_gbps = rate(plan, kvfi_bench_median(floors, 2 * reps));
    s->ops_s = (double)plan->batches / kvfi_bench_median(f->runs, reps);
    for (size_t i = 0; i < reps; i++) {
        scratch[i] = (floors[2 * i] + floors[2 * i + 1]) / 2 / f->runs[i];
        s->ratio_min = fmin(s->ratio_min, scratch[i]);
        s->ratio_max = fmax(s->ratio_max, scratch[i]);
    }
    s->ratio = kvfi_bench_median(scratch, reps);
    for (size_t i = 0; i < reps; i++) {
        double a = floors[2 * i], b = floors[2 * i + 1];
        scratch[i] = fmax(a, b) / fmin(a, b) - 1;
    }
    s->spread = kvfi_bench_median(scratch, reps);
    for (size_t peer = 1; peer < f->peer_count; peer++) {
        for (size_t i = 0; i < reps; i++) {
            scratch[i] = f->peers[peer].runs[i] / f->runs[i];
        }
        s->peer_ratio[peer] = kvfi_bench_median(scratch, reps);
        s->peer_gbps[peer] = rate(plan, kvfi_bench_median(f->peers[peer].runs, reps));
    }
    s->p50_us = kvfi_bench_sorted_quantile(f->latency, f->latencies, 0.50) * 1e6;
    s->p99_us = kvfi_bench_sorted_quantile(f->latency, f->latencies, 0.99) * 1e6;
    s->cpu_s_per_gib = f->cpu_s / (moved / 1073741824.0);
    s->floor_cpu_s_per_gib = f->peers[0].cpu_s / (2 * moved / 1073741824.0);
}

static void rates(struct kvfi_json *json, const char *key, const struct bench_plan *plan,
                  const double *seconds, size_t count)
{
    kvfi_json_open(json, key, '[');
    for (size_t i = 0; i < count; i++) {
        kvfi_json_real(json, NULL, rate(plan, seconds[i]));
    }
    kvfi_json_close(json, ']');
}

static double extreme(const double *values, size_t count, bool most)
{
    double found = values[0];

    for (size_t i = 1; i < count; i++) {
        found = most ? fmax(found, values[i]) : fmin(found, values[i]);
    }
    return found;
}

static const char *locality_name(kvf_locality_t locality)
{
    return locality == KVF_LOCALITY_SELF ? "self" : locality == KVF_LOCALITY_NODE ? "node" : "cross";
}

/* As it was asked for; what auto found. */
static const char *way_name(const struct bench_args *args, const struct bench_ends *ends)
{
    return args->path == KVF_PATH_NONE ? kvf_path_name(ends->path) : args->ways[args->way].name;
}

static const char *memory_name(const struct bench_args *args)
{
    enum bench_kind_of_memory kind = kvfi_bench_memory(args);

    return kind == BENCH_MEMORY_POOL ? "pool" : kind == BENCH_MEMORY_OWN ? "own" : "adopt";
}

static void congestion_control(char *text, size_t len)
{
    FILE *file = fopen("/proc/sys/net/ipv4/tcp_congestion_control", "re");

    text[0] = '\0';
    if (file != NULL) {
        if (fgets(text, (int)len, file) == NULL) {
            text[0] = '\0';
        }
        text[strcspn(text, "\n")] = '\0';
        fclose(file);
    }
}

/* The keys that every case has, in the order in which people read them. */
static void write_case(struct kvfi_json *json, const struct bench_args *args, const struct bench_plan *plan,
                       const struct bench_ends *ends, const struct bench_figures *f, const struct summary *s)
{
    kvfi_json_text(json, "shape", plan->shape.name);
    kvfi_json_text(json, "op", args->dir == KVF_READ ? "read" : "write");
    kvfi_json_text(json, "path", kvf_path_name(ends->path));
    kvfi_json_text(json, "locality", locality_name(ends->locality));
    kvfi_json_text(json, "net", args->net);
    kvfi_json_u64(json, "piece", plan->shape.piece);
    kvfi_json_u64(json, "pieces", plan->shape.pieces);
    kvfi_json_u64(json, "bytes", plan->shape.pieces * plan->shape.piece);
    kvfi_json_real(json, "gbps", s->gbps);
    kvfi_json_real(json, "ops_s", s->ops_s);
    kvfi_json_real(json, "p50_us", s->p50_us);
    kvfi_json_real(json, "p99_us", s->p99_us);
    kvfi_json_text(json, "floor", f->peers[0].kind->name);
    kvfi_json_real(json, "floor_gbps", s->floor_gbps);
    kvfi_json_real(json, "ratio", s->ratio);
    kvfi_json_real(json, "cpu_s_per_gib", s->cpu_s_per_gib);
    kvfi_json_u64(json, "verified_bytes", f->verified);
    kvfi_json_u64(json, "mismatched_bytes", f->mismatched);
}

static void write_conditions(struct kvfi_json *json, const struct bench_report *report,
                             const struct bench_args *args, const struct bench_plan *plan,
                             const struct bench_ends *ends, const struct bench_figures *f)
{
    char scale[48], control[32];

    snprintf(scale, sizeof(scale), "%llu/%llu", (unsigned long long)args->scale_num,
             (unsigned long long)args->scale_den);
    congestion_control(control, sizeof(control));
    kvfi_json_text(json, "shape_name", plan->shape.long_name);
    if (plan->shape.model != NULL) {
        kvfi_json_text(json, "model", plan->shape.model);
        kvfi_json_text(json, "source_layout", plan->shape.source_layout);
        kvfi_json_text(json, "dest_layout", plan->shape.dest_layout);
        kvfi_json_u64(json, "source_tp", plan->shape.source_tp);
        kvfi_json_u64(json, "dest_tp", plan->shape.dest_tp);
        kvfi_json_u64(json, "block_tokens", plan->block_tokens);
    }
    kvfi_json_u64(json, "blocks", plan->shape.blocks);
    kvfi_json_u64(json, "rows", plan->shape.pieces / plan->shape.blocks);
    kvfi_json_u64(json, "ops", plan->box_count);
    kvfi_json_real(json, "bind_us", f->bind_s / (double)(plan->batches * args->reps) * 1e6);
    kvfi_json_u64(json, "batches", plan->batches);
    kvfi_json_u64(json, "run_bytes", plan->run_bytes);
    kvfi_json_u64(json, "depth", args->depth);
    kvfi_json_u64(json, "reps", args->reps);
    kvfi_json_bool(json, "hot", args->hot != 0);
    if (args->hot != 0) {
        kvfi_json_u64(json, "hot_bytes", args->hot);
    }
    kvfi_json_text(json, "segments", args->per_layer ? "per-layer" : "one");
    kvfi_json_text(json, "memory", memory_name(args));
    kvfi_json_u64(json, "copy_threads", args->copy_threads);
    kvfi_json_text(json, "scale", scale);
    kvfi_json_u64(json, "seed", args->seed);
    kvfi_json_u64(json, "source_bytes", plan->source_bytes);
    kvfi_json_u64(json, "dest_bytes", plan->dest_bytes);
    kvfi_json_u64(json, "page_bytes", f->page_bytes);
    if (args->beside == 0) { /* else they are the large batch's too */
        kvfi_json_u64(json, "merged_pieces", f->pieces / args->reps);
        kvfi_json_u64(json, "calls", f->calls / args->reps);
    }
    kvfi_json_open(json, "cpus", '[');
    kvfi_json_text(json, NULL, report->cpus[0]);
    if (ends->locality != KVF_LOCALITY_SELF) {
        kvfi_json_text(json, NULL, report->cpus[1]);
    }
    kvfi_json_close(json, ']');
    kvfi_json_text(json, "tcp_congestion_control", control);
    kvfi_json_text(json, "kvferry", kvf_version());
    kvfi_json_text(json, "ucx", kvf_ucx_version());
}

/* Keys of a peer: its own name, then what of it. */
static void write_peer(struct kvfi_json *json, const struct bench_args *args, const struct bench_plan *plan,
                       const struct bench_figures *f, const struct summary *s, size_t peer)
{
    const struct bench_peer_figures *p = &f->peers[peer];
    double moved_gib = (double)plan->run_bytes * (double)args->reps / 1073741824.0;
    char key[64];

    snprintf(key, sizeof(key), "peer_%s_gbps", p->kind->key);
    kvfi_json_real(json, key, s->peer_gbps[peer]);
    snprintf(key, sizeof(key), "peer_%s_ratio", p->kind->key);
    kvfi_json_real(json, key, s->peer_ratio[peer]);
    snprintf(key, sizeof(key), "peer_%s_cpu_s_per_gib", p->kind->key);
    kvfi_json_real(json, key, p->cpu_s / moved_gib);
    snprintf(key, sizeof(key), "peer_%s_runs_gbps", p->kind->key);
    rates(json, key, plan, p->runs, args->reps);
    if (p->way != NULL) {
        snprintf(key, sizeof(key), "peer_%s_way", p->kind->key);
        kvfi_json_text(json, key, p->way);
    }
}

static double beside_us(const struct bench_figures *f, double quantile)
{
    return kvfi_bench_sorted_quantile(f->beside.latency, f->beside.latencies, quantile) * 1e6;
}

static void write_beside(struct kvfi_json *json, const struct bench_args *args, const struct bench_figures *f,
                         const struct summary *s)
{
    kvfi_json_u64(json, "beside_bytes", kvfi_bench_beside_bytes(args));
    kvfi_json_u64(json, "beside_batches", f->beside.latencies);
    kvfi_json_real(json, "beside_p50_us", beside_us(f, 0.50));
    kvfi_json_real(json, "beside_p99_us", beside_us(f, 0.99));
    kvfi_json_real(json, "beside_p50_ratio", beside_us(f, 0.50) / s->p50_us);
    kvfi_json_real(json, "beside_p99_ratio", beside_us(f, 0.99) / s->p99_us);
    kvfi_json_real(json, "beside_gbps", (double)f->beside.posted_bytes / f->beside.took_s / 1e9);
}

static double layer_us(const struct bench_figures *f, double quantile)
{
    return kvfi_bench_sorted_quantile(f->layer, f->layers, quantile) * 1e6;
}

static double layer_floor_us(const struct bench_figures *f, double quantile)
{
    return kvfi_bench_sorted_quantile(f->layer_floor, f->layers, quantile) * 1e6;
}

static void write_layers(struct kvfi_json *json, const struct bench_args *args, const struct bench_figures *f)
{
    kvfi_json_text(json, "await", args->await_fd ? "fd" : "wait");
    kvfi_json_u64(json, "gap_us", args->gap_us);
    kvfi_json_u64(json, "layers", f->layers);
    kvfi_json_real(json, "layer_p50_us", layer_us(f, 0.50));
    kvfi_json_real(json, "layer_p99_us", layer_us(f, 0.99));
    kvfi_json_real(json, "layer_max_us", layer_us(f, 1));
    kvfi_json_text(json, "layer_floor", kvfi_bench_layer_sleeps(args) ? "asleep" : "awake");
    kvfi_json_real(json, "layer_floor_p50_us", layer_floor_us(f, 0.50));
    kvfi_json_real(json, "layer_floor_p99_us", layer_floor_us(f, 0.99));
    kvfi_json_real(json, "layer_floor_max_us", layer_floor_us(f, 1));
    kvfi_json_real(json, "layer_p50_ratio", layer_us(f, 0.50) / layer_floor_us(f, 0.50));
    kvfi_json_real(json, "layer_p99_ratio", layer_us(f, 0.99) / layer_floor_us(f, 0.99));
}

static void write_runs(struct kvfi_json *json, const struct bench_args *args, const struct bench_plan *plan,
                       const struct bench_figures *f, const struct summary *s)
{
    size_t reps = args->reps;
    const double *floors = f->peers[0].runs;

    kvfi_json_real(json, "min_gbps", rate(plan, extreme(f->runs, reps, true)));
    kvfi_json_real(json, "max_gbps", rate(plan, extreme(f->runs, reps, false)));
    kvfi_json_real(json, "floor_min_gbps", rate(plan, extreme(floors, 2 * reps, true)));
    kvfi_json_real(json, "floor_max_gbps", rate(plan, extreme(floors, 2 * reps, false)));
    kvfi_json_real(json, "floor_spread", s->spread);
    kvfi_json_real(json, "floor_cpu_s_per_gib", s->floor_cpu_s_per_gib);
    kvfi_json_real(json, "ratio_min", s->ratio_min);
    kvfi_json_real(json, "ratio_max", s->ratio_max);
    rates(json, "runs_gbps", plan, f->runs, reps);
    rates(json, "floor_runs_gbps", plan, floors, 2 * reps);
    if (f->peers[0].way != NULL) {
        kvfi_json_text(json, "floor_way", f->peers[0].way);
    }
    for (size_t peer = 1; peer < f->peer_count; peer++) {
        write_peer(json, args, plan, f, s, peer);
    }
    if (args->beside != 0) {
        write_beside(json, args, f, s);
    }
    if (f->layers != 0) {
        write_layers(json, args, f);
    }
}

/* Of each peer its rate, and in brackets how many times that the case is. */
static void write_head(struct bench_report *report, const struct bench_args *args,
                       const struct bench_figures *f)
{
    fprintf(report->table, "%-5s %-5s %-5s %9s %10s %8s %8s %6s  %-13s %6s %10s %10s %8s", "shape", "op",
            "path", "piece", "pieces", "GB/s", "floor", "ratio", "(min-max)", "spread", "p50 us", "p99 us",
            "cpu s/GiB");
    if (args->beside != 0) {
        fprintf(report->table, " %22s", "beside: p50, p99 us");
    }
    for (size_t peer = 1; peer < f->peer_count; peer++) {
        fprintf(report->table, "%s %14s", peer == 1 ? " " : "", f->peers[peer].kind->name);
    }
    fputc('\n', report->table);
}

static void write_row(struct bench_report *report, const struct bench_args *args,
                      const struct bench_plan *plan, const struct bench_ends *ends,
                      const struct bench_figures *f, const struct summary *s)
{
    char piece[32], pieces[32];

    if (!report->headed || report->headed_for != args->way) { /* other peers may stand beside it */
        report->headed = true;
        report->headed_for = args->way;
        write_head(report, args, f);
    }
    snprintf(pieces, sizeof(pieces), "%llu", (unsigned long long)plan->shape.pieces);
    kvfi_cli_bytes(plan->shape.piece, piece, sizeof(piece));
    if (strchr(piece, '.') != NULL) {
        snprintf(piece, sizeof(piece), "%llu B", (unsigned long long)plan->shape.piece);
    }
    fprintf(report->table,
            "%-5s %-5s %-5s %9s %10s %8.2f %8.2f %6.2f  (%4.2f-%4.2f)   %5.1f%% %10.1f %10.1f %8.2f",
            plan->shape.name, args->dir == KVF_READ ? "read" : "write", way_name(args, ends), piece, pieces,
            s->gbps, s->floor_gbps, s->ratio, s->ratio_min, s->ratio_max, s->spread * 100, s->p50_us,
            s->p99_us, s->cpu_s_per_gib);
    if (args->beside != 0) {
        fprintf(report->table, " %10.1f %11.1f", beside_us(f, 0.50), beside_us(f, 0.99));
    }
    for (size_t peer = 1; peer < f->peer_count; peer++) {
        fprintf(report->table, "%s %6.2f (%5.2f)", peer == 1 ? " " : "", s->peer_gbps[peer],
                s->peer_ratio[peer]);
    }
    if (f->layers != 0) {
        fprintf(report->table, "  layers seen after %.1f us, 99 of 100 after %.1f (floor %s: %.1f, %.1f)",
                layer_us(f, 0.50), layer_us(f, 0.99), kvfi_bench_layer_sleeps(args) ? "asleep" : "awake",
                layer_floor_us(f, 0.50), layer_floor_us(f, 0.99));
    }
    if (f->mismatched != 0) {
        fprintf(report->table, "  %llu BYTES WRONG", (unsigned long long)f->mismatched);
    }
    fputc('\n', report->table);
    fflush(report->table);
}

static int add_point(struct bench_report *report, const struct bench_point *point)
{
    struct bench_point *more;

    for (size_t i = 0; i < report->point_count; i++) {
        if (report->points[i].piece == point->piece && strcmp(report->points[i].name, point->name) == 0 &&
            (report->points[i].label == NULL) == (point->label == NULL)) {
            return 0; /* a floor beside several paths: its first figure stands for all */
        }
    }
    more = realloc(report->points, (report->point_count + 1) * sizeof(*more));
    if (more == NULL) {
        return -1;
    }
    report->points = more;
    report->points[report->point_count++] = *point;
    return 0;
}

/* The case and what stood beside it, as points of their curves. A point that there is no memory for is
 * missing in the picture only. */
static void add_points(struct bench_report *report, const struct bench_case *c, const struct bench_figures *f,
                       const struct summary *s)
{
    bool near = f->peers[0].kind == &kvfi_bench_peer_memcpy;
    struct bench_point point = {way_name(c->args, c->ends), NULL, c->plan->shape.piece, s->gbps,
                                near ? s->ratio : NAN};

    add_point(report, &point);
    point = (struct bench_point){f->peers[0].kind->name, f->peers[0].kind->label, c->plan->shape.piece,
                                 s->floor_gbps, near ? 1 : NAN};
    add_point(report, &point);
    for (size_t peer = 1; peer < f->peer_count; peer++) {
        point =
            (struct bench_point){f->peers[peer].kind->name, f->peers[peer].kind->label, c->plan->shape.piece,
                                 s->peer_gbps[peer], near ? s->peer_gbps[peer] / s->floor_gbps : NAN};
        add_point(report, &point);
    }
}

void kvfi_bench_report_free(struct bench_report *report)
{
    free(report->points);
    report->points = NULL;
    report->point_count = 0;
}

void kvfi_bench_report_case(struct bench_report *report, const struct bench_case *c,
                            const struct bench_figures *figures)
{
    double *scratch = calloc(c->args->reps, sizeof(*scratch));
    struct summary s;
    struct kvfi_json json;

    if (scratch == NULL) {
        return;
    }
    summarise(c->args, c->plan, figures, &s, scratch);
    free(scratch);
    add_points(report, c, figures, &s);
    if (report->json.file != NULL) {
        kvfi_json_init(&json, report->json.file, 0);
        kvfi_json_open(&json, NULL, '{');
        write_case(&json, c->args, c->plan, c->ends, figures, &s);
        write_conditions(&json, report, c->args, c->plan, c->ends, figures);
        write_runs(&json, c->args, c->plan, figures, &s);
        kvfi_json_close(&json, '}');
        fflush(report->json.file);
    }
    if (report->table != NULL) {
        write_row(report, c->args, c->plan, c->ends, figures, &s);
    }
}
