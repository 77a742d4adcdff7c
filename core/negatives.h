/*
 * negatives.h: what CPU and GPU share of drawing an item that is not excluded: one source, the same bits.
 */
#ifndef IDREC_CORE_NEGATIVES_H
#define IDREC_CORE_NEGATIVES_H

#include <stdbool.h>

#include "core/random_stream.h"

/* The items that are no negatives of somebody: ascending, each once. */
struct excluded_items {
    const int32_t *items;
    int64_t count;
};

PORTABLE_INLINE bool items_contain(const struct excluded_items *excluded, int32_t item)
{
    int64_t low = 0, high = excluded->count;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (excluded->items[middle] < item)
            low = middle + 1;
        else
            high = middle;
    }
    return low < excluded->count && excluded->items[low] == item;
}

/* A uniform draw is rejected so often; who has nearly all items draws then among those that are left. */
enum { REJECTIONS_MAXIMUM = 64 };

/* Uniform over the allowed ones of `items`, without rejection: that which has a drawn number of allowed ones before it. */
PORTABLE_INLINE int32_t draw_allowed_item(struct random_stream *stream, const struct excluded_items *excluded,
                                          int64_t items)
{
    const int64_t before = random_below(stream, (uint32_t)(items - excluded->count));
    int64_t low = 0, high = excluded->count;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (excluded->items[middle] - middle <= before)
            low = middle + 1;
        else
            high = middle;
    }
    return (int32_t)(before + low);
}

PORTABLE_INLINE int32_t draw_negative(struct random_stream *stream, const struct excluded_items *excluded,
                                      int64_t items)
{
    for (int attempt = 0; attempt < REJECTIONS_MAXIMUM; attempt++) {
        const int32_t item = (int32_t)random_below(stream, (uint32_t)items);
        if (!items_contain(excluded, item))
            return item;
    }
    return draw_allowed_item(stream, excluded, items);
}

#endif
