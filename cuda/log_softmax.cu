#include "cuda/device.cuh"
#include "cuda/softmax.cuh"

enum { THREADS = 512 };

static __device__ bool is_allowed(const uint32_t *forbidden, int64_t column)
{
    return !forbidden || !(forbidden[column / 32] >> (column % 32) & 1u);
}

/* One block a row. Where nothing is allowed every column becomes -infinity. */
__global__ void log_softmax_masked_kernel(float *logits, const uint32_t *forbidden, int64_t words,
                                          int64_t classes, int64_t classes_used)
{
    float *const row = logits + blockIdx.x * classes;
    const uint32_t *const mask = forbidden ? forbidden + blockIdx.x * words : nullptr;
    struct running_sum running = {-INFINITY, 0.0f};
    for (int64_t c = threadIdx.x; c < classes_used; c += THREADS)
        if (is_allowed(mask, c))
            take(running, row[c]);
    const struct running_sum total = block_total(running);
    const float log_sum = total.maximum > -INFINITY ? total.maximum + logf(total.sum) : 0.0f;
    for (int64_t c = threadIdx.x; c < classes; c += THREADS)
        row[c] = c < classes_used && is_allowed(mask, c) ? row[c] - log_sum : -INFINITY;
}

void cuda_log_softmax_masked(struct backend *backend, struct tensor *logits, const struct tensor *forbidden,
                             int64_t classes_used)
{
    if (logits->shape[0] == 0)
        return;
    LAUNCH(backend, log_softmax_masked_kernel, dim3((unsigned)logits->shape[0]), dim3(THREADS), 0,
           data_of<float>(logits), data_of<uint32_t>(forbidden), forbidden ? forbidden->shape[1] : 0,
           logits->shape[1], classes_used);
}
