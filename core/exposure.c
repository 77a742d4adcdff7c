#include "core/exposure.h"

#include <math.h>
#include <stdlib.h>

static const char *const names[EXPOSURE_COUNT] = {
    "gini", "entropy", "coverage",      "arp",     "popularity_lift", "novelty",
    "aplt", "aclt",    "tail_coverage", "pop_reo", "pop_rsp"};

const char *exposure_name(enum exposure_metric metric)
{
    return names[metric];
}

static int compare_counts(const void *left, const void *right)
{
    const int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

double gini_index(int64_t *counts, int64_t n)
{
    double weighted = 0, total = 0;
    qsort(counts, (size_t)n, sizeof *counts, compare_counts);
    for (int64_t i = 0; i < n; i++) {
        weighted += (double)(2 * i + 1 - n) * (double)counts[i];
        total += (double)counts[i];
    }
    return total > 0 ? weighted / ((double)n * total) : NAN;
}

double entropy_bits(const int64_t *counts, int64_t n)
{
    double total = 0, entropy = 0;
    for (int64_t i = 0; i < n; i++)
        total += (double)counts[i];
    for (int64_t i = 0; i < n; i++)
        if (counts[i] > 0)
            entropy -= (double)counts[i] / total * log2((double)counts[i] / total);
    return total > 0 ? entropy : NAN;
}

double disparity(const int64_t numerators[2], const int64_t denominators[2])
{
    if (denominators[0] == 0 || denominators[1] == 0 || numerators[0] + numerators[1] == 0)
        return NAN;
    const double first = (double)numerators[0] / (double)denominators[0];
    const double second = (double)numerators[1] / (double)denominators[1];
    return fabs(first - second) / (first + second);
}

void item_popularity(int64_t *popularity, const struct csr *train)
{
    for (int64_t item = 0; item < train->columns; item++)
        popularity[item] = 0;
    for (int64_t i = 0; i < csr_count(train); i++)
        popularity[train->indices[i]]++;
}

bool long_tail(bool *tail, const int64_t *popularity, int64_t items, double head_share, struct error *error)
{
    const size_t bytes = (size_t)(items + 1) * sizeof(int32_t);
    int32_t *order = malloc(bytes);
    int64_t total = 0, taken = 0;
    const bool done = order ? order_by_popularity(order, popularity, items, error)
                            : error_memory(error, "popularity of items", bytes, NULL);
    for (int64_t item = 0; item < items; item++)
        total += popularity[item];
    for (int64_t place = 0; done && place < items; place++) {
        tail[order[place]] = place > 0 && (double)taken >= head_share * (double)total;
        taken += popularity[order[place]];
    }
    free(order);
    return done;
}

static int64_t list_length(const struct csr *lists, int64_t user, int64_t k)
{
    const int64_t length = csr_row_length(lists, user);
    return length < k ? length : k;
}

static double mean_popularity(const int32_t *items, int64_t count, const int64_t *popularity)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)popularity[items[i]];
    return sum / (double)count;
}

/* Gini, entropy and coverage: what the numbers of places say without their users. */
static bool measure_items(double values[EXPOSURE_COUNT], const struct csr *lists, int64_t k, const bool *tail,
                          struct error *error)
{
    const int64_t items = lists->columns;
    int64_t shown = 0, shown_of_tail = 0, tail_items = 0;
    int64_t *counts = calloc((size_t)items + 1, sizeof *counts);
    if (!counts)
        return error_memory(error, "exposure of items", (size_t)items * sizeof *counts, NULL);
    for (int64_t user = 0; user < lists->rows; user++)
        for (int64_t place = 0; place < list_length(lists, user, k); place++)
            counts[lists->indices[lists->starts[user] + place]]++;
    for (int64_t item = 0; item < items; item++) {
        shown += counts[item] > 0;
        tail_items += tail[item];
        shown_of_tail += tail[item] && counts[item] > 0;
    }
    values[EXPOSURE_COVERAGE] = (double)shown / (double)items;
    values[EXPOSURE_TAIL_COVERAGE] = tail_items > 0 ? (double)shown_of_tail / (double)tail_items : NAN;
    values[EXPOSURE_ENTROPY] = entropy_bits(counts, items);
    values[EXPOSURE_GINI] = gini_index(counts, items);
    free(counts);
    return true;
}

/* Means over the users with a list. */
static void measure_lists(double values[EXPOSURE_COUNT], const struct csr *lists, int64_t k,
                          const struct exposure_context *context)
{
    double popularity = 0, novelty = 0, share = 0, tail_count = 0, users = 0;
    for (int64_t user = 0; user < lists->rows; user++) {
        const int32_t *list = lists->indices + lists->starts[user];
        const int64_t length = list_length(lists, user, k);
        double information = 0, of_tail = 0;
        for (int64_t place = 0; place < length; place++) {
            const double rows = fmax((double)context->popularity[list[place]], 1.0);
            information += log2((double)lists->rows / rows);
            of_tail += context->tail[list[place]];
        }
        if (length == 0)
            continue;
        users++;
        popularity += mean_popularity(list, length, context->popularity);
        novelty += information / (double)length;
        share += of_tail / (double)length;
        tail_count += of_tail;
    }
    values[EXPOSURE_POPULARITY] = users > 0 ? popularity / users : NAN;
    values[EXPOSURE_NOVELTY] = users > 0 ? novelty / users : NAN;
    values[EXPOSURE_TAIL_SHARE] = users > 0 ? share / users : NAN;
    values[EXPOSURE_TAIL_COUNT] = users > 0 ? tail_count / users : NAN;
}

/* Head is 0, tail is 1: items shown and that could have been, and the held-out ones among both. */
static void measure_disparity(double values[EXPOSURE_COUNT], const struct csr *lists, int64_t k,
                              const struct exposure_context *context)
{
    int64_t shown[2] = {0}, candidates[2] = {0}, hits[2] = {0}, held_out[2] = {0}, sizes[2] = {0};
    for (int64_t item = 0; item < lists->columns; item++)
        sizes[context->tail[item]]++;
    for (int64_t user = 0; user < lists->rows; user++) {
        const struct csr *hidden = context->hidden, *truth = context->truth;
        const int32_t *list = lists->indices + lists->starts[user];
        const int64_t length = list_length(lists, user, k);
        for (int64_t i = truth ? truth->starts[user] : 0; truth && i < truth->starts[user + 1]; i++)
            held_out[context->tail[truth->indices[i]]]++;
        if (length == 0)
            continue;
        for (int side = 0; side < 2; side++)
            candidates[side] += sizes[side];
        for (int64_t i = hidden->starts[user]; i < hidden->starts[user + 1]; i++)
            candidates[context->tail[hidden->indices[i]]]--;
        for (int64_t place = 0; place < length; place++) {
            shown[context->tail[list[place]]]++;
            hits[context->tail[list[place]]] += truth && csr_contains_sorted(truth, user, list[place]);
        }
    }
    values[EXPOSURE_OPPORTUNITY] = disparity(hits, held_out);
    values[EXPOSURE_PARITY] = disparity(shown, candidates);
}

bool exposure_measure(double values[EXPOSURE_COUNT], const struct csr *lists, int64_t k,
                      const struct exposure_context *context, struct error *error)
{
    const struct groups everyone = {.members = lists->rows, .count = 1};
    if (!measure_items(values, lists, k, context->tail, error))
        return false;
    measure_lists(values, lists, k, context);
    measure_disparity(values, lists, k, context);
    popularity_lifts(&values[EXPOSURE_LIFT], lists, k, context, &everyone);
    return true;
}

void popularity_lifts(double *lifts, const struct csr *lists, int64_t k,
                      const struct exposure_context *context, const struct groups *users)
{
    double shown[GROUPS_MAXIMUM] = {0}, owned[GROUPS_MAXIMUM] = {0};
    for (int64_t user = 0; user < lists->rows; user++) {
        const int64_t length = list_length(lists, user, k), history = csr_row_length(context->train, user);
        const int group = group_of(users, user);
        if (group < 0 || length == 0 || history == 0)
            continue;
        shown[group] += mean_popularity(lists->indices + lists->starts[user], length, context->popularity);
        owned[group] += mean_popularity(context->train->indices + context->train->starts[user], history,
                                        context->popularity);
    }
    for (int group = 0; group < users->count; group++)
        lifts[group] = owned[group] > 0 ? shown[group] / owned[group] - 1 : NAN;
}

void exposure_shares(double *shares, const struct csr *lists, int64_t k, const struct groups *items)
{
    int64_t counts[GROUPS_MAXIMUM] = {0}, total = 0;
    for (int64_t user = 0; user < lists->rows; user++)
        for (int64_t place = 0; place < list_length(lists, user, k); place++) {
            const int group = group_of(items, lists->indices[lists->starts[user] + place]);
            total++;
            if (group >= 0)
                counts[group]++;
        }
    for (int group = 0; group < items->count; group++)
        shares[group] = total > 0 ? (double)counts[group] / (double)total : NAN;
}
