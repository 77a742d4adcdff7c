#include "models/recommenders/negative_sampling.h"

#include <stdlib.h>

#include "core/ops.h"

/* The pairs of users and positives on the host, until they are on the device. */
struct host_pairs {
    int32_t *users, *positives;
    real *weights;
};

static bool has_negative(const struct csr *excluded, int64_t user)
{
    return csr_row_length(excluded, user) < excluded->columns;
}

static int64_t count_pairs(const struct csr *positives, const struct csr *excluded)
{
    int64_t count = 0;
    for (int64_t user = 0; user < positives->rows; user++)
        if (has_negative(excluded, user))
            count += csr_row_length(positives, user);
    return count;
}

static void list_pairs(struct host_pairs *pairs, const struct training_set *data, const struct csr *excluded)
{
    const struct csr *positives = data->positives;
    int64_t filled = 0;
    for (int32_t user = 0; user < positives->rows; user++) {
        if (!has_negative(excluded, user))
            continue;
        for (int64_t index = positives->starts[user]; index < positives->starts[user + 1]; index++) {
            pairs->users[filled] = user;
            pairs->positives[filled] = positives->indices[index];
            pairs->weights[filled++] = (real)(data->weights ? data->weights[index] : 1.0f);
        }
    }
}

static void lay_out(struct triple_sampler *sampler, const struct csr *excluded)
{
    struct arena *arena = &sampler->arena;
    sampler->users = arena_tensor_1d(arena, DTYPE_I32, sampler->count);
    sampler->positives = arena_tensor_1d(arena, DTYPE_I32, sampler->count);
    sampler->weights = arena_tensor_1d(arena, DTYPE_REAL, sampler->count);
    sampler->starts = arena_tensor_1d(arena, DTYPE_I64, excluded->rows + 1);
    sampler->excluded = arena_tensor_1d(arena, DTYPE_I32, csr_count(excluded));
}

static bool upload(struct triple_sampler *sampler, const struct training_set *data,
                   const struct csr *excluded, struct error *error)
{
    struct backend *backend = sampler->backend;
    const size_t count = (size_t)sampler->count;
    struct host_pairs pairs = {.users = malloc(count * sizeof *pairs.users),
                               .positives = malloc(count * sizeof *pairs.positives),
                               .weights = malloc(count * sizeof *pairs.weights)};
    bool done = pairs.users && pairs.positives && pairs.weights;
    if (done) {
        list_pairs(&pairs, data, excluded);
        tensor_upload(backend, &sampler->users, pairs.users);
        tensor_upload(backend, &sampler->positives, pairs.positives);
        tensor_upload(backend, &sampler->weights, pairs.weights);
        tensor_upload(backend, &sampler->starts, excluded->starts);
        tensor_upload(backend, &sampler->excluded, excluded->indices);
        done = backend_synchronize(backend, error);
    } else {
        error_memory(error, "the pairs of users and items", 3 * count * sizeof(int32_t), NULL);
    }
    free(pairs.users);
    free(pairs.positives);
    free(pairs.weights);
    return done;
}

static bool prepare(struct triple_sampler *sampler, const struct training_set *data,
                    const struct csr *excluded, struct error *error)
{
    sampler->count = count_pairs(data->positives, excluded);
    if (sampler->count == 0)
        return error_set(error, ERROR_RUN,
                         "no user has both a training item and an item left to rank below it; "
                         "a ranking loss needs both: check the split and the filters");
    lay_out(sampler, excluded);
    if (!arena_reserve(&sampler->arena, 0, "train on fewer interactions", error))
        return false;
    lay_out(sampler, excluded);
    return upload(sampler, data, excluded, error);
}

bool triple_sampler_open(struct triple_sampler *sampler, struct backend *backend,
                         const struct training_set *data, uint64_t seed, struct error *error)
{
    *sampler = (struct triple_sampler){.backend = backend,
                                       .seed = seed,
                                       .items = data->positives->columns,
                                       .arena = arena_measure(backend, "training pairs")};
    struct csr both = {0};
    if (data->excluded && !csr_union(&both, data->positives, data->excluded, error))
        return false;
    const bool done = prepare(sampler, data, data->excluded ? &both : data->positives, error);
    csr_free(&both);
    if (!done)
        triple_sampler_close(sampler);
    return done;
}

void triple_sampler_close(struct triple_sampler *sampler)
{
    arena_release(&sampler->arena);
    *sampler = (struct triple_sampler){0};
}

void triple_sampler_epoch(const struct triple_sampler *sampler, int64_t epoch, int64_t batch,
                          struct tensor *rows, struct tensor *weights)
{
    const struct triple_source source = {.users = &sampler->users,
                                         .positives = &sampler->positives,
                                         .weights = &sampler->weights,
                                         .starts = &sampler->starts,
                                         .excluded = &sampler->excluded,
                                         .items = sampler->items};
    op_sample_triples(sampler->backend, rows, weights, source, batch, sampler->seed, (uint64_t)epoch);
}
