#include "core/groups.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void groups_free(struct groups *groups)
{
    free(groups->of);
    *groups = (struct groups){0};
}

int32_t group_of(const struct groups *groups, int64_t member)
{
    return groups->of ? groups->of[member] : 0;
}

int64_t groups_size(const struct groups *groups, int group)
{
    int64_t size = 0;
    for (int64_t member = 0; member < groups->members; member++)
        size += group_of(groups, member) == group;
    return size;
}

static bool groups_allocate(struct groups *groups, int64_t members, struct error *error)
{
    const size_t bytes = (size_t)(members + 1) * sizeof *groups->of;
    *groups = (struct groups){.members = members, .of = malloc(bytes)};
    return groups->of != NULL || error_memory(error, "groups", bytes, NULL);
}

static int compare_lengths(const void *left, const void *right)
{
    const int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

/* The upper ends of all groups but the last, ascending; returns their number. */
static int find_boundaries(int64_t boundaries[GROUPS_MAXIMUM], int64_t *lengths, int64_t count, int wanted)
{
    int found = 0;
    qsort(lengths, (size_t)count, sizeof *lengths, compare_lengths);
    for (int64_t b = 1; count > 0 && b < wanted; b++) {
        const int64_t place = (b * count + wanted - 1) / wanted;
        const int64_t length = lengths[place > 0 ? place - 1 : 0];
        if (length < lengths[count - 1] && (found == 0 || length > boundaries[found - 1]))
            boundaries[found++] = length;
    }
    return found;
}

static void name_lengths(char name[GROUP_NAME_SIZE], const int64_t *boundaries, int count, int group)
{
    const long long above = group > 0 ? (long long)boundaries[group - 1] : 0;
    if (count == 0)
        snprintf(name, GROUP_NAME_SIZE, "all");
    else if (group == 0)
        snprintf(name, GROUP_NAME_SIZE, "up to %lld", (long long)boundaries[0]);
    else if (group == count)
        snprintf(name, GROUP_NAME_SIZE, "over %lld", above);
    else if (boundaries[group] == above + 1)
        snprintf(name, GROUP_NAME_SIZE, "%lld", above + 1);
    else
        snprintf(name, GROUP_NAME_SIZE, "%lld to %lld", above + 1, (long long)boundaries[group]);
}

bool groups_by_history(struct groups *groups, const struct csr *train, const int32_t *users,
                       int64_t user_count, int wanted, struct error *error)
{
    const size_t bytes = (size_t)(user_count + 1) * sizeof(int64_t);
    int64_t boundaries[GROUPS_MAXIMUM];
    if (!groups_allocate(groups, train->rows, error))
        return false;
    int64_t *lengths = malloc(bytes);
    if (!lengths)
        return error_memory(error, "lengths of histories", bytes, NULL);
    for (int64_t i = 0; i < user_count; i++)
        lengths[i] = csr_row_length(train, users[i]);
    const int count =
        find_boundaries(boundaries, lengths, user_count, wanted < GROUPS_MAXIMUM ? wanted : GROUPS_MAXIMUM);
    groups->count = count + 1;
    for (int group = 0; group <= count; group++)
        name_lengths(groups->name[group], boundaries, count, group);
    for (int64_t user = 0; user < train->rows; user++) {
        groups->of[user] = 0;
        while (groups->of[user] < count && csr_row_length(train, user) > boundaries[groups->of[user]])
            groups->of[user]++;
    }
    free(lengths);
    return true;
}

struct popular_item {
    int64_t popularity;
    int32_t item;
};

static int compare_popularity(const void *left, const void *right)
{
    const struct popular_item *a = left, *b = right;
    if (a->popularity != b->popularity)
        return a->popularity > b->popularity ? -1 : 1;
    return (a->item > b->item) - (a->item < b->item);
}

bool order_by_popularity(int32_t *order, const int64_t *popularity, int64_t items, struct error *error)
{
    const size_t bytes = (size_t)(items + 1) * sizeof(struct popular_item);
    struct popular_item *sorted = malloc(bytes);
    if (!sorted)
        return error_memory(error, "popularity of items", bytes, NULL);
    for (int32_t item = 0; item < items; item++)
        sorted[item] = (struct popular_item){popularity[item], item};
    qsort(sorted, (size_t)items, sizeof *sorted, compare_popularity);
    for (int64_t place = 0; place < items; place++)
        order[place] = sorted[place].item;
    free(sorted);
    return true;
}

bool groups_by_popularity(struct groups *groups, const int64_t *popularity, int64_t items, int wanted,
                          struct error *error)
{
    const size_t bytes = (size_t)(items + 1) * sizeof(int32_t);
    int32_t *order = malloc(bytes);
    bool done = groups_allocate(groups, items, error);
    if (!order)
        done = error_memory(error, "popularity of items", bytes, NULL);
    done = done && order_by_popularity(order, popularity, items, error);
    groups->count = wanted;
    for (int group = 0; group < wanted; group++)
        snprintf(groups->name[group], GROUP_NAME_SIZE, "%d", group + 1);
    for (int64_t place = 0; done && place < items; place++)
        groups->of[order[place]] = (int32_t)(place * wanted / items);
    free(order);
    return done;
}

/* What one user's list holds of the truth items of each group. */
struct user_sums {
    int64_t hits[GROUPS_MAXIMUM], truth[GROUPS_MAXIMUM];
    double gain[GROUPS_MAXIMUM];
};

static void add_user(struct user_sums *sums, const struct csr *lists, const struct csr *truth, int64_t user,
                     int64_t k, const struct groups *items)
{
    for (int64_t i = truth->starts[user]; i < truth->starts[user + 1]; i++) {
        const int group = group_of(items, truth->indices[i]);
        if (group >= 0)
            sums->truth[group]++;
    }
    const int64_t length = csr_row_length(lists, user);
    for (int64_t place = 0; place < length && place < k; place++) {
        const int32_t item = lists->indices[lists->starts[user] + place];
        const int group = group_of(items, item);
        if (group < 0 || !csr_contains_sorted(truth, user, item))
            continue;
        sums->hits[group]++;
        sums->gain[group] += 1.0 / log2((double)place + 2.0);
    }
}

static double ideal_gain(int64_t k, int64_t truth)
{
    double gain = 0;
    for (int64_t place = 0; place < k && place < truth; place++)
        gain += 1.0 / log2((double)place + 2.0);
    return gain;
}

static void add_metrics(struct group_metrics *metrics, const struct user_sums *sums, int group, int64_t k)
{
    metrics->users++;
    metrics->recall += (double)sums->hits[group] / (double)sums->truth[group];
    metrics->ndcg += sums->gain[group] / ideal_gain(k, sums->truth[group]);
}

static void finish_metrics(struct group_metrics *metrics, int count)
{
    for (int group = 0; group < count; group++) {
        const double users = (double)metrics[group].users;
        metrics[group].recall = users > 0 ? metrics[group].recall / users : NAN;
        metrics[group].ndcg = users > 0 ? metrics[group].ndcg / users : NAN;
    }
}

void user_group_metrics(struct group_metrics *metrics, const struct csr *lists, const struct csr *truth,
                        int64_t k, const struct groups *users)
{
    const struct groups all_items = {.members = truth->columns, .count = 1};
    for (int group = 0; group < users->count; group++)
        metrics[group] = (struct group_metrics){0};
    for (int64_t user = 0; user < truth->rows; user++) {
        const int32_t group = group_of(users, user);
        struct user_sums sums = {0};
        if (csr_row_length(truth, user) == 0 || group < 0)
            continue;
        add_user(&sums, lists, truth, user, k, &all_items);
        add_metrics(&metrics[group], &sums, 0, k);
    }
    finish_metrics(metrics, users->count);
}

void item_group_metrics(struct group_metrics *metrics, const struct csr *lists, const struct csr *truth,
                        int64_t k, const struct groups *items)
{
    for (int group = 0; group < items->count; group++)
        metrics[group] = (struct group_metrics){0};
    for (int64_t user = 0; user < truth->rows; user++) {
        struct user_sums sums = {0};
        if (csr_row_length(truth, user) == 0)
            continue;
        add_user(&sums, lists, truth, user, k, items);
        for (int group = 0; group < items->count; group++)
            if (sums.truth[group] > 0)
                add_metrics(&metrics[group], &sums, group, k);
    }
    finish_metrics(metrics, items->count);
}

struct group_spread group_spread(const double *values, int count)
{
    struct group_spread spread = {.worst = -1, .lowest = NAN, .gap = NAN};
    double highest = -INFINITY;
    for (int group = 0; group < count; group++) {
        if (isnan(values[group]))
            continue;
        if (spread.worst < 0 || values[group] < spread.lowest)
            spread = (struct group_spread){.worst = group, .lowest = values[group]};
        highest = fmax(highest, values[group]);
    }
    spread.gap = spread.worst < 0 ? NAN : highest - spread.lowest;
    return spread;
}
