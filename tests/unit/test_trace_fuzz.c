/*
 * Mutated lines against the reader of traces: bytes changed, dropped, doubled, swapped in from the
 * other line, and the end cut off, always from the same seed. Whatever comes out, the reader ends,
 * reads nothing out of bounds (under the address sanitizer this shows), says a sentence with each
 * refusal, and what it accepts keeps every promise that trace.h makes. Other seeds and counts:
 * test_trace_fuzz SEED ITERATIONS.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../tools/fit.h"
#include "../../tools/trace.h"

#define ITERATIONS 20000
#define LEN_MAX    2048

static const char *const seeds[] = {
    "{\"timestamp\": 0, \"input_length\": 1100, \"output_length\": 5, \"hash_ids\": [0, 1, 2]}\n"
    "{\"timestamp\": 1.5, \"input_length\": 513, \"output_length\": 0, \"hash_ids\": [0, 9]}\r\n\n"
    "{\"x\": {\"a\": [1, {\"b\": null}], \"c\":\"\\u00e9\\\"\"}, \"timestamp\": 3, \"input_length\""
    ": 512, \"output_length\": 7, \"hash_ids\": [18446744073709551615]}",
    "\xef\xbb\xbf{\"chat_id\": 159, \"parent_chat_id\": -1, \"timestamp\": 61.1e0, \"input_length\""
    ": 40, \"output_length\": 132, \"type\": \"text\", \"turn\": 2, \"hash_ids\": [1089, 109, 7]}\n"
    "{\"chat_id\": 160, \"parent_chat_id\": 159, \"timestamp\": 62, \"input_length\": 16, "
    "\"output_length\": 1, \"type\": \"file\", \"turn\": 3, \"hash_ids\": [1089]}\n",
};

static uint64_t state;

static uint64_t next(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % below;
}

static size_t mutate(char *buf, size_t len)
{
    static const char likely[] = "{}[]\",:\\0123456789-+.eEu \n\r\t";
    size_t off = next(len);

    switch (next(6)) {
    case 0:
        buf[off] = (char)next(256);
        return len;
    case 1:
        buf[off] = likely[next(sizeof(likely))]; /* the NUL at its end too */
        return len;
    case 2:
        memmove(buf + off, buf + off + 1, len - off - 1);
        return len - 1;
    case 3: {
        size_t part = 1 + next(len - off);

        if (len + part > LEN_MAX)
            return len;
        memmove(buf + off + part, buf + off, len - off);
        return len + part;
    }
    case 4: {
        const char *from = seeds[next(2)];
        size_t at = next(strlen(from)), part = 1 + next(24);

        if (part > strlen(from) - at)
            part = strlen(from) - at;
        if (part > len - off)
            part = len - off;
        memcpy(buf + off, from + at, part);
        return len;
    }
    default:
        return next(8) == 0 ? off : len;
    }
}

static const char *broken_promise(const kvfi_trace_t *trace, kvfi_trace_status_t status, const char *err,
                                  const kvfi_trace_opts_t *opts)
{
    uint64_t first = 0;

    if ((status == KVFI_TRACE_OK) != (err[0] == '\0'))
        return "status and sentence differ";
    if (status == KVFI_TRACE_IO || status == KVFI_TRACE_NOMEM)
        return "a fault that is none of the input's";
    if ((status == KVFI_TRACE_OK) != (trace->request_count > 0))
        return "status and requests differ";
    if (!opts->skip_bad && trace->skipped_lines > 0)
        return "lines skipped unasked";
    if (opts->max_requests > 0 && trace->request_count > opts->max_requests)
        return "more requests than wanted";
    for (uint64_t i = 0; i < trace->request_count; i++) {
        const kvfi_trace_request_t *request = &trace->requests[i];

        if (request->first != first || request->count == 0 ||
            request->count != kvfi_fit_blocks(request->input_length, trace->block_tokens))
            return "ids and lengths differ";
        if (request->line == 0 || request->line > trace->line_count || !(request->timestamp_s >= 0))
            return "line or time out of range";
        first += request->count;
    }
    return first == trace->id_count ? NULL : "ids left over";
}

static int run_one(const char *buf, size_t len)
{
    kvfi_trace_opts_t opts = {.max_requests = next(3), .skip_bad = (int)next(2)};
    char err[KVFI_TRACE_ERR_LEN];
    kvfi_trace_status_t status;
    kvfi_trace_t trace;
    const char *broken;
    FILE *file = fmemopen((void *)(uintptr_t)buf, len, "r");

    if (file == NULL) {
        perror("fmemopen");
        exit(1);
    }
    status = kvfi_trace_read(file, "fuzz", &opts, &trace, err);
    fclose(file);
    broken = broken_promise(&trace, status, err, &opts);
    if (broken != NULL)
        fprintf(stderr, "%s: status %d, \"%s\", input:\n%.*s\n", broken, (int)status, err, (int)len, buf);
    kvfi_trace_free(&trace);
    return broken != NULL ? -1 : (int)(status == KVFI_TRACE_OK);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 20, accepted = 0;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : ITERATIONS;
    char buf[LEN_MAX];

    state = seed * 2 + 1;
    for (uint64_t i = 0; i < count; i++) {
        const char *from = seeds[next(2)];
        size_t len = strlen(from);
        uint64_t rounds = next(4);
        int rc;

        memcpy(buf, from, len);
        for (uint64_t round = 0; round < rounds && len > 1; round++)
            len = mutate(buf, len);
        if (len == 0)
            continue;
        rc = run_one(buf, len);
        if (rc < 0) {
            fprintf(stderr, "seed %llu, iteration %llu\n", (unsigned long long)seed, (unsigned long long)i);
            return 1;
        }
        accepted += (uint64_t)rc;
    }
    printf("%llu inputs, %llu accepted\n", (unsigned long long)count, (unsigned long long)accepted);
    /* Neither all nor none: else the mutations test nothing. */
    return count >= 1000 && (accepted < count / 10 || accepted > count - count / 10);
}
