#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/backend.h"
#include "core/cpu/blas_core_type.h"

/* What OpenBLAS's SkylakeX kernels use, as far as processor and operating system both support it. */
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

/* A program executed again would leave valgrind, which does not follow children by default. */
static bool is_under_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded && strstr(preloaded, "vgpreload");
}

static bool bound_spinning(void)
{
    return !getenv("GOMP_SPINCOUNT") && !getenv("OMP_WAIT_POLICY") &&
           setenv("GOMP_SPINCOUNT", "1000", 1) == 0;
}

static bool choose_kernels(void)
{
    if (getenv("OPENBLAS_CORETYPE"))
        return false;
    const char *core_type = blas_better_core_type(openblas_get_corename(), has_avx512());
    return core_type && setenv("OPENBLAS_CORETYPE", core_type, 1) == 0;
}

void backend_prepare_process(char **arguments)
{
    const char *guard = "IDREC_PREPARED";
    if (getenv(guard) || is_under_valgrind())
        return;
    const bool spinning = bound_spinning(), kernels = choose_kernels();
    if ((spinning || kernels) && setenv(guard, "1", 1) == 0)
        execv("/proc/self/exe", arguments);
}
