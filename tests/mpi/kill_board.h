/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the processes of mpi_kill share where MPI is of no more use: a file that all of them map (the
 * board), on which they meet, and blobs that go through files. A process that finds a fault says so,
 * marks the board and leaves; the others see it at the next place where they wait. Every wait drives
 * the engine, sleeps between looks and is bounded.
 */
#ifndef TESTS_MPI_KILL_BOARD_H
#define TESTS_MPI_KILL_BOARD_H

#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <kvferry.h>

#define SEC  UINT64_C(1000000000)
#define MSEC UINT64_C(1000000)

#define RANKS 4
#define RUNS  4 /* threads of a rank, each with a batch */
#define STEPS 16

/* All zero at first. Lives as a file in the test's directory, which all nodes see. */
typedef struct board {
    _Atomic int32_t failed;
    _Atomic uint32_t arrived[STEPS];        /* processes that have come to a step */
    _Atomic int32_t pid[RANKS];             /* in the process's own PID namespace */
    _Atomic uint32_t in_batch[RANKS][RUNS]; /* 1: between post and end */
    _Atomic uint64_t rounds[RANKS][RUNS];   /* batches that ended OK */
    _Atomic uint64_t hit_ns;                /* when the victim signalled itself; 0: not yet */
    _Atomic uint32_t awake;                 /* 1: the stopped one goes on */
    _Atomic uint32_t caught;                /* batches with the victim that the signal fell into */
    _Atomic uint64_t written[RANKS][RANKS]; /* [writer][owner]: seed of what lies there; 0: mixed */
} board_t;

static board_t *board;
static const char *board_dir;
static int board_rank = -1;

static inline uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SEC + (uint64_t)t.tv_nsec;
}

static inline void sleep_ns(uint64_t len_ns)
{
    struct timespec len = {(time_t)(len_ns / SEC), (long)(len_ns % SEC)};

    nanosleep(&len, NULL);
}

__attribute__((format(printf, 1, 2), noreturn)) static inline void give_up(const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    fprintf(stderr, "rank %d: %s\n", board_rank, text);
    if (board != NULL) {
        snprintf(text, sizeof(text), "%s/failed", board_dir);
        close(open(text, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)); /* the script ends the job */
        board->failed = 1;
    }
    _exit(1);
}

#define MUST(holds, ...)                                                                                     \
    do {                                                                                                     \
        if (!(holds)) {                                                                                      \
            give_up(__VA_ARGS__);                                                                            \
        }                                                                                                    \
    } while (0)

#define OK(call) ok((call), #call, __LINE__)

static inline void ok(kvf_status_t status, const char *what, int line)
{
    MUST(status == KVF_OK, "line %d: %s: %s: %s", line, what, kvf_status_name(status), kvf_last_error());
}

static inline void board_open(const char *dir, int rank)
{
    char path[4096];
    int fd;

    board_dir = dir;
    board_rank = rank;
    snprintf(path, sizeof(path), "%s/board", dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    MUST(fd >= 0 && ftruncate(fd, sizeof(board_t)) == 0, "cannot make %s", path);
    board = mmap(NULL, sizeof(board_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(board != MAP_FAILED, "cannot map %s", path);
    close(fd);
    board->pid[rank] = getpid();
}

/* One look of a wait: true while it has to go on. engine may be NULL. */
static inline int board_look(kvf_engine_t *engine, uint64_t since_ns, const char *what)
{
    MUST(!board->failed, "gives up, since another one did (waiting for %s)", what);
    MUST(now_ns() - since_ns < 25 * SEC, "has waited 25 s for %s", what);
    if (engine != NULL) {
        kvf_progress(engine);
    }
    sleep_ns(MSEC / 2);
    return 1;
}

/* Comes to a step and waits until count processes have. */
static inline void board_meet(kvf_engine_t *engine, int step, uint32_t count, const char *what)
{
    uint64_t since = now_ns();

    board->arrived[step]++;
    while (board->arrived[step] < count && board_look(engine, since, what)) {
    }
}

/* ------------------------------------------------------------------- files */

static inline void file_put(const char *name, const void *data, size_t len)
{
    char path[4096];
    char temporary[4200];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", board_dir, name);
    snprintf(temporary, sizeof(temporary), "%s.part", path);
    file = fopen(temporary, "w");
    MUST(file != NULL && fwrite(data, 1, len, file) == len && fclose(file) == 0 &&
             rename(temporary, path) == 0,
         "cannot write %s", path);
}

/* Waits until the file is there. */
static inline size_t file_get(kvf_engine_t *engine, const char *name, void *buf, size_t len)
{
    char path[4096];
    uint64_t since = now_ns();
    FILE *file;
    size_t got;

    snprintf(path, sizeof(path), "%s/%s", board_dir, name);
    while ((file = fopen(path, "r")) == NULL && board_look(engine, since, path)) {
    }
    got = fread(buf, 1, len, file);
    fclose(file);
    MUST(got > 0 && got < len, "%s has %zu bytes", path, got);
    return got;
}

/* ----------------------------------------------------------------- pattern */

#define PIECE 4096u

/* Bytes of one piece of a memory, which depend on seed and place. */
static inline void pattern_piece(uint64_t seed, uint64_t piece, uint8_t *bytes_p)
{
    for (uint64_t word = 0; word < PIECE / 8; word++) {
        uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + (piece << 9) + word + 1;

        x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
        x ^= x >> 31;
        memcpy(bytes_p + word * 8, &x, 8);
    }
}

/* Memory whose piece i is piece ids[i] of the pattern; ids may be NULL: i. */
static inline void pattern_fill(uint8_t *mem, uint32_t pieces, uint64_t seed, const uint32_t *ids)
{
    for (uint32_t i = 0; i < pieces; i++) {
        pattern_piece(seed, ids != NULL ? ids[i] : i, mem + (uint64_t)i * PIECE);
    }
}

/* Index of the first piece that is not the pattern's, or pieces. */
static inline uint32_t pattern_compare(const uint8_t *mem, uint32_t pieces, uint64_t seed,
                                       const uint32_t *ids)
{
    uint8_t want[PIECE];

    for (uint32_t i = 0; i < pieces; i++) {
        pattern_piece(seed, ids != NULL ? ids[i] : i, want);
        if (memcmp(want, mem + (uint64_t)i * PIECE, PIECE) != 0) {
            return i;
        }
    }
    return pieces;
}

/* Whether all of mem is byte. */
static inline int all_bytes(const uint8_t *mem, uint64_t len, uint8_t byte)
{
    return mem[0] == byte && memcmp(mem, mem + 1, len - 1) == 0;
}

#endif
