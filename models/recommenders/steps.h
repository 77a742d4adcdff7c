/*
 * steps.h: training of the models that are one table of embeddings, users first, then items, with one
 * optimizer step a mini-batch of triples. Internal to models/recommenders, its tests and benchmarks.
 *
 * The loss of a batch of n triples (user, positive, negative) with weights w is
 *   1/n sum_i w_i softplus(s(u, neg) - s(u, pos))  +  regularization / (2 n) sum_i |u|^2 + |pos|^2 + |neg|^2
 * over dot products s of the final embeddings; the second sum is over the table's own rows, unweighted
 * (Rendle et al., "BPR", UAI 2009; He et al., "LightGCN", SIGIR 2020, and its published PyTorch code). Adam
 * as in PyTorch.
 *
 * Ranks that do a fit together have a range of the table's rows each (row_parts.h), and all of them draw all triples. Of a
 * batch a rank computes the losses of its part; the gradients of all parts come to all ranks, which add those of their own
 * rows in the order of the triples, as one process does: all models but the contrastive ones have its bits.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_STEPS_H
#define IDREC_MODELS_RECOMMENDERS_STEPS_H

#include "core/arena.h"
#include "core/ops.h"
#include "models/recommenders/model.h"
#include "models/recommenders/negative_sampling.h"
#include "models/recommenders/propagation.h"
#include "models/recommenders/row_parts.h"

struct block_sgd;     /* see block_sgd.h */
struct node_contrast; /* see node_contrast.h */
struct embedding_training;

/* A step of a model over triples first .. first + count - 1 of the epoch (count <= settings.batch, first a
 * multiple of settings.batch); losses[first ..] are written. Errors are the backend's. */
typedef void embedding_step(struct embedding_training *training, int64_t first, int64_t count);
/* What an epoch (from 1) begins with when its triples have been drawn. */
typedef bool embedding_epoch(struct embedding_training *training, int64_t epoch, struct error *error);

struct embedding_training {
    struct backend *backend;
    struct recommender_settings settings;
    uint64_t seed;
    int64_t users, items;
    int64_t step; /* optimizer steps taken */
    struct training_set data;
    embedding_step *take_step;
    embedding_epoch *begin_epoch; /* NULL: nothing */

    struct row_parts parts; /* of the rows of the table */

    struct arena arena;
    struct tensor parameters;                  /* [parts.count, width]: this rank's rows of the table */
    struct tensor first_moment, second_moment; /* the same; rank 0: no moments (optimizer sgd) */
    struct tensor gradient;                    /* the same */
    struct tensor rows, weights, losses; /* an epoch's triples, as triple_sampler_epoch() lays them out */
    struct tensor
        own_rows; /* rows as those of `parameters`, -1: another rank's; one process: `rows` themselves */
    struct tensor places;                                  /* i32 [2 * batch]: 0, 1, 2, ... */
    struct tensor batch_rows, batch_final, batch_gradient; /* [3 * batch, width] */
    struct triple_sampler sampler;
    real *host_losses;

    struct tensor *final; /* [users + items, width]: the recommender's embeddings */

    struct csr_tensor graph;        /* of graph models: the normalised adjacency */
    struct propagation propagation; /* of these: over it */
    struct layer_range read_out;    /* of these: the layers whose mean is the final embedding */
    struct node_contrast *contrast; /* of contrastive ones */
    struct block_sgd *blocks;       /* bpr_mf with optimizer sgd */
    real *host_table;               /* the same on a GPU: the table during an epoch */

    void *own; /* of other models: what they have besides */
    void (*release_own)(void *own);
};

/* Reserves a model's memory, fills what stays the same throughout the training, and sets take_step and begin_epoch. */
typedef bool embedding_prepare(struct embedding_training *training, struct error *error);

/* A training for the recommender, whose parameters it makes: memory and what `prepare` does, then initial embeddings
 * (normal of settings->initial_deviation, drawn from (seed, RANDOM_INITIALIZE, row)). `data` must outlive it. */
bool embedding_training_open(void **training, struct recommender *recommender,
                             const struct training_set *data, uint64_t seed, embedding_prepare *prepare,
                             struct error *error);
void embedding_training_close(void *training);
struct training_state embedding_training_state(void *training);
double embedding_epoch_bytes(const void *training);

/* For prepare(): opens the sampler and reserves the tables, Adam's moments, an epoch's triples, a batch's
 * rows, and, unless `edges` is negative, the graph of so many edges of this rank's rows and the layers over it. Where training->parts
 * has not been opened, ranks get equal parts of the table. */
bool embedding_training_reserve(struct embedding_training *training, int64_t edges, struct error *error);

/* Draws an epoch's triples and does what the epoch begins with. */
bool embedding_training_begin_epoch(struct embedding_training *training, int64_t epoch, struct error *error);
/* Trains an epoch. The loss is the mean ranking loss of the triples, unweighted, and of contrastive models the
 * weighted contrastive losses besides, a mean over the batches. */
bool embedding_training_epoch(void *training, int64_t epoch, double *loss, struct error *error);

/* Shared parts of the steps. batch_loss(): losses and batch_gradient from batch_final, both of this rank's part of the batch;
 * x being one of these two, triples_deal(): its rows of this rank's part from the ranks that have them, and triples_gather():
 * those of all parts. */
void batch_loss(struct embedding_training *training, int64_t first, int64_t count);
void triples_deal(const struct embedding_training *training, const struct tensor *x, int64_t count);
void triples_gather(const struct embedding_training *training, const struct tensor *x, int64_t count);
void adam_step(struct embedding_training *training, const struct tensor *gradient);

#endif
