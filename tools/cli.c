/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The parsers of the tools' command lines, and what a tool asks about this machine's free memory.
 * The JSON writer is next door, in json.c, and files that are written are in out.c. Reads /proc and /sys files, which do not block.
 */
#include "config.h"

#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char last_error[512];

const char *kvfi_cli_error(void)
{
    return last_error;
}

int kvfi_cli_fail(const char *format, ...)
{
    char sentence[sizeof(last_error)]; /* an argument may be the last error itself */
    va_list args;

    va_start(args, format);
    vsnprintf(sentence, sizeof(sentence), format, args);
    va_end(args);
    memcpy(last_error, sentence, sizeof(last_error));
    return -1;
}

bool kvfi_cli_speaks(void)
{
    static const char *const ranks[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"};

    for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++) {
        const char *rank = getenv(ranks[i]);
        if (rank != NULL) {
            return strcmp(rank, "0") == 0;
        }
    }
    return true;
}

bool kvfi_cli_in_job(void)
{
    const char *ompi = getenv("OMPI_COMM_WORLD_SIZE"), *pmi = getenv("PMI_SIZE");

    return (ompi != NULL && atoi(ompi) > 1) || (pmi != NULL && atoi(pmi) > 1);
}

int kvfi_cli_next(int argc, char *const *argv, const struct option *longs)
{
    opterr = 0;
    int option = getopt_long(argc, argv, ":h", longs, NULL);

    if (option == 'h') {
        for (int i = 0; longs[i].name != NULL; i++) {
            option = strcmp(longs[i].name, "help") == 0 ? longs[i].val : option;
        }
        return option;
    }
    if (option == ':') {
        kvfi_cli_fail("%s needs a value", argv[optind - 1]);
        return '?';
    }
    if (option != '?') {
        return option;
    }
    const char *word = argv[optind - 1];
    const char *end = strchrnul(word, '=');
    size_t len = (size_t)(end - word);
    if (strncmp(word, "--", 2) != 0) {
        kvfi_cli_fail("unknown option -%c", optopt);
        return '?';
    }
    int matches = 0, exact = -1;
    for (int i = 0; longs[i].name != NULL; i++) {
        if (len > 2 && strncmp(longs[i].name, word + 2, len - 2) == 0) {
            matches++;
            exact = i;
        }
    }
    if (matches > 1) {
        kvfi_cli_fail("%.*s stands for several options: write it out", (int)len, word);
    } else if (matches == 1 && longs[exact].has_arg == no_argument && *end == '=') {
        kvfi_cli_fail("--%s takes no value", longs[exact].name);
    } else if (matches == 1 && longs[exact].has_arg == required_argument) {
        kvfi_cli_fail("--%s needs a value", longs[exact].name);
    } else {
        kvfi_cli_fail("unknown option %.*s", (int)len, word);
    }
    return '?';
}

/* "-4" and what does not fit in 64 bits are numbers, but outside of any range. */
static int number(const char *what, const char *text, uint64_t *value_p, const char **rest_p, bool *outside_p)
{
    bool below = text[0] == '-' && isdigit((unsigned char)text[1]);
    char *rest;

    if (!below && !isdigit((unsigned char)text[0])) {
        return kvfi_cli_fail("%s: \"%s\" is not a number", what, text);
    }
    errno = 0;
    *value_p = strtoull(text + below, &rest, 10);
    *outside_p = below || errno == ERANGE;
    *rest_p = rest;
    return 0;
}

static int within(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t value,
                  bool outside)
{
    if (outside || value < min || value > max) {
        return kvfi_cli_fail("%s: %s is not within %llu to %llu", what, text, (unsigned long long)min,
                             (unsigned long long)max);
    }
    return 0;
}

int kvfi_cli_count(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *value_p)
{
    uint64_t value;
    const char *rest;
    bool outside;

    if (number(what, text, &value, &rest, &outside) != 0) {
        return -1;
    }
    if (*rest != '\0') {
        return kvfi_cli_fail("%s: \"%s\" is not a number", what, text);
    }
    if (within(what, text, min, max, value, outside) != 0) {
        return -1;
    }
    *value_p = value;
    return 0;
}

/* "" 0, "K" or "KiB" 10, and so on; -1 for anything else */
static int suffix_bits(const char *suffix)
{
    static const char letters[] = "KMGT";

    if (*suffix == '\0' || strcmp(suffix, "B") == 0) {
        return 0;
    }
    const char *at = strchr(letters, toupper((unsigned char)*suffix));
    if (at == NULL) {
        return -1;
    }
    suffix++;
    if (*suffix != '\0' && strcmp(suffix, "iB") != 0 && strcmp(suffix, "B") != 0) {
        return -1;
    }
    return 10 * (int)(at - letters + 1);
}

int kvfi_cli_size(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *value_p)
{
    uint64_t whole, num = 0, den = 1;
    const char *rest;
    bool outside;

    if (number(what, text, &whole, &rest, &outside) != 0) {
        return -1;
    }
    if (*rest == '.') {
        for (rest++; isdigit((unsigned char)*rest); rest++) {
            if (den < 1000000000) {
                num = num * 10 + (uint64_t)(*rest - '0');
                den *= 10;
            }
        }
    }
    int bits = suffix_bits(rest);
    if (bits < 0 || (num != 0 && bits == 0)) {
        return kvfi_cli_fail("%s: \"%s\" is not a size: bytes, or a number with K, M, G or T", what, text);
    }
    outside = outside || whole > UINT64_MAX >> bits;
    uint64_t part = (uint64_t)((double)num / (double)den * (double)(UINT64_C(1) << bits));
    uint64_t value = (whole << bits) + part;
    if (within(what, text, min, max, value, outside) != 0) {
        return -1;
    }
    *value_p = value;
    return 0;
}

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

int kvfi_cli_fraction(const char *what, const char *text, uint64_t *num_p, uint64_t *den_p)
{
    uint64_t num, den = 1;
    const char *rest;
    bool outside, outside_too = false;

    if (number(what, text, &num, &rest, &outside) != 0) {
        return -1;
    }
    if (*rest == '/') {
        if (number(what, rest + 1, &den, &rest, &outside_too) != 0) {
            return kvfi_cli_fail("%s: \"%s\" is not a fraction such as 1/64", what, text);
        }
    } else if (*rest == '.') {
        for (rest++; isdigit((unsigned char)*rest) && den < 1000000000; rest++) {
            num = num * 10 + (uint64_t)(*rest - '0');
            den *= 10;
        }
    }
    if (*rest != '\0') {
        return kvfi_cli_fail("%s: \"%s\" is not a fraction such as 1/64", what, text);
    }
    if (outside || outside_too || num == 0 || den == 0 || num > den) {
        return kvfi_cli_fail("%s: %s is not above 0 and at most 1", what, text);
    }
    uint64_t divisor = common_divisor(num, den);
    *num_p = num / divisor;
    *den_p = den / divisor;
    return 0;
}

int kvfi_cli_choice(const char *what, const char *text, const char *const *names, size_t count,
                    size_t *index_p)
{
    char list[320] = "";
    size_t len = 0;

    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, names[i]) == 0) {
            *index_p = i;
            return 0;
        }
        if (len < sizeof(list)) {
            len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i == 0 ? "" : ", ", names[i]);
        }
    }
    return kvfi_cli_fail("%s: \"%s\" is none of %s", what, text, list);
}

const char *kvfi_cli_bytes(uint64_t bytes, char *buf, size_t len)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    unsigned unit = 0;

    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    snprintf(buf, len, value == (double)(uint64_t)value ? "%.0f %s" : "%.2f %s", value, units[unit]);
    return buf;
}
