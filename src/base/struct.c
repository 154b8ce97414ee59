/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The one rule for structs that begin with struct_size. The caller may have been built with an older
 * header or a newer one, so its struct may be shorter or longer than ours: as an input what it lacks is 0,
 * and what we do not know must be 0; as an output it gets what it has room for, and 0 behind what we
 * know. A size that no sizeof gives is one that nobody set.
 */
#include <string.h>

#include "base/status.h"

#define LEAST 8u    /* struct_size, and the first field behind it */
#define MOST  4096u /* so that a size that was never set does not lead astray */

static kvf_status_t look(const char *name, const void *theirs, size_t size, uint32_t *their_size_p)
{
    if (!theirs)
        return kvfi_fail(KVF_ERR_INVALID, "%s is NULL", name);
    memcpy(their_size_p, theirs, sizeof *their_size_p);
    if (*their_size_p < LEAST || *their_size_p > MOST || *their_size_p % LEAST)
        return kvfi_fail(KVF_ERR_INVALID, "%s.struct_size is %u: set it to sizeof, %zu in this library", name,
                         *their_size_p, size);
    return KVF_OK;
}

kvf_status_t kvf_struct_read(const char *name, const void *theirs, size_t size, void *ours_p)
{
    const char *bytes = theirs;
    uint32_t ours_size = (uint32_t)size, their_size = 0;
    kvf_status_t status = look(name, theirs, size, &their_size);

    if (status != KVF_OK)
        return status;
    for (size_t i = size; i < their_size; i++)
        if (bytes[i])
            return kvfi_fail(KVF_ERR_UNSUPPORTED,
                             "%s: byte %zu is set, past the %zu bytes that this library "
                             "knows",
                             name, i, size);
    memset(ours_p, 0, size);
    memcpy(ours_p, theirs, their_size < size ? their_size : size);
    memcpy(ours_p, &ours_size, sizeof ours_size);
    return KVF_OK;
}

kvf_status_t kvf_struct_write(const char *name, const void *ours, size_t size, void *theirs_p)
{
    const char *from = ours;
    char *to = theirs_p;
    uint32_t their_size = 0;
    kvf_status_t status = look(name, theirs_p, size, &their_size);

    if (status != KVF_OK || !ours)
        return status;
    memcpy(to + sizeof their_size, from + sizeof their_size,
           (their_size < size ? their_size : size) - sizeof their_size);
    if (their_size > size)
        memset(to + size, 0, their_size - size);
    return KVF_OK;
}
