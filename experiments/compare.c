#include "experiments/compare.h"

#include <stdlib.h>
#include <string.h>

#include "experiments/compare_settings.h"
#include "experiments/compared_run.h"
#include "experiments/comparison.h"
#include "experiments/comparisons.h"
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
struct duel {
    const struct compared_run *members[2]; /* the run; the first */
    const char *label;
    int contestants[2];
    enum arm arms[2];
    int64_t seeds;
    struct user_values values[2];
    double *gathered[2]; /* [seeds, users] of one serie, users in the order of the first run */
};

static int find_contestant(const struct study *study, const char *label)
{
    for (int i = 0; i < study->contestant_count; i++)
        if (strcmp(study->contestants[i].label, label) == 0)
            return i;
    return -1;
}

static bool has_fit(const struct duel *duel, int side, enum arm arm)
{
    const struct study *study = &duel->members[side]->study;
    return study_has_arm(study, arm) && study_has_fit(study, duel->contestants[side], arm);
}

static void choose_arms(struct duel *duel, const struct compare_request *request)
{
    const enum arm usual =
        has_fit(duel, 0, ARM_AUGMENTED) && has_fit(duel, 1, ARM_AUGMENTED) ? ARM_AUGMENTED : ARM_ORIGINAL;
    duel->arms[0] = request->arm ? arm_from_name(request->arm) : usual;
    duel->arms[1] = request->against_arm ? arm_from_name(request->against_arm) : duel->arms[0];
}

static bool load_side(struct duel *duel, int side, struct error *error)
{
    const struct compared_run *member = duel->members[side];
    struct study narrowed = member->study; /* to what is compared; owns nothing */
    narrowed.arm_count = 1;
    narrowed.arms[0] = duel->arms[side];
    narrowed.seeds = duel->seeds;
    const size_t bytes = (size_t)(duel->seeds * narrowed.test_count + 1) * sizeof(double);
    duel->gathered[side] = malloc(bytes);
    return (duel->gathered[side] || error_memory(error, "paired metrics of two runs", bytes, NULL)) &&
           user_values_load(&duel->values[side], &narrowed, &member->items, duel->contestants[side], error);
}

static void close_duel(struct duel *duel)
{
    for (int side = 0; side < 2; side++) {
        user_values_free(&duel->values[side]);
        free(duel->gathered[side]);
    }
}

/* One serie of a side; users in the order of the first run. */
static void gather(struct duel *duel, int side, int64_t serie)
{
    const struct user_values *values = &duel->values[side];
    const int64_t *place = duel->members[side]->same.place;
    for (int64_t s = 0; s < duel->seeds; s++)
        for (int64_t u = 0; u < values->users; u++)
            duel->gathered[side][s * values->users + u] =
                values->value[(s * values->series + serie) * values->users + place[u]];
}

static bool compare_serie(const struct comparing *comparing, struct duel *duel, const char *metric,
                          struct error *error)
{
    const struct study *study = &duel->members[0]->study, *base = &duel->members[1]->study;
    gather(duel, 0, compared_run_serie(study, metric));
    gather(duel, 1, compared_run_serie(base, metric));
    const struct compared compared = {
        .values = duel->gathered[0],
        .against = duel->gathered[1],
        .seeds = duel->seeds,
        .users = base->test_count,
        .deterministic = contestant_is_deterministic(&study->contestants[duel->contestants[0]]) &&
                         contestant_is_deterministic(&base->contestants[duel->contestants[1]])};
    const struct comparison_settings settings = comparison_settings_read(base->config, base->first_seed);
    json_t *record = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "recommender", duel->label, "run",
                               study->run->folder, "against_run", base->run->folder, "arm",
                               arm_name(duel->arms[0]), "against", arm_name(duel->arms[1]), "metric", metric);
    if (!record)
        return error_memory(error, "a comparison", 0, NULL);
    json_array_append_new(json_object_get(comparing->result, "comparisons"), record);
    return comparison_add(record, &compared, &settings, error);
}

static bool compare_series(const struct comparing *comparing, struct duel *duel, struct error *error)
{
    const struct study *base = &duel->members[1]->study;
    struct serie series[METRIC_COUNT * CUTS_MAXIMUM];
    const int64_t count = series_of(series, base);
    const char *wanted = comparing->request->metric;
    bool done = true;
    for (int64_t i = 0; done && i < count; i++) {
        char metric[METRIC_NAME_SIZE];
        metric_label(metric, series[i].metric, base->cuts[series[i].cut]);
        if (wanted ? strcmp(metric, wanted) == 0 : compared_run_serie(&duel->members[0]->study, metric) >= 0)
            done = compare_serie(comparing, duel, metric, error);
    }
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
    struct duel duel = {.members = {member, base},
                        .label = label,
                        .contestants = {find_contestant(&member->study, label), contestant}};
    if (duel.contestants[0] < 0)
        return leave_out(comparing, label, member, "this run has none of that name", error);
    choose_arms(&duel, comparing->request);
    for (int side = 0; side < 2; side++)
        if (!has_fit(&duel, side, duel.arms[side]))
            return leave_out(comparing, label, duel.members[side], "it is fitted in the arm original alone",
                             error);
    duel.seeds = member->study.seeds < base->study.seeds ? member->study.seeds : base->study.seeds;
    const bool done =
        load_side(&duel, 0, error) && load_side(&duel, 1, error) && compare_series(comparing, &duel, error);
    close_duel(&duel);
    return done;
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
        if (is_wanted(comparing, label) && find_contestant(&base->study, label) < 0)
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
