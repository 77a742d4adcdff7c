#include "cuda/device.cuh"

enum { THREADS = 256, BLOCKS_OF_A_SLOT = 16 };

/* Blocks go over pairs of slots (x) and parts of a slot (y). */
template <typename Pack>
__global__ void cache_share_kernel(Pack *cache, const int32_t *to, const int32_t *from, const int32_t *begins,
                                   const int32_t *ends, int64_t capacity, int64_t width)
{
    const int64_t pair = blockIdx.x, slot = capacity * width, end = ends[pair] * width;
    Pack *target = cache + to[pair] * slot;
    const Pack *source = cache + from[pair] * slot;
    for (int64_t i = begins[pair] * width + (int64_t)blockIdx.y * THREADS + threadIdx.x; i < end;
         i += (int64_t)gridDim.y * THREADS)
        target[i] = source[i];
}

template <typename T, int width>
static void share(struct backend *backend, struct tensor *cache, const struct tensor *to,
                  const struct tensor *from, const struct tensor *begins, const struct tensor *ends,
                  int64_t capacity)
{
    LAUNCH(backend, (cache_share_kernel<pack<T, width>>), dim3((unsigned)to->shape[0], BLOCKS_OF_A_SLOT),
           dim3(THREADS), 0, (data_of<pack<T, width>>(cache)), data_of<int32_t>(to), data_of<int32_t>(from),
           data_of<int32_t>(begins), data_of<int32_t>(ends), capacity, cache->shape[1] / width);
}

void cuda_cache_share(struct backend *backend, struct tensor *cache, const struct tensor *to,
                      const struct tensor *from, const struct tensor *begins, const struct tensor *ends,
                      int64_t capacity)
{
    if (to->shape[0] == 0)
        return;
    BY_STORAGE(cache, {
        if (packs_fit<T>(cache->data, cache->shape[1]))
            share<T, pack_width<T>>(backend, cache, to, from, begins, ends, capacity);
        else
            share<T, 1>(backend, cache, to, from, begins, ends, capacity);
    });
}
