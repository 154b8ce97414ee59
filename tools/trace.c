/*
 * The reader of request traces: see trace.h for what it accepts and promises.
 *
 * Lines come one by one from getline, are parsed in place by jsonline.c, and a good row is appended
 * to the two arrays at once: nothing else of the file is kept. Whether the file contradicts the
 * number of tokens a block is only known after many rows (fit.c), so without skip_bad the first
 * misfit row is held back as the error until the verdict is in; then one of the two sentences is
 * returned.
 */
#define _GNU_SOURCE
#include "trace.h"

#include "fit.h"
#include "jsonline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_HEARD 1000 /* rows after which a misfit is judged without waiting for the end */

typedef enum {
    FIELD_TIMESTAMP,
    FIELD_INPUT,
    FIELD_OUTPUT,
    FIELD_IDS,
    FIELD_CHAT,
    FIELD_PARENT,
    FIELD_TYPE,
    FIELD_TURN,
    FIELD_COUNT,
} field_t;

static const char *const field_names[FIELD_COUNT] = {
    "timestamp", "input_length", "output_length", "hash_ids", "chat_id", "parent_chat_id", "type", "turn",
};

typedef struct {
    kvfi_trace_request_t request;
    unsigned seen;  /* bit a field */
    size_t ids_off; /* in the line, where hash_ids starts */
    kvfi_trace_format_t format;
} row_t;

typedef struct {
    FILE *file;
    const char *name;
    kvfi_trace_opts_t opts;
    kvfi_trace_t *trace;
    char *err;
    uint64_t request_cap;
    uint64_t id_cap;
    uint64_t format_line; /* of the row that decided the format */
    kvfi_fit_t fit;
    uint64_t misfit_line; /* the first one; 0: none */
    uint64_t misfit_length;
    uint64_t misfit_count;
    int held; /* err holds the sentence of the first misfit; the verdict is still open */
} reader_t;

const char *kvfi_trace_format_name(kvfi_trace_format_t format)
{
    switch (format) {
    case KVFI_TRACE_MOONCAKE:
        return "mooncake";
    case KVFI_TRACE_BAILIAN:
        return "bailian";
    default:
        return "none";
    }
}

__attribute__((format(printf, 4, 5))) static kvfi_trace_status_t
fail(char *err_p, const char *name, kvfi_trace_status_t status, const char *fmt, ...)
{
    char what[KVFI_TRACE_ERR_LEN / 2];
    va_list args;

    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    snprintf(err_p, KVFI_TRACE_ERR_LEN, "%.200s: %s", name, what);
    return status;
}

/* Doubles an array until it holds `want` elements. */
static int grow(void **array, uint64_t *cap, uint64_t want, size_t size)
{
    uint64_t next = *cap == 0 ? 1024 : *cap;
    void *bigger;

    if (want <= *cap)
        return 0;
    while (next < want) {
        if (next > UINT64_MAX / 2)
            return -1;
        next *= 2;
    }
    if (next > SIZE_MAX / size)
        return -1;
    bigger = realloc(*array, (size_t)next * size);
    if (bigger == NULL)
        return -1;
    *array = bigger;
    *cap = next;
    return 0;
}

static kvfi_trace_status_t no_memory(const reader_t *reader)
{
    const kvfi_trace_t *trace = reader->trace;

    return fail(reader->err, reader->name, KVFI_TRACE_NOMEM,
                "line %" PRIu64 ": no memory behind %" PRIu64 " requests with %" PRIu64 " ids",
                trace->line_count, trace->request_count, trace->id_count);
}

static kvfi_trace_status_t take_ids(reader_t *reader, kvfi_jsonline_t *json, row_t *row)
{
    kvfi_trace_t *trace = reader->trace;
    char name[KVFI_JSONLINE_NAME_LEN];
    int c = kvfi_jsonline_peek(json);

    row->ids_off = json->off;
    if (kvfi_jsonline_take(json, '[', "'[' of hash_ids") != 0)
        return KVFI_TRACE_BAD;
    if (kvfi_jsonline_peek(json) == ']') {
        json->off++;
        return KVFI_TRACE_OK;
    }
    do {
        uint64_t id;

        snprintf(name, sizeof(name), "hash_ids[%" PRIu64 "]", row->request.count);
        if (kvfi_jsonline_u64(json, name, &id) != 0)
            return KVFI_TRACE_BAD;
        if (grow((void **)&trace->ids, &reader->id_cap, trace->id_count + 1, sizeof(id)) != 0)
            return KVFI_TRACE_NOMEM;
        trace->ids[trace->id_count++] = id;
        row->request.count++;
        c = kvfi_jsonline_peek(json);
        if (c == ',')
            json->off++;
    } while (c == ',');
    return kvfi_jsonline_take(json, ']', "',' or ']' in hash_ids") != 0 ? KVFI_TRACE_BAD : KVFI_TRACE_OK;
}

static field_t find_field(const char *name, size_t len)
{
    int field = 0;

    while (field < FIELD_COUNT &&
           (strlen(field_names[field]) != len || memcmp(field_names[field], name, len) != 0))
        field++;
    return (field_t)field;
}

static kvfi_trace_status_t take_value(reader_t *reader, kvfi_jsonline_t *json, field_t field, row_t *row)
{
    kvfi_trace_request_t *request = &row->request;
    size_t off;
    int rc;

    kvfi_jsonline_peek(json);
    off = json->off;
    switch (field) {
    case FIELD_IDS:
        return take_ids(reader, json, row);
    case FIELD_TIMESTAMP:
        rc = kvfi_jsonline_number(json, field_names[field], &request->timestamp_s);
        break;
    case FIELD_INPUT:
        rc = kvfi_jsonline_u64(json, field_names[field], &request->input_length);
        if (rc == 0 && request->input_length == 0)
            rc = kvfi_jsonline_fail(json, off, "input_length is 0: a request has at least one token");
        break;
    case FIELD_OUTPUT:
        rc = kvfi_jsonline_u64(json, field_names[field], &request->output_length);
        break;
    default:
        rc = kvfi_jsonline_skip(json);
        break;
    }
    return rc != 0 ? KVFI_TRACE_BAD : KVFI_TRACE_OK;
}

static kvfi_trace_status_t take_field(reader_t *reader, kvfi_jsonline_t *json, row_t *row)
{
    char name[KVFI_JSONLINE_NAME_LEN];
    field_t field;
    size_t len, off;

    kvfi_jsonline_peek(json);
    off = json->off;
    if (kvfi_jsonline_key(json, name, &len) != 0)
        return KVFI_TRACE_BAD;
    field = find_field(name, len);
    if (field != FIELD_COUNT) {
        if (row->seen & (1u << field)) {
            kvfi_jsonline_fail(json, off, "%s stands twice in one line", name);
            return KVFI_TRACE_BAD;
        }
        row->seen |= 1u << field;
    }
    return take_value(reader, json, field, row);
}

static kvfi_trace_format_t format_of(unsigned seen)
{
    unsigned chat = 1u << FIELD_CHAT | 1u << FIELD_PARENT;
    unsigned tail = 1u << FIELD_TYPE | 1u << FIELD_TURN;

    return (seen & chat) != 0 || (seen & tail) == tail ? KVFI_TRACE_BAILIAN : KVFI_TRACE_MOONCAKE;
}

/* Behind the last field: nothing more on the line, and all that the format asks for. */
static kvfi_trace_status_t finish_row(kvfi_jsonline_t *json, row_t *row)
{
    size_t end = json->off;
    unsigned wanted = 1u << FIELD_TIMESTAMP | 1u << FIELD_INPUT | 1u << FIELD_OUTPUT | 1u << FIELD_IDS;

    if (kvfi_jsonline_take(json, '}', "',' or '}'") != 0)
        return KVFI_TRACE_BAD;
    if (kvfi_jsonline_peek(json) >= 0) {
        kvfi_jsonline_fail(json, json->off, "more text behind the end of the object");
        return KVFI_TRACE_BAD;
    }
    row->format = format_of(row->seen);
    if (row->format == KVFI_TRACE_BAILIAN)
        wanted |= 1u << FIELD_CHAT;
    else
        row->request.timestamp_s /= 1000;
    for (int field = 0; field < FIELD_COUNT; field++) {
        if ((wanted & ~row->seen & (1u << field)) != 0) {
            kvfi_jsonline_fail(json, end, "field %s is missing", field_names[field]);
            return KVFI_TRACE_BAD;
        }
    }
    if (row->request.count == 0) {
        kvfi_jsonline_fail(json, row->ids_off, "hash_ids is empty: %" PRIu64 " tokens need a block",
                           row->request.input_length);
        return KVFI_TRACE_BAD;
    }
    return KVFI_TRACE_OK;
}

/* A line that is not blank. Ids are appended to the trace at once; the caller takes them back. */
static kvfi_trace_status_t parse_row(reader_t *reader, kvfi_jsonline_t *json, row_t *row_p)
{
    kvfi_trace_status_t status = KVFI_TRACE_OK;
    int c = kvfi_jsonline_peek(json);

    *row_p = (row_t){.request = {.first = reader->trace->id_count, .line = reader->trace->line_count}};
    if (kvfi_jsonline_take(json, '{', "the '{' of a request") != 0)
        return KVFI_TRACE_BAD;
    if (kvfi_jsonline_peek(json) != '}') {
        do {
            status = take_field(reader, json, row_p);
            c = kvfi_jsonline_peek(json);
            if (status == KVFI_TRACE_OK && c == ',')
                json->off++;
        } while (status == KVFI_TRACE_OK && c == ',');
    }
    return status == KVFI_TRACE_OK ? finish_row(json, row_p) : status;
}

/* Puts the sentence of a bad line where it belongs. Returns OK where reading goes on. */
static kvfi_trace_status_t bad_line(reader_t *reader, const kvfi_jsonline_t *json)
{
    kvfi_trace_t *trace = reader->trace;
    char *to = reader->err;

    if (reader->opts.skip_bad) {
        trace->skipped_lines++;
        if (trace->skips_kept == KVFI_TRACE_SKIPS_KEPT)
            return KVFI_TRACE_OK;
        to = trace->skips[trace->skips_kept++];
    } else if (reader->held) {
        return KVFI_TRACE_OK;
    }
    fail(to, reader->name, KVFI_TRACE_BAD, "line %" PRIu64 ", column %zu: %s", trace->line_count,
         json->err_off + 1, json->err);
    return reader->opts.skip_bad ? KVFI_TRACE_OK : KVFI_TRACE_BAD;
}

/* A row whose ids do not match its length. */
static kvfi_trace_status_t misfit_row(reader_t *reader, kvfi_jsonline_t *json, const row_t *row)
{
    uint64_t block = reader->trace->block_tokens;
    uint64_t fits = kvfi_fit_of_row(row->request.input_length, row->request.count);
    char hint[64] = "";

    if (reader->misfit_line == 0) {
        reader->misfit_line = row->request.line;
        reader->misfit_length = row->request.input_length;
        reader->misfit_count = row->request.count;
    }
    if (fits != 0)
        snprintf(hint, sizeof(hint), " (would fit: --trace-block-tokens %" PRIu64 ")", fits);
    kvfi_jsonline_fail(json, row->ids_off,
                       "hash_ids has %" PRIu64 " ids, but %" PRIu64 " tokens in blocks of %" PRIu64
                       " make %" PRIu64 "%s",
                       row->request.count, row->request.input_length, block,
                       kvfi_fit_blocks(row->request.input_length, block), hint);
    if (bad_line(reader, json) != KVFI_TRACE_OK)
        reader->held = 1;
    return KVFI_TRACE_OK;
}

/* Says BAD if what was heard so far contradicts the number of tokens a block. */
static kvfi_trace_status_t judge(reader_t *reader)
{
    uint64_t rows, block = kvfi_fit_verdict(&reader->fit, &rows);

    if (reader->misfit_line == 0 || block == 0)
        return reader->held ? KVFI_TRACE_BAD : KVFI_TRACE_OK;
    return fail(reader->err, reader->name, KVFI_TRACE_BAD,
                "%" PRIu64 " of %" PRIu64 " lines say %" PRIu64 " tokens a block, not %" PRIu64
                " (line %" PRIu64 ": %" PRIu64 " tokens, %" PRIu64
                " ids): pass --trace-block-tokens %" PRIu64,
                rows, reader->fit.rows, block, reader->trace->block_tokens, reader->misfit_line,
                reader->misfit_length, reader->misfit_count, block);
}

/* The first good row decides the format; each later one must have it too. */
static kvfi_trace_status_t check_format(reader_t *reader, const row_t *row)
{
    kvfi_trace_t *trace = reader->trace;

    if (trace->format == KVFI_TRACE_FORMAT_NONE) {
        trace->format = row->format;
        trace->block_tokens = reader->opts.block_tokens != 0       ? reader->opts.block_tokens
                              : row->format == KVFI_TRACE_MOONCAKE ? 512
                                                                   : 16;
        reader->format_line = row->request.line;
    }
    if (trace->format == row->format)
        return KVFI_TRACE_OK;
    if (judge(reader) != KVFI_TRACE_OK)
        return KVFI_TRACE_BAD;
    return fail(reader->err, reader->name, KVFI_TRACE_BAD,
                "line %" PRIu64 ", column 1: two formats in one file: this line is %s, line %" PRIu64
                " is %s",
                row->request.line, kvfi_trace_format_name(row->format), reader->format_line,
                kvfi_trace_format_name(trace->format));
}

static kvfi_trace_status_t keep_row(reader_t *reader, kvfi_jsonline_t *json, const row_t *row)
{
    kvfi_trace_t *trace = reader->trace;
    kvfi_trace_status_t status = check_format(reader, row);

    if (status != KVFI_TRACE_OK)
        return status;
    if (!kvfi_fit_add(&reader->fit, row->request.input_length, row->request.count, trace->block_tokens)) {
        trace->id_count = row->request.first;
        status = misfit_row(reader, json, row);
    } else if (reader->held) {
        trace->id_count = row->request.first;
    } else {
        if (grow((void **)&trace->requests, &reader->request_cap, trace->request_count + 1,
                 sizeof(*trace->requests)) != 0)
            return no_memory(reader);
        trace->requests[trace->request_count++] = row->request;
    }
    if (status == KVFI_TRACE_OK &&
        (reader->fit.rows == ROWS_HEARD || (reader->held && reader->fit.rows > ROWS_HEARD)))
        status = judge(reader);
    return status;
}

static kvfi_trace_status_t read_line(reader_t *reader, const char *buf, size_t len)
{
    kvfi_trace_t *trace = reader->trace;
    kvfi_trace_status_t status;
    kvfi_jsonline_t json;
    row_t row;

    if (++trace->line_count == 1 && len >= 3 && memcmp(buf, "\xef\xbb\xbf", 3) == 0) {
        buf += 3;
        len -= 3;
    }
    /* The end of the line is no column of it. */
    if (len > 0 && buf[len - 1] == '\n')
        len--;
    if (len > 0 && buf[len - 1] == '\r')
        len--;
    kvfi_jsonline_open(&json, buf, len);
    if (kvfi_jsonline_peek(&json) < 0)
        return KVFI_TRACE_OK;
    status = parse_row(reader, &json, &row);
    if (status == KVFI_TRACE_OK)
        return keep_row(reader, &json, &row);
    trace->id_count = row.request.first;
    return status == KVFI_TRACE_NOMEM ? no_memory(reader) : bad_line(reader, &json);
}

static kvfi_trace_status_t read_all(reader_t *reader)
{
    kvfi_trace_t *trace = reader->trace;
    kvfi_trace_status_t status = KVFI_TRACE_OK;
    char *line = NULL;
    size_t cap = 0;
    ssize_t len = 0;

    while (status == KVFI_TRACE_OK && (reader->opts.max_requests == 0 || reader->held ||
                                       trace->request_count < reader->opts.max_requests)) {
        errno = 0;
        len = getline(&line, &cap, reader->file);
        /* An error in the middle of a line gives the first half of it. */
        if (len < 0 || ferror(reader->file))
            break;
        status = read_line(reader, line, (size_t)len);
    }
    if (ferror(reader->file))
        status = fail(reader->err, reader->name, KVFI_TRACE_IO, "line %" PRIu64 ": read: %s",
                      trace->line_count + 1, strerror(errno));
    else if (len < 0 && !feof(reader->file))
        status = no_memory(reader);
    free(line);
    if (status == KVFI_TRACE_OK)
        status = judge(reader);
    return status;
}

kvfi_trace_status_t kvfi_trace_read(FILE *file, const char *name, const kvfi_trace_opts_t *opts,
                                    kvfi_trace_t *trace_p, char *err_p)
{
    reader_t reader = {.file = file, .name = name, .trace = trace_p, .err = err_p};
    kvfi_trace_status_t status;

    if (opts != NULL)
        reader.opts = *opts;
    memset(trace_p, 0, sizeof(*trace_p));
    err_p[0] = '\0';
    kvfi_fit_init(&reader.fit);
    status = read_all(&reader);
    if (status != KVFI_TRACE_OK) {
        trace_p->request_count = 0;
        trace_p->id_count = 0;
        return status;
    }
    if (trace_p->request_count > 0)
        return KVFI_TRACE_OK;
    if (trace_p->skipped_lines > 0)
        return fail(err_p, name, KVFI_TRACE_EMPTY, "no good request: all %" PRIu64 " lines were skipped",
                    trace_p->skipped_lines);
    return fail(err_p, name, KVFI_TRACE_EMPTY, "no request in %" PRIu64 " lines", trace_p->line_count);
}

kvfi_trace_status_t kvfi_trace_load(const char *path, const kvfi_trace_opts_t *opts, kvfi_trace_t *trace_p,
                                    char *err_p)
{
    kvfi_trace_status_t status;
    FILE *file;

    if (strcmp(path, "-") == 0)
        return kvfi_trace_read(stdin, "standard input", opts, trace_p, err_p);
    file = fopen(path, "re");
    if (file == NULL) {
        memset(trace_p, 0, sizeof(*trace_p));
        return fail(err_p, path, KVFI_TRACE_IO, "open: %s", strerror(errno));
    }
    status = kvfi_trace_read(file, path, opts, trace_p, err_p);
    fclose(file);
    return status;
}

void kvfi_trace_free(kvfi_trace_t *trace)
{
    if (trace == NULL)
        return;
    free(trace->requests);
    free(trace->ids);
    memset(trace, 0, sizeof(*trace));
}
