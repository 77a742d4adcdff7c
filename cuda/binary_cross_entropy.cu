#include "cuda/device.cuh"
#include "cuda/warp.cuh"

enum { THREADS = 256, ROWS = THREADS / warp_width };

/* softplus(s) = max(s, 0) + log(1 + e^-|s|) and its slope, sigmoid(s). */
struct softplus {
    float value, slope;
    explicit __device__ softplus(float s)
    {
        const float exponential = expf(-fabsf(s));
        value = fmaxf(s, 0.0f) + log1pf(exponential);
        slope = (s < 0.0f ? exponential : 1.0f) / (1.0f + exponential);
    }
};

/* A warp a row. */
__global__ void binary_cross_entropy_kernel(float *logits, float *losses, const float *weights, float power,
                                            int64_t rows, int64_t columns)
{
    const int64_t row = (int64_t)blockIdx.x * ROWS + warp_index();
    if (row >= rows)
        return;
    float *scores = logits + row * columns, loss = 0.0f;
    const float weight = weights[row];
    for (int64_t column = lane_index(); column < columns; column += warp_width) {
        const float score = scores[column], sign = column == 0 ? -1.0f : 1.0f;
        const float share = score == (float)EXCLUDED_LOGIT ? 0.0f : column == 0 ? power : 1.0f;
        const softplus term(sign * score);
        loss += share == 0.0f ? 0.0f : share * term.value;
        scores[column] = sign * weight * share * term.slope;
    }
    loss = warp_sum(loss);
    if (lane_index() == 0)
        losses[row] = loss;
}

void cuda_binary_cross_entropy(struct backend *backend, struct tensor *logits, struct tensor *losses,
                               const struct tensor *weights, float positive_power)
{
    const int64_t rows = logits->shape[0], columns = logits->shape[1];
    LAUNCH(backend, binary_cross_entropy_kernel, dim3(blocks_for(rows, ROWS)), dim3(THREADS), 0,
           data_of<float>(logits), data_of<float>(losses), data_of<float>(weights), positive_power, rows,
           columns);
}
