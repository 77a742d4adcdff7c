/*
 * shares.h: the state of the optimizer divided among ranks (Rajbhandari et al. 2020, "ZeRO", stage 1). Of every bucket of
 * the trained parameters, a layer for example, a rank keeps the moments of its part (comm_part()), and what else there is
 * for each weight: an average, the best weights. It gets the sum of its part's gradients, updates its part of the weights,
 * and all ranks get it. Values and gradients themselves are whole everywhere.
 *
 * A whole list is [count] as transformer_trained_values(); a kept one has the elements that this rank keeps, part by part.
 * One process keeps all, in the same order.
 */
#ifndef IDREC_MODELS_LANGUAGE_SHARES_H
#define IDREC_MODELS_LANGUAGE_SHARES_H

#include "models/language/transformer.h"

/* Elements of a kept list. */
int64_t shares_kept(const struct transformer *model);

/* kept = this rank's elements of whole; and the reverse. */
void shares_take(const struct transformer *model, struct tensor *kept, const struct tensor *whole);
void shares_put(const struct transformer *model, struct tensor *whole, const struct tensor *kept);
/* kept = alpha * whole + beta * kept. */
void shares_add(const struct transformer *model, struct tensor *kept, float alpha, const struct tensor *whole,
                float beta);
/* Every element of the whole list comes from the rank that keeps it. All ranks call it. */
bool shares_gather(const struct transformer *model, struct tensor *whole, struct error *error);

/* A kept list as a whole one that can be written to or read from a file. With one process that is the list itself; else it
 * is in host memory, malloc'ed. */
struct whole_list {
    struct tensor tensor; /* rank 0: of another rank's matter */
    void *memory;
};
/* Brings a list to rank 0. All ranks call it. */
bool shares_collect(const struct transformer *model, struct whole_list *list, const struct tensor *kept,
                    struct error *error);
/* Room for a list to be read at every rank, and this rank's part of what was read. */
bool shares_expect(const struct transformer *model, struct whole_list *list, const struct tensor *kept,
                   struct error *error);
void shares_deal(const struct transformer *model, struct tensor *kept, const struct whole_list *list);
void shares_release(struct whole_list *list);

/* Part of a whole list that is of a trained parameter, flat. */
struct tensor shares_part(const struct transformer *model, const struct tensor *whole,
                          const struct parameter *parameter);

/* So that a state of training can be written or read: the parameters of the model get their moments, or room for them, and
 * lose them again. `read`: what was read into the room is kept. All ranks call these. With one process nothing changes. */
struct whole_moments {
    struct whole_list first, second;
};
bool shares_show_moments(struct transformer *model, struct whole_moments *whole, bool to_write,
                         struct error *error);
void shares_hide_moments(struct transformer *model, struct whole_moments *whole, bool read);

#endif
