#include "models/recommenders/sequence_model.h"

#include <stdlib.h>
#include <string.h>

/* Tokens encoded together when users are scored: on a CPU what its caches hold a good part of. */
static const int64_t host_tokens_together = 8192, device_tokens_together = 131072;

static const struct sequence_kind *kind_of(const char *model)
{
    if (strcmp(model, "bert4rec") == 0)
        return &bert4rec_kind;
    return strcmp(model, "cl4srec") == 0 ? &cl4srec_kind : &sasrec_kind;
}

/* ---- histories ---------------------------------------------------------------------------------------- */

struct synthetic_rows sequence_model_synthetic(const struct sequence_model *model)
{
    return (struct synthetic_rows){.rows = model->synthetic.rows > 0 ? &model->synthetic : NULL,
                                   .position = model->position,
                                   .training_history = &model->history,
                                   .seed = model->seed};
}

static bool merge(struct sequence_model *model, const struct csr *history, struct error *error)
{
    const struct synthetic_rows synthetic = sequence_model_synthetic(model);
    struct csr sequences;
    if (!sequences_merge(&sequences, history, &synthetic, error))
        return false;
    csr_free(&model->sequences);
    model->sequences = sequences;
    return true;
}

bool sequence_set_history(struct recommender *recommender, const struct csr *history, struct error *error)
{
    if (history->rows != recommender->users || history->columns != recommender->items)
        return error_set(
            error, ERROR_RUN, "%s was fitted on %lld users and %lld items, the history has %lld and %lld",
            recommender->settings.model, (long long)recommender->users, (long long)recommender->items,
            (long long)history->rows, (long long)history->columns);
    return merge(recommender->parameters, history, error);
}

/* How often each item occurs in the training sequences. */
/* Every row counts as one, whatever its weight. */
static bool count_items(struct sequence_model *model, struct error *error)
{
    const size_t bytes = tensor_bytes(&model->popularity);
    real *counts = calloc(1, bytes);
    if (!counts)
        return error_memory(error, "items' counts", bytes, NULL);
    for (int64_t index = 0; index < csr_count(&model->sequences); index++)
        counts[model->sequences.indices[index]] += (real)1.0;
    tensor_upload(model->backend, &model->popularity, counts);
    free(counts);
    return backend_synchronize(model->backend, error);
}

/* ---- life --------------------------------------------------------------------------------------------- */

static void lay_out(struct sequence_model *model)
{
    model->table =
        arena_tensor_2d(&model->arena, DTYPE_REAL, encoder_rows(&model->shape), model->shape.width);
    model->popularity = arena_tensor_2d(&model->arena, DTYPE_REAL, 1, model->shape.items);
}

bool sequence_settings_check(const struct recommender_settings *settings, struct error *error)
{
    if (settings->heads < 1 || settings->width % settings->heads != 0)
        return error_set(error, ERROR_USAGE, "%s: heads (%lld) must divide width (%lld)", settings->model,
                         (long long)settings->heads, (long long)settings->width);
    if (settings->layers > ENCODER_LAYERS_MAXIMUM)
        return error_set(error, ERROR_USAGE, "%s: layers is %lld, but at most %d are possible",
                         settings->model, (long long)settings->layers, ENCODER_LAYERS_MAXIMUM);
    return true;
}

/* An encoder without values and histories, made the recommender's parameters. */
static bool open_model(struct sequence_model **opened, struct recommender *recommender, uint64_t seed,
                       struct error *error)
{
    const struct sequence_kind *kind = kind_of(recommender->settings.model);
    const struct recommender_settings *settings = &recommender->settings;
    if (!sequence_settings_check(settings, error))
        return false;
    struct sequence_model *model = calloc(1, sizeof *model);
    if (!model)
        return error_memory(error, "a model", sizeof *model, NULL);
    recommender->parameters = *opened = model;
    model->backend = recommender->backend;
    model->kind = kind;
    model->shape = kind->shape(settings, recommender->items);
    model->seed = seed;
    memcpy(model->position, settings->synthetic_position, sizeof model->position);
    model->arena = arena_measure(model->backend, settings->model);
    model->scratch = arena_measure(model->backend, "sequences to score");
    model->states_scratch = arena_measure(model->backend, "users to score");
    lay_out(model);
    if (!arena_reserve(&model->arena, 0, "lower recommenders.width", error))
        return false;
    lay_out(model);
    encoder_parameters_lay_out(&model->parameters, &model->shape, &model->table);
    return true;
}

bool sequence_model_create(struct recommender *recommender, const struct training_set *data, uint64_t seed,
                           struct error *error)
{
    struct sequence_model *model;
    if (!data->history)
        return error_set(error, ERROR_RUN, "%s reads histories in order of time, and there are none",
                         recommender->settings.model);
    return open_model(&model, recommender, seed, error) && csr_copy(&model->history, data->history, error) &&
           (!data->synthetic || csr_copy(&model->synthetic, data->synthetic, error)) &&
           merge(model, &model->history, error) && count_items(model, error);
}

void sequence_release(void *parameters)
{
    struct sequence_model *model = parameters;
    if (!model)
        return;
    csr_free(&model->history);
    csr_free(&model->synthetic);
    csr_free(&model->sequences);
    arena_release(&model->arena);
    arena_release(&model->scratch);
    arena_release(&model->states_scratch);
    free(model->host_tokens);
    free(model->host_positions);
    free(model->host_starts);
    free(model->host_rows);
    free(model);
}

struct tensor *sequence_published(struct recommender *recommender)
{
    return &((struct sequence_model *)recommender->parameters)->table;
}

/* ---- files -------------------------------------------------------------------------------------------- */

struct parameter_file {
    struct store *store;
    struct error *error;
};

static bool write_parameter(void *context, const struct named_parameter *parameter)
{
    const struct parameter_file *file = context;
    const struct tensor *tensor = &parameter->tensor;
    return store_write(file->store, parameter->name, tensor->dtype, tensor->shape[0],
                       tensor->rank == 2 ? tensor->shape[1] : 0, tensor->data, file->error);
}

static bool read_parameter(void *context, const struct named_parameter *parameter)
{
    const struct parameter_file *file = context;
    const struct tensor *tensor = &parameter->tensor;
    const int64_t wanted = tensor->rank == 2 ? tensor->shape[1] : 0;
    int64_t rows, columns = wanted;
    void *values;
    if (!store_read(file->store, parameter->name, tensor->dtype, &rows, &columns, &values, file->error))
        return false;
    const bool fits = rows == tensor->shape[0] && columns == wanted;
    if (fits)
        memcpy(tensor->data, values, tensor_bytes(tensor));
    free(values);
    return fits || error_set(file->error, ERROR_RUN, "%s of a saved model has a wrong shape; train it again",
                             parameter->name);
}

bool sequence_save(const struct recommender *recommender, struct store *store, struct error *error)
{
    const struct sequence_model *model = recommender->parameters;
    struct parameter_file file = {store, error};
    real *host = malloc(tensor_bytes(&model->table));
    if (!host)
        return error_memory(error, "parameters to save", tensor_bytes(&model->table), NULL);
    tensor_download(model->backend, host, &model->table);
    const struct tensor table =
        tensor_2d(host, DTYPE_REAL, DEVICE_CPU, model->table.shape[0], model->table.shape[1]);
    const bool saved =
        backend_synchronize(model->backend, error) &&
        encoder_parameters_visit(&model->shape, &table, write_parameter, &file) &&
        store_write_csr(store, "/history", &model->history, error) &&
        (model->synthetic.rows == 0 || store_write_csr(store, "/synthetic", &model->synthetic, error)) &&
        store_set_integer(store, "/", "seed", (int64_t)model->seed, error);
    free(host);
    return saved;
}

static bool load_table(struct sequence_model *model, struct store *store, struct error *error)
{
    struct parameter_file file = {store, error};
    real *host = calloc(1, tensor_bytes(&model->table));
    if (!host)
        return error_memory(error, "saved parameters", tensor_bytes(&model->table), NULL);
    const struct tensor table =
        tensor_2d(host, DTYPE_REAL, DEVICE_CPU, model->table.shape[0], model->table.shape[1]);
    const bool read = encoder_parameters_visit(&model->shape, &table, read_parameter, &file);
    if (read)
        tensor_upload(model->backend, &model->table, host);
    free(host);
    return read && backend_synchronize(model->backend, error);
}

static bool load_histories(struct sequence_model *model, struct recommender *recommender, struct store *store,
                           struct error *error)
{
    if (!store_read_csr(store, "/history", &model->history, error) ||
        (store_has(store, "/synthetic") && !store_read_csr(store, "/synthetic", &model->synthetic, error)))
        return false;
    const struct csr *const parts[] = {&model->history, &model->synthetic};
    for (int part = 0; part < 2; part++)
        if ((part == 0 || parts[part]->rows > 0) &&
            (parts[part]->rows != recommender->users || parts[part]->columns != recommender->items))
            return error_set(error, ERROR_RUN,
                             "the histories of a saved %s have a wrong shape; train it again",
                             recommender->settings.model);
    return merge(model, &model->history, error) && count_items(model, error);
}

bool sequence_load(struct recommender *recommender, struct store *store, struct error *error)
{
    struct sequence_model *model;
    int64_t seed;
    return store_get_integer(store, "/", "seed", &seed, error) &&
           open_model(&model, recommender, (uint64_t)seed, error) && load_table(model, store, error) &&
           load_histories(model, recommender, store, error);
}

/* ---- scores ------------------------------------------------------------------------------------------- */

static void lay_out_states(struct sequence_model *model, int64_t rows)
{
    model->states = arena_tensor_2d(&model->states_scratch, DTYPE_REAL, rows, model->shape.width);
    if (!model->shape.head)
        return;
    encoder_head_lay_out(&model->head, &model->states_scratch, &model->shape, rows, false);
    model->head.output = model->states;
}

static bool reserve_states(struct sequence_model *model, int64_t rows, struct error *error)
{
    if (rows <= model->scratch_states) {
        arena_return(&model->states_scratch, 0);
        lay_out_states(model, rows);
        return true;
    }
    arena_release(&model->states_scratch);
    model->states_scratch = arena_measure(model->backend, "users to score");
    model->scratch_states = 0;
    lay_out_states(model, rows);
    if (!arena_reserve(&model->states_scratch, 0, "lower the number of users ranked at a time", error))
        return false;
    lay_out_states(model, rows);
    model->scratch_states = rows;
    return true;
}

static void lay_out_sequences(struct sequence_model *model, int64_t tokens, int64_t users)
{
    struct arena *arena = &model->scratch;
    model->tokens = arena_tensor_1d(arena, DTYPE_I32, tokens);
    model->positions = arena_tensor_1d(arena, DTYPE_I32, tokens);
    model->starts = arena_tensor_1d(arena, DTYPE_I32, users + GEMM_ROW_BLOCK); /* with those that fill up */
    model->rows = arena_tensor_1d(arena, DTYPE_I32, users);
    encoder_activations_lay_out(&model->activations, arena, &model->shape, tokens, false);
}

static int64_t tokens_together(const struct sequence_model *model)
{
    const int64_t wanted =
        model->backend->device == DEVICE_CPU ? host_tokens_together : device_tokens_together;
    const int64_t most = wanted > model->shape.length ? wanted : model->shape.length;
    return (most + GEMM_ROW_BLOCK - 1) / GEMM_ROW_BLOCK * GEMM_ROW_BLOCK;
}

static bool reserve_sequences(struct sequence_model *model, struct error *error)
{
    if (model->scratch_tokens > 0)
        return true;
    const int64_t tokens = tokens_together(model);
    const size_t bytes = ((size_t)tokens + 2) * sizeof(int32_t);
    model->host_tokens = malloc(bytes);
    model->host_positions = malloc(bytes);
    model->host_starts = malloc(bytes);
    model->host_rows = malloc(bytes);
    if (!model->host_tokens || !model->host_positions || !model->host_starts || !model->host_rows)
        return error_memory(error, "sequences to score", 4 * bytes, "lower recommenders.length");
    lay_out_sequences(model, tokens, tokens);
    if (!arena_reserve(&model->scratch, 0, "lower recommenders.length", error))
        return false;
    model->scratch_tokens = tokens;
    return true;
}

/* Tokens that a user's sequence is encoded with. */
static int64_t tokens_of(const struct sequence_model *model, int32_t user)
{
    const int64_t behind = model->kind->mask_behind, most = model->shape.length - behind;
    const int64_t items = csr_row_length(&model->sequences, user);
    return (items < most ? items : most) + behind;
}

/* Sequences being written on the host. */
struct host_sequences {
    int64_t tokens, sequences;
};

static void write_sequence(struct sequence_model *model, struct host_sequences *written, const int32_t *items,
                           int64_t count, bool masked_behind)
{
    const int64_t tokens = count + masked_behind;
    for (int64_t place = 0; place < tokens; place++) {
        model->host_tokens[written->tokens + place] =
            place < count ? (items ? items[place] : -1) : (int32_t)model->shape.items;
        model->host_positions[written->tokens + place] = (int32_t)(model->shape.length - tokens + place);
    }
    written->tokens += tokens;
    model->host_starts[++written->sequences] = (int32_t)written->tokens;
}

/* Writes as many of the users as fit, each a row of host_rows; returns how many. Products have the same bits whatever
 * users are encoded together if their rows are whole blocks: a last sequence of no items fills them up. */
static int64_t write_users(struct sequence_model *model, struct host_sequences *written, const int32_t *users,
                           int64_t count)
{
    *written = (struct host_sequences){0};
    model->host_starts[0] = 0;
    int64_t done = 0;
    for (; done < count && done < model->scratch_tokens; done++) {
        const int32_t user = users[done];
        const int64_t tokens = tokens_of(model, user), items = tokens - model->kind->mask_behind;
        if (written->tokens + tokens > model->scratch_tokens)
            break;
        if (tokens > 0)
            write_sequence(model, written,
                           model->sequences.indices + model->sequences.starts[user + 1] - items, items,
                           model->kind->mask_behind);
        model->host_rows[done] = tokens > 0 ? (int32_t)written->tokens - 1 : -1;
    }
    const int64_t over = written->tokens % GEMM_ROW_BLOCK;
    for (int64_t left = over > 0 ? GEMM_ROW_BLOCK - over : 0; left > 0;) {
        const int64_t tokens = left < model->shape.length ? left : model->shape.length;
        write_sequence(model, written, NULL, tokens, false);
        left -= tokens;
    }
    return done;
}

static struct encoder_pass inference_pass(struct sequence_model *model)
{
    return (struct encoder_pass){
        .backend = model->backend, .shape = &model->shape, .parameters = &model->parameters};
}

/* Encodes the first users that fit into `states` [count, width]; returns how many. */
static int64_t encode_users(struct sequence_model *model, const struct tensor *states, const int32_t *users,
                            int64_t count)
{
    struct host_sequences written;
    const int64_t done = write_users(model, &written, users, count);
    struct tensor of_users = tensor_rows(states, 0, done);
    if (written.tokens == 0) {
        tensor_zero(model->backend, &of_users);
        return done;
    }
    arena_return(&model->scratch, 0);
    lay_out_sequences(model, written.tokens, done);
    struct tensor starts = tensor_rows(&model->starts, 0, written.sequences + 1);
    const struct encoder_pass pass = inference_pass(model);
    const struct packed_sequences sequences = {&model->tokens, &model->positions, &starts};
    tensor_upload(model->backend, &model->tokens, model->host_tokens);
    tensor_upload(model->backend, &model->positions, model->host_positions);
    tensor_upload(model->backend, &starts, model->host_starts);
    tensor_upload(model->backend, &model->rows, model->host_rows);
    encoder_forward(&pass, &model->activations, &sequences);
    op_gather(model->backend, &of_users, &model->activations.output, &model->rows);
    return done;
}

/* Fills the first `rows` of model->states: the users', ready for the products with the items, then zeros. */
static bool encode_states(struct sequence_model *model, const int32_t *users, int64_t count, int64_t rows,
                          struct error *error)
{
    if (!reserve_states(model, rows, error) || !reserve_sequences(model, error))
        return false;
    for (int64_t first = 0; first < count;) {
        const struct tensor states = tensor_rows(&model->states, first, count - first);
        first += encode_users(model, &states, users + first, count - first);
    }
    if (rows > count) {
        struct tensor nobody = tensor_rows(&model->states, count, rows - count);
        tensor_zero(model->backend, &nobody);
    }
    if (model->shape.head) {
        const struct encoder_pass pass = inference_pass(model);
        encoder_head_forward(&pass, &model->head, &model->states);
    }
    return true;
}

static void score_states(struct sequence_model *model, struct tensor *scores)
{
    const struct tensor states = tensor_rows(&model->states, 0, scores->shape[0]);
    op_gemm(model->backend, scores, &states, PLAIN, &model->parameters.items, TRANSPOSED, 1.0f, 0.0f);
    if (model->shape.head)
        op_bias_forward(model->backend, scores, &model->parameters.item_bias);
}

bool sequence_score(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                    struct error *error)
{
    struct sequence_model *model = ((const struct recommender *)context)->parameters;
    if (!encode_states(model, users, count, scores->shape[0], error))
        return false;
    score_states(model, scores);
    for (int64_t row = 0; row < count; row++)
        if (tokens_of(model, users[row]) == 0) {
            struct tensor of_user = tensor_rows(scores, row, 1);
            op_axpby(model->backend, &of_user, 1.0f, &model->popularity, 0.0f);
        }
    return backend_synchronize(model->backend, error);
}

/* ---- vectors ------------------------------------------------------------------------------------------ */

/* Users whose states are held at a time when vectors are asked for. */
enum { STATES_TOGETHER = 16 * GEMM_ROW_BLOCK };

/* A bias of the items is one more of their components, beside which users have a 1. */
static int64_t vector_width(const struct recommender *recommender)
{
    const struct encoder_shape *shape = &((const struct sequence_model *)recommender->parameters)->shape;
    return shape->width + (shape->head ? 1 : 0);
}

/* Spreads rows of `width` values, which lie densely at the start, to rows of one more; `last` NULL: 1. */
static void add_component(real *vectors, int64_t rows, int64_t width, const real *last)
{
    for (int64_t row = rows - 1; row >= 0; row--) {
        memmove(vectors + row * (width + 1), vectors + row * width, (size_t)width * sizeof *vectors);
        vectors[row * (width + 1) + width] = last ? last[row] : (real)1.0;
    }
}

static bool user_vectors(struct recommender *recommender, const int32_t *users, int64_t count, real *vectors,
                         struct error *error)
{
    struct sequence_model *model = recommender->parameters;
    const int64_t width = vector_width(recommender);
    for (int64_t first = 0; first < count; first += STATES_TOGETHER) {
        const int64_t left = count - first, together = left < STATES_TOGETHER ? left : STATES_TOGETHER;
        if (!encode_states(model, users + first, together, STATES_TOGETHER, error))
            return false;
        const struct tensor states = tensor_rows(&model->states, 0, together);
        real *of_block = vectors + first * width;
        tensor_download(model->backend, of_block, &states);
        if (!backend_synchronize(model->backend, error))
            return false;
        if (model->shape.head)
            add_component(of_block, together, model->shape.width, NULL);
    }
    return true;
}

static bool item_vectors(struct recommender *recommender, real *vectors, struct error *error)
{
    struct sequence_model *model = recommender->parameters;
    const size_t bytes = (size_t)model->shape.items * sizeof(real);
    real *bias = model->shape.head ? malloc(bytes) : NULL;
    if (model->shape.head && !bias)
        return error_memory(error, "biases of items", bytes, NULL);
    tensor_download(model->backend, vectors, &model->parameters.items);
    if (bias)
        tensor_download(model->backend, bias, &model->parameters.item_bias);
    const bool done = backend_synchronize(model->backend, error);
    if (done && bias)
        add_component(vectors, model->shape.items, model->shape.width, bias);
    free(bias);
    return done;
}

const struct recommender_vectors sequence_vectors = {
    .width = vector_width, .users = user_vectors, .items = item_vectors};
