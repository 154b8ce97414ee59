/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What an engine costs a process: resident memory and descriptors with no peer, 1 and 16 near peers
 * and 1 far one, beside what the bare UCX contexts of the same kind cost. Prints a table for
 * docs/footprint.md; no test, nothing is asserted.
 *
 *   ./run tests/engine/footprint
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <ucp/api/ucp.h>
#include <unistd.h>

#include "kvferry.h"

#define NEAR 16
#define ALL  (NEAR + 1) /* the last one is far */

typedef struct {
    long anon_kib, shared_kib, fds;
} cost_t;

static void check(kvf_status_t status, const char *what)
{
    if (status >= KVF_OK)
        return;
    fprintf(stderr, "footprint: %s: %s\n", what, kvf_last_error());
    exit(1);
}

static cost_t cost_now(void)
{
    cost_t cost = {0};
    char line[256];
    FILE *file = fopen("/proc/self/status", "r");
    DIR *dir = opendir("/proc/self/fd");

    while (file && fgets(line, sizeof line, file)) {
        sscanf(line, "RssAnon: %ld", &cost.anon_kib);
        sscanf(line, "RssShmem: %ld", &cost.shared_kib);
    }
    while (dir && readdir(dir))
        cost.fds++;
    if (file)
        fclose(file);
    if (dir)
        closedir(dir);
    cost.fds -= 3; /* ".", "..", and the folder's own */
    return cost;
}

static void row(const char *name, cost_t from)
{
    cost_t now = cost_now();

    printf("| %-34s | %8ld | %8ld | %5ld |\n", name, now.anon_kib - from.anon_kib,
           now.shared_kib - from.shared_kib, now.fds - from.fds);
    fflush(stdout);
}

static void bare_ucx(const char *tls, const char *name)
{
    ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES,
                           .features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP};
    ucp_worker_params_t worker_params = {0};
    ucp_config_t *config;
    ucp_context_h context;
    ucp_worker_h worker;
    cost_t before = cost_now();

    if (ucp_config_read(NULL, NULL, &config) != UCS_OK || ucp_config_modify(config, "TLS", tls) != UCS_OK ||
        ucp_init(&params, config, &context) != UCS_OK ||
        ucp_worker_create(context, &worker_params, &worker) != UCS_OK)
        exit(1);
    row(name, before);
    ucp_worker_destroy(worker);
    ucp_cleanup(context);
    ucp_config_release(config);
}

/* A peer: sends its blob, lives until the pipe closes. */
static void be_peer(int out, int in, int far)
{
    kvf_engine_opts_t opts = {
        .struct_size = sizeof opts, .net = "tcp", .local = far ? KVF_SWITCH_OFF : KVF_SWITCH_ON};
    kvf_engine_t *engine;
    char blob[16384];
    size_t len = sizeof blob;
    ssize_t done;

    check(kvf_engine_open(&opts, &engine), "open of a peer");
    check(kvf_engine_export(engine, far ? KVF_BLOB_FAR : 0, blob, &len), "export of a peer");
    done = write(out, &len, sizeof len) + write(out, blob, len) + read(in, blob, 1);
    check(kvf_engine_close(engine, 1000000000), "close of a peer");
    exit(done < 0);
}

static kvf_peer_t *import(kvf_engine_t *engine, int in)
{
    char blob[16384];
    size_t len;
    kvf_peer_t *peer;

    if (read(in, &len, sizeof len) != sizeof len || read(in, blob, len) != (ssize_t)len)
        exit(1);
    check(kvf_peer_import(engine, blob, len, &peer), "import");
    return peer;
}

static void with_peers(int (*from)[2])
{
    kvf_engine_opts_t opts = {.struct_size = sizeof opts, .net = "tcp"};
    cost_t before = cost_now();
    kvf_engine_t *engine;

    check(kvf_engine_open(&opts, &engine), "open");
    row("engine, no peer", before);
    for (int i = 0; i < ALL; i++) {
        import(engine, from[i][0]);
        if (i == 0)
            row("engine, 1 near peer", before);
        if (i == NEAR - 1)
            row("engine, 16 near peers", before);
    }
    usleep(200000);
    row("engine, 16 near peers, 1 far peer", before);
    check(kvf_engine_close(engine, 1000000000), "close");
}

static void in_child(void (*run)(const char *, const char *), const char *tls, const char *name)
{
    pid_t child = fork();

    if (!child) {
        run(tls, name);
        exit(0);
    }
    waitpid(child, NULL, 0);
}

int main(void)
{
    int from[ALL][2], to[2];
    pid_t child;

    printf("| %-34s | anon KiB | shm KiB  |  fds  |\n|---|---|---|---|\n", "");
    fflush(stdout);
    in_child(bare_ucx, "self,sysv,posix", "UCX context, self,sysv,posix");
    in_child(bare_ucx, "tcp", "UCX context, tcp");
    if (pipe(to))
        return 1;
    for (int i = 0; i < ALL; i++) {
        if (pipe(from[i]))
            return 1;
        child = fork();
        if (!child) {
            close(to[1]);
            be_peer(from[i][1], to[0], i == NEAR);
        }
    }
    with_peers(from);
    close(to[1]);
    while (wait(NULL) > 0)
        ;
    return 0;
}
