#include "models/language/ranker.h"

#include <stdlib.h>
#include <string.h>
#include <tgmath.h>

#include "core/interrupt.h"
#include "models/language/cache.h"
#include "models/language/constraint.h"

#define ADVICE "lower generate.batch"

/* On the device. `best_*` are columns of the logits, which are tokens. */
struct ranking_tensors {
    struct tensor forbidden;                       /* u32 [rows, words] */
    struct tensor context_columns, context_scores; /* i32, real [rows, items_maximum]: of each context */
    struct tensor starts;                          /* i32 [group + 1]: the rows of each user */
    struct tensor mean;            /* [group, logit columns]: of the probability over the contexts */
    struct tensor columns, scores; /* i32, real [group, items_maximum]: of each user */
    struct tensor mask_rows, mask_starts, mask; /* that hide nothing from op_topk_masked() */
};

struct ranker {
    struct transformer *const *models;
    int64_t model_count;
    struct ranker_settings settings;
    const struct csr *train;
    struct cache *cache;
    int64_t rows, words, classes, tokens;
    int64_t group; /* users ranked together */
    struct arena arena;
    struct ranking_tensors device;
    int32_t *prompt;                  /* [length_maximum] */
    int32_t *slot, *token, *position; /* [rows] */
    uint32_t *forbidden;              /* [rows, words] */
    int32_t *starts;                  /* [group + 1] */
    int32_t *context_columns;         /* [models, group * contexts, items_maximum] */
    real *context_scores;             /* [rows, items_maximum] */
    int32_t *columns;                 /* [group, items_maximum] */
    real *scores;                     /* [group, items_maximum] */
    int32_t *votes;                   /* [classes], all 0 between users */
};

/* ---- creation ----------------------------------------------------------------------------------------- */

static void lay_out(struct ranker *ranker)
{
    struct arena *const arena = &ranker->arena;
    const int64_t rows = ranker->rows, group = ranker->group, items = ranker->settings.items_maximum;
    ranker->device = (struct ranking_tensors){
        .forbidden = arena_tensor_2d(arena, DTYPE_U32, rows, ranker->words),
        .context_columns = arena_tensor_2d(arena, DTYPE_I32, rows, items),
        .context_scores = arena_tensor_2d(arena, DTYPE_REAL, rows, items),
        .starts = arena_tensor_1d(arena, DTYPE_I32, group + 1),
        .mean = arena_tensor_2d(arena, DTYPE_REAL, group, transformer_logit_columns(ranker->models[0])),
        .columns = arena_tensor_2d(arena, DTYPE_I32, group, items),
        .scores = arena_tensor_2d(arena, DTYPE_REAL, group, items),
        .mask_rows = arena_tensor_1d(arena, DTYPE_I32, rows),
        .mask_starts = arena_tensor_1d(arena, DTYPE_I64, 2),
        .mask = arena_tensor_1d(arena, DTYPE_I32, 1),
    };
}

static bool allocate_host(struct ranker *ranker, struct error *error)
{
    const size_t rows = (size_t)ranker->rows, group = (size_t)ranker->group;
    const size_t items = (size_t)ranker->settings.items_maximum, contexts = (size_t)ranker->settings.contexts;
    ranker->prompt = calloc((size_t)ranker->settings.prompt.length_maximum, sizeof *ranker->prompt);
    ranker->slot = calloc(rows, sizeof *ranker->slot);
    ranker->token = calloc(rows, sizeof *ranker->token);
    ranker->position = calloc(rows, sizeof *ranker->position);
    ranker->forbidden = calloc(rows * (size_t)ranker->words, sizeof *ranker->forbidden);
    ranker->starts = calloc(group + 1, sizeof *ranker->starts);
    ranker->context_columns =
        calloc((size_t)ranker->model_count * group * contexts * items, sizeof *ranker->context_columns);
    ranker->context_scores = calloc(rows * items, sizeof *ranker->context_scores);
    ranker->columns = calloc(group * items, sizeof *ranker->columns);
    ranker->scores = calloc(group * items, sizeof *ranker->scores);
    ranker->votes = calloc((size_t)ranker->classes, sizeof *ranker->votes);
    if (ranker->prompt && ranker->slot && ranker->token && ranker->position && ranker->forbidden &&
        ranker->starts && ranker->context_columns && ranker->context_scores && ranker->columns &&
        ranker->scores && ranker->votes)
        return true;
    return error_memory(error, "the rankings of a batch",
                        rows * (size_t)ranker->words * sizeof *ranker->forbidden, ADVICE);
}

bool ranker_create(struct ranker **ranker, struct transformer *const *models, int64_t model_count,
                   const struct ranker_settings *settings, const struct csr *train, struct error *error)
{
    struct transformer *const model = models[0];
    const int64_t capacity = settings->prompt.length_maximum + 1;
    const struct slots_wanted wanted = {capacity, settings->batch, 1, settings->cache_bytes};
    struct ranker *made = calloc(1, sizeof *made);
    *ranker = NULL;
    if (!made)
        return error_memory(error, "the ranker", sizeof *made, NULL);
    made->models = models;
    made->model_count = model_count;
    made->settings = *settings;
    made->train = train;
    if (!cache_choose_slots(&made->rows, model, &wanted, error)) {
        free(made);
        return false;
    }
    made->words = constraint_words(&settings->vocabulary);
    made->classes = vocabulary_classes(&settings->vocabulary);
    made->group = made->rows > settings->contexts ? made->rows / settings->contexts : 1;
    made->arena = arena_measure(transformer_backend(model), "ranking");
    const struct cache_settings cache = {.slots = made->rows, .capacity = capacity};
    lay_out(made);
    if (!allocate_host(made, error) || !arena_reserve(&made->arena, 0, ADVICE, error) ||
        !cache_create(&made->cache, model, &cache, error)) {
        ranker_free(made);
        return false;
    }
    lay_out(made);
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
    free(ranker->starts);
    free(ranker->context_columns);
    free(ranker->context_scores);
    free(ranker->columns);
    free(ranker->scores);
    free(ranker->votes);
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

/* Contexts of a group that a model scores together. A user's contexts follow one another. */
struct context_range {
    int64_t first_user; /* of the group */
    int64_t users, model, first, count;
};

static struct backend *backend_of(const struct ranker *ranker)
{
    return transformer_backend(ranker->models[0]);
}

static void read_context(struct ranker *ranker, const struct context_range *range, int64_t row)
{
    const struct ranker_settings *settings = &ranker->settings;
    const int64_t context = range->first + row, user = range->first_user + context / settings->contexts;
    const int32_t *items = ranker->train->indices + ranker->train->starts[user];
    const int64_t item_count = csr_row_length(ranker->train, user);
    const int64_t length = prompt_context(ranker->prompt, &settings->prompt, (int32_t)user, items, item_count,
                                          settings->seed, (uint64_t)(context % settings->contexts));
    ranker->tokens += length;
    cache_read(ranker->cache, (int32_t)row, ranker->prompt, length - 1);
    ranker->slot[row] = (int32_t)row;
    ranker->token[row] = ranker->prompt[length - 1];
    ranker->position[row] = (int32_t)(length - 1);
    constraint_begin(ranker->forbidden + row * ranker->words, &settings->vocabulary, true, items, item_count);
}

/* The log-probabilities after the contexts: [count, transformer_logit_columns()], on the device. */
static struct tensor score_contexts(struct ranker *ranker, const struct context_range *range)
{
    struct backend *const backend = backend_of(ranker);
    const struct decode_step step = {range->count, ranker->slot, ranker->token, ranker->position};
    struct tensor logits, forbidden = tensor_rows(&ranker->device.forbidden, 0, range->count);
    for (int64_t row = 0; row < range->count; row++)
        read_context(ranker, range, row);
    cache_decode(ranker->cache, &step, &logits);
    tensor_upload(backend, &forbidden, ranker->forbidden);
    logits = tensor_rows(&logits, 0, range->count);
    op_log_softmax_masked(backend, &logits, &forbidden, ranker->classes);
    return logits;
}

static void choose_best(struct ranker *ranker, struct tensor *columns, struct tensor *scores,
                        const struct tensor *values)
{
    const struct ranking_tensors *const device = &ranker->device;
    const struct tensor mask_rows = tensor_rows(&device->mask_rows, 0, values->shape[0]);
    op_topk_masked(backend_of(ranker), columns, scores, NULL, values, &mask_rows, &device->mask_starts,
                   &device->mask);
}

/* Adds the range to its users' means, which the group's last range completes. */
static void add_to_means(struct ranker *ranker, const struct context_range *range,
                         const struct tensor *log_probability)
{
    struct backend *const backend = backend_of(ranker);
    const int64_t contexts = ranker->settings.contexts;
    struct tensor mean = tensor_rows(&ranker->device.mean, 0, range->users);
    struct tensor starts = tensor_rows(&ranker->device.starts, 0, range->users + 1);
    for (int64_t member = 0; member <= range->users; member++) {
        const int64_t row = member * contexts - range->first;
        ranker->starts[member] = (int32_t)(row < 0 ? 0 : row < range->count ? row : range->count);
    }
    tensor_upload(backend, &starts, ranker->starts);
    if (range->model == 0 && range->first == 0)
        tensor_zero(backend, &mean);
    const bool last =
        range->model == ranker->model_count - 1 && range->first + range->count == range->users * contexts;
    op_mean_probability(backend, &mean, log_probability, &starts, last ? ranker->model_count * contexts : 0);
}

/* A context's best items, where there are any, have probabilities that are numbers; so have all others then. */
static bool check_contexts(const struct ranker *ranker, const struct context_range *range,
                           struct error *error)
{
    const int64_t items = ranker->settings.vocabulary.items;
    for (int64_t row = 0; row < range->count; row++) {
        const int64_t user = range->first_user + (range->first + row) / ranker->settings.contexts;
        if (csr_row_length(ranker->train, user) < items &&
            !isfinite(ranker->context_scores[row * ranker->settings.items_maximum]))
            return error_set(
                error, ERROR_RUN,
                "the model's probabilities are not numbers; train it again with a lower learning "
                "rate");
    }
    return true;
}

/* A rank without an item has the column -1. */
static void strike_impossible(int32_t *columns, const real *scores, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(scores[i]))
            columns[i] = -1;
}

static bool rank_contexts(struct ranker *ranker, const struct context_range *range, struct error *error)
{
    struct backend *const backend = backend_of(ranker);
    const int64_t limit = ranker->settings.items_maximum;
    const struct tensor log_probability = score_contexts(ranker, range);
    struct tensor columns = tensor_rows(&ranker->device.context_columns, 0, range->count);
    struct tensor scores = tensor_rows(&ranker->device.context_scores, 0, range->count);
    const int64_t contexts = ranker->group * ranker->settings.contexts;
    int32_t *const kept = ranker->context_columns + (range->model * contexts + range->first) * limit;
    choose_best(ranker, &columns, &scores, &log_probability);
    add_to_means(ranker, range, &log_probability);
    tensor_download(backend, kept, &columns);
    tensor_download(backend, ranker->context_scores, &scores);
    if (!backend_synchronize(backend, error) || !check_contexts(ranker, range, error))
        return false;
    strike_impossible(kept, ranker->context_scores, range->count * limit);
    return true;
}

static bool rank_users(struct ranker *ranker, int64_t users, struct error *error)
{
    struct backend *const backend = backend_of(ranker);
    const struct tensor mean = tensor_rows(&ranker->device.mean, 0, users);
    struct tensor columns = tensor_rows(&ranker->device.columns, 0, users);
    struct tensor scores = tensor_rows(&ranker->device.scores, 0, users);
    choose_best(ranker, &columns, &scores, &mean);
    tensor_download(backend, ranker->columns, &columns);
    tensor_download(backend, ranker->scores, &scores);
    if (!backend_synchronize(backend, error))
        return false;
    strike_impossible(ranker->columns, ranker->scores, users * ranker->settings.items_maximum);
    return true;
}

/* Adds `vote` for each item in the lists of a member's contexts. */
static void count_votes(struct ranker *ranker, int64_t member, int32_t vote)
{
    const int64_t count = ranker->settings.contexts * ranker->settings.items_maximum;
    for (int64_t model = 0; model < ranker->model_count; model++) {
        const int32_t *columns = ranker->context_columns + (model * ranker->group + member) * count;
        for (int64_t i = 0; i < count; i++)
            if (columns[i] >= 0)
                ranker->votes[columns[i]] += vote;
    }
}

static bool append_member(struct ranker *ranker, int64_t first_user, int64_t member,
                          struct proposal_list *list, struct error *error)
{
    const int64_t limit = ranker->settings.items_maximum;
    const int32_t *columns = ranker->columns + member * limit;
    const real *scores = ranker->scores + member * limit;
    for (int64_t rank = 0; rank < limit && columns[rank] >= 0; rank++) {
        const struct proposal proposal = {
            .user = (int32_t)(first_user + member),
            .item = vocabulary_token_item(&ranker->settings.vocabulary, columns[rank]),
            .position = (int32_t)rank,
            .votes = ranker->votes[columns[rank]],
            .log_probability = (float)scores[rank]};
        if (!proposal_list_append(list, proposal, error))
            return false;
        list->valid++;
    }
    return true;
}

static bool ask_model(struct ranker *ranker, int64_t model, int64_t first_user, int64_t users,
                      struct error *error)
{
    const int64_t contexts = users * ranker->settings.contexts;
    struct context_range range = {.first_user = first_user, .users = users, .model = model};
    cache_use(ranker->cache, ranker->models[model]);
    for (; range.first < contexts; range.first += range.count) {
        range.count = contexts - range.first < ranker->rows ? contexts - range.first : ranker->rows;
        if (!interrupt_check(error) || !rank_contexts(ranker, &range, error))
            return false;
    }
    return true;
}

static bool rank_group(struct ranker *ranker, int64_t first_user, int64_t users, struct proposal_list *list,
                       struct error *error)
{
    for (int64_t model = 0; model < ranker->model_count; model++)
        if (!ask_model(ranker, model, first_user, users, error))
            return false;
    if (!rank_users(ranker, users, error))
        return false;
    for (int64_t member = 0; member < users; member++) {
        count_votes(ranker, member, 1);
        const bool appended = append_member(ranker, first_user, member, list, error);
        count_votes(ranker, member, -1);
        if (!appended)
            return false;
    }
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
