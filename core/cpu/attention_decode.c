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

/* out [width] = softmax(q . keys * scale) values over `length` rows that are `stride` apart. */
static void attend_cache(real *out, const real *q, const real *keys, const real *values, int64_t length,
                         int64_t stride, int64_t width, real *scores)
{
    const real scale = 1 / real_sqrt((real)width);
    for (int64_t j = 0; j < length; j++)
        scores[j] = dot(q, keys + j * stride, width) * scale;
    normalise(scores, length);
    weighted_sum(out, scores, values, length, stride, width);
}

void cpu_attention_decode(struct backend *backend, struct tensor *out, const struct tensor *q,
                          const struct tensor *k_cache, const struct tensor *v_cache,
                          const struct tensor *slots, const struct tensor *lengths, int64_t capacity,
                          struct attention_shape shape)
{
    const int64_t rows = out->shape[0], width = shape.head_width, stride = shape.key_heads * width;
    const int64_t group = shape.query_heads / shape.key_heads;
    const int32_t *slot = slots->data, *length = lengths->data;
    real *memory = cpu_workspace(backend, (size_t)(backend->threads * capacity) * sizeof(real));
    if (!memory)
        return;
#pragma omp parallel for collapse(2) schedule(dynamic, 16) num_threads(backend->threads)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t head = 0; head < shape.query_heads; head++) {
            if (slot[row] < 0)
                continue;
            const int64_t place = (row * shape.query_heads + head) * width;
            const int64_t cached = slot[row] * capacity * stride + head / group * width;
            attend_cache((real *)out->data + place, (const real *)q->data + place,
                         (const real *)k_cache->data + cached, (const real *)v_cache->data + cached,
                         length[row], stride, width, memory + omp_get_thread_num() * capacity);
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

void cpu_cache_share(struct backend *backend, struct tensor *cache, const struct tensor *to,
                     const struct tensor *from, const struct tensor *begins, const struct tensor *ends,
                     int64_t capacity)
{
    const size_t row = (size_t)cache->shape[1] * sizeof(real);
    const int32_t *target = to->data, *source = from->data, *begin = begins->data, *end = ends->data;
#pragma omp parallel for schedule(static) num_threads(backend->threads)
    for (int64_t i = 0; i < to->shape[0]; i++)
        memcpy((char *)cache->data + (size_t)(target[i] * capacity + begin[i]) * row,
               (const char *)cache->data + (size_t)(source[i] * capacity + begin[i]) * row,
               (size_t)(end[i] - begin[i]) * row);
}
