#include "models/recommenders/block_sgd.h"
#include "models/recommenders/steps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool uses_blocks(const struct embedding_training *training)
{
    return strcmp(training->settings.optimizer, "sgd") == 0;
}

static void bpr_mf_step(struct embedding_training *training, int64_t first, int64_t count)
{
    struct backend *backend = training->backend;
    const struct tensor rows = tensor_rows(&training->own_rows, 3 * first, 3 * count);
    struct tensor final = tensor_rows(&training->batch_final, 0, 3 * count);
    struct tensor gradient = tensor_rows(&training->batch_gradient, 0, 3 * count);
    op_gather(backend, &final, &training->parameters, &rows);
    triples_deal(training, &final, count);
    batch_loss(training, first, count);
    op_axpby(backend, &gradient, (float)(training->settings.regularization / (double)count), &final, 1.0f);
    triples_gather(training, &gradient, count);
    tensor_zero(backend, &training->gradient);
    op_scatter_add(backend, &training->gradient, &gradient, &rows);
    adam_step(training, &training->gradient);
}

static bool prepare(struct embedding_training *training, struct error *error)
{
    training->take_step = bpr_mf_step;
    if (!uses_blocks(training))
        return embedding_training_reserve(training, -1, error);
    const int64_t rows = training->users + training->items, width = training->settings.width;
    if (!row_parts_open(&training->parts, training->backend, rows, NULL, error))
        return false;
    training->arena = arena_measure(training->backend, "bpr_mf");
    arena_tensor_2d(&training->arena, DTYPE_REAL, rows, width);
    if (!arena_reserve(&training->arena, 0, "lower recommenders.width", error))
        return false;
    training->parameters = arena_tensor_2d(&training->arena, DTYPE_REAL, rows, width);
    const size_t bytes = tensor_bytes(&training->parameters);
    if (training->backend->device != DEVICE_CPU && !(training->host_table = malloc(bytes)))
        return error_memory(error, "the embeddings on the host", bytes, "lower recommenders.width");
    return block_sgd_open(&training->blocks, &training->data, training->seed, training->backend->threads,
                          error);
}

/* The cores work on the table whatever the device; a GPU's comes over for the epoch. */
static bool train_epoch_by_blocks(struct embedding_training *training, int64_t epoch, double *loss,
                                  struct error *error)
{
    struct tensor *table = &training->parameters;
    real *host = training->host_table;
    if (host)
        tensor_download(training->backend, host, table);
    if (!backend_synchronize(training->backend, error) ||
        !block_sgd_epoch(training->blocks, epoch, host ? host : table->data, training->settings.width,
                         training->settings.learning_rate, training->settings.regularization, loss, error))
        return false;
    if (host)
        tensor_upload(training->backend, table, host);
    if (!isfinite(*loss))
        return error_set(
            error, ERROR_DIVERGED,
            "bpr_mf: the loss is not a number in epoch %lld; lower recommenders.learning_rate (now %g)",
            (long long)epoch, training->settings.learning_rate);
    return true;
}

static bool training_open(void **training, struct recommender *recommender, const struct training_set *data,
                          uint64_t seed, struct error *error)
{
    return embedding_training_open(training, recommender, data, seed, prepare, error);
}

static bool train_epoch(void *training, int64_t epoch, double *loss, struct error *error)
{
    return uses_blocks(training) ? train_epoch_by_blocks(training, epoch, loss, error)
                                 : embedding_training_epoch(training, epoch, loss, error);
}

static bool publish(void *training, struct error *error)
{
    const struct embedding_training *trained = training;
    struct backend *backend = trained->backend;
    const struct tensor own = row_parts_own(&trained->parts, trained->final);
    backend->copy(backend, own.data, trained->parameters.data, tensor_bytes(&own));
    row_parts_gather(&trained->parts, trained->final);
    return backend_synchronize(backend, error);
}

/* Blocks of samples follow one another (block_sgd.h); batches can be divided. */
static bool divides(const struct recommender_settings *settings)
{
    return strcmp(settings->optimizer, "sgd") != 0;
}

const struct recommender_model bpr_mf_model = {
    .name = "bpr_mf",
    .divides = divides,
    .training_open = training_open,
    .train_epoch = train_epoch,
    .epoch_bytes = embedding_epoch_bytes,
    .publish = publish,
    .training_state = embedding_training_state,
    .training_close = embedding_training_close,
    .published = embeddings_published,
    .score = embeddings_score,
    .save = embeddings_save,
    .load = embeddings_load,
    .release = embeddings_release,
};
