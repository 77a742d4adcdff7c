#include "models/language/item_writer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- the writer --------------------------------------------------------------------------------------- */

static int64_t children_of(const struct item_trie *trie, int32_t node)
{
    return trie->first_child[node + 1] - trie->first_child[node];
}

static int32_t item_of_number(const struct item_trie *trie, int32_t number)
{
    int32_t item = 0;
    while (trie->number[item] != number)
        item++;
    return item;
}

/* Items that end at a node must not go on by what may stand behind a whole item. */
static bool check_continuations(const struct item_writer *writer, const struct item_trie *trie,
                                struct error *error)
{
    for (int32_t node = 0; node < trie->node_count; node++) {
        if (trie->item[node] < 0)
            continue;
        for (int32_t child = trie->first_child[node]; child < trie->first_child[node + 1]; child++)
            if (item_trie_child(&writer->next, 0, trie->token[child]) >= 0)
                return error_set(error, ERROR_RUN,
                                 "item %d goes on from item %d with token %d, which begins a further item as "
                                 "well: what is "
                                 "written could mean either; put a separator between items or give them "
                                 "codes of one length",
                                 item_of_number(trie, trie->begin[child]), trie->item[node],
                                 trie->token[child]);
    }
    return true;
}

static bool check_end(const struct item_writer *writer, const struct item_trie *trie, struct error *error)
{
    for (int32_t node = 1; writer->end >= 0 && node < trie->node_count; node++)
        if (trie->token[node] == writer->end)
            return error_set(
                error, ERROR_RUN,
                "item %d is written with token %d, which ends a list; choose other names of items",
                item_of_number(trie, trie->begin[node]), writer->end);
    return true;
}

static void measure(struct item_writer *writer, const struct item_tokens *tokens)
{
    const struct item_trie *const tries[2] = {&writer->first, &writer->next};
    const struct token_rows *const rows[2] = {&tokens->first, &tokens->next};
    int64_t widest = 0;
    for (int i = 0; i < 2; i++) {
        for (int32_t node = 0; node < tries[i]->node_count; node++)
            widest = children_of(tries[i], node) > widest ? children_of(tries[i], node) : widest;
        for (int64_t row = 0; row < rows[i]->count; row++)
            if (token_row_length(rows[i], row) > writer->length_maximum)
                writer->length_maximum = token_row_length(rows[i], row);
    }
    writer->allowed_maximum = widest + children_of(&writer->next, 0) + 1;
}

bool item_writer_create(struct item_writer *writer, const struct item_tokens *tokens, int32_t end,
                        struct error *error)
{
    *writer = (struct item_writer){.end = end};
    if (item_trie_create(&writer->first, &tokens->first, error) &&
        item_trie_create(&writer->next, &tokens->next, error) && check_end(writer, &writer->first, error) &&
        check_end(writer, &writer->next, error) && check_continuations(writer, &writer->first, error) &&
        check_continuations(writer, &writer->next, error)) {
        measure(writer, tokens);
        return true;
    }
    item_writer_free(writer);
    return false;
}

void item_writer_free(struct item_writer *writer)
{
    item_trie_free(&writer->first);
    item_trie_free(&writer->next);
}

/* ---- lists -------------------------------------------------------------------------------------------- */

bool written_list_begin(struct written_list *list, const struct item_writer *writer, bool joined,
                        const int32_t *items, int64_t item_count, struct error *error)
{
    list->further = joined;
    list->node = 0;
    list->items = 0;
    return item_exclusions_set(&list->first, &writer->first, items, item_count, error) &&
           item_exclusions_set(&list->next, &writer->next, items, item_count, error);
}

static bool copy_exclusions(struct item_exclusions *to, const struct item_exclusions *from,
                            struct error *error)
{
    if (from->count > to->capacity) {
        int32_t *number = realloc(to->number, (size_t)from->capacity * sizeof *number);
        if (!number)
            return error_memory(error, "a list's items", (size_t)from->capacity * sizeof *number, NULL);
        to->number = number;
        to->capacity = from->capacity;
    }
    to->count = from->count;
    if (from->count > 0)
        memcpy(to->number, from->number, (size_t)from->count * sizeof *to->number);
    return true;
}

bool written_list_copy(struct written_list *to, const struct written_list *from, struct error *error)
{
    to->further = from->further;
    to->node = from->node;
    to->items = from->items;
    return copy_exclusions(&to->first, &from->first, error) && copy_exclusions(&to->next, &from->next, error);
}

void written_list_free(struct written_list *list)
{
    item_exclusions_free(&list->first);
    item_exclusions_free(&list->next);
    *list = (struct written_list){.node = 0};
}

/* ---- what may follow ---------------------------------------------------------------------------------- */

static const struct item_trie *trie_of(const struct item_writer *writer, const struct written_list *list)
{
    return list->further ? &writer->next : &writer->first;
}

static const struct item_exclusions *exclusions_of(const struct written_list *list)
{
    return list->further ? &list->next : &list->first;
}

static int64_t first_from(const struct item_exclusions *exclusions, int32_t number)
{
    int64_t begin = 0, end = exclusions->count;
    while (begin < end) {
        const int64_t middle = begin + (end - begin) / 2;
        if (exclusions->number[middle] < number)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

static bool is_excluded(const struct item_exclusions *exclusions, int32_t number)
{
    const int64_t place = first_from(exclusions, number);
    return place < exclusions->count && exclusions->number[place] == number;
}

int32_t written_list_pending(const struct item_writer *writer, const struct written_list *list)
{
    const struct item_trie *const trie = trie_of(writer, list);
    const int32_t item = trie->item[list->node];
    return item >= 0 && !is_excluded(exclusions_of(list), trie->number[item]) ? item : -1;
}

/* The tokens of the children below which an item other than number `withheld` (-1: none) is left. Children and exclusions
 * ascend alike. */
static int64_t list_children(int32_t *token, const struct item_trie *trie, int32_t node,
                             const struct item_exclusions *exclusions, int32_t withheld)
{
    int64_t count = 0, place = first_from(exclusions, trie->begin[node]);
    for (int32_t child = trie->first_child[node]; child < trie->first_child[node + 1]; child++) {
        int64_t left = trie->end[child] - trie->begin[child];
        while (place < exclusions->count && exclusions->number[place] < trie->begin[child])
            place++;
        for (; place < exclusions->count && exclusions->number[place] < trie->end[child]; place++)
            left--;
        if (withheld >= trie->begin[child] && withheld < trie->end[child])
            left--;
        if (left > 0)
            token[count++] = trie->token[child];
    }
    return count;
}

int64_t item_writer_continuing(const struct item_writer *writer, const struct written_list *list,
                               int32_t *token)
{
    return list_children(token, trie_of(writer, list), list->node, exclusions_of(list), -1);
}

int64_t item_writer_allowed(const struct item_writer *writer, const struct written_list *list, int32_t *token,
                            int64_t *continuing)
{
    const int32_t pending = written_list_pending(writer, list);
    int64_t count = item_writer_continuing(writer, list, token);
    *continuing = count;
    if (pending >= 0)
        count += list_children(token + count, &writer->next, 0, &list->next, writer->next.number[pending]);
    if (writer->end >= 0 && (pending >= 0 || list->node == 0))
        token[count++] = writer->end;
    return count;
}

int64_t item_writer_stops(const struct item_writer *writer, int32_t *token)
{
    int64_t count = 0;
    for (int32_t child = writer->next.first_child[0]; child < writer->next.first_child[1]; child++)
        token[count++] = writer->next.token[child];
    if (writer->end >= 0)
        token[count++] = writer->end;
    return count;
}

/* ---- going on ----------------------------------------------------------------------------------------- */

static bool complete(struct written_list *list, const struct item_writer *writer, int32_t item,
                     struct error *error)
{
    list->items++;
    list->node = 0;
    list->further = true;
    return item_exclusions_add(&list->next, &writer->next, item, error);
}

/* Steps to a child; an item that no other can go on from is complete. */
static bool descend(struct written_step *step, const struct item_writer *writer, struct written_list *list,
                    int32_t token, struct error *error)
{
    const struct item_trie *const trie = trie_of(writer, list);
    list->node = item_trie_child(trie, list->node, token);
    assert(list->node >= 0);
    const int32_t pending = written_list_pending(writer, list);
    if (pending < 0 || item_trie_left(trie, list->node, exclusions_of(list)) > 1)
        return true;
    step->with = pending;
    return complete(list, writer, pending, error);
}

bool item_writer_take(struct written_step *step, const struct item_writer *writer, struct written_list *list,
                      int32_t token, struct error *error)
{
    *step = (struct written_step){-1, -1, .ends = token == writer->end};
    if (!step->ends && item_trie_child(trie_of(writer, list), list->node, token) >= 0)
        return descend(step, writer, list, token, error);
    step->before = list->node > 0 ? written_list_pending(writer, list) : -1;
    if (step->before >= 0 && !complete(list, writer, step->before, error))
        return false;
    return step->ends || descend(step, writer, list, token, error);
}
