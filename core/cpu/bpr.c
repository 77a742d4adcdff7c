#include <math.h>

#include "core/cpu/cpu.h"
#include "core/cpu/vector_math.h"

struct triple {
    const real *user, *positive, *negative;
    real *d_user, *d_positive, *d_negative;
};

/* Returns softplus(s(user, negative) - s(user, positive)). */
static real triple_loss(const struct triple *t, int64_t width, real weight)
{
    real difference = 0;
#pragma omp simd reduction(+ : difference)
    for (int64_t i = 0; i < width; i++)
        difference = real_fma(t->user[i], t->negative[i] - t->positive[i], difference);
    const real slope = weight * real_sigmoid(difference);
#pragma omp simd
    for (int64_t i = 0; i < width; i++) {
        const real user = t->user[i];
        t->d_user[i] = slope * (t->negative[i] - t->positive[i]);
        t->d_positive[i] = -slope * user;
        t->d_negative[i] = slope * user;
    }
    const double d = (double)difference;
    return (real)((d > 0.0 ? d : 0.0) + log1p(exp(-fabs(d))));
}

void cpu_bpr_loss(struct backend *backend, struct tensor *losses, struct tensor *d_users,
                  struct tensor *d_positives, struct tensor *d_negatives, const struct tensor *user_table,
                  const struct tensor *item_table, struct triples triples)
{
    const int64_t count = losses->shape[0], width = user_table->shape[1];
    const int32_t *users = triples.users->data, *positives = triples.positives->data;
    const int32_t *negatives = triples.negatives->data;
    const real *user_rows = user_table->data, *item_rows = item_table->data;
#pragma omp parallel for schedule(static) num_threads(backend->threads) if (count * width >= PARALLEL_MINIMUM)
    for (int64_t i = 0; i < count; i++) {
        const struct triple triple = {
            .user = user_rows + users[i] * width,
            .positive = item_rows + positives[i] * width,
            .negative = item_rows + negatives[i] * width,
            .d_user = (real *)d_users->data + i * width,
            .d_positive = (real *)d_positives->data + i * width,
            .d_negative = (real *)d_negatives->data + i * width,
        };
        ((real *)losses->data)[i] = triple_loss(&triple, width, ((const real *)triples.weights->data)[i]);
    }
}
