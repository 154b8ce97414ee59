/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kvf_explain: what a transfer of KV cache between two sets of ranks takes, before it is made, and
 * with --analyze what it took.
 *
 *   options -> sides -> pairs -> predictions -> run -> report     explain/explain.h has the nouns
 *
 * The report goes to standard output, and to standard error where --json has taken that. Only in a
 * job does anything wait: for the other processes, of which the first one speaks.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "explain/explain.h"
#include "out.h"

static bool speaks = true; /* this process prints */

static int fail(int code)
{
    if (speaks) {
        fprintf(stderr, "kvf_explain: %s\n", kvfi_cli_error());
    }
    return code;
}

static int report(const struct explain_world *world, const struct explain_pairs *pairs)
{
    const char *name = world->opts->json;
    struct kvfi_out json;

    kvfi_explain_text(world, pairs, kvfi_out_is_stdout(name) ? stderr : stdout);
    if (name != NULL) {
        if (kvfi_out_open("--json", name, &json) != 0) {
            return fail(KVFI_EXIT_WRONG);
        }
        kvfi_explain_json(world, pairs, json.file);
        if (kvfi_out_close(&json) != 0) {
            return fail(KVFI_EXIT_WRONG);
        }
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        kvfi_cli_fail("cannot write standard output");
        return fail(KVFI_EXIT_WRONG);
    }
    return KVFI_EXIT_OK;
}

/* An engine knows what paths cost. Without one the rest of the explanation is as good. */
static void predict(const struct explain_job *job, struct explain_pairs *pairs)
{
    kvf_engine_t *engine = job->engine;

    if (engine == NULL && kvf_engine_open(NULL, &engine) != KVF_OK) {
        fprintf(stderr, "kvf_explain: nothing is predicted: %s\n", kvf_last_error());
        return;
    }
    kvfi_explain_predict(engine, pairs);
    if (job->engine == NULL) {
        kvf_engine_close(engine, KVF_FOREVER);
    }
}

/* The pairs are made: predict, run, report. */
static int finish(const struct explain_job *job, const struct explain_world *world,
                  struct explain_pairs *pairs)
{
    int ran = KVFI_EXIT_OK, code = KVFI_EXIT_OK;

    predict(job, pairs);
    if (world->opts->analyze) {
        ran = kvfi_explain_run(job, world, pairs);
    }
    if (ran != KVFI_EXIT_OK) {
        fail(ran);
    }
    if (speaks && (ran == KVFI_EXIT_OK || pairs->wrong > 0)) {
        code = report(world, pairs);
    }
    return ran != KVFI_EXIT_OK ? ran : code;
}

static int explain(const struct explain_job *job, const struct explain_opts *opts)
{
    struct explain_world world;
    struct explain_pairs pairs;
    int code;

    if (kvfi_explain_open(opts, &world) != 0) { /* all processes fail alike */
        return fail(KVFI_EXIT_USAGE);
    }
    code = speaks && opts->json != NULL ? kvfi_out_check("--json", opts->json) : 0;
    if (kvfi_explain_job_agree(job, code) != 0) {
        kvfi_explain_close(&world);
        return fail(KVFI_EXIT_USAGE);
    }
    code = kvfi_explain_pairs_make(&world, &pairs);
    if (kvfi_explain_job_agree(job, code) != 0) {
        fail(KVFI_EXIT_WRONG);
        if (code == 0) {
            kvfi_explain_pairs_free(&pairs);
        }
        code = KVFI_EXIT_WRONG;
    } else {
        code = finish(job, &world, &pairs);
        kvfi_explain_pairs_free(&pairs);
    }
    kvfi_explain_close(&world);
    return code;
}

static int run_job(int argc, char **argv, const struct explain_opts *opts)
{
    struct explain_job job;
    int code = kvfi_explain_job_open(opts, &argc, &argv, &job);

    speaks = job.rank == 0;
    code = code != KVFI_EXIT_OK ? fail(code) : explain(&job, opts);
    kvfi_explain_job_close(&job);
    return code;
}

int main(int argc, char **argv)
{
    struct explain_opts opts;

    if (kvfi_explain_parse(argc, argv, &opts) != 0) {
        speaks = kvfi_cli_speaks();
        fail(KVFI_EXIT_USAGE);
        if (speaks) {
            fprintf(stderr, "kvf_explain --help says more\n");
        }
        return KVFI_EXIT_USAGE;
    }
    if (opts.help || opts.version) {
        if (opts.help && kvfi_cli_speaks()) {
            kvfi_explain_usage(stdout);
        } else if (kvfi_cli_speaks()) {
            printf("kvf_explain %s, UCX %s\n", kvf_version(), kvf_ucx_version());
        }
        return fflush(stdout) == 0 ? KVFI_EXIT_OK : KVFI_EXIT_WRONG;
    }
    if (opts.analyze || kvfi_cli_in_job()) {
        return run_job(argc, argv, &opts);
    }
    speaks = kvfi_cli_speaks();
    return explain(&(struct explain_job){.mpi = NULL}, &opts);
}
