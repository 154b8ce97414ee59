/*
 * A strict reader of one line of JSON, for input whose errors must name a column and whose integers
 * must be exact up to 2^64-1.
 *
 * This room walks a line that the caller holds in memory and hands out keys and numbers, or skips
 * values that nobody asked for. It leaves to the caller what the line means, which keys may appear
 * and how often. It allocates nothing, never blocks, never recurses and never reads past the line.
 * Bytes from 0x80 on are taken inside strings as they come.
 */
#ifndef KVFI_TOOLS_JSONLINE_H
#define KVFI_TOOLS_JSONLINE_H

#include <stddef.h>
#include <stdint.h>

#define KVFI_JSONLINE_DEPTH    64  /* nesting inside a skipped value */
#define KVFI_JSONLINE_ERR_LEN  192 /* bytes of a sentence, its NUL included */
#define KVFI_JSONLINE_NAME_LEN 48  /* bytes of a key that is handed out; longer ones match nothing */

typedef struct {
    const char *buf; /* the caller's, len bytes, needs no NUL behind it */
    size_t len;
    size_t off;                      /* the next byte to read */
    size_t err_off;                  /* where the first error was found */
    char err[KVFI_JSONLINE_ERR_LEN]; /* what is wrong there; empty without an error */
} kvfi_jsonline_t;

void kvfi_jsonline_open(kvfi_jsonline_t *json, const char *buf, size_t len);

/* Keeps the sentence of the first error and its place. Always returns -1. */
int kvfi_jsonline_fail(kvfi_jsonline_t *json, size_t off, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The next byte that is no space, or -1 at the end of the line. Does not take it. */
int kvfi_jsonline_peek(kvfi_jsonline_t *json);

/* All below return 0, or -1 with err and err_off set. */

/* Takes the byte `want`; `what` names it in the sentence. */
int kvfi_jsonline_take(kvfi_jsonline_t *json, char want, const char *what);

/* Takes a key with its colon. name_p has room for KVFI_JSONLINE_NAME_LEN bytes and always ends in
 * NUL; the length that is told counts a NUL inside the key too. A key too long becomes "". */
int kvfi_jsonline_key(kvfi_jsonline_t *json, char *name_p, size_t *len_p);

/* Takes an integer from 0 to 2^64-1, in digits only; `name` names the field in the sentence. */
int kvfi_jsonline_u64(kvfi_jsonline_t *json, const char *name, uint64_t *value_p);

/* Takes a finite number that is not negative. */
int kvfi_jsonline_number(kvfi_jsonline_t *json, const char *name, double *value_p);

/* Takes any value, nested up to KVFI_JSONLINE_DEPTH deep. */
int kvfi_jsonline_skip(kvfi_jsonline_t *json);

#endif
