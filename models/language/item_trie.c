#include "models/language/item_trie.h"

#include <stdlib.h>
#include <string.h>

/* The first place at which two rows differ, or the length of the shorter one. */
static int64_t common_length(const struct token_rows *rows, int64_t a, int64_t b)
{
    const int64_t a_length = token_row_length(rows, a), b_length = token_row_length(rows, b);
    const int64_t shorter = a_length < b_length ? a_length : b_length;
    int64_t place = 0;
    while (place < shorter && rows->token[rows->starts[a] + place] == rows->token[rows->starts[b] + place])
        place++;
    return place;
}

/* By tokens; a row comes before those that go on from it. */
static int compare_rows(const void *a, const void *b, void *context)
{
    const struct token_rows *rows = context;
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    const int64_t common = common_length(rows, x, y);
    const int64_t x_length = token_row_length(rows, x), y_length = token_row_length(rows, y);
    if (common == x_length || common == y_length)
        return (x_length > y_length) - (x_length < y_length);
    return rows->token[rows->starts[x] + common] < rows->token[rows->starts[y] + common] ? -1 : 1;
}

/* The items in the trie's order; *nodes is how many nodes they make. */
static bool sort_items(int32_t *order, int64_t *nodes, const struct token_rows *rows, struct error *error)
{
    for (int64_t item = 0; item < rows->count; item++) {
        order[item] = (int32_t)item;
        if (token_row_length(rows, item) < 1)
            return error_set(error, ERROR_RUN,
                             "item %lld has no tokens; choose another language_model.indexing",
                             (long long)item);
    }
    qsort_r(order, (size_t)rows->count, sizeof *order, compare_rows, (void *)(uintptr_t)rows);
    *nodes = 1;
    for (int64_t place = 0; place < rows->count; place++) {
        const int64_t length = token_row_length(rows, order[place]);
        const int64_t common = place > 0 ? common_length(rows, order[place - 1], order[place]) : 0;
        if (common == length) {
            const bool ascend = order[place - 1] < order[place];
            return error_set(error, ERROR_RUN,
                             "items %d and %d are written with the same tokens; choose another "
                             "language_model.names or language_model.indexing",
                             order[ascend ? place - 1 : place], order[ascend ? place : place - 1]);
        }
        *nodes += length - common;
    }
    if (*nodes >= INT32_MAX)
        return error_set(error, ERROR_RUN,
                         "the items' tokens make %lld nodes of a trie, more than 2^31 - 2; "
                         "choose a shorter language_model.names",
                         (long long)*nodes);
    return true;
}

static bool allocate(struct item_trie *trie, struct error *error)
{
    const size_t nodes = (size_t)trie->node_count, bytes = nodes * sizeof(int32_t);
    trie->token = malloc(bytes);
    trie->first_child = malloc(bytes + sizeof(int32_t));
    trie->item = malloc(bytes);
    trie->begin = malloc(bytes);
    trie->end = malloc(bytes);
    trie->number = malloc((size_t)trie->item_count * sizeof(int32_t) + 1);
    return (trie->token && trie->first_child && trie->item && trie->begin && trie->end && trie->number) ||
           error_memory(error, "the trie of items", 5 * bytes, NULL);
}

/* The children of a node `depth` tokens deep, behind the nodes made so far; returns how many nodes there are then. */
static int32_t add_children(struct item_trie *trie, const struct token_rows *rows, const int32_t *order,
                            int32_t node, int64_t depth, int32_t made)
{
    int32_t place = trie->begin[node];
    trie->item[node] = -1;
    if (place < trie->end[node] && token_row_length(rows, order[place]) == depth)
        trie->item[node] = order[place++];
    while (place < trie->end[node]) {
        const int32_t token = rows->token[rows->starts[order[place]] + depth];
        trie->token[made] = token;
        trie->begin[made] = place;
        while (place < trie->end[node] && rows->token[rows->starts[order[place]] + depth] == token)
            place++;
        trie->end[made++] = place;
    }
    return made;
}

/* Breadth first, so that the children of a node begin where those of the node before it end. */
static void build(struct item_trie *trie, const struct token_rows *rows, const int32_t *order)
{
    int32_t made = 1, level_end = 1;
    int64_t depth = 0;
    trie->token[0] = -1;
    trie->begin[0] = 0;
    trie->end[0] = (int32_t)trie->item_count;
    for (int32_t node = 0; node < made; node++) {
        if (node == level_end) {
            level_end = made;
            depth++;
        }
        trie->first_child[node] = made;
        made = add_children(trie, rows, order, node, depth, made);
    }
    trie->first_child[made] = made;
    for (int64_t place = 0; place < trie->item_count; place++)
        trie->number[order[place]] = (int32_t)place;
}

bool item_trie_create(struct item_trie *trie, const struct token_rows *rows, struct error *error)
{
    *trie = (struct item_trie){.item_count = rows->count};
    int32_t *order = malloc((size_t)rows->count * sizeof *order + 1);
    bool done = order || error_memory(error, "the order of items", (size_t)rows->count * sizeof *order, NULL);
    done = done && sort_items(order, &trie->node_count, rows, error) && allocate(trie, error);
    if (done)
        build(trie, rows, order);
    else
        item_trie_free(trie);
    free(order);
    return done;
}

void item_trie_free(struct item_trie *trie)
{
    free(trie->token);
    free(trie->first_child);
    free(trie->item);
    free(trie->begin);
    free(trie->end);
    free(trie->number);
    *trie = (struct item_trie){0};
}

/* The first place from `begin` to `end` whose value is not below `value`, or `end`. */
static int64_t lower_bound(const int32_t *values, int64_t begin, int64_t end, int32_t value)
{
    while (begin < end) {
        const int64_t middle = begin + (end - begin) / 2;
        if (values[middle] < value)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

int32_t item_trie_child(const struct item_trie *trie, int32_t node, int32_t token)
{
    const int32_t end = trie->first_child[node + 1];
    const int64_t child = lower_bound(trie->token, trie->first_child[node], end, token);
    return child < end && trie->token[child] == token ? (int32_t)child : -1;
}

static bool reserve(struct item_exclusions *exclusions, int64_t count, struct error *error)
{
    if (count <= exclusions->capacity)
        return true;
    const int64_t capacity = count > 2 * exclusions->capacity ? count : 2 * exclusions->capacity;
    int32_t *grown = realloc(exclusions->number, (size_t)capacity * sizeof *grown);
    if (!grown)
        return error_memory(error, "a user's items", (size_t)capacity * sizeof *grown, NULL);
    exclusions->number = grown;
    exclusions->capacity = capacity;
    return true;
}

static int compare_numbers(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

bool item_exclusions_set(struct item_exclusions *exclusions, const struct item_trie *trie,
                         const int32_t *items, int64_t item_count, struct error *error)
{
    exclusions->count = 0;
    if (item_count == 0)
        return true;
    if (!reserve(exclusions, item_count, error))
        return false;
    int32_t *number = exclusions->number;
    for (int64_t i = 0; i < item_count; i++)
        number[i] = trie->number[items[i]];
    qsort(number, (size_t)item_count, sizeof *number, compare_numbers);
    for (int64_t i = 0; i < item_count; i++)
        if (i == 0 || number[i] != number[i - 1])
            number[exclusions->count++] = number[i];
    return true;
}

bool item_exclusions_add(struct item_exclusions *exclusions, const struct item_trie *trie, int32_t item,
                         struct error *error)
{
    const int32_t number = trie->number[item];
    const int64_t place = lower_bound(exclusions->number, 0, exclusions->count, number);
    if (place < exclusions->count && exclusions->number[place] == number)
        return true;
    if (!reserve(exclusions, exclusions->count + 1, error))
        return false;
    memmove(exclusions->number + place + 1, exclusions->number + place,
            (size_t)(exclusions->count - place) * sizeof number);
    exclusions->number[place] = number;
    exclusions->count++;
    return true;
}

void item_exclusions_free(struct item_exclusions *exclusions)
{
    free(exclusions->number);
    *exclusions = (struct item_exclusions){0};
}

int64_t item_trie_left(const struct item_trie *trie, int32_t node, const struct item_exclusions *exclusions)
{
    const int32_t *number = exclusions->number;
    const int64_t first = lower_bound(number, 0, exclusions->count, trie->begin[node]);
    const int64_t last = lower_bound(number, first, exclusions->count, trie->end[node]);
    return trie->end[node] - trie->begin[node] - (last - first);
}
