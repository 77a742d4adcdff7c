#include "experiments/tuning.h"

#include <errno.h>
#include <stdlib.h>

#include "core/file.h"
#include "core/json_file.h"
#include "experiments/fits.h"
#include "models/recommenders/settings.h"

char *tuning_path(const struct study *study, int contestant, enum arm arm, const char *name)
{
    return run_path(study->run, "tune/%s/%s/%s", study->contestants[contestant].label, arm_name(arm), name);
}

/* ---- writing ------------------------------------------------------------------------------------------ */

/* A file that is written into memory first. */
struct text {
    FILE *stream;
    char *bytes;
    size_t length;
};

static bool text_open(struct text *text, struct error *error)
{
    *text = (struct text){0};
    text->stream = open_memstream(&text->bytes, &text->length);
    return text->stream || error_memory(error, "the table of trials", 0, NULL);
}

static bool text_save(struct text *text, char *path, struct error *error)
{
    const bool done = fclose(text->stream) == 0 ? file_write(path, text->bytes, text->length, error)
                                                : error_memory(error, path, text->length, NULL);
    free(text->bytes);
    free(path);
    return done;
}

static void write_trial(FILE *stream, const struct search *search, int number)
{
    const struct trial *trial = &search->trials[number];
    const struct trial_result *result = &trial->result;
    if (*result->failure)
        fprintf(stream, "%d\t%d\t%lld\tfailed\t%.3f", number, trial->rung, (long long)result->epochs,
                result->seconds);
    else
        fprintf(stream, "%d\t%d\t%lld\t%.17g\t%.3f", number, trial->rung, (long long)result->epochs,
                result->score, result->seconds);
    for (int dimension = 0; dimension < search->space.count; dimension++)
        fprintf(stream, "\t%s", trial->drawn[dimension]);
    fputc('\n', stream);
}

static bool save_trials(const struct search *search, const int *order, struct error *error)
{
    struct text text;
    if (!text_open(&text, error))
        return false;
    fputs("trial\trung\tepochs\tscore\tseconds", text.stream);
    for (int dimension = 0; dimension < search->space.count; dimension++)
        fprintf(text.stream, "\t%s", search->space.dimensions[dimension].key);
    fputc('\n', text.stream);
    for (int place = 0; place < search->trial_count; place++)
        write_trial(text.stream, search, order[place]);
    return text_save(&text, tuning_path(search->study, search->contestant, search->arm, "trials.tsv"), error);
}

static bool save_best(const struct search *search, int best, struct error *error)
{
    const struct contestant *contestant = &search->study->contestants[search->contestant];
    const struct trial *trial = &search->trials[best];
    struct text text;
    char metric[METRIC_NAME_SIZE];
    if (!text_open(&text, error))
        return false;
    metric_label(metric, search->study->select_metric, search->study->select_cut);
    fprintf(text.stream, "# %s in the arm %s: trial %d of %d, %s %.6f on validation.\nrecommenders:\n",
            contestant->label, arm_name(search->arm), best, search->trial_count, metric, trial->result.score);
    for (int place = 0; recommender_setting_name(place); place++) {
        const char *name = recommender_setting_name(place);
        if (!recommender_reads_setting(trial->settings.model, name))
            continue;
        char *value = recommender_setting_text(&trial->settings, name);
        fprintf(text.stream, "%s%s: %s\n", place == 0 ? "  - " : "    ", name, value);
        free(value);
    }
    return text_save(&text, tuning_path(search->study, search->contestant, search->arm, "best.yaml"), error);
}

/* A number where the text is one. */
static json_t *setting_json(const char *text)
{
    char *end;
    errno = 0;
    const long long whole = strtoll(text, &end, 10);
    if (end != text && *end == '\0' && errno == 0)
        return json_integer((json_int_t)whole);
    const double number = strtod(text, &end);
    return end != text && *end == '\0' ? json_real(number) : json_string(text);
}

static json_t *trial_json(const struct search *search, int number)
{
    const struct trial *trial = &search->trials[number];
    if (*trial->result.failure)
        return json_pack("{s:i, s:n, s:s}", "trial", number, "score", "failed", trial->result.failure);
    json_t *drawn = json_object();
    for (int dimension = 0; dimension < search->space.count; dimension++)
        json_object_set_new(drawn, search->space.dimensions[dimension].key,
                            setting_json(trial->drawn[dimension]));
    return json_pack("{s:i, s:f, s:I, s:o}", "trial", number, "score", trial->result.score, "epochs",
                     (json_int_t)trial->result.epochs, "settings", drawn);
}

static json_t *search_json(const struct search *search, const struct tune_settings *settings, int best,
                           json_t *curve)
{
    char metric[METRIC_NAME_SIZE];
    int64_t epochs = 0;
    int failed = 0;
    double seconds = 0;
    metric_label(metric, search->study->select_metric, search->study->select_cut);
    for (int trial = 0; trial < search->trial_count; trial++) {
        epochs += search->trials[trial].result.epochs;
        seconds += search->trials[trial].result.seconds;
        failed += *search->trials[trial].result.failure != '\0';
    }
    const bool halving = settings->halving && search->rung_count > 1;
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:I, s:f, s:o, s:o, s:o}", "recommender",
                     search->study->contestants[search->contestant].label, "arm", arm_name(search->arm),
                     "method", halving ? "halving" : "random", "metric", metric, "trials",
                     search->trial_count, "failed", failed, "rungs", search->rung_count, "epochs",
                     (json_int_t)epochs, "seconds", seconds, "as_written", trial_json(search, 0), "best",
                     trial_json(search, best), "curve", curve);
}

static bool save_json(char *path, const json_t *record, struct error *error)
{
    const bool done = json_file_write(path, record, error);
    free(path);
    return done;
}

bool tuning_save(const struct search *search, const struct tune_settings *settings, struct error *error)
{
    int *order = malloc((size_t)search->trial_count * sizeof *order);
    if (!order)
        return error_memory(error, "the table of trials", (size_t)search->trial_count * sizeof *order, NULL);
    search_rank(order, search);
    const int best = order[0];
    bool done = save_trials(search, order, error);
    free(order);
    if (done && *search->trials[best].result.failure)
        done =
            error_set(error, ERROR_RUN, "%s: every trial failed; of the first: %s",
                      search->study->contestants[search->contestant].label, search->trials[0].result.failure);
    json_t *curve = done ? tuning_curve(search, error) : NULL;
    json_t *record = curve ? search_json(search, settings, best, curve) : NULL;
    done =
        record && save_best(search, best, error) &&
        save_json(tuning_path(search->study, search->contestant, search->arm, "tuning.json"), record, error);
    json_decref(record);
    return done;
}

/* ---- reading ------------------------------------------------------------------------------------------ */

bool tuning_load(json_t **record, const struct study *study, int contestant, enum arm arm,
                 struct error *error)
{
    char *path = tuning_path(study, contestant, arm, "tuning.json");
    *record = json_load_file(path, 0, NULL);
    if (!*record)
        error_at(error, ERROR_RUN, path, 0, "missing or damaged; run `tune` again");
    free(path);
    return *record != NULL;
}

bool tuning_share(const struct study *study, int contestant, enum arm arm, struct error *error)
{
    char *best = tuning_path(study, contestant, ARM_ORIGINAL, "best.yaml"), *text = NULL;
    char *shared = tuning_path(study, contestant, arm, "best.yaml");
    char *folder = run_path(study->run, "tune/%s/%s", study->contestants[contestant].label, arm_name(arm));
    size_t length;
    json_t *record = NULL;
    bool done = tuning_load(&record, study, contestant, ARM_ORIGINAL, error) && path_remove(folder, error) &&
                folder_create(folder, error) && file_read(best, &text, &length, error) &&
                file_write(shared, text, length, error);
    if (done) {
        json_object_set_new(record, "arm", json_string(arm_name(arm)));
        json_object_set_new(record, "shared_with", json_string(arm_name(ARM_ORIGINAL)));
        done = save_json(tuning_path(study, contestant, arm, "tuning.json"), record, error);
    }
    json_decref(record);
    free(best);
    free(shared);
    free(folder);
    free(text);
    return done;
}

static bool put_setting(struct recommender_settings *settings, const char *name, const json_t *value,
                        struct error *error)
{
    char number[32];
    snprintf(number, sizeof number, "%.17g", json_number_value(value));
    return recommender_setting_put(settings, name, json_is_string(value) ? json_string_value(value) : number,
                                   error);
}

/* An arm trains with what was found for it. */
static bool use_arm(struct study *study, int contestant, enum arm arm, struct error *error)
{
    json_t *record, *value;
    const char *name;
    if (!tuning_load(&record, study, contestant, arm, error))
        return false;
    bool done = true;
    json_object_foreach(json_object_get(json_object_get(record, "best"), "settings"), name, value) done =
        done && put_setting(&study->contestants[contestant].arm_settings[arm], name, value, error);
    json_decref(record);
    return done;
}

bool tuning_use_original(struct study *study, int contestant, struct error *error)
{
    struct recommender_settings *arms = study->contestants[contestant].arm_settings;
    if (!use_arm(study, contestant, ARM_ORIGINAL, error))
        return false;
    for (int arm = ARM_ORIGINAL + 1; arm < ARM_COUNT; arm++)
        if (!arm_is_ranking((enum arm)arm))
            arms[arm] = arms[ARM_ORIGINAL];
    return true;
}

bool tuning_use(struct study *study, const struct tune_settings *settings, struct error *error)
{
    for (int contestant = 0; contestant < study->contestant_count; contestant++) {
        if (tune_space(settings, study, contestant).count == 0)
            continue;
        if (!tuning_use_original(study, contestant, error))
            return false;
        for (int a = 1; a < settings->arm_count; a++)
            if (!use_arm(study, contestant, settings->arms[a], error))
                return false;
    }
    return true;
}

bool tuning_json(json_t **list, const struct study *study, const struct tune_settings *settings,
                 struct error *error)
{
    *list = json_array();
    for (int contestant = 0; contestant < study->contestant_count; contestant++)
        for (int a = 0; a < settings->arm_count && tune_space(settings, study, contestant).count > 0; a++) {
            json_t *record;
            if (!tuning_load(&record, study, contestant, settings->arms[a], error))
                return false;
            json_array_append_new(*list, record);
        }
    return true;
}
