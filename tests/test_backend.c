/*
 * A backend with a hole is refused by name; OpenBLAS's kernels are judged by the name they go by; the program
 * bounds OpenMP's spinning.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cpu/blas_core_type.h"
#include "core/operators.h"

/* ---- holes ---- */

static void note_close(struct backend *backend)
{
    *(bool *)backend->implementation = true;
}

static void assert_refused(struct backend *backend, const struct operators *operators, const char *hole)
{
    bool closed = false;
    backend->operators = operators;
    backend->implementation = &closed;
    backend->close = note_close;
    struct error error = ERROR_INITIALIZER;
    assert_null(backend_without_holes(backend, &error));
    assert_true(closed);
    assert_int_equal(error.kind, ERROR_RUN);
    assert_non_null(strstr(error.message, hole));
}

static void holes_are_refused(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct backend *cpu = backend_open("cpu", 1, &error);
    assert_non_null(cpu);
    assert_ptr_equal(backend_without_holes(cpu, &error), cpu);
#define ASSERT_NEEDED(table, name)                                                                           \
    {                                                                                                        \
        struct backend backend = *cpu;                                                                       \
        struct operators operators = *cpu->operators;                                                        \
        table.name = NULL;                                                                                   \
        assert_refused(&backend, &operators, "does not fill " #name);                                        \
    }
#define ASSERT_OPERATOR_NEEDED(name) ASSERT_NEEDED(operators, name)
    OPERATORS(ASSERT_OPERATOR_NEEDED)
    ASSERT_NEEDED(backend, allocate)
    ASSERT_NEEDED(backend, release)
    ASSERT_NEEDED(backend, free_memory)
    ASSERT_NEEDED(backend, fill_zero)
    ASSERT_NEEDED(backend, copy)
    ASSERT_NEEDED(backend, upload)
    ASSERT_NEEDED(backend, download)
    ASSERT_NEEDED(backend, wait)
    backend_close(cpu);
}

/* ---- OpenBLAS's kernels ---- */

static void a_better_core_type_needs_avx512_and_a_fall_back(void **state)
{
    (void)state;
    static const char *const fall_backs[] = {"Haswell", "Zen", "Excavator"};
    for (size_t i = 0; i < sizeof fall_backs / sizeof fall_backs[0]; i++) {
        assert_string_equal(blas_better_core_type(fall_backs[i], true), "SkylakeX");
        assert_null(blas_better_core_type(fall_backs[i], false));
    }
    static const char *const chosen_well[] = {"SkylakeX", "Cooperlake", "SapphireRapids", "Prescott", ""};
    for (size_t i = 0; i < sizeof chosen_well / sizeof chosen_well[0]; i++)
        assert_null(blas_better_core_type(chosen_well[i], true));
}

static void only_tested_kernels_are_trusted_with_rows(void **state)
{
    (void)state;
    assert_true(blas_rows_are_independent("SkylakeX"));
    assert_true(blas_rows_are_independent("Cooperlake"));
    static const char *const others[] = {"Haswell", "Zen", "Excavator", "Prescott", "SapphireRapids", ""};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(blas_rows_are_independent(others[i]));
}

/* ---- the process ---- */

/* The spin count that OpenMP's library reports last when the program starts in this environment. */
static long spin_count(const char *environment)
{
    char command[4096], line[256];
    long count = -1;
    snprintf(command, sizeof command,
             "env -u IDREC_PREPARED -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT %s OMP_DISPLAY_ENV=verbose "
             "%s --version 2>&1",
             environment, IDREC_PROGRAM);
    FILE *output = popen(command, "r");
    assert_non_null(output);
    while (fgets(line, sizeof line, output)) {
        const char *value = strstr(line, "GOMP_SPINCOUNT = '");
        if (value)
            count = strtol(value + strlen("GOMP_SPINCOUNT = '"), NULL, 10);
    }
    assert_int_equal(pclose(output), 0);
    return count;
}

static void spinning_is_bounded_unless_the_user_sets_it(void **state)
{
    (void)state;
    const long bounded = spin_count("");
    assert_int_equal(bounded, 1000);
    assert_int_equal(spin_count("GOMP_SPINCOUNT=7"), 7);
    assert_true(spin_count("OMP_WAIT_POLICY=active") > bounded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holes_are_refused),
        cmocka_unit_test(a_better_core_type_needs_avx512_and_a_fall_back),
        cmocka_unit_test(only_tested_kernels_are_trusted_with_rows),
        cmocka_unit_test(spinning_is_bounded_unless_the_user_sets_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
