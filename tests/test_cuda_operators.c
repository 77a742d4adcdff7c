/*
 * The CUDA backend on a GPU against the CPU operators, over the whole case list, in f32 and bf16; a second run must give
 * the same bits, except of products that are fast. Prints the worst error of each family. Without a GPU it is skipped
 * (status 77).
 *
 *   test_cuda_operators [--short] [FAMILY]
 *
 * --short: the two smallest sizes of each family, for tools that make kernels a hundred times slower.
 */
#include "cuda/backend.h"
#include "tests/device_cases.h"

enum { SHORT_SIZES = 2, STATUS_SKIPPED = 77 };

static const char *only_family;
static bool short_list;

static void check_bits(struct backend *cpu, struct backend *device, const struct operator_case *expected,
                       const struct operator_case *first, bool bf16)
{
    struct operator_case unused, again;
    open_pair(&unused, &again, cpu, device, first->family, first->size, bf16);
    run_on_device(&again, expected, device);
    for (int i = 0; i < again.count; i++)
        if (!same_bits(device, &first->tensors[i], &again.tensors[i]) ||
            !same_bits(device, &first->gradients[i], &again.gradients[i]))
            fail_msg("%s {%lld, %lld, ...}: %s differs between two runs", first->family->name,
                     (long long)first->size[0], (long long)first->size[1], again.operands[i].name);
    case_close(&again, device);
    case_close(&unused, cpu);
}

static double check_case(struct backend *cpu, struct backend *device, const struct operator_family *family,
                         const int64_t *size, bool bf16)
{
    const double full = device->fast ? 1e-6 : 1e-10, limit = bf16 ? 1e-4 : full;
    struct operator_case expected, found;
    open_pair(&expected, &found, cpu, device, family, size, bf16);
    run_on_device(&expected, &expected, cpu);
    run_on_device(&found, &expected, device);
    const char *worst;
    const double error = case_error(&expected, &found, cpu, device, &worst);
    if (!(error <= limit))
        fail_msg("%s %s {%lld, %lld, %lld, ...}: error of %s is %.3g, above %.3g", family->name,
                 bf16 ? "bf16" : "f32", (long long)size[0], (long long)size[1], (long long)size[2], worst,
                 error, limit);
    if (!device->fast)
        check_bits(cpu, device, &expected, &found, bf16);
    case_close(&found, device);
    case_close(&expected, cpu);
    return error;
}

static void check_family(struct backend *cpu, struct backend *device, const struct operator_family *family,
                         bool bf16)
{
    double worst = 0.0;
    int sizes = 0;
    for (; family->sizes[sizes][0] > 0 && !(short_list && sizes == SHORT_SIZES); sizes++)
        worst = fmax(worst, check_case(cpu, device, family, family->sizes[sizes], bf16));
    const char *const full = device->fast ? "tf32" : "f32";
    printf("%-20s %-4s %2d sizes, worst error %.2e\n", family->name, bf16 ? "bf16" : full, sizes, worst);
    fflush(stdout);
}

/* One test a family, so that one that fails does not hide those after it. */
static void device_equals_the_cpu(void **state)
{
    const struct operator_family *family = *state;
    struct error error = ERROR_INITIALIZER;
    struct backend *cpu = open_backend(0), *device = backend_open("cuda", 0, &error);
    require(device != NULL, &error);
    check_family(cpu, device, family, false);
    if (stored_of(family))
        check_family(cpu, device, family, true);
    device->fast = strcmp(family->name, "gemm") == 0;
    if (device->fast)
        check_family(cpu, device, family, false);
    backend_close(device);
    backend_close(cpu);
}

static int run_families(void)
{
    struct CMUnitTest tests[FAMILY_COUNT];
    size_t count = 0;
    for (int f = 0; f < FAMILY_COUNT; f++)
        if (!only_family || strcmp(only_family, operator_families[f].name) == 0)
            tests[count++] = (struct CMUnitTest){.name = operator_families[f].name,
                                                 .test_func = device_equals_the_cpu,
                                                 .initial_state = (void *)(uintptr_t)&operator_families[f]};
    if (count == 0)
        print_error("no family is called %s\n", only_family);
    return count == 0 ? 2 : _cmocka_run_group_tests("operators on cuda", tests, count, NULL, NULL);
}

int main(int argument_count, char **arguments)
{
    for (int i = 1; i < argument_count; i++)
        if (strcmp(arguments[i], "--short") == 0)
            short_list = true;
        else
            only_family = arguments[i];
    struct error error = ERROR_INITIALIZER;
    if (cuda_device_count(&error) == 0) {
        printf("skipped: %s\n", error.message);
        return STATUS_SKIPPED;
    }
    return run_families();
}
