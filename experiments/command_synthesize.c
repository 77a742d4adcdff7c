#include <stdio.h>

#include "experiments/command.h"
#include "experiments/synthesize.h"

bool command_synthesize(const struct invocation *invocation, struct error *error)
{
    struct synthesize_settings settings = synthesize_defaults();
    int64_t seed = (int64_t)settings.seed;
    if (!option_integer(invocation, 0, 1, &settings.users, error) ||
        !option_integer(invocation, 1, 1, &settings.items, error) ||
        !option_number(invocation, 2, &settings.interactions_per_user, error) ||
        !option_integer(invocation, 3, 1, &settings.factors, error) ||
        !option_integer(invocation, 4, 1, &settings.blocks, error) ||
        !option_number(invocation, 5, &settings.noise, error) ||
        !option_number(invocation, 6, &settings.popularity_skew, error) ||
        !option_number(invocation, 7, &settings.preferred_share, error) ||
        !option_integer(invocation, 8, 0, &seed, error))
        return false;
    settings.seed = (uint64_t)seed;
    if (!synthesize(invocation->words[0], &settings, error))
        return false;
    fprintf(stderr, "%s: %lld users, %lld items; true preferences in %s.truth.h5\n", invocation->words[0],
            (long long)settings.users, (long long)settings.items, invocation->words[0]);
    return true;
}
