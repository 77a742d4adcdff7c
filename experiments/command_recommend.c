#include <stdio.h>

#include "experiments/command.h"
#include "experiments/recommend.h"

bool command_recommend(const struct invocation *invocation, struct error *error)
{
    struct recommend_request request = {.run_folder = invocation->words[0],
                                        .recommender = invocation->option[0],
                                        .users_file = invocation->option[1],
                                        .device = invocation->option[3],
                                        .k = 20};
    if (!invocation->option[0])
        return error_set(error, ERROR_USAGE,
                         "--recommender is missing; name one of the folders in %s/recommenders",
                         invocation->words[0]);
    return option_integer(invocation, 2, 1, &request.k, error) && recommend(&request, stdout, error);
}
