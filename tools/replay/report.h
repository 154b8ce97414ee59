/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What came out: gathered on rank 0, judged there, told to people and as JSON.
 *
 * The same bytes are counted four times: by the results of batches, by the paths, by where peers are,
 * and by each pair of ranks. Where no pull failed they must agree, and with --verify all the checked bytes too; the job is
 * wrong if they do not, or if a byte is, or a block was stale that nobody asked to be, or a request is
 * missing.
 */
#ifndef KVFI_REPLAY_REPORT_H
#define KVFI_REPLAY_REPORT_H

#include <stdio.h>

#include "job.h"

#define REPLAY_PROBLEMS 10

struct replay_nic {
    char name[64]; /* "tcp/eth0" */
    uint64_t bytes;
};

struct replay_report {
    struct replay_stats sum;
    kvf_counters_t counters;          /* of all ranks, */
    kvf_flow_t flows[KVF_PATH_COUNT]; /* and by path */
    uint64_t *matrix;                 /* [from * ranks + to] */
    struct replay_nic *nics;
    size_t nic_count;
    double seconds;
    double p50_us, p99_us;
    char net[32];
    bool complete;
    char problems[REPLAY_PROBLEMS][640];
    int problem_count;
};

/* Collective. Sets *report_p on every rank, what is gathered on rank 0 only. failure: the sentence of
 * a rank that failed, or NULL. Returns 0, or the exit code that all ranks agree on (of a failure to
 * gather), with its sentence in text_p. */
int kvfi_replay_report_gather(struct replay_job *job, double seconds, const char *failure,
                              struct replay_report *report_p, char text_p[REPLAY_TEXT_LEN]);
void kvfi_replay_report_free(struct replay_report *report);

/* On rank 0. */
void kvfi_replay_report_people(const struct replay_job *job, const struct replay_report *report, FILE *file);
void kvfi_replay_report_json(const struct replay_job *job, const struct replay_report *report, FILE *file);

#endif
