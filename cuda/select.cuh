/*
 * select.cuh: the best of a row, found by one block. A candidate is a score with its column in an integer that descends
 * in the order "score descending, column ascending, NaN last"; all candidates of a row differ.
 */
#ifndef IDREC_CUDA_SELECT_CUH
#define IDREC_CUDA_SELECT_CUH

#include "cuda/packs.cuh"
#include "cuda/scan.cuh"
#include "cuda/warp.cuh"

typedef unsigned long long candidate; /* what atomicAdd takes */

/* Ascends with the score; 0 for NaN; -0 is taken for 0. */
__device__ inline uint32_t key_of_score(float score)
{
    const uint32_t sign = 1u << 31, bits = as_bits(score + 0.0f);
    return score != score ? 0 : bits & sign ? ~bits : bits | sign;
}

/* Never 0. */
__device__ inline candidate candidate_of(float score, int64_t column)
{
    return (candidate)key_of_score(score) << 32 | (uint32_t) ~(uint32_t)column;
}

__device__ inline int32_t candidate_column(candidate c)
{
    return (int32_t) ~(uint32_t)c;
}

__device__ inline uint32_t candidate_key(candidate c)
{
    return (uint32_t)(c >> 32);
}

/* The smallest power of two that is not below `count`. */
__device__ inline int padded_length(int count)
{
    int power = 1;
    while (power < count)
        power *= 2;
    return power;
}

/* Batcher's bitonic sort in shared memory, descending. The list has room for padded_length(count); what is behind count
 * is overwritten with 0. Begins and ends with a barrier. */
__device__ inline void block_sort(candidate *list, int count)
{
    const int length = padded_length(count);
    for (int i = count + (int)threadIdx.x; i < length; i += (int)blockDim.x)
        list[i] = 0;
    for (int size = 2; size <= length; size *= 2)
        for (int distance = size / 2; distance > 0; distance /= 2) {
            __syncthreads();
            for (int pair = (int)threadIdx.x; pair < length / 2; pair += (int)blockDim.x) {
                const int low = 2 * pair - (pair & (distance - 1)), high = low + distance;
                const bool descends = (low & size) == 0;
                const candidate a = list[low], b = list[high];
                if ((a < b) == descends) {
                    list[low] = b;
                    list[high] = a;
                }
            }
        }
    __syncthreads();
}

/* Where a running sum reaches a goal: the first element at which it is not below, and the sum before that. */
struct crossing {
    int index;
    unsigned long long before;
};

/* Over measure(0) .. measure(count - 1), whose sum is at least `goal` >= 1. The same in all threads; begins and ends with
 * a barrier. */
template <typename Measure>
__device__ struct crossing block_find(int count, Measure measure, unsigned long long goal)
{
    SHARED_ARRAY(struct crossing, found, 1);
    const int share = (count + (int)blockDim.x - 1) / (int)blockDim.x, first = (int)threadIdx.x * share;
    const int end = first + share < count ? first + share : count;
    unsigned long long own = 0, total;
    __syncthreads();
    for (int i = first; i < end; i++)
        own += measure(i);
    unsigned long long sum = block_exclusive_sum(own, &total);
    if (sum < goal && goal <= sum + own) {
        int index = first;
        for (; sum + measure(index) < goal; index++)
            sum += measure(index);
        *found = {index, sum};
    }
    __syncthreads();
    return *found;
}

/* Candidates that share their upper bits, and what is ahead of them. */
struct candidate_range {
    candidate prefix; /* the bits above the lowest `open_bits` */
    int open_bits;    /* 64: all candidates */
    unsigned count;
    unsigned long long before; /* the measure of the candidates that are ahead of the range */
};

__device__ inline bool is_within(const struct candidate_range &range, candidate c)
{
    return range.open_bits == 64 || c >> range.open_bits == range.prefix;
}

/* The least candidate that the range may hold. */
__device__ inline candidate least_of(const struct candidate_range &range)
{
    return range.open_bits == 64 ? 0 : range.prefix << range.open_bits;
}

/* Narrows the range, 8 bits a pass over the row, until at most `room` >= 1 candidates are left in the part in which the
 * measure reaches `goal`. visit(body) calls body(candidate, measure) for the candidates of the thread. */
template <typename Visit>
__device__ void block_narrow(struct candidate_range &range, unsigned room, unsigned long long goal,
                             Visit visit)
{
    enum { DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS };
    SHARED_ARRAY(unsigned long long, measures, DIGITS);
    SHARED_ARRAY(unsigned, counts, DIGITS);
    while (range.count > room) {
        const int open_bits = range.open_bits - DIGIT_BITS;
        __syncthreads();
        for (int i = (int)threadIdx.x; i < DIGITS; i += (int)blockDim.x) {
            measures[i] = 0;
            counts[i] = 0;
        }
        __syncthreads();
        visit([&](candidate c, unsigned long long measure) {
            const int digit = DIGITS - 1 - (int)(c >> open_bits & (DIGITS - 1));
            if (is_within(range, c)) {
                atomicAdd(&measures[digit], measure);
                atomicAdd(&counts[digit], 1u);
            }
        });
        const struct crossing digit = block_find(
            DIGITS, [&](int i) { return measures[i]; }, goal - range.before);
        range.prefix =
            (range.open_bits == 64 ? 0 : range.prefix << DIGIT_BITS) | (candidate)(DIGITS - 1 - digit.index);
        range.open_bits = open_bits;
        range.before += digit.before;
        range.count = counts[digit.index];
    }
}

#endif
