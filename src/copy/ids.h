/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The check of ids, in vectors of the file that includes this, which has defined vector_t. Each table
 * of a batch is read once more for it than for the copy.
 */
typedef uint32_t ids_t __attribute__((vector_size(sizeof(vector_t)), aligned(4), may_alias));

#define IDS (sizeof(ids_t) / sizeof(uint32_t))

/* Neither an id nor its distance from the last good one may have the top bit; KVF_SKIP has it. */
static int ids_below(const uint32_t *ids, uint32_t count, uint32_t below)
{
    uint32_t last = below - 1, any = 0, i = 0;
    ids_t tops = {0}, more = {0};

    for (; count - i >= 2 * IDS; i += 2 * IDS) {
        ids_t a = *(const ids_t *)(ids + i), b = *(const ids_t *)(ids + i + IDS);

        tops |= a | (last - a);
        more |= b | (last - b);
    }
    for (; i < count; i++)
        any |= ids[i] | (last - ids[i]);
    if (count >= 2 * IDS)
        for (unsigned n = 0; n < IDS; n++)
            any |= tops[n] | more[n];
    return !(any >> 31);
}
