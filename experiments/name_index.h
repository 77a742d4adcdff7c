/* name_index.h: raw ids to their numbers. */
#ifndef IDREC_EXPERIMENTS_NAME_INDEX_H
#define IDREC_EXPERIMENTS_NAME_INDEX_H

#include <stddef.h>

#include "core/interactions.h"

struct name_index {
    const struct id_map *map;
    int32_t *order; /* [map->count]: numbers in ascending order of their names */
};
/* The map must outlive the index. */
bool name_index_open(struct name_index *index, const struct id_map *map, struct error *error);
void name_index_close(struct name_index *index);

/* The number of text[0 .. length - 1]; -1: not in the map. */
int32_t name_index_find(const struct name_index *index, const char *text, size_t length);

/* strcmp() of a name with text[0 .. length - 1]. */
int name_compare(const char *name, const char *text, size_t length);

#endif
