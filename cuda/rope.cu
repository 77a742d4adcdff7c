#include "cuda/device.cuh"
#include "cuda/packs.cuh"

enum { THREADS = 256, PAIRS = 8, HEADS = 4 };

/* The angle is reduced to a part of a turn in double precision, as positions are large and turns are not. */
__device__ static void rotation(float &cosine, float &sine, int32_t position, float frequency)
{
    constexpr double turns_per_radian = 0.15915494309189533577;
    const double turns = (double)position * (double)frequency * turns_per_radian;
    sincospif(2.0f * (float)(turns - rint(turns)), &sine, &cosine);
}

/* A thread turns PAIRS pairs of HEADS heads of a token; blockIdx.y goes over the heads. */
template <typename T, bool packed>
__global__ void rope_kernel(T *x, const int32_t *positions, const float *frequencies, int64_t tokens,
                            int heads, int half, float direction)
{
    const int chunks = (half + PAIRS - 1) / PAIRS;
    const int64_t index = blockIdx.x * (int64_t)THREADS + threadIdx.x, token = index / chunks;
    if (token >= tokens)
        return;
    const int first = (int)(index % chunks) * PAIRS;
    float cosine[PAIRS], sine[PAIRS];
#pragma unroll
    for (int i = 0; i < PAIRS; i++) {
        rotation(cosine[i], sine[i], positions[token], first + i < half ? frequencies[first + i] : 0.0f);
        sine[i] *= direction;
    }
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
        const int head = (int)blockIdx.y * HEADS + h;
        T *low = x + (token * heads + head) * 2 * half + first;
        float a[PAIRS], b[PAIRS], turned_a[PAIRS], turned_b[PAIRS];
        const int available = head < heads ? half - first : 0;
        load_values<packed>(a, low, available);
        load_values<packed>(b, low + half, available);
#pragma unroll
        for (int i = 0; i < PAIRS; i++) {
            turned_a[i] = a[i] * cosine[i] - b[i] * sine[i];
            turned_b[i] = b[i] * cosine[i] + a[i] * sine[i];
        }
        store_values<packed>(low, turned_a, available);
        store_values<packed>(low + half, turned_b, available);
    }
}

static void rotate(struct backend *backend, struct tensor *x, const struct tensor *positions,
                   const struct tensor *frequencies, int64_t head_width, float direction)
{
    const int64_t tokens = x->shape[0], heads = x->shape[1] / head_width, half = head_width / 2;
    if (tokens * heads == 0)
        return;
    const dim3 grid(blocks_for(tokens * ((half + PAIRS - 1) / PAIRS), THREADS), blocks_for(heads, HEADS));
    BY_STORAGE(x, BY_ACCESS(half % pack_width<T> == 0 && aligned(x), {
                   LAUNCH(backend, (rope_kernel<T, packed>), grid, dim3(THREADS), 0, data_of<T>(x),
                          data_of<int32_t>(positions), data_of<float>(frequencies), tokens, (int)heads,
                          (int)half, direction);
               }););
}

void cuda_rope_forward(struct backend *backend, struct tensor *x, const struct tensor *positions,
                       const struct tensor *frequencies, int64_t head_width)
{
    rotate(backend, x, positions, frequencies, head_width, 1.0f);
}

void cuda_rope_backward(struct backend *backend, struct tensor *d_x, const struct tensor *positions,
                        const struct tensor *frequencies, int64_t head_width)
{
    rotate(backend, d_x, positions, frequencies, head_width, -1.0f);
}
