#include "core/cpu/blas_core_type.h"

#include <string.h>

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
