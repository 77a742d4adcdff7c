/*
 * trainer.h: the loop that pretraining and fine-tuning share: epochs of packed batches, gradient
 * accumulation, clipping, a schedule of the learning rate, an exponential average of the weights, validation
 * with early stopping, and a state on disk from which a killed run goes on bit for bit.
 *
 * Ranks divide the sequences of every step, and sum gradients and losses, so that a training has the same steps with any
 * number of them, up to the rounding of sums. All hold the whole model, but for a base that is
 * sharded, and each its share of the optimizer's state (shares.h); rank 0 writes. A state can be gone on from with another number of ranks.
 */
#ifndef IDREC_MODELS_LANGUAGE_TRAINER_H
#define IDREC_MODELS_LANGUAGE_TRAINER_H

#include "core/comm.h"
#include "core/progress.h"
#include "models/language/packing.h"
#include "models/language/schedule.h"
#include "models/language/transformer.h"
#include "models/language/validation.h"

struct trainer_settings {
    const char *stage; /* for log.txt and metrics.jsonl */
    int64_t epochs;
    int64_t steps_maximum; /* optimizer steps; 0: as many as the epochs hold */
    int64_t accumulation;  /* batches a step */
    struct schedule schedule;
    double weight_decay, beta1, beta2, epsilon;
    double clip_norm; /* 0: no clipping */
    double dropout;   /* of the residual branches and the embedding */
    /* Decay of the weights' average a step, which is then what is validated and kept; 0: none. */
    double average;
    int64_t validate_every; /* epochs */
    bool validate_first;    /* validates before the first step too: the weights given may stay the best */
    bool select_ndcg;       /* the best validation is that of the highest ndcg; false: of the lowest loss */
    bool select_last;       /* the best validation is the last one; patience then never ends the training */
    int64_t patience;       /* validations without a better one until the end; 0: all epochs */
    double checkpoint_seconds;
    const char *state_folder;
    struct communicator *communicator; /* that of the model's backend; NULL: one process */
    uint64_t fingerprint; /* of all that the training depends on: a state with another one is not used */
    uint64_t seed;
};

struct trainer_result {
    int64_t epochs, steps, tokens; /* tokens of all ranks */
    int64_t best_epoch;            /* 0: the weights given; -1: no validation */
    double train_loss;             /* of the last epoch */
    /* What this rank has sent in a step, on average, and what it is to send: (ranks - 1) / ranks of the gradients, as much of
     * the values, 4 bytes a weight, and a number, the gradient's norm, to every other rank; and what gathers a sharded base
     * (transformer_gathered_bytes()). */
    double step_bytes, step_bytes_expected;
    struct validation best;
};

/* Trains `model`, which then holds the best (averaged) weights by validation, or without a validator the
 * last ones. The state is saved at the end of each epoch and every checkpoint_seconds, and stays in
 * state_folder until the caller has saved the model and removes it. SIGINT and SIGTERM save it and end in
 * ERROR_INTERRUPTED. An epoch without sequences is refused. */
bool trainer_run(struct trainer_result *result, struct transformer *model, struct packer *packer,
                 const struct validator *validator /* NULL: none */, const struct trainer_settings *settings,
                 struct log *log, struct error *error);

#endif
