#include "models/recommenders/steps.h"

#include <math.h>
#include <stdlib.h>

#include "models/recommenders/block_sgd.h"
#include "models/recommenders/node_contrast.h"
#include "models/recommenders/user_item_graph.h"

static bool initialize_parameters(struct embedding_training *training, struct error *error)
{
    const int64_t first = training->parts.first, rows = training->parts.count;
    const int64_t width = training->settings.width;
    real *values = malloc((size_t)(rows * width) * sizeof *values + 1);
    if (!values)
        return error_memory(error, "the initial embeddings", (size_t)(rows * width) * sizeof *values,
                            "lower recommenders.width");
#pragma omp parallel for schedule(static) num_threads(host_threads(training->backend))
    for (int64_t row = 0; row < rows; row++) {
        struct random_stream stream =
            random_stream_open(training->seed, RANDOM_INITIALIZE, 0, (uint64_t)(first + row));
        for (int64_t column = 0; column < width; column++)
            values[row * width + column] =
                (real)(training->settings.initial_deviation * random_normal(&stream));
    }
    tensor_upload(training->backend, &training->parameters, values);
    free(values);
    return backend_synchronize(training->backend, error);
}

bool embedding_training_open(void **training, struct recommender *recommender,
                             const struct training_set *data, uint64_t seed, embedding_prepare *prepare,
                             struct error *error)
{
    struct embeddings *embeddings;
    struct embedding_training *opened = calloc(1, sizeof *opened);
    *training = NULL;
    if (!opened)
        return error_memory(error, "a training", sizeof *opened, NULL);
    *opened = (struct embedding_training){.backend = recommender->backend,
                                          .settings = recommender->settings,
                                          .seed = seed,
                                          .data = *data,
                                          .users = recommender->users,
                                          .items = recommender->items};
    bool done = embeddings_create(&embeddings, recommender->backend, recommender->users, recommender->items,
                                  recommender->settings.width, error);
    if (done) {
        recommender->parameters = embeddings;
        opened->final = &embeddings->table;
        done = prepare(opened, error) && initialize_parameters(opened, error);
    }
    if (done)
        *training = opened;
    else
        embedding_training_close(opened);
    return done;
}

void embedding_training_close(void *training)
{
    struct embedding_training *closed = training;
    if (!closed)
        return;
    if (closed->release_own)
        closed->release_own(closed->own);
    triple_sampler_close(&closed->sampler);
    row_parts_close(&closed->parts);
    node_contrast_close(closed->contrast);
    block_sgd_close(closed->blocks);
    free(closed->host_table);
    free(closed->host_losses);
    arena_release(&closed->arena);
    free(closed);
}

static void lay_out(struct embedding_training *training, int64_t edges)
{
    struct arena *arena = &training->arena;
    const int64_t rows = training->parts.count, width = training->settings.width;
    const int64_t batch = training->settings.batch, triples = training->sampler.count;
    training->parameters = arena_tensor_2d(arena, DTYPE_REAL, rows, width);
    training->first_moment = arena_tensor_2d(arena, DTYPE_REAL, rows, width);
    training->second_moment = arena_tensor_2d(arena, DTYPE_REAL, rows, width);
    training->gradient = arena_tensor_2d(arena, DTYPE_REAL, rows, width);
    training->rows = arena_tensor_1d(arena, DTYPE_I32, 3 * triples);
    training->own_rows =
        training->parts.ranks ? arena_tensor_1d(arena, DTYPE_I32, 3 * triples) : training->rows;
    training->weights = arena_tensor_1d(arena, DTYPE_REAL, triples);
    training->losses = arena_tensor_1d(arena, DTYPE_REAL, triples);
    training->places = arena_tensor_1d(arena, DTYPE_I32, 2 * batch);
    training->batch_rows = arena_tensor_2d(arena, DTYPE_REAL, 3 * batch, width);
    training->batch_final = arena_tensor_2d(arena, DTYPE_REAL, 3 * batch, width);
    training->batch_gradient = arena_tensor_2d(arena, DTYPE_REAL, 3 * batch, width);
    if (edges < 0)
        return;
    struct propagation *propagation = &training->propagation;
    training->graph = user_item_graph_tensor(arena, rows, training->parts.rows, edges);
    propagation->parts = &training->parts;
    if (training->parts.ranks)
        propagation->all = arena_tensor_2d(arena, DTYPE_REAL, training->parts.rows, width);
    propagation->layers = training->settings.layers;
    for (int64_t layer = 0; layer < propagation->layers; layer++) {
        propagation->graph[layer] = &training->graph;
        propagation->layer[layer] = arena_tensor_2d(arena, DTYPE_REAL, rows, width);
    }
}

static bool upload_places(struct embedding_training *training, struct error *error)
{
    const int64_t count = 2 * training->settings.batch;
    int32_t *places = malloc((size_t)count * sizeof *places);
    if (!places)
        return error_memory(error, "a batch", (size_t)count * sizeof *places, "lower recommenders.batch");
    for (int64_t place = 0; place < count; place++)
        places[place] = (int32_t)place;
    tensor_upload(training->backend, &training->places, places);
    free(places);
    return backend_synchronize(training->backend, error);
}

bool embedding_training_reserve(struct embedding_training *training, int64_t edges, struct error *error)
{
    if (training->parts.rows == 0 &&
        !row_parts_open(&training->parts, training->backend, training->users + training->items, NULL, error))
        return false;
    if (!triple_sampler_open(&training->sampler, training->backend, &training->data, training->seed, error))
        return false;
    const size_t triples = (size_t)training->sampler.count;
    if (training->settings.batch > training->sampler.count)
        training->settings.batch = training->sampler.count;
    training->host_losses = malloc(triples * sizeof *training->host_losses);
    if (!training->host_losses)
        return error_memory(error, "the losses of an epoch", triples * sizeof(real), NULL);
    training->arena = arena_measure(training->backend, training->settings.model);
    lay_out(training, edges);
    if (!arena_reserve(&training->arena, 0, "lower recommenders.width", error))
        return false;
    lay_out(training, edges);
    return upload_places(training, error);
}

struct training_state embedding_training_state(void *training)
{
    struct embedding_training *embedding = training;
    return (struct training_state){
        .step = &embedding->step,
        .parts = &embedding->parts,
        .divided = {true, true, true},
        .count = embedding->first_moment.rank == 0 ? 1 : 3,
        .tensors = {&embedding->parameters, &embedding->first_moment, &embedding->second_moment}};
}

double embedding_epoch_bytes(const void *training)
{
    const struct embedding_training *of = training;
    const double ranks = of->parts.ranks ? of->parts.ranks->size : 1, others = ranks - 1.0;
    const double triples = (double)of->sampler.count, width = (double)of->settings.width;
    const double steps = ceil(triples / (double)of->settings.batch);
    const double rows = 2.0 * 3.0 * triples * width * others / ranks;
    const double layers = 2.0 * (double)of->propagation.layers * (double)of->parts.count * width * others;
    const double losses = 2.0 * triples * others / ranks;
    return (rows + steps * layers + losses) * (double)sizeof(real);
}

/* ---- batches ------------------------------------------------------------------------------------------ */

/* Users, positives and negatives stand one after the other. */
static struct tensor kind_of(const struct tensor *x, int kind, int64_t count)
{
    return tensor_rows(x, kind * count, count);
}

void triples_deal(const struct embedding_training *training, const struct tensor *x, int64_t count)
{
    for (int kind = 0; kind < 3; kind++) {
        struct tensor rows = kind_of(x, kind, count);
        batch_deal(&training->parts, &rows);
    }
}

void triples_gather(const struct embedding_training *training, const struct tensor *x, int64_t count)
{
    for (int kind = 0; kind < 3; kind++) {
        struct tensor rows = kind_of(x, kind, count);
        batch_gather(&training->parts, &rows);
    }
}

void batch_loss(struct embedding_training *training, int64_t first, int64_t count)
{
    const struct batch_part own = batch_part_of(&training->parts, count);
    struct tensor losses = tensor_rows(&training->losses, first + own.first, own.count);
    const struct tensor weights = tensor_rows(&training->weights, first + own.first, own.count);
    const struct tensor users = tensor_rows(&training->batch_final, 0, count);
    const struct tensor items = tensor_rows(&training->batch_final, count, 2 * count);
    struct tensor d_users = tensor_rows(&training->batch_gradient, own.first, own.count);
    struct tensor d_positives = tensor_rows(&training->batch_gradient, count + own.first, own.count);
    struct tensor d_negatives = tensor_rows(&training->batch_gradient, 2 * count + own.first, own.count);
    const struct tensor low = tensor_rows(&training->places, own.first, own.count);
    const struct tensor high = tensor_rows(&training->places, count + own.first, own.count);
    const struct triples triples = {
        .users = &low, .positives = &low, .negatives = &high, .weights = &weights};
    op_bpr_loss(training->backend, &losses, &d_users, &d_positives, &d_negatives, &users, &items, triples);
}

void adam_step(struct embedding_training *training, const struct tensor *gradient)
{
    const struct adamw settings = {.learning_rate = (float)training->settings.learning_rate,
                                   .beta1 = 0.9f,
                                   .beta2 = 0.999f,
                                   .epsilon = 1e-8f,
                                   .step = ++training->step};
    op_adamw(training->backend, &training->parameters, gradient, &training->first_moment,
             &training->second_moment, NULL, settings);
}

static bool not_a_number(const struct embedding_training *training, int64_t batch, struct error *error)
{
    const int64_t steps = (training->sampler.count + training->settings.batch - 1) / training->settings.batch;
    return error_set(error, ERROR_DIVERGED,
                     "%s: the loss is not a number at optimizer step %lld; lower "
                     "recommenders.learning_rate (now %g) or recommenders.initial_deviation (now %g)",
                     training->settings.model, (long long)training->step - steps + batch + 1,
                     training->settings.learning_rate, training->settings.initial_deviation);
}

/* The loss of the epoch. One that is no number stops the training with its step named. */
static bool epoch_loss(struct embedding_training *training, double *loss, struct error *error)
{
    const int64_t triples = training->sampler.count;
    struct contrast_loss contrast = {.bad_batch = -1};
    batch_sum(&training->parts, &training->losses);
    tensor_download(training->backend, training->host_losses, &training->losses);
    if (!backend_synchronize(training->backend, error) ||
        (training->contrast && !node_contrast_loss(training->contrast, &contrast, error)))
        return false;
    double sum = 0.0;
    for (int64_t place = 0; place < triples; place++) {
        if (!isfinite(training->host_losses[place]))
            return not_a_number(training, place / training->settings.batch, error);
        sum += (double)training->host_losses[place];
    }
    if (contrast.bad_batch >= 0)
        return not_a_number(training, contrast.bad_batch, error);
    *loss = sum / (double)triples + contrast.mean;
    return true;
}

bool embedding_training_begin_epoch(struct embedding_training *training, int64_t epoch, struct error *error)
{
    triple_sampler_epoch(&training->sampler, epoch, training->settings.batch, &training->rows,
                         &training->weights);
    if (training->parts.ranks) {
        op_rows_within(training->backend, &training->own_rows, &training->rows, training->parts.first,
                       training->parts.count);
        tensor_zero(training->backend, &training->losses);
    }
    return !training->begin_epoch || training->begin_epoch(training, epoch, error);
}

bool embedding_training_epoch(void *training, int64_t epoch, double *loss, struct error *error)
{
    struct embedding_training *trained = training;
    const int64_t triples = trained->sampler.count, batch = trained->settings.batch;
    if (!embedding_training_begin_epoch(trained, epoch, error))
        return false;
    for (int64_t first = 0; first < triples; first += batch)
        trained->take_step(trained, first, first + batch <= triples ? batch : triples - first);
    return epoch_loss(trained, loss, error);
}
