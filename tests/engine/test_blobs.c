/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Bad blobs: cut at every length, every byte flipped, a wrong kind, version, byte order or
 * incarnation, lengths that overflow behind a right checksum. Each is refused with its code, and
 * read from a block of exactly its size, so that the address sanitizer sees a read past its end.
 * The header is drawn in base/blob.h.
 */
#include "rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define HEADER 40u
/* After rank, process, host, nonces, proof, two addresses and three numbers. */
#define STRINGS (HEADER + 8 + 32 + 64 + 40 + 16 + 32 + 2 * 8 + 3 * 4)

typedef kvf_status_t (*import_fn)(rig_t *rig, const void *blob, size_t len);

static kvf_status_t import_peer(rig_t *rig, const void *blob, size_t len)
{
    kvf_peer_t *peer = NULL;
    kvf_status_t status = kvf_peer_import(rig->me.engine, blob, len, &peer);

    must((status == KVF_OK) == (peer != NULL), "output and status disagree");
    if (status == KVF_OK) {
        ok(kvf_peer_forget(peer));
    }
    return status;
}

static kvf_status_t import_remote(rig_t *rig, const void *blob, size_t len)
{
    kvf_remote_t *remote = NULL;
    uint32_t count = 1;
    kvf_status_t status = kvf_remote_import(rig->peer, blob, len, &remote, &count);

    must((status == KVF_OK) == (remote != NULL), "output and status disagree");
    if (status == KVF_OK) {
        ok(kvf_remote_forget(remote));
    }
    return status;
}

/* From a block of just this size. */
static kvf_status_t import(rig_t *rig, import_fn fn, const uint8_t *blob, size_t len)
{
    uint8_t *exact = malloc(len > 0 ? len : 1);
    kvf_status_t status;

    must(exact != NULL, "no memory");
    memcpy(exact, blob, len);
    status = fn(rig, exact, len);
    free(exact);
    return status;
}

static void seal(uint8_t *blob, size_t len)
{
    uint64_t sum = 0;

    memcpy(blob + 32, &sum, sizeof(sum));
    sum = XXH3_64bits(blob, len);
    memcpy(blob + 32, &sum, sizeof(sum));
}

typedef struct sample {
    const char *name;
    import_fn fn;
    uint8_t data[BLOB_MAX];
    size_t len;
} sample_t;

/* 0: an engine's, near; 1: an engine's, far; 2: a grant's, near; 3: a grant's, far */
static void sample_take(rig_t *rig, sample_t *s, int which)
{
    uint32_t flags = which == 1 ? KVF_BLOB_FAR : 0;

    s->name = which < 2 ? "engine blob" : "grant blob";
    s->fn = which < 2 ? import_peer : import_remote;
    if (which < 2) {
        s->len = rig_call(rig, side_blob, &flags, sizeof(flags), s->data, sizeof(s->data));
    } else {
        s->len = rig_call(rig, side_grant_blob, NULL, 0, s->data, sizeof(s->data));
    }
    must(import(rig, s->fn, s->data, s->len) == KVF_OK, "the whole %s: %s", s->name, kvf_last_error());
}

static where_t where_of(int i)
{
    return (i & 1) != 0 ? WHERE_AM : WHERE_SHM;
}

START_TEST(a_blob_cut_anywhere_is_refused)
{
    rig_t rig;
    sample_t s;

    rig_open(&rig, where_of(_i), NULL);
    sample_take(&rig, &s, _i);
    for (size_t len = 0; len < s.len; len++) {
        kvf_status_t status = import(&rig, s.fn, s.data, len);

        must(status == KVF_ERR_BLOB, "%s cut to %zu of %zu: %s", s.name, len, s.len, kvf_status_name(status));
    }
    must(s.fn(&rig, NULL, s.len) == KVF_ERR_BLOB || s.fn(&rig, NULL, s.len) == KVF_ERR_INVALID, "NULL");
    s.data[s.len] = 0; /* and one byte more */
    must(import(&rig, s.fn, s.data, s.len + 1) == KVF_ERR_BLOB, "a longer blob");
    must(import(&rig, s.fn, s.data, s.len) == KVF_OK, "the whole one again");
    rig_close(&rig);
}
END_TEST

START_TEST(a_blob_with_any_byte_flipped_is_refused)
{
    rig_t rig;
    sample_t s;
    static const uint8_t flips[] = {0x01, 0x80, 0xff};

    rig_open(&rig, where_of(_i), NULL);
    sample_take(&rig, &s, _i);
    for (size_t at = 0; at < s.len; at++) {
        for (size_t f = 0; f < sizeof(flips); f++) {
            kvf_status_t status;

            s.data[at] ^= flips[f];
            status = import(&rig, s.fn, s.data, s.len);
            s.data[at] ^= flips[f];
            must(status == KVF_ERR_BLOB || status == KVF_ERR_VERSION, "%s, byte %zu flipped: %s", s.name, at,
                 kvf_status_name(status));
        }
    }
    must(import(&rig, s.fn, s.data, s.len) == KVF_OK, "the whole one again");
    rig_close(&rig);
}
END_TEST

static void put16(uint8_t *at, uint16_t v)
{
    memcpy(at, &v, sizeof(v));
}

/* UCX takes no length of an address. The sum is right, the far address ends early and the blob with it, and
 * memory that cannot be read follows. */
START_TEST(a_far_address_that_ends_early_reads_nothing_behind_it)
{
    const size_t page = 65536;
    uint8_t *end = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t full, left, at = STRINGS;
    uint64_t other = UINT64_C(0x123456789abcdef);
    sample_t s;
    rig_t rig;

    must(end != MAP_FAILED && mprotect(end + page, page, PROT_NONE) == 0, "no memory");
    end += page;
    rig_open(&rig, WHERE_AM, NULL);
    far_stands(rig.me.engine, rig.peer, &rig.owner);
    sample_take(&rig, &s, 1);
    memcpy(s.data + 24, &other, sizeof(other)); /* else it is connected with already */
    for (int i = 0; i < 2; i++) {
        memcpy(&left, s.data + at, sizeof(left));
        at += 4 + left;
    }
    memcpy(&full, s.data + at, sizeof(full));
    for (uint32_t quarter = 1; quarter < 4; quarter++) {
        left = full * quarter / 4;
        memcpy(s.data + at, &left, sizeof(left));
        memset(s.data + at + 4 + left, 0, 4); /* no string follows */
        s.len = at + 4 + left + 4;
        memcpy(s.data + 8, &(uint32_t){(uint32_t)s.len}, 4);
        seal(s.data, s.len);
        memcpy(end - s.len, s.data, s.len);
        answers(import_peer(&rig, end - s.len, s.len), KVF_ERR_BLOB);
        must(strstr(kvf_last_error(), "UCX") != NULL, "%s", kvf_last_error());
    }
    rig_close(&rig);
}
END_TEST

START_TEST(another_version_names_both)
{
    rig_t rig;
    sample_t s;
    uint16_t format;
    char ours[16];

    rig_open(&rig, where_of(_i), NULL);
    sample_take(&rig, &s, _i);
    memcpy(&format, s.data + 6, sizeof(format));
    put16(s.data + 6, 7);
    seal(s.data, s.len);
    must(import(&rig, s.fn, s.data, s.len) == KVF_ERR_VERSION, "format 7");
    snprintf(ours, sizeof(ours), "reads %u", format);
    must(strstr(kvf_last_error(), "7") != NULL && strstr(kvf_last_error(), ours) != NULL, "\"%s\"",
         kvf_last_error());
    put16(s.data + 6, format);
    put16(s.data + 20, 8);
    put16(s.data + 22, 9);
    seal(s.data, s.len);
    must(import(&rig, s.fn, s.data, s.len) == KVF_ERR_VERSION, "wire versions 8 to 9");
    must(strstr(kvf_last_error(), "8") != NULL && strstr(kvf_last_error(), "9") != NULL, "\"%s\"",
         kvf_last_error());
    put16(s.data + 20, 1); /* 1 to 9: a common one */
    seal(s.data, s.len);
    must(import(&rig, s.fn, s.data, s.len) == KVF_OK, "wire versions 1 to 9: %s", kvf_last_error());
    rig_close(&rig);
}
END_TEST

START_TEST(another_kind_order_or_length_is_no_blob)
{
    rig_t rig;
    sample_t s;
    sample_t changed;

    rig_open(&rig, where_of(_i), NULL);
    sample_take(&rig, &s, _i);
    for (int k = 0; k < 6; k++) {
        uint32_t len = (uint32_t)s.len;

        changed = s;
        if (k == 0) {
            put16(changed.data + 4, _i < 2 ? 2 : 1); /* the other kind */
        } else if (k == 1) {
            put16(changed.data + 4, 77);
        } else if (k == 2) {
            memset(changed.data + 24, 0, 8); /* no incarnation */
        } else if (k == 3) {
            static const uint8_t turned[4] = {1, 2, 3, 4};

            memcpy(changed.data + 12, turned, 4);
        } else {
            len = k == 4 ? UINT32_MAX : len - 1;
            memcpy(changed.data + 8, &len, sizeof(len));
        }
        seal(changed.data, changed.len);
        must(import(&rig, s.fn, changed.data, changed.len) == KVF_ERR_BLOB, "%s, change %d: %s", s.name, k,
             kvf_last_error());
    }
    rig_close(&rig);
}
END_TEST

START_TEST(another_incarnation_is_stale_or_nobody)
{
    rig_t rig;
    sample_t s;
    kvf_status_t status;

    rig_open(&rig, where_of(_i), NULL);
    sample_take(&rig, &s, _i);
    s.data[24] ^= 0x5a;
    seal(s.data, s.len);
    status = import(&rig, s.fn, s.data, s.len);
    if (_i >= 2) {
        must(status == KVF_ERR_STALE, "a grant of another incarnation: %s", kvf_status_name(status));
    } else if (_i == 0) { /* its nonce is not there: not near, and no far address */
        must(status == KVF_ERR_NEED_FAR || status == KVF_ERR_BLOB || status == KVF_ERR_PEER ||
                 status == KVF_ERR_STALE,
             "%s", kvf_status_name(status));
    } /* far, the first message finds out: an address alone proves nothing */
    rig_close(&rig);
}
END_TEST

/* An engine's blob ends in its place, the key of its page and its far address, each behind its length. What
 * UCX packed is left alone. 0: there is none. */
static size_t address_of(const sample_t *s)
{
    size_t at = STRINGS;
    uint32_t len = 0;

    for (int i = 0; i < 3 && at + 4 <= s->len; i++) {
        memcpy(&len, s->data + at, sizeof(len));
        at += i < 2 ? 4 + (size_t)len : 4;
    }
    return at < s->len && at + len == s->len ? at : 0;
}

/* Behind a right checksum, each 4 bytes of the body in turn say something monstrous. */
static int is_opaque(const sample_t *s, size_t at)
{
    size_t address = address_of(s);

    return address != 0 && at + 4 > address;
}

START_TEST(lengths_that_overflow_read_nothing)
{
    static const uint32_t monsters[] = {UINT32_MAX, UINT32_MAX - 3, 0x80000000u, 0x7fffffffu, 0xffff};
    rig_t rig;
    sample_t s;
    sample_t changed;
    int refused_count = 0;

    rig_open(&rig, where_of(_i), NULL);
    sample_take(&rig, &s, _i);
    for (size_t at = HEADER; at + 4 <= s.len; at++) {
        if (is_opaque(&s, at)) {
            continue;
        }
        for (size_t m = 0; m < sizeof(monsters) / sizeof(monsters[0]); m++) {
            kvf_status_t status;

            changed = s;
            memcpy(changed.data + at, &monsters[m], 4);
            seal(changed.data, changed.len);
            status = import(&rig, s.fn, changed.data, changed.len);
            refused_count += status != KVF_OK;
        }
    }
    must(refused_count > 0, "nothing was refused");
    must(import(&rig, s.fn, s.data, s.len) == KVF_OK, "the whole one again: %s", kvf_last_error());
    rig_close(&rig);
}
END_TEST

/* Unknown trailing fields of the same version are ignored. */
START_TEST(fields_behind_the_known_ones_are_ignored)
{
    rig_t rig;
    sample_t s;
    uint32_t len;

    rig_open(&rig, where_of(_i), NULL);
    sample_take(&rig, &s, _i);
    for (size_t more = 1; more < 40; more += 13) {
        memset(s.data + s.len, 0xab, more);
        s.len += more;
        len = (uint32_t)s.len;
        memcpy(s.data + 8, &len, sizeof(len));
        seal(s.data, s.len);
        must(import(&rig, s.fn, s.data, s.len) == KVF_OK, "%zu bytes more: %s", more, kvf_last_error());
    }
    rig_close(&rig);
}
END_TEST

/* The body cut short behind a right checksum and length. */
START_TEST(a_short_body_is_refused)
{
    rig_t rig;
    sample_t s;
    sample_t cut;

    rig_open(&rig, where_of(_i), NULL);
    sample_take(&rig, &s, _i);
    for (size_t len = HEADER; len < s.len; len++) {
        uint32_t total = (uint32_t)len;
        kvf_status_t status;

        cut = s;
        cut.len = len;
        memcpy(cut.data + 8, &total, sizeof(total));
        seal(cut.data, cut.len);
        status = import(&rig, s.fn, cut.data, cut.len);
        must(status == KVF_ERR_BLOB, "%s with a body of %zu of %zu bytes: %s", s.name, len - HEADER,
             s.len - HEADER, kvf_status_name(status));
    }
    rig_close(&rig);
}
END_TEST

/* A near grant of one range: its region {uid, address, length, address in use, key behind its length},
 * whose last two words are the region's address and length once more, then the range {six u32, the last
 * two its memory's kind and provider, address, length, ...}. */
#define REGION  (HEADER + 4 + 4 + 8 + 4 + 4)
#define KEY_LEN (REGION + 4 * 8)

static void put64(sample_t *s, size_t at, uint64_t value)
{
    memcpy(s->data + at, &value, sizeof(value));
}

/* 0: all lengths say more than there is; 1: the region lies elsewhere than its key; 2: all of it does. */
START_TEST(a_region_that_is_not_as_the_blob_says_is_refused)
{
    uint64_t addr, gib = UINT64_C(1) << 30;
    size_t range;
    uint32_t key;
    rig_t rig;
    sample_t s;
    kvf_status_t status;

    rig_open(&rig, WHERE_SHM, NULL);
    s.len = rig_call(&rig, side_grant_blob, NULL, 0, s.data, sizeof(s.data));
    s.name = "grant blob";
    ok(kvf_remote_forget(rig.remote));
    rig.remote = NULL;
    memcpy(&key, s.data + KEY_LEN, sizeof(key));
    memcpy(&addr, s.data + REGION + 8, sizeof(addr));
    range = KEY_LEN + 4 + key + 24;
    if (_i == 0) {
        put64(&s, REGION + 16, gib);
        put64(&s, KEY_LEN + 4 + key - 8, gib);
        put64(&s, range + 8, gib);
    } else {
        put64(&s, REGION + 8, addr + gib);
        put64(&s, range, addr + gib);
    }
    if (_i == 2) {
        put64(&s, KEY_LEN + 4 + key - 16, addr + gib);
    }
    seal(s.data, s.len);
    status = import(&rig, import_remote, s.data, s.len);
    /* under another address it is the same memory, all of it */
    must(status == (_i == 2 ? KVF_OK : KVF_ERR_BLOB), "%s: %s", kvf_status_name(status), kvf_last_error());
    rig_close(&rig);
}
END_TEST

static size_t memory_of(const sample_t *s)
{
    uint32_t key;

    memcpy(&key, s->data + KEY_LEN, sizeof(key));
    return KEY_LEN + 4 + key + 16;
}

/* What the memory is, in words that this library does not know, or that contradict the region's key. */
START_TEST(memory_of_a_kind_that_is_not_known_is_refused_by_name)
{
    static const struct wrong {
        uint32_t kind, provider;
        kvf_status_t status;
        const char *start;
    } wrong[] = {
        {2, 2, KVF_ERR_VERSION, "range 0 of the grant blob is memory of kind 2"},
        {0, 5, KVF_ERR_VERSION, "range 0 of the grant blob is memory of provider 5"},
        {0, 0, KVF_ERR_BLOB, "range 0 of the grant blob is impossible"},
        {1, 2, KVF_OK, NULL},
    };
    const struct wrong *w = &wrong[_i];
    kvf_path_t path = KVF_PATH_NONE;
    kvf_status_t status;
    uint32_t count = 1;
    sample_t s;
    rig_t rig;

    rig_open(&rig, WHERE_SHM, NULL);
    s.len = rig_call(&rig, side_grant_blob, NULL, 0, s.data, sizeof(s.data));
    s.name = "grant blob";
    ok(kvf_remote_forget(rig.remote));
    rig.remote = NULL;
    memcpy(s.data + memory_of(&s), &w->kind, sizeof(w->kind));
    memcpy(s.data + memory_of(&s) + 4, &w->provider, sizeof(w->provider));
    seal(s.data, s.len);
    status = kvf_remote_import(rig.peer, s.data, s.len, &rig.remote, &count);
    must(status == w->status, "%s: %s", kvf_status_name(status), kvf_last_error());
    if (status == KVF_OK) { /* device memory: known, and on no path */
        refused_naming(kvf_path_of(rig.me.segment, rig.remote, 0, &path), KVF_ERR_NO_PATH,
                       "self: a side is device memory|cuda_copy: not in this release");
    } else {
        must(strncmp(kvf_last_error(), w->start, strlen(w->start)) == 0, "%s", kvf_last_error());
    }
    rig_close(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("blobs");
    TCase *tc = tcase_create("blobs");

    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, a_blob_cut_anywhere_is_refused, 0, 4);
    tcase_add_loop_test(tc, a_blob_with_any_byte_flipped_is_refused, 0, 4);
    tcase_add_test(tc, a_far_address_that_ends_early_reads_nothing_behind_it);
    tcase_add_loop_test(tc, another_version_names_both, 0, 4);
    tcase_add_loop_test(tc, another_kind_order_or_length_is_no_blob, 0, 4);
    tcase_add_loop_test(tc, another_incarnation_is_stale_or_nobody, 0, 4);
    tcase_add_loop_test(tc, lengths_that_overflow_read_nothing, 0, 4);
    tcase_add_loop_test(tc, fields_behind_the_known_ones_are_ignored, 0, 4);
    tcase_add_loop_test(tc, a_short_body_is_refused, 0, 4);
    tcase_add_loop_test(tc, a_region_that_is_not_as_the_blob_says_is_refused, 0, 3);
    tcase_add_loop_test(tc, memory_of_a_kind_that_is_not_known_is_refused_by_name, 0, 4);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
