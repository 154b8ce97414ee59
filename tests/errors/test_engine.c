/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The errors of the engine's own calls and of the monitor, and the settings: every option and every
 * KVFERRY_ variable that is wrong is named.
 */
#include "../engine/rig.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct bad_option {
    const char *field;
    kvf_engine_opts_t opts;
} bad_option_t;

#define SIZED .struct_size = sizeof(kvf_engine_opts_t)

static const bad_option_t bad_options[] = {
    {"struct_size", {.struct_size = 0}},  {"struct_size", {.struct_size = 3}},
    {"flags", {SIZED, .flags = 1}},       {"net", {SIZED, .net = "carrier-pigeon"}},
    {"net", {SIZED, .net = ""}},          {"local", {SIZED, .local = 3}},
    {"progress", {SIZED, .progress = 3}}, {"notify_depth", {SIZED, .notify_depth = 65537}},
    {"check", {SIZED, .check = 3}},       {"copy_threads", {SIZED, .copy_threads = 65}},
    {"pack", {SIZED, .pack = 4}},         {"reserved", {SIZED, .reserved = {0, 0, 1}}},
};

START_TEST(open_names_a_bad_option)
{
    const bad_option_t *b = &bad_options[_i];
    kvf_engine_t *engine = NULL;

    refused_naming(kvf_engine_open(&b->opts, &engine), KVF_ERR_INVALID, b->field);
    must(engine == NULL, "an output of a failure");
}
END_TEST

START_TEST(open_needs_a_place_for_the_engine)
{
    refused_naming(kvf_engine_open(NULL, NULL), KVF_ERR_INVALID, "engine_p");
}
END_TEST

typedef struct bad_variable {
    const char *name;
    const char *value;
} bad_variable_t;

static const bad_variable_t bad_variables[] = {
    {"KVFERRY_NET", "carrier-pigeon"},
    {"KVFERRY_LOCAL", "maybe"},
    {"KVFERRY_PROGRESS", "sometimes"},
    {"KVFERRY_DEADLINE", "soon"},
    {"KVFERRY_DEADLINE", "-1"},
    {"KVFERRY_DEADLINE", "12x"},
    {"KVFERRY_DEADLINE", "99999999999999999999999"},
    {"KVFERRY_NOTIFY_DEPTH", "0"},
    {"KVFERRY_NOTIFY_DEPTH", "65537"},
    {"KVFERRY_NOTIFY_DEPTH", "four"},
    {"KVFERRY_COPY_THREADS", "65"},
    {"KVFERRY_COPY_THREADS", "-1"},
    {"KVFERRY_COPY_THREADS", ""},
    {"KVFERRY_PACK", "tight"},
    {"KVFERRY_PACK", "default"},
    {"KVFERRY_COPY_KERNEL", "mmx"},
#if defined(__aarch64__)
    {"KVFERRY_COPY_KERNEL", "avx512"},
#else
    {"KVFERRY_COPY_KERNEL", "neon"},
#endif
    {"KVFERRY_STREAM_FROM", "4M"},
    {"KVFERRY_STREAM_FROM", "-1"},
    {"KVFERRY_CALIBRATION", ""},
    {"KVFERRY_CHECK", "2"},
    {"KVFERRY_LOG", "shout"},
};

START_TEST(open_names_a_bad_variable)
{
    const bad_variable_t *b = &bad_variables[_i];
    kvf_engine_t *engine = NULL;

    setenv(b->name, b->value, 1);
    refused_naming(kvf_engine_open(NULL, &engine), KVF_ERR_INVALID, b->name);
    must(engine == NULL, "an output of a failure");
    unsetenv(b->name);
    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

typedef struct misspelling {
    const char *name;
    const char *meant;
} misspelling_t;

static const misspelling_t misspellings[] = {
    {"KVFERRY_NETT", "KVFERRY_NET"},
    {"KVFERRY_NTE", "KVFERRY_NET"},
    {"KVFERRY_net", "KVFERRY_NET"},
    {"KVFERRY_LOGS", "KVFERRY_LOG"},
    {"KVFERRY_LOCALE", "KVFERRY_LOCAL"},
    {"KVFERRY_DEADLINES", "KVFERRY_DEADLINE"},
    {"KVFERRY_PROGESS", "KVFERRY_PROGRESS"},
    {"KVFERRY_COPYTHREADS", "KVFERRY_COPY_THREADS"},
    {"KVFERRY_NOTIFY_DETPH", "KVFERRY_NOTIFY_DEPTH"},
};

START_TEST(open_names_the_setting_that_a_misspelled_variable_means)
{
    const misspelling_t *m = &misspellings[_i];
    kvf_engine_t *engine = NULL;
    char meant[64];

    snprintf(meant, sizeof(meant), "is %s meant?", m->meant);
    setenv(m->name, "1", 1);
    refused_naming(kvf_engine_open(NULL, &engine), KVF_ERR_INVALID, m->name);
    must(strstr(kvf_last_error(), meant) != NULL, "\"%s\"", kvf_last_error());
    must(engine == NULL, "an output of a failure");
}
END_TEST

/* Environment modules set such ones. */
START_TEST(variables_that_resemble_no_setting_are_let_through)
{
    static const char *const names[] = {
        "ROOT",   "DIR",
        "HOME",   "VERSION",
        "INC",    "INCLUDE",
        "LIB",    "LIBDIR",
        "LIBS",   "BIN",
        "PATH",   "PREFIX",
        "MODULE", "BASE",
        "DATA",   "CACHE",
        "HOST",   "RANK",
        "NODE",   "DOC",
        "",       "VERSION_A_NAME_THAT_IS_LONGER_THAN_ANY_OF_A_SETTING",
        "MAN",    "PKG_CONFIG_PATH",
    };
    kvf_engine_t *engine = NULL;
    char name[128];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(name, sizeof(name), "KVFERRY_%s", names[i]);
        setenv(name, "/opt/kvferry", 1);
    }
    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

/* A FIFO that nobody writes to would hold whoever opens it. */
START_TEST(a_calibration_that_is_no_file_is_not_read)
{
    char name[] = "/tmp/kvferry-test-XXXXXX";
    char fifo[64];
    kvf_engine_t *engine = NULL;

    must(mkdtemp(name) != NULL, "%s", strerror(errno));
    snprintf(fifo, sizeof(fifo), "%s/fifo", name);
    must(mkfifo(fifo, 0600) == 0, "%s", strerror(errno));
    setenv("KVFERRY_CALIBRATION", _i == 0 ? fifo : _i == 1 ? "/dev/zero" : name, 1);
    alarm(5 * patience());
    ok(kvf_engine_open(NULL, &engine));
    alarm(0);
    ok(kvf_engine_close(engine, patient(1)));
    unlink(fifo);
    rmdir(name);
}
END_TEST

/* What a calibration may not replace: a file of the user's, which may begin with a NUL, what is no file,
 * a link to any of these and one that leads nowhere. */
START_TEST(a_calibration_replaces_no_other_file)
{
    static const char *const whys[] = {"it is a file of another kind", "it is a file of another kind",
                                       "it is not a regular file", "it is not a regular file",
                                       "it is a symbolic link to nothing"};
    char name[] = "/tmp/kvferry-test-XXXXXX", file[64], link[64], want[256], text[8];
    kvf_engine_t *engine = NULL;
    struct stat st, after;
    int fd;

    must(mkdtemp(name) != NULL, "%s", strerror(errno));
    snprintf(file, sizeof(file), "%s/file", name);
    snprintf(link, sizeof(link), "%s/link", name);
    must(symlink("file", link) == 0, "%s", strerror(errno));
    if (_i < 2) {
        must((fd = open(file, O_WRONLY | O_CREAT, 0600)) >= 0, "%s", strerror(errno));
        must(write(fd, _i == 0 ? "mine" : "\0ine", 4) == 4, "%s", strerror(errno));
        close(fd);
    } else if (_i < 4) {
        must((_i == 2 ? mkfifo(file, 0600) : mkdir(file, 0700)) == 0, "%s", strerror(errno));
    }
    ok(kvf_engine_open(NULL, &engine));
    alarm(5 * patience());
    for (int i = _i == 4; i < 2; i++) {
        const char *to = i == 0 ? file : link;

        must(lstat(to, &st) == 0, "%s", strerror(errno));
        snprintf(want, sizeof(want), "cannot write the calibration %s: %s", to, whys[_i]);
        refused_naming(kvf_engine_calibrate(engine, to), KVF_ERR_SYSTEM, want);
        must(lstat(to, &after) == 0 && after.st_ino == st.st_ino, "%s was replaced", to);
    }
    alarm(0);
    if (_i < 2) {
        must((fd = open(file, O_RDONLY)) >= 0, "%s", strerror(errno));
        must(read(fd, text, sizeof(text)) == 4 && !memcmp(text + 1, "ine", 3), "the file was written");
        close(fd);
    }
    ok(kvf_engine_close(engine, patient(1)));
    must(unlink(link) == 0, "%s", strerror(errno));
    if (_i < 4)
        must((_i == 3 ? rmdir(file) : unlink(file)) == 0, "%s", strerror(errno));
    must(rmdir(name) == 0, "something was left beside the file");
}
END_TEST

static const char *setting(kvf_engine_t *engine, const char *want)
{
    const char *name = NULL;
    const char *value = NULL;
    const char *text = NULL;

    for (uint32_t i = 0; kvf_engine_setting(engine, i, &name, &value, &text) == KVF_OK; i++) {
        must(name != NULL && value != NULL && text != NULL && text[0] != '\0', "setting %u", i);
        if (strcmp(name, want) == 0) {
            return value;
        }
    }
    check_failed(__FILE__, __LINE__, "no setting %s", want);
}

START_TEST(variables_override_defaults_never_what_the_caller_set)
{
    kvf_engine_t *engine = NULL;
    kvf_engine_opts_t opts = {SIZED, .net = "auto", .notify_depth = 9};

    setenv("KVFERRY_NOTIFY_DEPTH", "77", 1);
    setenv("KVFERRY_NET", "tcp", 1);
    ok(kvf_engine_open(NULL, &engine));
    ck_assert_str_eq(setting(engine, "KVFERRY_NOTIFY_DEPTH"), "77");
    ck_assert_str_eq(setting(engine, "KVFERRY_NET"), "tcp");
    ok(kvf_engine_close(engine, patient(1)));
    ok(kvf_engine_open(&opts, &engine));
    ck_assert_str_eq(setting(engine, "KVFERRY_NOTIFY_DEPTH"), "9");
    ck_assert_str_eq(setting(engine, "KVFERRY_NET"), "auto");
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

START_TEST(setting_past_the_last_one)
{
    kvf_engine_t *engine = NULL;
    const char *name;
    const char *value;
    const char *text;

    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_engine_setting(engine, 0, &name, &value, &text));
    refused_naming(kvf_engine_setting(engine, 10000, &name, &value, &text), KVF_ERR_INVALID, "10000");
    refused(kvf_engine_setting(engine, 0, NULL, &value, &text), KVF_ERR_INVALID, NULL);
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

/* A wire that the machine has not: at open, or when its address is asked for. */
START_TEST(a_wire_that_is_not_there_is_unsupported)
{
    kvf_engine_t *engine = NULL;
    kvf_engine_opts_t opts = {SIZED, .net = "rc"};
    uint8_t buf[BLOB_MAX];
    size_t len = sizeof(buf);
    kvf_status_t status;

    if (access("/dev/infiniband", F_OK) == 0) {
        return; /* it may well be there */
    }
    status = kvf_engine_open(&opts, &engine);
    if (status == KVF_OK) {
        refused_naming(kvf_engine_export(engine, KVF_BLOB_FAR, buf, &len), KVF_ERR_UNSUPPORTED, "rc");
        len = sizeof(buf);
        ok(kvf_engine_export(engine, 0, buf, &len)); /* near peers need no wire */
        ok(kvf_engine_close(engine, patient(1)));
    } else {
        refused_naming(status, KVF_ERR_UNSUPPORTED, "rc");
    }
}
END_TEST

START_TEST(no_descriptors_left_is_a_sentence)
{
    kvf_engine_t *engine = NULL;
    struct rlimit limit;
    kvf_status_t status;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 8;
    setrlimit(RLIMIT_NOFILE, &limit);
    status = kvf_engine_open(NULL, &engine);
    must(status == KVF_ERR_SYSTEM || status == KVF_ERR_NOMEM || status == KVF_OK, "%s",
         kvf_status_name(status));
    must(status == KVF_OK || kvf_last_error()[0] != '\0', "no sentence");
    must((status == KVF_OK) == (engine != NULL), "output and status disagree");
}
END_TEST

START_TEST(export_flags_and_space)
{
    kvf_engine_t *engine = NULL;
    uint8_t buf[BLOB_MAX];
    size_t need = 0;
    size_t len;

    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_engine_export(engine, 0, NULL, &need));
    must(need > 40 && need < sizeof(buf), "%zu bytes", need);
    len = need - 1;
    memset(buf, 0xcc, sizeof(buf));
    refused_naming(kvf_engine_export(engine, 0, buf, &len), KVF_ERR_SPACE, "");
    must(len == need, "the need is %zu, not %zu", need, len);
    must(buf[need - 1] == 0xcc && buf[need] == 0xcc, "written past the buffer");
    len = need;
    ok(kvf_engine_export(engine, 0, buf, &len));
    must(len == need && buf[need] == 0xcc, "the length");
    len = sizeof(buf);
    refused_naming(kvf_engine_export(engine, 0x80, buf, &len), KVF_ERR_INVALID, "flags");
    refused_naming(kvf_engine_export(engine, 0, buf, NULL), KVF_ERR_INVALID, "len_p");
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

START_TEST(calibration_without_a_place)
{
    kvf_engine_t *engine = NULL;
    char longer[300];

    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    ok(kvf_engine_open(NULL, &engine));
    refused_naming(kvf_engine_calibrate(engine, ""), KVF_ERR_INVALID, "file has 0 bytes");
    refused_naming(kvf_engine_calibrate(engine, longer), KVF_ERR_INVALID, "file has 299 bytes");
    refused_naming(kvf_engine_calibrate(engine, "/proc/self/none/of/it"), KVF_ERR_SYSTEM,
                   "cannot write the calibration /proc/self/none/of/it");
    refused_naming(kvf_engine_calibrate(engine, "/tmp/kvferry-no-such-folder/file"), KVF_ERR_SYSTEM,
                   "cannot write the calibration /tmp/kvferry-no-such-folder/file: No such file");
    must(access("/tmp/kvferry-no-such-folder", F_OK) != 0, "a folder of a file that was named was made");
    setenv("KVFERRY_CALIBRATION", "off", 1);
    refused_naming(kvf_engine_calibrate(engine, NULL), KVF_ERR_INVALID, "file is NULL");
    unsetenv("KVFERRY_CALIBRATION");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    refused_naming(kvf_engine_calibrate(engine, NULL), KVF_ERR_INVALID, "file is NULL");
    ok(kvf_engine_close(engine, patient(1)));
    refused(kvf_engine_calibrate(engine, NULL), KVF_ERR_INVALID, NULL);
}
END_TEST

START_TEST(ucx_text_and_space)
{
    kvf_engine_t *engine = NULL;
    static char buf[1 << 20];
    size_t need = 0;
    size_t len = 3;

    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_engine_ucx_text(engine, NULL, &need));
    refused(kvf_engine_ucx_text(engine, buf, &len), KVF_ERR_SPACE, NULL);
    must(len >= need / 2, "the need");
    len = sizeof(buf);
    ok(kvf_engine_ucx_text(engine, buf, &len));
    must(len > 10 && buf[len - 1] == '\0' && strlen(buf) == len - 1, "%zu bytes", len);
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

START_TEST(outputs_that_are_null_or_have_no_size)
{
    kvf_engine_t *engine = NULL;
    kvf_counters_t counters = {.struct_size = 0};
    kvf_flow_t flow = {.struct_size = sizeof(flow)};
    uint64_t cursor = 0;
    kvf_peer_t *peer;

    ok(kvf_engine_open(NULL, &engine));
    refused_naming(kvf_engine_counters(engine, NULL), KVF_ERR_INVALID, "counters_p");
    refused_naming(kvf_engine_counters(engine, &counters), KVF_ERR_INVALID, "struct_size");
    refused_naming(kvf_engine_flow(engine, NULL, &flow), KVF_ERR_INVALID, "cursor_p");
    refused_naming(kvf_engine_flow(engine, &cursor, NULL), KVF_ERR_INVALID, "flow_p");
    refused_naming(kvf_engine_peer(engine, NULL, &peer), KVF_ERR_INVALID, "cursor_p");
    refused_naming(kvf_engine_peer(engine, &cursor, NULL), KVF_ERR_INVALID, "peer_p");
    must(cursor == 0, "a cursor that moved on");
    answers(kvf_engine_flow(engine, &cursor, &flow), KVF_INPROGRESS);
    cursor = UINT64_MAX; /* nobody's: past the end */
    answers(kvf_engine_flow(engine, &cursor, &flow), KVF_INPROGRESS);
    answers(kvf_engine_peer(engine, &cursor, &peer), KVF_INPROGRESS);
    refused_naming(kvf_engine_fd(engine, NULL), KVF_ERR_INVALID, "fd_p");
    refused_naming(kvf_notify_recv(engine, NULL), KVF_ERR_INVALID, "notification_p");
    ok(kvf_engine_close(engine, patient(1)));
}
END_TEST

START_TEST(a_null_or_closed_engine)
{
    kvf_engine_t *engine = NULL;
    size_t len = 0;
    int fd;

    ok(kvf_engine_open(NULL, &engine));
    ok(kvf_engine_close(engine, patient(1)));
    for (int i = 0; i < 2; i++) {
        kvf_engine_t *bad = i == 0 ? NULL : engine;
        kvf_segment_t *segment = NULL;
        kvf_batch_t *batch = NULL;

        refused_naming(kvf_progress(bad), KVF_ERR_INVALID, "engine");
        refused_naming(kvf_engine_arm(bad), KVF_ERR_INVALID, "engine");
        refused_naming(kvf_engine_fd(bad, &fd), KVF_ERR_INVALID, "engine");
        refused_naming(kvf_engine_export(bad, 0, NULL, &len), KVF_ERR_INVALID, "engine");
        refused_naming(kvf_segment_alloc(bad, 4096, &segment), KVF_ERR_INVALID, "engine");
        refused_naming(kvf_batch_create(bad, &batch), KVF_ERR_INVALID, "engine");
        refused_naming(kvf_engine_path_check(bad, KVF_PATH_SELF), KVF_ERR_INVALID, "engine");
        must(kvf_engine_incarnation(bad) == 0, "an incarnation of no engine");
    }
    refused_naming(kvf_engine_close(engine, patient(1)), KVF_ERR_INVALID, "engine");
}
END_TEST

/* ------------------------------------------------------------------- closing */

#define BIG (UINT64_C(32) << 20)

static void *reads_without_end(void *arg)
{
    side_t *side = arg;
    kvf_batch_t *batch = NULL;
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .flags = KVF_BATCH_INLINE};
    kvf_op_t op = op_plain(side->segment, 0, side->remote[0], 0, BIG, KVF_READ);

    ok(kvf_batch_create(side->engine, &batch));
    while (kvf_batch_post(batch, &op, 1, sizeof(op), &opts) == KVF_OK &&
           kvf_batch_wait(batch, patient(10)) == KVF_OK) {
    }
    return NULL;
}

static void at_read_without_end(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    pthread_t thread;

    (void)in;
    (void)in_len;
    (void)out;
    must(pthread_create(&thread, NULL, reads_without_end, state) == 0, "no thread");
    pthread_detach(thread);
}

typedef struct closer {
    kvf_engine_t *engine;
    kvf_status_t status;
} closer_t;

static void *closes(void *arg)
{
    closer_t *c = arg;

    c->status = kvf_engine_close(c->engine, 400 * MS);
    return NULL;
}

/* A reader that is stopped inside a slice holds up the close: TIMEOUT, and a second closer BUSY. */
START_TEST(close_says_timeout_and_a_second_closer_busy)
{
    side_slot_t slot = {0, 0};
    uint8_t buf[sizeof(slot) + BLOB_MAX];

    for (int round = 0; round < 30; round++) {
        rig_t rig;
        rig_opts_t opts = {.owner_len = BIG, .local_len = BIG, .local_alloc = 1};
        kvf_grant_t *grant = NULL;
        kvf_range_t range = {.len = BIG, .rights = KVF_RIGHT_READ};
        closer_t first;
        pthread_t thread;
        kvf_status_t second;
        pid_t child = fork(); /* a process for each try: rigs fork before any engine */

        if (child > 0) {
            int status;

            must(waitpid(child, &status, 0) == child, "waitpid");
            must(WIFEXITED(status) && WEXITSTATUS(status) <= 1, "the try: %x", (unsigned)status);
            if (WEXITSTATUS(status) == 0) {
                return;
            }
            continue;
        }
        rig_open(&rig, WHERE_SHM, &opts);
        range.segment = rig.me.segment;
        ok(kvf_grant_create(rig.me.engine, &range, 1, NULL, &grant));
        memcpy(buf, &slot, sizeof(slot));
        {
            size_t len;

            grant_blob(grant, buf + sizeof(slot), &len);
            rig_call(&rig, side_import_remote, buf, sizeof(slot) + len, NULL, 0);
        }
        rig_call(&rig, at_read_without_end, NULL, 0, NULL, 0);
        sleep_ms(20 + (unsigned)round);
        proc_signal(&rig.owner, SIGSTOP);
        first.engine = rig.me.engine;
        must(pthread_create(&thread, NULL, closes, &first) == 0, "no thread");
        sleep_ms(100);
        second = kvf_engine_close(rig.me.engine, 10 * MS);
        pthread_join(thread, NULL);
        proc_signal(&rig.owner, SIGCONT);
        proc_signal(&rig.owner, SIGKILL);
        if (first.status != KVF_ERR_TIMEOUT || second != KVF_ERR_BUSY) {
            /* the reader stood between two slices, or the first closer's thread came late */
            fprintf(stderr, "first closer %s, second %s\n", kvf_status_name(first.status),
                    kvf_status_name(second));
            _exit(1);
        }
        _exit(0);
    }
    ck_abort_msg("the first closer was never caught inside a slice, with the second beside it");
}
END_TEST

static void *copies_long(void *arg)
{
    rig_t *rig = arg;
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts), .flags = KVF_BATCH_INLINE};
    kvf_op_t op = op_plain(rig->me.segment, 0, rig->remote, 0, 1 << 20, KVF_READ);

    op.blocks = 20000; /* the same megabyte again and again */
    while (kvf_batch_post(rig->batch, &op, 1, sizeof(op), &opts) == KVF_OK) {
    }
    return NULL;
}

/* A call of another thread is under way: close may give up in time, refuses new calls, and is called
 * again. */
START_TEST(close_beside_a_long_call_is_called_again)
{
    rig_t rig;
    pthread_t thread;
    kvf_status_t status;
    kvf_batch_t *batch = NULL;

    rig_open(&rig, WHERE_SELF, NULL);
    must(pthread_create(&thread, NULL, copies_long, &rig) == 0, "no thread");
    sleep_ms(50);
    status = kvf_engine_close(rig.me.engine, 1);
    while (status == KVF_ERR_TIMEOUT) {
        kvf_status_t other = kvf_batch_create(rig.me.engine, &batch);

        must(other == KVF_ERR_CLOSED || other == KVF_ERR_INVALID, "a call on a closing engine: %s",
             kvf_status_name(other));
        status = kvf_engine_close(rig.me.engine, patient(10));
    }
    must(status == KVF_OK || status == KVF_ERR_INVALID, "%s (%s)", kvf_status_name(status), kvf_last_error());
    pthread_join(thread, NULL);
    free(rig.here.heap);
    free(rig.me.heap);
}
END_TEST

/* ------------------------------------------------------------- plain strings */

START_TEST(cost_of_no_path_and_of_impossible_pieces)
{
    kvf_engine_t *engine;
    uint64_t ns = 77;

    ok(kvf_engine_open(NULL, &engine));
    refused_naming(kvf_path_cost(NULL, KVF_PATH_SHM, 1, 1, 64, &ns), KVF_ERR_INVALID, "engine");
    refused_naming(kvf_path_cost(engine, KVF_PATH_NONE, 1, 1, 64, &ns), KVF_ERR_INVALID, "path is 0");
    refused_naming(kvf_path_cost(engine, KVF_PATH_COUNT, 1, 1, 64, &ns), KVF_ERR_INVALID, "path is 9");
    refused_naming(kvf_path_cost(engine, KVF_PATH_SHM, 1, 65, 64, &ns), KVF_ERR_INVALID, "pieces is 65");
    refused_naming(kvf_path_cost(engine, KVF_PATH_SHM, 1, 0, 64, &ns), KVF_ERR_INVALID, "pieces is 0");
    refused_naming(kvf_path_cost(engine, KVF_PATH_SHM, 1, 1, 64, NULL), KVF_ERR_INVALID, "ns_p is NULL");
    refused_naming(kvf_path_cost(engine, KVF_PATH_RMA, 1, 1, 64, &ns), KVF_ERR_UNSUPPORTED,
                   "nothing is known of what path rma costs");
    must(ns == 77, "an output of a failure");
    ok(kvf_engine_close(engine, SEC));
}
END_TEST

START_TEST(names_are_never_null)
{
    ck_assert_str_eq(kvf_status_name(KVF_OK), "KVF_OK");
    ck_assert_str_eq(kvf_status_name(KVF_INPROGRESS), "KVF_INPROGRESS");
    ck_assert_str_eq(kvf_status_name(KVF_SKIPPED), "KVF_SKIPPED");
    ck_assert_str_eq(kvf_status_name(KVF_ERR_STALE), "KVF_ERR_STALE");
    ck_assert_str_eq(kvf_status_name(KVF_ERR_FORKED), "KVF_ERR_FORKED");
    must(kvf_status_name((kvf_status_t)-999) != NULL, "the name of no status");
    for (int s = -20; s <= 2; s++) {
        must(strncmp(kvf_status_name((kvf_status_t)s), "KVF_", 4) == 0, "status %d", s);
    }
    ck_assert_str_eq(kvf_path_name(KVF_PATH_SHM), "shm");
    ck_assert_str_eq(kvf_path_name(KVF_PATH_CUDA_IPC), "cuda_ipc");
    ck_assert_str_eq(kvf_path_name((kvf_path_t)99), "none");
    ck_assert_str_eq(kvf_path_name((kvf_path_t)-1), "none");
    ck_assert_str_eq(kvf_last_error(), "");
    ck_assert_int_eq(kvf_fail(KVF_ERR_STALE, "of a %s: %d", "caller", 3), KVF_ERR_STALE);
    ck_assert_str_eq(kvf_last_error(), "of a caller: 3");
    ck_assert_str_eq(kvf_version(), "0.1.0");
    must(kvf_ucx_version()[0] >= '1', "UCX \"%s\"", kvf_ucx_version());
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("errors of the engine");
    TCase *tc = tcase_create("engine");

    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, open_names_a_bad_option, 0, sizeof(bad_options) / sizeof(bad_options[0]));
    tcase_add_test(tc, open_needs_a_place_for_the_engine);
    tcase_add_loop_test(tc, open_names_a_bad_variable, 0, sizeof(bad_variables) / sizeof(bad_variables[0]));
    tcase_add_loop_test(tc, open_names_the_setting_that_a_misspelled_variable_means, 0,
                        sizeof(misspellings) / sizeof(misspellings[0]));
    tcase_add_test(tc, variables_that_resemble_no_setting_are_let_through);
    tcase_add_loop_test(tc, a_calibration_that_is_no_file_is_not_read, 0, 3);
    tcase_add_loop_test(tc, a_calibration_replaces_no_other_file, 0, 5);
    tcase_add_test(tc, variables_override_defaults_never_what_the_caller_set);
    tcase_add_test(tc, setting_past_the_last_one);
    tcase_add_test(tc, a_wire_that_is_not_there_is_unsupported);
    tcase_add_test(tc, no_descriptors_left_is_a_sentence);
    tcase_add_test(tc, export_flags_and_space);
    tcase_add_test(tc, calibration_without_a_place);
    tcase_add_test(tc, ucx_text_and_space);
    tcase_add_test(tc, outputs_that_are_null_or_have_no_size);
    tcase_add_test(tc, a_null_or_closed_engine);
    tcase_add_test(tc, close_says_timeout_and_a_second_closer_busy);
    tcase_add_test(tc, close_beside_a_long_call_is_called_again);
    tcase_add_test(tc, cost_of_no_path_and_of_impossible_pieces);
    tcase_add_test(tc, names_are_never_null);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
