#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/augmented.h"
#include "experiments/ensemble.h"
#include "experiments/filter_settings.h"
#include "experiments/generated.h"
#include "experiments/generator.h"
#include "experiments/run.h"

/* Filters that judge what the language model wrote, and those that say how much of the rows is taken: with an ensemble the
 * first look at the language model's rows, the others at the fused ones. */
static bool is_of_amounts(enum filter_kind kind)
{
    return kind == FILTER_CAP_USER || kind == FILTER_CAP_ITEM || kind == FILTER_HISTORY_QUANTILE;
}

static int take_filters(struct filter *taken, const struct filter *filters, int count, bool of_amounts)
{
    int taken_count = 0;
    for (int i = 0; i < count; i++)
        if (is_of_amounts(filters[i].kind) == of_amounts)
            taken[taken_count++] = filters[i];
    return taken_count;
}

static bool candidates_from_generated(struct candidate **candidates, const struct generated *generated,
                                      struct error *error)
{
    size_t bytes = (size_t)(generated->count + 1) * sizeof **candidates;
    *candidates = malloc(bytes);
    if (*candidates == NULL)
        return error_memory(error, "candidate rows", bytes, "lower generate.samples or generate.max_items");
    for (int64_t i = 0; i < generated->count; i++)
        (*candidates)[i] = (struct candidate){.user = generated->user[i],
                                              .item = generated->item[i],
                                              .position = generated->position[i],
                                              .cut = generated->cut[i] != 0,
                                              .votes = generated->votes[i],
                                              .log_probability = generated->log_probability[i],
                                              .reason = CANDIDATE_ACCEPTED};
    return true;
}

static void log_counts(struct run *run, const struct candidate *candidates, int64_t count)
{
    int64_t counts[FILTER_COUNT] = {0}, accepted = 0;
    for (int64_t i = 0; i < count; i++) {
        if (candidates[i].reason == CANDIDATE_ACCEPTED)
            accepted++;
        else
            counts[candidates[i].reason]++;
    }
    char text[512] = "";
    for (int kind = 0; kind < FILTER_COUNT; kind++)
        if (counts[kind] > 0)
            snprintf(text + strlen(text), sizeof text - strlen(text), ", %s %lld",
                     filter_name((enum filter_kind)kind), (long long)counts[kind]);
    log_line(run->log, "augment: %lld of %lld generated rows accepted%s%s", (long long)accepted,
             (long long)count, text[0] != '\0' ? "; refused" : "", text[0] != '\0' ? text + 1 : "");
}

/* What becomes of the generated rows: `candidates` [count], ranked. */
struct augmentation {
    struct run *run;
    const struct dataset *dataset;
    const struct csr *train; /* ascends */
    const struct filter *filters;
    int filter_count;
    struct candidate *candidates;
    int64_t count;
    struct ensemble ensemble;
    struct ensemble_lists lists;
};

static bool filter_and_rank(struct augmentation *work, const struct filter *filters, int count,
                            struct error *error)
{
    if (!filters_apply(work->candidates, work->count, filters, count, work->train, error))
        return false;
    candidates_rank(work->candidates, work->count, generator_makes_lists(work->run->config));
    return true;
}

/* The accepted candidates, which come first, as lists. */
static bool accepted_lists(struct csr *lists, const struct augmentation *work, struct error *error)
{
    const size_t bytes = (size_t)(work->count + 1) * sizeof *lists->indices;
    *lists = (struct csr){.rows = work->train->rows, .columns = work->train->columns};
    lists->starts = calloc((size_t)lists->rows + 1, sizeof *lists->starts);
    lists->indices = malloc(bytes);
    if (!lists->starts || !lists->indices)
        return error_memory(error, "the language model's lists", bytes, "lower generate.max_items");
    for (int64_t i = 0; i < work->count && work->candidates[i].reason == CANDIDATE_ACCEPTED; i++) {
        lists->starts[work->candidates[i].user + 1]++;
        lists->indices[i] = work->candidates[i].item;
    }
    for (int64_t user = 0; user < lists->rows; user++)
        lists->starts[user + 1] += lists->starts[user];
    return true;
}

static void add_fused(struct candidate *candidates, const struct fused_lists *fused)
{
    for (int64_t user = 0; user < fused->items.rows; user++)
        for (int64_t i = fused->items.starts[user]; i < fused->items.starts[user + 1]; i++)
            candidates[i] = (struct candidate){.user = (int32_t)user,
                                               .item = fused->items.indices[i],
                                               .position = (int32_t)(i - fused->items.starts[user]),
                                               .votes = fused->votes[i],
                                               .log_probability = logf(fused->scores[i]),
                                               .reason = CANDIDATE_ACCEPTED};
}

/* Fused rows take the place of the accepted ones; those that were refused stay. */
static bool replace_accepted(struct augmentation *work, int64_t accepted, struct error *error)
{
    struct filter filters[FILTERS_MAXIMUM];
    const int count = take_filters(filters, work->filters, work->filter_count, true);
    const int64_t fused = csr_count(&work->lists.all.items), refused = work->count - accepted;
    const size_t bytes = (size_t)(fused + refused + 1) * sizeof *work->candidates;
    struct candidate *candidates = malloc(bytes);
    if (!candidates)
        return error_memory(error, "fused rows", bytes, "lower generate.max_items");
    add_fused(candidates, &work->lists.all);
    memcpy(candidates + fused, work->candidates + accepted, (size_t)refused * sizeof *candidates);
    free(work->candidates);
    work->candidates = candidates;
    work->count = fused + refused;
    if (!filters_apply(candidates, fused, filters, count, work->train, error))
        return false;
    candidates_rank(candidates, work->count, false);
    return true;
}

static void log_ensemble(const struct augmentation *work)
{
    const struct ensemble_lists *const lists = &work->lists;
    struct log *const log = work->run->log;
    if (!work->ensemble.choose) {
        log_line(log, "augment: fused lists of %s; without the language model: %s", lists->all_names,
                 lists->others_names);
        return;
    }
    const char *const metric = metric_name(work->ensemble.metric);
    const long long cut = (long long)work->ensemble.cut;
    log_line(
        log,
        "augment: fused lists of %s, chosen on validation: %s@%lld %.4f; without the language model %s: %.4f",
        lists->all_names, metric, cut, lists->all_score, lists->others_names, lists->others_score);
}

static bool fuse(struct augmentation *work, struct error *error)
{
    struct filter filters[FILTERS_MAXIMUM];
    struct csr language = {0};
    const int count = take_filters(filters, work->filters, work->filter_count, false);
    bool done =
        filter_and_rank(work, filters, count, error) && accepted_lists(&language, work, error) &&
        ensemble_fuse(&work->lists, &work->ensemble, work->run, &language, work->dataset, work->train, error);
    if (done)
        log_ensemble(work);
    done = done && replace_accepted(work, csr_count(&language), error);
    csr_free(&language);
    return done;
}

static bool augment(struct augmentation *work, const struct generated *generated, struct error *error)
{
    const struct config *const config = work->run->config;
    struct filter filters[FILTERS_MAXIMUM];
    work->filters = filters;
    work->count = generated->count;
    bool done = filter_settings_read(filters, &work->filter_count, config, error) &&
                ensemble_read(&work->ensemble, config, error) &&
                candidates_from_generated(&work->candidates, generated, error);
    const bool fuses = work->ensemble.count > 0;
    done = done && (fuses ? fuse(work, error) : filter_and_rank(work, filters, work->filter_count, error));
    if (done) {
        log_counts(work->run, work->candidates, work->count);
        char *path = run_path(work->run, "augmented.h5");
        done = augmented_save(path, work->train, work->candidates, work->count,
                              config_number(config, "augment.weight"), fuses ? &work->lists : NULL, error);
        free(path);
    }
    ensemble_lists_free(&work->lists);
    free(work->candidates);
    return done;
}

bool stage_augment(struct run *run, struct stage_cost *cost, struct error *error)
{
    *cost = (struct stage_cost){0};
    char *dataset_path = run_path(run, "dataset.h5"), *generated_path = run_path(run, "generated.h5");
    struct dataset dataset = {0};
    struct csr train = {0};
    struct generated generated = {0};
    struct augmentation work = {.run = run, .dataset = &dataset, .train = &train};
    const bool done = dataset_load(&dataset, dataset_path, error) &&
                      csr_sorted(&train, &dataset.train, error) &&
                      generated_load(&generated, generated_path, error) && augment(&work, &generated, error);
    generated_free(&generated);
    csr_free(&train);
    dataset_free(&dataset);
    free(dataset_path);
    free(generated_path);
    return done;
}
