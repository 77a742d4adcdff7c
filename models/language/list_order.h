/* list_order.h: the order in which samplers begin lists: users, then their contexts, then the samples of a context. */
#ifndef IDREC_MODELS_LANGUAGE_LIST_ORDER_H
#define IDREC_MODELS_LANGUAGE_LIST_ORDER_H

#include <stdbool.h>
#include <stdint.h>

/* Sample s follows context s % contexts; at most the samples' number of contexts is used. */
struct list_order {
    int64_t user, context, sample;
};

/* Moves on to the next list; whether another context begins. */
static inline bool list_order_next(struct list_order *at, int64_t samples, int64_t contexts)
{
    at->sample += contexts;
    if (at->sample < samples)
        return false;
    at->context++;
    if (at->context == contexts || at->context == samples) {
        at->context = 0;
        at->user++;
    }
    at->sample = at->context;
    return true;
}

#endif
