/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The progress bar: bar.h says for whom. Drawn at most ten times a second.
 */
#include "config.h"

#include "bar.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../cli.h"

#define WIDTH 30

bool kvfi_replay_bar_wanted(void)
{
    char path[64], target[128], own[128];
    ssize_t len, own_len;

    if (isatty(STDERR_FILENO)) {
        return true;
    }
    own_len = readlink("/proc/self/fd/2", own, sizeof(own) - 1);
    if (own_len < 5 || strncmp(own, "pipe:", 5) != 0) {
        return false; /* a file: nobody watches */
    }
    snprintf(path, sizeof(path), "/proc/%d/fd/2", (int)getppid());
    len = readlink(path, target, sizeof(target) - 1);
    if (len <= 0) {
        return false;
    }
    target[len] = '\0';
    return strncmp(target, "/dev/pts/", 9) == 0 || strncmp(target, "/dev/tty", 8) == 0;
}

void kvfi_replay_bar_draw(struct replay_bar *bar, uint64_t requests, uint64_t bytes, uint64_t now_ns)
{
    char cells[WIDTH + 1], moved[32], left[32] = "";
    double elapsed_s = (double)(now_ns - bar->begin_ns) / 1e9;
    uint64_t filled = bar->total > 0 ? requests * WIDTH / bar->total : 0;

    if (now_ns - bar->drawn_ns < 100000000 || bar->total == 0) {
        return;
    }
    bar->drawn_ns = now_ns;
    memset(cells, '.', WIDTH);
    memset(cells, '#', filled < WIDTH ? filled : WIDTH);
    cells[WIDTH] = '\0';
    if (elapsed_s > 1 && requests > 0) { /* before that it is a guess from nothing */
        snprintf(left, sizeof(left), ", %.0f s to go",
                 elapsed_s * (double)(bar->total - requests) / (double)requests);
    }
    fprintf(stderr, "\r[%s] %3" PRIu64 "%%  %" PRIu64 " of %" PRIu64 " requests, %s%s   ", cells,
            requests * 100 / bar->total, requests, bar->total, kvfi_cli_bytes(bytes, moved, sizeof(moved)),
            left);
    fflush(stderr);
}

void kvfi_replay_bar_clear(struct replay_bar *bar)
{
    if (bar->drawn_ns != 0) {
        fprintf(stderr, "\r%*s\r", 100, "");
        fflush(stderr);
    }
}
