/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a death leaves: see left.h. All of it is counted in the namespaces of this process.
 */
#include "left.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int lines_with(const char *file, const char *text)
{
    FILE *f = fopen(file, "r");
    char line[512];
    int count = 0;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        count += strstr(line, text) != NULL;
    }
    if (f != NULL) {
        fclose(f);
    }
    return count;
}

static int names_in(const char *folder)
{
    DIR *d = opendir(folder);
    int count = 0;

    while (d != NULL && readdir(d) != NULL) {
        count++;
    }
    if (d != NULL) {
        closedir(d);
    }
    return count;
}

/* With nobody attached: between shmget() and the mark for removal its maker died. */
unsigned segments_of_nobody(void)
{
    FILE *f = fopen("/proc/sysvipc/shm", "r");
    char line[512];
    unsigned count = 0, attached;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        count += sscanf(line, "%*s %*s %*s %*s %*s %*s %u", &attached) == 1 && attached == 0;
    }
    if (f != NULL) {
        fclose(f);
    }
    return count;
}

left_t left_look(const pid_t pids[2])
{
    left_t now = {lines_with("/proc/sysvipc/shm", "\n"),
                  names_in("/dev/shm"),
                  lines_with("/proc/net/unix", "@"),
                  {0, 0}};
    char fds[64];

    for (int i = 0; i < 2; i++) {
        snprintf(fds, sizeof(fds), "/proc/%d/fd", (int)pids[i]);
        now.fds[i] = names_in(fds);
    }
    return now;
}

static int more(const left_t *now, const left_t *was)
{
    return now->segments > was->segments || now->files > was->files || now->sockets > was->sockets ||
           now->fds[0] > was->fds[0] || now->fds[1] > was->fds[1];
}

/* Waits until nothing is there that was not; what a death leaves is taken back within a second or two. */
int left_settled(const left_t *was, const pid_t pids[2], unsigned ms, left_t *now_p)
{
    for (unsigned i = 0; i <= ms / 5; i++) {
        *now_p = left_look(pids);
        if (!more(now_p, was)) {
            return 1;
        }
        usleep(5000);
    }
    return 0;
}
