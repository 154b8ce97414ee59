/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The command lines of a job's ranks: same_line.h says what this room promises. Rank 0's words go to all,
 * and each looks for the first of its own that is another one.
 */
#include "config.h"

#include "same_line.h"

#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

#define LINE_LEN 4096 /* of the words that are compared, each with a line feed */
#define SHOWN    80   /* bytes of an option that are told */

static void spell(int argc, char *const *argv, char *line)
{
    size_t at = 0;

    memset(line, 0, LINE_LEN);
    for (int i = 1; i < argc && at + 1 < LINE_LEN; i++) {
        at += (size_t)snprintf(line + at, LINE_LEN - at, "%s\n", argv[i]);
    }
}

static size_t word_len(const char *line)
{
    return strcspn(line, "\n");
}

static const char *next_word(const char *line)
{
    size_t len = word_len(line);

    return line + len + (line[len] == '\n');
}

/* The option at, or that at is the value of, with its value. */
static void show(const char *at, const char *option, char text[SHOWN])
{
    const char *from = *at == '-' || *at == '\0' ? at : option, *value = next_word(from);

    if (*from == '\0') {
        snprintf(text, SHOWN, "no more options");
    } else if (*value == '\0' || *value == '-') {
        snprintf(text, SHOWN, "%.*s", (int)word_len(from), from);
    } else {
        snprintf(text, SHOWN, "%.*s %.*s", (int)word_len(from), from, (int)word_len(value), value);
    }
}

static bool differ(const char *mine, const char *first, char *sentence, size_t len)
{
    const char *a = mine, *b = first, *option = mine;
    char here[SHOWN], there[SHOWN];

    if (strcmp(mine, first) == 0) {
        return false;
    }
    while (*a != '\0' && word_len(a) == word_len(b) && memcmp(a, b, word_len(a)) == 0) {
        option = *a == '-' ? a : option;
        a = next_word(a);
        b = next_word(b);
    }
    show(a, option, here);
    show(b, first + (option - mine), there);
    snprintf(sentence, len, "%s here and %s on rank 0: all ranks must be given the same options", here,
             there);
    return true;
}

int kvfi_same_line(int argc, char *const *argv)
{
    char mine[LINE_LEN], first[LINE_LEN], sentence[256] = "";
    int rank, who;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    spell(argc, argv, mine);
    memcpy(first, mine, sizeof(first));
    MPI_Bcast(first, LINE_LEN, MPI_CHAR, 0, MPI_COMM_WORLD);
    who = differ(mine, first, sentence, sizeof(sentence)) ? rank : INT_MAX;
    MPI_Allreduce(MPI_IN_PLACE, &who, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    if (who == INT_MAX) {
        return 0;
    }
    MPI_Bcast(sentence, sizeof(sentence), MPI_CHAR, who, MPI_COMM_WORLD);
    return kvfi_cli_fail("rank %d: %s", who, sentence);
}
