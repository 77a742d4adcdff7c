/*
 * portable.cuh: what kernels are written with, so that one source runs on a GPU (nvcc) and, in the tests, on the
 * host (g++ with tests/host_cuda.h, where a CUDA thread is a fiber).
 *
 * Rules that portable kernels keep:
 *   - they start only through LAUNCH; shared memory comes only from SHARED_ARRAY and DYNAMIC_SHARED;
 *   - lanes exchange values only by the functions of warp.cuh, all 32 of them together;
 *   - blocks have a multiple of 32 threads, and no thread returns before a barrier that others reach;
 *   - no float atomics; no inline PTX but that of mma.cuh, whose functions have a twin on the host. Kernels on tensor
 *     cores stand in files of their own (*_tensor_core.cu), beside a portable one that does the same.
 */
#ifndef IDREC_CUDA_PORTABLE_CUH
#define IDREC_CUDA_PORTABLE_CUH

#include <math.h>
#include <stdint.h>

#ifdef IDREC_HOST_CUDA
#include "tests/host_cuda.h"
#else
#include <cuda_bf16.h>
#include <cuda_runtime.h>

/* Aligned for the widest access, packs.cuh's. */
#define SHARED_ARRAY(type, name, count) __shared__ __align__(16) type name[count]
#define DYNAMIC_SHARED(type, name)                                                                           \
    extern __shared__ __align__(16) unsigned char idrec_dynamic_shared[];                                    \
    type *name = reinterpret_cast<type *>(idrec_dynamic_shared)
#endif

/* ---- storage types ------------------------------------------------------------------------------------- */

/* The upper half of a float (sign, 8 bits of exponent, 7 of mantissa). Arithmetic is done in f32. */
struct bf16 {
    uint16_t bits;
};

__device__ inline float as_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

__device__ inline uint32_t as_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

__device__ inline float to_float(float value)
{
    return value;
}

__device__ inline float to_float(bf16 value)
{
    return as_float((uint32_t)value.bits << 16);
}

/* from_float<T>: rounded to nearest, ties to even; not-a-number stays so. */
template <typename T> __device__ inline T from_float(float value);

template <> __device__ inline float from_float<float>(float value)
{
    return value;
}

template <> __device__ inline bf16 from_float<bf16>(float value)
{
#ifdef __CUDA_ARCH__
    return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
#else
    const uint32_t bits = as_bits(value);
    if (value != value)
        return {(uint16_t)0x7FFF};
    return {(uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16)};
#endif
}

/* Count elements that are loaded and stored by one instruction; the address must be a multiple of the size. */
template <typename T, int Count> struct alignas(sizeof(T) * Count) pack {
    T value[Count];
};

/* Elements of T in the widest access, 16 bytes. */
template <typename T> constexpr int pack_width = 16 / (int)sizeof(T);

/* How many elements at a time `columns` of T allow, from rows that start at `pointer`. */
template <typename T> inline bool packs_fit(const void *pointer, int64_t columns)
{
    return columns % pack_width<T> == 0 && (uintptr_t)pointer % 16 == 0;
}

#endif
