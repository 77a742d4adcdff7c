#include "models/language/validation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/evaluate.h"

enum { ROWS_AT_ONCE = 256 }; /* users whose logits are on the host at a time */

/* A block of contexts, packed; and what has been summed up so far. */
struct scoring {
    const struct validator *validator;
    struct transformer *model;
    int64_t vocabulary;
    int32_t *token, *position, *starts, *last; /* [batch_tokens] twice, [ROWS_AT_ONCE + 1], [ROWS_AT_ONCE] */
    float *logits;                             /* [ROWS_AT_ONCE, vocabulary] */
    real *items;                               /* [ROWS_AT_ONCE, items] */
    double loss;
};

/* At least the tokens of a user's context. */
static int64_t context_bound(const struct validator *validator, int32_t user)
{
    const struct csr *train = validator->train;
    return prompt_length_bound(&validator->prompt, user, train->indices + train->starts[user],
                               csr_row_length(train, user));
}

/* Packs contexts of users[0 ..] until the batch is full; returns how many. */
static int64_t pack_contexts(struct scoring *scoring, const int32_t *users, int64_t count,
                             struct batch *batch)
{
    const struct validator *validator = scoring->validator;
    const struct csr *train = validator->train;
    int64_t packed = 0, tokens = 0;

    while (packed < count && packed < ROWS_AT_ONCE && packed < validator->batch_sequences &&
           tokens + context_bound(validator, users[packed]) <= validator->batch_tokens) {
        const int64_t user = users[packed];
        const int64_t length = prompt_context(scoring->token + tokens, &validator->prompt, users[packed],
                                              train->indices + train->starts[user],
                                              csr_row_length(train, user), validator->seed, 0);
        for (int64_t i = 0; i < length; i++)
            scoring->position[tokens + i] = (int32_t)i;
        scoring->starts[packed] = (int32_t)tokens;
        tokens += length;
        scoring->last[packed++] = (int32_t)tokens - 1;
    }
    scoring->starts[packed] = (int32_t)tokens;
    *batch = (struct batch){.tokens = tokens,
                            .sequences = packed,
                            .token = scoring->token,
                            .position = scoring->position,
                            .starts = scoring->starts};
    return packed;
}

/* The mean loss of a user's held-out items; `scores` [items]. */
static double user_loss(const struct validator *validator, int64_t user, const real *scores)
{
    const struct csr *train = validator->train_sorted, *truth = validator->truth;
    const int64_t items = truth->columns, held_out = csr_row_length(truth, user);
    const int32_t *hidden = train->indices + train->starts[user];
    double highest = -INFINITY, sum = 0, wanted = 0;
    int64_t next = 0;

    /* One pass: the sum is brought to each new highest score. A hidden item's may be far above all others. */
    for (int64_t item = 0; item < items; item++) {
        const double score = (double)scores[item];
        if (next < csr_row_length(train, user) && hidden[next] == item) {
            next++;
            continue;
        }
        sum = score > highest ? sum * exp(highest - score) + 1 : sum + exp(score - highest);
        highest = fmax(highest, score);
    }
    for (int64_t i = truth->starts[user]; i < truth->starts[user + 1]; i++)
        wanted += (double)scores[truth->indices[i]];
    return highest + log(sum) - wanted / (double)held_out;
}

static bool score_users(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                        struct error *error)
{
    struct scoring *scoring = context;
    const int64_t items = scoring->validator->truth->columns;

    for (int64_t done = 0, packed = 0; done < count; done += packed) {
        struct batch batch;
        packed = pack_contexts(scoring, users + done, count - done, &batch);
        if (!transformer_logits(scoring->model, &batch, scoring->last, packed, scoring->logits, error))
            return false;
        for (int64_t row = 0; row < packed; row++) {
            const float *logits = scoring->logits + row * scoring->vocabulary + vocabulary_item_token(0);
            real *target = scoring->items + row * items;
            for (int64_t item = 0; item < items; item++)
                target[item] = (real)logits[item];
            scoring->loss += user_loss(scoring->validator, users[done + row], target);
        }
        struct tensor rows = tensor_rows(scores, done, packed);
        tensor_upload(transformer_backend(scoring->model), &rows, scoring->items);
    }
    return true;
}

/* Leaves `maximum` users, evenly spaced. */
static int64_t thin_out(int32_t *users, int64_t count, int64_t maximum)
{
    if (maximum == 0 || count <= maximum)
        return count;
    for (int64_t i = 0; i < maximum; i++)
        users[i] = users[i * count / maximum];
    return maximum;
}

static bool rank(struct validation *result, struct scoring *scoring, const int32_t *users, int64_t count,
                 struct error *error)
{
    const struct validator *validator = scoring->validator;
    const struct scorer scorer = {
        .context = scoring, .items = validator->truth->columns, .score = score_users};
    struct evaluation evaluation;
    struct top_k top = {.users = 0};

    if (!top_k_rank(&top, transformer_backend(scoring->model), &scorer, users, count, validator->k,
                    validator->train_sorted, error))
        return false;
    evaluate_top_k(&evaluation, &top, validator->truth, &validator->k, 1, NULL);
    top_k_free(&top);
    *result = (struct validation){.loss = count > 0 ? scoring->loss / (double)count : 0,
                                  .ndcg = evaluation.value[METRIC_NDCG][0],
                                  .recall = evaluation.value[METRIC_RECALL][0],
                                  .users = count};
    return true;
}

bool validate(struct validation *result, const struct validator *validator, struct transformer *model,
              struct error *error)
{
    const size_t tokens = (size_t)validator->batch_tokens;
    const size_t vocabulary = (size_t)transformer_settings_of(model)->vocabulary;
    const size_t items = (size_t)validator->truth->columns;
    struct scoring scoring = {.validator = validator, .model = model, .vocabulary = (int64_t)vocabulary};
    int32_t *users = NULL;
    int64_t count = 0;
    bool done = false;

    /* prompt_context() may write up to length_maximum tokens from where a context begins. */
    scoring.token = malloc((tokens + (size_t)validator->prompt.length_maximum) * sizeof *scoring.token);
    scoring.position = malloc(tokens * sizeof *scoring.position);
    scoring.starts = malloc((ROWS_AT_ONCE + 1) * sizeof *scoring.starts);
    scoring.last = malloc(ROWS_AT_ONCE * sizeof *scoring.last);
    scoring.logits = malloc(ROWS_AT_ONCE * vocabulary * sizeof *scoring.logits);
    scoring.items = malloc(ROWS_AT_ONCE * items * sizeof *scoring.items);
    if (!scoring.token || !scoring.position || !scoring.starts || !scoring.last || !scoring.logits ||
        !scoring.items)
        error_memory(error, "validation", ROWS_AT_ONCE * (vocabulary + items) * sizeof(float), NULL);
    else if (users_with_truth(&users, &count, validator->truth, error))
        done = rank(result, &scoring, users, thin_out(users, count, validator->users_maximum), error);
    free(users);
    free(scoring.token);
    free(scoring.position);
    free(scoring.starts);
    free(scoring.last);
    free(scoring.logits);
    free(scoring.items);
    return done;
}
