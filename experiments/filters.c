#include "experiments/filters.h"

#include <stdlib.h>
#include <string.h>

#include "core/statistics.h"

static const char *const filter_names[FILTER_COUNT] = {
    [FILTER_CATALOGUE] = "catalogue",   [FILTER_SEEN] = "seen",
    [FILTER_DUPLICATE] = "duplicate",   [FILTER_INCOMPLETE_TAIL] = "incomplete_tail",
    [FILTER_CONFIDENCE] = "confidence", [FILTER_CAP_USER] = "cap_user",
    [FILTER_CAP_ITEM] = "cap_item",     [FILTER_HISTORY_QUANTILE] = "history_quantile",
};

const char *filter_name(enum filter_kind kind)
{
    return filter_names[kind];
}

enum filter_kind filter_from_name(const char *name)
{
    int kind = 0;
    while (kind < FILTER_COUNT && strcmp(filter_names[kind], name) != 0)
        kind++;
    return (enum filter_kind)kind;
}

static int ascending(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* Most probable first; rows that are equal in everything are interchangeable. */
static int compare_probability(const struct candidate *a, const struct candidate *b)
{
    if (a->log_probability != b->log_probability)
        return a->log_probability > b->log_probability ? -1 : 1;
    return ascending(a->position, b->position);
}

static int compare_accepted(const struct candidate *a, const struct candidate *b)
{
    return ascending(a->reason != CANDIDATE_ACCEPTED, b->reason != CANDIDATE_ACCEPTED);
}

/* Accepted first; equal pairs together, the most probable of them first. */
static int compare_pair(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    int order = compare_accepted(a, b);
    order = order != 0 ? order : ascending(a->user, b->user);
    order = order != 0 ? order : ascending(a->item, b->item);
    return order != 0 ? order : compare_probability(a, b);
}

/* Accepted first; a user's rows together, best first. */
static int compare_within_user(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    int order = compare_accepted(a, b);
    order = order != 0 ? order : ascending(a->user, b->user);
    order = order != 0 ? order : compare_probability(a, b);
    return order != 0 ? order : ascending(a->item, b->item);
}

/* The same with votes before probabilities. */
static int compare_with_votes(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    int order = compare_accepted(a, b);
    order = order != 0 ? order : ascending(a->user, b->user);
    order = order != 0 ? order : ascending(b->votes, a->votes);
    return order != 0 ? order : compare_within_user(a, b);
}

/* Accepted first; an item's rows together, best first. */
static int compare_within_item(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    int order = compare_accepted(a, b);
    order = order != 0 ? order : ascending(a->item, b->item);
    order = order != 0 ? order : compare_probability(a, b);
    return order != 0 ? order : ascending(a->user, b->user);
}

static bool in_range(const struct candidate *candidate, const struct csr *train)
{
    return candidate->user >= 0 && candidate->user < train->rows && candidate->item >= 0 &&
           candidate->item < train->columns;
}

static void refuse_duplicates(struct candidate *candidates, int64_t count)
{
    qsort(candidates, (size_t)count, sizeof *candidates, compare_pair);
    for (int64_t i = 1; i < count && candidates[i].reason == CANDIDATE_ACCEPTED; i++) {
        int64_t kept = i - 1;
        for (; i < count && candidates[i].reason == CANDIDATE_ACCEPTED &&
               candidates[i].user == candidates[kept].user && candidates[i].item == candidates[kept].item;
             i++)
            candidates[i].reason = FILTER_DUPLICATE;
    }
}

/* Refuses what stands beyond the best `maximum` rows of a user or an item. */
static void refuse_beyond(struct candidate *candidates, int64_t count, enum filter_kind kind, int64_t maximum)
{
    bool users = kind == FILTER_CAP_USER;
    qsort(candidates, (size_t)count, sizeof *candidates, users ? compare_within_user : compare_within_item);
    int64_t owner = -1, place = 0;
    for (int64_t i = 0; i < count && candidates[i].reason == CANDIDATE_ACCEPTED; i++) {
        int32_t current = users ? candidates[i].user : candidates[i].item;
        place = current == owner ? place + 1 : 1;
        owner = current;
        if (place > maximum)
            candidates[i].reason = (int32_t)kind;
    }
}

static bool history_limit(double *limit, const struct csr *train, double quantile, struct error *error)
{
    double *lengths = malloc((size_t)train->rows * sizeof *lengths);
    if (lengths == NULL)
        return error_memory(error, "lengths of histories", (size_t)train->rows * sizeof *lengths, NULL);
    for (int64_t user = 0; user < train->rows; user++)
        lengths[user] = (double)csr_row_length(train, user);
    sort_doubles(lengths, train->rows);
    *limit = sorted_quantile(lengths, train->rows, quantile);
    free(lengths);
    return true;
}

/* What a filter says about one row by itself; `limit` is the longest history of FILTER_HISTORY_QUANTILE. */
static bool refuses(const struct filter *filter, const struct candidate *candidate, const struct csr *train,
                    double limit)
{
    switch (filter->kind) {
    case FILTER_CATALOGUE:
        return !in_range(candidate, train);
    case FILTER_SEEN:
        return csr_contains_sorted(train, candidate->user, candidate->item);
    case FILTER_INCOMPLETE_TAIL:
        return candidate->cut;
    case FILTER_CONFIDENCE:
        return candidate->log_probability < filter->minimum_log_probability ||
               candidate->votes < filter->minimum_votes;
    case FILTER_HISTORY_QUANTILE:
        return (double)csr_row_length(train, candidate->user) > limit;
    default:
        return false;
    }
}

static bool filter_apply(struct candidate *candidates, int64_t count, const struct filter *filter,
                         const struct csr *train, struct error *error)
{
    double limit = 0;
    switch (filter->kind) {
    case FILTER_DUPLICATE:
        refuse_duplicates(candidates, count);
        return true;
    case FILTER_CAP_USER:
    case FILTER_CAP_ITEM:
        refuse_beyond(candidates, count, filter->kind, filter->maximum);
        return true;
    case FILTER_HISTORY_QUANTILE:
        if (!history_limit(&limit, train, filter->quantile, error))
            return false;
        break;
    default:
        break;
    }
    for (int64_t i = 0; i < count; i++)
        if (candidates[i].reason == CANDIDATE_ACCEPTED && refuses(filter, &candidates[i], train, limit))
            candidates[i].reason = (int32_t)filter->kind;
    return true;
}

bool filters_apply(struct candidate *candidates, int64_t count, const struct filter *filters,
                   int filter_count, const struct csr *train, struct error *error)
{
    for (int64_t i = 0; i < count; i++)
        candidates[i].reason = CANDIDATE_ACCEPTED;
    for (int f = 0; f < filter_count; f++)
        if (!filter_apply(candidates, count, &filters[f], train, error))
            return false;
    return true;
}

void candidates_rank(struct candidate *candidates, int64_t count, bool by_votes)
{
    qsort(candidates, (size_t)count, sizeof *candidates, by_votes ? compare_with_votes : compare_within_user);
    int32_t rank = 0;
    for (int64_t i = 0; i < count; i++) {
        bool accepted = candidates[i].reason == CANDIDATE_ACCEPTED;
        rank = accepted && i > 0 && candidates[i].user == candidates[i - 1].user ? rank + 1 : 1;
        candidates[i].rank = accepted ? rank : 0;
    }
}
