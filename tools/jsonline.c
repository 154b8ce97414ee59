/*
 * A strict reader of one line of JSON: see jsonline.h for what it promises.
 *
 * The grammar is RFC 8259's, nothing more: no comments, no trailing commas, no leading zeros, no
 * NaN. Every error is found at the first byte that cannot be right, and only the first one is kept,
 * so that the column a user reads is the one to repair. Nested values are skipped with a stack of
 * fixed depth instead of recursion: a hostile line costs no more than its length.
 */
#define _GNU_SOURCE
#include "jsonline.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_SHOWN 32 /* bytes of a wrong number that a sentence repeats */

typedef struct {
    size_t off;
    size_t len;
    int negative;
    int integer; /* digits only */
} number_t;

void kvfi_jsonline_open(kvfi_jsonline_t *json, const char *buf, size_t len)
{
    json->buf = buf;
    json->len = len;
    json->off = 0;
    json->err_off = 0;
    json->err[0] = '\0';
}

int kvfi_jsonline_fail(kvfi_jsonline_t *json, size_t off, const char *fmt, ...)
{
    va_list args;

    if (json->err[0] != '\0')
        return -1;
    va_start(args, fmt);
    vsnprintf(json->err, sizeof(json->err), fmt, args);
    va_end(args);
    json->err_off = off;
    return -1;
}

static int byte_at(const kvfi_jsonline_t *json, size_t off)
{
    return off < json->len ? (unsigned char)json->buf[off] : -1;
}

int kvfi_jsonline_peek(kvfi_jsonline_t *json)
{
    int c = byte_at(json, json->off);

    while (c == ' ' || c == '\t' || c == '\r' || c == '\n')
        c = byte_at(json, ++json->off);
    return c;
}

static int unexpected(kvfi_jsonline_t *json, const char *what)
{
    int c = byte_at(json, json->off);

    if (c < 0)
        return kvfi_jsonline_fail(json, json->off, "the line ends where %s should be (is the file cut?)",
                                  what);
    if (c == 0)
        return kvfi_jsonline_fail(json, json->off, "a NUL byte where %s should be", what);
    if (c >= 0x20 && c < 0x7f)
        return kvfi_jsonline_fail(json, json->off, "'%c' where %s should be", c, what);
    return kvfi_jsonline_fail(json, json->off, "byte 0x%02x where %s should be", (unsigned)c, what);
}

int kvfi_jsonline_take(kvfi_jsonline_t *json, char want, const char *what)
{
    if (kvfi_jsonline_peek(json) != (unsigned char)want)
        return unexpected(json, what);
    json->off++;
    return 0;
}

static int hex_value(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Takes an escape from behind its backslash. ch_p gets the character, or 0xff for one outside
 * ASCII: no key that anybody looks for holds such a byte. */
static int take_escape(kvfi_jsonline_t *json, unsigned char *ch_p)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    int c = byte_at(json, json->off);
    const char *hit = c > 0 ? strchr(from, c) : NULL;
    unsigned value = 0;

    if (hit != NULL) {
        *ch_p = (unsigned char)to[hit - from];
        json->off++;
        return 0;
    }
    if (c != 'u')
        return unexpected(json, "a known escape");
    json->off++;
    for (int i = 0; i < 4; i++) {
        int digit = hex_value(byte_at(json, json->off));

        if (digit < 0)
            return unexpected(json, "a digit of a \\u escape");
        value = value * 16 + (unsigned)digit;
        json->off++;
    }
    *ch_p = value < 0x80 ? (unsigned char)value : 0xff;
    return 0;
}

/* Takes a string whose opening quote is next. Up to cap bytes are kept; len_p gets the full
 * length. */
static int take_string(kvfi_jsonline_t *json, char *kept, size_t cap, size_t *len_p)
{
    size_t len = 0;

    json->off++;
    for (;;) {
        int c = byte_at(json, json->off);
        unsigned char ch = (unsigned char)c;

        if (c == '"')
            break;
        if (c < 0x20)
            return unexpected(json, "the rest of a string");
        json->off++;
        if (c == '\\' && take_escape(json, &ch) != 0)
            return -1;
        if (len < cap)
            kept[len] = (char)ch;
        len++;
    }
    json->off++;
    *len_p = len;
    return 0;
}

int kvfi_jsonline_key(kvfi_jsonline_t *json, char *name_p, size_t *len_p)
{
    size_t len;

    if (kvfi_jsonline_peek(json) != '"')
        return unexpected(json, "a field name in quotes");
    if (take_string(json, name_p, KVFI_JSONLINE_NAME_LEN - 1, &len) != 0)
        return -1;
    if (len > KVFI_JSONLINE_NAME_LEN - 1)
        len = 0;
    name_p[len] = '\0';
    *len_p = len;
    return kvfi_jsonline_take(json, ':', "':' behind a field name");
}

static int take_digits(kvfi_jsonline_t *json)
{
    size_t from = json->off;

    while (byte_at(json, json->off) >= '0' && byte_at(json, json->off) <= '9')
        json->off++;
    return json->off > from ? 0 : unexpected(json, "a digit");
}

/* Takes a number whose first byte is '-' or a digit, by the grammar alone. */
static int take_number(kvfi_jsonline_t *json, number_t *number_p)
{
    number_t number = {.off = json->off, .integer = 1};
    int c;

    if (byte_at(json, json->off) == '-') {
        number.negative = 1;
        json->off++;
    }
    if (byte_at(json, json->off) == '0') {
        json->off++;
        c = byte_at(json, json->off);
        if (c >= '0' && c <= '9')
            return kvfi_jsonline_fail(json, number.off, "a number starts with a needless 0");
    } else if (take_digits(json) != 0) {
        return -1;
    }
    if (byte_at(json, json->off) == '.') {
        number.integer = 0;
        json->off++;
        if (take_digits(json) != 0)
            return -1;
    }
    c = byte_at(json, json->off);
    if (c == 'e' || c == 'E') {
        number.integer = 0;
        json->off++;
        c = byte_at(json, json->off);
        if (c == '+' || c == '-')
            json->off++;
        if (take_digits(json) != 0)
            return -1;
    }
    number.len = json->off - number.off;
    *number_p = number;
    return 0;
}

static int starts_number(int c)
{
    return c == '-' || (c >= '0' && c <= '9');
}

/* Names what stands where a number should be. */
static int not_a_number(kvfi_jsonline_t *json, const char *name, const char *wanted)
{
    const char *kind;

    switch (byte_at(json, json->off)) {
    case '"':
        kind = "a string";
        break;
    case '{':
        kind = "an object";
        break;
    case '[':
        kind = "a list";
        break;
    case 't':
    case 'f':
        kind = "true or false";
        break;
    case 'n':
        kind = "null";
        break;
    default:
        return unexpected(json, wanted);
    }
    return kvfi_jsonline_fail(json, json->off, "%s is %s, not %s", name, kind, wanted);
}

static int take_unsigned(kvfi_jsonline_t *json, const char *name, const char *wanted, number_t *number_p)
{
    size_t off;

    if (!starts_number(kvfi_jsonline_peek(json)))
        return not_a_number(json, name, wanted);
    off = json->off;
    if (take_number(json, number_p) != 0)
        return -1;
    if (number_p->negative)
        return kvfi_jsonline_fail(json, off, "%s is negative", name);
    return 0;
}

int kvfi_jsonline_u64(kvfi_jsonline_t *json, const char *name, uint64_t *value_p)
{
    number_t number;
    uint64_t value = 0;

    if (take_unsigned(json, name, "an integer", &number) != 0)
        return -1;
    if (!number.integer) {
        int shown = number.len < NUMBER_SHOWN ? (int)number.len : NUMBER_SHOWN;

        return kvfi_jsonline_fail(json, number.off, "%s is %.*s%s, not an integer in plain digits", name,
                                  shown, json->buf + number.off, number.len > NUMBER_SHOWN ? "..." : "");
    }
    for (size_t i = 0; i < number.len; i++) {
        uint64_t digit = (uint64_t)(json->buf[number.off + i] - '0');

        if (value > (UINT64_MAX - digit) / 10)
            return kvfi_jsonline_fail(json, number.off, "%s is larger than 2^64-1", name);
        value = value * 10 + digit;
    }
    *value_p = value;
    return 0;
}

int kvfi_jsonline_number(kvfi_jsonline_t *json, const char *name, double *value_p)
{
    number_t number;
    char text[64];
    char *end;
    double value;

    if (take_unsigned(json, name, "a number", &number) != 0)
        return -1;
    if (number.len >= sizeof(text))
        return kvfi_jsonline_fail(json, number.off, "%s has %zu digits, more than %zu", name, number.len,
                                  sizeof(text) - 1);
    memcpy(text, json->buf + number.off, number.len);
    text[number.len] = '\0';
    value = strtod(text, &end);
    if (*end != '\0' || !isfinite(value))
        return kvfi_jsonline_fail(json, number.off, "%s is out of range", name);
    *value_p = value;
    return 0;
}

static int skip_scalar(kvfi_jsonline_t *json)
{
    static const char *const words[] = {"true", "false", "null"};
    int c = kvfi_jsonline_peek(json);
    number_t number;
    size_t len;

    if (c == '"')
        return take_string(json, NULL, 0, &len);
    if (starts_number(c))
        return take_number(json, &number);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        len = strlen(words[i]);
        if (json->len - json->off >= len && memcmp(json->buf + json->off, words[i], len) == 0) {
            json->off += len;
            return 0;
        }
    }
    return unexpected(json, "a value");
}

static int skip_key(kvfi_jsonline_t *json)
{
    char name[KVFI_JSONLINE_NAME_LEN];
    size_t len;

    return kvfi_jsonline_key(json, name, &len);
}

/* Enters a list or an object. closed_p says whether it was empty and is behind us. */
static int skip_open(kvfi_jsonline_t *json, char open, int *closed_p)
{
    char close = open == '{' ? '}' : ']';

    json->off++;
    *closed_p = kvfi_jsonline_peek(json) == close;
    if (*closed_p) {
        json->off++;
        return 0;
    }
    return open == '{' ? skip_key(json) : 0;
}

/* Behind a value: leaves all that end here. depth_p ends at 0, or a further value follows. */
static int skip_close(kvfi_jsonline_t *json, const char *open, size_t *depth_p)
{
    while (*depth_p > 0) {
        int in_object = open[*depth_p - 1] == '{';
        int c = kvfi_jsonline_peek(json);

        if (c == ',') {
            json->off++;
            return in_object ? skip_key(json) : 0;
        }
        if (c != (in_object ? '}' : ']'))
            return unexpected(json, in_object ? "',' or '}'" : "',' or ']'");
        json->off++;
        (*depth_p)--;
    }
    return 0;
}

int kvfi_jsonline_skip(kvfi_jsonline_t *json)
{
    char open[KVFI_JSONLINE_DEPTH];
    size_t depth = 0;

    do {
        int c = kvfi_jsonline_peek(json);
        int closed = 1;

        if (c == '{' || c == '[') {
            if (depth == KVFI_JSONLINE_DEPTH)
                return kvfi_jsonline_fail(json, json->off, "nested deeper than %d", KVFI_JSONLINE_DEPTH);
            open[depth] = (char)c;
            if (skip_open(json, (char)c, &closed) != 0)
                return -1;
            depth += !closed;
        } else if (skip_scalar(json) != 0) {
            return -1;
        }
        if (closed && skip_close(json, open, &depth) != 0)
            return -1;
    } while (depth > 0);
    return 0;
}
