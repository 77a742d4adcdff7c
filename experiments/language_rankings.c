#include "experiments/language_rankings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/fit_folders.h"
#include "experiments/generation.h"

static const char *const file_names[RANKINGS_MAXIMUM] = {"after-train.h5", "after-validation.h5"};

bool language_rankings_wanted(const struct config *config)
{
    for (int i = 0; i < (int)config_length(config, "recommenders"); i++)
        if (recommender_is_given(config_string(config, "recommenders[%d].model", i)))
            return true;
    for (int i = 0; i < (int)config_length(config, "experiment.arms"); i++)
        if (arm_is_ranking(arm_from_name(config_string(config, "experiment.arms[%d]", i))))
            return true;
    return false;
}

/* In order of time a test item comes after the validation item. */
static int ranking_count(const struct config *config)
{
    return config_boolean(config, "prompts.shuffle") ? 1 : 2;
}

bool language_rankings_plan(json_t *planned, const struct study *study, struct error *error)
{
    for (int i = 0; i <= study->contestant_count; i++) {
        const struct contestant *contestant = study_given(study, i);
        for (int place = 0; contestant && place < ranking_count(study->config); place++)
            if (!fit_folders_plan_file(planned, contestant->label, file_names[place], error))
                return false;
    }
    return true;
}

void language_rankings_free(struct language_rankings *rankings)
{
    if (!rankings)
        return;
    for (int i = 0; i < rankings->count; i++)
        ranked_lists_free(&rankings->lists[i]);
    free(rankings);
}

/* ---- asking -------------------------------------------------------------------------------------------- */

static struct generator_source source_of(const struct contestant *contestant, const struct study *study,
                                         const struct language_prompts *prompts, const struct csr *context)
{
    const struct recommender_settings *const settings = &contestant->settings;
    const int64_t items = context->columns;
    const uint64_t seed = (uint64_t)config_integer(study->config, "seed");
    return (struct generator_source){
        .method = strcmp(settings->ranking, "beam") == 0 ? GENERATE_BEAM : GENERATE_RANKING,
        .train = context,
        .sampling = {.prompt = prompts->settings,
                     .constrained = true,
                     .end_trained = language_end_is_trained(study->config)},
        .ranking = {.vocabulary = prompts->vocabulary,
                    .prompt = prompts->settings,
                    .batch = settings->batch,
                    .cache_bytes = generation_cache_bytes(study->config),
                    .contexts = settings->contexts,
                    .items_maximum = settings->ranked_items < items ? settings->ranked_items : items,
                    .seed = seed},
        .beams = {.beams = settings->beams, .groups = 1},
        .single = prompts->single};
}

/* All that a ranking depends on; the batch is no part of it. */
static void describe(char *text, size_t size, const struct generator_source *source, const char *file)
{
    const int length = snprintf(text, size, "contexts %lld, ranked_items %lld, seed %llu, %.*s",
                                (long long)source->ranking.contexts, (long long)source->ranking.items_maximum,
                                (unsigned long long)source->ranking.seed, (int)strcspn(file, "."), file);
    if (source->method == GENERATE_BEAM)
        snprintf(text + length, size - (size_t)length, ", beams %lld", (long long)source->beams.beams);
}

/* Rows are by user and best first. A score that rounding has made equal to the one before it, of an item that would then
 * come first, is lowered by a bit, so that the scores alone give the order. */
static bool take_rows(struct ranked_lists *lists, const struct generated *generated,
                      const struct csr *context, struct error *error)
{
    const size_t users = (size_t)context->rows, rows = (size_t)generated->count;
    *lists = (struct ranked_lists){.items = {.rows = context->rows, .columns = context->columns}};
    lists->items.starts = calloc(users + 1, sizeof *lists->items.starts);
    lists->items.indices = malloc((rows + 1) * sizeof *lists->items.indices);
    lists->log_probability = malloc((rows + 1) * sizeof *lists->log_probability);
    if (!lists->items.starts || !lists->items.indices || !lists->log_probability)
        return error_memory(error, "the rankings", rows * 8, "lower recommenders[].ranked_items");
    for (int64_t i = 0; i < generated->count; i++) {
        float score = generated->log_probability[i];
        if (i > 0 && generated->user[i] == generated->user[i - 1] && score >= lists->log_probability[i - 1] &&
            generated->item[i] < generated->item[i - 1])
            score = nextafterf(lists->log_probability[i - 1], -INFINITY);
        lists->log_probability[i] = score;
        lists->items.indices[i] = generated->item[i];
        lists->items.starts[generated->user[i] + 1]++;
    }
    for (size_t user = 0; user < users; user++)
        lists->items.starts[user + 1] += lists->items.starts[user];
    return true;
}

static bool check_rows(const struct generated *generated, const struct csr *context, const char *path,
                       struct error *error)
{
    for (int64_t i = 0; i < generated->count; i++)
        if (generated->user[i] < (i > 0 ? generated->user[i - 1] : 0) ||
            generated->user[i] >= context->rows || generated->item[i] < 0 ||
            generated->item[i] >= context->columns)
            return error_at(error, ERROR_RUN, path, 0, "is damaged; delete it and run again");
    return true;
}

static void tell(const struct study *study, const char *label, const struct generated *generated,
                 double seconds)
{
    log_line(study->run->log,
             "train: %s: %lld users ranked, %.1f items each, %lld tokens; %.1f s in this process", label,
             (long long)study->train.rows, (double)generated->count / (double)study->train.rows,
             (long long)generated->counts.tokens, seconds);
}

static bool make_ranking(struct ranked_lists *lists, const struct contestant *contestant,
                         const struct study *study, struct language_prompts *prompts,
                         const struct csr *context, const char *file, struct error *error)
{
    const double begun = clock_seconds();
    char settings[160], *path = run_path(study->run, "recommenders/%s/%s", contestant->label, file);
    char *parts = path_format("%s.parts", path);
    if (!language_prompts_choose_length(prompts, study->run, context, error)) {
        free(parts);
        free(path);
        return false;
    }
    struct generation_request request = {.run = study->run,
                                         .source = source_of(contestant, study, prompts, context),
                                         .stage = "train",
                                         .settings = settings,
                                         .path = path,
                                         .parts = parts,
                                         .shared = true};
    struct generated generated = {0};
    describe(settings, sizeof settings, &request.source, file);
    const bool done = generation_make(&request, &generated, error) &&
                      check_rows(&generated, context, path, error) &&
                      take_rows(lists, &generated, context, error);
    if (done)
        tell(study, contestant->label, &generated, clock_seconds() - begun);
    generated_free(&generated);
    free(parts);
    free(path);
    return done;
}

/* ---- all of them --------------------------------------------------------------------------------------- */

static bool make_contestant(struct contestant *contestant, const struct study *study,
                            struct language_prompts *prompts, struct error *error)
{
    const struct csr *const contexts[RANKINGS_MAXIMUM] = {&study->dataset.train, &study->history};
    const int count = ranking_count(study->config);
    struct language_rankings *rankings = calloc(1, sizeof *rankings);
    char *folder = run_path(study->run, "recommenders/%s", contestant->label);
    contestant->rankings = rankings;
    bool done =
        rankings ? folder_create(folder, error) : error_memory(error, "the rankings", sizeof *rankings, NULL);
    free(folder);
    for (int place = 0; done && place < count; place++) {
        struct ranked_lists *lists = &rankings->lists[rankings->count];
        rankings->given[rankings->count++] =
            (struct given_ranking){.context = count > 1 ? contexts[place] : NULL, .items = &lists->items};
        done = make_ranking(lists, contestant, study, prompts, contexts[place], file_names[place], error);
        rankings->given[place].scores = lists->log_probability;
    }
    return done;
}

bool language_rankings_make(struct study *study, struct error *error)
{
    struct language_prompts prompts = {.tokens = 0};
    if (!language_rankings_wanted(study->config))
        return true;
    bool done = language_prompts_open(&prompts, study->run, &study->dataset, true, error);
    for (int i = 0; done && i <= study->contestant_count; i++) {
        struct contestant *contestant = study_given(study, i);
        done = !contestant || make_contestant(contestant, study, &prompts, error);
    }
    language_prompts_close(&prompts);
    return done;
}
