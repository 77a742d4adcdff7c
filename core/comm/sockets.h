/*
 * sockets.h: ranks without MPI. Slurm's srun has started them; they find each other by files in a folder that all of
 * them see, and exchange over TCP, a connection for each pair. On GPUs NCCL takes over what is large.
 */
#ifndef IDREC_CORE_COMM_SOCKETS_H
#define IDREC_CORE_COMM_SOCKETS_H

#include "core/comm/comm_calls.h"
#include "core/comm/tcp.h"

/* The folder, of each rank's environment; where it is named MPI is not used. */
#define RANKS_FOLDER_VARIABLE "IDREC_RANKS_FOLDER"

/* Joins the job of `size` ranks; fills what comm_open() has not. */
bool socket_communicator_open(struct communicator *communicator, int size, struct error *error);

/* ---- meeting.c ------------------------------------------------------------------------------------------------ */

/* What a rank tells the others in its file. */
struct invitation_card {
    char host[64];
    struct tcp_place place;
};

/* links[r] = a connection with rank r, for all others; cards[r] = what it has told. */
bool ranks_meet(const struct communicator *communicator, struct invitation_card *cards /* [size] */,
                int *links /* [size], -1 */, struct error *error);
/* Takes the files away. */
bool ranks_have_met(struct error *error);

#endif
