/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The files that a tool writes: out.h says what this room promises. What an output must not be is a file
 * that the tool has open already: the shell would have put standard output, say, into the file that the
 * rename takes away. Blocks as the writing of files does, and opening a FIFO until somebody reads.
 */
#include "config.h"

#include "out.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <stdlib.h>

#include "cli.h"

static int cannot(const char *what, const char *path, const char *why)
{
    return kvfi_cli_fail("%s: cannot write %s: %s", what, path, why);
}

bool kvfi_out_is_stdout(const char *path)
{
    return path != NULL && strcmp(path, "-") == 0;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static int check_streams(const char *what, const char *path, const struct stat *st)
{
    static const char *const names[] = {"input", "output", "error"};
    struct stat own;

    for (int fd = 0; fd < 3; fd++) {
        if (fstat(fd, &own) == 0 && same_file(&own, st)) {
            return kvfi_cli_fail("%s: %s is the file of standard %s already%s", what, path, names[fd],
                                 fd == 1 ? ": - is its name" : "");
        }
    }
    return 0;
}

/* Past links, in place; *mode_p: of what is there, 0 if nothing is. */
static int locate(const char *what, const char *path, char *place, mode_t *mode_p)
{
    struct stat st;

    *mode_p = 0;
    if (stat(path, &st) != 0) {
        if (errno != ENOENT) {
            return cannot(what, path, strerror(errno));
        }
        if (lstat(path, &st) == 0) {
            return cannot(what, path, "it is a symbolic link to nothing");
        }
        if (snprintf(place, PATH_MAX, "%s", path) >= PATH_MAX) {
            return cannot(what, path, strerror(ENAMETOOLONG));
        }
        return 0;
    }
    *mode_p = st.st_mode;
    if (S_ISDIR(st.st_mode)) {
        return cannot(what, path, strerror(EISDIR));
    }
    if (access(path, W_OK) != 0 || (S_ISREG(st.st_mode) && realpath(path, place) == NULL)) {
        return cannot(what, path, strerror(errno));
    }
    return S_ISREG(st.st_mode) ? check_streams(what, path, &st) : 0;
}

/* A new file beside the place, with the mode of what is there. -1: errno says why. */
static int open_fresh(const char *place, mode_t mode, char *fresh)
{
    struct timespec now;
    int fd;

    clock_gettime(CLOCK_REALTIME, &now);
    if (snprintf(fresh, PATH_MAX, "%s.%llx%08lx", place, (long long)now.tv_sec, now.tv_nsec) >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0 && mode != 0) {
        fchmod(fd, mode & 0777);
    }
    return fd;
}

int kvfi_out_check(const char *what, const char *path)
{
    char place[PATH_MAX], fresh[PATH_MAX];
    mode_t mode;
    int fd;

    if (kvfi_out_is_stdout(path)) {
        return 0;
    }
    if (locate(what, path, place, &mode) != 0) {
        return -1;
    }
    if (mode != 0 && !S_ISREG(mode)) {
        return 0;
    }
    fd = open_fresh(place, mode, fresh);
    if (fd < 0) {
        return cannot(what, path, strerror(errno));
    }
    close(fd);
    unlink(fresh);
    return 0;
}

int kvfi_out_apart(const char *what, const char *path, const char *other_what, const char *other)
{
    struct stat a, b;

    if (other == NULL || kvfi_out_is_stdout(path) || kvfi_out_is_stdout(other)) {
        return 0;
    }
    if (strcmp(path, other) == 0 || (stat(path, &a) == 0 && stat(other, &b) == 0 && same_file(&a, &b))) {
        return kvfi_cli_fail("%s: %s is the file of %s, too", what, path, other_what);
    }
    return 0;
}

int kvfi_out_open(const char *what, const char *path, struct kvfi_out *out_p)
{
    mode_t mode;
    int fd = -1;

    *out_p = (struct kvfi_out){.what = what, .path = path};
    if (kvfi_out_is_stdout(path)) {
        out_p->file = stdout;
        return 0;
    }
    if (locate(what, path, out_p->place, &mode) != 0) {
        return -1;
    }
    if (mode != 0 && !S_ISREG(mode)) {
        out_p->file = fopen(path, "we");
    } else if ((fd = open_fresh(out_p->place, mode, out_p->fresh)) >= 0) {
        out_p->file = fdopen(fd, "w");
    }
    if (out_p->file == NULL) {
        int why = errno;

        if (fd >= 0) {
            close(fd);
            unlink(out_p->fresh);
        }
        return cannot(what, path, strerror(why));
    }
    return 0;
}

const char *kvfi_out_name(const struct kvfi_out *out)
{
    return out->fresh[0] != '\0' ? out->fresh : out->path;
}

int kvfi_out_close(struct kvfi_out *out)
{
    bool bad = fflush(out->file) != 0 || ferror(out->file);
    int why = errno;

    if (out->file != stdout && fclose(out->file) != 0 && !bad) {
        bad = true;
        why = errno;
    }
    out->file = NULL;
    if (!bad && out->fresh[0] != '\0' && rename(out->fresh, out->place) != 0) {
        bad = true;
        why = errno;
    }
    if (bad && out->fresh[0] != '\0') {
        unlink(out->fresh);
    }
    return bad ? cannot(out->what, out->path, strerror(why)) : 0;
}

void kvfi_out_drop(struct kvfi_out *out)
{
    if (out->file != NULL && out->file != stdout) {
        fclose(out->file);
    }
    out->file = NULL;
    if (out->fresh[0] != '\0') {
        unlink(out->fresh);
    }
}
