#include "core/cpu/cpu.h"
#include "core/negatives.h"

enum { TOGETHER = 128 };

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
    const int64_t begin = drawing->starts[user];
    const struct excluded_items excluded = {drawing->excluded + begin, drawing->starts[user + 1] - begin};
    struct random_stream stream =
        random_stream_open(drawing->seed, RANDOM_NEGATIVE, drawing->epoch, (uint64_t)place);
    int32_t *triple = drawing->rows + 3 * first + (place - first);
    triple[0] = user;
    triple[size] = drawing->user_count + drawing->positives[pair];
    triple[2 * size] = drawing->user_count + draw_negative(&stream, &excluded, drawing->items);
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
