#include "bench/measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/bf16.h"
#include "core/file.h"

enum { REPEATS_MAXIMUM = 101, REPEATS_MINIMUM = 3, QUEUED_MAXIMUM = 1000, RANDOM_VALUES = 1 << 20 };

static const double shortest_repeat = 1e-3;

/* ---- time ---------------------------------------------------------------------------------------------- */

static int compare_doubles(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

double processor_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

double median(double *values, int64_t count)
{
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    return values[count / 2];
}

static double seconds_of(struct backend *backend, measured_work *work, void *context, int calls)
{
    const double started = clock_seconds();
    for (int call = 0; call < calls; call++)
        work(context);
    backend->wait(backend);
    return (clock_seconds() - started) / calls;
}

double measure_seconds(struct backend *backend, measured_work *work, void *context, double budget)
{
    double seconds[REPEATS_MAXIMUM];
    seconds_of(backend, work, context, 1);
    const double once = seconds_of(backend, work, context, 1);
    const int calls = once >= shortest_repeat ? 1 : (int)fmin(QUEUED_MAXIMUM, ceil(shortest_repeat / once));
    const double started = clock_seconds();
    int count = 0;
    while (count < REPEATS_MINIMUM || (count < REPEATS_MAXIMUM && clock_seconds() - started < budget))
        seconds[count++] = seconds_of(backend, work, context, calls);
    return median(seconds, count);
}

/* ---- random matrices ----------------------------------------------------------------------------------- */

/* Draws RANDOM_VALUES numbers and repeats them: what a large matrix needs is that no number is special. */
static void fill_random(void *values, enum dtype dtype, int64_t count)
{
    struct random_stream stream = random_stream_open(1, RANDOM_TEST, 0, 0);
    const size_t size = dtype_size(dtype);
    for (int64_t i = 0; i < count && i < RANDOM_VALUES; i++) {
        const float value = (float)random_normal(&stream);
        if (dtype == DTYPE_BF16)
            ((uint16_t *)values)[i] = bf16_nearest(value);
        else
            ((float *)values)[i] = value;
    }
    for (int64_t filled = RANDOM_VALUES; filled < count; filled += RANDOM_VALUES) {
        const int64_t part = count - filled < RANDOM_VALUES ? count - filled : RANDOM_VALUES;
        memcpy((char *)values + (size_t)filled * size, values, (size_t)part * size);
    }
}

struct tensor random_matrix(struct backend *backend, enum dtype dtype, int64_t rows, int64_t columns,
                            struct error *error)
{
    struct tensor tensor = tensor_2d(NULL, dtype, backend->device, rows, columns);
    const size_t bytes = tensor_bytes(&tensor);
    void *host = malloc(bytes);
    tensor.data = host ? backend->allocate(backend, bytes) : NULL;
    if (tensor.data) {
        fill_random(host, dtype, rows * columns);
        tensor_upload(backend, &tensor, host);
        backend->wait(backend);
    } else {
        error_memory(error, "a matrix of the bench", bytes, NULL);
    }
    free(host);
    return tensor;
}

/* ---- ceilings ------------------------------------------------------------------------------------------ */

struct copy_work {
    struct backend *backend;
    void *to, *from;
    size_t bytes;
};

static void copy_once(void *context)
{
    const struct copy_work *work = context;
    work->backend->copy(work->backend, work->to, work->from, work->bytes);
}

static bool measure_copy(double *rate, struct backend *backend, size_t bytes, struct error *error)
{
    struct copy_work work = {backend, backend->allocate(backend, bytes), backend->allocate(backend, bytes),
                             bytes};
    const bool done = work.to && work.from;
    if (done) {
        backend->fill_zero(backend, work.from, bytes);
        *rate = 2.0 * (double)bytes / measure_seconds(backend, copy_once, &work, 0.5);
    } else {
        error_memory(error, "a copy within the device's memory", 2 * bytes, NULL);
    }
    if (work.to)
        backend->release(backend, work.to);
    if (work.from)
        backend->release(backend, work.from);
    return done && backend_synchronize(backend, error);
}

struct product_work {
    struct backend *backend;
    struct tensor a, b, c;
};

static void multiply_once(void *context)
{
    struct product_work *work = context;
    op_gemm(work->backend, &work->c, &work->a, PLAIN, &work->b, TRANSPOSED, 1.0f, 0.0f);
}

static bool measure_product(double *rate, struct backend *backend, enum dtype dtype, int64_t size,
                            struct error *error)
{
    struct product_work work = {.backend = backend};
    struct tensor *matrices[] = {&work.a, &work.b, &work.c};
    bool done = true;
    for (int i = 0; done && i < 3; i++) {
        *matrices[i] = random_matrix(backend, dtype, size, size, error);
        done = matrices[i]->data != NULL;
    }
    if (done)
        *rate = 2.0 * pow((double)size, 3.0) / measure_seconds(backend, multiply_once, &work, 1.0);
    for (int i = 0; i < 3; i++)
        if (matrices[i]->data)
            backend->release(backend, matrices[i]->data);
    return done && backend_synchronize(backend, error);
}

bool ceilings_measure(struct ceilings *ceilings, struct backend *backend, bool small, struct error *error)
{
    const bool gpu = backend->device != DEVICE_CPU;
    const size_t bytes = (size_t)(small ? 16 : gpu ? 1024 : 256) << 20;
    const int64_t size = small ? 256 : gpu ? 8192 : 1024;
    *ceilings = (struct ceilings){0};
    return measure_copy(&ceilings->copy_bytes, backend, bytes, error) &&
           measure_product(&ceilings->gemm_f32, backend, DTYPE_REAL, size, error) &&
           (!gpu || measure_product(&ceilings->gemm_bf16, backend, DTYPE_BF16, size, error));
}

void ceilings_print(const struct ceilings *ceilings, const struct backend *backend)
{
    printf("ceilings of %s: copy %.1f GB/s, GEMM f32 %.3f TFLOP/s", backend->name,
           1e-9 * ceilings->copy_bytes, 1e-12 * ceilings->gemm_f32);
    if (ceilings->gemm_bf16 > 0)
        printf(", bf16 %.1f TFLOP/s", 1e-12 * ceilings->gemm_bf16);
    putchar('\n');
    fflush(stdout);
}

/* ---- arguments ----------------------------------------------------------------------------------------- */

struct measured_device measured_device_read(int *count, char ***arguments)
{
    struct measured_device device = {.name = "cpu"};
    int taken = 1;
    while (taken < *count && strncmp((*arguments)[taken], "--", 2) == 0) {
        const char *option = (*arguments)[taken], *value = (*arguments)[taken + 1];
        const bool valued = value && strcmp(option, "--small") != 0;
        if (strcmp(option, "--small") == 0)
            device.small = true;
        else if (valued && strcmp(option, "--device") == 0)
            device.name = value;
        else if (valued && strcmp(option, "--threads") == 0)
            device.threads = atoi(value);
        else
            break;
        taken += valued ? 2 : 1;
    }
    (*arguments)[taken - 1] = (*arguments)[0];
    *arguments += taken - 1;
    *count -= taken - 1;
    return device;
}
