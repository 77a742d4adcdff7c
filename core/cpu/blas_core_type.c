#include <cpuid.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/backend.h"

/* AMD processors with the AVX-512 subsets that OpenBLAS's SkylakeX kernels use (and an operating system that
 * saves the registers: __builtin_cpu_supports looks at both). */
static bool is_amd_with_avx512(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(0, &a, &b, &c, &d))
        return false;
    char vendor[13] = "";
    memcpy(vendor, &b, 4);
    memcpy(vendor + 4, &d, 4);
    memcpy(vendor + 8, &c, 4);
    if (strcmp(vendor, "AuthenticAMD") != 0)
        return false;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

void backend_select_blas(char **arguments)
{
    const char *guard = "IDREC_BLAS_SELECTED";
    if (getenv("OPENBLAS_CORETYPE") || getenv(guard) || !is_amd_with_avx512())
        return;
    if (setenv("OPENBLAS_CORETYPE", "SkylakeX", 1) == 0 && setenv(guard, "1", 1) == 0)
        execv("/proc/self/exe", arguments);
}
