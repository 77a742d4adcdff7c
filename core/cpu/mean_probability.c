#include <tgmath.h>

#include "core/cpu/cpu.h"

void cpu_mean_probability(struct backend *backend, struct tensor *mean, const struct tensor *x,
                          const struct tensor *starts, int64_t count)
{
    enum { BLOCK = 1024 };
    const int64_t groups = mean->shape[0], columns = mean->shape[1];
    const int32_t *start = starts->data;
#pragma omp parallel for collapse(2) schedule(static)                                                        \
    num_threads(backend->threads) if (tensor_count(x) >= PARALLEL_MINIMUM)
    for (int64_t group = 0; group < groups; group++)
        for (int64_t first = 0; first < columns; first += BLOCK) {
            const int64_t length = minimum_of(BLOCK, columns - first);
            real *sum = (real *)mean->data + group * columns + first;
            for (int64_t row = start[group]; row < start[group + 1]; row++) {
                const real *values = (const real *)x->data + row * columns + first;
                for (int64_t c = 0; c < length; c++)
                    sum[c] += exp(values[c]);
            }
            for (int64_t c = 0; count > 0 && c < length; c++)
                sum[c] = log(sum[c] / (real)count);
        }
}
