#include "experiments/ensemble.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/controls.h"
#include "experiments/ensemble_choice.h"
#include "experiments/training_rows.h"
#include "models/recommenders/settings.h"

bool ensemble_chooses(const struct config *config)
{
    return config_length(config, "augment.ensemble") > 0 &&
           strcmp(config_string(config, "augment.ensemble_select"), "validation") == 0;
}

bool ensemble_validates(const struct config *config)
{
    for (int i = 0; i < (int)config_length(config, "augment.ensemble"); i++) {
        struct error ignored = ERROR_INITIALIZER;
        struct recommender_settings settings;
        if (recommender_settings_default(&settings, config_string(config, "augment.ensemble[%d]", i),
                                         &ignored) &&
            recommender_has_epochs(&settings))
            return true;
    }
    return ensemble_chooses(config);
}

bool ensemble_read(struct ensemble *ensemble, const struct config *config, struct error *error)
{
    const int64_t count = config_length(config, "augment.ensemble");
    *ensemble = (struct ensemble){
        .count = (int)count,
        .choose = ensemble_chooses(config),
        .metric = metric_from_name(config_string(config, "augment.select_metric")),
        .cut = config_integer(config, "augment.select_k"),
    };
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
                const struct csr *history, const struct fit_watch *watch, struct error *error)
{
    struct arm_rows original = {0};
    struct fit_report report;
    bool done = arm_rows_build(&original, train, NULL, USE_NONE, 1, error);
    const struct training_set data = arm_training_set(&original, history);
    done = done && recommender_fit(recommender, run->backend, settings, &data, watch, 1, NULL, run->log,
                                   &report, error);
    arm_rows_free(&original);
    return done;
}

/* The best unseen items of one ranker, `depth` for each user. */
static bool list_items(struct csr *rows, const struct run *run, const struct recommender_settings *settings,
                       int64_t depth, const struct csr *train, const struct csr *history,
                       const struct fit_watch *watch, struct error *error)
{
    struct recommender *recommender = NULL;
    struct csr amounts = {.rows = train->rows, .columns = train->columns};
    const size_t bytes = (size_t)(train->rows + 1) * sizeof *amounts.starts;
    amounts.starts = malloc(bytes);
    if (!amounts.starts)
        return error_memory(error, "amounts of rows", bytes, NULL);
    for (int64_t user = 0; user <= train->rows; user++)
        amounts.starts[user] = user * depth;
    const bool done = ranker_fit(&recommender, run, settings, train, history, watch, error) &&
                      control_recommender(rows, &amounts, train, recommender, run->backend, error);
    recommender_free(recommender);
    csr_free(&amounts);
    return done;
}

/* ---- which lists are fused ---------------------------------------------------------------------------- */

static void name_chosen(char *names, const struct ensemble *ensemble, const struct fusion_list *lists,
                        int first, int count)
{
    names[0] = '\0';
    for (int i = first; i < count; i++)
        if (lists[i].weight > 0)
            snprintf(names + strlen(names), ENSEMBLE_NAMES_SIZE - strlen(names), "%s%s",
                     names[0] != '\0' ? " " : "", i == 0 ? "language_model" : ensemble->members[i - 1].model);
}

static bool choose_lists(struct ensemble_lists *lists, struct fusion_list *all, struct fusion_list *others,
                         const struct ensemble *ensemble, const struct fusion *fusion,
                         const struct csr *validation, struct error *error)
{
    int32_t *users = NULL;
    struct fusion_judge judge = {.validation = validation, .metric = ensemble->metric, .cut = ensemble->cut};
    bool done = users_with_truth(&users, &judge.user_count, validation, error);
    judge.users = users;
    if (done && judge.user_count == 0)
        done = error_set(
            error, ERROR_RUN,
            "no user has a validation row, on which augment.ensemble_select chooses; set it to all");
    done = done && lists_choose(all, ensemble->count + 1, false, fusion, &judge, &lists->all_score, error) &&
           lists_choose(others, ensemble->count, true, fusion, &judge, &lists->others_score, error);
    free(users);
    return done;
}

/* `rows` [ensemble->count]: the members' lists. */
static bool fuse_lists(struct ensemble_lists *lists, const struct ensemble *ensemble,
                       const struct csr *language, const struct csr *rows, const struct fusion *fusion,
                       const struct csr *validation, struct error *error)
{
    struct fusion_list all[ENSEMBLE_MAXIMUM + 1] = {{.items = language, .weight = 1}};
    struct fusion_list others[ENSEMBLE_MAXIMUM + 1] = {{.items = language, .weight = 0}};
    const int count = ensemble->count + 1;
    for (int i = 1; i < count; i++)
        all[i] = others[i] = (struct fusion_list){.items = &rows[i - 1], .weight = 1};
    if (ensemble->choose && !choose_lists(lists, all, others + 1, ensemble, fusion, validation, error))
        return false;
    name_chosen(lists->all_names, ensemble, all, 0, count);
    name_chosen(lists->others_names, ensemble, others, 1, count);
    return fusion_rank(&lists->all, all, count, fusion, fusion->depth, error) &&
           fusion_rank(&lists->others, others, count, fusion, fusion->depth, error);
}

bool ensemble_fuse(struct ensemble_lists *lists, const struct ensemble *ensemble, const struct run *run,
                   const struct csr *language, const struct dataset *dataset, const struct csr *train,
                   struct error *error)
{
    const int64_t longest = csr_longest_row(language);
    const struct fusion fusion = {.constant = 60, .depth = longest > 0 ? longest : 1};
    struct csr rows[ENSEMBLE_MAXIMUM] = {{0}};
    struct csr truth = {0};
    *lists = (struct ensemble_lists){.all_score = NAN, .others_score = NAN};
    bool done = csr_sorted(&truth, &dataset->validation, error);
    const struct fit_watch watch = {.truth = csr_count(&truth) > 0 ? &truth : NULL,
                                    .mask = train,
                                    .metric = ensemble->metric,
                                    .k = ensemble->cut};
    for (int i = 0; done && i < ensemble->count; i++)
        done = list_items(&rows[i], run, &ensemble->members[i], fusion.depth, train, &dataset->train, &watch,
                          error);
    csr_free(&truth);
    done = done && fuse_lists(lists, ensemble, language, rows, &fusion, &dataset->validation, error);
    for (int i = 0; i < ensemble->count; i++)
        csr_free(&rows[i]);
    return done;
}

void ensemble_lists_free(struct ensemble_lists *lists)
{
    fused_lists_free(&lists->all);
    fused_lists_free(&lists->others);
}
