/*
 * softmax.cuh: the maximum and the sum of exponentials of a row, by one block, reading the row once.
 */
#ifndef IDREC_CUDA_SOFTMAX_CUH
#define IDREC_CUDA_SOFTMAX_CUH

#include "cuda/packs.cuh"
#include "cuda/warp.cuh"

/* e^x; on a GPU to about 2^-20 of the result. */
__device__ inline float exponential(float x)
{
#ifdef __CUDA_ARCH__
    return __expf(x);
#else
    return expf(x);
#endif
}

/* maximum and sum of e^(x - maximum) of the values taken so far; nothing taken: -infinity and 0. */
struct running_sum {
    float maximum, sum;
};

__device__ inline void take(struct running_sum &running, float value)
{
    if (value > running.maximum) {
        running.sum = running.sum * exponential(running.maximum - value) + 1.0f;
        running.maximum = value;
    } else if (value > -INFINITY) {
        running.sum += exponential(value - running.maximum);
    }
}

/* Of the whole block, the same in all its threads, in a fixed order. */
__device__ inline struct running_sum block_total(struct running_sum running)
{
    const float maximum = block_maximum(running.maximum);
    const float own =
        running.maximum > -INFINITY ? running.sum * exponential(running.maximum - maximum) : 0.0f;
    return {maximum, block_sum(own)};
}

#endif
