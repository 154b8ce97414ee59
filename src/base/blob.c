/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Seal and open the envelope of blobs. See the drawing in blob.h.
 */
#define XXH_INLINE_ALL
#include "base/blob.h"

#include <xxhash.h>

#include "base/status.h"

static const char magic[4] = {'K', 'V', 'F', 'B'};
static const uint64_t zero;

static uint64_t checksum(const uint8_t *blob, size_t len)
{
    XXH3_state_t state;

    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, blob, 32);
    XXH3_64bits_update(&state, &zero, sizeof zero);
    XXH3_64bits_update(&state, blob + KVFI_BLOB_HEADER, len - KVFI_BLOB_HEADER);
    return XXH3_64bits_digest(&state);
}

kvfi_writer_t kvfi_blob_begin(void *buf, size_t cap)
{
    return (kvfi_writer_t){.buf = buf, .cap = cap, .len = KVFI_BLOB_HEADER};
}

kvf_status_t kvfi_blob_end(kvfi_writer_t *writer, kvfi_blob_kind_t kind, uint32_t ucx_release,
                           uint64_t incarnation, size_t *len_p)
{
    size_t len = writer->len;
    kvfi_writer_t head = {.buf = writer->buf, .cap = writer->cap};
    uint16_t words[4] = {(uint16_t)kind, KVFI_BLOB_FORMAT, KVFI_WIRE_LOWEST, KVFI_WIRE_HIGHEST};

    *len_p = len;
    if (!writer->buf)
        return KVF_OK;
    if (len > writer->cap)
        return kvfi_fail(KVF_ERR_SPACE, "the blob needs %zu bytes, the buffer has %zu", len, writer->cap);
    kvfi_put(&head, magic, sizeof magic);
    kvfi_put(&head, words, 2 * sizeof *words);
    kvfi_put_u32(&head, (uint32_t)len);
    kvfi_put_u32(&head, KVFI_BLOB_ORDER);
    kvfi_put_u32(&head, ucx_release);
    kvfi_put(&head, words + 2, 2 * sizeof *words);
    kvfi_put_u64(&head, incarnation);
    kvfi_put_u64(&head, checksum(writer->buf, len));
    return KVF_OK;
}

static kvf_status_t other_kind(unsigned is, kvfi_blob_kind_t wanted)
{
    static const char *const of[] = {"nobody's", "an engine's", "a grant's", "a layout's"};
    static const char *const takes[] = {"", "kvf_peer_import() takes that of kvf_engine_export()",
                                        "kvf_remote_import() takes that of kvf_grant_export()",
                                        "a layout's is expected"};

    return kvfi_fail(KVF_ERR_BLOB, "this is %s blob; %s",
                     is < sizeof of / sizeof *of ? of[is] : "no known kind of", takes[wanted]);
}

kvf_status_t kvfi_blob_open(const void *blob, size_t len, kvfi_blob_kind_t kind, uint64_t *incarnation_p,
                            kvfi_reader_t *reader_p)
{
    const uint8_t *b = blob;
    uint16_t words[2], wire[2];
    uint32_t total, order;
    uint64_t sum;

    if (!blob)
        return kvfi_fail(KVF_ERR_BLOB, "blob is NULL");
    if (len < KVFI_BLOB_HEADER)
        return kvfi_fail(KVF_ERR_BLOB, "blob of %zu bytes is shorter than its header of %u", len,
                         KVFI_BLOB_HEADER);
    if (memcmp(b, magic, sizeof magic))
        return kvfi_fail(KVF_ERR_BLOB, "blob does not begin with KVFB");
    memcpy(words, b + 4, sizeof words);
    memcpy(&total, b + 8, sizeof total);
    memcpy(&order, b + 12, sizeof order);
    memcpy(wire, b + 20, sizeof wire);
    memcpy(&sum, b + 32, sizeof sum);
    if (order != KVFI_BLOB_ORDER)
        return kvfi_fail(KVF_ERR_BLOB, "blob has another byte order (mark 0x%08x)", order);
    if (total != len)
        return kvfi_fail(KVF_ERR_BLOB, "blob says %u bytes, %zu were given", total, len);
    if (sum != checksum(b, len))
        return kvfi_fail(KVF_ERR_BLOB, "blob is damaged: its checksum differs");
    if (words[1] != KVFI_BLOB_FORMAT)
        return kvfi_fail(KVF_ERR_VERSION, "blob has format %u, this library reads %u", words[1],
                         KVFI_BLOB_FORMAT);
    if (wire[0] > KVFI_WIRE_HIGHEST || wire[1] < KVFI_WIRE_LOWEST)
        return kvfi_fail(KVF_ERR_VERSION, "peer speaks wire versions %u to %u, this library %u to %u",
                         wire[0], wire[1], KVFI_WIRE_LOWEST, KVFI_WIRE_HIGHEST);
    if (words[0] != kind)
        return other_kind(words[0], kind);
    memcpy(incarnation_p, b + 24, sizeof *incarnation_p);
    if (!*incarnation_p)
        return kvfi_fail(KVF_ERR_BLOB, "blob has no incarnation");
    *reader_p = (kvfi_reader_t){.buf = b, .len = len, .off = KVFI_BLOB_HEADER};
    return KVF_OK;
}

uint32_t kvfi_blob_ucx_release(const void *blob)
{
    uint32_t release;

    memcpy(&release, (const uint8_t *)blob + 16, sizeof release);
    return release;
}
