#include "cuda/sort.cuh"

#include "cuda/scan.cuh"
#include "cuda/warp.cuh"

enum {
    THREADS = 256,
    WARPS = THREADS / warp_width,
    ITEMS = 4,
    TILE = THREADS * ITEMS,
    DIGIT_BITS = 8,
    DIGITS = 1 << DIGIT_BITS
};
static_assert(DIGITS == THREADS, "a thread keeps the count of a digit");

static __device__ uint32_t digit_of(uint32_t key, int shift)
{
    return key >> shift & (DIGITS - 1);
}

/* counts[digit, tile] of the keys of a tile; one block a tile. */
__global__ void count_digits_kernel(uint32_t *counts, const uint32_t *keys, int64_t count, int shift)
{
    SHARED_ARRAY(uint32_t, histogram, DIGITS);
    histogram[threadIdx.x] = 0;
    __syncthreads();
    const int64_t first = (int64_t)blockIdx.x * TILE + threadIdx.x;
#pragma unroll
    for (int item = 0; item < ITEMS; item++) {
        const int64_t place = first + item * THREADS;
        if (place < count)
            atomicAdd(&histogram[digit_of(keys[place], shift)], 1u);
    }
    __syncthreads();
    counts[(int64_t)threadIdx.x * gridDim.x + blockIdx.x] = histogram[threadIdx.x];
}

/* The lanes whose digit is that of the calling one, among the valid. */
static __device__ unsigned lanes_alike(uint32_t digit, bool valid)
{
    unsigned alike = warp_ballot(valid);
#pragma unroll
    for (int bit = 0; bit < DIGIT_BITS; bit++) {
        const bool set = digit >> bit & 1u;
        const unsigned ballot = warp_ballot(set);
        alike &= set ? ballot : ~ballot;
    }
    return alike;
}

/* Moves the pairs of a tile to where `offsets` [digit, tile] say that its keys of a digit begin. A warp takes
 * neighbouring keys, 32 at a time, and counts in shared memory how many of each digit it has seen. */
__global__ void move_pairs_kernel(struct sorted_pairs to, struct sorted_pairs from, const uint32_t *offsets,
                                  int64_t count, int shift)
{
    SHARED_ARRAY(uint32_t, seen, WARPS * DIGITS);
    uint32_t *const own_seen = seen + warp_index() * DIGITS;
    const int64_t first = (int64_t)blockIdx.x * TILE + warp_index() * (ITEMS * warp_width) + lane_index();
    for (int digit = lane_index(); digit < DIGITS; digit += warp_width)
        own_seen[digit] = 0;
    __syncwarp();
    uint32_t keys[ITEMS], ranks[ITEMS];
#pragma unroll
    for (int item = 0; item < ITEMS; item++) {
        const bool valid = first + item * warp_width < count;
        keys[item] = valid ? from.keys[first + item * warp_width] : 0;
        const uint32_t digit = digit_of(keys[item], shift);
        const unsigned alike = lanes_alike(digit, valid), before = alike & ((1u << lane_index()) - 1);
        ranks[item] = own_seen[digit] + (uint32_t)__popc(before);
        __syncwarp();
        if (valid && before == 0)
            own_seen[digit] += (uint32_t)__popc(alike);
        __syncwarp();
    }
    __syncthreads();
    uint32_t next = offsets[(int64_t)threadIdx.x * gridDim.x + blockIdx.x];
#pragma unroll
    for (int warp = 0; warp < WARPS; warp++) {
        const uint32_t of_warp = seen[warp * DIGITS + threadIdx.x];
        seen[warp * DIGITS + threadIdx.x] = next;
        next += of_warp;
    }
    __syncthreads();
#pragma unroll
    for (int item = 0; item < ITEMS; item++) {
        const int64_t place = first + item * warp_width;
        if (place >= count)
            continue;
        const uint32_t target = own_seen[digit_of(keys[item], shift)] + ranks[item];
        to.keys[target] = keys[item];
        to.values[target] = from.values[place];
    }
}

static size_t list_bytes(int64_t count)
{
    return ((size_t)count * sizeof(uint32_t) + 255) / 256 * 256;
}

static int64_t count_of_counts(int64_t count)
{
    return DIGITS * (int64_t)blocks_for(count, TILE);
}

size_t radix_sort_bytes(int64_t count)
{
    const int64_t counts = count_of_counts(count);
    return 2 * list_bytes(count) + list_bytes(counts) + exclusive_scan_bytes(counts);
}

struct sorted_pairs radix_sort(struct backend *backend, uint32_t *keys, uint32_t *values, int64_t count,
                               int bits, void *memory)
{
    const int64_t counts = count_of_counts(count);
    const dim3 tiles(blocks_for(count, TILE));
    unsigned char *next = static_cast<unsigned char *>(memory);
    struct sorted_pairs from = {keys, values};
    struct sorted_pairs to = {reinterpret_cast<uint32_t *>(next),
                              reinterpret_cast<uint32_t *>(next + list_bytes(count))};
    uint32_t *offsets = reinterpret_cast<uint32_t *>(next + 2 * list_bytes(count));
    void *scan_memory = next + 2 * list_bytes(count) + list_bytes(counts);
    for (int shift = 0; shift < bits; shift += DIGIT_BITS) {
        LAUNCH(backend, count_digits_kernel, tiles, dim3(THREADS), 0, offsets, from.keys, count, shift);
        exclusive_scan(backend, offsets, counts, scan_memory);
        LAUNCH(backend, move_pairs_kernel, tiles, dim3(THREADS), 0, to, from, offsets, count, shift);
        const struct sorted_pairs sorted = to;
        to = from;
        from = sorted;
    }
    return from;
}

__global__ void number_indices_kernel(uint32_t *keys, uint32_t *places, const int32_t *indices, int64_t count,
                                      uint32_t bound)
{
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count)
        return;
    keys[i] = indices[i] < 0 ? bound : (uint32_t)indices[i];
    places[i] = (uint32_t)i;
}

size_t index_sort_bytes(int64_t count)
{
    return 2 * list_bytes(count) + radix_sort_bytes(count);
}

struct sorted_pairs sort_indices(struct backend *backend, const int32_t *indices, int64_t count,
                                 int64_t bound, void *memory)
{
    unsigned char *next = static_cast<unsigned char *>(memory);
    uint32_t *keys = reinterpret_cast<uint32_t *>(next);
    uint32_t *places = reinterpret_cast<uint32_t *>(next + list_bytes(count));
    LAUNCH(backend, number_indices_kernel, dim3(blocks_for(count, THREADS)), dim3(THREADS), 0, keys, places,
           indices, count, (uint32_t)bound);
    return radix_sort(backend, keys, places, count, bits_of((uint64_t)bound), next + 2 * list_bytes(count));
}
