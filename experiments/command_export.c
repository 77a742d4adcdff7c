#include <stdio.h>

#include "experiments/command.h"
#include "experiments/export.h"

bool command_export(const struct invocation *invocation, struct error *error)
{
    struct trained_request request = {.run_folder = invocation->words[0],
                                      .recommender = invocation->option[0],
                                      .users_file = invocation->option[2],
                                      .device = invocation->option[4],
                                      .arm = invocation->option[5],
                                      .seed = -1};
    const char *output = invocation->option[1];
    const bool scores = invocation->option[3] != NULL;
    if (!request.recommender)
        return error_set(error, ERROR_USAGE,
                         "--recommender is missing; `idrec info %s` lists those that there are",
                         request.run_folder);
    if (!output || *output == '\0')
        return error_set(error, ERROR_USAGE, "--output is missing; name the HDF5 file to write");
    if (!option_integer(invocation, 6, 0, &request.seed, error) ||
        !export_trained(&request, output, scores, error))
        return false;
    fprintf(stderr, "%s: written; `idrec info %s` tells what it holds\n", output, output);
    return true;
}
