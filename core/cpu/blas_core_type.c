#include "core/cpu/blas_core_type.h"

#include <cblas.h>
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

const char *blas_better_core_type(const char *core, bool avx512)
{
    /* OpenBLAS 0.3.21 falls back to these on AVX-512 processors that it does not know. */
    const bool is_avx2 =
        strcmp(core, "Haswell") == 0 || strcmp(core, "Zen") == 0 || strcmp(core, "Excavator") == 0;
    return is_avx2 && avx512 ? "SkylakeX" : NULL;
}

bool blas_rows_are_independent(const char *core)
{
    return strcmp(core, "SkylakeX") == 0 || strcmp(core, "Cooperlake") == 0;
}

void backend_select_blas(char **arguments)
{
    const char *guard = "IDREC_BLAS_SELECTED";
    if (getenv("OPENBLAS_CORETYPE") || getenv(guard))
        return;
    const char *core_type = blas_better_core_type(openblas_get_corename(), has_avx512());
    if (core_type && setenv("OPENBLAS_CORETYPE", core_type, 1) == 0 && setenv(guard, "1", 1) == 0)
        execv("/proc/self/exe", arguments);
}
