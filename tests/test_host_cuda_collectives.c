/*
 * Collectives over the memory of emulated GPUs by a stand-in for NCCL (stand_in_nccl.c). ctest starts it alone, as one rank, and by
 * mpirun with several, each with a GPU of its own.
 */
#include "tests/collective_cases.h"

static void the_bytes_of_gpus_are_counted(void **state)
{
    const struct comm_volume before = communicator->volume[COMM_ALL_REDUCE];
    const struct comm_volume *const now = &communicator->volume[COMM_ALL_REDUCE];
    struct error error = ERROR_INITIALIZER;
    struct tensor x = make(DTYPE_F32, 4000);
    (void)state;
    require(comm_all_reduce(communicator, &x, COMM_SUM, &error), &error);
    if (communicator->size > 1)
        expect(&x, 0, 4000, summed, 0);
    assert_int_equal(now->calls - before.calls, communicator->size > 1);
    assert_int_equal(now->bytes_sent - before.bytes_sent,
                     2 * 16000 * (communicator->size - 1) / communicator->size);
    drop(&x);
}

/* A type that NCCL does not take is told in its words. */
static void a_refusal_has_the_words_of_the_library(void **state)
{
    struct error error = ERROR_INITIALIZER;
    struct tensor x = make(DTYPE_F32, 8);
    (void)state;
    x.dtype = DTYPE_BF16;
    assert_false(communicator->device_calls->all_reduce(communicator, &x, COMM_SUM, &error));
    assert_string_equal(error.message,
                        "all-reduce by NCCL: invalid argument: the stand-in does not know this type");
    x.dtype = DTYPE_F32;
    drop(&x);
}

static void join(void)
{
    struct error error = ERROR_INITIALIZER;
    char name[16];
    const bool found = comm_device(communicator, "cuda", cuda_device_count(&error), name, &error);
    device = found ? backend_open(name, 1, &error) : NULL;
    if (!device || !cuda_join_ranks(communicator, device, &error)) {
        comm_name_rank(communicator, &error);
        error_print(&error, stderr);
        comm_abort(communicator, 1);
    }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        COLLECTIVE_TESTS,
        cmocka_unit_test(the_bytes_of_gpus_are_counted),
        cmocka_unit_test(a_refusal_has_the_words_of_the_library),
    };
    struct error error = ERROR_INITIALIZER;
    if (!comm_open(&communicator, &error) || (argc > 1 && communicator->size != atoi(argv[1]))) {
        fprintf(stderr, "not as many ranks as were asked for: %s\n", error.message);
        comm_abort(communicator, 1);
    }
    join();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed > 0)
        comm_abort(communicator, 1);
    comm_leave_device(communicator);
    backend_close(device);
    comm_close(communicator);
    return 0;
}
