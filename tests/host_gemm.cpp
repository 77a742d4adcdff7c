/* Stands in for cuda/gemm.cu, whose products are cuBLASLt's, where kernels run on the host. */
#include <string.h>

#include "cuda/device.cuh"

bool cuda_matrix_products_open(struct backend *)
{
    return true;
}

void cuda_matrix_products_close(struct cuda_device *)
{
}

/* What a GPU's tensor cores take of an f32: 10 bits after the point, to nearest. */
static float tf32(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x1000u) & ~0x1FFFu;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

static float element(const struct tensor *matrix, int64_t row, int64_t column)
{
    const int64_t index = row * matrix->shape[1] + column;
    return matrix->dtype == DTYPE_BF16 ? to_float(data_of<bf16>(matrix)[index])
                                       : data_of<float>(matrix)[index];
}

static float operand(const struct tensor *matrix, int64_t row, int64_t column, bool fast)
{
    const float value = element(matrix, row, column);
    return fast && matrix->dtype == DTYPE_F32 ? tf32(value) : value;
}

static void product(struct tensor c, struct tensor a, bool transpose_a, struct tensor b, bool transpose_b,
                    float alpha, float beta, bool fast)
{
    const int64_t depth = transpose_a ? a.shape[0] : a.shape[1];
    for (int64_t row = 0; row < c.shape[0]; row++)
        for (int64_t column = 0; column < c.shape[1]; column++) {
            float sum = 0.0f;
            for (int64_t k = 0; k < depth; k++)
                sum += (transpose_a ? operand(&a, k, row, fast) : operand(&a, row, k, fast)) *
                       (transpose_b ? operand(&b, column, k, fast) : operand(&b, k, column, fast));
            const float value = alpha * sum + (beta == 0.0f ? 0.0f : beta * element(&c, row, column));
            if (c.dtype == DTYPE_BF16)
                data_of<bf16>(&c)[row * c.shape[1] + column] = from_float<bf16>(value);
            else
                data_of<float>(&c)[row * c.shape[1] + column] = value;
        }
}

void cuda_gemm(struct backend *backend, struct tensor *c, const struct tensor *a, enum transpose transpose_a,
               const struct tensor *b, enum transpose transpose_b, float alpha, float beta)
{
    const struct tensor c_ = *c, a_ = *a, b_ = *b;
    const bool fast = backend->fast;
    host_cuda::run_on_device([=] { product(c_, a_, transpose_a, b_, transpose_b, alpha, beta, fast); });
}
