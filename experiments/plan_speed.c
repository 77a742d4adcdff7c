/* plan_speed.c: what is measured of a recommender once for all trials that train it alike. */
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/plan_fit.h"
#include "experiments/stages.h"
#include "models/recommenders/settings.h"

void plan_key_of_settings(char key[PLAN_KEY_SIZE], const struct recommender_settings *settings)
{
    const char *name;
    plan_key_of_text(key, "%s", settings->model);
    for (int place = 0; (name = recommender_setting_name(place)) != NULL; place++) {
        char before[PLAN_KEY_SIZE];
        if (!recommender_reads_setting(settings->model, name))
            continue;
        char *text = recommender_setting_text(settings, name);
        memcpy(before, key, sizeof before);
        plan_key_of_text(key, "%s %s %s", before, name, text ? text : "");
        free(text);
    }
}

/* What the speed of a recommender depends on. */
static void key_of_speed(char key[PLAN_KEY_SIZE], const struct plan *plan,
                         const struct recommender_settings *written, int parallel)
{
    static const char *const others[] = {"learning_rate", "regularization", "initial_deviation",
                                         "epochs",        "patience",       "evaluate_every"};
    struct recommender_settings settings = *written;
    char data[PLAN_KEY_SIZE], speed[PLAN_KEY_SIZE];
    struct error ignored = ERROR_INITIALIZER;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        recommender_setting_put(&settings, others[i], "1", &ignored);
    plan_key_of_settings(speed, &settings);
    stage_settings_hash(plan->run.config, stage_number("prepare"), data);
    plan_key_of_text(key, "speed %s %s %d", speed, data, parallel);
}

static bool measure_speed(struct fit_speed *speed, const struct plan *plan,
                          const struct recommender_settings *settings, int parallel, struct error *error)
{
    if (!fit_count(&speed->count, plan, settings, error))
        return false;
    if (plan->device)
        return fit_measure(&speed->rate, plan, settings, parallel, error);
    speed->rate = (struct fit_rate){
        .epoch_seconds = plan_assumed_seconds(plan, &speed->count.epoch),
        .judge_seconds = plan_assumed_seconds(plan, &speed->count.judge),
        .share = 1,
    };
    return true;
}

bool fit_speed_find(struct fit_speed *speed, const struct plan *plan,
                    const struct recommender_settings *settings, int parallel, struct error *error)
{
    char key[PLAN_KEY_SIZE];
    key_of_speed(key, plan, settings, parallel);
    const struct fit_speed *const found = plan_memo_find(plan->memo, key);
    *speed = (struct fit_speed){.rate = {.share = 0}};
    if (found) {
        *speed = *found;
        return true;
    }
    const double begun = clock_seconds();
    if (!measure_speed(speed, plan, settings, parallel, error))
        return false;
    plan_memo_spend(plan->memo, clock_seconds() - begun);
    return plan_memo_keep(plan->memo, key, speed, sizeof *speed) ||
           error_memory(error, "a rate", sizeof *speed, NULL);
}
