#include "experiments/ensemble.h"

#include <stdlib.h>
#include <string.h>

#include "experiments/controls.h"
#include "experiments/training_rows.h"
#include "models/recommenders/settings.h"

bool ensemble_read(struct ensemble *ensemble, const struct config *config, struct error *error)
{
    const int64_t count = config_length(config, "augment.ensemble");
    *ensemble = (struct ensemble){.count = (int)count};
    if (count > ENSEMBLE_MAXIMUM)
        return config_complain(config, "augment.ensemble", error, "at most %d rankers", ENSEMBLE_MAXIMUM);
    for (int i = 0; i < ensemble->count; i++) {
        const char *model = config_string(config, "augment.ensemble[%d]", i);
        for (int before = 0; before < i; before++)
            if (strcmp(ensemble->members[before].model, model) == 0)
                return config_complain(config, "augment.ensemble", error, "%s is given twice; name it once",
                                       model);
        if (!recommender_settings_find(&ensemble->members[i], config, model, error))
            return false;
    }
    return true;
}

bool ranker_fit(struct recommender **recommender, const struct run *run,
                const struct recommender_settings *settings, const struct csr *train,
                const struct csr *history, struct error *error)
{
    const struct fit_watch watch = {.k = 1, .metric = METRIC_NDCG};
    struct arm_rows original = {0};
    struct fit_report report;
    bool done = arm_rows_build(&original, train, NULL, USE_NONE, 1, error);
    const struct training_set data = arm_training_set(&original, history);
    done = done && recommender_fit(recommender, run->backend, settings, &data, &watch, 1, NULL, run->log,
                                   &report, error);
    arm_rows_free(&original);
    return done;
}

/* The best unseen items of one ranker, `depth` for each user. */
static bool list_items(struct csr *rows, const struct run *run, const struct recommender_settings *settings,
                       int64_t depth, const struct csr *train, const struct csr *history, struct error *error)
{
    struct recommender *recommender = NULL;
    struct csr amounts = {.rows = train->rows, .columns = train->columns};
    const size_t bytes = (size_t)(train->rows + 1) * sizeof *amounts.starts;
    amounts.starts = malloc(bytes);
    if (!amounts.starts)
        return error_memory(error, "amounts of rows", bytes, NULL);
    for (int64_t user = 0; user <= train->rows; user++)
        amounts.starts[user] = user * depth;
    const bool done = ranker_fit(&recommender, run, settings, train, history, error) &&
                      control_recommender(rows, &amounts, train, recommender, run->backend, error);
    recommender_free(recommender);
    csr_free(&amounts);
    return done;
}

bool ensemble_fuse(struct ensemble_lists *lists, const struct ensemble *ensemble, const struct run *run,
                   const struct csr *language, const struct csr *train, const struct csr *history,
                   struct error *error)
{
    const int64_t longest = csr_longest_row(language);
    const struct fusion fusion = {.constant = 60, .depth = longest > 0 ? longest : 1};
    struct csr rows[ENSEMBLE_MAXIMUM] = {{0}};
    struct fusion_list all[ENSEMBLE_MAXIMUM + 1] = {{.items = language, .weight = 1}};
    bool done = true;
    *lists = (struct ensemble_lists){.all = {.scores = NULL}};
    for (int i = 0; done && i < ensemble->count; i++) {
        done = list_items(&rows[i], run, &ensemble->members[i], fusion.depth, train, history, error);
        all[i + 1] = (struct fusion_list){.items = &rows[i], .weight = 1};
    }
    done = done && fusion_rank(&lists->all, all, ensemble->count + 1, &fusion, fusion.depth, error) &&
           fusion_rank(&lists->others, all + 1, ensemble->count, &fusion, fusion.depth, error);
    for (int i = 0; i < ensemble->count; i++)
        csr_free(&rows[i]);
    return done;
}

void ensemble_lists_free(struct ensemble_lists *lists)
{
    fused_lists_free(&lists->all);
    fused_lists_free(&lists->others);
}
