#include "experiments/compare.h"

#include <stdlib.h>
#include <string.h>

#include "experiments/compare_settings.h"
#include "experiments/compared_run.h"
#include "experiments/comparison.h"
#include "experiments/duel.h"
#include "experiments/fits.h"

struct comparing {
    const struct compare_request *request;
    struct compared_run *members; /* [request->run_count] */
    json_t *result;
};

static json_t *test_json(const struct compared_run *base)
{
    const struct study *study = &base->study;
    return json_pack("{s:I, s:I, s:I, s:s, s:s}", "users", (json_int_t)study->test_count, "items",
                     (json_int_t)study->test.columns, "interactions", (json_int_t)csr_count(&study->test),
                     "protocol", config_string(base->run.config, "evaluate.protocol"), "mask",
                     config_string(base->run.config, "evaluate.mask"));
}

/* ---- one recommender -------------------------------------------------------------------------------------- */

/* One recommender of a run and of the first. */
struct pair {
    const struct compared_run *members[2]; /* the run; the first */
    int contestants[2];
    enum arm arms[2];
    int64_t seeds;
    struct user_values values[2];
};

static bool has_fit(const struct pair *pair, int side, enum arm arm)
{
    const struct study *study = &pair->members[side]->study;
    return study_has_arm(study, arm) && study_has_fit(study, pair->contestants[side], arm);
}

static void choose_arms(struct pair *pair, const struct compare_request *request)
{
    const enum arm usual =
        has_fit(pair, 0, ARM_AUGMENTED) && has_fit(pair, 1, ARM_AUGMENTED) ? ARM_AUGMENTED : ARM_ORIGINAL;
    pair->arms[0] = request->arm ? arm_from_name(request->arm) : usual;
    pair->arms[1] = request->against_arm ? arm_from_name(request->against_arm) : pair->arms[0];
}

static bool load_side(struct pair *pair, int side, struct error *error)
{
    const struct compared_run *member = pair->members[side];
    struct study narrowed = member->study; /* to what is compared; owns nothing */
    narrowed.arm_count = 1;
    narrowed.arms[0] = pair->arms[side];
    narrowed.seeds = pair->seeds;
    return user_values_load(&pair->values[side], &narrowed, &member->items, pair->contestants[side], error);
}

static bool compare_metric(const struct comparing *comparing, struct duel *duel, const char *metric,
                           struct error *error)
{
    json_t *record = json_pack("{s:s, s:s}", "run", duel->sides[0].study->run->folder, "against_run",
                               duel->sides[1].study->run->folder);
    return (json_array_append_new(json_object_get(comparing->result, "comparisons"), record) == 0 ||
            error_memory(error, "a comparison", 0, NULL)) &&
           duel_compare(record, duel, metric, error);
}

/* What both have, or what is asked for. */
static bool compare_metrics(const struct comparing *comparing, struct duel *duel, struct error *error)
{
    const struct study *base = duel->sides[1].study;
    struct serie series[METRIC_COUNT * CUTS_MAXIMUM];
    const int64_t count = series_of(series, base);
    const char *wanted = comparing->request->metric;
    bool done = true;
    for (int64_t i = 0; done && i < count; i++) {
        char metric[METRIC_NAME_SIZE];
        metric_label(metric, series[i].metric, base->cuts[series[i].cut]);
        if (wanted ? strcmp(metric, wanted) == 0 : series_find(duel->sides[0].study, metric) >= 0)
            done = compare_metric(comparing, duel, metric, error);
    }
    return done;
}

static bool compare_pair(const struct comparing *comparing, struct pair *pair, struct error *error)
{
    struct duel duel = {.seeds = pair->seeds};
    for (int side = 0; side < 2; side++)
        duel.sides[side] = (struct duel_side){.study = &pair->members[side]->study,
                                              .contestant = pair->contestants[side],
                                              .arm = pair->arms[side],
                                              .values = &pair->values[side],
                                              .users = pair->members[side]->same.place};
    const bool done = load_side(pair, 0, error) && load_side(pair, 1, error) && duel_open(&duel, error) &&
                      compare_metrics(comparing, &duel, error);
    duel_close(&duel);
    for (int side = 0; side < 2; side++)
        user_values_free(&pair->values[side]);
    return done;
}

static bool leave_out(const struct comparing *comparing, const char *label, const struct compared_run *member,
                      const char *reason, struct error *error)
{
    json_t *record =
        json_pack("{s:s, s:s, s:s}", "recommender", label, "run", member->run.folder, "reason", reason);
    return json_array_append_new(json_object_get(comparing->result, "left_out"), record) == 0 ||
           error_memory(error, "what is not compared", 0, NULL);
}

/* A recommender of the first run with that of another. */
static bool compare_recommender(const struct comparing *comparing, int contestant, int number,
                                struct error *error)
{
    const struct compared_run *base = &comparing->members[0], *member = &comparing->members[number];
    const char *label = base->study.contestants[contestant].label;
    struct pair pair = {.members = {member, base},
                        .contestants = {study_find_contestant(&member->study, label), contestant}};
    if (pair.contestants[0] < 0)
        return leave_out(comparing, label, member, "this run has none of that name", error);
    choose_arms(&pair, comparing->request);
    for (int side = 0; side < 2; side++)
        if (!has_fit(&pair, side, pair.arms[side]))
            return leave_out(comparing, label, pair.members[side], "it is fitted in the arm original alone",
                             error);
    pair.seeds = member->study.seeds < base->study.seeds ? member->study.seeds : base->study.seeds;
    return compare_pair(comparing, &pair, error);
}

/* ---- all of them ------------------------------------------------------------------------------------------ */

static bool is_wanted(const struct comparing *comparing, const char *label)
{
    return !comparing->request->recommender || strcmp(comparing->request->recommender, label) == 0;
}

/* Recommenders of another run that the first has not. */
static bool list_others(const struct comparing *comparing, int number, struct error *error)
{
    const struct compared_run *base = &comparing->members[0], *member = &comparing->members[number];
    bool done = true;
    for (int i = 0; done && i < member->study.contestant_count; i++) {
        const char *label = member->study.contestants[i].label;
        if (is_wanted(comparing, label) && study_find_contestant(&base->study, label) < 0)
            done = leave_out(comparing, label, base, "this run has none of that name", error);
    }
    return done;
}

static bool compare_all(const struct comparing *comparing, struct error *error)
{
    const struct study *base = &comparing->members[0].study;
    json_t *comparisons = json_object_get(comparing->result, "comparisons");
    bool done = true;
    for (int i = 0; done && i < base->contestant_count; i++)
        for (int number = 1; done && number < comparing->request->run_count; number++)
            if (is_wanted(comparing, base->contestants[i].label))
                done = compare_recommender(comparing, i, number, error);
    for (int number = 1; done && number < comparing->request->run_count; number++)
        done = list_others(comparing, number, error);
    if (done && json_array_size(comparisons) == 0)
        return error_set(error, ERROR_USAGE,
                         "%s and the others have no recommender%s%.60s and metric in common; `idrec info %s` "
                         "lists what it has",
                         base->run->folder, comparing->request->recommender ? " " : "",
                         comparing->request->recommender ? comparing->request->recommender : "",
                         base->run->folder);
    return done && comparisons_correct(comparisons, "metric", error);
}

static bool add_differences(const struct comparing *comparing, struct error *error)
{
    const int count = comparing->request->run_count;
    const struct config **configs = calloc((size_t)count, sizeof *configs);
    if (!configs)
        return error_memory(error, "the configurations", (size_t)count * sizeof *configs, NULL);
    for (int i = 0; i < count; i++)
        configs[i] = comparing->members[i].run.config;
    json_t *differences = NULL;
    const bool done = compare_settings(&differences, configs, count, error);
    json_object_set_new(comparing->result, "differences", differences);
    free(configs);
    return done;
}

static bool open_run(const struct comparing *comparing, int number, struct error *error)
{
    const struct compare_request *request = comparing->request;
    const char *arm = number == 0 && request->against_arm ? request->against_arm : request->arm;
    return compared_run_open(&comparing->members[number], &comparing->members[0], request->folders[number],
                             arm, request->metric, error);
}

static bool describe_run(const struct comparing *comparing, int number, struct error *error)
{
    json_t *record = NULL;
    const bool done = compared_run_json(&record, &comparing->members[number], &comparing->members[0], error);
    json_array_append_new(json_object_get(comparing->result, "runs"), record);
    return done;
}

bool compare_runs(json_t **result, const struct compare_request *request, struct error *error)
{
    const int count = request->run_count;
    struct comparing comparing = {.request = request,
                                  .members = calloc((size_t)count, sizeof *comparing.members),
                                  .result = json_pack("{s:[], s:{}, s:[], s:[], s:[]}", "runs", "test",
                                                      "differences", "comparisons", "left_out")};
    bool done = (comparing.members && comparing.result) || error_memory(error, "a comparison", 0, NULL);
    int opened = 0;
    while (done && opened < count)
        done = open_run(&comparing, opened++, error);
    for (int i = 0; done && i < count; i++)
        done = describe_run(&comparing, i, error);
    if (done)
        json_object_set_new(comparing.result, "test", test_json(&comparing.members[0]));
    done = done && add_differences(&comparing, error) && compare_all(&comparing, error);
    for (int i = 0; i < opened; i++)
        compared_run_close(&comparing.members[i]);
    free(comparing.members);
    *result = comparing.result;
    return done;
}
