/* Classes taken out of a softmax have probability 0 and no gradient. */
#include <math.h>

#include "core/ops.h"
#include "tests/support.h"

enum { ROWS = 2, CLASSES = 4 };

static void excluded_classes_take_no_part(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = open_backend(1);
    real logits[ROWS * CLASSES] = {1, 2, 3, 4, 4, 3, 2, 1}, losses[ROWS], weights[ROWS] = {1, 1};
    /* Packed tokens: row 0 is the second of 0, 2; row 1 is the only one of 9, which is no class. */
    int32_t tokens[] = {0, 2, 9}, begin[] = {0, 2}, last[] = {1, 2}, targets[] = {3, 0};
    struct tensor matrix = tensor_2d(logits, DTYPE_REAL, DEVICE_CPU, ROWS, CLASSES);
    struct tensor loss = tensor_1d(losses, DTYPE_REAL, DEVICE_CPU, ROWS);
    const struct tensor weight = tensor_1d(weights, DTYPE_REAL, DEVICE_CPU, ROWS);
    const struct tensor columns = tensor_1d(tokens, DTYPE_I32, DEVICE_CPU, 3);
    const struct tensor first = tensor_1d(begin, DTYPE_I32, DEVICE_CPU, ROWS);
    const struct tensor final = tensor_1d(last, DTYPE_I32, DEVICE_CPU, ROWS);
    const struct tensor target = tensor_1d(targets, DTYPE_I32, DEVICE_CPU, ROWS);

    op_exclude(backend, &matrix, &first, &final, &columns);
    op_cross_entropy(backend, &matrix, &loss, &target, &weight, CLASSES);
    assert_true(backend_synchronize(backend, &error));
    assert_true(fabs((double)losses[0] - log(1 + exp(-2))) < 1e-5);
    assert_true(fabs((double)losses[1] - log(1 + exp(-1) + exp(-2) + exp(-3))) < 1e-5);
    assert_true(logits[0] == 0 && logits[2] == 0);
    assert_true(fabs((double)logits[1] - 1 / (1 + exp(2))) < 1e-5);
    backend_close(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(excluded_classes_take_no_part)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
