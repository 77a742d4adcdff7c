/*
 * warp.cuh: everything that passes between the lanes of a warp or the threads of a block. Every lane of the warp
 * (every thread of the block) must call; results are the same in all of them and do not depend on timing.
 */
#ifndef IDREC_CUDA_WARP_CUH
#define IDREC_CUDA_WARP_CUH

#include "cuda/portable.cuh"

constexpr int warp_width = 32;
constexpr unsigned all_lanes = 0xFFFFFFFFu;

__device__ inline int lane_index()
{
    return (int)(threadIdx.x % warp_width);
}

__device__ inline int warp_index()
{
    return (int)(threadIdx.x / warp_width);
}

template <typename T> __device__ inline T lane_broadcast(T value, int from)
{
    return __shfl_sync(all_lanes, value, from);
}

template <typename T> __device__ inline T lane_exchange(T value, int mask)
{
    return __shfl_xor_sync(all_lanes, value, mask);
}

template <typename T> __device__ inline T warp_sum(T value)
{
#pragma unroll
    for (int mask = warp_width / 2; mask > 0; mask /= 2)
        value += lane_exchange(value, mask);
    return value;
}

template <typename T> __device__ inline T warp_maximum(T value)
{
#pragma unroll
    for (int mask = warp_width / 2; mask > 0; mask /= 2) {
        const T other = lane_exchange(value, mask);
        value = value > other ? value : other;
    }
    return value;
}

/* The sum over lanes 0 .. own lane. */
template <typename T> __device__ inline T warp_prefix_sum(T value)
{
#pragma unroll
    for (int distance = 1; distance < warp_width; distance *= 2) {
        const T other = __shfl_up_sync(all_lanes, value, (unsigned)distance);
        if (lane_index() >= distance)
            value += other;
    }
    return value;
}

__device__ inline unsigned warp_ballot(bool predicate)
{
    return __ballot_sync(all_lanes, predicate);
}

/* The sum over the block, in a fixed order. May be called again and again: it begins and ends with a barrier. */
template <typename T> __device__ inline T block_sum(T value)
{
    SHARED_ARRAY(T, partial, warp_width);
    const int warps = (int)(blockDim.x / warp_width);
    value = warp_sum(value);
    __syncthreads();
    if (lane_index() == 0)
        partial[warp_index()] = value;
    __syncthreads();
    return warp_sum(lane_index() < warps ? partial[lane_index()] : T(0));
}

template <typename T> __device__ inline T block_maximum(T value)
{
    SHARED_ARRAY(T, partial, warp_width);
    const int warps = (int)(blockDim.x / warp_width);
    value = warp_maximum(value);
    __syncthreads();
    if (lane_index() == 0)
        partial[warp_index()] = value;
    __syncthreads();
    return warp_maximum(lane_index() < warps ? partial[lane_index()] : partial[0]);
}

#endif
