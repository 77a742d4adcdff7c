#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/device.cuh"

enum { PLANS = 4096, WORKSPACE_BYTES = 64 << 20 };

/* Everything that the choice of an algorithm may depend on. */
struct product_shape {
    int64_t m, n, k;
    int transpose_a, transpose_b, operand_dtype, result_dtype, alignment, accumulates, fast;
};

struct plan {
    bool used;
    struct product_shape shape;
    cublasLtMatmulDesc_t description;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algorithm;
};

/* Behind cuda_device.matrix_products: a plan for each shape that was met, in an open hash table. */
struct matrix_products {
    cublasLtHandle_t handle;
    void *workspace;
    struct plan plans[PLANS];
    int plan_count;
};

static bool check(struct backend *backend, cublasStatus_t status, const char *what)
{
    return status == CUBLAS_STATUS_SUCCESS ||
           error_set(&backend->error, ERROR_RUN, "device cuda: cuBLASLt: %s: %s", what,
                     cublasLtGetStatusString(status));
}

bool cuda_matrix_products_open(struct backend *backend)
{
    struct matrix_products *products = static_cast<struct matrix_products *>(calloc(1, sizeof *products));
    if (!products)
        return error_memory(&backend->error, "the plans of matrix products", sizeof *products, NULL);
    device_of(backend)->matrix_products = products;
    return check(backend, cublasLtCreate(&products->handle), "start") &&
           cuda_check(backend, cudaMalloc(&products->workspace, WORKSPACE_BYTES),
                      "scratch memory of matrix products");
}

static void forget(struct plan *plan)
{
    if (plan->description)
        cublasLtMatmulDescDestroy(plan->description);
    for (cublasLtMatrixLayout_t layout : {plan->a, plan->b, plan->c})
        if (layout)
            cublasLtMatrixLayoutDestroy(layout);
    *plan = {};
}

void cuda_matrix_products_close(struct cuda_device *device)
{
    struct matrix_products *products = static_cast<struct matrix_products *>(device->matrix_products);
    if (!products)
        return;
    for (struct plan &plan : products->plans)
        forget(&plan);
    if (products->workspace)
        cudaFree(products->workspace);
    if (products->handle)
        cublasLtDestroy(products->handle);
    free(products);
}

/* ---- plans --------------------------------------------------------------------------------------------- */

static cudaDataType_t library_type(int dtype)
{
    return dtype == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* The library's matrices are column-major: a row-major c = op(a) op(b) is its c' = op(b)' op(a)', and a row-major
 * [rows, columns] its [columns, rows]. */
static bool describe(struct backend *backend, struct plan *plan)
{
    const struct product_shape *shape = &plan->shape;
    const cublasOperation_t first = shape->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t second = shape->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cudaDataType_t operand = library_type(shape->operand_dtype),
                         result = library_type(shape->result_dtype);
    const cublasComputeType_t arithmetic =
        shape->fast && operand == CUDA_R_32F ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    const uint64_t b_rows = (uint64_t)(shape->transpose_b ? shape->k : shape->n);
    const uint64_t b_columns = (uint64_t)(shape->transpose_b ? shape->n : shape->k);
    const uint64_t a_rows = (uint64_t)(shape->transpose_a ? shape->m : shape->k);
    const uint64_t a_columns = (uint64_t)(shape->transpose_a ? shape->k : shape->m);
    return check(backend, cublasLtMatmulDescCreate(&plan->description, arithmetic, CUDA_R_32F),
                 "description") &&
           check(backend,
                 cublasLtMatmulDescSetAttribute(plan->description, CUBLASLT_MATMUL_DESC_TRANSA, &first,
                                                sizeof first),
                 "description") &&
           check(backend,
                 cublasLtMatmulDescSetAttribute(plan->description, CUBLASLT_MATMUL_DESC_TRANSB, &second,
                                                sizeof second),
                 "description") &&
           check(backend, cublasLtMatrixLayoutCreate(&plan->b, operand, b_rows, b_columns, (int64_t)b_rows),
                 "layout") &&
           check(backend, cublasLtMatrixLayoutCreate(&plan->a, operand, a_rows, a_columns, (int64_t)a_rows),
                 "layout") &&
           check(
               backend,
               cublasLtMatrixLayoutCreate(&plan->c, result, (uint64_t)shape->n, (uint64_t)shape->m, shape->n),
               "layout");
}

/* Unless the backend is fast, sums that are split over k are kept apart in f32 and added by a step of its own, in one
 * order: never in the order in which they happen to be ready, nor rounded to bf16 in between. */
static bool choose_algorithm(struct backend *backend, struct matrix_products *products, struct plan *plan)
{
    const size_t workspace_bytes = WORKSPACE_BYTES;
    const uint32_t reductions = plan->shape.fast
                                    ? CUBLASLT_REDUCTION_SCHEME_MASK
                                    : CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const uint32_t alignment = (uint32_t)plan->shape.alignment;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    bool done =
        check(backend, cublasLtMatmulPreferenceCreate(&preference), "preference") &&
        check(backend,
              cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                   &workspace_bytes, sizeof workspace_bytes),
              "preference") &&
        check(backend,
              cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                   &reductions, sizeof reductions),
              "preference");
    for (cublasLtMatmulPreferenceAttributes_t side :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
        done = done &&
               check(backend,
                     cublasLtMatmulPreferenceSetAttribute(preference, side, &alignment, sizeof alignment),
                     "preference");
    done = done && check(backend,
                         cublasLtMatmulAlgoGetHeuristic(products->handle, plan->description, plan->b, plan->a,
                                                        plan->c, plan->c, preference, 1, &found, &count),
                         "choice of an algorithm");
    if (done && count == 0)
        done = error_set(&backend->error, ERROR_RUN,
                         "device cuda: cuBLASLt has no algorithm for %lld x %lld x %lld",
                         (long long)plan->shape.m, (long long)plan->shape.n, (long long)plan->shape.k);
    if (done)
        plan->algorithm = found.algo;
    if (preference)
        cublasLtMatmulPreferenceDestroy(preference);
    return done;
}

static uint64_t hash(const struct product_shape *shape)
{
    const unsigned char *bytes = reinterpret_cast<const unsigned char *>(shape);
    uint64_t value = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < sizeof *shape; i++)
        value = (value ^ bytes[i]) * UINT64_C(1099511628211);
    return value;
}

/* Shapes come from a few layers and batch sizes; should they ever fill the table, it starts anew. */
static struct plan *plan_of(struct backend *backend, struct matrix_products *products,
                            const struct product_shape *shape)
{
    if (products->plan_count > PLANS / 2) {
        for (struct plan &plan : products->plans)
            forget(&plan);
        products->plan_count = 0;
    }
    uint64_t slot = hash(shape) % PLANS;
    while (products->plans[slot].used && memcmp(&products->plans[slot].shape, shape, sizeof *shape) != 0)
        slot = (slot + 1) % PLANS;
    struct plan *plan = &products->plans[slot];
    if (plan->used)
        return plan;
    plan->shape = *shape;
    if (!describe(backend, plan) || !choose_algorithm(backend, products, plan)) {
        forget(plan);
        return NULL;
    }
    plan->used = true;
    products->plan_count++;
    return plan;
}

/* The largest power of two up to 16 that divides all three addresses. */
static int common_alignment(const struct tensor *a, const struct tensor *b, const struct tensor *c)
{
    const uintptr_t bits = (uintptr_t)a->data | (uintptr_t)b->data | (uintptr_t)c->data | 16;
    return (int)(bits & (~bits + 1));
}

void cuda_gemm(struct backend *backend, struct tensor *c, const struct tensor *a, enum transpose transpose_a,
               const struct tensor *b, enum transpose transpose_b, float alpha, float beta)
{
    struct cuda_device *device = device_of(backend);
    struct matrix_products *products = static_cast<struct matrix_products *>(device->matrix_products);
    struct product_shape shape;
    memset(&shape, 0, sizeof shape);
    shape.m = c->shape[0];
    shape.n = c->shape[1];
    shape.k = transpose_a ? a->shape[0] : a->shape[1];
    shape.transpose_a = transpose_a;
    shape.transpose_b = transpose_b;
    shape.operand_dtype = a->dtype;
    shape.result_dtype = c->dtype;
    shape.alignment = common_alignment(a, b, c);
    shape.accumulates = beta != 0.0f;
    shape.fast = backend->fast;
    if (shape.m == 0 || shape.n == 0)
        return;
    const struct plan *plan = plan_of(backend, products, &shape);
    if (plan)
        check(backend,
              cublasLtMatmul(products->handle, plan->description, &alpha, b->data, plan->b, a->data, plan->a,
                             &beta, c->data, plan->c, c->data, plan->c, &plan->algorithm, products->workspace,
                             WORKSPACE_BYTES, device->stream),
              "matrix product");
}
