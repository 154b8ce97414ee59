/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Rigs with copy threads: see threaded.h. Threads are told by their names in /proc.
 */
#include "threaded.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const rig_opts_t big = {.owner_len = BIG, .local_len = BIG};

void rig_open_threaded(rig_t *rig, where_t where, const rig_opts_t *opts)
{
    setenv("KVFERRY_COPY_THREADS", "2", 1);
    rig_open(rig, where, opts);
}

int copy_threads_said(kvf_engine_t *engine)
{
    const char *name;
    const char *value;
    const char *text;

    for (uint32_t i = 0; kvf_engine_setting(engine, i, &name, &value, &text) == KVF_OK; i++) {
        if (strcmp(name, "KVFERRY_COPY_THREADS") == 0) {
            return atoi(value);
        }
    }
    return -1;
}

int each_copy_thread(void (*fn)(const char *dir))
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    int count = 0;

    while (tasks != NULL && (entry = readdir(tasks)) != NULL) {
        char path[300];
        char name[32] = "";
        FILE *file;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        file = entry->d_name[0] != '.' ? fopen(path, "r") : NULL;
        if (file == NULL) {
            continue;
        }
        if (fgets(name, sizeof(name), file) != NULL && strcmp(name, "kvferry-copy\n") == 0) {
            path[strlen(path) - strlen("/comm")] = '\0';
            count++;
            if (fn != NULL) {
                fn(path);
            }
        }
        fclose(file);
    }
    closedir(tasks);
    return count;
}
