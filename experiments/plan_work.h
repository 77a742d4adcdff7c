/*
 * plan_work.h: pieces of the work of the language model's stages, done on any backend: on one that counts to know how much
 * there is, on the device to know how fast it goes.
 */
#ifndef IDREC_EXPERIMENTS_PLAN_WORK_H
#define IDREC_EXPERIMENTS_PLAN_WORK_H

#include "experiments/language_model.h"
#include "models/language/packing.h"

/* A model and how it is trained, or asked. */
struct language_shape {
    struct transformer_settings settings;
    struct lora_settings lora; /* rank 0: none */
    enum train_mode mode;
    double dropout; /* of the residual branches */
    bool values;    /* false: the base's weights stay zero, which takes less time to make */
    struct packing_settings packing;
    const struct csr *train, *train_sorted, *validation;
    struct vocabulary vocabulary;
    struct ranker_settings ranker;
    struct sampler_settings sampler;
    bool ranking;
    int64_t item_tokens; /* of an item in a list of the sampler, about; 0: one */
    int64_t
        slots; /* sequences that generation decodes together; 0: shape_choose_slots() has not found it yet */
};

/* What was done, and how long it took. */
struct work_done {
    struct operation_counters work;
    double seconds;
    int64_t pieces; /* batches, users */
    int64_t tokens;
};

/* Makes the model with room for batches; `batches` false: without. */
bool shape_create(struct transformer **model, const struct language_shape *shape, struct backend *backend,
                  bool batches, struct error *error);

/* Trains on every `stride`th batch of an epoch that has begun, at most for `seconds`, and makes a step after each.
 * `steps` gets what of the work was the steps'. The first `warm_up` batches are not told of. */
bool work_train(struct work_done *done, struct work_done *steps, const struct language_shape *shape,
                struct transformer *model, struct packer *packer, int64_t stride, int64_t warm_up,
                double seconds, struct error *error);

/* Validates about `users` users. */
bool work_validate(struct work_done *done, const struct language_shape *shape, struct transformer *model,
                   int64_t users, struct error *error);

/* Asks for lists of users, some here and some there, until `users` are done or the time is over. On a backend that counts
 * sampling is counted a context and a step at a time, with lists as long as they can be and the shape's slots. */
bool work_generate(struct work_done *done, const struct language_shape *shape, struct transformer *model,
                   int64_t users, double seconds, struct error *error);

/* Sets the slots of the attention cache, as generation does. */
bool shape_choose_slots(struct language_shape *shape, const struct transformer *model, struct error *error);

/* Tokens of all contexts that generation reads, each once. */
int64_t shape_context_tokens(const struct language_shape *shape);

#endif
