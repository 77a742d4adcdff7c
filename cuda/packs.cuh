/*
 * packs.cuh: values of f32 or bf16 storage in registers as f32, by 16-byte accesses where addresses allow them. Kernels
 * give the same element to the same thread with and without packs, so that bits do not depend on the alignment.
 */
#ifndef IDREC_CUDA_PACKS_CUH
#define IDREC_CUDA_PACKS_CUH

#include "core/tensor.h"
#include "cuda/portable.cuh"

/* Count values that start at `from`; those at and beyond `available` (it may be negative) are 0 and are not read.
 * packed: `from` is a multiple of 16 bytes (or of Count elements, where these are fewer), and a pack that begins
 * below `available` is read whole. */
template <bool packed, int Count, typename T>
__device__ inline void load_values(float (&values)[Count], const T *from, int64_t available)
{
    constexpr int width = !packed ? 1 : Count < pack_width<T> ? Count : pack_width<T>;
#pragma unroll
    for (int first = 0; first < Count; first += width) {
        pack<T, width> loaded = {};
        if (first < available)
            loaded = *reinterpret_cast<const pack<T, width> *>(from + first);
#pragma unroll
        for (int i = 0; i < width; i++)
            values[first + i] = to_float(loaded.value[i]);
    }
}

/* The same the other way; nothing is written at and beyond `available`. */
template <bool packed, int Count, typename T>
__device__ inline void store_values(T *to, const float (&values)[Count], int64_t available)
{
    constexpr int width = !packed ? 1 : Count < pack_width<T> ? Count : pack_width<T>;
#pragma unroll
    for (int first = 0; first < Count; first += width) {
        pack<T, width> stored;
#pragma unroll
        for (int i = 0; i < width; i++)
            stored.value[i] = from_float<T>(values[first + i]);
        if (first < available)
            *reinterpret_cast<pack<T, width> *>(to + first) = stored;
    }
}

/* Whether all of the tensors begin at a multiple of 16 bytes. */
template <typename... Tensors> inline bool aligned(const Tensors *...tensors)
{
    return (((uintptr_t)tensors->data % 16 == 0) && ...);
}

/* The smallest power of two of lanes that hold `packs`, up to a warp. */
inline int lanes_for(int64_t packs)
{
    int lanes = 1;
    while (lanes < 32 && lanes < packs)
        lanes *= 2;
    return lanes;
}

/* Runs the statement with the constant `packed`: BY_ACCESS(aligned(x), { LAUNCH(backend, (kernel<packed>), ...); }) */
#define BY_ACCESS(fits, ...)                                                                                 \
    do {                                                                                                     \
        if (fits) {                                                                                          \
            constexpr bool packed = true;                                                                    \
            __VA_ARGS__                                                                                      \
        } else {                                                                                             \
            constexpr bool packed = false;                                                                   \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    } while (0)

#endif
