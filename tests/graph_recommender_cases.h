/*
 * graph_recommender_cases.h: the goldens of the contrastive models on the graph (goldens/make_graph_recommenders.py), for a
 * backend of any device.
 */
#ifndef IDREC_TESTS_GRAPH_RECOMMENDER_CASES_H
#define IDREC_TESTS_GRAPH_RECOMMENDER_CASES_H

#include "models/recommenders/node_contrast.h"
#include "tests/recommender_cases.h"

/* The settings of the contrasts are those of settings_of(). */
enum { GRAPH_GOLDEN_BATCH = 32, GRAPH_GOLDEN_STEPS = 20, GRAPH_GOLDEN_EPOCH = 3 };

struct graph_golden {
    const char *name, *model, *view;
};
static const struct graph_golden graph_goldens[] = {
    {"edge_drop", "sgl", "edge_drop"},     {"node_drop", "sgl", "node_drop"},
    {"random_walk", "sgl", "random_walk"}, {"simgcl", "simgcl", "edge_drop"},
    {"xsimgcl", "xsimgcl", "edge_drop"},   {"ncl", "ncl", "edge_drop"}};
enum { GRAPH_GOLDENS = sizeof graph_goldens / sizeof *graph_goldens };

/* Lays the golden's triples out as triple_sampler_epoch() does. */
static void upload_golden_triples(struct embedding_training *training, struct store *golden)
{
    enum { BATCH = GRAPH_GOLDEN_BATCH, TRIPLES = GRAPH_GOLDEN_STEPS * GRAPH_GOLDEN_BATCH };
    int32_t *users = golden_array(golden, "/triples/users", DTYPE_I32, true);
    int32_t *positives = golden_array(golden, "/triples/positives", DTYPE_I32, true);
    int32_t *negatives = golden_array(golden, "/triples/negatives", DTYPE_I32, true);
    float *weights = golden_array(golden, "/triples/weights", DTYPE_F32, true);
    int32_t rows[3 * TRIPLES];
    real shares[TRIPLES];
    assert_int_equal(training->sampler.count, TRIPLES);
    for (int place = 0; place < TRIPLES; place++) {
        int32_t *batch = rows + 3 * (place / BATCH * BATCH) + place % BATCH;
        batch[0] = users[place];
        batch[BATCH] = (int32_t)training->users + positives[place];
        batch[2 * BATCH] = (int32_t)training->users + negatives[place];
        shares[place] = (real)weights[place] / BATCH;
    }
    tensor_upload(training->backend, &training->rows, rows);
    tensor_upload(training->backend, &training->weights, shares);
    free(users);
    free(positives);
    free(negatives);
    free(weights);
}

static double step_ranking(const struct embedding_training *training, int64_t first)
{
    const struct tensor of_batch = tensor_rows(&training->losses, first, GRAPH_GOLDEN_BATCH);
    real losses[GRAPH_GOLDEN_BATCH];
    double mean = 0.0;
    tensor_download(training->backend, losses, &of_batch);
    for (int place = 0; place < GRAPH_GOLDEN_BATCH; place++)
        mean += (double)losses[place] / GRAPH_GOLDEN_BATCH;
    return mean;
}

/* The weighted contrastive losses of a batch. */
static double step_contrast(const struct embedding_training *training, int64_t first)
{
    struct node_contrast *contrast = training->contrast;
    const struct batch_nodes nodes = node_contrast_batch(contrast, first);
    double sum = 0.0;
    for (int term = 0; term < contrast->terms; term++) {
        real losses[2 * GRAPH_GOLDEN_BATCH], weights[2 * GRAPH_GOLDEN_BATCH];
        const int64_t place = term * 2 * contrast->triples + nodes.first, count = nodes.users + nodes.items;
        const struct tensor of_losses = tensor_rows(&contrast->losses, place, count);
        const struct tensor of_weights = tensor_rows(&contrast->weights, place, count);
        tensor_download(training->backend, losses, &of_losses);
        tensor_download(training->backend, weights, &of_weights);
        for (int64_t node = 0; node < count; node++)
            sum += (double)weights[node] * (double)losses[node];
    }
    return sum;
}

static void expect_close(const char *name, const char *what, int64_t step, double found, double expected)
{
    if (!(fabs(found - expected) <= 1e-5 * fabs(expected)))
        fail_msg("%s step %lld: %s loss %.9f, golden %.9f", name, (long long)step + 1, what, found, expected);
}

static double *golden_losses(struct store *golden, const char *name, const char *kind)
{
    char path[64];
    snprintf(path, sizeof path, "/%s/%s", name, kind);
    return golden_array(golden, path, DTYPE_F64, false);
}

static void compare_table(const struct embedding_training *training, struct store *golden, const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/%s/table", name);
    const int64_t count = tensor_count(&training->parameters);
    float *expected = golden_array(golden, path, DTYPE_F32, true);
    real *found = malloc(tensor_bytes(&training->parameters));
    double largest = 0.0, difference = 0.0;
    tensor_download(training->backend, found, &training->parameters);
    for (int64_t place = 0; place < count; place++) {
        largest = fmax(largest, fabs((double)expected[place]));
        difference = fmax(difference, fabs((double)found[place] - (double)expected[place]));
    }
    if (!(difference <= 1e-4 * largest))
        fail_msg("%s: parameters up to %g differ by %g from the golden's", name, largest, difference);
    free(found);
    free(expected);
}

static void take_golden_steps(struct embedding_training *training, struct store *golden, const char *name,
                              int64_t steps)
{
    double *ranking = golden_losses(golden, name, "ranking");
    double *contrast = golden_losses(golden, name, "contrast");
    for (int64_t step = 0; step < steps; step++) {
        const int64_t first = step * GRAPH_GOLDEN_BATCH;
        training->take_step(training, first, GRAPH_GOLDEN_BATCH);
        expect_close(name, "ranking", step, step_ranking(training, first), ranking[step]);
        expect_close(name, "contrastive", step, step_contrast(training, first), contrast[step]);
    }
    free(ranking);
    free(contrast);
}

/* The first steps; with all of them the table too. */
static void check_graph_golden(struct backend *backend, const struct graph_golden *graph, int64_t steps)
{
    struct error error = ERROR_INITIALIZER;
    struct store *golden;
    struct csr positives;
    require(store_open(&golden, IDREC_SOURCE_DIR "/tests/goldens/graph_recommenders.h5", &error), &error);
    require(store_read_csr(golden, "/positives", &positives, &error), &error);
    float *weights = golden_array(golden, "/weights", DTYPE_F32, false);
    float *initial = golden_array(golden, "/initial", DTYPE_F32, true);
    const struct training_set data = {.positives = &positives, .weights = weights};
    struct recommender_settings settings = settings_of(graph->model, "adam");
    snprintf(settings.view, sizeof settings.view, "%s", graph->view);
    settings.width = 16;
    settings.layers = 3;
    settings.batch = GRAPH_GOLDEN_BATCH;
    settings.regularization = 0.02;
    const struct open_training opened = start_training(backend, &settings, &data, 1);
    struct embedding_training *training = opened.training;
    tensor_upload(backend, &training->parameters, initial);
    upload_golden_triples(training, golden);
    require(training->begin_epoch(training, GRAPH_GOLDEN_EPOCH, &error), &error);
    take_golden_steps(training, golden, graph->name, steps);
    require(backend_synchronize(backend, &error), &error);
    if (steps == GRAPH_GOLDEN_STEPS)
        compare_table(training, golden, graph->name);
    end_training(opened);
    store_close(golden);
    csr_free(&positives);
    free(weights);
    free(initial);
}

#endif
