/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kvf_info: what this build of kvferry can do on this machine. It opens an engine, as any program
 * would, and asks it; the facts of the machine come from machine.c. It needs no MPI and starts no job.
 * Where no engine opens it says why, and still tells the rest.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <kvferry.h>

#include "cli.h"
#include "machine.h"

/* A few huge pages, so that it shows whether they are used. */
#define SEGMENT_BYTES (UINT64_C(8) << 20)
#define CLOSE_TIMEOUT UINT64_C(5000000000)

static const struct part {
    const char *name, *state, *what_for;
} parts[] = {
    {"ucx", KVFI_UCX_TEXT, "shared memory, wires"},
    {"mpi", KVFI_MPI_TEXT, "libkvferry_mpi, kvf_bench, kvf_replay"},
    {"cuda", KVFI_CUDA_TEXT, "of no use here: no path of this release takes device memory"},
    {"verbs", KVFI_VERBS_TEXT, "UCX drives the devices"},
    {"check", KVFI_CHECK_TEXT, "the tests"},
};

#define PARTS (sizeof(parts) / sizeof(parts[0]))

struct path_fact {
    kvf_status_t status;
    char why[512];
};

struct info {
    kvf_engine_t *engine; /* NULL: none opened */
    char trouble[512];
    struct path_fact paths[KVF_PATH_COUNT];
    char *ucx_text;             /* NULL: none */
    kvf_segment_attr_t segment; /* what one of SEGMENT_BYTES had; len 0: it could not be had */
    char segment_trouble[512];
    struct kvfi_machine machine;
};

/* ------------------------------------------------------------------ asking */

static void ask_paths(struct info *info)
{
    for (int path = KVF_PATH_NONE + 1; path < KVF_PATH_COUNT; path++) {
        struct path_fact *fact = &info->paths[path];
        fact->status = kvf_engine_path_check(info->engine, (kvf_path_t)path);
        if (fact->status != KVF_OK) {
            snprintf(fact->why, sizeof(fact->why), "%s", kvf_last_error());
        }
    }
}

static void ask_ucx(struct info *info)
{
    size_t len = 0;

    if (kvf_engine_ucx_text(info->engine, NULL, &len) != KVF_OK || len == 0) {
        return;
    }
    info->ucx_text = malloc(len);
    if (info->ucx_text != NULL && kvf_engine_ucx_text(info->engine, info->ucx_text, &len) != KVF_OK) {
        free(info->ucx_text);
        info->ucx_text = NULL;
    }
}

static void ask_segment(struct info *info)
{
    kvf_segment_t *segment = NULL;

    info->segment.struct_size = sizeof(info->segment);
    if (kvf_segment_alloc(info->engine, SEGMENT_BYTES, &segment) != KVF_OK ||
        kvf_segment_query(segment, &info->segment) != KVF_OK) {
        snprintf(info->segment_trouble, sizeof(info->segment_trouble), "%s", kvf_last_error());
    }
    kvf_segment_release(segment);
}

static void open_engine(const char *net, struct info *info)
{
    kvf_engine_opts_t opts = {.struct_size = sizeof(opts), .net = net};

    if (kvf_engine_open(&opts, &info->engine) != KVF_OK) {
        info->engine = NULL;
        snprintf(info->trouble, sizeof(info->trouble), "no engine opens: %s", kvf_last_error());
    }
}

/* An engine keeps telling the settings that it opened with, so a second one is asked. */
static void calibrate(const char *net, struct info *info)
{
    if (kvf_engine_calibrate(info->engine, NULL) != KVF_OK) {
        snprintf(info->trouble, sizeof(info->trouble), "no calibration: %s", kvf_last_error());
        return;
    }
    kvf_engine_close(info->engine, CLOSE_TIMEOUT);
    open_engine(net, info);
}

static void ask(const char *net, bool calibrates, struct info *info)
{
    kvfi_machine_look(&info->machine);
    open_engine(net, info);
    if (info->engine != NULL && calibrates) {
        calibrate(net, info);
    }
    if (info->engine == NULL) {
        return;
    }
    ask_paths(info);
    ask_ucx(info);
    ask_segment(info);
}

/* ------------------------------------------------------------------ for people */

static void heading(const char *text)
{
    printf("\n%s\n", text);
}

static void line(const char *name, const char *value)
{
    printf("  %-24s %s\n", name, value);
}

static void line_bytes(const char *name, uint64_t bytes)
{
    char text[32];

    line(name, kvfi_cli_bytes(bytes, text, sizeof(text)));
}

static void print_engine(const struct info *info)
{
    const char *name, *value, *text;

    heading("paths on this machine");
    for (int path = KVF_PATH_NONE + 1; path < KVF_PATH_COUNT && info->engine != NULL; path++) {
        const struct path_fact *fact = &info->paths[path];
        printf("  %-10s %-4s %s\n", kvf_path_name((kvf_path_t)path), fact->status == KVF_OK ? "yes" : "no",
               fact->why);
    }
    if (info->engine == NULL) {
        printf("  %s\n", info->trouble);
        return;
    }
    heading("settings");
    for (uint32_t i = 0; kvf_engine_setting(info->engine, i, &name, &value, &text) == KVF_OK; i++) {
        printf("  %-24s %-10s %s\n", name, value, text);
    }
    heading("what UCX sees");
    for (const char *at = info->ucx_text != NULL ? info->ucx_text : ""; *at != '\0';) {
        size_t len = strcspn(at, "\n");
        printf("  %.*s\n", (int)len, at);
        at += len + (at[len] == '\n');
    }
}

/* What each path is predicted to move: one op of so many pieces. */
#define PREDICTED_PIECES 4096u
static const uint64_t predicted_sizes[] = {64, 256, 1024, 4096, 16384, 65536, 1048576};
#define PREDICTED (sizeof(predicted_sizes) / sizeof(predicted_sizes[0]))

/* GB/s; 0: nothing is known of the path. */
static double predicted(const struct info *info, kvf_path_t path, uint64_t size)
{
    uint64_t ns;

    if (kvf_path_cost(info->engine, path, 1, PREDICTED_PIECES, PREDICTED_PIECES * size, &ns) != KVF_OK) {
        return 0;
    }
    return (double)(PREDICTED_PIECES * size) / (double)ns;
}

static void print_costs(const struct info *info)
{
    char text[96], bytes[32];

    if (info->engine == NULL) {
        return;
    }
    snprintf(text, sizeof(text), "predicted GB/s: a batch of %u pieces, one thread, outside the caches",
             PREDICTED_PIECES);
    heading(text);
    printf("  %-10s", "path");
    for (size_t i = 0; i < PREDICTED; i++) {
        printf(" %8s", kvfi_cli_bytes(predicted_sizes[i], bytes, sizeof(bytes)));
    }
    printf("\n");
    for (int path = KVF_PATH_NONE + 1; path < KVF_PATH_COUNT; path++) {
        if (predicted(info, (kvf_path_t)path, predicted_sizes[0]) <= 0) {
            continue;
        }
        printf("  %-10s", kvf_path_name((kvf_path_t)path));
        for (size_t i = 0; i < PREDICTED; i++) {
            printf(" %8.2f", predicted(info, (kvf_path_t)path, predicted_sizes[i]));
        }
        printf("\n");
    }
}

static void print_cpus(const struct kvfi_machine *m)
{
    char name[64], text[128], bytes[32];

    heading("processors");
    line("kernel", m->kernel);
    line("model", m->cpu_model);
    snprintf(text, sizeof(text), "%u, NUMA nodes: %u", m->cpus_online, m->numa_nodes);
    line("online", text);
    line("allowed to this process", m->cpus_allowed);
    for (unsigned i = 0; i < m->cache_count; i++) {
        const struct kvfi_cache *cache = &m->caches[i];
        snprintf(name, sizeof(name), "cache L%u %s", cache->level, cache->type);
        snprintf(text, sizeof(text), "%s, cpu 0 shares it with %s",
                 kvfi_cli_bytes(cache->bytes, bytes, sizeof(bytes)), cache->cpus);
        line(name, text);
    }
}

/* What the library's memory is like here, tried with a segment of it. */
static void print_segment(const struct info *info)
{
    const kvf_segment_attr_t *had = &info->segment;
    char text[64], bytes[32];

    if (info->engine == NULL) {
        return;
    }
    snprintf(text, sizeof(text), "memory of a segment of %s",
             kvfi_cli_bytes(SEGMENT_BYTES, bytes, sizeof(bytes)));
    heading(text);
    if (had->len == 0) {
        printf("  it cannot be had: %s\n", info->segment_trouble);
        return;
    }
    line("shared with neighbours", had->shared ? "yes" : "no");
    line_bytes("takes", had->region_bytes);
    line_bytes("page", had->page_bytes);
    line_bytes("in huge pages", had->huge_bytes);
    snprintf(text, sizeof(text), "%d", had->numa_node);
    line("NUMA node", had->numa_node < 0 ? "several, or unknown" : text);
}

static void print_memory(const struct kvfi_machine *m)
{
    char name[64], text[128], bytes[32];

    heading("memory");
    line_bytes("total", m->memory_total);
    snprintf(text, sizeof(text), "%s (%s)", kvfi_cli_bytes(m->memory_free, bytes, sizeof(bytes)),
             m->memory_limit);
    line("free", text);
    line_bytes("page", m->page_bytes);
    for (unsigned i = 0; i < m->huge_count; i++) {
        snprintf(name, sizeof(name), "huge pages of %s",
                 kvfi_cli_bytes(m->huge[i].page_bytes, bytes, sizeof(bytes)));
        snprintf(text, sizeof(text), "%llu, free: %llu", (unsigned long long)m->huge[i].total,
                 (unsigned long long)m->huge[i].free);
        line(name, text);
    }
    line("transparent huge pages", m->thp[0] != '\0' ? m->thp : "none");
    line("the same, shared memory", m->thp_shared[0] != '\0' ? m->thp_shared : "none");
    snprintf(text, sizeof(text), "%s", kvfi_cli_bytes(m->shm_total, bytes, sizeof(bytes)));
    snprintf(text + strlen(text), sizeof(text) - strlen(text), ", free: %s",
             kvfi_cli_bytes(m->shm_free, bytes, sizeof(bytes)));
    line("/dev/shm", text);
    line_bytes("System V segment, most", m->sysv_most);
    if (m->memlock == UINT64_MAX) {
        line("locked memory, most", "unlimited");
    } else {
        line_bytes("locked memory, most", m->memlock);
    }
    if (m->ptrace_scope < 0) {
        line("ptrace scope", "no Yama in this kernel: processes of one user may read each other");
    } else {
        snprintf(text, sizeof(text), "%d", m->ptrace_scope);
        line("ptrace scope", text);
    }
    line("TCP congestion control", m->congestion_control);
}

static void print_all(const struct info *info)
{
    printf("kvferry %s, built with header %d.%d.%d\n", kvf_version(), KVF_VERSION_MAJOR, KVF_VERSION_MINOR,
           KVF_VERSION_PATCH);
    printf("UCX %s at run time\n", kvf_ucx_version());
    heading("built in");
    for (size_t i = 0; i < PARTS; i++) {
        printf("  %-8s %-32s %s\n", parts[i].name, parts[i].state, parts[i].what_for);
    }
    print_engine(info);
    print_costs(info);
    print_segment(info);
    print_cpus(&info->machine);
    print_memory(&info->machine);
}

/* ------------------------------------------------------------------ JSON */

static void json_built(struct kvfi_json *json)
{
    char header[32];

    snprintf(header, sizeof(header), "%d.%d.%d", KVF_VERSION_MAJOR, KVF_VERSION_MINOR, KVF_VERSION_PATCH);
    kvfi_json_text(json, "kvferry", kvf_version());
    kvfi_json_text(json, "header", header);
    kvfi_json_text(json, "ucx", kvf_ucx_version());
    kvfi_json_open(json, "built", '{');
    for (size_t i = 0; i < PARTS; i++) {
        kvfi_json_text(json, parts[i].name, parts[i].state);
    }
    kvfi_json_close(json, '}');
}

static void json_engine(struct kvfi_json *json, const struct info *info)
{
    const char *name, *value, *text;

    kvfi_json_text(json, "engine_error", info->engine != NULL ? NULL : info->trouble);
    kvfi_json_open(json, "paths", '[');
    for (int path = KVF_PATH_NONE + 1; path < KVF_PATH_COUNT && info->engine != NULL; path++) {
        const struct path_fact *fact = &info->paths[path];
        kvfi_json_open(json, NULL, '{');
        kvfi_json_text(json, "path", kvf_path_name((kvf_path_t)path));
        kvfi_json_bool(json, "works", fact->status == KVF_OK);
        kvfi_json_text(json, "why", fact->status == KVF_OK ? NULL : fact->why);
        kvfi_json_close(json, '}');
    }
    kvfi_json_close(json, ']');
    kvfi_json_open(json, "settings", '[');
    for (uint32_t i = 0;
         info->engine != NULL && kvf_engine_setting(info->engine, i, &name, &value, &text) == KVF_OK; i++) {
        kvfi_json_open(json, NULL, '{');
        kvfi_json_text(json, "name", name);
        kvfi_json_text(json, "value", value);
        kvfi_json_text(json, "text", text);
        kvfi_json_close(json, '}');
    }
    kvfi_json_close(json, ']');
    kvfi_json_text(json, "ucx_text", info->ucx_text);
}

static void json_costs(struct kvfi_json *json, const struct info *info)
{
    char name[32];

    kvfi_json_open(json, "predicted_gb_s", '{');
    for (int path = KVF_PATH_NONE + 1; path < KVF_PATH_COUNT && info->engine != NULL; path++) {
        if (predicted(info, (kvf_path_t)path, predicted_sizes[0]) <= 0) {
            continue;
        }
        kvfi_json_open(json, kvf_path_name((kvf_path_t)path), '{');
        for (size_t i = 0; i < PREDICTED; i++) {
            snprintf(name, sizeof(name), "%llu", (unsigned long long)predicted_sizes[i]);
            kvfi_json_real(json, name, predicted(info, (kvf_path_t)path, predicted_sizes[i]));
        }
        kvfi_json_close(json, '}');
    }
    kvfi_json_close(json, '}');
}

static void json_cpus(struct kvfi_json *json, const struct kvfi_machine *m)
{
    kvfi_json_open(json, "processors", '{');
    kvfi_json_text(json, "kernel", m->kernel);
    kvfi_json_text(json, "model", m->cpu_model);
    kvfi_json_u64(json, "online", m->cpus_online);
    kvfi_json_text(json, "allowed", m->cpus_allowed);
    kvfi_json_u64(json, "numa_nodes", m->numa_nodes);
    kvfi_json_open(json, "caches", '[');
    for (unsigned i = 0; i < m->cache_count; i++) {
        kvfi_json_open(json, NULL, '{');
        kvfi_json_u64(json, "level", m->caches[i].level);
        kvfi_json_text(json, "type", m->caches[i].type);
        kvfi_json_u64(json, "bytes", m->caches[i].bytes);
        kvfi_json_text(json, "cpus", m->caches[i].cpus);
        kvfi_json_close(json, '}');
    }
    kvfi_json_close(json, ']');
    kvfi_json_close(json, '}');
}

static void json_segment(struct kvfi_json *json, const struct info *info)
{
    const kvf_segment_attr_t *had = &info->segment;

    kvfi_json_open(json, "segment", '{');
    kvfi_json_u64(json, "bytes", had->len);
    kvfi_json_text(json, "error", had->len != 0 || info->engine == NULL ? NULL : info->segment_trouble);
    kvfi_json_bool(json, "shared", had->shared != 0);
    kvfi_json_u64(json, "region_bytes", had->region_bytes);
    kvfi_json_u64(json, "page_bytes", had->page_bytes);
    kvfi_json_u64(json, "huge_bytes", had->huge_bytes);
    if (had->len == 0 || had->numa_node < 0) {
        kvfi_json_null(json, "numa_node");
    } else {
        kvfi_json_i64(json, "numa_node", had->numa_node);
    }
    kvfi_json_close(json, '}');
}

static void json_memory(struct kvfi_json *json, const struct kvfi_machine *m)
{
    kvfi_json_open(json, "memory", '{');
    kvfi_json_u64(json, "total_bytes", m->memory_total);
    kvfi_json_u64(json, "free_bytes", m->memory_free);
    kvfi_json_u64(json, "page_bytes", m->page_bytes);
    kvfi_json_open(json, "huge_pages", '[');
    for (unsigned i = 0; i < m->huge_count; i++) {
        kvfi_json_open(json, NULL, '{');
        kvfi_json_u64(json, "page_bytes", m->huge[i].page_bytes);
        kvfi_json_u64(json, "pages", m->huge[i].total);
        kvfi_json_u64(json, "free", m->huge[i].free);
        kvfi_json_close(json, '}');
    }
    kvfi_json_close(json, ']');
    kvfi_json_text(json, "transparent_huge_pages", m->thp);
    kvfi_json_text(json, "transparent_huge_pages_shared", m->thp_shared);
    kvfi_json_u64(json, "shm_bytes", m->shm_total);
    kvfi_json_u64(json, "shm_free_bytes", m->shm_free);
    kvfi_json_u64(json, "sysv_segment_bytes", m->sysv_most);
    if (m->memlock == UINT64_MAX) {
        kvfi_json_null(json, "memlock_bytes");
    } else {
        kvfi_json_u64(json, "memlock_bytes", m->memlock);
    }
    if (m->ptrace_scope < 0) {
        kvfi_json_null(json, "ptrace_scope");
    } else {
        kvfi_json_i64(json, "ptrace_scope", m->ptrace_scope);
    }
    kvfi_json_close(json, '}');
    kvfi_json_text(json, "tcp_congestion_control", m->congestion_control);
}

static void print_json(const struct info *info)
{
    struct kvfi_json json;

    kvfi_json_init(&json, stdout, 2);
    kvfi_json_open(&json, NULL, '{');
    json_built(&json);
    json_engine(&json, info);
    json_costs(&json, info);
    json_cpus(&json, &info->machine);
    json_segment(&json, info);
    json_memory(&json, &info->machine);
    kvfi_json_close(&json, '}');
}

/* ------------------------------------------------------------------ command line */

static void usage(FILE *file)
{
    fputs("usage: kvf_info [--net NAME] [--json] [--calibrate]\n"
          "\n"
          "Says what this build of kvferry has, which paths work on this machine and why the others do\n"
          "not, every setting with its value, what UCX sees, and what of the machine matters.\n"
          "\n"
          "  --net NAME   the wire to ask about: auto (default), tcp, rc, ud\n"
          "  --json       the same as one JSON object\n"
          "  --calibrate  measure first how this machine copies (up to eight seconds; it should be idle)\n"
          "               and write the file that engines read: KVFERRY_CALIBRATION, else one in\n"
          "               $XDG_CACHE_HOME/kvferry or ~/.cache/kvferry\n"
          "  --help or -h, --version\n"
          "\n"
          "The exit code is 0 if an engine opened, and calibrated where that was asked for.\n",
          file);
}

enum {
    ASK = 0,
    DONE = 1,
    WRONG = -1
};

static int parse(int argc, char **argv, const char **net_p, bool *json_p, bool *calibrates_p)
{
    static const struct option longs[] = {
        {"net", required_argument, NULL, 'n'}, {"json", no_argument, NULL, 'j'},
        {"calibrate", no_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},   {NULL, 0, NULL, 0}};
    static const char *const nets[] = {"auto", "tcp", "rc", "ud"};
    int option;
    size_t index;

    while ((option = kvfi_cli_next(argc, argv, longs)) != -1) {
        if (option == 'h') {
            usage(stdout);
            return DONE;
        } else if (option == 'v') {
            printf("kvf_info %s, UCX %s\n", kvf_version(), kvf_ucx_version());
            return DONE;
        } else if (option == 'j') {
            *json_p = true;
        } else if (option == 'c') {
            *calibrates_p = true;
        } else if (option == 'n') {
            if (kvfi_cli_choice("--net", optarg, nets, 4, &index) != 0) {
                return WRONG;
            }
            *net_p = nets[index];
        } else {
            return WRONG;
        }
    }
    if (optind < argc) {
        kvfi_cli_fail("\"%s\" is not an option", argv[optind]);
        return WRONG;
    }
    return ASK;
}

int main(int argc, char **argv)
{
    static struct info info;
    const char *net = NULL;
    bool as_json = false, calibrates = false;
    int what = parse(argc, argv, &net, &as_json, &calibrates);

    if (what == WRONG) {
        fprintf(stderr, "kvf_info: %s\nkvf_info --help says more\n", kvfi_cli_error());
        return KVFI_EXIT_USAGE;
    }
    if (what == ASK) {
        ask(net, calibrates, &info);
        if (as_json) {
            print_json(&info);
        } else {
            print_all(&info);
        }
    }
    int code = info.trouble[0] != '\0' ? KVFI_EXIT_WRONG : KVFI_EXIT_OK;
    if (code != KVFI_EXIT_OK) {
        fprintf(stderr, "kvf_info: %s\n", info.trouble);
    }
    kvf_engine_close(info.engine, CLOSE_TIMEOUT);
    free(info.ucx_text);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "kvf_info: cannot write standard output\n");
        return KVFI_EXIT_WRONG;
    }
    return code;
}
