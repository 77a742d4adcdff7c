#include "models/language/ranker.h"

#include <stdlib.h>
#include <string.h>
#include <tgmath.h>

#include "core/interrupt.h"
#include "models/language/cache.h"
#include "models/language/constraint.h"

#define ADVICE "lower generate.batch"

enum { PASS_TOKENS = 2048 };

struct scored_item {
    real score;
    int32_t item;
};

struct ranker {
    struct transformer *model;
    struct ranker_settings settings;
    const struct csr *train;
    struct cache *cache;
    int64_t rows, words, classes, tokens;
    struct arena arena;               /* the forbidden tokens */
    int32_t *prompt;                  /* [length_maximum] */
    int32_t *slot, *token, *position; /* [rows] */
    uint32_t *forbidden;              /* [rows, words] */
    real *log_probability;            /* [rows, classes] */
    int64_t group;                    /* users ranked together */
    real *sum;                        /* [group, items]: of the probability over the contexts */
    int32_t *votes;                   /* [group, items] */
    struct scored_item *best;         /* [group, items_maximum] */
    int64_t *best_count;              /* [group] */
};

/* ---- creation ----------------------------------------------------------------------------------------- */

static struct tensor lay_out_forbidden(struct ranker *ranker, int64_t rows)
{
    arena_return(&ranker->arena, 0);
    return arena_tensor_2d(&ranker->arena, DTYPE_U32, rows, ranker->words);
}

static bool allocate_host(struct ranker *ranker, struct error *error)
{
    const size_t rows = (size_t)ranker->rows, group = (size_t)ranker->group;
    const size_t items = (size_t)ranker->settings.vocabulary.items;
    ranker->prompt = calloc((size_t)ranker->settings.prompt.length_maximum, sizeof *ranker->prompt);
    ranker->slot = calloc(rows, sizeof *ranker->slot);
    ranker->token = calloc(rows, sizeof *ranker->token);
    ranker->position = calloc(rows, sizeof *ranker->position);
    ranker->forbidden = calloc(rows * (size_t)ranker->words, sizeof *ranker->forbidden);
    ranker->log_probability = calloc(rows * (size_t)ranker->classes, sizeof *ranker->log_probability);
    ranker->sum = calloc(group * items, sizeof *ranker->sum);
    ranker->votes = calloc(group * items, sizeof *ranker->votes);
    ranker->best = calloc(group * (size_t)ranker->settings.items_maximum, sizeof *ranker->best);
    ranker->best_count = calloc(group, sizeof *ranker->best_count);
    if (ranker->prompt && ranker->slot && ranker->token && ranker->position && ranker->forbidden &&
        ranker->log_probability && ranker->sum && ranker->votes && ranker->best && ranker->best_count)
        return true;
    return error_memory(error, "the rankings of a batch",
                        (rows + group) * (size_t)ranker->classes * sizeof *ranker->log_probability, ADVICE);
}

bool ranker_create(struct ranker **ranker, struct transformer *model, const struct ranker_settings *settings,
                   const struct csr *train, struct error *error)
{
    const int64_t capacity = settings->prompt.length_maximum + 1;
    struct ranker *made = calloc(1, sizeof *made);
    *ranker = NULL;
    if (!made)
        return error_memory(error, "the ranker", sizeof *made, NULL);
    made->model = model;
    made->settings = *settings;
    made->train = train;
    made->rows = cache_slots_within(model, capacity, settings->batch, settings->cache_bytes);
    made->words = constraint_words(&settings->vocabulary);
    made->classes = vocabulary_classes(&settings->vocabulary);
    made->group = made->rows > settings->contexts ? made->rows / settings->contexts : 1;
    made->arena = arena_measure(transformer_backend(model), "ranking");
    const struct cache_settings cache = {
        .slots = made->rows, .capacity = capacity, .pass_tokens = PASS_TOKENS};
    lay_out_forbidden(made, made->rows);
    if (!allocate_host(made, error) || !arena_reserve(&made->arena, 0, ADVICE, error) ||
        !cache_create(&made->cache, model, &cache, error)) {
        ranker_free(made);
        return false;
    }
    *ranker = made;
    return true;
}

void ranker_free(struct ranker *ranker)
{
    if (!ranker)
        return;
    cache_free(ranker->cache);
    arena_release(&ranker->arena);
    free(ranker->prompt);
    free(ranker->slot);
    free(ranker->token);
    free(ranker->position);
    free(ranker->forbidden);
    free(ranker->log_probability);
    free(ranker->sum);
    free(ranker->votes);
    free(ranker->best);
    free(ranker->best_count);
    free(ranker);
}

void ranker_print_memory(const struct ranker *ranker, FILE *stream)
{
    cache_print_memory(ranker->cache, stream);
}

int64_t ranker_tokens(const struct ranker *ranker)
{
    return ranker->tokens;
}

/* ---- ranking ------------------------------------------------------------------------------------------ */

/* The `limit` items of the highest finite scores, best first; ties: item ascending. Returns their number. */
static int64_t best_items(struct scored_item *best, int64_t limit, const real *scores, int64_t items)
{
    int64_t count = 0;
    for (int64_t item = 0; item < items; item++) {
        const real score = scores[item];
        if (!isfinite(score) || (count == limit && score <= best[count - 1].score))
            continue;
        int64_t place = count < limit ? count++ : count - 1;
        for (; place > 0 && best[place - 1].score < score; place--)
            best[place] = best[place - 1];
        best[place] = (struct scored_item){score, (int32_t)item};
    }
    return count;
}

/* Whether the first score that is not forbidden is a number: they all are, or none is. */
static bool is_number(const real *scores, int64_t count)
{
    int64_t first = 0;
    while (first < count && scores[first] == -INFINITY)
        first++;
    return first == count || isfinite(scores[first]);
}

/* Scores the contexts first_job .. first_job + count - 1 of a group; a user's contexts follow one another. */
static bool score_contexts(struct ranker *ranker, int64_t first_user, int64_t first_job, int64_t count,
                           struct error *error)
{
    const struct ranker_settings *settings = &ranker->settings;
    struct backend *const backend = transformer_backend(ranker->model);
    const int64_t rows = round_to_row_block(count);
    for (int64_t row = 0; row < count; row++) {
        const int64_t job = first_job + row, user = first_user + job / settings->contexts;
        const int32_t *items = ranker->train->indices + ranker->train->starts[user];
        const int64_t item_count = csr_row_length(ranker->train, user);
        const int64_t length =
            prompt_context(ranker->prompt, &settings->vocabulary, &settings->prompt, (int32_t)user, items,
                           item_count, settings->seed, (uint64_t)(job % settings->contexts));
        ranker->tokens += length;
        cache_read(ranker->cache, (int32_t)row, ranker->prompt, length - 1);
        ranker->slot[row] = (int32_t)row;
        ranker->token[row] = ranker->prompt[length - 1];
        ranker->position[row] = (int32_t)(length - 1);
        constraint_begin(ranker->forbidden + row * ranker->words, &settings->vocabulary, true, items,
                         item_count);
    }
    const struct decode_step step = {count, ranker->slot, ranker->token, ranker->position};
    struct tensor logits, forbidden = lay_out_forbidden(ranker, rows);
    cache_decode(ranker->cache, &step, &logits);
    tensor_upload(backend, &forbidden, ranker->forbidden);
    op_log_softmax_masked(backend, &logits, &forbidden, ranker->classes);
    const struct tensor used = tensor_rows(&logits, 0, count);
    tensor_download(backend, ranker->log_probability, &used);
    if (!backend_synchronize(backend, error))
        return false;
    for (int64_t row = 0; row < count; row++)
        if (!is_number(ranker->log_probability + row * ranker->classes, ranker->classes))
            return error_set(
                error, ERROR_RUN,
                "the model's probabilities are not numbers; train it again with a lower learning "
                "rate");
    return true;
}

/* Adds one context's probabilities and votes to its user's. */
static void add_context(struct ranker *ranker, int64_t row, int64_t member)
{
    const int64_t items = ranker->settings.vocabulary.items;
    const real *score = ranker->log_probability + row * ranker->classes + CONTROL_TOKEN_COUNT;
    struct scored_item *best = ranker->best + member * ranker->settings.items_maximum;
    real *sum = ranker->sum + member * items;
    int32_t *votes = ranker->votes + member * items;
    const int64_t count = best_items(best, ranker->settings.items_maximum, score, items);
    for (int64_t i = 0; i < count; i++)
        votes[best[i].item]++;
    for (int64_t item = 0; item < items; item++)
        sum[item] += exp(score[item]);
}

static void add_contexts(struct ranker *ranker, int64_t first_job, int64_t count)
{
    const int64_t contexts = ranker->settings.contexts;
    const int64_t first_member = first_job / contexts, last_member = (first_job + count - 1) / contexts;
#pragma omp parallel for schedule(static) num_threads(transformer_backend(ranker->model)->threads)
    for (int64_t member = first_member; member <= last_member; member++)
        for (int64_t row = 0; row < count; row++)
            if ((first_job + row) / contexts == member)
                add_context(ranker, row, member);
}

static void finish_member(struct ranker *ranker, int64_t member)
{
    const int64_t items = ranker->settings.vocabulary.items;
    real *sum = ranker->sum + member * items;
    for (int64_t item = 0; item < items; item++)
        sum[item] = log(sum[item] / (real)ranker->settings.contexts);
    ranker->best_count[member] = best_items(ranker->best + member * ranker->settings.items_maximum,
                                            ranker->settings.items_maximum, sum, items);
}

static bool append_member(const struct ranker *ranker, int64_t user, int64_t member,
                          struct proposal_list *list, struct error *error)
{
    const struct scored_item *best = ranker->best + member * ranker->settings.items_maximum;
    const int32_t *votes = ranker->votes + member * ranker->settings.vocabulary.items;
    for (int64_t rank = 0; rank < ranker->best_count[member]; rank++) {
        const struct proposal proposal = {.user = (int32_t)user,
                                          .item = best[rank].item,
                                          .position = (int32_t)rank,
                                          .votes = votes[best[rank].item],
                                          .log_probability = (float)best[rank].score};
        if (!proposal_list_append(list, proposal, error))
            return false;
    }
    list->valid += ranker->best_count[member];
    return true;
}

static bool rank_group(struct ranker *ranker, int64_t first_user, int64_t users, struct proposal_list *list,
                       struct error *error)
{
    const int64_t items = ranker->settings.vocabulary.items, jobs = users * ranker->settings.contexts;
    memset(ranker->sum, 0, (size_t)(users * items) * sizeof *ranker->sum);
    memset(ranker->votes, 0, (size_t)(users * items) * sizeof *ranker->votes);
    for (int64_t job = 0; job < jobs; job += ranker->rows) {
        const int64_t count = jobs - job < ranker->rows ? jobs - job : ranker->rows;
        if (!interrupt_check(error) || !score_contexts(ranker, first_user, job, count, error))
            return false;
        add_contexts(ranker, job, count);
    }
#pragma omp parallel for schedule(static) num_threads(transformer_backend(ranker->model)->threads)
    for (int64_t member = 0; member < users; member++)
        finish_member(ranker, member);
    for (int64_t member = 0; member < users; member++)
        if (!append_member(ranker, first_user + member, member, list, error))
            return false;
    return true;
}

bool ranker_run(struct ranker *ranker, int64_t first_user, int64_t user_count, struct proposal_list *list,
                struct error *error)
{
    list->requested += user_count * ranker->settings.items_maximum;
    for (int64_t first = 0; first < user_count; first += ranker->group) {
        const int64_t users = user_count - first < ranker->group ? user_count - first : ranker->group;
        if (!rank_group(ranker, first_user + first, users, list, error))
            return false;
    }
    return true;
}
