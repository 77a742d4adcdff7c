/* score.h: what a language model says of given tokens: their log-probabilities, and the logits of the next one. */
#ifndef IDREC_EXPERIMENTS_SCORE_H
#define IDREC_EXPERIMENTS_SCORE_H

#include "core/backend.h"
#include "experiments/language_folder.h"

struct score {
    int64_t count;
    const int32_t *token; /* [count], the caller's */
    double *
        log_probability; /* [count], of each given those before it; of the first, which nothing predicts, NAN; -INFINITY
                              * for tokens that the model never predicts */
    int64_t classes;     /* tokens that can be predicted: those below */
    float *next_logits;  /* [classes], after all tokens */
    double next_log_sum; /* log of the sum of exp(next_logits) */
};

/* A token out of the model's vocabulary is ERROR_USAGE. */
bool score_tokens(struct score *score, struct backend *backend, const struct language_folder *folder,
                  const int32_t *token, int64_t count, struct error *error);
void score_free(struct score *score);

/* best [count]: the most probable next tokens, the best first; of equal ones the lower. count is at most classes. */
void score_best(const struct score *score, int32_t *best, int64_t count);

#endif
