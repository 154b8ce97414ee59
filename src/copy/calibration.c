/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The file of a calibration: lines of a name and a value in a fixed order, first those that say which
 * machine it is of, last one that says that it is whole. Anything else is damage, and the file is
 * left alone. Reads and writes one small file; both may block as files do.
 */
#define _GNU_SOURCE
#include "copy/calibration.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#define KIND     "kvferry calibration " /* of any release */
#define TITLE    KIND "2"
#define TEXT_MAX 4096

/* Machines of one kind have one file. */
static uint64_t hash_of(const kvfi_host_t *host)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    char text[160];

    snprintf(text, sizeof text, "%s %" PRIu64 " %" PRIu64, host->model, host->l2, host->last);
    for (const char *at = text; *at; at++)
        hash = (hash ^ (unsigned char)*at) * UINT64_C(1099511628211);
    return hash;
}

int kvfi_calibration_path(const kvfi_host_t *host, char *path, size_t len)
{
    const char *named = getenv("KVFERRY_CALIBRATION"), *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    int need;

    if (named)
        need = snprintf(path, len, "%s", named);
    else if (cache && cache[0] == '/')
        need = snprintf(path, len, "%s/kvferry/calibration-%016" PRIx64, cache, hash_of(host));
    else if (home && home[0] == '/')
        need = snprintf(path, len, "%s/.cache/kvferry/calibration-%016" PRIx64, home, hash_of(host));
    else
        need = snprintf(path, len, "%s", "");
    return (size_t)need < len ? 0 : -1;
}

/* A line of each path that something is known of: fixed_ns, op_ns, picoseconds of a piece by size. */
static int costs_text(const kvfi_costs_t *costs, char *text, size_t len)
{
    int at = snprintf(text, len, "wake_ns %" PRIu64 "\n", costs->wake_ns);

    for (int path = KVF_PATH_SELF; path < KVF_PATH_COUNT; path++) {
        const kvfi_cost_t *cost = &costs->path[path];

        if (!cost->fixed_ns)
            continue;
        at += snprintf(text + at, len - (size_t)at, "cost_%s %" PRIu64 " %" PRIu64,
                       kvf_path_name((kvf_path_t)path), cost->fixed_ns, cost->op_ns);
        for (int i = 0; i < KVFI_COST_SIZES; i++)
            at += snprintf(text + at, len - (size_t)at, " %" PRIu64, cost->piece_ps[i]);
        at += snprintf(text + at, len - (size_t)at, "\n");
    }
    return at;
}

static int text_of(const kvfi_host_t *host, const kvfi_tune_t *tune, char *text, size_t len)
{
    int at, more;

    at = snprintf(text, len,
                  TITLE "\nmodel %s\nl2_bytes %" PRIu64 "\nlast_bytes %" PRIu64 "\nkernel %s\n"
                        "probe_from_bytes %" PRIu64 "\nstream_from_bytes %" PRIu64 "\n"
                        "linear_from_bytes %" PRIu64 "\ncold_ns %" PRIu64 "\n",
                  host->model, host->l2, host->last, tune->kernel->name, tune->probe_from, tune->stream_from,
                  tune->linear_from, tune->cold_ns);
    more = costs_text(&tune->costs, text + at, len - (size_t)at);
    return at + more + snprintf(text + at + more, len - (size_t)(at + more), "end\n");
}

/* Step over a line "name value"; its value, NULL if it is another line. */
static char *take(char **at_p, const char *name)
{
    size_t len = strlen(name);
    char *line = *at_p, *end = strchr(line, '\n');

    if (!end || strncmp(line, name, len) || line[len] != ' ')
        return NULL;
    *end = '\0';
    *at_p = end + 1;
    return line + len + 1;
}

static int take_number(char **at_p, const char *name, uint64_t least, uint64_t *number_p)
{
    char *text = take(at_p, name), *end;

    if (!text || *text < '0' || *text > '9')
        return -1;
    errno = 0;
    *number_p = strtoull(text, &end, 10);
    return *end || errno || *number_p < least ? -1 : 0;
}

/* Numbers with one space in between, each at least `least` and small enough for sums of 2^32. */
static int parse_numbers(char *text, uint64_t least, uint64_t *numbers, int count)
{
    for (int i = 0; i < count; i++) {
        if (*text < '0' || *text > '9')
            return -1;
        errno = 0;
        numbers[i] = strtoull(text, &text, 10);
        if (errno || numbers[i] < least || numbers[i] > UINT64_C(1) << 50 ||
            *text != (i + 1 < count ? ' ' : '\0'))
            return -1;
        text++;
    }
    return 0;
}

/* Lines of paths may be missing: what is built in stays. */
static int parse_costs(char **at_p, kvfi_costs_t *costs)
{
    if (take_number(at_p, "wake_ns", 0, &costs->wake_ns) || costs->wake_ns > UINT64_C(1) << 50)
        return -1;
    for (int path = KVF_PATH_SELF; path < KVF_PATH_COUNT; path++) {
        kvfi_cost_t *cost = &costs->path[path];
        uint64_t numbers[2 + KVFI_COST_SIZES];
        char name[32], *text;

        snprintf(name, sizeof name, "cost_%s", kvf_path_name((kvf_path_t)path));
        text = take(at_p, name);
        if (!text)
            continue;
        if (parse_numbers(text, 1, numbers, 2 + KVFI_COST_SIZES))
            return -1;
        cost->fixed_ns = numbers[0];
        cost->op_ns = numbers[1];
        memcpy(cost->piece_ps, numbers + 2, sizeof cost->piece_ps);
    }
    return 0;
}

static const char *parse(char *text, const kvfi_host_t *host, kvfi_tune_t *tune)
{
    static const char damaged[] = "it is damaged";
    uint64_t l2, last;
    char *at = text, *model, *kernel;

    if (strncmp(at, TITLE "\n", sizeof TITLE))
        return "it is no calibration of this release";
    at += sizeof TITLE;
    model = take(&at, "model");
    if (!model || take_number(&at, "l2_bytes", 1, &l2) || take_number(&at, "last_bytes", 1, &last))
        return damaged;
    if (strcmp(model, host->model) || l2 != host->l2 || last != host->last)
        return "it is of another kind of machine";
    kernel = take(&at, "kernel");
    if (!kernel || take_number(&at, "probe_from_bytes", 1, &tune->probe_from) ||
        take_number(&at, "stream_from_bytes", tune->probe_from, &tune->stream_from) ||
        take_number(&at, "linear_from_bytes", 1, &tune->linear_from) ||
        take_number(&at, "cold_ns", 1, &tune->cold_ns) || tune->cold_ns > 1000000 ||
        parse_costs(&at, &tune->costs) || strcmp(at, "end\n"))
        return damaged;
    tune->kernel = kvfi_kernel_find(kernel);
    return tune->kernel ? NULL : "its kernel is none that this processor can run";
}

/* The beginning of a file as a string; NULL, or why not. The name is a user's: it may be a FIFO without a
 * writer, a directory, a device that acts when it is opened. */
static const char *read_regular(const char *path, char *text, size_t size, ssize_t *len_p)
{
    static const char other[] = "it is not a regular file";
    const char *why = NULL;
    struct stat st;
    int fd;

    if (stat(path, &st))
        return strerror(errno);
    if (!S_ISREG(st.st_mode))
        return other;
    fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return strerror(errno);
    if (!fstat(fd, &st) && !S_ISREG(st.st_mode))
        why = other;
    else if ((*len_p = read(fd, text, size - 1)) < 0)
        why = strerror(errno);
    close(fd);
    text[why ? 0 : *len_p] = '\0';
    return why;
}

const char *kvfi_calibration_read(const char *path, const kvfi_host_t *host, kvfi_tune_t *tune_p)
{
    kvfi_tune_t tune = *tune_p;
    char text[TEXT_MAX + 1];
    ssize_t len;
    const char *why = read_regular(path, text, sizeof text, &len);

    if (!why)
        why = parse(text, host, &tune);
    if (!why)
        *tune_p = tune;
    return why;
}

int kvfi_calibration_make_folders(const char *path)
{
    char folder[PATH_MAX];

    if (strlen(path) >= sizeof folder)
        return ENAMETOOLONG;
    strcpy(folder, path);
    for (char *at = folder + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        if (mkdir(folder, 0700) && errno != EEXIST) {
            int error = errno;

            if (access(folder, X_OK))
                return error;
        }
        *at = '/';
    }
    return 0;
}

static int write_whole(int fd, const char *text, size_t len)
{
    int fits = len <= kvfi_file_most(); /* else the host gets SIGXFSZ */
    ssize_t wrote = fits ? write(fd, text, len) : 0;
    int error = !fits ? EFBIG : wrote < 0 ? errno : (size_t)wrote < len ? ENOSPC : 0;

    if (fchmod(fd, 0644) && !error)
        error = errno;
    if (close(fd) && !error)
        error = errno;
    return error;
}

/* The name past symbolic links, in place (PATH_MAX bytes). NULL if a calibration may be written there,
 * because nothing, an empty file or a calibration of any release is there; else why not. */
static const char *find_place(const char *path, char *place)
{
    char text[sizeof KIND];
    struct stat st;
    ssize_t len;
    const char *why;

    if (!realpath(path, place)) {
        if (errno != ENOENT || strlen(path) >= PATH_MAX)
            return strerror(errno == ENOENT ? ENAMETOOLONG : errno);
        strcpy(place, path);
        return lstat(path, &st) ? NULL : "it is a symbolic link to nothing";
    }
    why = read_regular(place, text, sizeof text, &len);
    if (why || !len || !strcmp(text, KIND))
        return why;
    return "it is a file of another kind";
}

/* A new file beside the place, its name in fresh (PATH_MAX bytes). -1: errno says why. */
static int open_fresh(const char *place, char *fresh)
{
    if (snprintf(fresh, PATH_MAX, "%s.XXXXXX", place) < PATH_MAX)
        return mkostemp(fresh, O_CLOEXEC);
    errno = ENAMETOOLONG;
    return -1;
}

const char *kvfi_calibration_try(const char *path)
{
    char place[PATH_MAX], fresh[PATH_MAX];
    const char *why = find_place(path, place);
    int fd = why ? -1 : open_fresh(place, fresh);

    if (fd < 0)
        return why ? why : strerror(errno);
    close(fd);
    unlink(fresh);
    return NULL;
}

const char *kvfi_calibration_write(const char *path, const kvfi_host_t *host, const kvfi_tune_t *tune)
{
    char text[TEXT_MAX], place[PATH_MAX], fresh[PATH_MAX];
    const char *why = find_place(path, place);
    int len = text_of(host, tune, text, sizeof text), fd = why ? -1 : open_fresh(place, fresh), error;

    if (fd < 0)
        return why ? why : strerror(errno);
    error = write_whole(fd, text, (size_t)len);
    if (!error && rename(fresh, place))
        error = errno;
    if (error)
        unlink(fresh);
    return error ? strerror(error) : NULL;
}
