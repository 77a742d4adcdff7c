#include "cuda/device.cuh"
#include "cuda/select.cuh"

extern "C" {
#include "core/random_stream.h"
}

/* A block draws a token. Weights e^((logit - largest) / temperature) are summed as whole numbers, which come to the same
 * in any order: into buckets, of columns where all may be drawn, or else of distance to the largest logit. Only the
 * candidates of the bucket in which a sum reaches its goal are sorted. */
enum { THREADS = 512, PACK = 16 / (int)sizeof(float), TILE = warp_width * PACK };
enum { BUCKETS = 2048, LAST_BUCKET = BUCKETS - 1, CAPACITY = 2048 };
typedef unsigned long long mass;
constexpr float unit_mass = 0x1.0p40f; /* of the largest logit */
constexpr float depth_maximum = 24.0f; /* what is further from the largest logit is in the last bucket */

struct sampled_row {
    const float *logits;
    const uint32_t *forbidden; /* or NULL */
    int64_t classes;
    float largest, inverse_temperature;
    int64_t bucket_columns; /* of the buckets of columns, a multiple of TILE */

    __device__ mass mass_of(float logit) const
    {
        return (mass)(expf((logit - largest) * inverse_temperature) * unit_mass);
    }
};

/* In shared memory. */
struct buckets {
    mass *masses;     /* [BUCKETS] */
    unsigned *counts; /* [BUCKETS] */
    candidate *list;  /* [CAPACITY] */
};

/* The order in which the cumulative distribution is inverted: that of columns, or of candidates. */
template <bool by_column>
static __device__ int bucket_of(const struct sampled_row &row, float logit, int64_t column)
{
    if (by_column)
        return (int)(column / row.bucket_columns);
    const float place = (row.largest - logit) * row.inverse_temperature * ((float)BUCKETS / depth_maximum);
    return (int)fminf(place, (float)LAST_BUCKET);
}

template <bool by_column> static __device__ candidate place_of(float logit, int64_t column)
{
    return by_column ? (candidate)(uint32_t) ~(uint32_t)column : candidate_of(logit, column);
}

/* Calls body(column, logits) for packs of columns, -infinity where nothing may be drawn; all lanes of a warp together,
 * on the columns of one tile. */
template <bool packed, typename Body>
static __device__ void each_pack(const struct sampled_row &row, Body body)
{
    float values[PACK];
    for (int64_t tile = warp_index() * TILE; tile < row.classes; tile += THREADS * PACK) {
        const int64_t first = tile + lane_index() * PACK;
        load_values<packed>(values, row.logits + first, row.classes - first);
        const uint32_t bits =
            row.forbidden && first < row.classes ? row.forbidden[first / 32] >> (first % 32) : 0;
#pragma unroll
        for (int i = 0; i < PACK; i++)
            if (first + i >= row.classes || (bits >> i & 1u))
                values[i] = -INFINITY;
        body(first, values);
    }
}

/* The largest logit; *numbers: whether the sum of exponentials is one. */
template <bool packed> static __device__ float largest_of(const struct sampled_row &row, bool *numbers)
{
    float largest = -INFINITY;
    int strange = 0;
    each_pack<packed>(row, [&](int64_t, const float(&values)[PACK]) {
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            strange |= !(values[i] < INFINITY);
            largest = values[i] > largest ? values[i] : largest;
        }
    });
    *numbers = block_maximum(strange) == 0;
    return block_maximum(largest);
}

/* Returns the sum of e^(logit - largest). */
template <bool packed, bool by_column>
static __device__ double fill_buckets(const struct sampled_row &row, const struct buckets &buckets)
{
    for (int i = (int)threadIdx.x; i < BUCKETS; i += THREADS) {
        buckets.masses[i] = 0;
        buckets.counts[i] = 0;
    }
    __syncthreads();
    float sum = 0.0f;
    mass last_mass = 0;
    unsigned last_count = 0;
    each_pack<packed>(row, [&](int64_t first, const float(&values)[PACK]) {
        mass tile_mass = 0;
        unsigned tile_count = 0;
#pragma unroll
        for (int i = 0; i < PACK; i++) {
            if (values[i] == -INFINITY)
                continue;
            const mass own = row.mass_of(values[i]);
            const int bucket = bucket_of<by_column>(row, values[i], first + i);
            sum += expf(values[i] - row.largest);
            if (by_column || bucket == LAST_BUCKET) {
                tile_mass += own;
                tile_count++;
            } else {
                atomicAdd(&buckets.masses[bucket], own);
                atomicAdd(&buckets.counts[bucket], 1u);
            }
        }
        if (!by_column) {
            last_mass += tile_mass;
            last_count += tile_count;
            return;
        }
        tile_mass = warp_sum(tile_mass);
        tile_count = warp_sum(tile_count);
        if (lane_index() == 0) {
            atomicAdd(&buckets.masses[first / row.bucket_columns], tile_mass);
            atomicAdd(&buckets.counts[first / row.bucket_columns], tile_count);
        }
    });
    if (!by_column) {
        last_mass = block_sum(last_mass);
        last_count = block_sum(last_count);
        if (threadIdx.x == 0) {
            buckets.masses[LAST_BUCKET] = last_mass;
            buckets.counts[LAST_BUCKET] = last_count;
        }
    }
    return block_sum((double)sum);
}

/* A candidate, and the mass of it and all that are ahead of it. */
struct choice {
    candidate place;
    mass mass_with;
};

/* The candidate at which the sum reaches `goal` >= 1, of their masses, or, by_count, of 1 for each; mass_with is that
 * sum. The same in all threads. */
template <bool packed, bool by_column, bool by_count>
static __device__ struct choice find(const struct sampled_row &row, const struct buckets &buckets, mass goal)
{
    SHARED_ARRAY(unsigned, listed, 1);
    const struct crossing bucket = block_find(
        BUCKETS, [&](int i) { return by_count ? (mass)buckets.counts[i] : buckets.masses[i]; }, goal);
    const auto each_member = [&](auto body) {
        each_pack<packed>(row, [&](int64_t first, const float(&values)[PACK]) {
#pragma unroll
            for (int i = 0; i < PACK; i++)
                if (values[i] > -INFINITY && bucket_of<by_column>(row, values[i], first + i) == bucket.index)
                    body(place_of<by_column>(values[i], first + i), by_count ? 1 : row.mass_of(values[i]));
        });
    };
    struct candidate_range range = {0, 64, buckets.counts[bucket.index], bucket.before};
    block_narrow(range, CAPACITY, goal, each_member);
    if (threadIdx.x == 0)
        *listed = 0;
    __syncthreads();
    each_member([&](candidate place, mass) {
        if (is_within(range, place))
            buckets.list[atomicAdd(listed, 1u)] = place;
    });
    block_sort(buckets.list, (int)range.count);
    const auto measure = [&](int i) {
        return by_count ? 1 : row.mass_of(row.logits[candidate_column(buckets.list[i])]);
    };
    const struct crossing member = block_find((int)range.count, measure, goal - range.before);
    return {buckets.list[member.index], range.before + member.before + measure(member.index)};
}

/* The mass of the candidates that are not behind `last`. */
template <bool packed> static __device__ mass mass_to(const struct sampled_row &row, candidate last)
{
    mass sum = 0;
    each_pack<packed>(row, [&](int64_t first, const float(&values)[PACK]) {
#pragma unroll
        for (int i = 0; i < PACK; i++)
            if (values[i] > -INFINITY && candidate_of(values[i], first + i) >= last)
                sum += row.mass_of(values[i]);
    });
    return block_sum(sum);
}

/* The total of the buckets. */
template <typename T> static __device__ T total_of(const T *values)
{
    T sum = 0;
    for (int i = (int)threadIdx.x; i < BUCKETS; i += THREADS)
        sum += values[i];
    return block_sum(sum);
}

static __device__ mass between(mass value, mass low, mass high)
{
    return value < low ? low : value > high ? high : value;
}

/* The mass of what top-k and top-p leave, which are the first candidates. */
template <bool packed>
static __device__ mass mass_left(const struct sampled_row &row, const struct buckets &buckets,
                                 const struct sampling &settings)
{
    mass left = total_of(buckets.masses);
    if (settings.top_k > 0 && settings.top_k < (int64_t)total_of(buckets.counts))
        left = mass_to<packed>(row, find<packed, false, true>(row, buckets, (mass)settings.top_k).place);
    if (settings.top_p < 1.0f) {
        const mass wanted = between((mass)ceil((double)settings.top_p * (double)left), 1, left);
        left = find<packed, false, false>(row, buckets, wanted).mass_with;
    }
    return left;
}

/* random_double() of the row's stream. */
static __device__ double uniform_of(uint64_t seed, int32_t step, int64_t stream)
{
    struct random_stream random = random_stream_open(seed, RANDOM_SAMPLE, (uint64_t)step, (uint64_t)stream);
    const uint64_t high = random_word(&random) >> 5, low = random_word(&random) >> 6;
    return (double)(high << 26 | low) * 0x1.0p-53;
}

/* Greedy: the first candidate. */
template <bool packed, bool by_column>
static __device__ int32_t draw(const struct sampled_row &row, const struct buckets &buckets,
                               const struct sampling &settings, double uniform)
{
    mass goal = 1;
    if (settings.temperature > 0.0f) {
        const mass left = by_column ? total_of(buckets.masses) : mass_left<packed>(row, buckets, settings);
        goal = between((mass)(uniform * (double)left) + 1, 1, left);
    }
    return candidate_column(find<packed, by_column, false>(row, buckets, goal).place);
}

template <bool packed, bool by_column>
__global__ void sample_kernel(int32_t *tokens, float *log_probability, uint32_t *not_numbers,
                              const float *logits, const uint32_t *forbidden, int64_t words,
                              const int64_t *streams, const int32_t *steps, int64_t classes,
                              int64_t classes_used, int64_t bucket_columns, struct sampling settings)
{
    SHARED_ARRAY(mass, masses, BUCKETS);
    SHARED_ARRAY(unsigned, counts, BUCKETS);
    SHARED_ARRAY(candidate, list, CAPACITY);
    const int64_t index = blockIdx.x;
    const struct buckets buckets = {masses, counts, list};
    if (streams[index] < 0)
        return;
    struct sampled_row row = {logits + index * classes,
                              forbidden ? forbidden + index * words : nullptr,
                              classes_used,
                              0.0f,
                              settings.temperature > 0.0f ? 1.0f / settings.temperature : 1.0f,
                              bucket_columns};
    bool numbers;
    row.largest = largest_of<packed>(row, &numbers);
    if (!numbers || row.largest == -INFINITY) {
        if (threadIdx.x == 0) {
            tokens[index] = -1;
            log_probability[index] = -INFINITY;
            if (!numbers)
                *not_numbers = 1;
        }
        return;
    }
    const double sum = fill_buckets<packed, by_column>(row, buckets);
    const double uniform = uniform_of(settings.seed, steps[index], streams[index]);
    const int32_t token = draw<packed, by_column>(row, buckets, settings, uniform);
    if (threadIdx.x == 0) {
        tokens[index] = token;
        log_probability[index] = (float)((double)(row.logits[token] - row.largest) - log(sum));
    }
}

void cuda_sample(struct backend *backend, struct tensor *tokens, struct tensor *log_probability,
                 const struct tensor *logits, const struct tensor *forbidden, const struct tensor *streams,
                 const struct tensor *steps, int64_t classes_used, struct sampling settings)
{
    const int64_t rows = logits->shape[0], classes = logits->shape[1];
    const int64_t words = forbidden ? forbidden->shape[1] : 0;
    const int64_t bucket_columns = (classes_used / ((int64_t)TILE * BUCKETS) + 1) * TILE;
    if (rows == 0)
        return;
    const auto start = [&](auto kernel) {
        LAUNCH(backend, kernel, dim3((unsigned)rows), dim3(THREADS), 0, data_of<int32_t>(tokens),
               data_of<float>(log_probability), device_of(backend)->not_numbers, data_of<float>(logits),
               data_of<uint32_t>(forbidden), words, data_of<int64_t>(streams), data_of<int32_t>(steps),
               classes, classes_used, bucket_columns, settings);
    };
    BY_ACCESS(packs_fit<float>(logits->data, classes), {
        if (settings.temperature > 0.0f && settings.top_k == 0 && settings.top_p >= 1.0f)
            start(sample_kernel<packed, true>);
        else
            start(sample_kernel<packed, false>);
    });
}
