#include "models/language/proposal.h"

#include <stdlib.h>

bool proposal_list_append(struct proposal_list *list, struct proposal proposal, struct error *error)
{
    if (list->count == list->capacity) {
        const int64_t capacity = list->capacity > 0 ? 2 * list->capacity : 1024;
        struct proposal *grown = realloc(list->row, (size_t)capacity * sizeof *grown);
        if (!grown)
            return error_memory(error, "the generated items", (size_t)capacity * sizeof *grown,
                                "lower generate.samples or generate.max_items");
        list->row = grown;
        list->capacity = capacity;
    }
    list->row[list->count++] = proposal;
    return true;
}

static int compare_integers(int32_t a, int32_t b)
{
    return (a > b) - (a < b);
}

static int compare_place(const void *first, const void *second)
{
    const struct proposal *a = first, *b = second;
    int order = compare_integers(a->user, b->user);
    if (order == 0)
        order = compare_integers(a->sample, b->sample);
    return order != 0 ? order : compare_integers(a->position, b->position);
}

static int compare_item(const void *first, const void *second)
{
    const struct proposal *a = first, *b = second;
    const int order = compare_integers(a->item, b->item);
    return order != 0 ? order : compare_place(first, second);
}

void proposal_list_sort(struct proposal_list *list)
{
    if (list->count > 1)
        qsort(list->row, (size_t)list->count, sizeof *list->row, compare_place);
}

/* Of one user's rows, ordered by item and then by sample. */
static void vote_within_user(struct proposal *row, int64_t count)
{
    for (int64_t first = 0, end; first < count; first = end) {
        int32_t votes = 0;
        for (end = first; end < count && row[end].item == row[first].item; end++)
            votes += end == first || row[end].sample != row[end - 1].sample;
        for (int64_t i = first; i < end; i++)
            row[i].votes = votes;
    }
}

void proposal_list_vote(struct proposal_list *list)
{
    for (int64_t first = 0, end; first < list->count; first = end) {
        for (end = first; end < list->count && list->row[end].user == list->row[first].user; end++)
            continue;
        qsort(list->row + first, (size_t)(end - first), sizeof *list->row, compare_item);
        vote_within_user(list->row + first, end - first);
        qsort(list->row + first, (size_t)(end - first), sizeof *list->row, compare_place);
    }
}

void proposal_list_free(struct proposal_list *list)
{
    free(list->row);
    *list = (struct proposal_list){.count = 0};
}
