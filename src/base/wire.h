/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Bounded writer and reader of blobs and messages. Both remember that they ran past the end, so a
 * caller writes or reads a whole structure and looks once: a writer without room still counts the
 * need, a reader past the end yields zeros.
 */
#ifndef KVFI_BASE_WIRE_H
#define KVFI_BASE_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct kvfi_writer {
    uint8_t *buf; /* may be NULL: only counts */
    size_t cap;
    size_t len; /* the need, may exceed cap */
} kvfi_writer_t;

typedef struct kvfi_reader {
    const uint8_t *buf;
    size_t len;
    size_t off;
    int failed;
} kvfi_reader_t;

static inline void kvfi_put(kvfi_writer_t *w, const void *data, size_t len)
{
    if (w->buf && len && w->len <= w->cap && len <= w->cap - w->len)
        memcpy(w->buf + w->len, data, len);
    w->len += len;
}

static inline void kvfi_put_u32(kvfi_writer_t *w, uint32_t v)
{
    kvfi_put(w, &v, sizeof v);
}

static inline void kvfi_put_u64(kvfi_writer_t *w, uint64_t v)
{
    kvfi_put(w, &v, sizeof v);
}

/* A length and that many bytes. */
static inline void kvfi_put_bytes(kvfi_writer_t *w, const void *data, size_t len)
{
    kvfi_put_u32(w, (uint32_t)len);
    kvfi_put(w, data, len);
}

static inline const void *kvfi_get(kvfi_reader_t *r, size_t len)
{
    const uint8_t *p = r->buf + r->off;

    if (r->failed || len > r->len - r->off) {
        r->failed = 1;
        return NULL;
    }
    r->off += len;
    return p;
}

static inline uint32_t kvfi_get_u32(kvfi_reader_t *r)
{
    const void *p = kvfi_get(r, sizeof(uint32_t));
    uint32_t v = 0;

    if (p)
        memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t kvfi_get_u64(kvfi_reader_t *r)
{
    const void *p = kvfi_get(r, sizeof(uint64_t));
    uint64_t v = 0;

    if (p)
        memcpy(&v, p, sizeof v);
    return v;
}

static inline const void *kvfi_get_bytes(kvfi_reader_t *r, size_t *len_p)
{
    *len_p = kvfi_get_u32(r);
    return kvfi_get(r, *len_p);
}

#endif
