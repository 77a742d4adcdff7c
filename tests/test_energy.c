/* Energy: packages below a made-up powercap folder, and a GPU behind a library that stands in for NVML. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/energy.h"
#include "core/file.h"
#include "tests/support.h"

static const char bus[] = "00000000:1b:00.0";

static void put(const char *folder, const char *domain, const char *name, const char *text)
{
    struct error error = ERROR_INITIALIZER;
    char *below = path_format("%s/%s", folder, domain), *path = path_format("%s/%s", below, name);
    require(folder_create(below, &error) && file_write(path, text, strlen(text), &error), &error);
    free(path);
    free(below);
}

static void put_domain(const char *folder, const char *domain, const char *name, const char *range,
                       const char *energy)
{
    put(folder, domain, "name", name);
    put(folder, domain, "max_energy_range_uj", range);
    put(folder, domain, "energy_uj", energy);
}

static void remove_file(const char *folder, const char *name)
{
    struct error error = ERROR_INITIALIZER;
    char *path = path_format("%s/%s", folder, name);
    require(path_remove(path, &error), &error);
    free(path);
}

static void set_gpu(const char *folder, const char *millijoules)
{
    char *path = path_format("%s/gpu/millijoules", folder);
    put(folder, "gpu", "millijoules", millijoules);
    setenv("STAND_IN_NVML", path, 1);
    free(path);
}

static struct energy *open_at(const char *folder, const char *pci_bus)
{
    const struct energy_places places = {.powercap = folder, .nvml = IDREC_STAND_IN_NVML, .pci_bus = pci_bus};
    return energy_open(&places);
}

static void require_near(double value, double expected)
{
    if (!(fabs(value - expected) < 1e-9))
        fail_msg("%.12f is not %.12f", value, expected);
}

/* Two packages; parts of packages, the platform and a second way to the same counter count nothing. */
static void test_packages(void **state)
{
    const char *folder = *state;
    put_domain(folder, "intel-rapl:0", "package-0\n", "262143328850\n", "1000000\n");
    put_domain(folder, "intel-rapl:0:0", "core\n", "262143328850\n", "500000\n");
    put_domain(folder, "intel-rapl:1", "package-1-die-0\n", "65532610987\n", "70\n");
    put_domain(folder, "intel-rapl:2", "psys\n", "262143328850\n", "9000000\n");
    put_domain(folder, "intel-rapl-mmio:0", "package-0\n", "262143328850\n", "1000000\n");
    put(folder, "dtpm", "name", "package-0\n");
    struct energy *energy = open_at(folder, "");
    assert_non_null(energy);
    assert_string_equal(energy_source(energy), "rapl");
    require_near(energy_joules(energy), 0);
    put(folder, "intel-rapl:0", "energy_uj", "3500000\n");
    put(folder, "intel-rapl:0:0", "energy_uj", "800000\n");
    put(folder, "intel-rapl:1", "energy_uj", "250070\n");
    put(folder, "intel-rapl:2", "energy_uj", "90000000\n");
    put(folder, "intel-rapl-mmio:0", "energy_uj", "3500000\n");
    require_near(energy_joules(energy), 2.75);
    require_near(energy_joules(energy), 2.75);
    energy_close(energy);
}

static void test_wrap(void **state)
{
    const char *folder = *state;
    put_domain(folder, "intel-rapl:0", "package-0\n", "10000000\n", "9000000\n");
    struct energy *energy = open_at(folder, "");
    put(folder, "intel-rapl:0", "energy_uj", "500000\n");
    require_near(energy_joules(energy), 1.5);
    put(folder, "intel-rapl:0", "energy_uj", "700000\n");
    require_near(energy_joules(energy), 1.7);
    put(folder, "intel-rapl:0", "energy_uj", "0\n");
    require_near(energy_joules(energy), 11.0);
    energy_close(energy);
}

/* One package of two is not the machine. */
static void test_unreadable(void **state)
{
    const char *folder = *state;
    put_domain(folder, "intel-rapl:0", "package-0\n", "10000000\n", "1\n");
    put_domain(folder, "intel-rapl:1", "package-1\n", "10000000\n", "1\n");
    remove_file(folder, "intel-rapl:1/energy_uj");
    assert_null(open_at(folder, ""));
    put(folder, "intel-rapl:1", "energy_uj", "no number\n");
    assert_null(open_at(folder, ""));
    char *absent = path_format("%s/absent", folder);
    assert_null(open_at(absent, ""));
    free(absent);
    assert_null(energy_source(NULL));
    assert_true(isnan(energy_joules(NULL)));
    energy_close(NULL);
}

/* What was readable and is no longer leaves no sum, for good. */
static void test_lost(void **state)
{
    const char *folder = *state;
    put_domain(folder, "intel-rapl:0", "package-0\n", "10000000\n", "1\n");
    struct energy *energy = open_at(folder, "");
    remove_file(folder, "intel-rapl:0/energy_uj");
    assert_true(isnan(energy_joules(energy)));
    put(folder, "intel-rapl:0", "energy_uj", "2\n");
    assert_true(isnan(energy_joules(energy)));
    energy_close(energy);
}

static void test_gpu(void **state)
{
    const char *folder = *state;
    set_gpu(folder, "123000");
    struct energy *energy = open_at(folder, bus);
    assert_non_null(energy);
    assert_string_equal(energy_source(energy), "nvml");
    set_gpu(folder, "123750");
    require_near(energy_joules(energy), 0.75);
    set_gpu(folder, "5");
    assert_true(isnan(energy_joules(energy)));
    energy_close(energy);
    assert_null(open_at(folder, "00000000:2c:00.0"));
    assert_null(open_at(folder, ""));
    set_gpu(folder, "not supported");
    assert_null(open_at(folder, bus));
}

static void test_both(void **state)
{
    const char *folder = *state;
    set_gpu(folder, "1000");
    put_domain(folder, "intel-rapl:0", "package-0\n", "10000000\n", "0\n");
    struct energy *energy = open_at(folder, bus);
    assert_string_equal(energy_source(energy), "rapl+nvml");
    set_gpu(folder, "3000");
    put(folder, "intel-rapl:0", "energy_uj", "1000000\n");
    require_near(energy_joules(energy), 3);
    energy_close(energy);
}

/* A machine without the library has packages all the same. */
static void test_no_library(void **state)
{
    const char *folder = *state;
    const struct energy_places places = {.powercap = folder, .nvml = "libidrec-absent.so.1", .pci_bus = bus};
    assert_null(energy_open(&places));
    put_domain(folder, "intel-rapl:0", "package-0\n", "10000000\n", "0\n");
    struct energy *energy = energy_open(&places);
    assert_string_equal(energy_source(energy), "rapl");
    energy_close(energy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_packages, temporary_folder_make, temporary_folder_remove),
        cmocka_unit_test_setup_teardown(test_wrap, temporary_folder_make, temporary_folder_remove),
        cmocka_unit_test_setup_teardown(test_unreadable, temporary_folder_make, temporary_folder_remove),
        cmocka_unit_test_setup_teardown(test_lost, temporary_folder_make, temporary_folder_remove),
        cmocka_unit_test_setup_teardown(test_gpu, temporary_folder_make, temporary_folder_remove),
        cmocka_unit_test_setup_teardown(test_both, temporary_folder_make, temporary_folder_remove),
        cmocka_unit_test_setup_teardown(test_no_library, temporary_folder_make, temporary_folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
