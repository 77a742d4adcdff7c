#include <stdlib.h>
#include <string.h>

#include "core/interrupt.h"
#include "models/language/constraint.h"
#include "models/language/list_order.h"
#include "models/language/sampler_state.h"

#define ADVICE "lower generate.batch"

/* The list that is begun next. */
struct job_cursor {
    struct list_order at;
    int64_t end;         /* of the users */
    int32_t shared_slot; /* that read this context since the last step; -1: none did */
    int64_t length;      /* tokens of the current context */
};

/* ---- creation ----------------------------------------------------------------------------------------- */

static bool allocate_rows(struct sampler *sampler, struct error *error)
{
    struct active_rows *const active = &sampler->active;
    struct drawn_rows *const drawn = &sampler->drawn;
    const size_t rows = (size_t)sampler->rows, steps = (size_t)sampler->steps_maximum;
    active->user = calloc(rows, sizeof *active->user);
    active->sample = calloc(rows, sizeof *active->sample);
    active->slot = calloc(rows, sizeof *active->slot);
    active->token = calloc(rows, sizeof *active->token);
    active->position = calloc(rows, sizeof *active->position);
    active->length = calloc(rows, sizeof *active->length);
    active->drawn = calloc(rows, sizeof *active->drawn);
    active->stream = calloc(rows, sizeof *active->stream);
    active->shown = calloc(rows * (size_t)sampler->words, sizeof *active->shown);
    active->shown_changed = calloc(rows, sizeof *active->shown_changed);
    drawn->slot = calloc(rows, sizeof *drawn->slot);
    drawn->drawn = calloc(rows, sizeof *drawn->drawn);
    drawn->log = calloc(rows * steps, sizeof *drawn->log);
    drawn->log_probability = calloc(rows * steps, sizeof *drawn->log_probability);
    sampler->free_slot = calloc(rows, sizeof *sampler->free_slot);
    sampler->prompt = calloc((size_t)sampler->settings.prompt.length_maximum, sizeof *sampler->prompt);
    if (active->user && active->sample && active->slot && active->token && active->position &&
        active->length && active->drawn && active->stream && active->shown && active->shown_changed &&
        drawn->slot && drawn->drawn && drawn->log && drawn->log_probability && sampler->free_slot &&
        sampler->prompt)
        return true;
    return error_memory(error, "the rows of a batch", rows * (size_t)sampler->words * sizeof *active->shown,
                        ADVICE);
}

bool sampler_create(struct sampler **sampler, struct transformer *model,
                    const struct sampler_settings *settings, const struct csr *train, struct error *error)
{
    const int64_t capacity = settings->prompt.length_maximum + settings->items_maximum;
    const struct slots_wanted wanted = {capacity, settings->batch, 1, settings->cache_bytes};
    struct sampler *made = calloc(1, sizeof *made);
    *sampler = NULL;
    if (!made)
        return error_memory(error, "the sampler", sizeof *made, NULL);
    made->model = model;
    made->settings = *settings;
    made->train = train;
    made->words = constraint_words(&settings->vocabulary);
    made->steps_maximum = sampler_steps_maximum(transformer_backend(model), settings);
    made->arena = arena_measure(transformer_backend(model), "sampling");
    if (!cache_choose_slots(&made->slots, model, &wanted, error)) {
        sampler_free(made);
        return false;
    }
    made->rows = round_to_row_block(made->slots);
    const struct cache_settings cache = {.slots = made->slots, .capacity = capacity};
    sampler_lay_out_rows(made);
    if (!allocate_rows(made, error) || !arena_reserve(&made->arena, 0, ADVICE, error) ||
        !cache_create(&made->cache, model, &cache, error)) {
        sampler_free(made);
        return false;
    }
    sampler_lay_out_rows(made);
    *sampler = made;
    return true;
}

void sampler_free(struct sampler *sampler)
{
    if (!sampler)
        return;
    for (int size = 0; size < STEP_SIZES; size++)
        backend_graph_release(transformer_backend(sampler->model), &sampler->step[size]);
    cache_free(sampler->cache);
    arena_release(&sampler->arena);
    free(sampler->active.user);
    free(sampler->active.sample);
    free(sampler->active.slot);
    free(sampler->active.token);
    free(sampler->active.position);
    free(sampler->active.length);
    free(sampler->active.drawn);
    free(sampler->active.stream);
    free(sampler->active.shown);
    free(sampler->active.shown_changed);
    free(sampler->drawn.slot);
    free(sampler->drawn.drawn);
    free(sampler->drawn.log);
    free(sampler->drawn.log_probability);
    free(sampler->free_slot);
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
    if (list_order_next(&jobs->at, sampler->settings.samples, sampler->settings.contexts))
        jobs->shared_slot = -1;
}

/* Puts the context of the current job into `slot`, all but its last token. */
static void read_context(struct sampler *sampler, struct job_cursor *jobs, int32_t slot)
{
    int64_t count;
    if (jobs->shared_slot >= 0) {
        cache_share(sampler->cache, slot, jobs->shared_slot, 0, jobs->length - 1);
        return;
    }
    const int32_t *items = train_items(sampler, jobs->at.user, &count);
    jobs->length = prompt_context(sampler->prompt, &sampler->settings.prompt, (int32_t)jobs->at.user, items,
                                  count, sampler->settings.sampling.seed, (uint64_t)jobs->at.context);
    cache_read(sampler->cache, slot, sampler->prompt, jobs->length - 1);
    if (jobs->at.sample == jobs->at.context)
        sampler->tokens += jobs->length - 1;
    jobs->shared_slot = slot;
}

static void begin_list(struct sampler *sampler, struct job_cursor *jobs)
{
    struct active_rows *const active = &sampler->active;
    const int64_t row = active->count++;
    const int32_t slot = sampler->free_slot[sampler->slots - active->count];
    int64_t count;
    const int32_t *items = train_items(sampler, jobs->at.user, &count);
    read_context(sampler, jobs, slot);
    active->user[row] = (int32_t)jobs->at.user;
    active->sample[row] = (int32_t)jobs->at.sample;
    active->slot[row] = slot;
    active->token[row] = sampler->prompt[jobs->length - 1];
    active->position[row] = (int32_t)(jobs->length - 1);
    active->drawn[row] = 0;
    active->stream[row] = jobs->at.user * sampler->settings.samples + jobs->at.sample;
    constraint_begin(active->shown + row * sampler->words, &sampler->settings.vocabulary,
                     !sampler->settings.end_trained, items, count);
    active->shown_changed[row] = active->changed = true;
}

static void fill_rows(struct sampler *sampler, struct job_cursor *jobs)
{
    jobs->shared_slot = -1;
    while (sampler->active.count < sampler->slots && jobs->at.user < jobs->end) {
        begin_list(sampler, jobs);
        next_job(sampler, jobs);
    }
}

/* The last row takes the place of `row`. */
static void end_list(struct sampler *sampler, int64_t row)
{
    struct active_rows *const active = &sampler->active;
    sampler->free_slot[sampler->slots - active->count] = active->slot[row];
    const int64_t last = --active->count;
    active->changed = true;
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
    active->shown_changed[row] = true;
}

/* ---- taking what was drawn ---------------------------------------------------------------------------- */

static bool in_train(const struct sampler *sampler, int32_t user, int32_t item)
{
    int64_t count;
    const int32_t *items = train_items(sampler, user, &count);
    for (int64_t i = 0; i < count; i++)
        if (items[i] == item)
            return true;
    return false;
}

/* Counts the next token of a row and keeps it when it is an item. */
static bool keep_token(struct sampler *sampler, int64_t row, int32_t token, real log_probability,
                       struct proposal_list *list, struct error *error)
{
    const struct active_rows *const active = &sampler->active;
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
                                                  .log_probability = (float)log_probability},
                                error);
}

/* The tokens that a row has drawn since the last look. */
static bool keep_tokens(struct sampler *sampler, int64_t row, struct proposal_list *list, struct error *error)
{
    struct active_rows *const active = &sampler->active;
    const struct drawn_rows *const drawn = &sampler->drawn;
    while (active->drawn[row] < drawn->drawn[row]) {
        const int64_t place = row * sampler->steps_maximum + active->drawn[row] % sampler->steps_maximum;
        active->token[row] = drawn->log[place];
        if (!keep_token(sampler, row, drawn->log[place], drawn->log_probability[place], list, error))
            return false;
        active->position[row]++;
        active->drawn[row]++;
        sampler->tokens++;
    }
    return true;
}

/* Follows every row to where the device is; from the last row, so that ended rows can be replaced. */
static bool take_drawn(struct sampler *sampler, struct proposal_list *list, struct error *error)
{
    struct active_rows *const active = &sampler->active;
    for (int64_t row = active->count - 1; row >= 0; row--) {
        if (!keep_tokens(sampler, row, list, error))
            return false;
        if (sampler->drawn.slot[row] >= 0)
            continue;
        if (active->drawn[row] < sampler->settings.items_maximum)
            sampler->tokens++; /* of the step that ended it */
        end_list(sampler, row);
    }
    return true;
}

bool sampler_run(struct sampler *sampler, int64_t first_user, int64_t user_count, struct proposal_list *list,
                 struct error *error)
{
    struct job_cursor jobs = {.at.user = first_user, .end = first_user + user_count, .shared_slot = -1};
    list->requested += user_count * sampler->settings.samples * sampler->settings.items_maximum;
    sampler->active.count = 0;
    for (int64_t slot = 0; slot < sampler->slots; slot++)
        sampler->free_slot[slot] = (int32_t)slot;
    for (;;) {
        fill_rows(sampler, &jobs);
        if (sampler->active.count == 0)
            return true;
        if (!interrupt_check(error) || !sampler_run_steps(sampler, error) ||
            !take_drawn(sampler, list, error))
            return false;
    }
}
