#include "core/quantize.h"

#include <math.h>

const float NF4_VALUES[NF4_COUNT] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

/* The reciprocal of a smaller one is infinite; and 127 times that. */
#define ABSMAX_SMALLEST 1e-38f
#define ABSMAX_SMALLEST_INT8 4e-37f

bool dtype_is_quantized(enum dtype dtype)
{
    return dtype == DTYPE_INT8 || dtype == DTYPE_NF4;
}

int64_t quantized_blocks(int64_t count)
{
    return (count + QUANTIZED_BLOCK - 1) / QUANTIZED_BLOCK;
}

size_t quantized_code_bytes(enum dtype dtype, int64_t count)
{
    const int64_t bytes = dtype == DTYPE_NF4 ? (count + 1) / 2 : count;
    return (size_t)((bytes + QUANTIZED_ALIGNMENT - 1) / QUANTIZED_ALIGNMENT * QUANTIZED_ALIGNMENT);
}

size_t quantized_bytes(enum dtype dtype, int64_t count)
{
    return quantized_code_bytes(dtype, count) + (size_t)quantized_blocks(count) * sizeof(float);
}

/* The numbers of one block as floats; those beyond its end are 0. Not-a-number when one is not finite. */
static float load_block(float block[QUANTIZED_BLOCK], const real *values, int64_t count)
{
    float largest = 0.0f, not_finite = 0.0f;
    for (int64_t i = 0; i < QUANTIZED_BLOCK; i++) {
        block[i] = i < count ? (float)values[i] : 0.0f;
        not_finite += 0.0f * block[i];
        largest = fmaxf(largest, fabsf(block[i]));
    }
    return largest + not_finite;
}

static void write_int8(signed char *codes, const float block[QUANTIZED_BLOCK], float absmax, int64_t count)
{
    const float factor = absmax < ABSMAX_SMALLEST_INT8 ? 0.0f : 127.0f / absmax;
    for (int64_t i = 0; i < count; i++)
        codes[i] = (signed char)rintf(block[i] * factor);
}

/* How many of the points half-way between neighbours lie below each number. */
static void write_nf4(unsigned char *codes, const float block[QUANTIZED_BLOCK], float absmax, int64_t count)
{
    const float factor = 1.0f / fmaxf(absmax, ABSMAX_SMALLEST);
    int32_t places[QUANTIZED_BLOCK] = {0};
    for (int value = 0; value + 1 < NF4_COUNT; value++) {
        const float middle = (NF4_VALUES[value] + NF4_VALUES[value + 1]) / 2.0f;
        for (int64_t i = 0; i < QUANTIZED_BLOCK; i++)
            places[i] += block[i] * factor > middle;
    }
    for (int64_t i = 0; i < count; i += 2)
        codes[i / 2] = (unsigned char)(places[i] << 4 | places[i + 1]);
}

bool quantize(void *stored, const struct tensor *tensor, const real *values, int threads, struct error *error)
{
    const int64_t count = tensor_count(tensor), blocks = quantized_blocks(count);
    char *const codes = stored;
    float *const scales = (void *)(codes + quantized_code_bytes(tensor->dtype, count));
    int64_t refused = 0;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(+ : refused)
    for (int64_t index = 0; index < blocks; index++) {
        const int64_t first = index * QUANTIZED_BLOCK;
        const int64_t length = count - first < QUANTIZED_BLOCK ? count - first : QUANTIZED_BLOCK;
        float block[QUANTIZED_BLOCK];
        scales[index] = load_block(block, values + first, length);
        refused += !isfinite(scales[index]);
        if (!isfinite(scales[index]))
            continue;
        if (tensor->dtype == DTYPE_INT8)
            write_int8((signed char *)codes + first, block, scales[index], length);
        else
            write_nf4((unsigned char *)codes + first / 2, block, scales[index], length);
    }
    return refused == 0 ||
           error_set(error, ERROR_RUN,
                     "a matrix [%lld, %lld] holds numbers that are not finite, in %lld of its "
                     "blocks, which cannot be stored as %s",
                     (long long)tensor->shape[0], (long long)tensor->shape[1], (long long)refused,
                     dtype_name(tensor->dtype));
}
