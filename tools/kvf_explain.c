/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kvf_explain: what a transfer of KV cache between two sets of ranks takes, before it is made.
 *
 *   options -> sides -> pairs -> predictions -> report        explain/explain.h has the nouns
 *
 * The report goes to standard output, and to standard error where --json has taken that. Nothing
 * here blocks.
 */
#include "config.h"

#include <string.h>

#include "cli.h"
#include "explain/explain.h"

static int fail(int code)
{
    fprintf(stderr, "kvf_explain: %s\n", kvfi_cli_error());
    return code;
}

static int report(const struct explain_world *world, const struct explain_pairs *pairs, FILE *json)
{
    const char *name = world->opts->json;

    kvfi_explain_text(world, pairs, json == stdout ? stderr : stdout);
    if (json != NULL) {
        kvfi_explain_json(world, pairs, json);
        if (kvfi_cli_close_out("--json", name, json) != 0) {
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
static void predict(struct explain_pairs *pairs)
{
    kvf_engine_t *engine;

    if (kvf_engine_open(NULL, &engine) != KVF_OK) {
        fprintf(stderr, "kvf_explain: nothing is predicted: %s\n", kvf_last_error());
        return;
    }
    kvfi_explain_predict(engine, pairs);
    kvf_engine_close(engine, KVF_FOREVER);
}

static int explain(const struct explain_opts *opts)
{
    struct explain_world world;
    struct explain_pairs pairs;
    FILE *json = NULL;
    int code;

    if (kvfi_explain_open(opts, &world) != 0) {
        return fail(KVFI_EXIT_USAGE);
    }
    if (opts->json != NULL && kvfi_cli_open_out("--json", opts->json, &json) != 0) {
        kvfi_explain_close(&world);
        return fail(KVFI_EXIT_USAGE);
    }
    if (kvfi_explain_pairs_make(&world, &pairs) != 0) {
        code = fail(KVFI_EXIT_WRONG);
        if (json != NULL && json != stdout) {
            fclose(json);
        }
    } else {
        predict(&pairs);
        code = report(&world, &pairs, json);
        kvfi_explain_pairs_free(&pairs);
    }
    kvfi_explain_close(&world);
    return code;
}

int main(int argc, char **argv)
{
    struct explain_opts opts;

    if (kvfi_explain_parse(argc, argv, &opts) != 0) {
        fail(KVFI_EXIT_USAGE);
        fprintf(stderr, "kvf_explain --help says more\n");
        return KVFI_EXIT_USAGE;
    }
    if (opts.help || opts.version) {
        if (opts.help) {
            kvfi_explain_usage(stdout);
        } else {
            printf("kvf_explain %s, UCX %s\n", kvf_version(), kvf_ucx_version());
        }
        return fflush(stdout) == 0 ? KVFI_EXIT_OK : KVFI_EXIT_WRONG;
    }
    return explain(&opts);
}
