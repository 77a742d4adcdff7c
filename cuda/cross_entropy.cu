#include "cuda/device.cuh"
#include "cuda/softmax.cuh"

enum { THREADS = 512 };

/* A row of logits on its way to weight (softmax - target). */
template <typename T> struct loss_row {
    T *logits;
    int64_t classes, classes_used;
    struct running_sum total;
    float weight;
    uint32_t *is_target; /* [classes / 32 + 1] bits, shared by the block */

    __device__ float scaled_softmax(float logit) const
    {
        return weight / total.sum * exponential(logit - total.maximum);
    }
};

template <typename T, bool packed> __device__ void sum_row(struct loss_row<T> &row)
{
    constexpr int width = pack_width<T>;
    float values[width];
    struct running_sum running = {-INFINITY, 0.0f};
    for (int64_t first = (int64_t)threadIdx.x * width; first < row.classes_used; first += THREADS * width) {
        load_values<packed>(values, row.logits + first, row.classes - first);
#pragma unroll
        for (int i = 0; i < width; i++)
            if (first + i < row.classes_used)
                take(running, values[i]);
    }
    row.total = block_total(running);
}

/* Writes the gradients of the targets, each rounded once, and marks them. In a round of THREADS targets the first naming
 * of a class writes for all of them. */
template <typename T>
__device__ void write_targets(const struct loss_row<T> &row, const int32_t *targets, int64_t count)
{
    SHARED_ARRAY(int32_t, round, THREADS);
    const float share = row.weight / (float)count;
    const int own = (int)threadIdx.x;
    for (int64_t first = 0; first < count; first += THREADS) {
        const int size = count - first < THREADS ? (int)(count - first) : (int)THREADS;
        __syncthreads();
        if (own < size)
            round[own] = targets[first + own];
        __syncthreads();
        int before = 0, named = 0;
        for (int other = 0; own < size && other < size; other++) {
            before += other < own && round[other] == round[own];
            named += round[other] == round[own];
        }
        if (own < size && before == 0) {
            const int32_t target = round[own];
            const bool again = row.is_target[target / 32] >> (target % 32) & 1u;
            const float value = to_float(row.logits[target]);
            row.logits[target] =
                from_float<T>((again ? value : row.scaled_softmax(value)) - share * (float)named);
        }
        __syncthreads();
        if (own < size)
            atomicOr(&row.is_target[round[own] / 32], 1u << (round[own] % 32));
    }
    __syncthreads();
}

/* Every class but the targets. */
template <typename T, bool packed> __device__ void write_others(const struct loss_row<T> &row)
{
    constexpr int width = pack_width<T>;
    float values[width];
    for (int64_t first = (int64_t)threadIdx.x * width; first < row.classes; first += THREADS * width) {
        load_values<packed>(values, row.logits + first, row.classes - first);
        const uint32_t marks = row.is_target[first / 32] >> (first % 32);
#pragma unroll
        for (int i = 0; i < width; i++)
            if (!(marks >> i & 1u))
                values[i] = first + i < row.classes_used ? row.scaled_softmax(values[i]) : 0.0f;
        store_values<packed>(row.logits + first, values, row.classes - first);
    }
}

/* One block a row; the loss is log-sum-exp - mean of the targets' logits. */
template <typename T, bool packed>
__device__ void row_cross_entropy(struct loss_row<T> row, float *loss, const int32_t *targets, int64_t count)
{
    if (count == 0) {
        for (int64_t c = threadIdx.x; c < row.classes; c += THREADS)
            row.logits[c] = from_float<T>(0.0f);
        if (threadIdx.x == 0)
            *loss = 0.0f;
        return;
    }
    for (int64_t word = threadIdx.x; word <= row.classes / 32; word += THREADS)
        row.is_target[word] = 0;
    sum_row<T, packed>(row);
    float target_sum = 0.0f;
    for (int64_t t = threadIdx.x; t < count; t += THREADS)
        target_sum += to_float(row.logits[targets[t]]);
    target_sum = block_sum(target_sum);
    if (threadIdx.x == 0)
        *loss = row.total.maximum + logf(row.total.sum) - target_sum / (float)count;
    write_targets(row, targets, count);
    write_others<T, packed>(row);
}

template <typename T, bool packed>
__global__ void cross_entropy_kernel(T *logits, float *losses, const int32_t *targets, const float *weights,
                                     int64_t classes, int64_t classes_used)
{
    DYNAMIC_SHARED(uint32_t, is_target);
    const int64_t index = blockIdx.x;
    const struct loss_row<T> row = {
        logits + index *classes, classes, classes_used, {}, weights[index], is_target
    };
    row_cross_entropy<T, packed>(row, losses + index, targets + index, targets[index] >= 0 ? 1 : 0);
}

template <typename T, bool packed>
__global__ void cross_entropy_set_kernel(T *logits, float *losses, const int64_t *starts,
                                         const int32_t *targets, const float *weights, int64_t classes,
                                         int64_t classes_used)
{
    DYNAMIC_SHARED(uint32_t, is_target);
    const int64_t index = blockIdx.x;
    const struct loss_row<T> row = {
        logits + index *classes, classes, classes_used, {}, weights[index], is_target
    };
    row_cross_entropy<T, packed>(row, losses + index, targets + starts[index],
                                 starts[index + 1] - starts[index]);
}

static size_t mark_bytes(int64_t classes)
{
    return (size_t)(classes / 32 + 1) * sizeof(uint32_t);
}

void cuda_cross_entropy(struct backend *backend, struct tensor *logits, struct tensor *losses,
                        const struct tensor *targets, const struct tensor *weights, int64_t classes_used)
{
    const int64_t rows = logits->shape[0], classes = logits->shape[1];
    if (rows == 0)
        return;
    BY_STORAGE(logits, BY_ACCESS(packs_fit<T>(logits->data, classes), {
                   LAUNCH(backend, (cross_entropy_kernel<T, packed>), dim3((unsigned)rows), dim3(THREADS),
                          mark_bytes(classes), data_of<T>(logits), data_of<float>(losses),
                          data_of<int32_t>(targets), data_of<float>(weights), classes, classes_used);
               }););
}

void cuda_cross_entropy_set(struct backend *backend, struct tensor *logits, struct tensor *losses,
                            const struct tensor *starts, const struct tensor *targets,
                            const struct tensor *weights, int64_t classes_used)
{
    const int64_t rows = logits->shape[0], classes = logits->shape[1];
    if (rows == 0)
        return;
    BY_STORAGE(logits, BY_ACCESS(packs_fit<T>(logits->data, classes), {
                   LAUNCH(backend, (cross_entropy_set_kernel<T, packed>), dim3((unsigned)rows), dim3(THREADS),
                          mark_bytes(classes), data_of<T>(logits), data_of<float>(losses),
                          data_of<int64_t>(starts), data_of<int32_t>(targets), data_of<float>(weights),
                          classes, classes_used);
               }););
}
