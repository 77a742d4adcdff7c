#include "models/language/sampler_state.h"

/* What is decoded between two looks of the host, on a device that records steps; one that does not is looked at after
 * each. A list whose end cannot be foreseen may end early and keep its row idle until then. */
enum { STEPS_MAXIMUM = 32, STEPS_WITH_ENDS = 4 };

/* As often as a list can go on without the host. */
int64_t sampler_steps_maximum(const struct backend *backend, const struct sampler_settings *settings)
{
    const int64_t most = settings->end_trained ? STEPS_WITH_ENDS : STEPS_MAXIMUM;
    if (!backend_graph_supported(backend))
        return 1;
    return settings->items_maximum < most ? settings->items_maximum : most;
}

void sampler_lay_out_rows(struct sampler *sampler)
{
    struct arena *const arena = &sampler->arena;
    const int64_t rows = sampler->rows;
    sampler->device = (struct device_rows){
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
        sampler->device.forbidden = arena_tensor_2d(arena, DTYPE_U32, rows, sampler->words);
}

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
bool sampler_run_steps(struct sampler *sampler, struct error *error)
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
