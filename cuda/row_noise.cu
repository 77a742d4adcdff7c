#include "core/random_stream.h"

#include "cuda/device.cuh"
#include "cuda/warp.cuh"

/* Column c of a row takes word c % 64 / 16 of the Philox block c / 64 * 16 + c % 16, as on the CPU. 16 lanes share a
 * row: each draws its words twice, for the length and for the sum. */
enum { THREADS = 256, ROW_LANES = 16, WORDS = 4, GROUP_COLUMNS = ROW_LANES * WORDS };

struct noise_key {
    uint32_t seed[2], step, purpose; /* purpose: and site */
    float magnitude;
};

/* Calls body(column, u) for the columns of this lane. */
template <typename Body>
static __device__ void each_uniform(const struct noise_key &key, uint32_t row, int64_t columns, Body body)
{
    const uint32_t member = threadIdx.x % ROW_LANES;
    for (int64_t first = 0; first < columns; first += GROUP_COLUMNS) {
        const uint32_t counter[4] = {(uint32_t)(first / WORDS) + member, row, key.step, key.purpose};
        uint32_t words[WORDS];
        philox4x32(counter, key.seed, words);
#pragma unroll
        for (int word = 0; word < WORDS; word++) {
            const int64_t column = first + word * ROW_LANES + member;
            if (column < columns)
                body(column, (float)((words[word] >> 8) + 1) * 0x1.0p-24f);
        }
    }
}

__global__ void row_noise_kernel(float *out, const float *x, struct noise_key key, int64_t rows,
                                 int64_t columns)
{
    const int64_t row = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / ROW_LANES;
    const int64_t available = row < rows ? columns : 0;
    float squares = 0.0f;
    each_uniform(key, (uint32_t)row, available,
                 [&](int64_t, float uniform) { squares = fmaf(uniform, uniform, squares); });
#pragma unroll
    for (int mask = ROW_LANES / 2; mask > 0; mask /= 2)
        squares += lane_exchange(squares, mask);
    const float scale = key.magnitude / sqrtf(squares);
    each_uniform(key, (uint32_t)row, available, [&](int64_t column, float uniform) {
        const float value = x[row * columns + column];
        const float sign = value > 0.0f ? 1.0f : value < 0.0f ? -1.0f : 0.0f;
        out[row * columns + column] = fmaf(sign * scale, uniform, value);
    });
}

void cuda_row_noise(struct backend *backend, struct tensor *out, const struct tensor *x, float magnitude,
                    uint64_t seed, uint64_t step, uint64_t site)
{
    const int64_t rows = x->shape[0], columns = x->shape[1];
    const struct noise_key key = {{(uint32_t)seed, (uint32_t)(seed >> 32)},
                                  (uint32_t)step,
                                  (uint32_t)RANDOM_NOISE | (uint32_t)site << 8,
                                  magnitude};
    LAUNCH(backend, row_noise_kernel, dim3(blocks_for(rows, THREADS / ROW_LANES)), dim3(THREADS), 0,
           data_of<float>(out), data_of<float>(x), key, rows, columns);
}
