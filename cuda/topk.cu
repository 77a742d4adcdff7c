#include "cuda/device.cuh"
#include "cuda/select.cuh"

/* A block ranks a row in two readings. The first takes the best of groups of columns, each thread that of its own: as
 * many groups as candidates are wanted prove a bound below which nothing is wanted. The second collects what is not below
 * it, a few more than wanted where good columns are spread over the groups. */
enum { THREADS = 512, PACK = 16 / (int)sizeof(float), GROUPS = THREADS * PACK };

struct ranked_row {
    const float *scores;
    const uint32_t *hidden; /* bits, in shared memory */
    int64_t columns;
};

/* Calls body(i, candidate) for the columns of this thread that are not hidden, i the place in their pack. */
template <bool packed, typename Body>
static __device__ void each_candidate(const struct ranked_row &row, Body body)
{
    float values[PACK];
    for (int64_t first = (int64_t)threadIdx.x * PACK; first < row.columns; first += GROUPS) {
        load_values<packed>(values, row.scores + first, row.columns - first);
        const uint32_t hidden = row.hidden[first / 32] >> (first % 32);
#pragma unroll
        for (int i = 0; i < PACK; i++)
            if (first + i < row.columns && !(hidden >> i & 1u))
                body(i, candidate_of(values[i], first + i));
    }
}

static __device__ void hide(uint32_t *hidden, int64_t columns, const int32_t *mask, int64_t count)
{
    for (int64_t word = threadIdx.x; word <= columns / 32; word += THREADS)
        hidden[word] = 0;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < count; i += THREADS)
        atomicOr(&hidden[mask[i] / 32], 1u << (mask[i] % 32));
    __syncthreads();
}

/* A candidate that at least `wanted` of the row are not below; 0 when the groups do not show one. */
template <bool packed>
static __device__ candidate bound_of(const struct ranked_row &row, int wanted, candidate *list /* [GROUPS] */)
{
    candidate best[PACK] = {};
    each_candidate<packed>(row, [&](int i, candidate c) { best[i] = best[i] > c ? best[i] : c; });
    int groups = GROUPS;
    if (wanted <= THREADS / 4) { /* fewer to sort */
        groups = THREADS;
#pragma unroll
        for (int i = 1; i < PACK; i++)
            best[0] = best[0] > best[i] ? best[0] : best[i];
    }
#pragma unroll
    for (int i = 0; i < PACK; i++)
        list[i * THREADS + (int)threadIdx.x] = best[i];
    block_sort(list, groups);
    return wanted <= groups ? list[wanted - 1] : 0;
}

/* Collects the candidates that are not below `bound`, as far as there is room; returns how many there are. */
template <bool packed>
static __device__ unsigned collect(const struct ranked_row &row, candidate bound, candidate *list,
                                   unsigned capacity)
{
    SHARED_ARRAY(unsigned, count, 1);
    __syncthreads();
    if (threadIdx.x == 0)
        *count = 0;
    __syncthreads();
    each_candidate<packed>(row, [&](int, candidate c) {
        if (c < bound)
            return;
        const unsigned place = atomicAdd(count, 1u);
        if (place < capacity)
            list[place] = c;
    });
    __syncthreads();
    return *count;
}

/* The best `wanted` of the row, or all when there are fewer, sorted; returns how many are in the list. */
template <bool packed>
static __device__ int select_best(const struct ranked_row &row, int wanted, candidate *list, int capacity)
{
    const candidate bound = bound_of<packed>(row, wanted, list);
    unsigned found = collect<packed>(row, bound, list, (unsigned)capacity);
    if (found > (unsigned)capacity) {
        struct candidate_range range = {0, 64, found, 0};
        block_narrow(range, (unsigned)(capacity - wanted), (unsigned long long)wanted, [&](auto count) {
            each_candidate<packed>(row, [&](int, candidate c) { count(c, 1ull); });
        });
        found = collect<packed>(row, least_of(range), list, (unsigned)capacity);
    }
    block_sort(list, (int)found);
    return (int)found;
}

template <bool packed>
__global__ void topk_masked_kernel(int32_t *top_columns, float *top_scores, int32_t *ties,
                                   const float *scores, const int32_t *mask_rows, const int64_t *mask_starts,
                                   const int32_t *mask_indices, int64_t columns, int k, int wanted,
                                   int capacity)
{
    DYNAMIC_SHARED(candidate, list);
    uint32_t *const hidden = reinterpret_cast<uint32_t *>(list + capacity);
    const int64_t index = blockIdx.x, mask = mask_rows[index], first = mask_starts[mask];
    const struct ranked_row row = {scores + index * columns, hidden, columns};
    hide(hidden, columns, mask_indices + first, mask_starts[mask + 1] - first);
    const int found = select_best<packed>(row, wanted, list, capacity);
    for (int rank = (int)threadIdx.x; rank < k; rank += THREADS) {
        const int32_t column = rank < found ? candidate_column(list[rank]) : -1;
        top_columns[index * k + rank] = column;
        top_scores[index * k + rank] = column >= 0 ? row.scores[column] : -INFINITY;
    }
    if (ties && threadIdx.x == 0)
        ties[index] = found > k && k > 0 && candidate_key(list[k - 1]) == candidate_key(list[k]);
}

/* Room for twice the candidates wanted, in a power of two. */
static int64_t capacity_for(int64_t wanted)
{
    int64_t capacity = GROUPS;
    while (capacity < 2 * wanted)
        capacity *= 2;
    return capacity;
}

void cuda_topk_masked(struct backend *backend, struct tensor *top_columns, struct tensor *top_scores,
                      struct tensor *ties, const struct tensor *scores, const struct tensor *mask_rows,
                      const struct tensor *mask_starts, const struct tensor *mask_indices)
{
    enum { OTHER_SHARED = 8 << 10 }; /* what the kernel has beside its dynamic shared memory */
    const int64_t rows = scores->shape[0], columns = scores->shape[1];
    const int64_t k = top_columns->shape[1], wanted = (k < columns ? k : columns) + 1;
    const int64_t capacity = capacity_for(wanted);
    const size_t bytes = (size_t)capacity * sizeof(candidate) + (size_t)(columns / 32 + 1) * sizeof(uint32_t);
    if (bytes + OTHER_SHARED > device_of(backend)->properties.sharedMemPerBlockOptin) {
        error_set(&backend->error, ERROR_RUN,
                  "op_topk_masked: the best %lld of %lld columns do not fit into the GPU's shared memory; "
                  "lower the largest of evaluate.k, or set device: cpu",
                  (long long)k, (long long)columns);
        return;
    }
    if (rows == 0)
        return;
    BY_ACCESS(packs_fit<float>(scores->data, columns), {
        LAUNCH(backend, (topk_masked_kernel<packed>), dim3((unsigned)rows), dim3(THREADS), bytes,
               data_of<int32_t>(top_columns), data_of<float>(top_scores), data_of<int32_t>(ties),
               data_of<float>(scores), data_of<int32_t>(mask_rows), data_of<int64_t>(mask_starts),
               data_of<int32_t>(mask_indices), columns, (int)k, (int)wanted, (int)capacity);
    });
}
