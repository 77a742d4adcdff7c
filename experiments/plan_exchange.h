/*
 * plan_exchange.h: what the ranks of a training send each other, by the model of docs/scaling.md, and how long that takes
 * where it is known how fast a rank can send.
 */
#ifndef IDREC_EXPERIMENTS_PLAN_EXCHANGE_H
#define IDREC_EXPERIMENTS_PLAN_EXCHANGE_H

#include <jansson.h>
#include <stdio.h>

#include "models/language/packing.h"
#include "models/language/transformer.h"

/* Of one rank, on average over the steps. */
struct plan_exchange {
    int ranks;                 /* 0: nothing is exchanged */
    double rounds;             /* batches of a step in which ranks go through the layers side by side */
    double sums, weights;      /* bytes that a step sends: of gradients, of updated weights */
    double layers;             /* of the layers of a sharded base; 0: it is whole everywhere */
    double validated_layers;   /* of a batch that is validated */
    double link;               /* bytes a second that a rank can send; 0: not known */
    double computing, seconds; /* seconds of a step: what is computed, and the whole step */
};

/* Counts over the first steps of an epoch that has begun; the backend's communicator says how many ranks there are. */
void plan_exchange_count(struct plan_exchange *exchange, struct transformer *model,
                         const struct packer *packer, int64_t accumulation, double link);
/* Sets how long a step takes of which a rank computes so many seconds: sums and layers are sent meanwhile, updated weights
 * afterwards. */
void plan_exchange_step(struct plan_exchange *exchange, double computing);
/* The same for a validation of so many batches. */
double plan_exchange_validation(const struct plan_exchange *exchange, double computing, double batches);

void plan_exchange_print(const struct plan_exchange *exchange, FILE *stream);
json_t *plan_exchange_json(const struct plan_exchange *exchange); /* null: nothing is exchanged */

#endif
