#include <stdlib.h>
#include <string.h>

#include "experiments/augmented.h"
#include "experiments/filter_settings.h"
#include "experiments/generated.h"
#include "experiments/generator.h"
#include "experiments/run.h"

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

static bool augment(struct run *run, const struct csr *train, const struct generated *generated,
                    struct error *error)
{
    struct filter filters[FILTERS_MAXIMUM];
    int filter_count = 0;
    struct candidate *candidates = NULL;
    bool by_votes = generator_makes_lists(run->config);
    bool done = filter_settings_read(filters, &filter_count, run->config, error) &&
                candidates_from_generated(&candidates, generated, error) &&
                filters_apply(candidates, generated->count, filters, filter_count, train, error);
    if (done) {
        candidates_rank(candidates, generated->count, by_votes);
        log_counts(run, candidates, generated->count);
        char *path = run_path(run, "augmented.h5");
        done = augmented_save(path, train, candidates, generated->count,
                              config_number(run->config, "augment.weight"), error);
        free(path);
    }
    free(candidates);
    return done;
}

bool stage_augment(struct run *run, struct stage_cost *cost, struct error *error)
{
    *cost = (struct stage_cost){0};
    char *dataset_path = run_path(run, "dataset.h5"), *generated_path = run_path(run, "generated.h5");
    struct dataset dataset = {0};
    struct csr train = {0};
    struct generated generated = {0};
    bool done = dataset_load(&dataset, dataset_path, error) && csr_sorted(&train, &dataset.train, error) &&
                generated_load(&generated, generated_path, error) && augment(run, &train, &generated, error);
    generated_free(&generated);
    csr_free(&train);
    dataset_free(&dataset);
    free(dataset_path);
    free(generated_path);
    return done;
}
