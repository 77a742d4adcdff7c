/*
 * bench_quantized.c: what it costs to keep the frozen base in int8 or NF4, in time and in memory.
 *
 *   bench_quantized [--device NAME] [--threads N] [--small]
 *
 * First the time of a linear layer's forward pass (dequantising and product) over a quantised weight beside the one over a
 * plain weight, at numbers of rows from a decode step to a training batch. Then the plan of fine-tuning Llama-2-7B with the
 * paper's adapters (rank 8 on q and v) over batches of 2,048 tokens on a GPU, in each storage, laid out as the model itself
 * lays it out but over no memory.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/measure.h"
#include "core/counting.h"
#include "core/quantize.h"
#include "models/language/transformer.h"

/* ---- time ---------------------------------------------------------------------------------------------- */

struct product {
    struct backend *backend;
    struct tensor x, stored, weight, y;
};

static void forward(void *context)
{
    struct product *const product = context;
    if (product->stored.data)
        op_dequantize(product->backend, &product->weight, &product->stored);
    op_linear_forward(product->backend, &product->y, &product->x, &product->weight, NULL, NULL);
}

/* A quantised copy of the weight. */
static bool quantize_weight(struct product *product, enum dtype dtype, struct error *error)
{
    struct backend *const backend = product->backend;
    const struct tensor *const weight = &product->weight;
    const int64_t count = tensor_count(weight);
    struct tensor stored = tensor_2d(NULL, dtype, backend->device, weight->shape[0], weight->shape[1]);
    real *values = malloc((size_t)count * sizeof *values);
    if (!values)
        return error_memory(error, "a weight", (size_t)count * sizeof *values, NULL);
    struct random_stream stream = random_stream_open(2, RANDOM_TEST, 0, 0);
    for (int64_t i = 0; i < count; i++)
        values[i] = i < 65536 ? (real)(0.02 * random_normal(&stream)) : values[i - 65536];
    stored.data = backend->allocate(backend, tensor_bytes(&stored));
    const bool done = stored.data ? tensor_upload_rounded(backend, &stored, values, error)
                                  : error_memory(error, "a weight", tensor_bytes(&stored), NULL);
    free(values);
    product->stored = stored;
    return done;
}

static bool product_open(struct product *product, struct backend *backend, enum dtype storage,
                         enum dtype dtype, const int64_t *sizes, struct error *error)
{
    *product = (struct product){.backend = backend};
    product->x = random_matrix(backend, storage, sizes[0], sizes[2], error);
    product->weight = random_matrix(backend, storage, sizes[1], sizes[2], error);
    product->y = random_matrix(backend, storage, sizes[0], sizes[1], error);
    return product->x.data && product->weight.data && product->y.data &&
           (!dtype_is_quantized(dtype) || quantize_weight(product, dtype, error));
}

static void product_close(const struct product *product)
{
    void *const memory[] = {product->x.data, product->weight.data, product->y.data, product->stored.data};
    for (int i = 0; i < 4; i++)
        if (memory[i])
            product->backend->release(product->backend, memory[i]);
}

enum { KINDS = 3, ROUNDS = 15 };

/* On a CPU that others use too, only the time of the program's own threads says something. */
static double seconds_of(struct product *product)
{
    if (product->backend->device == DEVICE_CUDA)
        return measure_seconds(product->backend, forward, product, 0.05);
    const double before = processor_seconds();
    forward(product);
    return processor_seconds() - before;
}

/* The least milliseconds of each kind, which take turns: what else the machine does then falls on all of them. */
static void time_products(double *ms, struct product *products)
{
    for (int kind = 0; kind < KINDS; kind++)
        ms[kind] = INFINITY;
    for (int round = 0; round < ROUNDS; round++)
        for (int kind = 0; kind < KINDS; kind++)
            ms[kind] = fmin(ms[kind], 1e3 * seconds_of(&products[kind]));
}

static bool print_times(const struct measured_device *device, struct error *error)
{
    static const int64_t many[] = {64, 512, 2048, 0}, few[] = {8, 0};
    const int64_t out = device->small ? 64 : 4096, in = device->small ? 64 : 1024;
    struct backend *backend = backend_open(device->name, device->threads, error);
    if (!backend)
        return false;
    const enum dtype storage = backend->device == DEVICE_CUDA ? DTYPE_BF16 : DTYPE_REAL;
    printf("y = x W^T with W [%lld, %lld], %s on %s, %d thread%s, milliseconds (of the threads together on a "
           "CPU)\n",
           (long long)out, (long long)in, dtype_name(storage), backend->description, backend->threads,
           backend->threads == 1 ? "" : "s");
    printf("%8s %12s %12s %12s   slower by\n", "rows", dtype_name(storage), "int8", "nf4");
    bool done = true;
    for (const int64_t *rows = device->small ? few : many; done && *rows > 0; rows++) {
        const enum dtype dtypes[KINDS] = {storage, DTYPE_INT8, DTYPE_NF4};
        const int64_t sizes[] = {*rows, out, in};
        struct product products[KINDS] = {{.backend = backend}, {.backend = backend}, {.backend = backend}};
        double ms[KINDS];
        for (int kind = 0; done && kind < KINDS; kind++)
            done = product_open(&products[kind], backend, storage, dtypes[kind], sizes, error);
        if (done)
            time_products(ms, products);
        for (int kind = 0; kind < KINDS; kind++)
            product_close(&products[kind]);
        done = done && backend_synchronize(backend, error);
        if (done)
            printf("%8lld %12.3f %12.3f %12.3f   %.1f %%, %.1f %%\n", (long long)*rows, ms[0], ms[1], ms[2],
                   100.0 * (ms[1] / ms[0] - 1.0), 100.0 * (ms[2] / ms[0] - 1.0));
    }
    backend_close(backend);
    return done;
}

/* ---- memory -------------------------------------------------------------------------------------------- */

static bool open_model(struct transformer **model, struct backend *counting, enum frozen_storage frozen,
                       bool recompute, struct error *error)
{
    const struct transformer_settings settings = {.vocabulary = 32000,
                                                  .width = 4096,
                                                  .layers = 32,
                                                  .query_heads = 32,
                                                  .key_heads = 32,
                                                  .head_width = 128,
                                                  .hidden = 11008,
                                                  .norm_epsilon = 1e-5f,
                                                  .rope_theta = 1e4f,
                                                  .positions = true,
                                                  .recompute = recompute,
                                                  .precision = PRECISION_BF16,
                                                  .frozen = frozen};
    const struct lora_settings lora = {
        .rank = 8, .alpha = 32.0, .dropout = 0.05, .targets = {[LINEAR_Q] = true, [LINEAR_V] = true}};
    return transformer_create(model, counting, &settings, &lora, TRAIN_LORA, 2048, 32, 1, error);
}

/* Of the weights, what is trained: masters and the copies that passes read. */
static double trained_bytes(struct transformer *model)
{
    int64_t count;
    double bytes = 0.0;
    const struct parameter *const parameters = transformer_parameters(model, &count);
    for (int64_t index = 0; index < count; index++)
        if (parameters[index].trained)
            bytes +=
                (double)(tensor_bytes(&parameters[index].value) + tensor_bytes(&parameters[index].working));
    return bytes;
}

static void print_plan(struct transformer *model, const struct backend *counting, bool recompute)
{
    const enum frozen_storage frozen = transformer_settings_of(model)->frozen;
    const double trained = trained_bytes(model);
    printf("%-6s %-9s %9.1f %9.1f", frozen == FROZEN_PRECISION ? "bf16" : frozen_storage_name(frozen),
           recompute ? "yes" : "no", 1e-6 * ((double)transformer_arena(model, 0)->capacity - trained),
           1e-6 * trained);
    for (int index = 1; transformer_arena(model, index); index++)
        printf(" %11.1f", 1e-6 * (double)transformer_arena(model, index)->capacity);
    printf(" %11.1f\n", 1e-6 * (double)counting->memory.bytes);
}

static bool print_plans(struct error *error)
{
    printf("\nLlama-2-7B, adapters of rank 8 on q and v, batches of 2,048 tokens on a GPU in bf16; MB (10^6 "
           "bytes)\n"
           "%-6s %-9s %9s %9s %11s %11s %11s %11s %11s %11s\n",
           "base", "recompute", "frozen", "adapters", "gradients", "optimizer", "batch", "activations",
           "scratch", "total");
    for (int recompute = 1; recompute >= 0; recompute--)
        for (enum frozen_storage frozen = FROZEN_PRECISION; frozen <= FROZEN_NF4; frozen++) {
            struct transformer *model;
            struct backend *counting = counting_backend_open(DEVICE_CUDA, 1, error);
            if (!counting)
                return false;
            const bool opened = open_model(&model, counting, frozen, recompute, error);
            if (opened)
                print_plan(model, counting, recompute);
            transformer_free(model);
            backend_close(counting);
            if (!opened)
                return false;
        }
    return true;
}

int main(int argument_count, char **arguments)
{
    struct error error = ERROR_INITIALIZER;
    backend_prepare_process(arguments);
    const struct measured_device device = measured_device_read(&argument_count, &arguments);
    if (print_times(&device, &error) && print_plans(&error))
        return 0;
    error_print(&error, stderr);
    return 1;
}
