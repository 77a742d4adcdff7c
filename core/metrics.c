#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/evaluate.h"

static const char *const names[METRIC_COUNT] = {"recall", "ndcg", "precision", "hit", "mrr", "map"};

const char *metric_name(enum metric metric)
{
    return names[metric];
}

enum metric metric_from_name(const char *name)
{
    int metric = 0;
    while (metric < METRIC_COUNT && strcmp(names[metric], name) != 0)
        metric++;
    return (enum metric)metric;
}

static bool is_truth(const struct csr *truth, int32_t user, int32_t item)
{
    for (int64_t index = truth->starts[user]; index < truth->starts[user + 1]; index++)
        if (truth->indices[index] == item)
            return true;
    return false;
}

/* Sums over the ranks so far of one user's list; the formulas stand in evaluate.h. */
struct ranking_sums {
    int64_t hits, first_hit;
    double gain, ideal_gain, precision;
};

static void store_metrics(double *values, const struct ranking_sums *sums, int64_t k, int64_t truth_count)
{
    const double shorter = (double)(k < truth_count ? k : truth_count);
    values[METRIC_RECALL] = (double)sums->hits / (double)truth_count;
    values[METRIC_NDCG] = sums->gain / sums->ideal_gain;
    values[METRIC_PRECISION] = (double)sums->hits / (double)k;
    values[METRIC_HIT] = sums->hits > 0;
    values[METRIC_MRR] = sums->hits > 0 ? 1.0 / (double)sums->first_hit : 0;
    values[METRIC_MAP] = sums->precision / shorter;
}

/* values[j] gets the metrics at k[j]. */
static void measure_user(double values[8][METRIC_COUNT], const struct top_k *top, int64_t row,
                         const struct csr *truth, const int64_t *k, int k_count)
{
    const int32_t user = top->user[row];
    const int64_t truth_count = csr_row_length(truth, user);
    struct ranking_sums sums = {0};
    for (int64_t rank = 1; rank <= top->k; rank++) {
        const int32_t item = top->items[row * top->k + rank - 1];
        const double discount = 1.0 / log2((double)rank + 1.0);
        sums.ideal_gain += rank <= truth_count ? discount : 0;
        if (item >= 0 && is_truth(truth, user, item)) {
            sums.hits++;
            sums.first_hit = sums.first_hit ? sums.first_hit : rank;
            sums.gain += discount;
            sums.precision += (double)sums.hits / (double)rank;
        }
        for (int j = 0; j < k_count; j++)
            if (k[j] == rank)
                store_metrics(values[j], &sums, rank, truth_count);
    }
}

void evaluate_top_k(struct evaluation *result, const struct top_k *top, const struct csr *truth,
                    const int64_t *k, int k_count, double *per_user)
{
    *result = (struct evaluation){.k_count = k_count};
    assert(k_count <= 8);
    for (int j = 0; j < k_count; j++) {
        assert(k[j] >= 1 && k[j] <= top->k);
        result->k[j] = k[j];
    }
    for (int64_t row = 0; row < top->users; row++) {
        const bool tested = csr_row_length(truth, top->user[row]) > 0;
        double values[8][METRIC_COUNT];
        if (tested)
            measure_user(values, top, row, truth, k, k_count);
        result->users_tested += tested;
        for (int metric = 0; metric < METRIC_COUNT; metric++)
            for (int j = 0; j < k_count; j++) {
                result->value[metric][j] += tested ? values[j][metric] : 0;
                if (per_user)
                    per_user[(metric * k_count + j) * top->users + row] = tested ? values[j][metric] : NAN;
            }
    }
    for (int metric = 0; metric < METRIC_COUNT; metric++)
        for (int j = 0; j < k_count && result->users_tested > 0; j++)
            result->value[metric][j] /= (double)result->users_tested;
}
