/*
 * token_candidates.h: the few tokens of each row that matter, and what the logits say of them. Where only items may be written,
 * these are the tokens that may follow: a handful of a vocabulary of 100,000, so that the host looks at them and no row of
 * logits leaves the device.
 */
#ifndef IDREC_MODELS_LANGUAGE_TOKEN_CANDIDATES_H
#define IDREC_MODELS_LANGUAGE_TOKEN_CANDIDATES_H

#include "core/arena.h"
#include "core/ops.h"

struct candidates {
    int64_t rows, maximum; /* tokens that a row can have */
    int64_t width;         /* of the last pick: the most that a row had */
    int64_t *count;        /* [rows] */
    int32_t *token;        /* [rows, maximum], written by the caller; a row's first `count` */
    real *value;           /* [rows, width], read by the caller */
    int32_t *staged;       /* [rows, maximum] */
    struct arena arena;
    struct tensor device_token, device_value; /* [rows * maximum] */
};

bool candidates_create(struct candidates *candidates, struct backend *backend, int64_t rows, int64_t maximum,
                       struct error *error);
void candidates_free(struct candidates *candidates);

static inline int32_t *candidates_tokens(const struct candidates *candidates, int64_t row)
{
    return candidates->token + row * candidates->maximum;
}
static inline const real *candidates_values(const struct candidates *candidates, int64_t row)
{
    return candidates->value + row * candidates->width;
}

/* Fetches the values of the first `rows` rows' tokens from scores [rows or more, columns]; waits for the device. */
bool candidates_pick(struct candidates *candidates, int64_t rows, const struct tensor *scores,
                     struct error *error);

/* Draws a place among `count` >= 1 logits with the same distribution as op_sample() draws a token among those that are
 * allowed: temperature, then top_k, then top_p (logit descending, token ascending); the random number is keyed by (seed,
 * RANDOM_SAMPLE, step, stream). `scratch` [count]. -1: the logits are not numbers. */
int64_t candidates_draw(const real *logit, const int32_t *token, int64_t count,
                        const struct sampling *settings, uint64_t stream, uint64_t step, int64_t *scratch);

#endif
