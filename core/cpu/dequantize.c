#include "core/cpu/cpu.h"
#include "core/quantize.h"

/* What the two codes of a byte stand for. */
typedef real byte_values[256][2];

static void fill_byte_values(byte_values values)
{
    for (int byte = 0; byte < 256; byte++) {
        values[byte][0] = (real)NF4_VALUES[byte >> 4];
        values[byte][1] = (real)NF4_VALUES[byte & 15];
    }
}

static void read_int8(real *restrict out, const signed char *restrict codes, real absmax, int64_t count)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        out[i] = (real)codes[i] * absmax * (real)(1.0f / 127.0f);
}

static void read_nf4(real *restrict out, const unsigned char *restrict codes, const byte_values values,
                     real absmax, int64_t count)
{
    for (int64_t i = 0; i + 1 < count; i += 2) {
        out[i] = values[codes[i / 2]][0] * absmax;
        out[i + 1] = values[codes[i / 2]][1] * absmax;
    }
    if (count % 2 != 0)
        out[count - 1] = values[codes[count / 2]][0] * absmax;
}

void cpu_dequantize(struct backend *backend, struct tensor *out, const struct tensor *x)
{
    const int64_t count = tensor_count(x), blocks = quantized_blocks(count);
    const char *const codes = x->data;
    const float *const absmax = (const void *)(codes + quantized_code_bytes(x->dtype, count));
    byte_values values;
    fill_byte_values(values);
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (count >= PARALLEL_MINIMUM)
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t first = block * QUANTIZED_BLOCK, length = minimum_of(QUANTIZED_BLOCK, count - first);
        real *const to = (real *)out->data + first;
        if (x->dtype == DTYPE_INT8)
            read_int8(to, (const signed char *)codes + first, (real)absmax[block], length);
        else
            read_nf4(to, (const unsigned char *)codes + first / 2, values, (real)absmax[block], length);
    }
}
