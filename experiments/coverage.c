#include "experiments/coverage.h"

#include <stdlib.h>

static int64_t empty_rows(const struct csr *part)
{
    int64_t count = 0;
    for (int64_t user = 0; user < part->rows; user++)
        count += csr_row_length(part, user) == 0;
    return count;
}

static int64_t rows_of_unseen(const struct csr *part, const bool *seen)
{
    int64_t count = 0;
    for (int64_t i = 0; i < csr_count(part); i++)
        count += !seen[part->indices[i]];
    return count;
}

bool coverage_count(struct coverage *coverage, const struct dataset *dataset, struct error *error)
{
    const struct csr *train = &dataset->train;
    const size_t items = (size_t)train->columns;
    bool *seen = calloc(items + 1, sizeof *seen);
    if (!seen)
        return error_memory(error, "items with train rows", items, NULL);
    for (int64_t i = 0; i < csr_count(train); i++)
        seen[train->indices[i]] = true;
    *coverage = (struct coverage){.untested_users = empty_rows(&dataset->test),
                                  .unseen_users = empty_rows(train),
                                  .validation_of_unseen = rows_of_unseen(&dataset->validation, seen),
                                  .test_of_unseen = rows_of_unseen(&dataset->test, seen)};
    for (size_t item = 0; item < items; item++)
        coverage->unseen_items += !seen[item];
    free(seen);
    return true;
}
