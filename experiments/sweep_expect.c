#include "experiments/sweep_expect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/file.h"
#include "core/hash.h"
#include "experiments/comparison.h"
#include "experiments/report.h"
#include "models/recommenders/settings.h"

/* ---- keys ---------------------------------------------------------------------------------------------- */

/* What makes an arm of a recommender: all settings but other recommenders' and, of the original arm, those of synthetic rows. */
struct key_of_arm {
    XXH3_state_t *state;
    int recommender; /* -1: everything */
    bool original;
};

static bool begins_with(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

static bool is_of_synthetic_rows(const char *path)
{
    static const char *const sections[] = {"language_model.", "prompts.",  "pretrain.",
                                           "finetune.",       "generate.", "augment."};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++)
        if (begins_with(path, sections[i]))
            return true;
    return false;
}

static void add_to_key(void *context, const char *path, const char *value)
{
    const struct key_of_arm *key = context;
    if (strcmp(path, "name") == 0 || strcmp(path, "output") == 0)
        return;
    if (key->recommender >= 0) {
        static const char list[] = "recommenders[";
        if (begins_with(path, "experiment.arms") || begins_with(path, "report.") ||
            (key->original && is_of_synthetic_rows(path)))
            return;
        if (begins_with(path, list)) {
            if (atoi(path + strlen(list)) != key->recommender)
                return;
            path += strcspn(path, "]");
        }
    }
    XXH3_128bits_update(key->state, path, strlen(path) + 1);
    XXH3_128bits_update(key->state, value, strlen(value) + 1);
}

enum { KEY_SIZE = 33 };

static void write_key(char digits[KEY_SIZE], const struct config *config, int recommender, bool original)
{
    struct key_of_arm key = {.state = XXH3_createState(), .recommender = recommender, .original = original};
    if (!key.state)
        abort();
    XXH3_128bits_reset(key.state);
    config_visit(config, recommender_reads_setting, add_to_key, &key);
    hash_digits(digits, XXH3_128bits_digest(key.state));
    XXH3_freeState(key.state);
}

/* ---- what is compared ---------------------------------------------------------------------------------- */

/* Keys that were met: {key: true}; `reference`: those of the reference trial; `equal`: {key: [names]} of whole trials. */
struct keys {
    json_t *met[QUESTION_COUNT], *reference, *equal;
};

static int count_controls(const struct config *config, bool *augmented)
{
    json_t *arms = json_object();
    *augmented = false;
    for (int i = 0; i < (int)config_length(config, "experiment.arms"); i++) {
        const char *arm = config_string(config, "experiment.arms[%d]", i);
        *augmented = *augmented || strcmp(arm, "augmented") == 0;
        if (begins_with(arm, "control."))
            json_object_set_new(arms, arm, json_true());
    }
    const int count = (int)json_object_size(arms);
    json_decref(arms);
    return count;
}

/* Those of one recommender of a trial. */
static void add_recommender(struct keys *keys, const struct config *config, int recommender,
                            bool is_reference)
{
    char digits[KEY_SIZE];
    bool augmented;
    const int controls = count_controls(config, &augmented);
    augmented =
        augmented && !recommender_is_given(config_string(config, "recommenders[%d].model", recommender));
    for (int arm = 0; arm <= augmented; arm++) {
        write_key(digits, config, recommender, arm == 0);
        json_t *met = is_reference ? keys->reference : keys->met[QUESTION_REFERENCE];
        json_object_set_new(met, digits, json_true());
        if (arm == 0)
            continue;
        json_object_set_new(keys->met[QUESTION_ORIGINAL], digits, json_true());
        for (int i = 0; i < controls; i++) {
            char control[KEY_SIZE + 16];
            snprintf(control, sizeof control, "%s %d", digits, i);
            json_object_set_new(keys->met[QUESTION_CONTROLS], control, json_true());
        }
    }
}

static bool add_trial(struct keys *keys, const struct sweep *sweep, int trial, struct error *error)
{
    struct config *config;
    char digits[KEY_SIZE];
    if (!sweep_trial_config(&config, sweep, trial, error))
        return false;
    write_key(digits, config, -1, false);
    json_t *names = json_object_get(keys->equal, digits);
    if (!names) {
        names = json_array();
        json_object_set_new(keys->equal, digits, names);
    }
    bool done = json_array_append_new(names, json_string(sweep->trials[trial].name)) == 0 ||
                error_memory(error, "the trials of a study", 0, NULL);
    for (int i = 0; done && i < (int)config_length(config, "recommenders"); i++)
        add_recommender(keys, config, i, trial == sweep->reference);
    config_free(config);
    return done;
}

static void finish(struct sweep_expectation *expectation, const struct keys *keys)
{
    const char *key;
    json_t *names;
    for (int i = 0; i < QUESTION_COUNT; i++)
        expectation->families[i] = (int64_t)json_object_size(keys->met[i]);
    json_object_foreach(keys->reference, key, names) expectation->families[QUESTION_REFERENCE] -=
        json_object_get(keys->met[QUESTION_REFERENCE], key) != NULL;
    json_object_foreach(keys->equal, key, names)
    {
        if (json_array_size(names) > 1)
            json_array_append(expectation->equal, names);
    }
}

bool sweep_expect(struct sweep_expectation *expectation, const struct sweep *sweep, struct error *error)
{
    struct keys keys = {.reference = json_object(), .equal = json_object()};
    *expectation = (struct sweep_expectation){.seeds = config_integer(sweep->config, "experiment.seeds"),
                                              .equal = json_array()};
    bool done = keys.reference && keys.equal && expectation->equal;
    for (int i = 0; i < QUESTION_COUNT; i++) {
        keys.met[i] = json_object();
        done = done && keys.met[i];
    }
    if (!done)
        error_memory(error, "the comparisons of a study", 0, NULL);
    for (int i = 0; done && i < sweep->trial_count; i++)
        done = add_trial(&keys, sweep, i, error);
    if (done)
        finish(expectation, &keys);
    else
        sweep_expectation_free(expectation);
    for (int i = 0; i < QUESTION_COUNT; i++)
        json_decref(keys.met[i]);
    json_decref(keys.reference);
    json_decref(keys.equal);
    return done;
}

void sweep_expectation_free(struct sweep_expectation *expectation)
{
    json_decref(expectation->equal);
    *expectation = (struct sweep_expectation){0};
}

/* ---- telling ------------------------------------------------------------------------------------------- */

char *sweep_expect_warning(const json_t *equal)
{
    const json_t *name;
    size_t index;
    char *text = path_format("%s", "");
    json_array_foreach(equal, index, name)
    {
        char *longer = path_format("%s%s%s", text, index > 0 ? ", " : "", json_string_value(name));
        free(text);
        text = longer;
    }
    char *warning = path_format("%s: equal configurations; each does the same work, and their comparisons "
                                "count once",
                                text);
    free(text);
    return warning;
}

static void print_families(const struct sweep_expectation *expectation, FILE *stream)
{
    static const char *const against[QUESTION_COUNT] = {"the original arm", "the controls", "the reference"};
    int printed = 0;
    fputs("comparisons of a metric, at most:", stream);
    for (int i = 0; i < QUESTION_COUNT; i++)
        if (expectation->families[i] > 0)
            fprintf(stream, "%s %lld against %s", printed++ > 0 ? "," : "",
                    (long long)expectation->families[i], against[i]);
    printed = 0;
    fprintf(stream, "; from %lld seeds the first of each must reach", (long long)expectation->seeds);
    for (int i = 0; i < QUESTION_COUNT; i++)
        if (expectation->families[i] > 0)
            fprintf(stream, "%s %.1f", printed++ > 0 ? "," : "",
                    comparison_needed_deviations(expectation->families[i], expectation->seeds));
    fprintf(stream, " standard deviations of the seeds' differences to be clear%s\n",
            expectation->seeds < 5 ? " (and fewer than 5 seeds are never enough)" : "");
}

void sweep_expect_print(const struct sweep_expectation *expectation, FILE *stream)
{
    const json_t *equal;
    size_t index;
    int64_t all = 0;
    for (int i = 0; i < QUESTION_COUNT; i++)
        all += expectation->families[i];
    if (all > 0 && expectation->seeds > 1)
        print_families(expectation, stream);
    else if (all > 0)
        fputs("one seed an arm: no comparison can be stated; give experiment.seeds at least 5\n", stream);
    json_array_foreach(expectation->equal, index, equal)
    {
        char *warning = sweep_expect_warning(equal);
        fprintf(stream, "%s\n", warning);
        free(warning);
    }
}

json_t *sweep_expect_json(const struct sweep_expectation *expectation)
{
    json_t *families = json_object(), *needed = json_object();
    for (int i = 0; i < QUESTION_COUNT; i++) {
        const char *name = question_name((enum question)i);
        const double deviations = comparison_needed_deviations(expectation->families[i], expectation->seeds);
        json_object_set_new(families, name, json_integer((json_int_t)expectation->families[i]));
        json_object_set_new(needed, name, isnan(deviations) ? json_null() : json_real(deviations));
    }
    return json_pack("{s:o, s:I, s:o, s:O}", "families", families, "seeds", (json_int_t)expectation->seeds,
                     "needed_deviations", needed, "equal_trials", expectation->equal);
}
