#include "models/recommenders/sequence_training.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"
#include "models/recommenders/sequence_data.h"

/* ---- what is trained on ------------------------------------------------------------------------------- */

struct user_items training_items(const struct sequence_training *training, int32_t user)
{
    const int64_t end = training->sequences.starts[user + 1],
                  length = csr_row_length(&training->sequences, user);
    const int64_t most = training->settings.length + training->kind->shortest - 1;
    const int64_t count = length < most ? length : most;
    return (struct user_items){.items = training->sequences.indices + end - count,
                               .weights = training->item_weights + end - count,
                               .count = count};
}

struct user_items training_targets(const struct sequence_training *training, int32_t user)
{
    const struct csr *targets = training->targets;
    if (!targets)
        return (struct user_items){0};
    return (struct user_items){.items = targets->indices + targets->starts[user],
                               .weights = training->target_weights + targets->starts[user],
                               .count = csr_row_length(targets, user)};
}

/* Tokens of the user's first sequence in a batch; 0: it is too short. */
static int64_t tokens_of(const struct sequence_training *training, int32_t user)
{
    const struct sequence_kind *kind = training->kind;
    const int64_t items = training_items(training, user).count, all = items + kind->mask_behind;
    const bool behind = training_targets(training, user).count > 0;
    if (items < (behind && kind->views == 0 ? 1 : kind->shortest))
        return 0;
    if (!behind)
        return items - (kind->shortest - 1);
    return all < training->settings.length ? all : training->settings.length;
}

/* Predictions of the user's first sequence in a batch, at most: one a token, but for a last one that predicts targets. */
static int64_t predictions_of(const struct sequence_training *training, int32_t user)
{
    const int64_t tokens = tokens_of(training, user), targets = training_targets(training, user).count;
    return tokens > 0 && targets > 0 ? tokens - 1 + targets : tokens;
}

static bool list_users(struct sequence_training *training, struct error *error)
{
    const size_t bytes = (size_t)training->sequences.rows * sizeof *training->users;
    training->users = malloc(bytes);
    training->order = malloc(bytes);
    training->entries = malloc((size_t)training->settings.length * sizeof *training->entries);
    if (!training->users || !training->order || !training->entries)
        return error_memory(error, "the users", 2 * bytes, NULL);
    for (int32_t user = 0; user < training->sequences.rows; user++)
        if (tokens_of(training, user) > 0 && sequence_loss_covers(&training->loss, user))
            training->users[training->user_count++] = user;
    if (training->user_count == 0)
        return error_set(
            error, ERROR_RUN,
            "%s: no user has the %lld items that a sequence needs, or an item left to rank below "
            "them; check data.split and the filters",
            training->settings.model, (long long)training->kind->shortest);
    return true;
}

static int compare_descending(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

/* A count of each user's: of all together, and of those `most` users that have most. */
typedef int64_t count_of_user(const struct sequence_training *training, int32_t user);

static bool sum_counts(const struct sequence_training *training, count_of_user *count_of, int64_t most,
                       int64_t *all, int64_t *largest, struct error *error)
{
    const int64_t users = training->sequences.rows;
    int64_t *counts = malloc((size_t)users * sizeof *counts);
    *all = *largest = 0;
    if (!counts)
        return error_memory(error, "the lengths of sequences", (size_t)users * sizeof *counts, NULL);
    for (int32_t user = 0; user < users; user++)
        *all += counts[user] = count_of(training, user);
    qsort(counts, (size_t)users, sizeof *counts, compare_descending);
    for (int64_t place = 0; place < most; place++)
        *largest += counts[place];
    free(counts);
    return true;
}

/* What an epoch holds, and the most that a batch may. */
static bool count_tokens(struct sequence_training *training, struct sequence_counts *capacity,
                         struct error *error)
{
    const int64_t users = training->sequences.rows, sequences = 1 + training->kind->views;
    const int64_t most = training->settings.sequences < users ? training->settings.sequences : users;
    int64_t tokens, predictions, longest;
    if (!sum_counts(training, tokens_of, most, &tokens, &longest, error) ||
        !sum_counts(training, predictions_of, most, &predictions, &training->predictions_maximum, error))
        return false;
    training->tokens_maximum = sequences * longest;
    training->contrasts_maximum = training->kind->views * most;
    *capacity = (struct sequence_counts){.batches = (users + most - 1) / most,
                                         .tokens = sequences * tokens,
                                         .sequences = sequences * users,
                                         .predictions = predictions,
                                         .contrasts = training->kind->views * users};
    return true;
}

static bool read_data(struct sequence_training *training, const struct training_set *data,
                      struct error *error)
{
    const struct synthetic_rows synthetic = sequence_model_synthetic(training->model);
    if (!csr_copy(&training->sequences, &training->model->sequences, error) ||
        !sequences_weigh(&training->item_weights, &training->sequences, data, error))
        return false;
    if (!synthetic_rows_are_targets(&synthetic))
        return true;
    training->targets = synthetic.rows;
    return sequences_weigh(&training->target_weights, training->targets, data, error);
}

/* ---- life --------------------------------------------------------------------------------------------- */

static void lay_out(struct sequence_training *training)
{
    struct arena *arena = &training->arena;
    const struct encoder_shape *shape = &training->model->shape;
    const int64_t rows = encoder_rows(shape), width = shape->width, contrasts = training->contrasts_maximum;
    training->table = arena_tensor_2d(arena, DTYPE_REAL, rows, width);
    training->first_moment = arena_tensor_2d(arena, DTYPE_REAL, training->parts.count, width);
    training->second_moment = arena_tensor_2d(arena, DTYPE_REAL, training->parts.count, width);
    training->gradient = arena_tensor_2d(arena, DTYPE_REAL, rows, width);
    training->d_states = arena_tensor_2d(arena, DTYPE_REAL, training->tokens_maximum, width);
    if (training->targets && !shape->head) {
        training->read = arena_tensor_2d(arena, DTYPE_REAL, training->predictions_maximum, width);
        training->d_read = arena_tensor_2d(arena, DTYPE_REAL, training->predictions_maximum, width);
    }
    if (contrasts == 0)
        return;
    training->views = arena_tensor_2d(arena, DTYPE_REAL, contrasts, width);
    training->d_views = arena_tensor_2d(arena, DTYPE_REAL, contrasts, width);
    training->contrast_logits = arena_tensor_1d(arena, DTYPE_REAL, contrasts * contrasts);
    training->places = arena_tensor_1d(arena, DTYPE_I32, contrasts);
    training->partners = arena_tensor_1d(arena, DTYPE_I32, contrasts);
    training->ones = arena_tensor_1d(arena, DTYPE_REAL, contrasts);
}

static void lay_out_activations(struct sequence_training *training, int64_t tokens, int64_t predictions)
{
    const struct encoder_shape *shape = &training->model->shape;
    encoder_activations_lay_out(&training->activations, &training->activation_arena, shape, tokens, true);
    if (shape->head)
        encoder_head_lay_out(&training->head, &training->activation_arena, shape, predictions, true);
}

/* A rank's part of a batch begins and ends with a sequence. */
static void limit_to_part(struct sequence_training *training)
{
    const int64_t part =
        training->tokens_maximum / training->parts.ranks->size + training->settings.length + 1;
    if (part < training->tokens_maximum)
        training->tokens_maximum = part;
    if (part < training->predictions_maximum && !training->targets)
        training->predictions_maximum = part;
}

static bool reserve(struct sequence_training *training, struct error *error)
{
    const struct encoder_shape *shape = &training->model->shape;
    struct arena *const arenas[] = {&training->arena, &training->activation_arena};
    static const char *const lower[] = {"lower recommenders.width or recommenders.sequences",
                                        "lower recommenders.sequences"};
    if (training->parts.ranks)
        limit_to_part(training);
    training->arena = arena_measure(training->backend, "training");
    training->activation_arena = arena_measure(training->backend, "activations");
    lay_out(training);
    lay_out_activations(training, training->tokens_maximum, training->predictions_maximum);
    if (!arena_reserve_all(arenas, lower, 2, error))
        return false;
    lay_out(training);
    encoder_parameters_lay_out(&training->parameters, shape, &training->table);
    encoder_parameters_lay_out(&training->gradients, shape, &training->gradient);
    return true;
}

static bool upload_places(struct sequence_training *training, struct error *error)
{
    const int64_t count = training->contrasts_maximum;
    const size_t bytes = (size_t)count * (2 * sizeof(int32_t) + sizeof(real));
    if (count == 0)
        return true;
    int32_t *places = malloc((size_t)count * sizeof *places),
            *partners = malloc((size_t)count * sizeof *partners);
    real *ones = malloc((size_t)count * sizeof *ones);
    const bool allocated = places && partners && ones;
    for (int64_t place = 0; allocated && place < count; place++) {
        places[place] = (int32_t)place;
        partners[place] = (int32_t)(place ^ 1);
        ones[place] = (real)1.0;
    }
    if (allocated) {
        tensor_upload(training->backend, &training->places, places);
        tensor_upload(training->backend, &training->partners, partners);
        tensor_upload(training->backend, &training->ones, ones);
    }
    free(places);
    free(partners);
    free(ones);
    return allocated ? backend_synchronize(training->backend, error)
                     : error_memory(error, "views of sequences", bytes, "lower recommenders.sequences");
}

static bool initialize(struct sequence_training *training, struct error *error)
{
    real *values = malloc(tensor_bytes(&training->table));
    if (!values)
        return error_memory(error, "the initial parameters", tensor_bytes(&training->table),
                            "lower recommenders.width");
    encoder_initialize(&training->model->shape, values, training->settings.initial_deviation, training->seed,
                       host_threads(training->backend));
    tensor_upload(training->backend, &training->table, values);
    free(values);
    return backend_synchronize(training->backend, error);
}

static bool open_training(struct sequence_training *training, const struct training_set *data,
                          struct error *error)
{
    struct sequence_counts capacity;
    if (!read_data(training, data, error) || !count_tokens(training, &capacity, error))
        return false;
    if (training->predictions_maximum == 0)
        return list_users(training, error); /* which says that there are none */
    return row_parts_open(&training->parts, training->backend, encoder_rows(&training->model->shape), NULL,
                          error) &&
           sequence_loss_open(&training->loss, training->backend, &training->settings, data,
                              training->predictions_maximum, training->seed, error) &&
           list_users(training, error) &&
           sequence_epoch_open(&training->epoch, training->backend, capacity, training->settings.length,
                               training->loss.kind == LOSS_CROSS_ENTROPY && training->loss.forbidden.rows > 0
                                   ? &training->loss.forbidden
                                   : NULL,
                               error) &&
           reserve(training, error) && upload_places(training, error) && initialize(training, error);
}

bool sequence_training_open(void **training, struct recommender *recommender, const struct training_set *data,
                            uint64_t seed, struct error *error)
{
    *training = NULL;
    if (!sequence_model_create(recommender, data, seed, error))
        return false;
    struct sequence_training *opened = calloc(1, sizeof *opened);
    if (!opened)
        return error_memory(error, "a training", sizeof *opened, NULL);
    struct sequence_model *model = recommender->parameters;
    *opened = (struct sequence_training){.backend = recommender->backend,
                                         .kind = model->kind,
                                         .settings = recommender->settings,
                                         .model = model,
                                         .seed = seed,
                                         .items = recommender->items};
    if (!open_training(opened, data, error)) {
        sequence_training_close(opened);
        return false;
    }
    *training = opened;
    return true;
}

void sequence_training_close(void *training)
{
    struct sequence_training *closed = training;
    if (!closed)
        return;
    sequence_epoch_close(&closed->epoch);
    sequence_loss_close(&closed->loss);
    arena_release(&closed->arena);
    arena_release(&closed->activation_arena);
    row_parts_close(&closed->parts);
    csr_free(&closed->sequences);
    free(closed->item_weights);
    free(closed->target_weights);
    free(closed->users);
    free(closed->order);
    free(closed->entries);
    free(closed);
}

struct training_state sequence_training_state(void *training)
{
    struct sequence_training *of = training;
    return (struct training_state){.step = &of->step,
                                   .parts = &of->parts,
                                   .count = 3,
                                   .tensors = {&of->table, &of->first_moment, &of->second_moment},
                                   .divided = {false, true, true}};
}

bool sequence_divides(const struct recommender_settings *settings)
{
    (void)settings;
    return true;
}

/* Of each step the gradient's other parts, and to every other rank this one's part of the table. */
double sequence_epoch_bytes(const void *training)
{
    const struct sequence_training *of = training;
    const double ranks = of->parts.ranks ? of->parts.ranks->size : 1, width = (double)of->settings.width;
    const double steps = ceil((double)of->user_count / (double)of->settings.sequences);
    const double own = (double)of->parts.count, others = (double)of->parts.rows - own;
    return steps * (others + own * (ranks - 1.0)) * width * (double)sizeof(real);
}

bool sequence_publish(void *training, struct error *error)
{
    const struct sequence_training *of = training;
    of->backend->copy(of->backend, of->model->table.data, of->table.data, tensor_bytes(&of->table));
    return backend_synchronize(of->backend, error);
}

/* ---- steps -------------------------------------------------------------------------------------------- */

struct encoder_pass training_pass(struct sequence_training *training, const struct sequence_batch *batch)
{
    return (struct encoder_pass){.backend = training->backend,
                                 .shape = &training->model->shape,
                                 .parameters = &training->parameters,
                                 .gradients = &training->gradients,
                                 .dropout = (float)training->settings.dropout,
                                 .seed = training->seed,
                                 .step = (uint64_t)training->step,
                                 .first_token = batch->first_token};
}

static struct packed_sequences packed(const struct sequence_batch *batch)
{
    return (struct packed_sequences){&batch->tokens, &batch->positions, &batch->starts};
}

const struct tensor *training_encode(struct sequence_training *training, const struct sequence_batch *batch)
{
    const struct encoder_pass pass = training_pass(training, batch);
    const struct packed_sequences sequences = packed(batch);
    arena_return(&training->activation_arena, 0);
    lay_out_activations(training, tensor_count(&batch->tokens), tensor_count(&batch->rows));
    tensor_zero(training->backend, &training->gradient);
    encoder_forward(&pass, &training->activations, &sequences);
    return &training->activations.output;
}

/* Of the gradients of all ranks. */
static void take_adam_step(struct sequence_training *training)
{
    struct tensor table = row_parts_own(&training->parts, &training->table);
    struct tensor gradient = row_parts_own(&training->parts, &training->gradient);
    const struct adamw adam = {.learning_rate = (float)training->settings.learning_rate,
                               .beta1 = 0.9f,
                               .beta2 = 0.999f,
                               .epsilon = 1e-8f,
                               .step = ++training->step};
    row_parts_sum(&training->parts, &training->gradient);
    if (training->settings.regularization > 0.0)
        op_axpby(training->backend, &gradient, (float)training->settings.regularization, &table, 1.0f);
    op_adamw(training->backend, &table, &gradient, &training->first_moment, &training->second_moment, NULL,
             adam);
    row_parts_gather(&training->parts, &training->table);
}

void training_next_items_backward(struct sequence_training *training, struct sequence_batch *batch,
                                  const struct tensor *states, struct tensor *d_states)
{
    struct backend *backend = training->backend;
    const int64_t tokens = states->shape[0], predictions = tensor_count(&batch->targets);
    const struct scored_items scored = {.items = &training->parameters.items,
                                        .d_items = &training->gradients.items};
    const uint64_t step = (uint64_t)training->step;
    if (training->targets) {
        struct tensor read = tensor_rows(&training->read, 0, predictions);
        struct tensor d_read = tensor_rows(&training->d_read, 0, predictions);
        op_gather(backend, &read, states, &batch->rows);
        sequence_loss_backward(&training->loss, &d_read, &read, &scored, batch, step);
        tensor_zero(backend, d_states);
        op_scatter_add(backend, d_states, &d_read, &batch->rows);
    } else { /* token i makes prediction i; those behind are of views */
        const struct tensor read = tensor_rows(states, 0, predictions);
        struct tensor d_read = tensor_rows(d_states, 0, predictions);
        struct tensor d_views = tensor_rows(d_states, predictions, tokens - predictions);
        if (tokens > predictions)
            tensor_zero(backend, &d_views);
        sequence_loss_backward(&training->loss, &d_read, &read, &scored, batch, step);
    }
}

void training_learn(struct sequence_training *training, const struct sequence_batch *batch,
                    struct tensor *d_states)
{
    const struct encoder_pass pass = training_pass(training, batch);
    const struct packed_sequences sequences = packed(batch);
    encoder_backward(&pass, &training->activations, &sequences, d_states);
    take_adam_step(training);
}

/* The step of a rank that has no sequence of the batch. */
static void learn_from_others(struct sequence_training *training)
{
    tensor_zero(training->backend, &training->gradient);
    take_adam_step(training);
}

/* ---- epochs ------------------------------------------------------------------------------------------- */

void training_write_targets(struct sequence_training *training, int64_t row, int32_t user)
{
    const struct user_items targets = training_targets(training, user);
    for (int64_t place = 0; place < targets.count; place++)
        epoch_prediction(&training->epoch, row, targets.items[place], user, targets.weights[place]);
}

void training_write_next_items(struct sequence_training *training, int32_t user)
{
    const struct user_items read = training_items(training, user);
    const int64_t tokens = tokens_of(training, user);
    const bool all = training_targets(training, user).count > 0;
    const int64_t first = all ? read.count - tokens : 0;
    const int64_t row = epoch_sequence(&training->epoch, read.items + first, tokens);
    for (int64_t next = first + 1; next < read.count; next++)
        epoch_prediction(&training->epoch, row + next - 1 - first, read.items[next], user,
                         read.weights[next]);
    if (all)
        training_write_targets(training, row + tokens - 1, user);
}

static void write_epoch(struct sequence_training *training, int64_t epoch)
{
    const int64_t users = training->user_count, most = training->settings.sequences;
    struct random_stream stream = random_stream_open(training->seed, RANDOM_SHUFFLE, (uint64_t)epoch, 0);
    const struct random_permutation order = random_permutation_open(&stream, (uint32_t)users);
    for (int64_t place = 0; place < users; place++)
        training->order[place] = training->users[random_permutation_at(&order, (uint32_t)place)];
    epoch_begin(&training->epoch);
    for (int64_t first = 0; first < users; first += most)
        training->kind->write_batch(training, training->order + first,
                                    first + most <= users ? most : users - first, epoch);
    epoch_upload(&training->epoch);
}

/* The mean loss. One that is no number stops the training with its step named. */
static bool mean_loss(struct sequence_training *training, int64_t steps_before, double *loss,
                      struct error *error)
{
    int64_t bad;
    if (!epoch_mean_loss(&training->epoch, training->settings.contrast_weight, loss, &bad, error))
        return false;
    if (bad >= 0)
        return error_set(error, ERROR_DIVERGED,
                         "%s: the loss is not a number at optimizer step %lld; lower "
                         "recommenders.learning_rate (now %g) or recommenders.initial_deviation (now %g)",
                         training->settings.model, (long long)steps_before + bad + 1,
                         training->settings.learning_rate, training->settings.initial_deviation);
    return true;
}

bool sequence_train_epoch(void *training, int64_t epoch, double *loss, struct error *error)
{
    struct sequence_training *trained = training;
    const int64_t steps_before = trained->step;
    write_epoch(trained, epoch);
    for (int64_t number = 0; number < trained->epoch.written.batches; number++) {
        struct sequence_batch batch = epoch_batch(&trained->epoch, number);
        if (tensor_count(&batch.tokens) > 0)
            trained->kind->step(trained, &batch);
        else
            learn_from_others(trained);
    }
    return mean_loss(trained, steps_before, loss, error);
}
