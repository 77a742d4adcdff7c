#include "core/cpu/nucleus.h"

#include "core/cpu/vector_math.h"

enum { BUCKETS = 1024 };
static const real depth_maximum = 24; /* columns of a weight below e^-24 share the last bucket */

struct nucleus {
    double mass[BUCKETS];
    candidate *members; /* [classes]: of the bucket sorted last */
    int64_t member_count;
    real *weights;   /* [classes] */
    int32_t *bucket; /* [classes] */
    const real *values;
    int64_t classes;
};

size_t nucleus_bytes(int64_t classes)
{
    return sizeof(struct nucleus) + (size_t)classes * (sizeof(candidate) + sizeof(real) + sizeof(int32_t));
}

static struct nucleus *lay_out(void *scratch, const real *values, int64_t classes)
{
    struct nucleus *nucleus = scratch;
    nucleus->members = (candidate *)(nucleus + 1);
    nucleus->weights = (real *)(nucleus->members + classes);
    nucleus->bucket = (int32_t *)(nucleus->weights + classes);
    nucleus->values = values;
    nucleus->classes = classes;
    return nucleus;
}

/* The largest finite distance from the maximum. */
static real deepest(const real *values, int64_t classes, real largest)
{
    real smallest = largest;
#pragma omp simd reduction(min : smallest)
    for (int64_t c = 0; c < classes; c++) {
        const real value = values[c] > -INFINITY ? values[c] : largest;
        smallest = value < smallest ? value : smallest;
    }
    return largest - smallest;
}

static void fill_buckets(struct nucleus *nucleus, real largest, real inverse_temperature)
{
    real depth = deepest(nucleus->values, nucleus->classes, largest) * inverse_temperature;
    depth = depth < depth_maximum ? depth : depth_maximum;
    const real buckets_per_depth = depth > 0 ? BUCKETS / depth : 0;
#pragma omp simd
    for (int64_t c = 0; c < nucleus->classes; c++) {
        const real exponent = (nucleus->values[c] - largest) * inverse_temperature;
        const real bounded = exponent > -depth ? exponent : -depth;
        const int32_t bucket = (int32_t)(-bounded * buckets_per_depth);
        nucleus->weights[c] = real_exp(exponent);
        nucleus->bucket[c] = bucket < BUCKETS ? bucket : BUCKETS - 1;
    }
    memset(nucleus->mass, 0, sizeof nucleus->mass);
    for (int64_t c = 0; c < nucleus->classes; c++)
        nucleus->mass[nucleus->bucket[c]] += (double)nucleus->weights[c];
}

static void sort_bucket(struct nucleus *nucleus, int32_t bucket)
{
    int64_t count = 0;
    for (int64_t c = 0; c < nucleus->classes; c++) {
        nucleus->members[count] = candidate_of(key_of_score(nucleus->values[c]), c);
        count += nucleus->bucket[c] == bucket && nucleus->weights[c] > 0;
    }
    candidates_sort(nucleus->members, count, count);
    nucleus->member_count = count;
}

/* The first bucket at which the sum of the masses passes `wanted`; *before is the sum of those before it. */
static int32_t find_bucket(const struct nucleus *nucleus, double wanted, double *before)
{
    int32_t bucket = 0, last = 0;
    *before = 0.0;
    double sum = 0.0;
    for (; bucket < BUCKETS; bucket++) {
        if (nucleus->mass[bucket] <= 0.0)
            continue;
        *before = sum;
        last = bucket;
        sum += nucleus->mass[bucket];
        if (sum > wanted)
            break;
    }
    return last;
}

/* The member of the sorted bucket at which the sum of the weights passes `wanted`; *mass is the sum with
 * it. */
static int32_t find_member(const struct nucleus *nucleus, double wanted, double *mass)
{
    int32_t column = -1;
    *mass = 0.0;
    for (int64_t i = 0; i < nucleus->member_count; i++) {
        column = candidate_column(nucleus->members[i]);
        *mass += (double)nucleus->weights[column];
        if (*mass > wanted)
            break;
    }
    return column;
}

int32_t nucleus_draw(void *scratch, const real *values, int64_t classes, real largest,
                     real inverse_temperature, double share, double uniform)
{
    struct nucleus *nucleus = lay_out(scratch, values, classes);
    double total = 0.0, before_end, before, within;
    fill_buckets(nucleus, largest, inverse_temperature);
    for (int bucket = 0; bucket < BUCKETS; bucket++)
        total += nucleus->mass[bucket];
    const int32_t end = find_bucket(nucleus, share * total, &before_end);
    sort_bucket(nucleus, end);
    find_member(nucleus, share * total - before_end, &within);
    const double wanted = uniform * (before_end + within);
    const int32_t bucket = find_bucket(nucleus, wanted, &before);
    /* The members of the last bucket add up in another order than its mass: rounding may lead past it. */
    if (bucket >= end)
        return find_member(nucleus, wanted - before_end, &within);
    sort_bucket(nucleus, bucket);
    return find_member(nucleus, wanted - before, &within);
}
