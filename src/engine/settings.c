/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Settings: a default, over it KVFERRY_ variables, over them what the caller set. One row a
 * setting; kvf_info prints the rows.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/status.h"
#include "copy/tune.h"
#include "engine/copiers.h"
#include "engine/engine.h"
#include "engine/object.h"
#include "engine/settings.h"

#define COPY_THREADS_MAX 64u

extern char **environ;

typedef struct kvfi_setting {
    const char *name, *text;
    kvf_status_t (*parse)(const char *name, const char *value, kvf_engine_opts_t *opts);
    void (*print)(const kvf_engine_t *engine, char *buf, size_t len);
} kvfi_setting_t;

static kvf_status_t malformed(const char *name, const char *value, const char *expected)
{
    return kvfi_fail(KVF_ERR_INVALID, "%s=%s: expected %s", name, value, expected);
}

static int one_of(const char *value, const char *const *words)
{
    for (int i = 0; words[i]; i++)
        if (!strcasecmp(value, words[i]))
            return i;
    return -1;
}

static const char *const nets[] = {"auto", "tcp", "rc", "ud", NULL};
static const char *const switches[] = {"default", "on", "off", NULL};
static const char *const modes[] = {"default", "thread", "caller", NULL};
static const char *const packs[] = {"default", "auto", "direct", "packed", NULL};

static kvf_status_t parse_net(const char *name, const char *value, kvf_engine_opts_t *opts)
{
    int i = one_of(value, nets);

    if (i < 0)
        return malformed(name, value, "auto, tcp, rc or ud");
    if (!opts->net)
        opts->net = nets[i];
    return KVF_OK;
}

static kvf_status_t parse_switch(const char *name, const char *value, uint32_t *switch_p)
{
    int i = one_of(value, switches);

    if (i < 0 && (!strcmp(value, "0") || !strcmp(value, "1")))
        i = value[0] == '1' ? KVF_SWITCH_ON : KVF_SWITCH_OFF;
    if (i < 1)
        return malformed(name, value, "on or off");
    if (!*switch_p)
        *switch_p = (uint32_t)i;
    return KVF_OK;
}

static kvf_status_t parse_local(const char *name, const char *value, kvf_engine_opts_t *opts)
{
    return parse_switch(name, value, &opts->local);
}

static kvf_status_t parse_check(const char *name, const char *value, kvf_engine_opts_t *opts)
{
    return parse_switch(name, value, &opts->check);
}

static kvf_status_t parse_progress(const char *name, const char *value, kvf_engine_opts_t *opts)
{
    int i = one_of(value, modes);

    if (i < 1)
        return malformed(name, value, "thread or caller");
    if (!opts->progress)
        opts->progress = (uint32_t)i;
    return KVF_OK;
}

static int number(const char *value, uint64_t most, uint64_t *number_p)
{
    char *end;

    errno = 0;
    *number_p = strtoull(value, &end, 10);
    return value[0] >= '0' && value[0] <= '9' && !*end && !errno && *number_p >= 1 && *number_p <= most;
}

static kvf_status_t parse_deadline(const char *name, const char *value, kvf_engine_opts_t *opts)
{
    uint64_t ms;

    if (!number(value, UINT64_MAX / 1000000, &ms))
        return malformed(name, value, "milliseconds, 1 to 18446744073709");
    if (!opts->deadline_ns)
        opts->deadline_ns = ms * 1000000;
    return KVF_OK;
}

static kvf_status_t parse_depth(const char *name, const char *value, kvf_engine_opts_t *opts)
{
    uint64_t depth;

    if (!number(value, 65536, &depth))
        return malformed(name, value, "1 to 65536");
    if (!opts->notify_depth)
        opts->notify_depth = (uint32_t)depth;
    return KVF_OK;
}

static kvf_status_t parse_copy_threads(const char *name, const char *value, kvf_engine_opts_t *opts)
{
    uint64_t threads = 0;

    if (strcmp(value, "0") && !number(value, COPY_THREADS_MAX, &threads))
        return malformed(name, value, "0 to 64");
    if (!opts->copy_threads)
        opts->copy_threads = (uint32_t)threads;
    return KVF_OK;
}

static kvf_status_t parse_pack(const char *name, const char *value, kvf_engine_opts_t *opts)
{
    int i = one_of(value, packs);

    if (i < 1)
        return malformed(name, value, "auto, direct or packed");
    if (!opts->pack)
        opts->pack = (uint32_t)i;
    return KVF_OK;
}

static kvf_status_t parse_copy_kernel(const char *name, const char *value, kvf_engine_opts_t *opts)
{
    (void)opts;
    if (!kvfi_kernel_known(value))
        return malformed(name, value, "auto, plain, avx2, avx512 or neon");
    if (!kvfi_kernel_find(value))
        return kvfi_fail(KVF_ERR_INVALID,
                         "%s=%s: this processor cannot run that kernel; auto takes "
                         "the best that it can",
                         name, value);
    return KVF_OK;
}

static kvf_status_t parse_stream_from(const char *name, const char *value, kvf_engine_opts_t *opts)
{
    uint64_t bytes;

    (void)opts;
    if (strcmp(value, "0") && !number(value, UINT64_MAX, &bytes))
        return malformed(name, value, "bytes, or 0 to let copies look at the caches");
    return KVF_OK;
}

static kvf_status_t parse_calibration(const char *name, const char *value, kvf_engine_opts_t *opts)
{
    (void)opts;
    if (!value[0] || strlen(value) >= sizeof kvfi_tune()->file)
        return malformed(name, value, "the name of a file, at most 255 bytes, or off");
    return KVF_OK;
}

static kvf_status_t parse_log(const char *name, const char *value, kvf_engine_opts_t *opts)
{
    int level = kvfi_log_level_of(value);

    (void)opts;
    if (level < 0)
        return malformed(name, value, "error, warn, info, debug or trace");
    kvfi_log_set((kvfi_log_level_t)level);
    return KVF_OK;
}

static void print_net(const kvf_engine_t *engine, char *buf, size_t len)
{
    snprintf(buf, len, "%s", engine->net);
}

static void print_local(const kvf_engine_t *engine, char *buf, size_t len)
{
    snprintf(buf, len, "%s", engine->local_off ? "off" : "on");
}

static void print_progress(const kvf_engine_t *engine, char *buf, size_t len)
{
    snprintf(buf, len, "%s", modes[engine->progress]);
}

static void print_deadline(const kvf_engine_t *engine, char *buf, size_t len)
{
    if (engine->deadline_ns == KVF_FOREVER)
        snprintf(buf, len, "forever");
    else
        snprintf(buf, len, "%" PRIu64, engine->deadline_ns / 1000000);
}

static void print_depth(const kvf_engine_t *engine, char *buf, size_t len)
{
    snprintf(buf, len, "%u", engine->depth);
}

static void print_copy_threads(const kvf_engine_t *engine, char *buf, size_t len)
{
    snprintf(buf, len, "%u", engine->copy_threads);
}

static void print_pack(const kvf_engine_t *engine, char *buf, size_t len)
{
    snprintf(buf, len, "%s", packs[engine->pack]);
}

static void print_copy_kernel(const kvf_engine_t *engine, char *buf, size_t len)
{
    (void)engine;
    snprintf(buf, len, "%s", kvfi_tune()->kernel->name);
}

static void print_stream_from(const kvf_engine_t *engine, char *buf, size_t len)
{
    (void)engine;
    snprintf(buf, len, "%" PRIu64, kvfi_tune()->stream_from);
}

static void print_calibration(const kvf_engine_t *engine, char *buf, size_t len)
{
    const char *named = getenv("KVFERRY_CALIBRATION");

    (void)engine;
    snprintf(buf, len, "%s",
             kvfi_tune()->file[0]             ? kvfi_tune()->file
             : named && !strcmp(named, "off") ? "off"
                                              : "none");
}

static void print_check(const kvf_engine_t *engine, char *buf, size_t len)
{
    snprintf(buf, len, "%s", engine->check ? "on" : "off");
}

static void print_log(const kvf_engine_t *engine, char *buf, size_t len)
{
    const char *level = getenv("KVFERRY_LOG");

    (void)engine;
    snprintf(buf, len, "%s", level ? level : "warn");
}

#define VALUE_MAX 256
static const kvfi_setting_t settings[] = {
    {"KVFERRY_NET", "wire of far peers: auto, tcp, rc or ud; it never turns the near paths off", parse_net,
     print_net},
    {"KVFERRY_LOCAL", "off makes every other process a far peer, to measure: on or off", parse_local,
     print_local},
    {"KVFERRY_PROGRESS", "who drives the far side: thread or caller", parse_progress, print_progress},
    {"KVFERRY_DEADLINE", "milliseconds a batch may take if it names no deadline", parse_deadline,
     print_deadline},
    {"KVFERRY_NOTIFY_DEPTH", "notifications that may wait here per sender: 1 to 65536", parse_depth,
     print_depth},
    {"KVFERRY_COPY_THREADS", "threads that copy large local batches, if there are cores: 0 to 64",
     parse_copy_threads, print_copy_threads},
    {"KVFERRY_PACK", "how a neighbour's own memory is reached: auto, direct (cma) or packed (stage)",
     parse_pack, print_pack},
    {"KVFERRY_COPY_KERNEL", "how pieces are copied: auto, plain, avx2, avx512 or neon", parse_copy_kernel,
     print_copy_kernel},
    {"KVFERRY_STREAM_FROM", "bytes from which a batch goes past the caches unasked; smaller ones look",
     parse_stream_from, print_stream_from},
    {"KVFERRY_CALIBRATION", "file of kvf_info --calibrate that is in force; or off", parse_calibration,
     print_calibration},
    {"KVFERRY_CHECK", "refuse pairs that overlap, exactly and at a price: on or off", parse_check,
     print_check},
    {"KVFERRY_LOG", "what goes to stderr: error, warn, info, debug or trace", parse_log, print_log},
};
#define SETTINGS (sizeof settings / sizeof *settings)

#define PREFIX      "KVFERRY_"
#define PREFIX_LEN  (sizeof PREFIX - 1)
#define LETTERS_MAX 32u /* of a setting, without the prefix */

/* Letters to add, drop, change or swap with the next, in any case, to make b of a: up to LETTERS_MAX each. */
static unsigned edits(const char *a, size_t a_len, const char *b, size_t b_len)
{
    unsigned row[3][LETTERS_MAX + 1], *before = row[0], *last = row[1], *now = row[2], *spare;

    for (unsigned k = 0; k <= b_len; k++)
        last[k] = k;
    for (unsigned i = 1; i <= a_len; i++) {
        now[0] = i;
        for (unsigned k = 1; k <= b_len; k++) {
            unsigned same = toupper((unsigned char)a[i - 1]) == toupper((unsigned char)b[k - 1]);

            now[k] = last[k - 1] + !same;
            now[k] = last[k] + 1 < now[k] ? last[k] + 1 : now[k];
            now[k] = now[k - 1] + 1 < now[k] ? now[k - 1] + 1 : now[k];
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] && before[k - 2] + 1 < now[k])
                now[k] = before[k - 2] + 1;
        }
        spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b_len];
}

/* The setting that was probably meant, or NULL: sites set variables of this prefix too (KVFERRY_ROOT). */
static const char *meant_by(const char *name, size_t len)
{
    const char *meant = NULL;
    unsigned least = UINT_MAX, count;

    if (len > LETTERS_MAX)
        return NULL;
    for (size_t i = 0; i < SETTINGS; i++) {
        const char *known = settings[i].name + PREFIX_LEN;
        size_t known_len = strlen(known);

        count = edits(name, len, known, known_len);
        if (count <= (known_len < 5 ? 1u : 2u) && count < least) {
            least = count;
            meant = settings[i].name;
        }
    }
    return meant;
}

static kvf_status_t unknown_variable(const char *entry, size_t len)
{
    const char *meant = meant_by(entry + PREFIX_LEN, len - PREFIX_LEN);

    if (meant)
        return kvfi_fail(KVF_ERR_INVALID,
                         "%.*s is no setting of kvferry: is %s meant? kvf_info lists all of "
                         "them",
                         (int)len, entry, meant);
    kvfi_log(KVFI_LOG_DEBUG, "%.*s is no setting of kvferry, and is ignored", (int)len, entry);
    return KVF_OK;
}

static kvf_status_t load_environment(kvf_engine_opts_t *opts)
{
    for (char **entry = environ; *entry; entry++) {
        size_t i, name_len = strcspn(*entry, "=");
        kvf_status_t status;

        if (strncmp(*entry, PREFIX, PREFIX_LEN))
            continue;
        for (i = 0; i < SETTINGS; i++)
            if (strlen(settings[i].name) == name_len && !strncmp(*entry, settings[i].name, name_len))
                break;
        status = i == SETTINGS ? unknown_variable(*entry, name_len)
                               : settings[i].parse(settings[i].name, *entry + name_len + 1, opts);
        if (status != KVF_OK)
            return status;
    }
    return KVF_OK;
}

static kvf_status_t check_options(const kvf_engine_opts_t *opts)
{
    if (opts->flags)
        return kvfi_fail(KVF_ERR_INVALID, "opts.flags is 0x%x, no flag is known", opts->flags);
    if (opts->net && one_of(opts->net, nets) < 0)
        return kvfi_fail(KVF_ERR_INVALID, "opts.net is \"%s\": expected auto, tcp, rc or ud", opts->net);
    if (opts->local > KVF_SWITCH_OFF)
        return kvfi_fail(KVF_ERR_INVALID, "opts.local is %u: no such switch", opts->local);
    if (opts->progress > KVF_PROGRESS_CALLER)
        return kvfi_fail(KVF_ERR_INVALID, "opts.progress is %u: no such mode", opts->progress);
    if (opts->check > KVF_SWITCH_OFF)
        return kvfi_fail(KVF_ERR_INVALID, "opts.check is %u: no such switch", opts->check);
    if (opts->notify_depth > 65536)
        return kvfi_fail(KVF_ERR_INVALID, "opts.notify_depth is %u, at most 65536", opts->notify_depth);
    if (opts->copy_threads > COPY_THREADS_MAX)
        return kvfi_fail(KVF_ERR_INVALID, "opts.copy_threads is %u, at most %u", opts->copy_threads,
                         COPY_THREADS_MAX);
    if (opts->pack > KVF_PACK_PACKED)
        return kvfi_fail(KVF_ERR_INVALID, "opts.pack is %u: no such way", opts->pack);
    for (int i = 0; i < 3; i++)
        if (opts->reserved[i])
            return kvfi_fail(KVF_ERR_INVALID, "opts.reserved[%d] is not 0", i);
    return KVF_OK;
}

kvf_status_t kvfi_settings_load(kvf_engine_t *engine, const kvf_engine_opts_t *caller)
{
    kvf_engine_opts_t opts = {0};
    kvf_status_t status = KVF_OK;

    if (caller) {
        status = kvf_struct_read("opts", caller, sizeof opts, &opts);
        if (status == KVF_OK)
            status = check_options(&opts);
    }
    if (status == KVF_OK)
        status = load_environment(&opts);
    if (status != KVF_OK)
        return status;
    if (kvfi_tune_load())
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for how copies are done");
    snprintf(engine->net, sizeof engine->net, "%s", nets[opts.net ? one_of(opts.net, nets) : 0]);
    engine->local_off = opts.local == KVF_SWITCH_OFF;
    engine->check = opts.check == KVF_SWITCH_ON;
    engine->progress = opts.progress ? (kvf_progress_mode_t)opts.progress : KVF_PROGRESS_THREAD;
    engine->deadline_ns = opts.deadline_ns ? opts.deadline_ns : UINT64_C(60000000000);
    engine->depth = opts.notify_depth ? opts.notify_depth : 256;
    engine->rank = opts.rank;
    engine->pack = opts.pack ? (kvf_pack_t)opts.pack : KVF_PACK_AUTO;
    status = kvfi_copiers_plan(engine, opts.copy_threads);
    if (status != KVF_OK)
        return status;
    engine->setting_text = calloc(SETTINGS, VALUE_MAX);
    if (!engine->setting_text)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for the settings");
    for (size_t i = 0; i < SETTINGS; i++)
        settings[i].print(engine, engine->setting_text + i * VALUE_MAX, VALUE_MAX);
    return KVF_OK;
}

kvf_status_t kvf_engine_setting(kvf_engine_t *engine, uint32_t index, const char **name_p,
                                const char **value_p, const char **text_p)
{
    kvf_status_t status = kvfi_enter(engine, KVFI_ENGINE);

    if (status != KVF_OK)
        return status;
    if (!name_p || !value_p || !text_p) {
        status = kvfi_fail(KVF_ERR_INVALID, "name_p, value_p or text_p is NULL");
    } else if (index >= SETTINGS) {
        status = kvfi_fail(KVF_ERR_INVALID, "there is no setting %u, there are %zu", index, SETTINGS);
    } else {
        *name_p = settings[index].name;
        *value_p = engine->setting_text + index * VALUE_MAX;
        *text_p = settings[index].text;
    }
    kvfi_leave(engine);
    return status;
}
