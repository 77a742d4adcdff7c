/*
 * Sequential recommenders: goldens against PyTorch, and what they are fitted on and scored from.
 */
#include <unistd.h>

#include "tests/sequential_cases.h"

static void goldens_hold(void **state)
{
    (void)state;
    struct backend *backend = open_backend(2);
    for (int number = 0; number < SEQUENTIAL_GOLDENS; number++)
        check_sequential_golden(backend, number);
    backend_close(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
