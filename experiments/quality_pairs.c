#include "experiments/quality_pairs.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* Marks the items of all users of `item`. */
static void mark_companions(int32_t *marks, int32_t item, const struct csr *train, const struct csr *audience)
{
    for (int64_t a = audience->starts[item]; a < audience->starts[item + 1]; a++) {
        const int32_t user = audience->indices[a];
        for (int64_t i = train->starts[user]; i < train->starts[user + 1]; i++)
            marks[train->indices[i]] = item + 1;
    }
}

static void count_item(struct pair_counts *counts, const int32_t *marks, int32_t item,
                       const struct csr *receivers, const struct csr *train)
{
    for (int64_t r = receivers->starts[item]; r < receivers->starts[item + 1]; r++) {
        const int32_t user = receivers->indices[r];
        int64_t known = 0;
        for (int64_t i = train->starts[user]; i < train->starts[user + 1]; i++)
            known += marks[train->indices[i]] == item + 1;
        counts->rows++;
        counts->pairs += csr_row_length(train, user);
        counts->new_pairs += csr_row_length(train, user) - known;
        counts->unconnected_rows += known == 0;
    }
}

bool count_new_pairs(struct pair_counts *counts, const struct csr *receivers, const struct csr *train,
                     const struct csr *audience, struct error *error)
{
    const size_t items = (size_t)train->columns, threads = (size_t)omp_get_max_threads();
    int32_t *marks = calloc(items * threads + 1, sizeof *marks);
    if (!marks)
        return error_memory(error, "items that stand together", items * threads * sizeof *marks, NULL);
    int64_t pairs = 0, new_pairs = 0, rows = 0, unconnected_rows = 0;
#pragma omp parallel for schedule(dynamic, 64) reduction(+ : pairs, new_pairs, rows, unconnected_rows)
    for (int32_t item = 0; item < (int32_t)receivers->rows; item++) {
        int32_t *own = marks + items * (size_t)omp_get_thread_num();
        struct pair_counts found = {0};
        if (csr_row_length(receivers, item) > 0) {
            mark_companions(own, item, train, audience);
            count_item(&found, own, item, receivers, train);
        }
        pairs += found.pairs;
        new_pairs += found.new_pairs;
        rows += found.rows;
        unconnected_rows += found.unconnected_rows;
    }
    *counts = (struct pair_counts){pairs, new_pairs, rows, unconnected_rows};
    free(marks);
    return true;
}

/* Shorter rows first, then by their items. */
static int compare_lists(const void *left, const void *right, void *context)
{
    const struct csr *rows = context;
    const int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;
    const int64_t length = csr_row_length(rows, a);
    if (length != csr_row_length(rows, b))
        return length < csr_row_length(rows, b) ? -1 : 1;
    for (int64_t i = 0; i < length; i++) {
        const int32_t of_a = rows->indices[rows->starts[a] + i], of_b = rows->indices[rows->starts[b] + i];
        if (of_a != of_b)
            return of_a < of_b ? -1 : 1;
    }
    return 0;
}

bool count_identical_lists(int64_t *users, const struct csr *rows, struct error *error)
{
    struct csr sorted = {0};
    int64_t count = 0;
    int32_t *order = malloc((size_t)(rows->rows + 1) * sizeof *order);
    bool done = order ? csr_sorted(&sorted, rows, error)
                      : error_memory(error, "users by their lists", (size_t)rows->rows * sizeof *order, NULL);
    for (int32_t user = 0; done && user < rows->rows; user++)
        if (csr_row_length(rows, user) > 0)
            order[count++] = user;
    if (done)
        qsort_r(order, (size_t)count, sizeof *order, compare_lists, &sorted);
    *users = 0;
    for (int64_t i = 0; done && i < count; i++)
        *users += (i > 0 && compare_lists(&order[i - 1], &order[i], &sorted) == 0) ||
                  (i + 1 < count && compare_lists(&order[i], &order[i + 1], &sorted) == 0);
    csr_free(&sorted);
    free(order);
    return done;
}
