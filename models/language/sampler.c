#include "models/language/sampler.h"

#include <stdlib.h>
#include <string.h>

#include "core/interrupt.h"
#include "models/language/cache.h"
#include "models/language/constraint.h"

#define ADVICE "lower generate.batch"

/* What is decoded between two looks of the host, on a device that records steps; one that does not is looked at after
 * each. A list whose end cannot be foreseen may end early and keep its row idle until then. */
enum { STEPS_MAXIMUM = 32, STEPS_WITH_ENDS = 4 };

enum { STEP_SIZES = 40 };

/* The sequences being decoded, row by row, as the host knows them; the first `count` rows are in use. */
struct active_rows {
    int64_t count;
    int32_t *user, *sample;                            /* [rows] */
    int32_t *slot, *token, *position, *length, *drawn; /* [rows]; see struct decode_rows */
    int64_t *stream;                                   /* [rows] */
    uint32_t *shown;              /* [rows, words]: train items, drawn items, and what else is forbidden */
    bool *shown_changed, changed; /* [rows]; any row: the device does not know it yet */
};

/* The same on the device, [rows] each, and what the host takes from there. */
struct device_rows {
    struct tensor token, position, length, slot, drawn, stream;
    struct tensor forbidden; /* u32 [rows, words]; rank 0: nothing is */
    struct tensor drawn_token, drawn_log_probability;
    struct tensor log, log_probability; /* [rows, steps_maximum] */
};

/* What came from the device. */
struct drawn_rows {
    int32_t *slot, *drawn; /* [rows] */
    int32_t *log;          /* [rows, steps_maximum] */
    real *log_probability;
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
    int64_t steps_maximum; /* between two looks */
    struct active_rows active;
    struct device_rows device;
    struct drawn_rows drawn;
    int32_t *free_slot;                    /* [rows]; the first rows - active.count are free */
    int32_t *prompt;                       /* [length_maximum] */
    struct arena arena;                    /* of the device's rows */
    struct backend_graph step[STEP_SIZES]; /* of 64, 128, 256 ... rows */
};

/* ---- creation ----------------------------------------------------------------------------------------- */

static struct device_rows lay_out_rows(struct sampler *sampler)
{
    struct arena *const arena = &sampler->arena;
    const int64_t rows = sampler->rows;
    struct device_rows device = {
        .token = arena_tensor_1d(arena, DTYPE_I32, rows),
        .position = arena_tensor_1d(arena, DTYPE_I32, rows),
        .length = arena_tensor_1d(arena, DTYPE_I32, rows),
        .slot = arena_tensor_1d(arena, DTYPE_I32, rows),
        .drawn = arena_tensor_1d(arena, DTYPE_I32, rows),
        .stream = arena_tensor_1d(arena, DTYPE_I64, rows),
        .drawn_token = arena_tensor_1d(arena, DTYPE_I32, rows),
        .drawn_log_probability = arena_tensor_1d(arena, DTYPE_REAL, rows),
        .log = arena_tensor_2d(arena, DTYPE_I32, rows, sampler->steps_maximum),
        .log_probability = arena_tensor_2d(arena, DTYPE_REAL, rows, sampler->steps_maximum),
    };
    if (sampler->settings.constrained)
        device.forbidden = arena_tensor_2d(arena, DTYPE_U32, rows, sampler->words);
    return device;
}

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

/* As often as a list can go on without the host. */
static int64_t steps_between_looks(const struct backend *backend, const struct sampler_settings *settings)
{
    const int64_t most = settings->end_trained ? STEPS_WITH_ENDS : STEPS_MAXIMUM;
    if (!backend_graph_supported(backend))
        return 1;
    return settings->items_maximum < most ? settings->items_maximum : most;
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
    made->steps_maximum = steps_between_looks(transformer_backend(model), settings);
    made->arena = arena_measure(transformer_backend(model), "sampling");
    const struct cache_settings cache = {.slots = made->rows, .capacity = capacity};
    lay_out_rows(made);
    if (!allocate_rows(made, error) || !arena_reserve(&made->arena, 0, ADVICE, error) ||
        !cache_create(&made->cache, model, &cache, error)) {
        sampler_free(made);
        return false;
    }
    made->device = lay_out_rows(made);
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
    active->shown_changed[row] = active->changed = true;
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

/* ---- steps -------------------------------------------------------------------------------------------- */

/* Rows of a step with `count` in use. Where steps are recorded there are few sizes, as each is a graph of its own. */
static int64_t step_rows(const struct sampler *sampler, int64_t count, int *size)
{
    int64_t rows = GEMM_ROW_BLOCK;
    for (*size = 0; rows < count; ++*size)
        rows *= 2;
    if (!backend_graph_supported(transformer_backend(sampler->model)))
        return round_to_row_block(count);
    return rows < sampler->rows ? rows : sampler->rows;
}

static void upload_rows(struct backend *backend, const struct tensor *tensor, const void *host, int64_t rows)
{
    struct tensor part = tensor_rows(tensor, 0, rows);
    tensor_upload(backend, &part, host);
}

/* The rows whose bits the device does not have; those that follow one another at once. */
static void upload_shown(struct sampler *sampler)
{
    struct active_rows *const active = &sampler->active;
    int64_t first = 0;
    for (int64_t row = 0; row <= active->count; row++) {
        if (row < active->count && active->shown_changed[row]) {
            active->shown_changed[row] = false;
            continue;
        }
        if (row > first) {
            struct tensor part = tensor_rows(&sampler->device.forbidden, first, row - first);
            tensor_upload(transformer_backend(sampler->model), &part, active->shown + first * sampler->words);
        }
        first = row + 1;
    }
}

/* Brings what the host has changed to the device; rows from active.count on are not in use. */
static void upload_active(struct sampler *sampler, int64_t rows)
{
    struct backend *const backend = transformer_backend(sampler->model);
    struct active_rows *const active = &sampler->active;
    const struct device_rows *const device = &sampler->device;
    for (int64_t row = active->count; row < rows; row++) {
        active->token[row] = active->position[row] = active->drawn[row] = 0;
        active->slot[row] = -1;
        active->stream[row] = -1;
    }
    for (int64_t row = 0; row < rows; row++)
        active->length[row] = active->position[row] + 1;
    upload_rows(backend, &device->token, active->token, rows);
    upload_rows(backend, &device->position, active->position, rows);
    upload_rows(backend, &device->length, active->length, rows);
    upload_rows(backend, &device->slot, active->slot, rows);
    upload_rows(backend, &device->drawn, active->drawn, rows);
    upload_rows(backend, &device->stream, active->stream, rows);
    if (sampler->settings.constrained)
        upload_shown(sampler);
    active->changed = false;
}

static struct device_rows first_rows(const struct device_rows *device, int64_t rows)
{
    return (struct device_rows){
        .token = tensor_rows(&device->token, 0, rows),
        .position = tensor_rows(&device->position, 0, rows),
        .length = tensor_rows(&device->length, 0, rows),
        .slot = tensor_rows(&device->slot, 0, rows),
        .drawn = tensor_rows(&device->drawn, 0, rows),
        .stream = tensor_rows(&device->stream, 0, rows),
        .forbidden =
            device->forbidden.rank > 0 ? tensor_rows(&device->forbidden, 0, rows) : device->forbidden,
        .drawn_token = tensor_rows(&device->drawn_token, 0, rows),
        .drawn_log_probability = tensor_rows(&device->drawn_log_probability, 0, rows),
        .log = tensor_rows(&device->log, 0, rows),
        .log_probability = tensor_rows(&device->log_probability, 0, rows),
    };
}

struct step_work {
    struct sampler *sampler;
    int64_t rows;
};

/* Decodes a token of every row, draws the next, and moves on. */
static void decode_and_draw(void *context)
{
    const struct step_work *const work = context;
    struct sampler *const sampler = work->sampler;
    const struct sampler_settings *settings = &sampler->settings;
    struct backend *const backend = transformer_backend(sampler->model);
    struct device_rows first = first_rows(&sampler->device, work->rows);
    const struct decode_rows rows = {.token = &first.token,
                                     .position = &first.position,
                                     .length = &first.length,
                                     .slot = &first.slot,
                                     .stream = &first.stream,
                                     .drawn = &first.drawn,
                                     .forbidden = settings->constrained ? &first.forbidden : NULL,
                                     .log = &first.log,
                                     .log_probability = &first.log_probability};
    struct tensor logits;
    cache_step(sampler->cache, rows, &logits);
    op_sample(backend, &first.drawn_token, &first.drawn_log_probability, &logits, rows.forbidden, rows.stream,
              rows.drawn, vocabulary_classes(&settings->vocabulary), settings->sampling);
    op_advance(backend, rows, &first.drawn_token, &first.drawn_log_probability,
               settings->end_trained ? TOKEN_END : -1, settings->items_maximum);
}

/* How many steps there are until the first list is sure to end, or, where any may end, until the last is. */
static int64_t steps_to_run(const struct sampler *sampler)
{
    const struct active_rows *const active = &sampler->active;
    int32_t least = active->drawn[0], most = active->drawn[0];
    for (int64_t row = 1; row < active->count; row++) {
        least = active->drawn[row] < least ? active->drawn[row] : least;
        most = active->drawn[row] > most ? active->drawn[row] : most;
    }
    const int64_t left = sampler->settings.items_maximum - (sampler->settings.end_trained ? least : most);
    return left < sampler->steps_maximum ? left : sampler->steps_maximum;
}

static void download_rows(struct backend *backend, void *host, const struct tensor *tensor, int64_t rows)
{
    const struct tensor part = tensor_rows(tensor, 0, rows);
    tensor_download(backend, host, &part);
}

/* Runs steps of the active rows and fetches what they drew. */
static bool run_steps(struct sampler *sampler, struct error *error)
{
    struct backend *const backend = transformer_backend(sampler->model);
    const struct device_rows *const device = &sampler->device;
    int size;
    const int64_t count = sampler->active.count, rows = step_rows(sampler, count, &size);
    const int64_t steps = steps_to_run(sampler);
    struct step_work work = {sampler, rows};
    cache_flush(sampler->cache);
    if (sampler->active.changed)
        upload_active(sampler, rows);
    for (int64_t step = 0; step < steps; step++)
        backend_graph_run(backend, &sampler->step[size], decode_and_draw, &work);
    download_rows(backend, sampler->drawn.slot, &device->slot, count);
    download_rows(backend, sampler->drawn.drawn, &device->drawn, count);
    download_rows(backend, sampler->drawn.log, &device->log, count);
    download_rows(backend, sampler->drawn.log_probability, &device->log_probability, count);
    return backend_synchronize(backend, error);
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
    struct job_cursor jobs = {.user = first_user, .end = first_user + user_count, .shared_slot = -1};
    list->requested += user_count * sampler->settings.samples * sampler->settings.items_maximum;
    sampler->active.count = 0;
    for (int64_t slot = 0; slot < sampler->rows; slot++)
        sampler->free_slot[slot] = (int32_t)slot;
    for (;;) {
        fill_rows(sampler, &jobs);
        if (sampler->active.count == 0)
            return true;
        if (!interrupt_check(error) || !run_steps(sampler, error) || !take_drawn(sampler, list, error))
            return false;
    }
}
