#include <stdio.h>

#include "core/config.h"
#include "experiments/check.h"
#include "experiments/command.h"
#include "models/recommenders/settings.h"

bool command_config(const struct invocation *invocation, struct error *error)
{
    if (invocation->option[0])
        return config_write_reference(stdout) || error_system(error, "standard output", "cannot write", NULL);
    if (invocation->word_count == 0)
        return error_set(error, ERROR_USAGE,
                         "usage: idrec config CONFIG [key.path=value ...], or idrec config --reference");
    struct config *config;
    if (!config_load(&config, invocation->words[0], invocation->word_count - 1, invocation->words + 1, error))
        return false;
    bool done = check_config(config, error);
    if (done && !config_write(config, recommender_reads_setting, stdout))
        done = error_system(error, "standard output", "cannot write", NULL);
    config_free(config);
    return done;
}
