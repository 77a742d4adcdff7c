#include "experiments/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/language/checkpoint.h"

/* Logits that are on the host at once, but at least those of one row. */
enum { LOGITS_AT_ONCE = 1 << 26 };

static double log_sum_exp(const float *logits, int64_t count)
{
    double largest = -INFINITY, sum = 0.0;
    for (int64_t column = 0; column < count; column++)
        largest = fmax(largest, (double)logits[column]);
    for (int64_t column = 0; column < count; column++)
        sum += exp((double)logits[column] - largest);
    return largest + log(sum);
}

/* Takes what the logits of a row say of the token behind it; those of the last row are kept. */
static void take_row(struct score *score, int64_t row, const float *logits)
{
    const double log_sum = log_sum_exp(logits, score->classes);
    if (row + 1 == score->count) {
        memcpy(score->next_logits, logits, (size_t)score->classes * sizeof *logits);
        score->next_log_sum = log_sum;
        return;
    }
    const int32_t next = score->token[row + 1];
    score->log_probability[row + 1] = next < score->classes ? (double)logits[next] - log_sum : -INFINITY;
}

static bool take_rows(struct score *score, struct transformer *model, const struct batch *batch,
                      int64_t rows_at_once, float *logits, int32_t *rows, struct error *error)
{
    const int64_t vocabulary = transformer_settings_of(model)->vocabulary;
    for (int64_t first = 0; first < score->count; first += rows_at_once) {
        const int64_t rest = score->count - first, count = rest < rows_at_once ? rest : rows_at_once;
        for (int64_t row = 0; row < count; row++)
            rows[row] = (int32_t)(first + row);
        if (!transformer_logits(model, batch, rows, count, logits, error))
            return false;
        for (int64_t row = 0; row < count; row++)
            take_row(score, first + row, logits + row * vocabulary);
    }
    return true;
}

static bool ask(struct score *score, struct transformer *model, struct error *error)
{
    const int64_t vocabulary = transformer_settings_of(model)->vocabulary;
    const int64_t fitting = LOGITS_AT_ONCE / vocabulary, rows_at_once = fitting > 0 ? fitting : 1;
    const int64_t most_rows = score->count < rows_at_once ? score->count : rows_at_once;
    const int32_t starts[2] = {0, (int32_t)score->count};
    int32_t *position = malloc((size_t)score->count * sizeof *position);
    int32_t *rows = malloc((size_t)score->count * sizeof *rows);
    float *logits = malloc((size_t)(most_rows * vocabulary) * sizeof *logits);
    bool asked = position && rows && logits;
    if (!asked)
        error_memory(error, "logits", (size_t)(most_rows * vocabulary) * sizeof *logits,
                     "ask for fewer tokens");
    for (int64_t token = 0; asked && token < score->count; token++)
        position[token] = (int32_t)token;
    const struct batch batch = {.tokens = score->count,
                                .sequences = 1,
                                .token = score->token,
                                .position = position,
                                .starts = starts};
    asked = asked && take_rows(score, model, &batch, rows_at_once, logits, rows, error);
    free(position);
    free(rows);
    free(logits);
    return asked;
}

static bool check_tokens(const struct score *score, int64_t vocabulary, struct error *error)
{
    for (int64_t index = 0; index < score->count; index++)
        if (score->token[index] >= vocabulary)
            return error_set(error, ERROR_USAGE, "token %d is not in the model's vocabulary of %lld tokens",
                             score->token[index], (long long)vocabulary);
    return true;
}

static bool allocate(struct score *score, int64_t classes, struct error *error)
{
    score->classes = classes;
    score->log_probability = malloc((size_t)score->count * sizeof *score->log_probability);
    score->next_logits = malloc((size_t)classes * sizeof *score->next_logits);
    if (!score->log_probability || !score->next_logits)
        return error_memory(error, "scores", (size_t)classes * sizeof *score->next_logits, NULL);
    score->log_probability[0] = NAN;
    return true;
}

bool score_tokens(struct score *score, struct backend *backend, const struct language_folder *folder,
                  const int32_t *token, int64_t count, struct error *error)
{
    struct transformer *model = NULL;
    struct transformer_settings settings;
    struct lora_settings lora;
    *score = (struct score){.count = count, .token = token};
    const bool scored =
        checkpoint_settings(&settings, &lora, folder->base, folder->adapter, error) &&
        check_tokens(score, settings.vocabulary, error) &&
        allocate(score, settings.classes > 0 ? settings.classes : settings.vocabulary, error) &&
        checkpoint_load(&model, backend, folder->base, folder->adapter, NULL, 0, TRAIN_NOTHING, false,
                        PRECISION_F32, FROZEN_PRECISION, false, count, 1, 0, error) &&
        ask(score, model, error);
    transformer_free(model);
    return scored;
}

void score_free(struct score *score)
{
    free(score->log_probability);
    free(score->next_logits);
}

void score_best(const struct score *score, int32_t *best, int64_t count)
{
    int64_t held = 0;
    for (int32_t column = 0; column < score->classes; column++) {
        const float logit = score->next_logits[column];
        int64_t place = held;
        while (place > 0 && score->next_logits[best[place - 1]] < logit)
            place--;
        if (place >= count)
            continue;
        held += held < count;
        memmove(best + place + 1, best + place, (size_t)(held - place - 1) * sizeof *best);
        best[place] = column;
    }
}
