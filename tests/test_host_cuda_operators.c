/*
 * The CUDA kernels' own source on the host (host_cuda.h) against the CPU operators, over the whole case list, in f32 and
 * bf16, under four schedules that must give the same bits.
 *
 *   test_host_cuda_operators [FAMILY [f32 | bf16]]
 */
#include "cuda/backend.h"
#include "tests/device_cases.h"
#include "tests/host_schedule.h"

static const char *only_family, *only_type;

/* The sanitizers look at memory and not at the order of threads: there the first and the last schedule do. */
#ifdef __SANITIZE_ADDRESS__
static const bool all_schedules = false;
#else
static const bool all_schedules = true;
#endif

static void check_case(struct backend *cpu, struct backend *device, const struct operator_family *family,
                       const int64_t *size, bool bf16)
{
    const double limit = bf16 ? 1e-4 : 1e-10;
    struct operator_case expected, first, again;
    open_pair(&expected, &first, cpu, device, family, size, bf16);
    run_on_device(&expected, &expected, cpu);
    host_schedule_choose(0);
    run_on_device(&first, &expected, device);
    const char *worst;
    const double error = case_error(&expected, &first, cpu, device, &worst);
    if (!(error <= limit))
        fail_msg("%s %s {%lld, %lld, %lld, ...}: error of %s is %.3g, above %.3g", family->name,
                 bf16 ? "bf16" : "f32", (long long)size[0], (long long)size[1], (long long)size[2], worst,
                 error, limit);
    const int schedules = host_schedule_count();
    for (int schedule = all_schedules ? 1 : schedules - 1; schedule < schedules; schedule++) {
        struct operator_case unused;
        host_schedule_choose(schedule);
        open_pair(&unused, &again, cpu, device, family, size, bf16);
        run_on_device(&again, &expected, device);
        for (int i = 0; i < again.count; i++)
            if (!same_bits(device, &first.tensors[i], &again.tensors[i]) ||
                !same_bits(device, &first.gradients[i], &again.gradients[i]))
                fail_msg("%s %s {%lld, %lld, %lld, ...}: %s depends on the schedule %s", family->name,
                         bf16 ? "bf16" : "f32", (long long)size[0], (long long)size[1], (long long)size[2],
                         again.operands[i].name, host_schedule_label(schedule));
        case_close(&again, device);
        case_close(&unused, cpu);
    }
    case_close(&first, device);
    case_close(&expected, cpu);
}

static void check_list(bool bf16)
{
    if (only_type && strcmp(only_type, bf16 ? "bf16" : "f32") != 0)
        return;
    struct error error = ERROR_INITIALIZER;
    struct backend *cpu = open_backend(1), *device = cuda_backend_open(0, &error);
    require(device != NULL, &error);
    for (int f = 0; f < FAMILY_COUNT; f++) {
        const struct operator_family *family = &operator_families[f];
        if ((only_family && strcmp(only_family, family->name) != 0) || (bf16 && !stored_of(family)))
            continue;
        for (int s = 0; family->sizes[s][0] > 0; s++)
            check_case(cpu, device, family, family->sizes[s], bf16);
    }
    backend_close(device);
    backend_close(cpu);
}

static void kernels_equal_the_cpu_in_f32(void **state)
{
    (void)state;
    check_list(false);
}

static void kernels_equal_the_cpu_in_bf16(void **state)
{
    (void)state;
    check_list(true);
}

int main(int argument_count, char **arguments)
{
    only_family = argument_count > 1 ? arguments[1] : NULL;
    only_type = argument_count > 2 ? arguments[2] : NULL;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_equal_the_cpu_in_f32),
        cmocka_unit_test(kernels_equal_the_cpu_in_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
