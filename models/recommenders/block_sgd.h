/*
 * block_sgd.h: stochastic gradient descent on the BPR loss, one triple at a time, in parallel, deterministic.
 *
 * Each epoch deals users and items at random into B blocks each (B depends on the data alone). A cell is what
 * the users of one block did with the items of one block; the cells (b, (b + s) mod B) for b = 0 .. B - 1
 * share neither users nor items, so they run in parallel for each s = 0 .. B - 1 in turn. Negatives are drawn
 * from the cell's own items: no two threads ever touch the same row, the bits do not depend on the number of
 * threads, and a cell's rows stay in the cache (after Gemulla et al., "Large-scale matrix factorization with
 * distributed stochastic gradient descent", KDD 2011).
 */
#ifndef IDREC_MODELS_RECOMMENDERS_BLOCK_SGD_H
#define IDREC_MODELS_RECOMMENDERS_BLOCK_SGD_H

#include "core/tensor.h"
#include "models/recommenders/recommender.h"

struct block_sgd;

/* `data` must outlive it. */
bool block_sgd_open(struct block_sgd **blocks, const struct training_set *data, uint64_t seed, int threads,
                    struct error *error);
void block_sgd_close(struct block_sgd *blocks);

/* One pass over all positives: for each, u += rate (w g (p - n) - regularization u), and likewise p and n,
 * where g = sigmoid(s(u, n) - s(u, p)). A positive for which 16 draws from its cell find no negative is
 * skipped. *loss is the mean, over those used, of softplus(s(u, n) - s(u, p)) before each update. */
bool block_sgd_epoch(struct block_sgd *blocks, int64_t epoch,
                     real *table /* [users + items, width], on the host */, int64_t width,
                     double learning_rate, double regularization, double *loss, struct error *error);

#endif
