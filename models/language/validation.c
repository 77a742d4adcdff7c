#include "models/language/validation.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/evaluate.h"

/* ---- items of one token ------------------------------------------------------------------------------- */

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

/* scores [items], from logits [vocabulary]. */
static void take_item_scores(real *scores, const struct validator *validator, const float *logits)
{
    const struct token_rows *tokens = &validator->prompt.layout->answer.first;

    for (int64_t item = 0; item < tokens->count; item++)
        scores[item] = (real)logits[tokens->token[tokens->starts[item]]];
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
            real *target = scoring->items + row * items;
            take_item_scores(target, scoring->validator, scoring->logits + row * scoring->vocabulary);
            scoring->loss += user_loss(scoring->validator, users[done + row], target);
        }
        struct tensor rows = tensor_rows(scores, done, packed);
        tensor_upload(transformer_backend(scoring->model), &rows, scoring->items);
    }
    return true;
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

static bool validate_ranking(struct validation *result, const struct validator *validator,
                             struct transformer *model, const int32_t *users, int64_t count,
                             struct error *error)
{
    const size_t tokens = (size_t)validator->batch_tokens;
    const size_t vocabulary = (size_t)transformer_settings_of(model)->vocabulary;
    const size_t items = (size_t)validator->truth->columns;
    struct scoring scoring = {.validator = validator, .model = model, .vocabulary = (int64_t)vocabulary};
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
    else
        done = rank(result, &scoring, users, count, error);
    free(scoring.token);
    free(scoring.position);
    free(scoring.starts);
    free(scoring.last);
    free(scoring.logits);
    free(scoring.items);
    return done;
}

/* ---- items of several tokens -------------------------------------------------------------------------- */

/* A block of contexts and their answers, packed. */
struct answers {
    const struct validator *validator;
    int32_t *token, *position, *target, *starts; /* [batch_tokens + length_maximum] each */
    float *weight;
};

/* Where the next token is of the answer it is learnt; what follows the last token is not asked. */
static void weigh_question(struct answers *answers, int64_t first, const struct prompt_question *question)
{
    for (int64_t i = 0; i + 1 < question->length; i++) {
        const bool answer = i >= question->answer;
        answers->position[first + i] = (int32_t)i;
        answers->target[first + i] = answer ? answers->token[first + i + 1] : -1;
        answers->weight[first + i] = answer ? 1.0F / (float)question->answers : 0.0F;
    }
}

/* Packs questions to users[0 ..] until the batch is full; returns how many. */
static int64_t pack_questions(struct answers *answers, const int32_t *users, int64_t count,
                              struct batch *batch)
{
    const struct validator *validator = answers->validator;
    const struct csr *train = validator->train, *truth = validator->truth;
    int64_t packed = 0, tokens = 0;

    while (packed < count && packed < validator->batch_sequences) {
        const int32_t user = users[packed];
        const struct prompt_question question = prompt_question(
            answers->token + tokens, &validator->prompt, user, train->indices + train->starts[user],
            csr_row_length(train, user), truth->indices + truth->starts[user], csr_row_length(truth, user),
            validator->seed, 0);
        if (tokens + question.length - 1 > validator->batch_tokens)
            break;
        weigh_question(answers, tokens, &question);
        answers->starts[packed++] = (int32_t)tokens;
        tokens += question.length - 1;
    }
    answers->starts[packed] = (int32_t)tokens;
    *batch = (struct batch){.tokens = tokens,
                            .sequences = packed,
                            .token = answers->token,
                            .position = answers->position,
                            .starts = answers->starts,
                            .target = answers->target,
                            .weight = answers->weight};
    return packed;
}

static bool validate_answers(struct validation *result, const struct validator *validator,
                             struct transformer *model, const int32_t *users, int64_t count,
                             struct error *error)
{
    const size_t tokens = (size_t)(validator->batch_tokens + validator->prompt.length_maximum);
    struct answers answers = {.validator = validator,
                              .token = malloc(tokens * sizeof *answers.token),
                              .position = malloc(tokens * sizeof *answers.position),
                              .target = malloc(tokens * sizeof *answers.target),
                              .starts = malloc((tokens + 1) * sizeof *answers.starts),
                              .weight = malloc(tokens * sizeof *answers.weight)};
    double sum = 0;
    bool done = answers.token && answers.position && answers.target && answers.starts && answers.weight;

    assert(validator->batch_tokens >= validator->prompt.length_maximum);
    if (!done)
        error_memory(error, "validation", 20 * tokens, NULL);
    for (int64_t first = 0, packed; done && first < count; first += packed) {
        struct batch batch;
        packed = pack_questions(&answers, users + first, count - first, &batch);
        done = transformer_loss(model, &batch, &sum, error);
    }
    *result = (struct validation){
        .loss = count > 0 ? sum / (double)count : 0, .ndcg = -1, .recall = -1, .users = count};
    free(answers.token);
    free(answers.position);
    free(answers.target);
    free(answers.starts);
    free(answers.weight);
    return done;
}

/* ---- either ------------------------------------------------------------------------------------------- */

/* Leaves `maximum` users, evenly spaced. */
static int64_t thin_out(int32_t *users, int64_t count, int64_t maximum)
{
    if (maximum == 0 || count <= maximum)
        return count;
    for (int64_t i = 0; i < maximum; i++)
        users[i] = users[i * count / maximum];
    return maximum;
}

/* The mean over the users of all ranks. */
static bool bring_together(struct validation *result, struct communicator *communicator, struct error *error)
{
    const double users = (double)result->users;
    double sums[] = {result->loss * users, result->ndcg * users, result->recall * users, users};

    if (!comm_sum_numbers(communicator, sums, 4, error))
        return false;
    const double all = sums[3] > 0 ? sums[3] : 1;
    *result = (struct validation){
        .loss = sums[0] / all, .ndcg = sums[1] / all, .recall = sums[2] / all, .users = (int64_t)sums[3]};
    return true;
}

static bool validate_users(struct validation *result, const struct validator *validator,
                           struct transformer *model, const int32_t *users, int64_t count,
                           struct error *error)
{
    *result = (struct validation){.users = 0};
    if (count == 0)
        return true;
    return prompt_layout_single(validator->prompt.layout)
               ? validate_ranking(result, validator, model, users, count, error)
               : validate_answers(result, validator, model, users, count, error);
}

bool validate(struct validation *result, const struct validator *validator, struct transformer *model,
              struct error *error)
{
    int32_t *users;
    int64_t count;

    if (!users_with_truth(&users, &count, validator->truth, error))
        return false;
    count = thin_out(users, count, validator->users_maximum);
    struct communicator *communicator = validator->communicator;
    const bool divided = communicator && communicator->size > 1;
    const int64_t begin = divided ? comm_part(communicator, count, communicator->rank) : 0;
    const int64_t end = divided ? comm_part(communicator, count, communicator->rank + 1) : count;
    const bool done = validate_users(result, validator, model, users + begin, end - begin, error) &&
                      transformer_attend(model, error) &&
                      (!divided || bring_together(result, communicator, error));
    free(users);
    return done;
}
