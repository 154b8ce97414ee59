/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Clocks, what is made of many times (order, median, quantiles), and the library's sentence as the
 * tool's. Nothing blocks.
 */
#include "config.h"

#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "../cli.h"

int kvfi_bench_fail_status(const char *what, kvf_status_t status)
{
    return kvfi_cli_fail("%s: %s: %s", what, kvf_status_name(status), kvf_last_error());
}

double kvfi_bench_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double kvfi_bench_cpu(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec * 1e-6 + (double)u.ru_stime.tv_sec +
           (double)u.ru_stime.tv_usec * 1e-6;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

void kvfi_bench_sort(double *values, size_t count)
{
    if (count > 1) {
        qsort(values, count, sizeof(*values), by_value);
    }
}

double kvfi_bench_sorted_quantile(const double *sorted, size_t count, double q)
{
    if (count == 0) {
        return NAN;
    }
    size_t at = (size_t)ceil(q * (double)count);
    at = at == 0 ? 0 : at - 1;
    return sorted[at < count ? at : count - 1];
}

double kvfi_bench_median(const double *values, size_t count)
{
    double *copy = count == 0 ? NULL : malloc(count * sizeof(*copy)), median;

    if (copy == NULL) {
        return NAN;
    }
    memcpy(copy, values, count * sizeof(*copy));
    kvfi_bench_sort(copy, count);
    median = count % 2 != 0 ? copy[count / 2] : (copy[count / 2 - 1] + copy[count / 2]) / 2;
    free(copy);
    return median;
}

void kvfi_bench_figures_free(struct bench_figures *figures)
{
    free(figures->runs);
    for (size_t i = 0; i < BENCH_PEERS; i++) {
        free(figures->peers[i].runs);
    }
    free(figures->latency);
    free(figures->beside.latency);
    free(figures->layer);
    free(figures->layer_floor);
    *figures = (struct bench_figures){0};
}
