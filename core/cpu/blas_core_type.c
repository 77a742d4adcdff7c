#include <cblas.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/backend.h"

/* What OpenBLAS's SkylakeX kernels use, as far as processor and operating system both support it. */
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

/* The kernels that OpenBLAS 0.3.21 falls back to on AVX-512 processors it does not know. */
static bool is_avx2_kernel(const char *name)
{
    return strcmp(name, "Haswell") == 0 || strcmp(name, "Zen") == 0 || strcmp(name, "Excavator") == 0;
}

void backend_select_blas(char **arguments)
{
    const char *guard = "IDREC_BLAS_SELECTED";
    if (getenv("OPENBLAS_CORETYPE") || getenv(guard) || !has_avx512() ||
        !is_avx2_kernel(openblas_get_corename()))
        return;
    if (setenv("OPENBLAS_CORETYPE", "SkylakeX", 1) == 0 && setenv(guard, "1", 1) == 0)
        execv("/proc/self/exe", arguments);
}
