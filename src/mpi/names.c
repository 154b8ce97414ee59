/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The sentences about ranks that are waited for in vain: the dead first, by rank, host and process, then
 * those that cannot be reached, those that left in order, those that gave up, and those of whom there is no
 * sign.
 */
#include "mpi/job.h"

#include <stdarg.h>
#include <stdio.h>

#define NAMED 4 /* ranks of a kind, at most */

typedef struct text {
    char *buf;
    size_t len, at;
} text_t;

__attribute__((format(printf, 2, 3))) static void add(text_t *text, const char *fmt, ...)
{
    va_list args;
    if (text->at < text->len) {
        va_start(args, fmt);
        int more = vsnprintf(text->buf + text->at, text->len - text->at, fmt, args);
        va_end(args);
        text->at += more > 0 ? (size_t)more : 0;
    }
}

/* What is said of a rank; a rank is of one kind. */
typedef enum kind {
    DEAD,
    LOST,
    LEFT,
    GAVE_UP,
    SILENT,
    KINDS
} kind_t;

static const char *const of_kind[KINDS] = {
    [DEAD] = "died",           [LOST] = "died or lost the connection",
    [LEFT] = "left in order",  [GAVE_UP] = "gave up",
    [SILENT] = "gave no sign",
};

static kind_t kind_of(const kvfi_mpi_line_t *line, int rank, kvf_peer_attr_t *attr_p)
{
    kvfi_mpi_end_t end = kvfi_mpi_end_of(line, rank, attr_p);
    kvfi_mpi_sign_t sign = kvfi_mpi_roll_of(line, rank);
    if (end == KVFI_MPI_DEAD && (line->engine || sign != KVFI_MPI_GAVE_UP)) {
        return DEAD;
    }
    if (sign == KVFI_MPI_GAVE_UP) {
        return GAVE_UP;
    }
    if (end == KVFI_MPI_LOST) {
        return LOST;
    }
    if (end == KVFI_MPI_LEFT) {
        return LEFT;
    }
    return sign == KVFI_MPI_SILENT ? SILENT : KINDS;
}

/* "rank 1 (host a, pid 7), rank 2 (host b, pid 8) and 3 others died", if there are any. */
static void list(const kvfi_mpi_line_t *line, kind_t kind, const char *before, text_t *text)
{
    int count = 0;
    for (int rank = 0; rank < line->size; rank++) {
        kvf_peer_attr_t attr;
        if (kind_of(line, rank, &attr) == kind && count++ < NAMED) {
            add(text, "%srank %d (host %.64s, pid %d)", count == 1 ? before : ", ", rank, attr.host,
                (int)attr.pid);
        }
    }
    if (count > NAMED) {
        add(text, " and %d others", count - NAMED);
    }
    if (count > 0) {
        add(text, " %s", of_kind[kind]);
    }
}

void kvfi_mpi_name_gone(const kvfi_mpi_line_t *line, const char *call, char *why, size_t len)
{
    text_t text = {why, len, 0};
    bool first = true;
    for (kind_t kind = DEAD; kind <= GAVE_UP; kind++) {
        size_t was = text.at;
        list(line, kind, first ? "" : "; ", &text);
        if (first && text.at > was) {
            add(&text, " before all %d ranks came (%s)", line->size, call);
            first = false;
        }
    }
}

void kvfi_mpi_name_missing(const kvfi_mpi_line_t *line, const char *call, uint64_t waited_ns, char *why,
                           size_t len)
{
    static const kind_t order[] = {DEAD, SILENT, LOST, LEFT, GAVE_UP};
    text_t text = {why, len, 0};
    add(&text, "not all of the %d ranks came in time (%s) while rank %d waited for %.3f s", line->size, call,
        line->rank, (double)waited_ns / 1e9);
    size_t bare = text.at;
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        list(line, order[i], text.at == bare ? ": " : "; ", &text);
    }
}
