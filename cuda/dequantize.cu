#include "cuda/device.cuh"
#include "cuda/packs.cuh"

extern "C" {
#include "core/quantize.h"
}

/* A thread reads WIDTH numbers, all of one block. */
enum { THREADS = 256, WIDTH = 8 };
static_assert(QUANTIZED_BLOCK % WIDTH == 0 && QUANTIZED_ALIGNMENT % WIDTH == 0, "a pack has one absmax");

struct nf4_values {
    float value[NF4_COUNT];
};

/* The codes' bytes are padded, so that a pack that begins below `count` may be read whole. packed: it is at a multiple of its
 * size. */
template <bool packed, int Count>
__device__ inline pack<unsigned char, Count> load_codes(const unsigned char *from)
{
    constexpr int width = packed ? Count : 1;
    pack<unsigned char, Count> loaded;
#pragma unroll
    for (int first = 0; first < Count; first += width)
        *reinterpret_cast<pack<unsigned char, width> *>(loaded.value + first) =
            *reinterpret_cast<const pack<unsigned char, width> *>(from + first);
    return loaded;
}

template <typename T, bool packed>
__global__ void int8_kernel(T *out, const unsigned char *codes, const float *absmax, int64_t count)
{
    const int64_t first = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * WIDTH;
    if (first >= count)
        return;
    const auto loaded = load_codes<packed, WIDTH>(codes + first);
    const float scale = absmax[first / QUANTIZED_BLOCK];
    float values[WIDTH];
#pragma unroll
    for (int i = 0; i < WIDTH; i++)
        values[i] = (float)(signed char)loaded.value[i] * scale * (1.0f / 127.0f);
    store_values<packed>(out + first, values, count - first);
}

template <typename T, bool packed>
__global__ void nf4_kernel(T *out, const unsigned char *codes, const float *absmax, struct nf4_values table,
                           int64_t count)
{
    SHARED_ARRAY(float, shared_table, NF4_COUNT);
    const int64_t first = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * WIDTH;
    if (threadIdx.x < NF4_COUNT)
        shared_table[threadIdx.x] = table.value[threadIdx.x];
    __syncthreads();
    if (first >= count)
        return;
    const auto loaded = load_codes<packed, WIDTH / 2>(codes + first / 2);
    const float scale = absmax[first / QUANTIZED_BLOCK];
    float values[WIDTH];
#pragma unroll
    for (int i = 0; i < WIDTH; i++)
        values[i] = shared_table[i % 2 ? loaded.value[i / 2] & 15 : loaded.value[i / 2] >> 4] * scale;
    store_values<packed>(out + first, values, count - first);
}

template <typename T, bool packed>
static void dequantize(struct backend *backend, struct tensor *out, const struct tensor *x)
{
    const int64_t count = tensor_count(x);
    const dim3 grid(blocks_for(count, THREADS * WIDTH)), block(THREADS);
    const char *codes = data_of<char>(x);
    const float *absmax = reinterpret_cast<const float *>(codes + quantized_code_bytes(x->dtype, count));
    if (x->dtype == DTYPE_INT8) {
        LAUNCH(backend, (int8_kernel<T, packed>), grid, block, 0, data_of<T>(out), data_of<unsigned char>(x),
               absmax, count);
        return;
    }
    struct nf4_values table;
    for (int i = 0; i < NF4_COUNT; i++)
        table.value[i] = NF4_VALUES[i];
    LAUNCH(backend, (nf4_kernel<T, packed>), grid, block, 0, data_of<T>(out), data_of<unsigned char>(x),
           absmax, table, count);
}

void cuda_dequantize(struct backend *backend, struct tensor *out, const struct tensor *x)
{
    const bool fits = (uintptr_t)x->data % WIDTH == 0;
    BY_STORAGE(out, BY_ACCESS(fits && packs_fit<T>(out->data, tensor_count(out)),
                              { dequantize<T, packed>(backend, out, x); }););
}
