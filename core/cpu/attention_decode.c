#include <omp.h>
#include <string.h>

#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

static real dot(const real *a, const real *b, int64_t width)
{
    vector sum = {0};
    int64_t i = 0;
    for (; i + VECTOR_LANES <= width; i += VECTOR_LANES)
        sum = vector_fma(vector_load(a + i), vector_load(b + i), sum);
    real rest = vector_sum(sum);
    for (; i < width; i++)
        rest = real_fma(a[i], b[i], rest);
    return rest;
}

/* out [width] = sum of weights[j] * rows[j], rows `stride` apart. */
static void weighted_sum(real *out, const real *weights, const real *rows, int64_t count, int64_t stride,
                         int64_t width)
{
    int64_t i = 0;
    for (; i + VECTOR_LANES <= width; i += VECTOR_LANES) {
        vector even = {0}, odd = {0};
        int64_t j = 0;
        for (; j + 2 <= count; j += 2) {
            even = vector_fma(vector_of(weights[j]), vector_load(rows + j * stride + i), even);
            odd = vector_fma(vector_of(weights[j + 1]), vector_load(rows + (j + 1) * stride + i), odd);
        }
        if (j < count)
            even = vector_fma(vector_of(weights[j]), vector_load(rows + j * stride + i), even);
        vector_store(out + i, even + odd);
    }
    for (; i < width; i++) {
        out[i] = 0;
        for (int64_t j = 0; j < count; j++)
            out[i] = real_fma(weights[j], rows[j * stride + i], out[i]);
    }
}

static real sum_lanes(vector values)
{
    real sum = 0;
    for (int lane = 0; lane < VECTOR_LANES; lane++)
        sum += values[lane];
    return sum;
}

/* scores become softmax(scores). */
static void normalise(real *scores, int64_t length)
{
    real largest = -INFINITY, sum = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t j = 0; j < length; j++)
        largest = scores[j] > largest ? scores[j] : largest;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < length; j++) {
        scores[j] = real_exp(scores[j] - largest);
        sum += scores[j];
    }
    for (int64_t j = 0; j < length; j++)
        scores[j] /= sum;
}

/* One head of one row over `length` cached positions that are `stride` apart. */
struct cached_head {
    real *out;
    const real *q, *keys, *values;
    int64_t length, stride;
    real *scores; /* scratch [length] */
};

/* The head's width is `registers` vectors, a constant where this is inlined. */
static inline __attribute__((always_inline)) void attend_registers(const struct cached_head *head,
                                                                   const int registers)
{
    vector q[8], out[8];
    const real scale = 1 / real_sqrt((real)(registers * VECTOR_LANES));
    for (int r = 0; r < registers; r++) {
        q[r] = vector_load(head->q + r * VECTOR_LANES) * scale;
        out[r] = (vector){0};
    }
    for (int64_t j = 0; j < head->length; j++) {
        vector sum = q[0] * vector_load(head->keys + j * head->stride);
        for (int r = 1; r < registers; r++)
            sum += q[r] * vector_load(head->keys + j * head->stride + r * VECTOR_LANES);
        head->scores[j] = sum_lanes(sum);
    }
    normalise(head->scores, head->length);
    for (int64_t j = 0; j < head->length; j++)
        for (int r = 0; r < registers; r++)
            out[r] += head->scores[j] * vector_load(head->values + j * head->stride + r * VECTOR_LANES);
    for (int r = 0; r < registers; r++)
        vector_store(head->out + r * VECTOR_LANES, out[r]);
}

static void attend_any_width(const struct cached_head *head, int64_t width)
{
    const real scale = 1 / real_sqrt((real)width);
    for (int64_t j = 0; j < head->length; j++) {
        real score = 0;
#pragma omp simd reduction(+ : score)
        for (int64_t i = 0; i < width; i++)
            score = real_fma(head->q[i], head->keys[j * head->stride + i], score);
        head->scores[j] = score * scale;
    }
    normalise(head->scores, head->length);
    memset(head->out, 0, (size_t)width * sizeof(real));
    for (int64_t j = 0; j < head->length; j++)
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            head->out[i] = real_fma(head->scores[j], head->values[j * head->stride + i], head->out[i]);
}

static void attend_cache(const struct cached_head *head, int64_t width)
{
    if (width == VECTOR_LANES)
        attend_registers(head, 1);
    else if (width == 2 * VECTOR_LANES)
        attend_registers(head, 2);
    else if (width == 4 * VECTOR_LANES)
        attend_registers(head, 4);
    else if (width == 8 * VECTOR_LANES)
        attend_registers(head, 8);
    else
        attend_any_width(head, width);
}

void cpu_attention_decode(struct backend *backend, struct tensor *out, const struct tensor *q,
                          const struct tensor *k_cache, const struct tensor *v_cache,
                          const struct tensor *slots, const struct tensor *lengths, int64_t capacity,
                          struct attention_shape shape)
{
    const int64_t rows = out->shape[0], width = shape.head_width, stride = shape.key_heads * width;
    const int64_t group = shape.query_heads / shape.key_heads;
    const int32_t *slot = slots->data, *length = lengths->data;
    const int64_t scratch = round_up(capacity, VECTOR_LANES);
    real *memory = cpu_workspace(backend, (size_t)(backend->threads * scratch) * sizeof(real));
    if (!memory)
        return;
#pragma omp parallel for collapse(2) schedule(dynamic, 16) num_threads(backend->threads)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t head = 0; head < shape.query_heads; head++) {
            if (slot[row] < 0)
                continue;
            const int64_t place = (row * shape.query_heads + head) * width;
            const int64_t cached = slot[row] * capacity * stride + head / group * width;
            const struct cached_head cached_head = {.out = (real *)out->data + place,
                                                    .q = (const real *)q->data + place,
                                                    .keys = (const real *)k_cache->data + cached,
                                                    .values = (const real *)v_cache->data + cached,
                                                    .length = length[row],
                                                    .stride = stride,
                                                    .scores = memory + omp_get_thread_num() * capacity};
            attend_cache(&cached_head, width);
        }
}

void cpu_cache_store(struct backend *backend, struct tensor *cache, const struct tensor *rows,
                     const struct tensor *slots, const struct tensor *positions, int64_t capacity)
{
    (void)backend;
    const int64_t count = rows->shape[0], width = rows->shape[1];
    const int32_t *slot = slots->data, *position = positions->data;
    for (int64_t row = 0; row < count; row++)
        if (slot[row] >= 0)
            memcpy((real *)cache->data + (slot[row] * capacity + position[row]) * width,
                   (const real *)rows->data + row * width, (size_t)width * sizeof(real));
}
