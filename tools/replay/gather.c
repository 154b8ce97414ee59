/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Gathering and judging what came out: report.h says how. Every rank takes part; rank 0 has the result.
 */
#include "config.h"

#include "report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../cli.h"

static void problem(struct replay_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void problem(struct replay_report *report, const char *format, ...)
{
    va_list args;

    if (report->problem_count < REPLAY_PROBLEMS) {
        va_start(args, format);
        vsnprintf(report->problems[report->problem_count++], sizeof(report->problems[0]), format, args);
        va_end(args);
    }
}

/* ----------------------------------------------------------------- gathering */

static void add_stats(struct replay_stats *sum, const struct replay_stats *one)
{
    sum->bytes += one->bytes;
    sum->pieces += one->pieces;
    sum->mismatched_bytes += one->mismatched_bytes;
    sum->verified_bytes += one->verified_bytes;
    sum->stale_blocks += one->stale_blocks;
    sum->stale_bytes += one->stale_bytes;
    sum->canaries += one->canaries;
    sum->lookups += one->lookups;
    sum->hits += one->hits;
    sum->late_ns = one->late_ns > sum->late_ns ? one->late_ns : sum->late_ns;
    sum->pull_ns += one->pull_ns;
    sum->injected += one->injected;
    sum->stopped += one->stopped;
    if (sum->first_wrong[0] == '\0') {
        memcpy(sum->first_wrong, one->first_wrong, sizeof(sum->first_wrong));
    }
}

/* An instance has served what its last member has. */
static void add_instances(struct replay_stats *sum, const struct replay_stats *all,
                          const struct replay_shape *shape)
{
    const struct replay_side *side = &shape->side[REPLAY_DST];

    for (uint32_t i = 0; i < side->instances; i++) {
        const struct replay_stats *member = &all[kvfi_replay_rank_of(shape, REPLAY_DST, i, 0)];
        const struct replay_stats *last = member;
        for (uint32_t m = 1; m < side->members; m++) {
            last = member[m].requests < last->requests ? &member[m] : last;
        }
        sum->requests += last->requests;
        sum->trace_blocks += last->trace_blocks;
        sum->blocks += last->blocks;
    }
}

static int gather_stats(struct replay_job *job, struct replay_report *report)
{
    struct replay_stats *all = calloc((size_t)job->comm->size, sizeof(*all));
    char text[REPLAY_TEXT_LEN];

    if (kvfi_replay_agree(job->comm, all == NULL, "no memory", text) != 0) {
        free(all);
        return -1;
    }
    kvfi_replay_gather(job->comm, &job->stats, all, sizeof(*all));
    for (int r = 0; r < job->comm->size && job->comm->rank == 0; r++) {
        add_stats(&report->sum, &all[r]);
    }
    if (job->comm->rank == 0) {
        add_instances(&report->sum, all, job->shape);
    }
    free(all);
    return 0;
}

static int by_value(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;

    return a < b ? -1 : a > b;
}

/* The smallest value that at least `percent` of all do not exceed. */
static double percentile_us(const uint64_t *sorted, uint64_t count, uint64_t percent)
{
    uint64_t rank = (count * percent + 99) / 100;

    return count == 0 ? 0 : (double)sorted[rank > 0 ? rank - 1 : 0] / 1000;
}

static int gather_pulls(struct replay_job *job, struct replay_report *report, uint64_t *lens)
{
    void *all = NULL;
    uint64_t count = 0;

    if (kvfi_replay_gatherv(job->comm, job->pulls_ns, job->pull_count * sizeof(uint64_t), &all, lens) != 0) {
        return -1;
    }
    if (job->comm->rank == 0) {
        for (int r = 0; r < job->comm->size; r++) {
            count += lens[r] / sizeof(uint64_t);
        }
        qsort(all, count, sizeof(uint64_t), by_value);
        report->p50_us = percentile_us(all, count, 50);
        report->p99_us = percentile_us(all, count, 99);
    }
    free(all);
    return 0;
}

static void add_nic(struct replay_nic *nics, size_t *count_p, const char *name, uint64_t bytes)
{
    size_t i = 0;

    while (i < *count_p && strncmp(nics[i].name, name, sizeof(nics[i].name)) != 0) {
        i++;
    }
    if (i == *count_p) {
        memset(&nics[i], 0, sizeof(nics[i]));
        memccpy(nics[i].name, name, '\0', sizeof(nics[i].name) - 1);
        (*count_p)++;
    }
    nics[i].bytes += bytes;
}

/* What this rank pulled from each far peer, by the device it went through. */
static size_t own_nics(struct replay_job *job, struct replay_nic *nics)
{
    size_t count = 0;

    for (int r = 0; r < job->comm->size; r++) {
        kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
        if (kvf_peer_query(kvf_mpi_peer(job->mpi, r), &attr) == KVF_OK &&
            attr.locality == KVF_LOCALITY_CROSS && attr.bytes_read + attr.bytes_written > 0) {
            add_nic(nics, &count, attr.wire[0] != '\0' ? attr.wire : "unknown",
                    attr.bytes_read + attr.bytes_written);
        }
    }
    return count;
}

static int gather_nics(struct replay_job *job, struct replay_report *report, uint64_t *lens)
{
    size_t ranks = (size_t)job->comm->size, own = 0, total = 0;
    struct replay_nic *mine = calloc(ranks, sizeof(*mine));
    void *all = NULL;
    char text[REPLAY_TEXT_LEN];
    int rc = kvfi_replay_agree(job->comm, mine == NULL, "no memory", text);

    if (rc == 0) {
        own = own_nics(job, mine);
        rc = kvfi_replay_gatherv(job->comm, mine, own * sizeof(*mine), &all, lens);
    }
    free(mine);
    if (rc != 0 || job->comm->rank != 0) {
        return rc != 0 ? -1 : 0;
    }
    for (size_t r = 0; r < ranks; r++) {
        total += lens[r] / sizeof(struct replay_nic);
    }
    report->nics = all; /* folded in place: a name's first entry is never behind the one read */
    for (size_t i = 0; i < total; i++) {
        struct replay_nic one = ((struct replay_nic *)all)[i];
        add_nic(report->nics, &report->nic_count, one.name, one.bytes);
    }
    return 0;
}

static void find_net(struct replay_job *job, struct replay_report *report)
{
    const char *name, *value, *text;

    snprintf(report->net, sizeof(report->net), "%s", job->opts->net != NULL ? job->opts->net : "auto");
    for (uint32_t i = 0; kvf_engine_setting(job->engine, i, &name, &value, &text) == KVF_OK; i++) {
        if (strcmp(name, "KVFERRY_NET") == 0) {
            snprintf(report->net, sizeof(report->net), "%s", value);
        }
    }
}

/* ------------------------------------------------------------------- judging */

static uint64_t sum_of(const uint64_t *values, size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++) {
        sum += values[i];
    }
    return sum;
}

static void judge_sums(const struct replay_job *job, struct replay_report *report)
{
    size_t ranks = (size_t)job->comm->size;
    uint64_t bytes = report->sum.bytes, paths = 0;
    uint64_t places =
        report->counters.self_bytes + report->counters.node_bytes + report->counters.cross_bytes;
    uint64_t matrix = sum_of(report->matrix, ranks * ranks);

    for (int path = 0; path < KVF_PATH_COUNT; path++) {
        paths += report->flows[path].bytes;
    }
    if (paths != bytes || places != bytes || matrix != bytes) {
        problem(report,
                "the counts of moved bytes differ: batches %" PRIu64 ", paths %" PRIu64
                ", localities %" PRIu64 ", matrix %" PRIu64,
                bytes, paths, places, matrix);
    }
    if (job->opts->verify == REPLAY_VERIFY_ALL &&
        report->sum.verified_bytes + report->sum.stale_bytes != bytes) {
        problem(report, "%" PRIu64 " bytes were moved, but %" PRIu64 " verified and %" PRIu64 " stale", bytes,
                report->sum.verified_bytes, report->sum.stale_bytes);
    }
}

static void judge(const struct replay_job *job, const char *failure, struct replay_report *report)
{
    const struct replay_stats *sum = &report->sum;
    uint64_t wanted = job->trace->request_count - job->shape->refused;

    report->complete = sum->requests == wanted && failure == NULL && sum->stopped == 0;
    if (failure != NULL) {
        problem(report, "%s", failure);
    } else if (sum->stopped != 0) {
        problem(report, "ended early by a signal: %" PRIu64 " of %" PRIu64 " requests were served",
                sum->requests, wanted);
    } else if (sum->requests != wanted) {
        problem(report, "%" PRIu64 " of %" PRIu64 " requests were served", sum->requests, wanted);
    } else if (wanted == 0) {
        problem(report, "no request was served: all are larger than a pool (--blocks)");
    }
    if (sum->mismatched_bytes > 0) {
        problem(report, "%" PRIu64 " wrong byte%s%s; the first in %s", sum->mismatched_bytes,
                sum->mismatched_bytes == 1 ? "" : "s",
                sum->canaries > 0 ? ", some of them beside the blocks" : "", sum->first_wrong);
    }
    if (sum->stale_blocks > 0 && !job->opts->no_pin) {
        problem(report, "%" PRIu64 " block%s went stale while pinned", sum->stale_blocks,
                sum->stale_blocks == 1 ? "" : "s");
    }
    if (failure == NULL) { /* what a failed pull moved is in the counters only */
        judge_sums(job, report);
    }
    if (job->opts->inject != REPLAY_INJECT_NONE && sum->injected == 0 && report->complete) {
        problem(report, "--inject %s: the fault was not put in", kvfi_replay_inject_names[job->opts->inject]);
    }
}

/* What the ranks' engines counted. */
static kvf_status_t gather_counters(struct replay_job *job, struct replay_report *report)
{
    kvf_status_t status = kvf_mpi_matrix(job->mpi, report->matrix);

    report->counters.struct_size = sizeof(report->counters);
    if (status == KVF_OK) {
        status = kvf_mpi_totals(job->mpi, &report->counters);
    }
    for (int path = KVF_PATH_NONE + 1; status == KVF_OK && path < KVF_PATH_COUNT; path++) {
        report->flows[path].struct_size = sizeof(report->flows[path]);
        status = kvf_mpi_flow(job->mpi, (kvf_path_t)path, &report->flows[path]);
    }
    return status;
}

int kvfi_replay_report_gather(struct replay_job *job, double seconds, const char *failure,
                              struct replay_report *report_p, char text_p[REPLAY_TEXT_LEN])
{
    size_t ranks = (size_t)job->comm->size;
    uint64_t *lens = calloc(ranks, sizeof(*lens));
    int code;

    memset(report_p, 0, sizeof(*report_p));
    report_p->seconds = seconds;
    report_p->matrix = calloc(ranks * ranks, sizeof(*report_p->matrix));
    code = kvfi_replay_agree(job->comm, lens == NULL || report_p->matrix == NULL, "no memory", text_p);
    if (code == 0 && (gather_stats(job, report_p) != 0 || gather_pulls(job, report_p, lens) != 0 ||
                      gather_nics(job, report_p, lens) != 0)) {
        snprintf(text_p, REPLAY_TEXT_LEN, "no memory for the report");
        code = KVFI_EXIT_WRONG;
    }
    if (code == 0 && gather_counters(job, report_p) != KVF_OK) {
        snprintf(text_p, REPLAY_TEXT_LEN, "%s", kvf_last_error());
        code = KVFI_EXIT_WRONG;
    }
    free(lens);
    if (code == 0 && job->comm->rank == 0) {
        find_net(job, report_p);
        judge(job, failure, report_p);
    }
    return code;
}

void kvfi_replay_report_free(struct replay_report *report)
{
    free(report->matrix);
    free(report->nics);
    report->matrix = NULL;
    report->nics = NULL;
}
