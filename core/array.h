/* array.h: arrays that grow. */
#ifndef IDREC_CORE_ARRAY_H
#define IDREC_CORE_ARRAY_H

#include <stdlib.h>

#include "core/error.h"

/* The array with room for one more behind `count` elements of `size` bytes, moved where it must be; NULL, and an error about
 * `what`, without memory: it stays as it was. */
static inline void *array_room(void *items, size_t count, size_t *capacity, size_t size, const char *what,
                               struct error *error)
{
    if (count < *capacity)
        return items;
    const size_t larger = 2 * *capacity + 64;
    void *grown = realloc(items, larger * size);
    if (!grown)
        error_memory(error, what, larger * size, NULL);
    else
        *capacity = larger;
    return grown;
}

#endif
