/*
 * The rule by which a launch in pieces is told from a job of one rank, on environments as the
 * launchers leave them. No MPI, no processes: src/mpi/launch.c alone.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "mpi/launch.h"

#define PID 4242

/* env is "NAME=value" strings, NULL at the end */
static const char *lookup(void *arg, const char *name)
{
    size_t len = strlen(name);
    for (const char *const *env = arg; *env; env++) {
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=') {
            return *env + len + 1;
        }
    }
    return NULL;
}

static const struct {
    const char *what;
    int world_size;
    const char *refusal; /* what the sentence starts with; NULL: the launch is whole */
    const char *env[8];
} launches[] = {
    {"no launcher", 1, NULL, {NULL}},
    {"mpirun -n 4", 4, NULL, {"OMPI_COMM_WORLD_SIZE=4"}},
    {"mpirun -n 1", 1, NULL, {"OMPI_COMM_WORLD_SIZE=1"}},
    {"srun -n 4 --mpi=pmix", 4, NULL, {"SLURM_STEP_NUM_TASKS=4", "SLURM_NTASKS=4"}},
    {"srun -n 1 --mpi=none", 1, NULL, {"SLURM_STEP_NUM_TASKS=1", "SLURM_NTASKS=1"}},
    {"srun -n 4 --mpi=none",
     1,
     "srun started 4 ranks (SLURM_STEP_NUM_TASKS) and MPI sees 1: say srun --mpi=pmix",
     {"SLURM_STEP_NUM_TASKS=4", "SLURM_NTASKS=4", "SLURM_TASK_PID=4242"}},
    {"srun -n 4 --mpi=none, through a shell",
     1,
     "srun started 4 ranks",
     {"SLURM_STEP_NUM_TASKS=4", "SLURM_TASK_PID=4200"}},
    {"alone in a batch script of 4 tasks",
     1,
     NULL,
     {"SLURM_NTASKS=4", "SLURM_NPROCS=4", "SLURM_JOB_ID=7", "SLURM_TASK_PID=4200"}},
    {"mpirun -n 1 in a batch script of 4 tasks", 1, NULL, {"SLURM_NTASKS=4", "OMPI_COMM_WORLD_SIZE=1"}},
    {"mpirun -n 1 whose daemons are a step of 3 tasks",
     1,
     NULL,
     {"SLURM_STEP_NUM_TASKS=3", "SLURM_NTASKS=3", "OMPI_COMM_WORLD_SIZE=1"}},
    {"hydra -n 1 whose proxies are a step of 3 tasks", 1, NULL, {"SLURM_STEP_NUM_TASKS=3", "PMI_SIZE=1"}},
    {"in a shell of salloc", 1, NULL, {"SLURM_STEP_NUM_TASKS=1", "SLURM_NTASKS=8"}},
    {"typed under srun -n 4 --pty bash",
     1,
     NULL,
     {"SLURM_STEP_NUM_TASKS=4", "SLURM_TASK_PID=4200", "SLURM_PTY_PORT=40000"}},
    {"srun -n 4 --pty --mpi=none itself",
     1,
     "srun started 4 ranks",
     {"SLURM_STEP_NUM_TASKS=4", "SLURM_TASK_PID=4242", "SLURM_PTY_PORT=40000"}},
    {"Open MPI's mpirun, linked with another MPI",
     1,
     "Open MPI's mpirun started 2 ranks (OMPI_COMM_WORLD_SIZE) and MPI sees 1: the program is "
     "linked with another MPI",
     {"OMPI_COMM_WORLD_SIZE=2"}},
    {"hydra, linked with another MPI", 1, "a launcher that speaks PMI started 2", {"PMI_SIZE=2"}},
    {"mpirun -n 2 of another MPI in a shell of salloc",
     1,
     "Open MPI's mpirun started 2 ranks",
     {"SLURM_STEP_NUM_TASKS=1", "OMPI_COMM_WORLD_SIZE=2"}},
    {"a number that is none", 1, NULL, {"SLURM_STEP_NUM_TASKS=four"}},
    {"a number with a tail", 1, NULL, {"SLURM_STEP_NUM_TASKS=4x"}},
    {"an empty number", 1, NULL, {"SLURM_STEP_NUM_TASKS="}},
    {"a negative number", 1, NULL, {"SLURM_STEP_NUM_TASKS=-4"}},
    {"a number past all", 1, NULL, {"SLURM_STEP_NUM_TASKS=99999999999999999999"}},
    {"a bad number before a good one",
     1,
     "srun started 4 ranks",
     {"OMPI_COMM_WORLD_SIZE=many", "SLURM_STEP_NUM_TASKS=4"}},
};

START_TEST(launch_is_judged_by_its_nearest_launcher)
{
    char why[256] = "";
    bool whole = kvfi_mpi_launch_whole(launches[_i].world_size, lookup, (void *)(uintptr_t)launches[_i].env,
                                       PID, why, sizeof(why));
    const char *refusal = launches[_i].refusal;
    ck_assert_msg(whole == !refusal, "%s: %s", launches[_i].what, whole ? "let through" : why);
    if (refusal) {
        ck_assert_msg(strncmp(why, refusal, strlen(refusal)) == 0, "%s: it says: %s", launches[_i].what, why);
    }
}
END_TEST

START_TEST(a_sentence_is_cut_to_the_room_it_has)
{
    static const char *const env[] = {"SLURM_STEP_NUM_TASKS=4", NULL};
    char why[8] = "xxxxxxx";
    ck_assert(!kvfi_mpi_launch_whole(1, lookup, (void *)(uintptr_t)env, PID, why, 5));
    ck_assert_str_eq(why, "srun");
    ck_assert_int_eq(why[5], 'x');
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mpi launch");
    TCase *tcase = tcase_create("rule");
    tcase_add_loop_test(tcase, launch_is_judged_by_its_nearest_launcher, 0,
                        (int)(sizeof(launches) / sizeof(launches[0])));
    tcase_add_test(tcase, a_sentence_is_cut_to_the_room_it_has);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
