#include <stdio.h>

#include "experiments/command.h"
#include "experiments/recommend.h"

bool command_recommend(const struct invocation *invocation, struct error *error)
{
    int64_t k = 20;
    if (!invocation->option[0])
        return error_set(error, ERROR_USAGE,
                         "--recommender is missing; `idrec info %s` lists what the run has",
                         invocation->words[0]);
    return option_integer(invocation, 2, 1, &k, error) &&
           recommend(invocation->words[0], invocation->option[0], invocation->option[1], k, stdout, error);
}
