#include "core/cpu/cpu.h"

enum { REJECTIONS_MAXIMUM = 64 };

/* The first place of an ascending list whose item is not below `item`. */
static int64_t lower_bound(const int32_t *items, int64_t count, int32_t item)
{
    int64_t low = 0, high = count;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (items[middle] < item)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The item that has `before` allowed ones before it. */
static int32_t allowed_item(const int32_t *excluded, int64_t count, int64_t before)
{
    int64_t low = 0, high = count;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (excluded[middle] - middle <= before)
            low = middle + 1;
        else
            high = middle;
    }
    return (int32_t)(before + low);
}

/* By rejection, which only a user who has nearly all items makes long; then among those left. */
static int32_t draw_negative(struct random_stream *stream, const int32_t *excluded, int64_t count,
                             int64_t items)
{
    for (int attempt = 0; attempt < REJECTIONS_MAXIMUM; attempt++) {
        const int32_t item = (int32_t)random_below(stream, (uint32_t)items);
        const int64_t place = lower_bound(excluded, count, item);
        if (place == count || excluded[place] != item)
            return item;
    }
    return allowed_item(excluded, count, random_below(stream, (uint32_t)(items - count)));
}

void cpu_sample_triples(struct backend *backend, struct tensor *rows, struct tensor *weights,
                        struct triple_source source, int64_t batch, uint64_t seed, uint64_t epoch)
{
    const int64_t count = weights->shape[0], *starts = source.starts->data;
    const int32_t users = (int32_t)source.starts->shape[0] - 1, *excluded = source.excluded->data;
    struct random_stream order = random_stream_open(seed, RANDOM_SHUFFLE, epoch, 0);
    const struct random_permutation permutation =
        random_permutation_open(&order, (uint32_t)(count > 0 ? count : 1));
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (count >= PARALLEL_MINIMUM)
    for (int64_t place = 0; place < count; place++) {
        const int64_t first = place / batch * batch, size = minimum_of(batch, count - first);
        const uint32_t pair = random_permutation_at(&permutation, (uint32_t)place);
        const int32_t user = ((const int32_t *)source.users->data)[pair];
        struct random_stream stream = random_stream_open(seed, RANDOM_NEGATIVE, epoch, (uint64_t)place);
        int32_t *triple = (int32_t *)rows->data + 3 * first + (place - first);
        triple[0] = user;
        triple[size] = users + ((const int32_t *)source.positives->data)[pair];
        triple[2 * size] = users + draw_negative(&stream, excluded + starts[user],
                                                 starts[user + 1] - starts[user], source.items);
        ((real *)weights->data)[place] = ((const real *)source.weights->data)[pair] / (real)size;
    }
}
