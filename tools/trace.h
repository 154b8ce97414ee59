/*
 * The reader of request traces: one JSON object a line, as the Mooncake paper and Qwen-Bailian
 * published them, into two flat arrays that can be broadcast as they are.
 *
 * This room knows the two formats, tells them apart by their fields, finds out when the number of
 * tokens a block that it was given contradicts the file, and says of each bad line where and what.
 * It leaves to its caller what is done with the requests. It knows no MPI and no engine. Reading
 * blocks as long as the stream does; a pipe is as good as a file, nothing is read twice.
 *
 *   Mooncake       timestamp (ms)  input_length  output_length  hash_ids       512 tokens a block
 *   Qwen-Bailian   timestamp (s)   the same, and chat_id, with parent_chat_id, type, turn   16
 *
 * Any other field is checked for grammar and ignored. A row holds len(hash_ids) ==
 * ceil(input_length / block_tokens), at least one. Blank lines, CRLF, a byte order mark and a
 * missing last newline change nothing. One request may name an id twice.
 */
#ifndef KVFI_TOOLS_TRACE_H
#define KVFI_TOOLS_TRACE_H

#include <stdint.h>
#include <stdio.h>

#define KVFI_TRACE_ERR_LEN    512 /* bytes of a sentence, its NUL included */
#define KVFI_TRACE_SKIPS_KEPT 5   /* sentences of skipped lines that are kept */

typedef enum {
    KVFI_TRACE_OK = 0,
    KVFI_TRACE_BAD = -1,   /* a malformed line, two formats, or lengths that contradict the block */
    KVFI_TRACE_EMPTY = -2, /* no request, or only skipped lines; the trace still counts those */
    KVFI_TRACE_IO = -3,    /* the stream failed */
    KVFI_TRACE_NOMEM = -4,
} kvfi_trace_status_t;

typedef enum {
    KVFI_TRACE_FORMAT_NONE = 0,
    KVFI_TRACE_MOONCAKE,
    KVFI_TRACE_BAILIAN,
} kvfi_trace_format_t;

typedef struct {
    uint64_t max_requests; /* stop after so many good requests; 0: all */
    uint64_t block_tokens; /* tokens a block; 0: what the format says */
    int skip_bad;          /* count bad lines and go on */
} kvfi_trace_opts_t;

/* Plain data: an array of these can be sent as bytes between equal machines. */
typedef struct {
    uint64_t first;         /* index of the request's first id in ids */
    uint64_t count;         /* ids, at least 1 */
    uint64_t input_length;  /* tokens, at least 1 */
    uint64_t output_length; /* tokens */
    uint64_t line;          /* of the file, from 1 */
    double timestamp_s;     /* seconds, whatever the format's unit */
} kvfi_trace_request_t;

typedef struct {
    kvfi_trace_request_t *requests; /* in the order of the file */
    uint64_t request_count;
    uint64_t *ids; /* of all requests, one behind the other */
    uint64_t id_count;
    kvfi_trace_format_t format;
    uint64_t block_tokens; /* that the rows were checked with; 0 as long as no row was good */
    uint64_t line_count;   /* lines read, blank ones too */
    uint64_t skipped_lines;
    uint64_t skips_kept;
    char skips[KVFI_TRACE_SKIPS_KEPT][KVFI_TRACE_ERR_LEN]; /* the first ones */
} kvfi_trace_t;

/* "mooncake" or "bailian"; "none" without a format. */
const char *kvfi_trace_format_name(kvfi_trace_format_t format);

/* Reads up to the end of the stream or opts->max_requests. opts may be NULL: all zero. name stands
 * in the sentences. err_p has room for KVFI_TRACE_ERR_LEN bytes and is empty after KVFI_TRACE_OK.
 * trace_p is always set and must be freed; after any error but EMPTY it holds no request.
 *
 * skip_bad covers bad lines only: two formats in one file, and lengths most of which say another
 * block, are errors of the whole file. With skip_bad or without, that judgement never hangs on one
 * line: the first 1000 rows are heard, and all that were read at the end. */
kvfi_trace_status_t kvfi_trace_read(FILE *file, const char *name, const kvfi_trace_opts_t *opts,
                                    kvfi_trace_t *trace_p, char *err_p);

/* Opens path and reads it; "-" is standard input. */
kvfi_trace_status_t kvfi_trace_load(const char *path, const kvfi_trace_opts_t *opts, kvfi_trace_t *trace_p,
                                    char *err_p);

/* Takes NULL and a trace that is all zero. */
void kvfi_trace_free(kvfi_trace_t *trace);

#endif
