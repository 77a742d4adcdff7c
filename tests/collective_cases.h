/* collective_cases.h: what collectives over a GPU's memory must give, of numbers that are whole, so that sums are exact. */
#ifndef IDREC_TESTS_COLLECTIVE_CASES_H
#define IDREC_TESTS_COLLECTIVE_CASES_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/comm.h"
#include "core/comm/comm_calls.h"
#include "cuda/backend.h"
#include "tests/support.h"

static struct communicator *communicator;
static struct backend *device;

static const int64_t lengths[] = {1, 2, 3, 257, 70001};
enum { LENGTHS = sizeof lengths / sizeof *lengths };
static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F64, DTYPE_I32, DTYPE_I64};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };
enum { RANKS_MOST = 16 };

/* What rank `rank` has at an index before a collective. */
static double given(int rank, int64_t index)
{
    return (double)((index * 7 + 13 * rank) % 1009 * (rank % 2 == 0 ? 1 : -1));
}

static double sum_of(int64_t index)
{
    double sum = 0;
    for (int rank = 0; rank < communicator->size; rank++)
        sum += given(rank, index);
    return sum;
}

static double maximum_of(int64_t index)
{
    double most = given(0, index);
    for (int rank = 1; rank < communicator->size; rank++)
        most = given(rank, index) > most ? given(rank, index) : most;
    return most;
}

static void set(void *values, enum dtype dtype, int64_t index, double value)
{
    switch (dtype) {
    case DTYPE_F32:
        ((float *)values)[index] = (float)value;
        break;
    case DTYPE_F64:
        ((double *)values)[index] = value;
        break;
    case DTYPE_I32:
        ((int32_t *)values)[index] = (int32_t)value;
        break;
    default:
        ((int64_t *)values)[index] = (int64_t)value;
    }
}

static double get(const void *values, enum dtype dtype, int64_t index)
{
    switch (dtype) {
    case DTYPE_F32:
        return ((const float *)values)[index];
    case DTYPE_F64:
        return ((const double *)values)[index];
    case DTYPE_I32:
        return ((const int32_t *)values)[index];
    default:
        return (double)((const int64_t *)values)[index];
    }
}

static struct tensor make(enum dtype dtype, int64_t length)
{
    void *host = malloc((size_t)length * dtype_size(dtype));
    struct tensor x = tensor_1d(NULL, dtype, DEVICE_CUDA, length);
    x.data = backend_allocate(device, tensor_bytes(&x));
    assert_non_null(x.data);
    for (int64_t i = 0; i < length; i++)
        set(host, dtype, i, given(communicator->rank, i));
    tensor_upload(device, &x, host);
    free(host);
    return x;
}

/* Elements first .. end - 1 are what `expected` says of rank `rank`; the tensor is given back. */
static void expect(struct tensor *x, int64_t first, int64_t end, double (*expected)(int rank, int64_t index),
                   int rank)
{
    struct error error = ERROR_INITIALIZER;
    void *host = malloc(tensor_bytes(x));
    tensor_download(device, host, x);
    require(backend_synchronize(device, &error), &error);
    for (int64_t i = first; i < end; i++)
        if (get(host, x->dtype, i) != expected(rank, i))
            fail_msg("rank %d: element %lld of %lld %s is %g, not %g", communicator->rank, (long long)i,
                     (long long)tensor_count(x), dtype_name(x->dtype), get(host, x->dtype, i),
                     expected(rank, i));
    free(host);
}

static double summed(int rank, int64_t index)
{
    (void)rank;
    return sum_of(index);
}

static double largest(int rank, int64_t index)
{
    (void)rank;
    return maximum_of(index);
}

static void drop(struct tensor *x)
{
    backend_release(device, x->data, tensor_bytes(x));
}

/* The calls themselves: comm.h's collectives give them no work where there is one rank. */
#define CALL(name, ...)                                                                                      \
    do {                                                                                                     \
        struct error error = ERROR_INITIALIZER;                                                              \
        require(communicator->device_calls->name(communicator, __VA_ARGS__, &error), &error);                \
    } while (0)

static void reduce_all(enum dtype dtype, int64_t length)
{
    struct tensor sum = make(dtype, length), most = make(dtype, length);
    CALL(all_reduce, &sum, COMM_SUM);
    CALL(all_reduce, &most, COMM_MAXIMUM);
    expect(&sum, 0, length, summed, 0);
    expect(&most, 0, length, largest, 0);
    drop(&sum);
    drop(&most);
}

static void reduce_and_scatter(enum dtype dtype, int64_t length)
{
    struct tensor x = make(dtype, length);
    const int rank = communicator->rank;
    CALL(reduce_scatter, &x, NULL);
    expect(&x, comm_part(communicator, length, rank), comm_part(communicator, length, rank + 1), summed, 0);
    drop(&x);
}

static void gather(enum dtype dtype, int64_t length)
{
    struct tensor x = make(dtype, length);
    CALL(all_gather, &x, NULL);
    for (int rank = 0; rank < communicator->size; rank++)
        expect(&x, comm_part(communicator, length, rank), comm_part(communicator, length, rank + 1), given,
               rank);
    drop(&x);
}

static void parts(enum dtype dtype, int64_t length)
{
    struct tensor sum = make(dtype, length), all = make(dtype, length);
    int64_t starts[RANKS_MOST + 1];
    const int size = communicator->size, own = communicator->rank;
    for (int rank = 0; rank <= size; rank++)
        starts[rank] = length * rank * rank / (size * size);
    CALL(reduce_scatter, &sum, starts);
    CALL(all_gather, &all, starts);
    expect(&sum, starts[own], starts[own + 1], summed, 0);
    for (int rank = 0; rank < size; rank++)
        expect(&all, starts[rank], starts[rank + 1], given, rank);
    drop(&sum);
    drop(&all);
}

static void broadcast(enum dtype dtype, int64_t length)
{
    for (int root = 0; root < communicator->size; root++) {
        struct tensor x = make(dtype, length);
        CALL(broadcast, &x, root);
        expect(&x, 0, length, given, root);
        drop(&x);
    }
}

static void for_each(void (*test)(enum dtype dtype, int64_t length))
{
    for (int i = 0; i < DTYPES; i++)
        for (int j = 0; j < LENGTHS; j++)
            test(dtypes[i], lengths[j]);
}

static void all_reduce_sums_and_finds_the_largest(void **state)
{
    (void)state;
    for_each(reduce_all);
}

static void reduce_scatter_sums_the_own_part(void **state)
{
    (void)state;
    for_each(reduce_and_scatter);
}

static void all_gather_brings_every_part(void **state)
{
    (void)state;
    for_each(gather);
}

static void parts_may_differ_in_length(void **state)
{
    (void)state;
    for_each(parts);
}

static void broadcast_comes_from_any_root(void **state)
{
    (void)state;
    for_each(broadcast);
}

/* More than are told apart, each into a tensor that the backend has just filled, and each read as soon as it is there. */
static void gathers_go_on_beside_the_backend(void **state)
{
    enum { COUNT = 10, LENGTH = 3000017 };
    const struct device_comm_calls *const calls = communicator->device_calls;
    struct error error = ERROR_INITIALIZER;
    struct tensor x[COUNT];
    int64_t number[COUNT];
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        x[i] = make(DTYPE_I32, i < 3 ? LENGTH : 1000);
        require(calls->begin_beside(communicator, &error) &&
                    calls->all_gather(communicator, &x[i], NULL, &error) &&
                    calls->end_beside(communicator, &number[i], &error),
                &error);
        assert_true(i == 0 || number[i] > number[i - 1]);
    }
    for (int i = 0; i < COUNT; i++) {
        const int64_t length = tensor_count(&x[i]);
        require(calls->await(communicator, number[i], &error), &error);
        for (int rank = 0; rank < communicator->size; rank++)
            expect(&x[i], comm_part(communicator, length, rank), comm_part(communicator, length, rank + 1),
                   given, rank);
        drop(&x[i]);
    }
}

#define COLLECTIVE_TESTS                                                                                     \
    cmocka_unit_test(all_reduce_sums_and_finds_the_largest),                                                 \
        cmocka_unit_test(reduce_scatter_sums_the_own_part), cmocka_unit_test(all_gather_brings_every_part),  \
        cmocka_unit_test(parts_may_differ_in_length), cmocka_unit_test(broadcast_comes_from_any_root),       \
        cmocka_unit_test(gathers_go_on_beside_the_backend)

#endif
