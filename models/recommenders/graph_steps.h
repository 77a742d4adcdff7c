/*
 * graph_steps.h: what the steps of the models on the graph of users and items have in common. Internal to
 * models/recommenders.
 *
 * A final embedding is the mean of the layers of a range: 0 .. L in LightGCN, SGL and NCL, 1 .. L in SimGCL and
 * XSimGCL, as their authors' code has it.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_GRAPH_STEPS_H
#define IDREC_MODELS_RECOMMENDERS_GRAPH_STEPS_H

#include "models/recommenders/steps.h"

/* The check of a model whose settings only have to be those of a graph. */
bool graph_settings_check(const struct recommender_settings *settings, struct error *error);

/* For prepare(): reserves the training's memory and builds its graph; final embeddings are the mean of the layers from
 * `first_layer` on. */
bool graph_training_prepare(struct embedding_training *training, int64_t first_layer, struct error *error);

/* From the propagated layers: losses[first ..], and the gradient of the weighted ranking loss with respect to each
 * layer that is read out, at the batch's rows. */
struct layer_gradient rank_batch(struct embedding_training *training, int64_t first, int64_t count);

/* The noise of a step's propagation number `pass`, from 0, by settings.noise. */
struct layer_noise noise_of_step(const struct embedding_training *training, int pass);

/* Adds the gradient of the regularisation to training->gradient and takes Adam's step with it. */
void finish_step(struct embedding_training *training, int64_t first, int64_t count);

/* The recommender's embeddings are read out of a propagation over the whole graph, without noise. */
bool graph_training_publish(void *training, struct error *error);

/* The model's table; divided_by: its `divides`. */
#define GRAPH_MODEL(label, divided_by, checked_by, opened_by)                                                \
    {                                                                                                        \
        .name = (label), .divides = (divided_by), .check = (checked_by), .training_open = (opened_by),       \
        .train_epoch = embedding_training_epoch, .epoch_bytes = embedding_epoch_bytes,                       \
        .publish = graph_training_publish, .training_state = embedding_training_state,                       \
        .training_close = embedding_training_close, .published = embeddings_published,                       \
        .score = embeddings_score, .save = embeddings_save, .load = embeddings_load,                         \
        .release = embeddings_release                                                                        \
    }

#endif
