#include "core/negatives.h"
#include "cuda/device.cuh"

enum { THREADS = 256 };

struct pair_list {
    const int32_t *users, *positives;
    const float *weights;
    const int64_t *starts;
    const int32_t *excluded;
    int64_t count;
    int32_t user_count, item_count;
};

/* A thread a triple. */
__global__ void sample_triples_kernel(int32_t *rows, float *weights, struct pair_list pairs,
                                      struct random_permutation permutation, int64_t batch, uint64_t seed,
                                      uint64_t epoch)
{
    const int64_t place = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= pairs.count)
        return;
    const int64_t first = place / batch * batch, left = pairs.count - first;
    const int64_t size = left < batch ? left : batch;
    const uint32_t pair = random_permutation_at(&permutation, (uint32_t)place);
    const int32_t user = pairs.users[pair];
    const struct excluded_items excluded = {pairs.excluded + pairs.starts[user],
                                            pairs.starts[user + 1] - pairs.starts[user]};
    struct random_stream stream = random_stream_open(seed, RANDOM_NEGATIVE, epoch, (uint64_t)place);
    int32_t *triple = rows + 3 * first + (place - first);
    triple[0] = user;
    triple[size] = pairs.user_count + pairs.positives[pair];
    triple[2 * size] = pairs.user_count + draw_negative(&stream, &excluded, pairs.item_count);
    weights[place] = pairs.weights[pair] / (float)size;
}

void cuda_sample_triples(struct backend *backend, struct tensor *rows, struct tensor *weights,
                         struct triple_source source, int64_t batch, uint64_t seed, uint64_t epoch)
{
    const int64_t count = weights->shape[0];
    const struct pair_list pairs = {.users = data_of<int32_t>(source.users),
                                    .positives = data_of<int32_t>(source.positives),
                                    .weights = data_of<float>(source.weights),
                                    .starts = data_of<int64_t>(source.starts),
                                    .excluded = data_of<int32_t>(source.excluded),
                                    .count = count,
                                    .user_count = (int32_t)source.starts->shape[0] - 1,
                                    .item_count = (int32_t)source.items};
    struct random_stream order = random_stream_open(seed, RANDOM_SHUFFLE, epoch, 0);
    const struct random_permutation permutation =
        random_permutation_open(&order, (uint32_t)(count > 0 ? count : 1));
    LAUNCH(backend, sample_triples_kernel, dim3(blocks_for(count, THREADS)), dim3(THREADS), 0,
           data_of<int32_t>(rows), data_of<float>(weights), pairs, permutation, batch, seed, epoch);
}
