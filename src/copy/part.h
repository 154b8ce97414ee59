/* SPDX-License-Identifier: BSD-3-Clause
 *
 * copy_part() for instruction sets without masked stores: less than a line, by two loads and two
 * stores of one width that overlap in the middle. The compiler turns each memcpy into one move.
 */
static inline void copy_part(char *dst, const char *src, uint64_t len)
{
    char low[32], high[32];

    if (len >= 32) {
        memcpy(low, src, 32);
        memcpy(high, src + len - 32, 32);
        memcpy(dst, low, 32);
        memcpy(dst + len - 32, high, 32);
    } else if (len >= 16) {
        memcpy(low, src, 16);
        memcpy(high, src + len - 16, 16);
        memcpy(dst, low, 16);
        memcpy(dst + len - 16, high, 16);
    } else if (len >= 8) {
        memcpy(low, src, 8);
        memcpy(high, src + len - 8, 8);
        memcpy(dst, low, 8);
        memcpy(dst + len - 8, high, 8);
    } else if (len >= 4) {
        memcpy(low, src, 4);
        memcpy(high, src + len - 4, 4);
        memcpy(dst, low, 4);
        memcpy(dst + len - 4, high, 4);
    } else if (len) {
        char first = src[0], middle = src[len / 2], last = src[len - 1];

        dst[0] = first;
        dst[len / 2] = middle;
        dst[len - 1] = last;
    }
}
