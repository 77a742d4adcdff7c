#include <math.h>

#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

/* Turns logits into e^(logit - maximum); returns log-sum-exp and, in *factor, 1 / their sum. */
static real exponentials(real *logits, int64_t classes, real *factor)
{
    real largest = -INFINITY;
#pragma omp simd reduction(max : largest)
    for (int64_t c = 0; c < classes; c++)
        largest = logits[c] > largest ? logits[c] : largest;
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < classes; c++) {
        logits[c] = real_exp(logits[c] - largest);
        sum += logits[c];
    }
    *factor = 1 / sum;
    return largest + real_log(sum);
}

/* One row with targets [count], each with probability 1 / count. Returns the loss. */
static real row_loss(real *logits, int64_t classes, int64_t classes_used, const int32_t *targets,
                     int64_t count, real weight)
{
    real loss = 0;
    if (count == 0) {
        for (int64_t c = 0; c < classes; c++)
            logits[c] = 0;
        return loss;
    }
    const real share = 1 / (real)count;
    real target_sum = 0;
    for (int64_t t = 0; t < count; t++)
        target_sum += logits[targets[t]];
    real factor;
    loss = exponentials(logits, classes_used, &factor) - target_sum * share;
    factor *= weight;
#pragma omp simd
    for (int64_t c = 0; c < classes_used; c++)
        logits[c] *= factor;
    for (int64_t c = classes_used; c < classes; c++)
        logits[c] = 0;
    for (int64_t t = 0; t < count; t++)
        logits[targets[t]] -= weight * share;
    return loss;
}

void cpu_cross_entropy(struct backend *backend, struct tensor *logits, struct tensor *losses,
                       const struct tensor *targets, const struct tensor *weights, int64_t classes_used)
{
    const int64_t rows = logits->shape[0], classes = logits->shape[1];
    const int32_t *target = targets->data;
#pragma omp parallel for schedule(dynamic, 8)                                                                \
    num_threads(backend->threads) if (rows * classes >= PARALLEL_MINIMUM)
    for (int64_t row = 0; row < rows; row++)
        ((real *)losses->data)[row] =
            row_loss((real *)logits->data + row * classes, classes, classes_used, target + row,
                     target[row] >= 0 ? 1 : 0, ((const real *)weights->data)[row]);
}

void cpu_cross_entropy_set(struct backend *backend, struct tensor *logits, struct tensor *losses,
                           const struct tensor *starts, const struct tensor *targets,
                           const struct tensor *weights, int64_t classes_used)
{
    const int64_t rows = logits->shape[0], classes = logits->shape[1];
    const int64_t *start = starts->data;
#pragma omp parallel for schedule(dynamic, 8)                                                                \
    num_threads(backend->threads) if (rows * classes >= PARALLEL_MINIMUM)
    for (int64_t row = 0; row < rows; row++)
        ((real *)losses->data)[row] =
            row_loss((real *)logits->data + row * classes, classes, classes_used,
                     (const int32_t *)targets->data + start[row], start[row + 1] - start[row],
                     ((const real *)weights->data)[row]);
}
