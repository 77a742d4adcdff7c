/*
 * Collectives by NCCL over the memory of one GPU, as one rank: the library is found, takes what is given to it and leaves the right
 * numbers. Several ranks are tested with a stand-in for NCCL (test_host_cuda_collectives.c). Without a GPU or NCCL it is skipped
 * (status 77).
 */
#include "tests/collective_cases.h"

enum { STATUS_SKIPPED = 77 };

int main(void)
{
    static const struct CMUnitTest tests[] = {COLLECTIVE_TESTS};
    struct error error = ERROR_INITIALIZER;
    char description[256];
    cuda_describe_ranks(description, sizeof description);
    if (!cuda_is_built_in() || cuda_device_count(&error) == 0) {
        printf("skipped: %s\n", cuda_is_built_in() ? error.message : cuda_build_description());
        return STATUS_SKIPPED;
    }
    if (strncmp(description, "NCCL is not there", 17) == 0) {
        printf("skipped: %s\n", description);
        return STATUS_SKIPPED;
    }
    device = backend_open("cuda", 0, &error);
    if (!device || !comm_open(&communicator, &error) || !cuda_join_ranks(communicator, device, &error)) {
        error_print(&error, stderr);
        return EXIT_FAILURE;
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed == 0)
        printf("%s on %s: collectives of %d rank are right\n", description, device->description,
               communicator->size);
    comm_close(communicator);
    backend_close(device);
    return failed > 0;
}
