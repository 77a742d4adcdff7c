/*
 * sort.cuh: stable sort of 32-bit keys that carry 32-bit values: least significant digit first, 8 bits a pass
 * (Merrill and Grimshaw 2011, without look-back). The result does not depend on timing.
 */
#ifndef IDREC_CUDA_SORT_CUH
#define IDREC_CUDA_SORT_CUH

#include "cuda/device.cuh"

struct sorted_pairs {
    uint32_t *keys, *values;
};

/* Bits that numbers 0 .. maximum need, at least 1. */
inline int bits_of(uint64_t maximum)
{
    int bits = 1;
    while (maximum >>= 1)
        bits++;
    return bits;
}

/* Sorts by the lowest `bits` bits of the keys, ascending; equal keys keep their order. The result stands in keys and
 * values or in `memory`, which holds radix_sort_bytes(count), a multiple of 256, and what is not the result is lost.
 * 3 launches a pass, 5 beyond 16,384 pairs. count < 2^31. */
size_t radix_sort_bytes(int64_t count);
struct sorted_pairs radix_sort(struct backend *backend, uint32_t *keys, uint32_t *values, int64_t count,
                               int bits, void *memory);

/* The rows of a table that are named, ascending, each with where it was named, in that order; an index of -1 comes last,
 * as row `bound`. `memory` holds index_sort_bytes(count), a multiple of 256, and then the result. */
size_t index_sort_bytes(int64_t count);
struct sorted_pairs sort_indices(struct backend *backend, const int32_t *indices, int64_t count,
                                 int64_t bound, void *memory);

/* The first place from `low` on, up to `high`, whose key is not below `key`. */
__device__ inline int64_t first_place(const uint32_t *keys, uint32_t key, int64_t low, int64_t high)
{
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (keys[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

#endif
