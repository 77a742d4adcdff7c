#include "experiments/name_index.h"

#include <stdlib.h>
#include <string.h>

static int compare_names(const void *left, const void *right, void *map)
{
    return strcmp(id_map_name(map, *(const int32_t *)left), id_map_name(map, *(const int32_t *)right));
}

bool name_index_open(struct name_index *index, const struct id_map *map, struct error *error)
{
    struct id_map names = *map;
    *index =
        (struct name_index){.map = map, .order = malloc((size_t)(names.count + 1) * sizeof *index->order)};
    if (index->order == NULL)
        return error_memory(error, "an index of raw ids", (size_t)names.count * sizeof *index->order, NULL);
    for (int32_t i = 0; i < names.count; i++)
        index->order[i] = i;
    qsort_r(index->order, (size_t)names.count, sizeof *index->order, compare_names, &names);
    return true;
}

void name_index_close(struct name_index *index)
{
    free(index->order);
    index->order = NULL;
}

int name_compare(const char *name, const char *text, size_t length)
{
    int order = strncmp(name, text, length);
    return order != 0 ? order : name[length] != '\0';
}

int32_t name_index_find(const struct name_index *index, const char *text, size_t length)
{
    int64_t low = 0, high = index->map->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = name_compare(id_map_name(index->map, index->order[middle]), text, length);
        if (order == 0)
            return index->order[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}
