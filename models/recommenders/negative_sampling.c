#include "models/recommenders/negative_sampling.h"

#include <stdlib.h>
#include <string.h>

/* Rejection is tried this often before the remaining items are listed: only users who have nearly all items
 * get there. */
enum { REJECTIONS_MAXIMUM = 64 };

static bool is_forbidden(const struct training_set *data, int32_t user, int32_t item)
{
    return csr_contains_sorted(data->positives, user, item) ||
           (data->excluded && csr_contains_sorted(data->excluded, user, item));
}

static int64_t count_allowed(const struct training_set *data, int32_t user)
{
    int64_t allowed = 0;
    for (int32_t item = 0; item < data->positives->columns; item++)
        allowed += !is_forbidden(data, user, item);
    return allowed;
}

/* Counting items one by one is only needed for users whose rows could cover them all. */
static bool has_negative(const struct training_set *data, int32_t user)
{
    int64_t taken = csr_row_length(data->positives, user);
    if (data->excluded)
        taken += csr_row_length(data->excluded, user);
    return taken < data->positives->columns || count_allowed(data, user) > 0;
}

bool triple_sampler_open(struct triple_sampler *sampler, const struct training_set *data, uint64_t seed,
                         int threads, struct error *error)
{
    const struct csr *positives = data->positives;
    const size_t bytes = (size_t)csr_count(positives) * sizeof(int32_t) + 1;
    *sampler = (struct triple_sampler){
        .data = data, .seed = seed, .threads = threads, .owner = malloc(bytes), .order = malloc(bytes)};
    if (!sampler->owner || !sampler->order) {
        triple_sampler_close(sampler);
        return error_memory(error, "the order of an epoch's triples", 2 * bytes, NULL);
    }
    for (int32_t user = 0; user < positives->rows; user++) {
        const bool usable = has_negative(data, user);
        for (int64_t index = positives->starts[user]; index < positives->starts[user + 1]; index++) {
            sampler->owner[index] = user;
            sampler->count += usable;
        }
    }
    if (sampler->count == 0) {
        triple_sampler_close(sampler);
        return error_set(error, ERROR_RUN,
                         "no user has both a training item and an item left to rank below it; "
                         "a ranking loss needs both: check the split and the filters");
    }
    return true;
}

void triple_sampler_close(struct triple_sampler *sampler)
{
    free(sampler->owner);
    free(sampler->order);
    *sampler = (struct triple_sampler){0};
}

int32_t sample_negative(struct random_stream *stream, const struct training_set *data, int32_t user)
{
    const uint32_t items = (uint32_t)data->positives->columns;
    for (int attempt = 0; attempt < REJECTIONS_MAXIMUM; attempt++) {
        const int32_t item = (int32_t)random_below(stream, items);
        if (!is_forbidden(data, user, item))
            return item;
    }
    int64_t chosen = (int64_t)random_below(stream, (uint32_t)count_allowed(data, user));
    int32_t item = 0;
    while (is_forbidden(data, user, item) || chosen-- > 0)
        item++;
    return item;
}

static void draw_order(struct triple_sampler *sampler, int64_t epoch)
{
    const struct csr *positives = sampler->data->positives;
    int64_t filled = 0;
    for (int32_t user = 0; user < positives->rows; user++) {
        if (!has_negative(sampler->data, user))
            continue;
        for (int64_t index = positives->starts[user]; index < positives->starts[user + 1]; index++)
            sampler->order[filled++] = (int32_t)index;
    }
    struct random_stream stream = random_stream_open(sampler->seed, RANDOM_SHUFFLE, (uint64_t)epoch, 0);
    random_shuffle(&stream, sampler->order, sampler->count);
}

void triple_sampler_epoch(struct triple_sampler *sampler, int64_t epoch, int64_t batch, int32_t *rows,
                          real *weights)
{
    const struct training_set *data = sampler->data;
    const int32_t users = (int32_t)data->positives->rows;
    draw_order(sampler, epoch);
#pragma omp parallel for schedule(static) num_threads(sampler->threads)
    for (int64_t place = 0; place < sampler->count; place++) {
        const int64_t first = place / batch * batch;
        const int64_t size = first + batch <= sampler->count ? batch : sampler->count - first;
        const int32_t index = sampler->order[place], user = sampler->owner[index];
        struct random_stream stream =
            random_stream_open(sampler->seed, RANDOM_NEGATIVE, (uint64_t)epoch, (uint64_t)place);
        int32_t *batch_rows = rows + 3 * first + (place - first);
        batch_rows[0] = user;
        batch_rows[size] = users + data->positives->indices[index];
        batch_rows[2 * size] = users + sample_negative(&stream, data, user);
        weights[place] = (real)(data->weights ? data->weights[index] : 1.0f) / (real)size;
    }
}
