/* best_items.h: the best of many items: score descending, ties by item ascending. */
#ifndef IDREC_MODELS_LANGUAGE_BEST_ITEMS_H
#define IDREC_MODELS_LANGUAGE_BEST_ITEMS_H

#include <stdint.h>

struct scored_item {
    int32_t item;
    double score;
};

/* Puts an item among the `count` best so far, sorted, of at most `maximum`; returns their number. */
static inline int64_t best_items_add(struct scored_item *best, int64_t count, int64_t maximum, int32_t item,
                                     double score)
{
    int64_t place = count < maximum ? count++ : count;
    if (place == maximum) {
        const struct scored_item last = best[--place];
        if (score < last.score || (score == last.score && item > last.item))
            return count;
    }
    for (; place > 0 &&
           (score > best[place - 1].score || (score == best[place - 1].score && item < best[place - 1].item));
         place--)
        best[place] = best[place - 1];
    best[place] = (struct scored_item){item, score};
    return count;
}

#endif
