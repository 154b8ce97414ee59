/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The files that a tool writes: judged before the work, opened when there is something to write, and
 * there whole or not at all. What is a regular file, or will be one, is written beside its place and
 * renamed; a device, a pipe and "-", standard output, are written straight. Symbolic links are followed.
 * All of these return 0, or -1 with a sentence in kvfi_cli_error() that names the option and the file.
 */
#ifndef KVFI_TOOLS_OUT_H
#define KVFI_TOOLS_OUT_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

struct kvfi_out {
    const char *what, *path; /* "--json", and the file as it was named */
    FILE *file;              /* NULL: not open */
    char place[PATH_MAX];    /* past links */
    char fresh[PATH_MAX];    /* what is written until it is whole; "": straight */
};

/* Whether it can be written. Leaves it as it is. */
int kvfi_out_check(const char *what, const char *path);

/* Whether it is another file than one that the tool reads or writes as well; other may be NULL or "-". */
int kvfi_out_apart(const char *what, const char *path, const char *other_what, const char *other);

bool kvfi_out_is_stdout(const char *path); /* NULL: no */

int kvfi_out_open(const char *what, const char *path, struct kvfi_out *out_p);

/* By which name another program writes it in place of out->file. */
const char *kvfi_out_name(const struct kvfi_out *out);

/* Ends it, and tells a full disk: then what was there stays. */
int kvfi_out_close(struct kvfi_out *out);

void kvfi_out_drop(struct kvfi_out *out); /* what was there stays */

#endif
