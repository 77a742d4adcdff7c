#include "models/recommenders/fit_checkpoint.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/file.h"
#include "core/hash.h"

static void hash_csr(XXH3_state_t *state, const struct csr *matrix)
{
    const int64_t shape[2] = {matrix ? matrix->rows : -1, matrix ? matrix->columns : -1};
    XXH3_128bits_update(state, shape, sizeof shape);
    if (!matrix)
        return;
    XXH3_128bits_update(state, matrix->starts, (size_t)(matrix->rows + 1) * sizeof *matrix->starts);
    XXH3_128bits_update(state, matrix->indices, (size_t)csr_count(matrix) * sizeof *matrix->indices);
}

static void hash_watch(XXH3_state_t *state, const struct fit_watch *watch)
{
    const int64_t what[2] = {(int64_t)watch->metric, watch->k};
    XXH3_128bits_update(state, what, sizeof what);
    hash_csr(state, watch->truth);
    hash_csr(state, watch->mask);
}

static void hash_ranking(XXH3_state_t *state, const struct given_ranking *ranking)
{
    hash_csr(state, ranking->context);
    hash_csr(state, ranking->items);
    XXH3_128bits_update(state, ranking->scores, (size_t)csr_count(ranking->items) * sizeof *ranking->scores);
}

bool fit_fingerprint_compute(struct fit_fingerprint *fingerprint, const struct backend *backend,
                             const struct recommender_settings *settings, const struct training_set *data,
                             const struct fit_watch *watch, uint64_t seed, struct error *error)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return error_memory(error, "a hash", sizeof(XXH128_hash_t), NULL);
    char *text = settings_text(settings);
    XXH3_128bits_reset(state);
    XXH3_128bits_update(state, text, strlen(text));
    free(text);
    XXH3_128bits_update(state, backend->name, strlen(backend->name));
    if (backend->fast)
        XXH3_128bits_update(state, "fast", strlen("fast"));
    XXH3_128bits_update(state, &seed, sizeof seed);
    hash_csr(state, data->positives);
    hash_csr(state, data->excluded);
    if (recommender_reads_history(settings)) {
        hash_csr(state, data->history);
        hash_csr(state, data->synthetic);
        if (watch->history)
            hash_csr(state, watch->history);
    }
    for (int i = 0; i < data->ranking_count; i++)
        hash_ranking(state, &data->rankings[i]);
    if (data->weights)
        XXH3_128bits_update(state, data->weights, (size_t)csr_count(data->positives) * sizeof *data->weights);
    hash_watch(state, watch);
    hash_digits(fingerprint->digits, XXH3_128bits_digest(state));
    XXH3_freeState(state);
    return true;
}

static const char *const state_names[3] = {"/parameters", "/first_moment", "/second_moment"};

/* A tensor of a training, whole, or this rank's rows of it. */
struct state_rows {
    struct tensor *tensor;
    int64_t rows, first;           /* of the whole; of this rank's */
    const struct row_parts *parts; /* NULL: the tensor is whole */
};

static struct state_rows rows_of(const struct training_state *state, int place)
{
    struct tensor *const tensor = state->tensors[place];
    const struct row_parts *const parts = state->divided[place] ? state->parts : NULL;
    return (struct state_rows){.tensor = tensor,
                               .rows = parts ? parts->rows : tensor->shape[0],
                               .first = parts ? parts->first : 0,
                               .parts = parts && parts->ranks ? parts : NULL};
}

/* Rank 0 gets the rows of all others in their places, where it has its own; the others send theirs. */
static bool collect_rows(const struct state_rows *of, real *host, struct error *error)
{
    if (!of->parts)
        return true;
    struct communicator *const ranks = of->parts->ranks;
    const int64_t *const starts = of->parts->starts;
    const int64_t width = of->tensor->shape[1];
    const struct tensor own = tensor_1d(host, DTYPE_REAL, DEVICE_CPU, tensor_count(of->tensor));
    if (ranks->rank > 0)
        return comm_send(ranks, &own, 0, error);
    bool done = true;
    for (int rank = 1; done && rank < ranks->size; rank++) {
        struct tensor theirs = tensor_1d(host + starts[rank] * width, DTYPE_REAL, DEVICE_CPU,
                                         (starts[rank + 1] - starts[rank]) * width);
        done = comm_receive(ranks, &theirs, rank, error);
    }
    return done;
}

/* store NULL: of a rank that does not write. */
static bool write_rows(struct store *store, const char *name, struct backend *backend,
                       const struct state_rows *of, struct error *error)
{
    const int64_t width = of->tensor->shape[1], rows = store ? of->rows : of->tensor->shape[0];
    const size_t bytes = (size_t)(rows * width) * sizeof(real);
    real *host = malloc(bytes + 1);
    if (!host)
        return error_memory(error, "a checkpoint", bytes, NULL);
    tensor_download(backend, host, of->tensor);
    const bool written =
        backend_synchronize(backend, error) && collect_rows(of, host, error) &&
        (!store || store_write(store, name, of->tensor->dtype, of->rows, width, host, error));
    free(host);
    return written;
}

static bool read_rows(struct store *store, const char *name, struct backend *backend,
                      const struct state_rows *of, struct error *error)
{
    int64_t rows, columns = of->tensor->shape[1];
    void *host;
    if (!store_read(store, name, of->tensor->dtype, &rows, &columns, &host, error))
        return false;
    const bool fits = rows == of->rows && columns == of->tensor->shape[1];
    if (fits)
        tensor_upload(backend, of->tensor, (const real *)host + of->first * columns);
    free(host);
    return fits ? backend_synchronize(backend, error)
                : error_set(error, ERROR_RUN, "%s of a checkpoint has a wrong shape; delete the checkpoint",
                            name);
}

static bool write_all(struct store *store, const struct fit_fingerprint *fingerprint, struct backend *backend,
                      const struct training_state *state, const struct tensor *best,
                      const struct fit_progress *progress, struct error *error)
{
    for (int place = 0; place < state->count; place++) {
        const struct state_rows of = rows_of(state, place);
        if (!write_rows(store, state_names[place], backend, &of, error))
            return false;
    }
    struct tensor kept = *best;
    const struct state_rows of_best = {.tensor = &kept, .rows = best->shape[0]};
    if (!store)
        return true;
    return (progress->best_epoch == 0 || write_rows(store, "/best", backend, &of_best, error)) &&
           store_set_string(store, "/", "fingerprint", fingerprint->digits, error) &&
           store_set_integer(store, "/", "step", *state->step, error) &&
           store_set_integer(store, "/", "epoch", progress->epoch, error) &&
           store_set_integer(store, "/", "best_epoch", progress->best_epoch, error) &&
           store_set_number(store, "/", "best_score", progress->best_score, error) &&
           store_set_number(store, "/", "seconds", progress->seconds, error);
}

bool fit_checkpoint_save(const char *path, const struct fit_fingerprint *fingerprint, struct backend *backend,
                         const struct training_state *state, const struct tensor *best,
                         const struct fit_progress *progress, struct error *error)
{
    const struct communicator *const ranks = fit_ranks(backend);
    struct store *store;
    if (ranks && ranks->rank > 0)
        return write_all(NULL, fingerprint, backend, state, best, progress, error);
    if (!store_create(&store, path, error))
        return false;
    if (write_all(store, fingerprint, backend, state, best, progress, error))
        return store_commit(store, error);
    store_close(store);
    return false;
}

static bool read_all(struct store *store, struct backend *backend, const struct training_state *state,
                     struct tensor *best, struct fit_progress *progress, struct error *error)
{
    const struct state_rows of_best = {.tensor = best, .rows = best->shape[0]};
    for (int place = 0; place < state->count; place++) {
        const struct state_rows of = rows_of(state, place);
        if (!read_rows(store, state_names[place], backend, &of, error))
            return false;
    }
    return store_get_integer(store, "/", "step", state->step, error) &&
           store_get_integer(store, "/", "epoch", &progress->epoch, error) &&
           store_get_integer(store, "/", "best_epoch", &progress->best_epoch, error) &&
           store_get_number(store, "/", "best_score", &progress->best_score, error) &&
           store_get_number(store, "/", "seconds", &progress->seconds, error) &&
           (progress->best_epoch == 0 || read_rows(store, "/best", backend, &of_best, error));
}

/* *store: NULL where no checkpoint of this very fit is there. */
static bool open_own(struct store **store, const char *path, const struct fit_fingerprint *fingerprint,
                     struct error *error)
{
    *store = NULL;
    if (!path_exists(path))
        return true;
    if (!store_open(store, path, error))
        return false;
    char *digits;
    const bool done = store_get_string(*store, "/", "fingerprint", &digits, error);
    const bool own = done && strcmp(digits, fingerprint->digits) == 0;
    if (done)
        free(digits);
    if (!own) {
        store_close(*store);
        *store = NULL;
    }
    return done;
}

bool fit_checkpoint_is_own(bool *own, const char *path, const struct fit_fingerprint *fingerprint,
                           struct error *error)
{
    struct store *store;
    const bool done = open_own(&store, path, fingerprint, error);
    *own = store != NULL;
    store_close(store);
    return done;
}

bool fit_checkpoint_load(const char *path, const struct fit_fingerprint *fingerprint, struct backend *backend,
                         const struct training_state *state, struct tensor *best,
                         struct fit_progress *progress, bool *found, struct error *error)
{
    struct store *store;
    bool done = open_own(&store, path, fingerprint, error);
    *found = store != NULL;
    if (*found)
        done = read_all(store, backend, state, best, progress, error);
    store_close(store);
    return done;
}
