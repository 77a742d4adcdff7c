#include "models/language/token_candidates.h"

#include <math.h>
#include <stdlib.h>

#include "core/random.h"

#define ADVICE "lower generate.batch"

static void lay_out(struct candidates *candidates)
{
    const int64_t count = candidates->rows * candidates->maximum;
    candidates->device_token = arena_tensor_1d(&candidates->arena, DTYPE_I32, count);
    candidates->device_value = arena_tensor_1d(&candidates->arena, DTYPE_REAL, count);
}

bool candidates_create(struct candidates *candidates, struct backend *backend, int64_t rows, int64_t maximum,
                       struct error *error)
{
    const size_t count = (size_t)(rows * maximum);
    *candidates =
        (struct candidates){.rows = rows, .maximum = maximum, .arena = arena_measure(backend, "candidates")};
    candidates->count = calloc((size_t)rows, sizeof *candidates->count);
    candidates->token = malloc(count * sizeof *candidates->token);
    candidates->value = malloc(count * sizeof *candidates->value);
    candidates->staged = malloc(count * sizeof *candidates->staged);
    lay_out(candidates);
    const bool allocated = candidates->count && candidates->token && candidates->value && candidates->staged;
    if (allocated ? arena_reserve(&candidates->arena, 0, ADVICE, error)
                  : error_memory(error, "the tokens that may follow", 3 * count * sizeof(int32_t), ADVICE)) {
        lay_out(candidates);
        return true;
    }
    candidates_free(candidates);
    return false;
}

void candidates_free(struct candidates *candidates)
{
    arena_release(&candidates->arena);
    free(candidates->count);
    free(candidates->token);
    free(candidates->value);
    free(candidates->staged);
    *candidates = (struct candidates){.rows = 0};
}

/* The tokens of the rows in a matrix as wide as the longest of them. */
static void stage(struct candidates *candidates, int64_t rows)
{
    int64_t width = 0;
    for (int64_t row = 0; row < rows; row++)
        width = candidates->count[row] > width ? candidates->count[row] : width;
    candidates->width = width;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < width; i++)
            candidates->staged[row * width + i] =
                i < candidates->count[row] ? candidates_tokens(candidates, row)[i] : -1;
}

bool candidates_pick(struct candidates *candidates, int64_t rows, const struct tensor *scores,
                     struct error *error)
{
    struct backend *const backend = candidates->arena.backend;
    const struct tensor used = tensor_rows(scores, 0, rows);
    stage(candidates, rows);
    struct tensor token =
        tensor_2d(candidates->device_token.data, DTYPE_I32, backend->device, rows, candidates->width);
    struct tensor value =
        tensor_2d(candidates->device_value.data, DTYPE_REAL, backend->device, rows, candidates->width);
    if (candidates->width > 0) {
        tensor_upload(backend, &token, candidates->staged);
        op_pick(backend, &value, &used, &token);
        tensor_download(backend, candidates->value, &value);
    }
    return backend_synchronize(backend, error);
}

/* ---- drawing ------------------------------------------------------------------------------------------ */

struct draw {
    const real *logit;
    const int32_t *token;
    double largest, temperature;
};

static double weight_of(const struct draw *draw, int64_t place)
{
    return exp(((double)draw->logit[place] - draw->largest) / draw->temperature);
}

static int compare_places(const void *a, const void *b, void *context)
{
    const struct draw *draw = context;
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    if (draw->logit[x] != draw->logit[y])
        return draw->logit[x] > draw->logit[y] ? -1 : 1;
    return (draw->token[x] > draw->token[y]) - (draw->token[x] < draw->token[y]);
}

/* How many of the sorted places take part, and the sum of their weights. */
static int64_t keep_best(const struct draw *draw, const struct sampling *settings, const int64_t *order,
                         int64_t count, double *mass)
{
    const int64_t most = settings->top_k > 0 && settings->top_k < count ? settings->top_k : count;
    double all = 0.0;
    int64_t kept = 0;
    for (int64_t i = 0; i < most; i++)
        all += weight_of(draw, order[i]);
    *mass = 0.0;
    while (kept < most && (kept == 0 || settings->top_p >= 1.0f || *mass < (double)settings->top_p * all))
        *mass += weight_of(draw, order[kept++]);
    return kept;
}

int64_t candidates_draw(const real *logit, const int32_t *token, int64_t count,
                        const struct sampling *settings, uint64_t stream, uint64_t step, int64_t *scratch)
{
    struct draw draw = {logit, token, -INFINITY, (double)settings->temperature};
    struct random_stream random = random_stream_open(settings->seed, RANDOM_SAMPLE, step, stream);
    double mass;
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(logit[i]))
            return -1;
        draw.largest = fmax(draw.largest, (double)logit[i]);
        scratch[i] = i;
    }
    if (count > 1 && (settings->temperature <= 0.0f || settings->top_k > 0 || settings->top_p < 1.0f))
        qsort_r(scratch, (size_t)count, sizeof *scratch, compare_places, &draw);
    if (settings->temperature <= 0.0f)
        return scratch[0];
    const int64_t kept = keep_best(&draw, settings, scratch, count, &mass);
    double left = random_double(&random) * mass;
    for (int64_t i = 0; i < kept; i++)
        if ((left -= weight_of(&draw, scratch[i])) < 0.0)
            return scratch[i];
    return scratch[kept - 1];
}
