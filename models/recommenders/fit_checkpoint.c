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

static bool write_tensor(struct store *store, const char *name, struct backend *backend,
                         const struct tensor *tensor, struct error *error)
{
    real *host = malloc(tensor_bytes(tensor));
    if (!host)
        return error_memory(error, "a checkpoint", tensor_bytes(tensor), NULL);
    tensor_download(backend, host, tensor);
    const bool written =
        backend_synchronize(backend, error) &&
        store_write(store, name, tensor->dtype, tensor->shape[0], tensor->shape[1], host, error);
    free(host);
    return written;
}

static bool read_tensor(struct store *store, const char *name, struct backend *backend, struct tensor *tensor,
                        struct error *error)
{
    int64_t rows, columns = tensor->shape[1];
    void *host;
    if (!store_read(store, name, tensor->dtype, &rows, &columns, &host, error))
        return false;
    const bool fits = rows == tensor->shape[0] && columns == tensor->shape[1];
    if (fits)
        tensor_upload(backend, tensor, host);
    free(host);
    return fits ? backend_synchronize(backend, error)
                : error_set(error, ERROR_RUN, "%s of a checkpoint has a wrong shape; delete the checkpoint",
                            name);
}

static bool write_all(struct store *store, const struct fit_fingerprint *fingerprint, struct backend *backend,
                      const struct training_state *state, const struct tensor *best,
                      const struct fit_progress *progress, struct error *error)
{
    for (int place = 0; place < state->count; place++)
        if (!write_tensor(store, state_names[place], backend, state->tensors[place], error))
            return false;
    return (progress->best_epoch == 0 || write_tensor(store, "/best", backend, best, error)) &&
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
    struct store *store;
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
    for (int place = 0; place < state->count; place++)
        if (!read_tensor(store, state_names[place], backend, state->tensors[place], error))
            return false;
    return store_get_integer(store, "/", "step", state->step, error) &&
           store_get_integer(store, "/", "epoch", &progress->epoch, error) &&
           store_get_integer(store, "/", "best_epoch", &progress->best_epoch, error) &&
           store_get_number(store, "/", "best_score", &progress->best_score, error) &&
           store_get_number(store, "/", "seconds", &progress->seconds, error) &&
           (progress->best_epoch == 0 || read_tensor(store, "/best", backend, best, error));
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
