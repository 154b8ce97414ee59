/* mpi_hello: the smallest MPI job, to test the nodes themselves and to know what MPI alone costs.
 *
 * Usage: mpi_hello [SHARED]
 * A token goes once around the ring of ranks, so that every neighbour is talked to. Each rank says
 * which host it is on and with how many others MPI thinks that it shares memory; with SHARED given,
 * a rank that counts another number (itself included) fails the job. It blocks only inside of MPI.
 *
 * Other tests compare kvf_replay's sockets against those of this program under the same launcher.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int ring_is_closed(int rank, int size)
{
    int left = (rank + size - 1) % size, got = -1;

    MPI_Sendrecv(&rank, 1, MPI_INT, (rank + 1) % size, 0, &got, 1, MPI_INT, left, 0, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
    return got == left;
}

int main(int argc, char **argv)
{
    int rank, size, shared, wanted = argc > 1 ? atoi(argv[1]) : 0, bad;
    char host[64] = "";
    MPI_Comm node;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Comm_size(node, &shared);
    gethostname(host, sizeof(host) - 1);

    bad = !ring_is_closed(rank, size) || (wanted && shared != wanted);
    printf("rank %d of %d on %s shares memory with %d: %s\n", rank, size, host, shared, bad ? "BAD" : "ok");

    MPI_Comm_free(&node);
    MPI_Finalize();
    return bad;
}
