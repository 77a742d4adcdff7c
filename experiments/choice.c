#include "experiments/choice.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/statistics.h"

static const char *const use_names[USE_COUNT] = {"none", "positives", "exclude_from_negatives", "both"};

const char *use_name(enum augmentation_use use)
{
    return use_names[use];
}

enum augmentation_use use_from_name(const char *name)
{
    int use = 0;
    while (use < USE_COUNT && strcmp(use_names[use], name) != 0)
        use++;
    return (enum augmentation_use)use;
}

void ranked_lists_free(struct ranked_lists *lists)
{
    csr_free(&lists->items);
    free(lists->log_probability);
    free(lists->votes);
    lists->log_probability = NULL;
    lists->votes = NULL;
}

void choice_name(char name[CHOICE_NAME_SIZE], const struct choice *choice)
{
    if (choice->use == USE_NONE) {
        snprintf(name, CHOICE_NAME_SIZE, "none");
        return;
    }
    int length = snprintf(name, CHOICE_NAME_SIZE, "%s-%g%s", use_name(choice->use), choice->amount,
                          choice->proportional ? "x" : "");
    if (choice->quantile > 0)
        snprintf(name + length, (size_t)(CHOICE_NAME_SIZE - length), "-q%g", choice->quantile);
}

static bool confidence_threshold(double *threshold, const struct ranked_lists *lists, double quantile,
                                 struct error *error)
{
    int64_t count = csr_count(&lists->items);
    *threshold = -INFINITY;
    if (quantile <= 0 || count == 0)
        return true;
    double *sorted = malloc((size_t)count * sizeof *sorted);
    if (sorted == NULL)
        return error_memory(error, "log-probabilities to sort", (size_t)count * sizeof *sorted, NULL);
    for (int64_t i = 0; i < count; i++)
        sorted[i] = lists->log_probability[i];
    sort_doubles(sorted, count);
    *threshold = sorted_quantile(sorted, count, quantile);
    free(sorted);
    return true;
}

static int64_t rows_wanted(const struct choice *choice, int64_t history)
{
    if (choice->use == USE_NONE)
        return 0;
    /* 0.1 of 30 rows is 3, not 4, although 0.1 * 30 is a little more than 3. */
    return (int64_t)(choice->proportional ? ceil(choice->amount * (double)history - 1e-9) : choice->amount);
}

bool choice_rows(struct csr *rows, const struct choice *choice, const struct ranked_lists *lists,
                 const struct csr *train, struct error *error)
{
    int64_t users = lists->items.rows;
    size_t most = (size_t)csr_count(&lists->items) + 1;
    *rows = (struct csr){.rows = users, .columns = lists->items.columns};
    rows->starts = malloc((size_t)(users + 1) * sizeof *rows->starts);
    rows->indices = malloc(most * sizeof *rows->indices);
    double threshold;
    if (rows->starts == NULL || rows->indices == NULL)
        return error_memory(error, "synthetic rows", most * sizeof *rows->indices, NULL);
    if (!confidence_threshold(&threshold, lists, choice->quantile, error))
        return false;
    int64_t taken = 0;
    for (int64_t user = 0; user < users; user++) {
        rows->starts[user] = taken;
        int64_t wanted = rows_wanted(choice, csr_row_length(train, user));
        for (int64_t i = lists->items.starts[user];
             i < lists->items.starts[user + 1] && taken - rows->starts[user] < wanted; i++)
            if (lists->log_probability[i] >= threshold)
                rows->indices[taken++] = lists->items.indices[i];
    }
    rows->starts[users] = taken;
    return true;
}
