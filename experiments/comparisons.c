#include "experiments/comparisons.h"

#include "experiments/comparison.h"
#include "experiments/duel.h"
#include "experiments/fits.h"

static bool compare_pair(json_t *comparisons, const struct study *study, const struct user_values *values,
                         int contestant, const int arms[2], struct error *error)
{
    struct serie series[METRIC_COUNT * CUTS_MAXIMUM];
    const int64_t count = series_of(series, study);
    struct duel duel = {.seeds = study->seeds};
    for (int side = 0; side < 2; side++)
        duel.sides[side] = (struct duel_side){.study = study,
                                              .contestant = contestant,
                                              .arm = study->arms[arms[side]],
                                              .values = values,
                                              .place = arms[side]};
    bool done = duel_open(&duel, error);
    for (int64_t s = 0; done && s < count; s++) {
        char metric[METRIC_NAME_SIZE];
        json_t *record = json_object();
        metric_label(metric, series[s].metric, study->cuts[series[s].cut]);
        done = (json_array_append_new(comparisons, record) == 0 ||
                error_memory(error, "a comparison", 0, NULL)) &&
               duel_compare(record, &duel, metric, error);
    }
    duel_close(&duel);
    return done;
}

bool compare_arms(json_t *comparisons, const struct study *study, const struct user_values *values,
                  int contestant, struct error *error)
{
    bool done = true;
    for (int a = 1; done && a < study->arm_count; a++)
        done = compare_pair(comparisons, study, values, contestant, (const int[]){a, 0}, error);
    for (int a = 1; done && a < study->arm_count; a++)
        for (int b = 1; done && study->arms[a] == ARM_AUGMENTED && b < study->arm_count; b++)
            if (b != a)
                done = compare_pair(comparisons, study, values, contestant, (const int[]){a, b}, error);
    return done;
}
