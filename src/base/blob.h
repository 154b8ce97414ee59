/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The envelope of every blob that leaves an engine: checked here, as a whole, before anything of
 * its body is looked at. The checksum finds damage; it is no defence against a hostile sender.
 *
 *    0 magic "KVFB"   4 kind u16   6 format u16   8 length u32 (all)   12 byte order u32
 *   16 UCX release u32 (major << 16 | minor << 8 | patch)
 *   20 lowest wire version u16   22 highest wire version u16
 *   24 incarnation u64   32 XXH3-64 of the whole blob with this field 0
 *   40 body; unknown trailing fields are ignored
 */
#ifndef KVFI_BASE_BLOB_H
#define KVFI_BASE_BLOB_H

#include "base/wire.h"
#include "kvferry.h"

#define KVFI_BLOB_HEADER  40u
#define KVFI_BLOB_FORMAT  5u
#define KVFI_BLOB_ORDER   0x01020304u
#define KVFI_WIRE_LOWEST  1u
#define KVFI_WIRE_HIGHEST 1u

typedef enum kvfi_blob_kind {
    KVFI_BLOB_ENGINE = 1,
    KVFI_BLOB_GRANT = 2,
    KVFI_BLOB_LAYOUT = 3 /* its incarnation is the layout's fingerprint */
} kvfi_blob_kind_t;

/* Writer over the caller's buffer, past the header. */
kvfi_writer_t kvfi_blob_begin(void *buf, size_t cap);

/* The UCX release of the maker of a blob that was opened. */
uint32_t kvfi_blob_ucx_release(const void *blob);

/* Write the header; *len_p is set to the need. OK, or SPACE; with buf NULL always OK. */
kvf_status_t kvfi_blob_end(kvfi_writer_t *writer, kvfi_blob_kind_t kind, uint32_t ucx_release,
                           uint64_t incarnation, size_t *len_p);

/* Check the envelope and open a reader over the body. BLOB or VERSION. */
kvf_status_t kvfi_blob_open(const void *blob, size_t len, kvfi_blob_kind_t kind, uint64_t *incarnation_p,
                            kvfi_reader_t *reader_p);

#endif
