#include <math.h>

#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

/* A product of so many numbers up to 2 is still far from the largest double. */
enum { FACTORS_MAXIMUM = 512 };

/* The sum of softplus(s) = max(s, 0) + log(1 + e^-|s|), by one logarithm for all of them; scores become
 * weight * sigmoid(s). */
static double negative_losses(real *scores, int64_t count, real weight)
{
    double sum = 0.0, product = 1.0;
#pragma omp simd reduction(+ : sum) reduction(* : product)
    for (int64_t j = 0; j < count; j++) {
        const real score = scores[j];
        const real exponential = real_exp(score < 0 ? score : -score);
        sum += (double)(score < 0 ? 0 : score);
        product *= 1.0 + (double)exponential;
        scores[j] = weight * (score < 0 ? exponential : 1) / (1 + exponential);
    }
    return sum + log(product);
}

/* softplus(-s) of the positive's score, which becomes -weight * sigmoid(-s). */
static double positive_loss(real *score, real weight)
{
    const double s = (double)*score, exponential = exp(-fabs(s));
    if (*score == EXCLUDED_LOGIT) {
        *score = 0;
        return 0.0;
    }
    *score = (real)(-(double)weight * (s > 0.0 ? exponential : 1.0) / (1.0 + exponential));
    return (s < 0.0 ? -s : 0.0) + log1p(exponential);
}

void cpu_binary_cross_entropy(struct backend *backend, struct tensor *logits, struct tensor *losses,
                              const struct tensor *weights, float positive_power)
{
    const int64_t rows = logits->shape[0], columns = logits->shape[1];
#pragma omp parallel for schedule(static)                                                                    \
    num_threads(backend->threads) if (rows * columns >= PARALLEL_MINIMUM)
    for (int64_t row = 0; row < rows; row++) {
        real *scores = (real *)logits->data + row * columns;
        const real weight = ((const real *)weights->data)[row], power = (real)positive_power;
        double loss = (double)power * positive_loss(scores, power * weight);
        for (int64_t first = 1; first < columns; first += FACTORS_MAXIMUM)
            loss += negative_losses(scores + first, minimum_of(FACTORS_MAXIMUM, columns - first), weight);
        ((real *)losses->data)[row] = (real)loss;
    }
}
