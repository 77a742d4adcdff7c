#include "cuda/device.cuh"
#include "cuda/packs.cuh"
#include "cuda/warp.cuh"

enum { THREADS = 256, SQUARES_BLOCKS = 1024, WIDTH = 4, TILE = THREADS * WIDTH };

/* results[block] = its tiles' sum of squares; a block that is alone adds to the result. */
template <bool packed> __global__ void squares_kernel(double *results, const float *x, int64_t count)
{
    double sum = 0.0;
    for (int64_t first = (blockIdx.x * (int64_t)THREADS + threadIdx.x) * WIDTH; first < count;
         first += (int64_t)gridDim.x * TILE) {
        float values[WIDTH];
        load_values<packed>(values, x + first, count - first);
#pragma unroll
        for (int i = 0; i < WIDTH; i++)
            sum = fma((double)values[i], (double)values[i], sum);
    }
    const double total = block_sum(sum);
    if (threadIdx.x == 0)
        results[blockIdx.x] = gridDim.x == 1 ? results[0] + total : total;
}

__global__ void add_squares_kernel(double *result, const double *partial, int count)
{
    double sum = 0.0;
    for (int i = (int)threadIdx.x; i < count; i += (int)blockDim.x)
        sum += partial[i];
    const double total = block_sum(sum);
    if (threadIdx.x == 0)
        *result += total;
}

/* The number of blocks, hence the order of summation, follows from the count alone. */
void cuda_sum_of_squares(struct backend *backend, struct tensor *sum, const struct tensor *x)
{
    const int64_t count = tensor_count(x);
    const unsigned wanted = blocks_for(count, 4 * TILE);
    const unsigned blocks = wanted < SQUARES_BLOCKS ? wanted : (unsigned)SQUARES_BLOCKS;
    double *partial = blocks == 1
                          ? data_of<double>(sum)
                          : static_cast<double *>(cuda_workspace(backend, SQUARES_BLOCKS * sizeof(double)));
    if (!partial)
        return;
    BY_ACCESS(packs_fit<float>(x->data, count), {
        LAUNCH(backend, (squares_kernel<packed>), dim3(blocks), dim3(THREADS), 0, partial, data_of<float>(x),
               count);
    });
    if (blocks > 1)
        LAUNCH(backend, add_squares_kernel, dim3(1), dim3(THREADS), 0, data_of<double>(sum), partial,
               (int)blocks);
}

__global__ void clip_scale_kernel(float *scale, const double *sum, double maximum)
{
    const double norm = sqrt(*sum);
    if (threadIdx.x == 0)
        *scale = maximum > 0.0 && norm > maximum ? (float)(maximum / norm) : 1.0f;
}

void cuda_clip_scale(struct backend *backend, struct tensor *scale, const struct tensor *sum, float maximum)
{
    LAUNCH(backend, clip_scale_kernel, dim3(1), dim3(32), 0, data_of<float>(scale), data_of<double>(sum),
           (double)maximum);
}

/* What a step multiplies with, from its settings. */
struct adamw_factors {
    float beta1, beta2, one_minus_beta1, one_minus_beta2;
    float rate;      /* learning rate / (1 - beta1^step) */
    float deviation; /* 1 / sqrt(1 - beta2^step) */
    float decay;     /* 1 - learning rate * weight decay */
    float epsilon;
};

static struct adamw_factors factors_of(const struct adamw &settings)
{
    const double beta1 = (double)settings.beta1, beta2 = (double)settings.beta2;
    const double rate = (double)settings.learning_rate, step = (double)settings.step;
    return {settings.beta1,
            settings.beta2,
            (float)(1.0 - beta1),
            (float)(1.0 - beta2),
            (float)(rate / (1.0 - pow(beta1, step))),
            (float)(1.0 / sqrt(1.0 - pow(beta2, step))),
            (float)(1.0 - rate * (double)settings.weight_decay),
            settings.epsilon};
}

template <bool packed>
__global__ void adamw_kernel(float *weight, const float *gradient, float *first_moment, float *second_moment,
                             const float *scale, struct adamw_factors by, int64_t count)
{
    const int64_t first = (blockIdx.x * (int64_t)THREADS + threadIdx.x) * WIDTH;
    const int64_t available = count - first;
    const float factor = scale ? *scale : 1.0f;
    float w[WIDTH], g[WIDTH], m[WIDTH], v[WIDTH];
    load_values<packed>(w, weight + first, available);
    load_values<packed>(g, gradient + first, available);
    load_values<packed>(m, first_moment + first, available);
    load_values<packed>(v, second_moment + first, available);
#pragma unroll
    for (int i = 0; i < WIDTH; i++) {
        g[i] *= factor;
        m[i] = fmaf(by.beta1, m[i], by.one_minus_beta1 * g[i]);
        v[i] = fmaf(by.beta2, v[i], by.one_minus_beta2 * g[i] * g[i]);
        w[i] = w[i] * by.decay - by.rate * m[i] / (sqrtf(v[i]) * by.deviation + by.epsilon);
    }
    store_values<packed>(weight + first, w, available);
    store_values<packed>(first_moment + first, m, available);
    store_values<packed>(second_moment + first, v, available);
}

void cuda_adamw(struct backend *backend, struct tensor *weight, const struct tensor *gradient,
                struct tensor *first_moment, struct tensor *second_moment, const struct tensor *scale,
                struct adamw settings)
{
    const int64_t count = tensor_count(weight);
    const struct adamw_factors factors = factors_of(settings);
    BY_ACCESS(packs_fit<float>(weight->data, count) && aligned(gradient, first_moment, second_moment), {
        LAUNCH(backend, (adamw_kernel<packed>), dim3(blocks_for(count, TILE)), dim3(THREADS), 0,
               data_of<float>(weight), data_of<float>(gradient), data_of<float>(first_moment),
               data_of<float>(second_moment), data_of<float>(scale), factors, count);
    });
}
