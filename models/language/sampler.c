#include "models/language/sampler.h"

#include <stdlib.h>
#include <string.h>

#include "core/interrupt.h"
#include "models/language/cache.h"
#include "models/language/constraint.h"

#define ADVICE "lower generate.batch"

enum { PASS_TOKENS = 2048 };

/* The sequences being decoded, row by row; the first `count` rows are in use. */
struct active_rows {
    int64_t count;
    int32_t *user, *sample;           /* [rows] */
    int32_t *slot, *token, *position; /* [rows]: the next token to decode */
    int32_t *drawn;                   /* [rows]: tokens drawn so far */
    int64_t *stream;                  /* [rows] */
    uint32_t *shown; /* [rows, words]: train items, drawn items, and what else is forbidden */
};

/* The order in which lists are begun: users, then contexts, then the samples of a context. */
struct job_cursor {
    int64_t user, end, context, sample;
    int32_t shared_slot; /* that read this context since the last step; -1: none did */
    int64_t length;      /* tokens of the current context */
};

struct sampler {
    struct transformer *model;
    struct sampler_settings settings;
    const struct csr *train;
    struct cache *cache;
    int64_t rows, words, tokens;
    struct active_rows active;
    int32_t *free_slot; /* [rows]; the first rows - active.count are free */
    int32_t *prompt;    /* [length_maximum] */
    int32_t *token;     /* [rows]: as drawn */
    real *log_probability;
    struct arena arena; /* what op_sample needs */
};

/* ---- creation ----------------------------------------------------------------------------------------- */

/* Tensors of one draw over `rows` rows. */
struct draw_tensors {
    struct tensor tokens, steps;   /* i32 [rows] */
    struct tensor streams;         /* i64 [rows] */
    struct tensor log_probability; /* [rows] */
    struct tensor forbidden;       /* u32 [rows, words] */
};

static struct draw_tensors lay_out_draw(struct sampler *sampler, int64_t rows)
{
    arena_return(&sampler->arena, 0);
    return (struct draw_tensors){
        .tokens = arena_tensor_1d(&sampler->arena, DTYPE_I32, rows),
        .steps = arena_tensor_1d(&sampler->arena, DTYPE_I32, rows),
        .streams = arena_tensor_1d(&sampler->arena, DTYPE_I64, rows),
        .log_probability = arena_tensor_1d(&sampler->arena, DTYPE_REAL, rows),
        .forbidden = arena_tensor_2d(&sampler->arena, DTYPE_U32, rows, sampler->words),
    };
}

static bool allocate_rows(struct sampler *sampler, struct error *error)
{
    struct active_rows *const active = &sampler->active;
    const size_t rows = (size_t)sampler->rows;
    active->user = calloc(rows, sizeof *active->user);
    active->sample = calloc(rows, sizeof *active->sample);
    active->slot = calloc(rows, sizeof *active->slot);
    active->token = calloc(rows, sizeof *active->token);
    active->position = calloc(rows, sizeof *active->position);
    active->drawn = calloc(rows, sizeof *active->drawn);
    active->stream = calloc(rows, sizeof *active->stream);
    active->shown = calloc(rows * (size_t)sampler->words, sizeof *active->shown);
    sampler->free_slot = calloc(rows, sizeof *sampler->free_slot);
    sampler->token = calloc(rows, sizeof *sampler->token);
    sampler->log_probability = calloc(rows, sizeof *sampler->log_probability);
    sampler->prompt = calloc((size_t)sampler->settings.prompt.length_maximum, sizeof *sampler->prompt);
    if (active->user && active->sample && active->slot && active->token && active->position &&
        active->drawn && active->stream && active->shown && sampler->free_slot && sampler->token &&
        sampler->log_probability && sampler->prompt)
        return true;
    return error_memory(error, "the rows of a batch", rows * (size_t)sampler->words * sizeof *active->shown,
                        ADVICE);
}

bool sampler_create(struct sampler **sampler, struct transformer *model,
                    const struct sampler_settings *settings, const struct csr *train, struct error *error)
{
    const int64_t capacity = settings->prompt.length_maximum + settings->items_maximum;
    struct sampler *made = calloc(1, sizeof *made);
    *sampler = NULL;
    if (!made)
        return error_memory(error, "the sampler", sizeof *made, NULL);
    made->model = model;
    made->settings = *settings;
    made->train = train;
    made->rows = cache_slots_within(model, capacity, settings->batch, settings->cache_bytes);
    made->words = constraint_words(&settings->vocabulary);
    made->arena = arena_measure(transformer_backend(model), "sampling");
    const struct cache_settings cache = {
        .slots = made->rows, .capacity = capacity, .pass_tokens = PASS_TOKENS};
    lay_out_draw(made, made->rows);
    if (!allocate_rows(made, error) || !arena_reserve(&made->arena, 0, ADVICE, error) ||
        !cache_create(&made->cache, model, &cache, error)) {
        sampler_free(made);
        return false;
    }
    *sampler = made;
    return true;
}

void sampler_free(struct sampler *sampler)
{
    if (!sampler)
        return;
    cache_free(sampler->cache);
    arena_release(&sampler->arena);
    free(sampler->active.user);
    free(sampler->active.sample);
    free(sampler->active.slot);
    free(sampler->active.token);
    free(sampler->active.position);
    free(sampler->active.drawn);
    free(sampler->active.stream);
    free(sampler->active.shown);
    free(sampler->free_slot);
    free(sampler->token);
    free(sampler->log_probability);
    free(sampler->prompt);
    free(sampler);
}

void sampler_print_memory(const struct sampler *sampler, FILE *stream)
{
    cache_print_memory(sampler->cache, stream);
}

int64_t sampler_tokens(const struct sampler *sampler)
{
    return sampler->tokens;
}

/* ---- beginning lists ---------------------------------------------------------------------------------- */

static const int32_t *train_items(const struct sampler *sampler, int64_t user, int64_t *count)
{
    *count = csr_row_length(sampler->train, user);
    return sampler->train->indices + sampler->train->starts[user];
}

static void next_job(const struct sampler *sampler, struct job_cursor *jobs)
{
    const struct sampler_settings *settings = &sampler->settings;
    jobs->sample += settings->contexts;
    if (jobs->sample < settings->samples)
        return;
    jobs->shared_slot = -1;
    jobs->context++;
    if (jobs->context == settings->contexts || jobs->context == settings->samples) {
        jobs->context = 0;
        jobs->user++;
    }
    jobs->sample = jobs->context;
}

/* Puts the context of the current job into `slot`, all but its last token. */
static void read_context(struct sampler *sampler, struct job_cursor *jobs, int32_t slot)
{
    int64_t count;
    if (jobs->shared_slot >= 0) {
        cache_share(sampler->cache, slot, jobs->shared_slot, jobs->length - 1);
        return;
    }
    const int32_t *items = train_items(sampler, jobs->user, &count);
    jobs->length = prompt_context(sampler->prompt, &sampler->settings.vocabulary, &sampler->settings.prompt,
                                  (int32_t)jobs->user, items, count, sampler->settings.sampling.seed,
                                  (uint64_t)jobs->context);
    cache_read(sampler->cache, slot, sampler->prompt, jobs->length - 1);
    if (jobs->sample == jobs->context)
        sampler->tokens += jobs->length - 1;
    jobs->shared_slot = slot;
}

static void begin_list(struct sampler *sampler, struct job_cursor *jobs)
{
    struct active_rows *const active = &sampler->active;
    const int64_t row = active->count++;
    const int32_t slot = sampler->free_slot[sampler->rows - active->count];
    int64_t count;
    const int32_t *items = train_items(sampler, jobs->user, &count);
    read_context(sampler, jobs, slot);
    active->user[row] = (int32_t)jobs->user;
    active->sample[row] = (int32_t)jobs->sample;
    active->slot[row] = slot;
    active->token[row] = sampler->prompt[jobs->length - 1];
    active->position[row] = (int32_t)(jobs->length - 1);
    active->drawn[row] = 0;
    active->stream[row] = jobs->user * sampler->settings.samples + jobs->sample;
    constraint_begin(active->shown + row * sampler->words, &sampler->settings.vocabulary,
                     !sampler->settings.end_trained, items, count);
}

static void fill_rows(struct sampler *sampler, struct job_cursor *jobs)
{
    jobs->shared_slot = -1;
    while (sampler->active.count < sampler->rows && jobs->user < jobs->end) {
        begin_list(sampler, jobs);
        next_job(sampler, jobs);
    }
}

/* The last row takes the place of `row`. */
static void end_list(struct sampler *sampler, int64_t row)
{
    struct active_rows *const active = &sampler->active;
    sampler->free_slot[sampler->rows - active->count] = active->slot[row];
    const int64_t last = --active->count;
    if (row == last)
        return;
    active->user[row] = active->user[last];
    active->sample[row] = active->sample[last];
    active->slot[row] = active->slot[last];
    active->token[row] = active->token[last];
    active->position[row] = active->position[last];
    active->drawn[row] = active->drawn[last];
    active->stream[row] = active->stream[last];
    memcpy(active->shown + row * sampler->words, active->shown + last * sampler->words,
           (size_t)sampler->words * sizeof *active->shown);
}

/* ---- drawing ------------------------------------------------------------------------------------------ */

/* Decodes a token of every active row and draws the next into sampler->token and ->log_probability. */
static bool draw_tokens(struct sampler *sampler, struct error *error)
{
    struct backend *const backend = transformer_backend(sampler->model);
    struct active_rows *const active = &sampler->active;
    const struct decode_step step = {active->count, active->slot, active->token, active->position};
    const int64_t rows = round_to_row_block(active->count);
    struct tensor logits;
    cache_decode(sampler->cache, &step, &logits);
    sampler->tokens += active->count;
    for (int64_t row = active->count; row < rows; row++) {
        active->stream[row] = -1;
        active->drawn[row] = 0;
    }
    struct draw_tensors draw = lay_out_draw(sampler, rows);
    tensor_upload(backend, &draw.steps, active->drawn);
    tensor_upload(backend, &draw.streams, active->stream);
    if (sampler->settings.constrained)
        tensor_upload(backend, &draw.forbidden, active->shown);
    op_sample(backend, &draw.tokens, &draw.log_probability, &logits,
              sampler->settings.constrained ? &draw.forbidden : NULL, &draw.streams, &draw.steps,
              vocabulary_classes(&sampler->settings.vocabulary), sampler->settings.sampling);
    tensor_download(backend, sampler->token, &draw.tokens);
    tensor_download(backend, sampler->log_probability, &draw.log_probability);
    return backend_synchronize(backend, error);
}

static bool in_train(const struct sampler *sampler, int32_t user, int32_t item)
{
    int64_t count;
    const int32_t *items = train_items(sampler, user, &count);
    for (int64_t i = 0; i < count; i++)
        if (items[i] == item)
            return true;
    return false;
}

/* Counts the token drawn for a row and keeps it when it is an item. */
static bool keep_token(struct sampler *sampler, int64_t row, struct proposal_list *list, struct error *error)
{
    const struct active_rows *const active = &sampler->active;
    const int32_t token = sampler->token[row];
    const int32_t item = vocabulary_token_item(&sampler->settings.vocabulary, token);
    uint32_t *shown = active->shown + row * sampler->words;
    if (item < 0) {
        list->invalid++;
        return true;
    }
    if (!constraint_holds(shown, token))
        list->valid++;
    else if (in_train(sampler, active->user[row], item))
        list->already_seen++;
    else
        list->duplicate++;
    constraint_add(shown, token);
    return proposal_list_append(list,
                                (struct proposal){.user = active->user[row],
                                                  .item = item,
                                                  .sample = active->sample[row],
                                                  .position = active->drawn[row],
                                                  .log_probability = (float)sampler->log_probability[row]},
                                error);
}

/* Moves every row on by the token drawn for it; from the last row, so that ended rows can be replaced. */
static bool advance_rows(struct sampler *sampler, struct proposal_list *list, struct error *error)
{
    struct active_rows *const active = &sampler->active;
    for (int64_t row = active->count - 1; row >= 0; row--) {
        const int32_t token = sampler->token[row];
        const bool nothing_allowed = token < 0;
        if (nothing_allowed || (token == TOKEN_END && sampler->settings.end_trained)) {
            end_list(sampler, row);
            continue;
        }
        if (!keep_token(sampler, row, list, error))
            return false;
        active->token[row] = token;
        active->position[row]++;
        active->drawn[row]++;
        if (active->drawn[row] == sampler->settings.items_maximum)
            end_list(sampler, row);
    }
    return true;
}

bool sampler_run(struct sampler *sampler, int64_t first_user, int64_t user_count, struct proposal_list *list,
                 struct error *error)
{
    struct job_cursor jobs = {.user = first_user, .end = first_user + user_count, .shared_slot = -1};
    list->requested += user_count * sampler->settings.samples * sampler->settings.items_maximum;
    sampler->active.count = 0;
    for (int64_t slot = 0; slot < sampler->rows; slot++)
        sampler->free_slot[slot] = (int32_t)slot;
    for (;;) {
        fill_rows(sampler, &jobs);
        if (sampler->active.count == 0)
            return true;
        if (!interrupt_check(error) || !draw_tokens(sampler, error) || !advance_rows(sampler, list, error))
            return false;
    }
}
