#include <stdio.h>

#include "core/comm/comm_calls.h"

static const char reason[] = "built without MPI, which was not found";

bool mpi_communicator_open(struct communicator *communicator, struct error *error)
{
    return error_set(error, ERROR_RUN, "%s: %s", communicator->host, reason);
}

void mpi_describe_build(char *text, size_t size)
{
    snprintf(text, size, "%s", reason);
}

bool mpi_is_built_in(void)
{
    return false;
}
