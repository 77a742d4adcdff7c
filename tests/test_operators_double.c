/* Backward of every operator that has one against central differences of its forward, in double precision. */
#include <stdio.h>

#include "tests/operator_cases.h"
#include "tests/support.h"

/* The scalar whose gradient is checked: the results weighted with the upstream gradients. */
static double objective(struct operator_case *c, struct backend *backend)
{
    c->family->forward(backend, c->tensors, c->size);
    double sum = 0.0;
    for (int i = 0; i < c->count; i++)
        if (c->operands[i].role == RESULT)
            for (int64_t j = 0; j < tensor_count(&c->tensors[i]); j++)
                sum += ((const double *)c->tensors[i].data)[j] * ((const double *)c->upstream[i].data)[j];
    return sum;
}

static double difference(struct operator_case *c, struct backend *backend, int operand, int64_t element)
{
    const double step = 1e-5;
    double *value = (double *)c->tensors[operand].data + element;
    const double before = *value;
    *value = before + step;
    const double above = objective(c, backend);
    *value = before - step;
    const double below = objective(c, backend);
    *value = before;
    return (above - below) / (2.0 * step);
}

static void check_case(struct operator_case *c, struct backend *backend)
{
    enum { ELEMENTS = 9 };
    case_reset(c, backend);
    c->family->forward(backend, c->tensors, c->size);
    c->family->backward(backend, c->tensors, c->gradients, c->size);
    for (int i = 0; i < c->count; i++) {
        if (c->operands[i].role != VARIABLE)
            continue;
        const int64_t count = tensor_count(&c->tensors[i]), stride = count / ELEMENTS + 1;
        double error = 0.0, norm = 0.0;
        for (int64_t j = 0; j < count; j += stride) {
            const double expected = difference(c, backend, i, j);
            const double found = ((const double *)c->gradients[i].data)[j];
            error += (found - expected) * (found - expected);
            norm += expected * expected;
        }
        if (!(sqrt(error) <= 1e-6 * sqrt(norm) + 1e-9))
            fail_msg("%s size {%lld, %lld, %lld, ...}: gradient of %s is off by %.3g of %.3g",
                     c->family->name, (long long)c->size[0], (long long)c->size[1], (long long)c->size[2],
                     c->operands[i].name, sqrt(error), sqrt(norm));
    }
}

static void gradients_equal_differences(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = open_backend(2);
    int families = 0;
    for (int f = 0; f < FAMILY_COUNT; f++) {
        if (!operator_families[f].backward)
            continue;
        families++;
        for (int s = 0; operator_families[f].sizes[s][0] > 0; s++) {
            struct operator_case c;
            case_open(&c, backend, &operator_families[f], operator_families[f].sizes[s]);
            check_case(&c, backend);
            case_close(&c, backend);
        }
    }
    assert_true(families >= 11);
    require(backend_synchronize(backend, &error), &error);
    backend_close(backend);
}

int main(int argument_count, char **arguments)
{
    (void)argument_count;
    backend_prepare_process(arguments);
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_equal_differences)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
