/* nucleus.h: draws from the nucleus of a row: the fewest most probable columns whose weights reach a share of
 * the whole (Holtzman et al. 2020). Columns are counted into buckets of like weight, and only two buckets are
 * sorted: that in which the nucleus ends and that of the draw. */
#ifndef IDREC_CORE_CPU_NUCLEUS_H
#define IDREC_CORE_CPU_NUCLEUS_H

#include <stddef.h>

#include "core/cpu/candidates.h"

/* Bytes of scratch for a row of so many columns. */
size_t nucleus_bytes(int64_t classes);

/* Inverts the cumulative distribution of the nucleus, score descending and column ascending, at `uniform` in
 * [0, 1). A column's weight is e^((value - largest) * inverse_temperature); largest is the values' maximum
 * and finite. */
int32_t nucleus_draw(void *scratch, const real *values /* [classes] */, int64_t classes, real largest,
                     real inverse_temperature, double share, double uniform);

#endif
