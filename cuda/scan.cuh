/*
 * scan.cuh: prefix sums of counts, of a block and of an array of any length.
 */
#ifndef IDREC_CUDA_SCAN_CUH
#define IDREC_CUDA_SCAN_CUH

#include "cuda/device.cuh"
#include "cuda/warp.cuh"

/* The sum of `value` over the threads of the block before this one; *total: over all of them. All threads call; it
 * begins and ends with a barrier, as block_sum. */
template <typename T> __device__ inline T block_exclusive_sum(T value, T *total)
{
    SHARED_ARRAY(T, warp_totals, warp_width);
    const int warps = (int)(blockDim.x / warp_width);
    const T inclusive = warp_prefix_sum(value);
    __syncthreads();
    if (lane_index() == warp_width - 1)
        warp_totals[warp_index()] = inclusive;
    __syncthreads();
    const T of_warp = lane_index() < warps ? warp_totals[lane_index()] : T(0);
    const T totals = warp_prefix_sum(of_warp);
    *total = lane_broadcast(totals, warp_width - 1);
    return lane_broadcast(totals - of_warp, warp_index()) + inclusive - value;
}

/* In place: values[i] becomes the sum of values[0 .. i - 1]. With one value more than there are counts, the last
 * becomes the total. Sums are modulo 2^32. `memory` holds exclusive_scan_bytes(count), a multiple of 256. */
size_t exclusive_scan_bytes(int64_t count);
void exclusive_scan(struct backend *backend, uint32_t *values, int64_t count, void *memory);

#endif
