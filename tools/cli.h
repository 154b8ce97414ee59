/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the tools' command lines share: options, numbers, sizes, fractions, names, JSON out.
 *
 * A parser returns 0, or -1 with a sentence that names the argument; kvfi_cli_error() holds it, and
 * the tool decides who prints it (in a job all ranks parse the same line, one of them speaks). The
 * output is set on success only. Nothing here exits, allocates or blocks but for the writing itself.
 */
#ifndef KVFI_TOOLS_CLI_H
#define KVFI_TOOLS_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* exit codes of every tool */
#define KVFI_EXIT_OK    0 /* the work was right */
#define KVFI_EXIT_WRONG 1 /* it was not, or could not be done */
#define KVFI_EXIT_USAGE 2 /* the command line is wrong */

/* The last error of this thread, "" if none. */
const char *kvfi_cli_error(void);

/* Set it. Returns -1. */
int kvfi_cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Before MPI is initialised: whether this process, rank 0 or no rank at all as the launcher's variables
 * say, is the one that prints. */
bool kvfi_cli_speaks(void);

/* Likewise: whether mpirun started more than this one process. */
bool kvfi_cli_in_job(void);

/* The next option as getopt_long gives it (the value of its `val`), -1 at the end, '?' with a sentence
 * for an unknown or ambiguous option, a value that is missing, or one that is not wanted. -h is --help. */
int kvfi_cli_next(int argc, char *const *argv, const struct option *longs);

/* "4096": decimal, within min..max. `what` is the argument's name, such as "--reps". */
int kvfi_cli_count(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *value_p);

/* "64K", "64KiB", "1.5M", "4096": bytes, within min..max; K, M, G, T are powers of 1024. */
int kvfi_cli_size(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *value_p);

/* "1/64", "1" or "0.25": above 0 and at most 1, in lowest terms. */
int kvfi_cli_fraction(const char *what, const char *text, uint64_t *num_p, uint64_t *den_p);

/* One of count names. The sentence lists them. */
int kvfi_cli_choice(const char *what, const char *text, const char *const *names, size_t count,
                    size_t *index_p);

/* Bytes for people, "1.25 GiB", into buf, which it returns. */
const char *kvfi_cli_bytes(uint64_t bytes, char *buf, size_t len);

/* A JSON writer. Keys are NULL inside an array. Numbers that JSON has no word for become null.
 * Text that is not UTF-8 is escaped byte by byte. */
struct kvfi_json {
    FILE *file;
    int indent; /* blanks a level; 0: all on one line */
    unsigned depth;
    bool filled[24]; /* the level has an item */
};

void kvfi_json_init(struct kvfi_json *json, FILE *file, int indent);
void kvfi_json_open(struct kvfi_json *json, const char *key, char bracket);      /* '{' or '[' */
void kvfi_json_close(struct kvfi_json *json, char bracket);                      /* '}' or ']' */
void kvfi_json_text(struct kvfi_json *json, const char *key, const char *value); /* NULL: null */
void kvfi_json_u64(struct kvfi_json *json, const char *key, uint64_t value);
void kvfi_json_i64(struct kvfi_json *json, const char *key, int64_t value);
void kvfi_json_real(struct kvfi_json *json, const char *key, double value);
void kvfi_json_bool(struct kvfi_json *json, const char *key, bool value);
void kvfi_json_null(struct kvfi_json *json, const char *key);

#endif
