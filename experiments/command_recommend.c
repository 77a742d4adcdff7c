#include <stdio.h>

#include "experiments/command.h"
#include "experiments/recommend.h"

bool command_recommend(const struct invocation *invocation, struct error *error)
{
    struct trained_request request = {.run_folder = invocation->words[0],
                                      .recommender = invocation->option[0],
                                      .users_file = invocation->option[1],
                                      .device = invocation->option[3],
                                      .arm = invocation->option[4],
                                      .seed = -1};
    int64_t k = 20;
    if (!request.recommender)
        return error_set(error, ERROR_USAGE,
                         "--recommender is missing; `idrec info %s` lists those that there are",
                         request.run_folder);
    return option_integer(invocation, 2, 1, &k, error) &&
           option_integer(invocation, 5, 0, &request.seed, error) && recommend(&request, k, stdout, error);
}
