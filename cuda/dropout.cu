#include "core/random_stream.h"

#include "cuda/device.cuh"
#include "cuda/packs.cuh"
#include "cuda/warp.cuh"

/* Column c of a row takes half word c % 128 / 16 of the Philox block c / 128 * 16 + c % 16, as on the CPU. 16 lanes
 * draw the blocks of 128 columns, exchange the decisions and take 8 neighbouring columns each. */
enum { THREADS = 256, DECISIONS = 8, GROUP_LANES = 16, GROUP_COLUMNS = DECISIONS * GROUP_LANES };

struct dropout_key {
    uint32_t seed[2], step, site, first_row, threshold;
    float scale;
};

/* Bit i: whether column 8 * (lane % 16) + i of the group is kept. All lanes of the warp call. */
static __device__ unsigned kept_columns(const struct dropout_key &key, uint32_t group, uint32_t row)
{
    const unsigned lane = (unsigned)lane_index(), member = lane % GROUP_LANES;
    const uint32_t counter[4] = {group * GROUP_LANES + member, row, key.step,
                                 (uint32_t)RANDOM_DROPOUT | key.site << 8};
    uint32_t words[4];
    philox4x32(counter, key.seed, words);
    unsigned kept = 0;
#pragma unroll
    for (int decision = 0; decision < DECISIONS; decision++) {
        const uint32_t half = words[decision / 2] >> 16 * (decision % 2) & 0xFFFFu;
        const unsigned ballot = warp_ballot(half >= key.threshold);
        if (member / 2 == (unsigned)decision)
            kept = ballot;
    }
    return kept >> (lane / GROUP_LANES * GROUP_LANES + member % 2 * DECISIONS);
}

template <typename T, bool packed>
__global__ void dropout_kernel(T *out, const T *x, struct dropout_key key, uint32_t rows, int64_t columns,
                               uint32_t groups)
{
    const uint32_t number = (blockIdx.x * blockDim.x + threadIdx.x) / GROUP_LANES;
    const uint32_t row = number / groups, group = number % groups;
    const unsigned kept = kept_columns(key, group, key.first_row + row);
    const int64_t column = (int64_t)group * GROUP_COLUMNS + threadIdx.x % GROUP_LANES * DECISIONS;
    const int64_t available = row < rows ? columns - column : 0;
    float values[DECISIONS];
    load_values<packed>(values, x + row * columns + column, available);
#pragma unroll
    for (int i = 0; i < DECISIONS; i++)
        values[i] = kept >> i & 1u ? values[i] * key.scale : 0.0f;
    store_values<packed>(out + row * columns + column, values, available);
}

void cuda_dropout(struct backend *backend, struct tensor *out, const struct tensor *x, float probability,
                  uint64_t seed, uint64_t step, uint64_t site, int64_t first_row)
{
    const int64_t columns = x->shape[x->rank - 1], rows = columns > 0 ? tensor_count(x) / columns : 0;
    if (rows == 0)
        return;
    const uint32_t threshold = (uint32_t)lrintf(probability * 65536.0f);
    const struct dropout_key key = {{(uint32_t)seed, (uint32_t)(seed >> 32)},
                                    (uint32_t)step,
                                    (uint32_t)site,
                                    (uint32_t)first_row,
                                    threshold,
                                    (float)(65536.0 / (65536.0 - (double)threshold))};
    const int64_t groups = blocks_for(columns, GROUP_COLUMNS);
    BY_STORAGE(x, BY_ACCESS(packs_fit<T>(x->data, columns) && aligned(out), {
                   LAUNCH(backend, (dropout_kernel<T, packed>),
                          dim3(blocks_for(rows * groups, THREADS / GROUP_LANES)), dim3(THREADS), 0,
                          data_of<T>(out), data_of<T>(x), key, (uint32_t)rows, columns, (uint32_t)groups);
               }););
}
