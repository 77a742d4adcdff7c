#include "models/language/list_sampler.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/interrupt.h"
#include "models/language/list_order.h"
#include "models/language/token_candidates.h"

#define ADVICE "lower generate.batch"

/* A list being drawn. */
struct list_row {
    int64_t user;
    int32_t sample, slot;
    int32_t token, position; /* to be decoded next */
    int64_t drawn;           /* tokens */
    struct written_list list;
    int64_t continuing;     /* of the tokens that may follow; see item_writer_allowed() */
    double log_probability; /* of what is written of the item */
    int32_t place;          /* of the next item in the list */
};

/* What was drawn for a row. */
struct drawn_token {
    int64_t place;                /* among the candidates; -1: none, -2: the logits are not numbers */
    double log_probability, stop; /* of the token, and of going on with no longer item */
};

/* The list that is begun next. */
struct list_jobs {
    struct list_order at; /* `user` is a place of `order` */
    const int64_t *order; /* [count]: users */
    int64_t count;
    int32_t shared_slot; /* that read this context since the last step; -1: none did */
    int64_t position;    /* of the current context's last token */
    int32_t token;
};

/* Unconstrained drawing: what op_sample() needs. */
struct free_drawing {
    struct arena arena;
    struct tensor stream, step, token, log_probability; /* [rows] */
    int64_t *host_stream;
    int32_t *host_step, *host_token;
    real *host_log_probability;
    int32_t *written;               /* [rows, tokens_maximum] */
    float *written_log_probability; /* likewise */
    struct answer answer;
};

struct list_sampler {
    struct transformer *model;
    struct list_sampler_settings settings;
    struct context_cache contexts;
    int64_t rows, classes, tokens;
    int64_t count; /* rows in use, the first ones */
    struct list_row *row;
    struct drawn_token *drawn;
    int32_t *free_slot;               /* [rows]; the first rows - count are free */
    int32_t *slot, *token, *position; /* [rows], a step */
    int64_t *scratch;                 /* [threads, allowed_maximum] */
    struct candidates candidates;     /* constrained */
    struct free_drawing free_drawing; /* unconstrained */
};

/* ---- creation ----------------------------------------------------------------------------------------- */

static bool is_joined(const struct list_sampler *sampler, int64_t item_count)
{
    return sampler->settings.prompt.layout->joined && item_count > 0;
}

static bool allocate_rows(struct list_sampler *sampler, struct error *error)
{
    const size_t rows = (size_t)sampler->rows;
    const size_t threads = (size_t)transformer_backend(sampler->model)->threads;
    sampler->row = calloc(rows, sizeof *sampler->row);
    sampler->drawn = calloc(rows, sizeof *sampler->drawn);
    sampler->free_slot = calloc(rows, sizeof *sampler->free_slot);
    sampler->slot = calloc(rows, sizeof *sampler->slot);
    sampler->token = calloc(rows, sizeof *sampler->token);
    sampler->position = calloc(rows, sizeof *sampler->position);
    sampler->scratch =
        calloc(threads * (size_t)sampler->settings.writer->allowed_maximum, sizeof *sampler->scratch);
    if (sampler->row && sampler->drawn && sampler->free_slot && sampler->slot && sampler->token &&
        sampler->position && sampler->scratch)
        return true;
    return error_memory(error, "the rows of a batch", rows * sizeof *sampler->row, ADVICE);
}

static void lay_out_free(struct free_drawing *free_drawing, int64_t rows)
{
    struct arena *const arena = &free_drawing->arena;
    free_drawing->stream = arena_tensor_1d(arena, DTYPE_I64, rows);
    free_drawing->step = arena_tensor_1d(arena, DTYPE_I32, rows);
    free_drawing->token = arena_tensor_1d(arena, DTYPE_I32, rows);
    free_drawing->log_probability = arena_tensor_1d(arena, DTYPE_REAL, rows);
}

static bool allocate_free(struct list_sampler *sampler, struct error *error)
{
    struct free_drawing *const drawing = &sampler->free_drawing;
    const size_t rows = (size_t)sampler->rows, written = rows * (size_t)sampler->settings.tokens_maximum;
    drawing->arena = arena_measure(transformer_backend(sampler->model), "sampling");
    drawing->host_stream = calloc(rows, sizeof *drawing->host_stream);
    drawing->host_step = calloc(rows, sizeof *drawing->host_step);
    drawing->host_token = calloc(rows, sizeof *drawing->host_token);
    drawing->host_log_probability = calloc(rows, sizeof *drawing->host_log_probability);
    drawing->written = calloc(written, sizeof *drawing->written);
    drawing->written_log_probability = calloc(written, sizeof *drawing->written_log_probability);
    if (!drawing->host_stream || !drawing->host_step || !drawing->host_token ||
        !drawing->host_log_probability || !drawing->written || !drawing->written_log_probability)
        return error_memory(error, "the tokens of a batch", written * 8, ADVICE);
    lay_out_free(drawing, sampler->rows);
    if (!arena_reserve(&drawing->arena, 0, ADVICE, error))
        return false;
    lay_out_free(drawing, sampler->rows);
    return true;
}

static void free_free(struct free_drawing *drawing)
{
    arena_release(&drawing->arena);
    free(drawing->host_stream);
    free(drawing->host_step);
    free(drawing->host_token);
    free(drawing->host_log_probability);
    free(drawing->written);
    free(drawing->written_log_probability);
    answer_free(&drawing->answer);
}

bool list_sampler_create(struct list_sampler **sampler, struct transformer *model,
                         const struct list_sampler_settings *settings, const struct csr *train,
                         struct error *error)
{
    struct list_sampler *made = calloc(1, sizeof *made);
    *sampler = NULL;
    if (!made)
        return error_memory(error, "the sampler", sizeof *made, NULL);
    made->model = model;
    made->settings = *settings;
    const struct transformer_settings *shape = transformer_settings_of(model);
    made->classes = shape->classes > 0 ? shape->classes : shape->vocabulary;
    const int64_t needed = settings->items_maximum * settings->writer->length_maximum + 1;
    if (settings->tokens_maximum == 0 || (settings->constrained && settings->tokens_maximum > needed))
        made->settings.tokens_maximum = needed;
    const struct context_settings contexts = {.prompt = settings->prompt,
                                              .seed = settings->sampling.seed,
                                              .batch = settings->batch,
                                              .least = 1,
                                              .cache_bytes = settings->cache_bytes,
                                              .tokens_after = made->settings.tokens_maximum};
    bool done = context_cache_create(&made->contexts, model, &contexts, train, error);
    made->rows = done ? made->contexts.rows : 0;
    done = done && allocate_rows(made, error) &&
           (settings->constrained ? candidates_create(&made->candidates, transformer_backend(model),
                                                      made->rows, settings->writer->allowed_maximum, error)
                                  : allocate_free(made, error));
    if (!done) {
        list_sampler_free(made);
        return false;
    }
    *sampler = made;
    return true;
}

void list_sampler_free(struct list_sampler *sampler)
{
    if (!sampler)
        return;
    for (int64_t row = 0; sampler->row && row < sampler->rows; row++)
        written_list_free(&sampler->row[row].list);
    candidates_free(&sampler->candidates);
    free_free(&sampler->free_drawing);
    context_cache_free(&sampler->contexts);
    free(sampler->row);
    free(sampler->drawn);
    free(sampler->free_slot);
    free(sampler->slot);
    free(sampler->token);
    free(sampler->position);
    free(sampler->scratch);
    free(sampler);
}

void list_sampler_print_memory(const struct list_sampler *sampler, FILE *stream)
{
    cache_print_memory(sampler->contexts.cache, stream);
}

int64_t list_sampler_tokens(const struct list_sampler *sampler)
{
    return sampler->tokens;
}

/* ---- beginning and ending lists ------------------------------------------------------------------------ */

static void next_job(const struct list_sampler *sampler, struct list_jobs *jobs)
{
    if (list_order_next(&jobs->at, sampler->settings.samples, sampler->settings.contexts))
        jobs->shared_slot = -1;
}

/* Puts the context of the current job into `slot`, all but its last token. */
static void read_context(struct list_sampler *sampler, struct list_jobs *jobs, int32_t slot)
{
    const int64_t tokens = sampler->contexts.tokens;
    if (jobs->shared_slot >= 0) {
        cache_share(sampler->contexts.cache, slot, jobs->shared_slot, 0, jobs->position);
        return;
    }
    jobs->position =
        context_cache_read(&sampler->contexts, slot, jobs->order[jobs->at.user], jobs->at.context);
    jobs->token = sampler->contexts.prompt[jobs->position];
    jobs->shared_slot = slot;
    if (jobs->at.sample == jobs->at.context)
        sampler->tokens += sampler->contexts.tokens - tokens;
}

static bool begin_list(struct list_sampler *sampler, struct list_jobs *jobs, struct error *error)
{
    struct list_row *const row = &sampler->row[sampler->count++];
    const int32_t slot = sampler->free_slot[sampler->rows - sampler->count];
    const int64_t user = jobs->order[jobs->at.user];
    int64_t count;
    const int32_t *items = context_items(sampler->contexts.train, user, &count);
    read_context(sampler, jobs, slot);
    row->user = user;
    row->sample = (int32_t)jobs->at.sample;
    row->slot = slot;
    row->token = jobs->token;
    row->position = (int32_t)jobs->position;
    row->drawn = 0;
    row->log_probability = 0.0;
    row->place = 0;
    return written_list_begin(&row->list, sampler->settings.writer, is_joined(sampler, count), items, count,
                              error);
}

static bool fill_rows(struct list_sampler *sampler, struct list_jobs *jobs, struct error *error)
{
    jobs->shared_slot = -1;
    for (; sampler->count < sampler->rows && jobs->at.user < jobs->count; next_job(sampler, jobs))
        if (!begin_list(sampler, jobs, error))
            return false;
    return true;
}

/* The last row takes the place of `row`. */
static void end_list(struct list_sampler *sampler, int64_t row)
{
    const int64_t last = sampler->count - 1, most = sampler->settings.tokens_maximum;
    struct free_drawing *const drawing = &sampler->free_drawing;
    const struct list_row ended = sampler->row[row];
    sampler->free_slot[sampler->rows - sampler->count] = ended.slot;
    sampler->count--;
    if (row == last)
        return;
    sampler->row[row] = sampler->row[last];
    sampler->row[last] = ended; /* its memory is used again */
    if (!sampler->settings.constrained) {
        memcpy(drawing->written + row * most, drawing->written + last * most, (size_t)most * sizeof(int32_t));
        memcpy(drawing->written_log_probability + row * most, drawing->written_log_probability + last * most,
               (size_t)most * sizeof(float));
    }
}

/* ---- constrained --------------------------------------------------------------------------------------- */

static double log_sum(const real *logit, int64_t begin, int64_t end)
{
    double largest = -INFINITY, sum = 0.0;
    for (int64_t i = begin; i < end; i++)
        largest = fmax(largest, (double)logit[i]);
    for (int64_t i = begin; i < end; i++)
        sum += exp((double)logit[i] - largest);
    return end > begin ? largest + log(sum) : -INFINITY;
}

/* While the device computes the logits. */
static void list_allowed(struct list_sampler *sampler)
{
    struct candidates *const candidates = &sampler->candidates;
    const int threads = transformer_backend(sampler->model)->threads;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < sampler->count; row++)
        candidates->count[row] =
            item_writer_allowed(sampler->settings.writer, &sampler->row[row].list,
                                candidates_tokens(candidates, row), &sampler->row[row].continuing);
}

static void draw_row(struct list_sampler *sampler, int64_t row, int64_t *scratch)
{
    const struct list_row *const active = &sampler->row[row];
    const struct candidates *const candidates = &sampler->candidates;
    const real *logit = candidates_values(candidates, row);
    const int64_t count = candidates->count[row];
    const uint64_t stream = (uint64_t)(active->user * sampler->settings.samples + active->sample);
    const int64_t place =
        count == 0 ? -1
                   : candidates_draw(logit, candidates_tokens(candidates, row), count,
                                     &sampler->settings.sampling, stream, (uint64_t)active->drawn, scratch);
    struct drawn_token *const drawn = &sampler->drawn[row];
    *drawn = (struct drawn_token){.place = count > 0 && place < 0 ? -2 : place};
    if (place < 0)
        return;
    const double all = log_sum(logit, 0, count);
    drawn->stop = active->continuing < count ? log_sum(logit, active->continuing, count) - all : 0.0;
    drawn->log_probability = (double)logit[place] - all;
}

static void draw_rows(struct list_sampler *sampler)
{
    const int threads = transformer_backend(sampler->model)->threads;
    const int64_t maximum = sampler->settings.writer->allowed_maximum;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < sampler->count; row++)
        draw_row(sampler, row, sampler->scratch + omp_get_thread_num() * maximum);
}

static bool keep_item(struct list_row *row, int32_t item, struct proposal_list *list, struct error *error)
{
    const struct proposal proposal = {.user = (int32_t)row->user,
                                      .item = item,
                                      .sample = row->sample,
                                      .position = row->place++,
                                      .log_probability = (float)row->log_probability};
    row->log_probability = 0.0;
    list->valid++;
    return proposal_list_append(list, proposal, error);
}

/* Goes on with what was drawn; *ended: the list is at its end. */
static bool take_drawn(struct list_sampler *sampler, int64_t place, bool *ended, struct proposal_list *list,
                       struct error *error)
{
    const struct list_sampler_settings *const settings = &sampler->settings;
    struct list_row *const row = &sampler->row[place];
    const struct drawn_token drawn = sampler->drawn[place];
    const int32_t pending = written_list_pending(settings->writer, &row->list);
    double log_probability = drawn.log_probability;
    struct written_step step;
    *ended = true;
    if (drawn.place < 0)
        return true;
    if (pending >= 0 && drawn.place >= row->continuing) {
        row->log_probability += drawn.stop;
        log_probability -= drawn.stop;
        if (!keep_item(row, pending, list, error))
            return false;
    }
    const int32_t token = candidates_tokens(&sampler->candidates, place)[drawn.place];
    if (row->place == settings->items_maximum)
        return true;
    if (!item_writer_take(&step, settings->writer, &row->list, token, error))
        return false;
    row->log_probability += log_probability;
    if (step.with >= 0 && !keep_item(row, step.with, list, error))
        return false;
    row->token = token;
    row->position++;
    row->drawn++;
    *ended = step.ends || row->place == settings->items_maximum || row->drawn == settings->tokens_maximum;
    list->incomplete += *ended && !step.ends && row->list.node > 0;
    return true;
}

static bool step_constrained(struct list_sampler *sampler, const struct tensor *logits,
                             struct proposal_list *list, struct error *error)
{
    list_allowed(sampler);
    if (!candidates_pick(&sampler->candidates, sampler->count, logits, error))
        return false;
    draw_rows(sampler);
    for (int64_t row = sampler->count - 1; row >= 0; row--) {
        bool ended;
        if (sampler->drawn[row].place == -2)
            return error_set(error, ERROR_RUN,
                             "the logits are not numbers; train the model again with a lower learning rate");
        if (!take_drawn(sampler, row, &ended, list, error))
            return false;
        if (ended)
            end_list(sampler, row);
    }
    return true;
}

/* ---- unconstrained ------------------------------------------------------------------------------------- */

static bool draw_freely(struct list_sampler *sampler, const struct tensor *logits, struct error *error)
{
    struct free_drawing *const drawing = &sampler->free_drawing;
    struct backend *const backend = transformer_backend(sampler->model);
    const int64_t count = sampler->count;
    const struct tensor used = tensor_rows(logits, 0, count);
    struct tensor stream = tensor_rows(&drawing->stream, 0, count);
    struct tensor step = tensor_rows(&drawing->step, 0, count);
    struct tensor token = tensor_rows(&drawing->token, 0, count);
    struct tensor log_probability = tensor_rows(&drawing->log_probability, 0, count);
    for (int64_t row = 0; row < count; row++) {
        drawing->host_stream[row] =
            sampler->row[row].user * sampler->settings.samples + sampler->row[row].sample;
        drawing->host_step[row] = (int32_t)sampler->row[row].drawn;
    }
    tensor_upload(backend, &stream, drawing->host_stream);
    tensor_upload(backend, &step, drawing->host_step);
    op_sample(backend, &token, &log_probability, &used, NULL, &stream, &step, sampler->classes,
              sampler->settings.sampling);
    tensor_download(backend, drawing->host_token, &token);
    tensor_download(backend, drawing->host_log_probability, &log_probability);
    return backend_synchronize(backend, error);
}

static bool read_answer(struct list_sampler *sampler, int64_t place, bool cut, struct proposal_list *list,
                        struct error *error)
{
    struct free_drawing *const drawing = &sampler->free_drawing;
    struct list_row *const row = &sampler->row[place];
    struct answer *const answer = &drawing->answer;
    const int64_t first = place * sampler->settings.tokens_maximum;
    if (!answer_parse(answer, sampler->settings.parser, drawing->written + first,
                      drawing->written_log_probability + first, row->drawn,
                      is_joined(sampler, csr_row_length(sampler->contexts.train, row->user)), cut,
                      sampler->settings.items_maximum, error))
        return false;
    int64_t count;
    const int32_t *had = context_items(sampler->contexts.train, row->user, &count);
    return answer_propose(answer, list, (int32_t)row->user, row->sample, had, count, error);
}

static bool step_freely(struct list_sampler *sampler, const struct tensor *logits, struct proposal_list *list,
                        struct error *error)
{
    struct free_drawing *const drawing = &sampler->free_drawing;
    const int64_t most = sampler->settings.tokens_maximum;
    if (!draw_freely(sampler, logits, error))
        return false;
    for (int64_t place = sampler->count - 1; place >= 0; place--) {
        struct list_row *const row = &sampler->row[place];
        const int32_t token = drawing->host_token[place];
        const bool ends = token == sampler->settings.writer->end;
        if (!ends) {
            drawing->written[place * most + row->drawn] = token;
            drawing->written_log_probability[place * most + row->drawn] =
                (float)drawing->host_log_probability[place];
            row->token = token;
            row->position++;
            row->drawn++;
        }
        if (!ends && row->drawn < most)
            continue;
        if (!read_answer(sampler, place, !ends, list, error))
            return false;
        end_list(sampler, place);
    }
    return true;
}

/* ---- running ------------------------------------------------------------------------------------------- */

static bool step(struct list_sampler *sampler, struct proposal_list *list, struct error *error)
{
    struct tensor logits;
    for (int64_t row = 0; row < sampler->count; row++) {
        sampler->slot[row] = sampler->row[row].slot;
        sampler->token[row] = sampler->row[row].token;
        sampler->position[row] = sampler->row[row].position;
    }
    sampler->tokens += sampler->count;
    cache_decode(sampler->contexts.cache,
                 &(struct decode_step){sampler->count, sampler->slot, sampler->token, sampler->position},
                 &logits);
    return sampler->settings.constrained ? step_constrained(sampler, &logits, list, error)
                                         : step_freely(sampler, &logits, list, error);
}

static bool run_jobs(struct list_sampler *sampler, struct list_jobs *jobs, struct proposal_list *list,
                     struct error *error)
{
    sampler->count = 0;
    for (int64_t slot = 0; slot < sampler->rows; slot++)
        sampler->free_slot[slot] = (int32_t)slot;
    for (;;) {
        if (!fill_rows(sampler, jobs, error))
            return false;
        if (sampler->count == 0)
            return true;
        if (!interrupt_check(error) || !step(sampler, list, error))
            return false;
    }
}

bool list_sampler_run(struct list_sampler *sampler, int64_t first_user, int64_t user_count,
                      struct proposal_list *list, struct error *error)
{
    int64_t *order = context_order(sampler->contexts.train, first_user, user_count, error);
    struct list_jobs jobs = {.order = order, .count = user_count, .shared_slot = -1};
    list->requested += user_count * sampler->settings.samples * sampler->settings.items_maximum;
    const bool done = order && run_jobs(sampler, &jobs, list, error);
    free(order);
    return done;
}
