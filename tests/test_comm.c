/*
 * Collectives against what one process computes. Without a launcher it tests a communicator of one process; ctest also
 * starts it by mpirun with several ranks. Numbers are whole, so sums are exact, but for one test that is about rounding.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/comm.h"

static struct communicator *communicator;

static const int64_t lengths[] = {0, 1, 2, 3, 31, 257, 1025, 1000003};
enum { LENGTHS = sizeof lengths / sizeof *lengths };
static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F64, DTYPE_I32, DTYPE_I64};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };
enum { RANKS_MOST = 16 };

#define ASSERT_DONE(call)                                                                                    \
    do {                                                                                                     \
        struct error error = ERROR_INITIALIZER;                                                              \
        if (!(call))                                                                                         \
            fail_msg("rank %d: %s", communicator->rank, error.message);                                      \
    } while (0)

static void set(struct tensor *x, int64_t index, int64_t value)
{
    switch (x->dtype) {
    case DTYPE_F32:
        ((float *)x->data)[index] = (float)value;
        break;
    case DTYPE_F64:
        ((double *)x->data)[index] = (double)value;
        break;
    case DTYPE_I32:
        ((int32_t *)x->data)[index] = (int32_t)value;
        break;
    default:
        ((int64_t *)x->data)[index] = value;
    }
}

static int64_t get(const struct tensor *x, int64_t index)
{
    switch (x->dtype) {
    case DTYPE_F32:
        return (int64_t)((float *)x->data)[index];
    case DTYPE_F64:
        return (int64_t)((double *)x->data)[index];
    case DTYPE_I32:
        return ((int32_t *)x->data)[index];
    default:
        return ((int64_t *)x->data)[index];
    }
}

/* What rank `rank` has at an index before a collective. */
static int64_t given(int rank, int64_t index)
{
    return (index * 7 + 13 * rank) % 1009 * (rank % 2 == 0 ? 1 : -1);
}

/* With a guard behind its end, which nothing may touch. */
static struct tensor make(enum dtype dtype, int64_t length)
{
    char *memory = malloc((size_t)length * dtype_size(dtype) + 8);
    struct tensor x = tensor_1d(memory, dtype, DEVICE_CPU, length);
    memset(memory + tensor_bytes(&x), 0x5A, 8);
    for (int64_t i = 0; i < length; i++)
        set(&x, i, given(communicator->rank, i));
    return x;
}

static void drop(struct tensor *x)
{
    static const char guard[8] = {0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A, 0x5A};
    assert_memory_equal((char *)x->data + tensor_bytes(x), guard, sizeof guard);
    free(x->data);
}

static int64_t sum_of(int64_t index)
{
    int64_t sum = 0;
    for (int rank = 0; rank < communicator->size; rank++)
        sum += given(rank, index);
    return sum;
}

static int64_t maximum_of(int64_t index)
{
    int64_t most = INT64_MIN;
    for (int rank = 0; rank < communicator->size; rank++)
        most = given(rank, index) > most ? given(rank, index) : most;
    return most;
}

static void for_each(void (*test)(enum dtype dtype, int64_t length))
{
    for (int i = 0; i < DTYPES; i++)
        for (int j = 0; j < LENGTHS; j++)
            test(dtypes[i], lengths[j]);
}

static void parts_cover_everything(void **state)
{
    (void)state;
    for (int j = 0; j < LENGTHS; j++) {
        assert_int_equal(comm_part(communicator, lengths[j], 0), 0);
        assert_int_equal(comm_part(communicator, lengths[j], communicator->size), lengths[j]);
        for (int rank = 0; rank < communicator->size; rank++) {
            const int64_t part =
                comm_part(communicator, lengths[j], rank + 1) - comm_part(communicator, lengths[j], rank);
            assert_in_range(part - lengths[j] / communicator->size, 0, 1);
        }
    }
}

static void reduce_all(enum dtype dtype, int64_t length)
{
    struct tensor sum = make(dtype, length), most = make(dtype, length);
    ASSERT_DONE(comm_all_reduce(communicator, &sum, COMM_SUM, &error));
    ASSERT_DONE(comm_all_reduce(communicator, &most, COMM_MAXIMUM, &error));
    for (int64_t i = 0; i < length; i++) {
        assert_int_equal(get(&sum, i), sum_of(i));
        assert_int_equal(get(&most, i), maximum_of(i));
    }
    drop(&sum);
    drop(&most);
}

static void all_reduce_sums_and_finds_the_largest(void **state)
{
    (void)state;
    for_each(reduce_all);
}

static void reduce_and_scatter(enum dtype dtype, int64_t length)
{
    struct tensor x = make(dtype, length);
    ASSERT_DONE(comm_reduce_scatter(communicator, &x, &error));
    for (int64_t i = comm_part(communicator, length, communicator->rank);
         i < comm_part(communicator, length, communicator->rank + 1); i++)
        assert_int_equal(get(&x, i), sum_of(i));
    drop(&x);
}

static void reduce_scatter_sums_the_own_part(void **state)
{
    (void)state;
    for_each(reduce_and_scatter);
}

/* More than wait at once, of many lengths, while the caller does something else. */
static void sums_go_on_beside_the_caller(void **state)
{
    enum { COUNT = 150 };
    struct tensor x[COUNT];
    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++) {
            x[i] = make(DTYPE_F32, 1 + i * i * 7);
            ASSERT_DONE(comm_begin_reduce_scatter(communicator, &x[i], &error));
        }
        usleep(20000 * (useconds_t)communicator->rank);
        ASSERT_DONE(comm_finish(communicator, &error));
        for (int i = 0; i < COUNT; i++) {
            const int64_t length = tensor_count(&x[i]);
            for (int64_t j = comm_part(communicator, length, communicator->rank);
                 j < comm_part(communicator, length, communicator->rank + 1); j++)
                assert_int_equal(get(&x[i], j), sum_of(j));
            drop(&x[i]);
        }
    }
}

/* Sums and gathers in turns, into two places as a pass through layers uses them: the caller reads each gather as soon as it has
 * waited for that one alone. */
static void gathers_go_on_between_sums(void **state)
{
    enum { COUNT = 30, LENGTH = 100003 };
    struct tensor sums[COUNT], places[2];
    int64_t numbers[2];
    (void)state;
    for (int i = 0; i < COUNT; i++)
        sums[i] = make(DTYPE_F32, 1 + i * i * 7);
    for (int i = 0; i <= COUNT; i++) {
        if (i < COUNT) {
            places[i % 2] = make(DTYPE_I32, LENGTH + i);
            ASSERT_DONE(
                comm_begin_all_gather(communicator, &places[i % 2], "all-gather", &numbers[i % 2], &error));
            ASSERT_DONE(comm_begin_reduce_scatter(communicator, &sums[i], &error));
        }
        if (i == 0)
            continue;
        struct tensor *const x = &places[(i - 1) % 2];
        ASSERT_DONE(comm_await(communicator, numbers[(i - 1) % 2], &error));
        for (int rank = 0; rank < communicator->size; rank++)
            for (int64_t j = comm_part(communicator, tensor_count(x), rank);
                 j < comm_part(communicator, tensor_count(x), rank + 1); j++)
                assert_int_equal(get(x, j), given(rank, j));
        drop(x);
    }
    ASSERT_DONE(comm_finish(communicator, &error));
    for (int i = 0; i < COUNT; i++) {
        const int64_t length = tensor_count(&sums[i]);
        for (int64_t j = comm_part(communicator, length, communicator->rank);
             j < comm_part(communicator, length, communicator->rank + 1); j++)
            assert_int_equal(get(&sums[i], j), sum_of(j));
        drop(&sums[i]);
    }
}

/* What fails there is told when it is waited for. */
static void a_failure_beside_the_caller_is_told(void **state)
{
    struct error error = ERROR_INITIALIZER;
    uint16_t halves[2] = {0};
    struct tensor x = tensor_1d(halves, DTYPE_BF16, DEVICE_CPU, 2);
    (void)state;
    if (communicator->size == 1)
        return;
    assert_false(comm_begin_reduce_scatter(communicator, &x, &error) && comm_finish(communicator, &error));
    assert_non_null(strstr(error.message, "is not possible"));
}

static void gather(enum dtype dtype, int64_t length)
{
    struct tensor x = make(dtype, length);
    ASSERT_DONE(comm_all_gather(communicator, &x, &error));
    for (int rank = 0; rank < communicator->size; rank++)
        for (int64_t i = comm_part(communicator, length, rank); i < comm_part(communicator, length, rank + 1);
             i++)
            assert_int_equal(get(&x, i), given(rank, i));
    drop(&x);
}

static void all_gather_brings_every_part(void **state)
{
    (void)state;
    for_each(gather);
}

/* Parts of a given length, the first of which are empty when there are few elements. */
static void parts(enum dtype dtype, int64_t length)
{
    struct tensor sum = make(dtype, length), all = make(dtype, length);
    int64_t starts[RANKS_MOST + 1];
    const int size = communicator->size, own = communicator->rank;
    for (int rank = 0; rank <= size; rank++)
        starts[rank] = length * rank * rank / (size * size);
    ASSERT_DONE(comm_reduce_scatter_parts(communicator, &sum, starts, &error));
    ASSERT_DONE(comm_all_gather_parts(communicator, &all, starts, &error));
    for (int64_t i = starts[own]; i < starts[own + 1]; i++)
        assert_int_equal(get(&sum, i), sum_of(i));
    for (int rank = 0; rank < size; rank++)
        for (int64_t i = starts[rank]; i < starts[rank + 1]; i++)
            assert_int_equal(get(&all, i), given(rank, i));
    drop(&sum);
    drop(&all);
}

static void parts_may_differ_in_length(void **state)
{
    (void)state;
    for_each(parts);
}

static void broadcast(enum dtype dtype, int64_t length)
{
    for (int root = 0; root < communicator->size; root++) {
        struct tensor x = make(dtype, length);
        ASSERT_DONE(comm_broadcast(communicator, &x, root, &error));
        for (int64_t i = 0; i < length; i++)
            assert_int_equal(get(&x, i), given(root, i));
        drop(&x);
    }
}

static void broadcast_comes_from_any_root(void **state)
{
    (void)state;
    for_each(broadcast);
}

/* Around a ring: even ranks send first. */
static void pass_on(enum dtype dtype, int64_t length)
{
    const int size = communicator->size, rank = communicator->rank;
    const int next = (rank + 1) % size, previous = (rank + size - 1) % size;
    struct tensor own = make(dtype, length), theirs = make(dtype, length);
    if (rank % 2 == 0)
        ASSERT_DONE(comm_send(communicator, &own, next, &error));
    ASSERT_DONE(comm_receive(communicator, &theirs, previous, &error));
    if (rank % 2 == 1)
        ASSERT_DONE(comm_send(communicator, &own, next, &error));
    for (int64_t i = 0; i < length; i++)
        assert_int_equal(get(&theirs, i), given(previous, i));
    drop(&own);
    drop(&theirs);
}

static void messages_go_from_rank_to_rank(void **state)
{
    struct error error = ERROR_INITIALIZER;
    struct tensor x = make(DTYPE_F32, 1);
    (void)state;
    if (communicator->size > 1)
        for_each(pass_on);
    assert_false(comm_send(communicator, &x, communicator->rank, &error));
    drop(&x);
}

/* Sums in the order of the ranks: with 1e8 first in f32 the ones that follow are lost, one by one. */
static void sums_are_in_the_order_of_the_ranks(void **state)
{
    static const int64_t few[] = {1, 3, 2000, 700001};
    (void)state;
    for (size_t j = 0; j < sizeof few / sizeof *few; j++) {
        struct tensor x = make(DTYPE_F32, few[j]);
        float expected = 1e8F;
        for (int rank = 1; rank < communicator->size; rank++)
            expected += 3.0F;
        for (int64_t i = 0; i < few[j]; i++)
            ((float *)x.data)[i] = communicator->rank == 0 ? 1e8F : 3.0F;
        ASSERT_DONE(comm_all_reduce(communicator, &x, COMM_SUM, &error));
        for (int64_t i = 0; i < few[j]; i++)
            assert_true(((float *)x.data)[i] == expected);
        drop(&x);
    }
}

/* Nobody leaves a barrier before the last has come. */
static void barrier_waits_for_the_last(void **state)
{
    (void)state;
    for (int last = 0; last < communicator->size; last++) {
        const double started = (double)time(NULL);
        if (communicator->rank == last)
            sleep(2);
        ASSERT_DONE(comm_barrier(communicator, &error));
        if (communicator->size > 1)
            assert_true((double)time(NULL) - started >= 1.0);
    }
}

/* Does a small sum with stderr in a file, and returns what was written there. */
static void sum_and_listen(char *text, size_t size)
{
    FILE *file = tmpfile();
    const int before = dup(STDERR_FILENO);
    double number = 1;
    assert_non_null(file);
    dup2(fileno(file), STDERR_FILENO);
    struct error error = ERROR_INITIALIZER;
    const bool done = comm_sum_numbers(communicator, &number, 1, &error);
    dup2(before, STDERR_FILENO);
    close(before);
    rewind(file);
    text[fread(text, 1, size - 1, file)] = '\0';
    fclose(file);
    assert_true(done);
}

static void a_late_rank_is_named(void **state)
{
    const int late = communicator->size - 1;
    char text[4096], expected[256];
    (void)state;
    if (communicator->size == 1)
        return;
    communicator->late_seconds = 0.5;
    ASSERT_DONE(comm_barrier(communicator, &error));
    if (communicator->rank == late)
        sleep(3);
    sum_and_listen(text, sizeof text);
    communicator->late_seconds = 30;
    snprintf(expected, sizeof expected, "idrec: rank %d on %s has been waiting for rank %d on %s for ",
             communicator->rank, communicator->host, late, communicator->host);
    if (communicator->rank != late)
        assert_non_null(strstr(text, expected));
}

static void long_waits_may_be_expected(void **state)
{
    char text[4096];
    (void)state;
    communicator->late_seconds = 0.5;
    communicator->patient = true;
    if (communicator->rank == communicator->size - 1)
        sleep(2);
    sum_and_listen(text, sizeof text);
    communicator->patient = false;
    communicator->late_seconds = 30;
    assert_string_equal(text, "");
}

static void what_was_sent_is_counted(void **state)
{
    const int64_t size = communicator->size, length = 4 * size * 100000;
    struct comm_volume *const volume = communicator->volume;
    const struct comm_volume before[COMM_KIND_COUNT] = {volume[0], volume[1], volume[2],
                                                        volume[3], volume[4], volume[5]};
    struct tensor x = make(DTYPE_F32, length);
    (void)state;
    ASSERT_DONE(comm_all_reduce(communicator, &x, COMM_SUM, &error));
    ASSERT_DONE(comm_reduce_scatter(communicator, &x, &error));
    ASSERT_DONE(comm_all_gather(communicator, &x, &error));
    const int64_t others = (size - 1) * (length / size) * 4;
    assert_int_equal(volume[COMM_ALL_REDUCE].bytes_sent - before[COMM_ALL_REDUCE].bytes_sent, 2 * others);
    assert_int_equal(volume[COMM_REDUCE_SCATTER].bytes_sent - before[COMM_REDUCE_SCATTER].bytes_sent, others);
    assert_int_equal(volume[COMM_ALL_GATHER].bytes_sent - before[COMM_ALL_GATHER].bytes_sent, others);
    assert_int_equal(volume[COMM_ALL_GATHER].calls - before[COMM_ALL_GATHER].calls, size > 1);
    drop(&x);
}

static void numbers_are_summed_and_broadcast(void **state)
{
    double numbers[] = {communicator->rank + 0.5, 1.0};
    int64_t number = communicator->rank == communicator->size - 1 ? (int64_t)1 << 60 : 3;
    (void)state;
    ASSERT_DONE(comm_sum_numbers(communicator, numbers, 2, &error));
    ASSERT_DONE(comm_broadcast_integer(communicator, &number, communicator->size - 1, &error));
    assert_true(numbers[0] == 0.5 * communicator->size * communicator->size);
    assert_true(numbers[1] == communicator->size);
    assert_int_equal(number, (int64_t)1 << 60);
}

static void expect_device(const char *device, int gpus, const char *expected)
{
    char name[16];
    ASSERT_DONE(comm_device(communicator, device, gpus, name, &error));
    assert_string_equal(name, expected);
}

static void each_rank_takes_a_gpu_of_its_own(void **state)
{
    char own[16];
    (void)state;
    snprintf(own, sizeof own, "cuda:%d", communicator->local_rank);
    unsetenv("CUDA_VISIBLE_DEVICES");
    expect_device("cpu", 8, "cpu");
    expect_device("auto", 0, "auto");
    expect_device("cuda", 0, "cuda");
    expect_device("cuda", 8, communicator->size == 1 ? "cuda" : own);
    expect_device("auto", 8, communicator->size == 1 ? "auto" : own);
}

/* The launcher has shown each rank one GPU. */
static void gpus_that_a_launcher_divided_are_taken_so(void **state)
{
    char own[16];
    (void)state;
    snprintf(own, sizeof own, "%d", communicator->rank);
    setenv("CUDA_VISIBLE_DEVICES", own, 1);
    expect_device("cuda", 1, communicator->size == 1 ? "cuda" : "cuda:0");
    unsetenv("CUDA_VISIBLE_DEVICES");
}

static void more_ranks_than_gpus_are_refused(void **state)
{
    struct error few = ERROR_INITIALIZER, one = ERROR_INITIALIZER;
    char name[16];
    (void)state;
    if (communicator->size == 1)
        return;
    assert_false(comm_device(communicator, "auto", 1, name, &few));
    assert_non_null(strstr(few.message, "but only 1 GPU;"));
    assert_false(comm_device(communicator, "cuda:1", 8, name, &one));
    assert_non_null(strstr(one.message, "device cuda:1 is one GPU"));
}

static void a_failure_names_rank_and_host(void **state)
{
    struct error error = ERROR_INITIALIZER;
    char expected[128];
    (void)state;
    error_set(&error, ERROR_USAGE, "no such file");
    comm_name_rank(communicator, &error);
    snprintf(expected, sizeof expected, "rank %d on %s: no such file", communicator->rank,
             communicator->host);
    assert_string_equal(error.message, communicator->size == 1 ? "no such file" : expected);
    assert_int_equal(error.kind, ERROR_USAGE);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_cover_everything),
        cmocka_unit_test(all_reduce_sums_and_finds_the_largest),
        cmocka_unit_test(reduce_scatter_sums_the_own_part),
        cmocka_unit_test(all_gather_brings_every_part),
        cmocka_unit_test(parts_may_differ_in_length),
        cmocka_unit_test(sums_go_on_beside_the_caller),
        cmocka_unit_test(gathers_go_on_between_sums),
        cmocka_unit_test(broadcast_comes_from_any_root),
        cmocka_unit_test(messages_go_from_rank_to_rank),
        cmocka_unit_test(sums_are_in_the_order_of_the_ranks),
        cmocka_unit_test(barrier_waits_for_the_last),
        cmocka_unit_test(a_late_rank_is_named),
        cmocka_unit_test(long_waits_may_be_expected),
        cmocka_unit_test(what_was_sent_is_counted),
        cmocka_unit_test(numbers_are_summed_and_broadcast),
        cmocka_unit_test(each_rank_takes_a_gpu_of_its_own),
        cmocka_unit_test(gpus_that_a_launcher_divided_are_taken_so),
        cmocka_unit_test(more_ranks_than_gpus_are_refused),
        cmocka_unit_test(a_failure_names_rank_and_host),
        cmocka_unit_test(a_failure_beside_the_caller_is_told),
    };
    struct error error = ERROR_INITIALIZER;
    if (!comm_open(&communicator, &error)) {
        error_print(&error, stderr);
        comm_abort(communicator, 1);
    }
    /* So that a launcher that started nothing together is seen. */
    if (argc > 1 && communicator->size != atoi(argv[1])) {
        fprintf(stderr, "%d ranks, and %s were asked for\n", communicator->size, argv[1]);
        comm_abort(communicator, 1);
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed > 0)
        comm_abort(communicator, 1);
    comm_close(communicator);
    return 0;
}
