#include "core/cpu/cpu.h"

enum { REJECTIONS_MAXIMUM = 64, TOGETHER = 128 };

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

/* An epoch's drawing on the host. */
struct drawing {
    const int32_t *users, *positives, *excluded;
    const int64_t *starts;
    const real *pair_weights;
    int32_t *rows;
    real *weights;
    int64_t count, batch, items;
    int32_t user_count;
    uint64_t seed, epoch;
};

static void draw_triple(const struct drawing *drawing, int64_t place, uint32_t pair)
{
    const int64_t first = place / drawing->batch * drawing->batch;
    const int64_t size = minimum_of(drawing->batch, drawing->count - first);
    const int32_t user = drawing->users[pair];
    const int64_t begin = drawing->starts[user], excluded = drawing->starts[user + 1] - begin;
    struct random_stream stream =
        random_stream_open(drawing->seed, RANDOM_NEGATIVE, drawing->epoch, (uint64_t)place);
    int32_t *triple = drawing->rows + 3 * first + (place - first);
    triple[0] = user;
    triple[size] = drawing->user_count + drawing->positives[pair];
    triple[2 * size] =
        drawing->user_count + draw_negative(&stream, drawing->excluded + begin, excluded, drawing->items);
    drawing->weights[place] = drawing->pair_weights[pair] / (real)size;
}

/* Pairs are looked up together first, so that the waits for memory overlap. */
static void draw_together(const struct drawing *drawing, const struct random_permutation *permutation,
                          int64_t first, int64_t end)
{
    uint32_t pairs[TOGETHER];
    for (int64_t place = first; place < end; place++) {
        pairs[place - first] = random_permutation_at(permutation, (uint32_t)place);
        __builtin_prefetch(drawing->users + pairs[place - first]);
        __builtin_prefetch(drawing->positives + pairs[place - first]);
        __builtin_prefetch(drawing->pair_weights + pairs[place - first]);
    }
    for (int64_t place = first; place < end; place++)
        __builtin_prefetch(drawing->starts + drawing->users[pairs[place - first]]);
    for (int64_t place = first; place < end; place++)
        draw_triple(drawing, place, pairs[place - first]);
}

void cpu_sample_triples(struct backend *backend, struct tensor *rows, struct tensor *weights,
                        struct triple_source source, int64_t batch, uint64_t seed, uint64_t epoch)
{
    const int64_t count = weights->shape[0];
    const struct drawing drawing = {.users = source.users->data,
                                    .positives = source.positives->data,
                                    .excluded = source.excluded->data,
                                    .starts = source.starts->data,
                                    .pair_weights = source.weights->data,
                                    .rows = rows->data,
                                    .weights = weights->data,
                                    .count = count,
                                    .batch = batch,
                                    .items = source.items,
                                    .user_count = (int32_t)source.starts->shape[0] - 1,
                                    .seed = seed,
                                    .epoch = epoch};
    struct random_stream order = random_stream_open(seed, RANDOM_SHUFFLE, epoch, 0);
    const struct random_permutation permutation =
        random_permutation_open(&order, (uint32_t)(count > 0 ? count : 1));
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (count >= PARALLEL_MINIMUM)
    for (int64_t first = 0; first < count; first += TOGETHER)
        draw_together(&drawing, &permutation, first, minimum_of(count, first + TOGETHER));
}
