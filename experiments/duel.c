#include "experiments/duel.h"

#include <stdlib.h>
#include <string.h>

#include "experiments/comparison.h"
#include "experiments/fits.h"

bool duel_open(struct duel *duel, struct error *error)
{
    const size_t bytes = (size_t)(duel->seeds * duel->sides[1].values->users + 1) * sizeof(double);
    for (int side = 0; side < 2; side++)
        duel->gathered[side] = malloc(bytes);
    return (duel->gathered[0] && duel->gathered[1]) ||
           error_memory(error, "paired metrics of two arms", bytes, NULL);
}

void duel_close(struct duel *duel)
{
    free(duel->gathered[0]);
    free(duel->gathered[1]);
}

static void gather(struct duel *duel, const char *metric)
{
    for (int number = 0; number < 2; number++) {
        const struct duel_side *side = &duel->sides[number];
        const struct user_values *values = side->values;
        const int64_t serie = series_find(side->study, metric);
        for (int64_t s = 0; s < duel->seeds; s++) {
            const double *from = user_values_at(values, side->place, s, serie);
            double *to = duel->gathered[number] + s * values->users;
            for (int64_t u = 0; u < values->users; u++)
                to[u] = from[side->users ? side->users[u] : u];
        }
    }
}

bool duel_is_same(struct duel *duel)
{
    struct serie series[METRIC_COUNT * CUTS_MAXIMUM];
    const struct study *study = duel->sides[1].study;
    const int64_t count = series_of(series, study);
    const size_t bytes = (size_t)(duel->seeds * duel->sides[1].values->users) * sizeof(double);
    for (int64_t i = 0; i < count; i++) {
        char metric[METRIC_NAME_SIZE];
        metric_label(metric, series[i].metric, study->cuts[series[i].cut]);
        gather(duel, metric);
        if (memcmp(duel->gathered[0], duel->gathered[1], bytes) != 0)
            return false;
    }
    return true;
}

static bool is_deterministic(const struct duel_side *side)
{
    return contestant_is_deterministic(&side->study->contestants[side->contestant]);
}

bool duel_compare(json_t *record, struct duel *duel, const char *metric, struct error *error)
{
    const struct duel_side *one = &duel->sides[0], *other = &duel->sides[1];
    const struct compared compared = {.values = duel->gathered[0],
                                      .against = duel->gathered[1],
                                      .seeds = duel->seeds,
                                      .users = other->values->users,
                                      .deterministic = is_deterministic(one) && is_deterministic(other)};
    const struct comparison_settings settings =
        comparison_settings_read(other->study->config, other->study->first_seed);
    json_t *heads =
        json_pack("{s:s, s:s, s:s, s:s}", "recommender", other->study->contestants[other->contestant].label,
                  "arm", arm_name(one->arm), "against", arm_name(other->arm), "metric", metric);
    const bool added = heads && json_object_update(record, heads) == 0;
    json_decref(heads);
    if (!added)
        return error_memory(error, "a comparison", 0, NULL);
    gather(duel, metric);
    return comparison_add(record, &compared, &settings, error);
}
