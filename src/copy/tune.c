/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What is in force, and the look. Values are published as a whole behind one pointer and never freed:
 * copies under way keep the ones that they began with. kvfi_tune_load() reads files; the first call of
 * kvfi_tune() too, and it measures the clock for a twentieth of a millisecond.
 */
#define _GNU_SOURCE
#include "copy/tune.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "copy/calibration.h"
#include "copy/ticks.h"

#define LOADS       4u   /* of each side */
#define ASIDE_FROM  256u /* bytes of a piece that has room for a second line */
#define ASIDE_MOST  2048u
#define COLD_NS     90u
#define LINEAR_FROM (UINT64_C(128) << 10)
#define CLOCK_NS    50000u

typedef struct known {
    kvfi_tune_t tune;
    struct known *next;
} known_t;

static _Atomic(const kvfi_tune_t *) in_force;
static known_t *known;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Ticks in 1024 nanoseconds. */
static uint64_t clock_rate(void)
{
    static uint64_t rate;
    uint64_t begin_ns, begin;

    if (rate)
        return rate;
    begin_ns = kvfi_now_ns();
    begin = kvfi_ticks();
    while (kvfi_now_ns() - begin_ns < CLOCK_NS)
        ;
    rate = (kvfi_ticks() - begin) * 1024 / (kvfi_now_ns() - begin_ns);
    return rate = rate ? rate : 1;
}

kvfi_tune_t kvfi_tune_default(const kvfi_host_t *host)
{
    return (kvfi_tune_t){.kernel = kvfi_kernel_find("auto"),
                         .probe_from = host->l2 / 4,
                         .stream_from = host->last,
                         .linear_from = LINEAR_FROM,
                         .cold_ns = COLD_NS,
                         .costs = kvfi_costs_built_in};
}

/* A file that nobody named need not be there. What is wrong with one is told once. */
static void read_calibration(const kvfi_host_t *host, kvfi_tune_t *tune)
{
    static char told[sizeof tune->file];
    char path[sizeof tune->file];
    const char *why;

    if (kvfi_calibration_path(host, path, sizeof path) || !path[0] || !strcmp(path, "off"))
        return;
    if (!getenv("KVFERRY_CALIBRATION") && access(path, F_OK))
        return;
    why = kvfi_calibration_read(path, host, tune);
    if (!why) {
        memcpy(tune->file, path, sizeof path);
    } else if (strcmp(told, path)) {
        memcpy(told, path, sizeof path);
        kvfi_log(KVFI_LOG_WARN, "the calibration %s is not used: %s; kvf_info --calibrate makes one", path,
                 why);
    }
}

static void read_environment(kvfi_tune_t *tune)
{
    const char *kernel = getenv("KVFERRY_COPY_KERNEL"), *stream_from = getenv("KVFERRY_STREAM_FROM");
    uint64_t bytes = stream_from ? strtoull(stream_from, NULL, 10) : 0;

    if (kernel && kvfi_kernel_find(kernel))
        tune->kernel = kvfi_kernel_find(kernel);
    if (bytes)
        tune->probe_from = tune->stream_from = bytes;
}

static int same(const kvfi_tune_t *a, const kvfi_tune_t *b)
{
    return a->kernel == b->kernel && a->probe_from == b->probe_from && a->stream_from == b->stream_from &&
           a->linear_from == b->linear_from && a->cold_ticks == b->cold_ticks &&
           !memcmp(&a->costs, &b->costs, sizeof a->costs) && !strcmp(a->file, b->file);
}

static int load_locked(void)
{
    kvfi_host_t host = kvfi_host_look();
    kvfi_tune_t tune = kvfi_tune_default(&host);
    known_t *entry;

    read_calibration(&host, &tune);
    read_environment(&tune);
    tune.cold_ticks = tune.cold_ns * clock_rate() / 1024;
    for (entry = known; entry && !same(&entry->tune, &tune); entry = entry->next)
        ;
    if (!entry) {
        entry = malloc(sizeof *entry);
        if (!entry)
            return -1;
        *entry = (known_t){tune, known};
        known = entry;
    }
    atomic_store_explicit(&in_force, &entry->tune, memory_order_release);
    return 0;
}

int kvfi_tune_load(void)
{
    int result;

    pthread_mutex_lock(&lock);
    result = load_locked();
    pthread_mutex_unlock(&lock);
    return result;
}

__attribute__((hot)) const kvfi_tune_t *kvfi_tune(void)
{
    static const kvfi_tune_t simple = {.kernel = &kvfi_kernel_plain,
                                       .probe_from = UINT64_MAX,
                                       .stream_from = UINT64_MAX,
                                       .linear_from = UINT64_MAX};
    const kvfi_tune_t *tune = atomic_load_explicit(&in_force, memory_order_acquire);

    if (tune)
        return tune;
    return kvfi_tune_load() ? &simple : atomic_load_explicit(&in_force, memory_order_acquire);
}

/* The bytes by which a second line lies aside of the first: half a piece or a page, so that no prefetcher
 * brings it along. */
static uint64_t aside_of(uint64_t off, uint64_t len)
{
    uint64_t aside = ASIDE_MOST;

    while (aside > len / 2)
        aside /= 2;
    return off & aside || off + aside >= len ? -aside : aside;
}

/* Lines of LOADS pieces of each side; aside: others of the same pages, or of the pieces next to those that
 * are too short. */
static void choose_lines(const kvfi_piece_t *pieces, unsigned count, int aside,
                         const volatile char *at[2 * LOADS])
{
    for (unsigned i = 0; i < LOADS; i++) {
        unsigned n = (unsigned)((uint64_t)i * count / LOADS);
        const kvfi_piece_t *piece = &pieces[n];
        uint64_t off = piece->len / (2 * LOADS) * (2 * i + 1);

        if (aside && piece->len >= ASIDE_FROM)
            off += aside_of(off, piece->len);
        else if (aside && n + 1 < count && pieces[n + 1].len > off)
            piece++;
        at[2 * i] = piece->src + off;
        at[2 * i + 1] = piece->dst + off;
    }
}

static uint64_t load(const volatile char *const *at, unsigned count)
{
    uint64_t begin = kvfi_ticks();

    for (unsigned i = 0; i < count; i++)
        (void)*at[i];
    return kvfi_ticks() - begin;
}

uint64_t kvfi_tune_look(const kvfi_piece_t *pieces, unsigned count)
{
    const volatile char *at[2 * LOADS];
    uint64_t some, others;

    choose_lines(pieces, count, 0, at);
    load(at, 2 * LOADS);
    choose_lines(pieces, count, 1, at);
    some = load(at, LOADS);
    others = load(at + LOADS, LOADS);
    return some < others ? some : others;
}

int kvfi_tune_seems_cold(const kvfi_tune_t *tune, const kvfi_piece_t *pieces, unsigned count)
{
    const volatile char *at[2 * LOADS];

    choose_lines(pieces, count, 0, at);
    return load(at, 2 * LOADS) > tune->cold_ticks;
}

int kvfi_tune_cold(const kvfi_tune_t *tune, const kvfi_piece_t *pieces, unsigned count)
{
    return kvfi_tune_seems_cold(tune, pieces, count) && kvfi_tune_look(pieces, count) > tune->cold_ticks;
}
