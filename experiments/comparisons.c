#include "experiments/comparisons.h"

#include <stdlib.h>
#include <string.h>

#include "experiments/comparison.h"
#include "experiments/fits.h"

/* Of two arms of one recommender. */
struct arm_pair {
    const struct study *study;
    const struct user_values *values;
    int contestant, arms[2];
    double *gathered[2]; /* [seeds, users] of one serie */
};

static bool arm_pair_open(struct arm_pair *pair, struct error *error)
{
    const size_t bytes = (size_t)(pair->study->seeds * pair->values->users + 1) * sizeof(double);
    for (int side = 0; side < 2; side++)
        pair->gathered[side] = malloc(bytes);
    return (pair->gathered[0] && pair->gathered[1]) ||
           error_memory(error, "paired metrics of two arms", bytes, NULL);
}

static void arm_pair_close(struct arm_pair *pair)
{
    free(pair->gathered[0]);
    free(pair->gathered[1]);
}

static bool compare_serie(json_t *comparisons, const struct arm_pair *pair, struct serie serie, int64_t place,
                          struct error *error)
{
    const struct study *study = pair->study;
    const struct user_values *values = pair->values;
    const int *arms = pair->arms;
    const struct compared compared = {.values = pair->gathered[0],
                                      .against = pair->gathered[1],
                                      .seeds = study->seeds,
                                      .users = values->users,
                                      .deterministic =
                                          contestant_is_deterministic(&study->contestants[pair->contestant])};
    const struct comparison_settings settings =
        comparison_settings_read(study->run->config, study->first_seed);
    for (int side = 0; side < 2; side++)
        user_values_gather(pair->gathered[side], values, study->seeds, arms[side], place);
    char metric[METRIC_NAME_SIZE];
    metric_label(metric, serie.metric, study->cuts[serie.cut]);
    json_t *record = json_pack(
        "{s:s, s:s, s:s, s:s}", "recommender", study->contestants[pair->contestant].label, "arm",
        arm_name(study->arms[arms[0]]), "against", arm_name(study->arms[arms[1]]), "metric", metric);
    if (record == NULL)
        return error_memory(error, "a comparison", 0, NULL);
    json_array_append_new(comparisons, record);
    return comparison_add(record, &compared, &settings, error);
}

static bool compare_pair(json_t *comparisons, struct arm_pair *pair, int arm, int against,
                         struct error *error)
{
    struct serie series[METRIC_COUNT * CUTS_MAXIMUM];
    const int64_t count = series_of(series, pair->study);
    bool done = true;
    pair->arms[0] = arm;
    pair->arms[1] = against;
    for (int64_t s = 0; done && s < count; s++)
        done = compare_serie(comparisons, pair, series[s], s, error);
    return done;
}

bool compare_arms(json_t *comparisons, const struct study *study, const struct user_values *values,
                  int contestant, struct error *error)
{
    struct arm_pair pair = {.study = study, .values = values, .contestant = contestant};
    bool done = arm_pair_open(&pair, error);
    for (int a = 1; done && a < study->arm_count; a++)
        done = compare_pair(comparisons, &pair, a, 0, error);
    for (int a = 1; done && a < study->arm_count; a++)
        for (int b = 1; done && study->arms[a] == ARM_AUGMENTED && b < study->arm_count; b++)
            if (b != a)
                done = compare_pair(comparisons, &pair, a, b, error);
    arm_pair_close(&pair);
    return done;
}
