/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The JSON writer of the tools: values go straight to the file; the writer only remembers whether a
 * comma is due. Errors of the file are found when it is closed.
 */
#include "config.h"

#include "cli.h"

#include <inttypes.h>
#include <math.h>

void kvfi_json_init(struct kvfi_json *json, FILE *file, int indent)
{
    *json = (struct kvfi_json){.file = file, .indent = indent};
}

/* Bytes of the UTF-8 character at s, 0 if it is none: no surrogates, nothing overlong. */
static int utf8_len(const unsigned char *s)
{
    int len = s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 0;

    if (s[0] < 0x80 || s[0] > 0xf4 || len == 0) {
        return s[0] < 0x80 ? 1 : 0;
    }
    for (int i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f)) {
        return 0;
    }
    return len;
}

static void quote(FILE *file, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    fputc('"', file);
    while (*s != '\0') {
        int len = utf8_len(s);
        if (*s == '"' || *s == '\\') {
            fprintf(file, "\\%c", *s);
        } else if (*s == '\n') {
            fputs("\\n", file);
        } else if (*s == '\t') {
            fputs("\\t", file);
        } else if (*s < 0x20 || *s == 0x7f || len == 0) {
            fprintf(file, "\\u%04x", *s);
        } else {
            fwrite(s, 1, (size_t)len, file);
        }
        s += len > 0 ? len : 1;
    }
    fputc('"', file);
}

static void newline(struct kvfi_json *json)
{
    if (json->indent > 0) {
        fprintf(json->file, "\n%*s", json->indent * (int)json->depth, "");
    }
}

static void begin(struct kvfi_json *json, const char *key)
{
    if (json->depth > 0) {
        if (json->filled[json->depth]) {
            fputs(json->indent > 0 ? "," : ", ", json->file);
        }
        json->filled[json->depth] = true;
        newline(json);
    }
    if (key != NULL) {
        quote(json->file, key);
        fputs(": ", json->file);
    }
}

void kvfi_json_open(struct kvfi_json *json, const char *key, char bracket)
{
    begin(json, key);
    fputc(bracket, json->file);
    json->depth++;
    json->filled[json->depth] = false;
}

void kvfi_json_close(struct kvfi_json *json, char bracket)
{
    bool filled = json->filled[json->depth];

    json->depth--;
    if (filled) {
        newline(json);
    }
    fputc(bracket, json->file);
    if (json->depth == 0) {
        fputc('\n', json->file);
    }
}

void kvfi_json_text(struct kvfi_json *json, const char *key, const char *value)
{
    if (value == NULL) {
        kvfi_json_null(json, key);
        return;
    }
    begin(json, key);
    quote(json->file, value);
}

void kvfi_json_u64(struct kvfi_json *json, const char *key, uint64_t value)
{
    begin(json, key);
    fprintf(json->file, "%" PRIu64, value);
}

void kvfi_json_i64(struct kvfi_json *json, const char *key, int64_t value)
{
    begin(json, key);
    fprintf(json->file, "%" PRId64, value);
}

void kvfi_json_real(struct kvfi_json *json, const char *key, double value)
{
    if (!isfinite(value)) {
        kvfi_json_null(json, key);
        return;
    }
    begin(json, key);
    fprintf(json->file, "%.6g", value);
}

void kvfi_json_bool(struct kvfi_json *json, const char *key, bool value)
{
    begin(json, key);
    fputs(value ? "true" : "false", json->file);
}

void kvfi_json_null(struct kvfi_json *json, const char *key)
{
    begin(json, key);
    fputs("null", json->file);
}
