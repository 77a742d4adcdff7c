#include <math.h>
#include <omp.h>

#include "core/cpu/candidates.h"
#include "core/cpu/cpu.h"
#include "core/cpu/nucleus.h"
#include "core/cpu/vector_math.h"

static void mask_logits(real *target, const real *logits, const uint32_t *forbidden, int64_t classes)
{
    if (!forbidden) {
#pragma omp simd
        for (int64_t c = 0; c < classes; c++)
            target[c] = logits[c];
        return;
    }
    for (int64_t first = 0; first < classes; first += 32) {
        const uint32_t word = forbidden[first / 32];
        const int64_t count = minimum_of(32, classes - first);
#pragma omp simd
        for (int64_t c = 0; c < count; c++)
            target[first + c] = word >> c & 1 ? -INFINITY : logits[first + c];
    }
}

static real largest_of(const real *values, int64_t count)
{
    real largest = -INFINITY;
#pragma omp simd reduction(max : largest)
    for (int64_t c = 0; c < count; c++)
        largest = values[c] > largest ? values[c] : largest;
    return largest;
}

/* Sum of e^((value - largest) * inverse_temperature). */
static double sum_of_exponentials(const real *values, int64_t count, real largest, real inverse_temperature)
{
    enum { BLOCK = 256 };
    double sum = 0.0;
    for (int64_t first = 0; first < count; first += BLOCK) {
        const int64_t length = minimum_of(BLOCK, count - first);
        real partial = 0;
#pragma omp simd reduction(+ : partial)
        for (int64_t c = 0; c < length; c++)
            partial += real_exp((values[first + c] - largest) * inverse_temperature);
        sum += (double)partial;
    }
    return sum;
}

/* One row on its way to a token. */
struct draw {
    real *values; /* [classes]: logits, -infinity where forbidden */
    void *scratch;
    int64_t classes;
    real largest, inverse_temperature;
    double uniform; /* in [0, 1) */
};

static inline double weight_of(const struct draw *draw, int64_t column)
{
    return (double)real_exp((draw->values[column] - draw->largest) * draw->inverse_temperature);
}

/* Inverts the cumulative distribution over all allowed columns, in the order of columns. */
static int32_t draw_from_all(const struct draw *draw)
{
    enum { BLOCK = 256 };
    double left = draw->uniform *
                  sum_of_exponentials(draw->values, draw->classes, draw->largest, draw->inverse_temperature);
    for (int64_t first = 0; first < draw->classes; first += BLOCK) {
        const int64_t count = minimum_of(BLOCK, draw->classes - first);
        const double block =
            sum_of_exponentials(draw->values + first, count, draw->largest, draw->inverse_temperature);
        for (int64_t c = first; left < block && c < first + count; c++)
            if ((left -= weight_of(draw, c)) < 0.0)
                return (int32_t)c;
        left = left < block ? 0.0 : left - block;
    }
    int32_t last = (int32_t)draw->classes - 1; /* the sums' rounding left nothing */
    while (weight_of(draw, last) <= 0.0)
        last--;
    return last;
}

/* The best `wanted` columns, sorted, to the front of `best` [classes]; returns how many of them are
 * allowed. */
static int64_t sort_best(candidate *best, const struct draw *draw, int64_t wanted)
{
    struct selection selection = {
        .buffer = best, .capacity = minimum_of(draw->classes, 4 * wanted), .wanted = wanted};
    if (wanted < draw->classes)
        selection_scan(&selection, draw->values, draw->classes);
    for (int64_t c = 0; wanted == draw->classes && c < wanted; c++)
        best[selection.count++] = candidate_of(key_of_score(draw->values[c]), c);
    candidates_sort(best, selection.count, wanted);
    int64_t allowed = wanted;
    while (draw->values[candidate_column(best[allowed - 1])] == -INFINITY)
        allowed--;
    return allowed;
}

/* Inverts the cumulative distribution over the best top_k, cut to the share top_p of their mass. */
static int32_t draw_from_best(const struct draw *draw, int64_t top_k, double top_p)
{
    candidate *best = draw->scratch;
    const int64_t count = sort_best(best, draw, minimum_of(top_k, draw->classes));
    int64_t kept = 0;
    double all = 0.0, mass = 0.0;
    for (int64_t i = 0; i < count; i++)
        all += weight_of(draw, candidate_column(best[i]));
    while (kept < count && (kept == 0 || mass < top_p * all))
        mass += weight_of(draw, candidate_column(best[kept++]));
    double left = draw->uniform * mass;
    for (int64_t i = 0; i < kept; i++)
        if ((left -= weight_of(draw, candidate_column(best[i]))) < 0.0)
            return candidate_column(best[i]);
    return candidate_column(best[kept - 1]);
}

static int32_t draw_token(const struct draw *draw, const struct sampling *settings)
{
    if (settings->temperature <= 0.0f) {
        int32_t best = 0;
        while (draw->values[best] != draw->largest)
            best++;
        return best;
    }
    if (settings->top_k == 0 && settings->top_p >= 1.0f)
        return draw_from_all(draw);
    if (settings->top_k == 0)
        return nucleus_draw(draw->scratch, draw->values, draw->classes, draw->largest,
                            draw->inverse_temperature, (double)settings->top_p, draw->uniform);
    return draw_from_best(draw, settings->top_k, (double)settings->top_p);
}

static bool are_forbidden(const real *values, int64_t count)
{
    for (int64_t c = 0; c < count; c++)
        if (values[c] != -INFINITY)
            return false;
    return true;
}

/* Draws the row's token, -1 when all are forbidden. False when the logits are not numbers. */
static bool sample_row(const struct draw *draw, const struct sampling *settings, int32_t *token,
                       real *log_probability)
{
    *token = -1;
    *log_probability = -INFINITY;
    if (draw->largest == -INFINITY)
        return are_forbidden(draw->values, draw->classes);
    const double sum = sum_of_exponentials(draw->values, draw->classes, draw->largest, 1);
    if (isnan(sum))
        return false;
    *token = draw_token(draw, settings);
    *log_probability = (real)((double)(draw->values[*token] - draw->largest) - log(sum));
    return true;
}

void cpu_sample(struct backend *backend, struct tensor *tokens, struct tensor *log_probability,
                const struct tensor *logits, const struct tensor *forbidden, const struct tensor *streams,
                const struct tensor *steps, int64_t classes_used, struct sampling settings)
{
    const int64_t rows = logits->shape[0], classes = logits->shape[1];
    const int64_t words = forbidden ? forbidden->shape[1] : 0, *stream = streams->data;
    const size_t scratch = (size_t)round_up((int64_t)nucleus_bytes(classes_used), 64);
    const size_t stride = scratch + (size_t)round_up(classes_used * (int64_t)sizeof(real), 64);
    char *memory = cpu_workspace(backend, (size_t)backend->threads * stride);
    if (!memory)
        return;
    bool numbers = true;
#pragma omp parallel for schedule(dynamic, 1) num_threads(backend->threads) reduction(&& : numbers)
    for (int64_t row = 0; row < rows; row++) {
        if (stream[row] < 0)
            continue;
        char *own = memory + (size_t)omp_get_thread_num() * stride;
        struct draw draw = {.scratch = own, .values = (real *)(own + scratch), .classes = classes_used};
        mask_logits(draw.values, (const real *)logits->data + row * classes,
                    forbidden ? (const uint32_t *)forbidden->data + row * words : NULL, classes_used);
        draw.largest = largest_of(draw.values, classes_used);
        struct random_stream random =
            random_stream_open(settings.seed, RANDOM_SAMPLE, (uint64_t)((const int32_t *)steps->data)[row],
                               (uint64_t)stream[row]);
        draw.uniform = random_double(&random);
        draw.inverse_temperature = settings.temperature > 0.0f ? 1 / (real)settings.temperature : 1;
        numbers = sample_row(&draw, &settings, (int32_t *)tokens->data + row,
                             (real *)log_probability->data + row) &&
                  numbers;
    }
    if (!numbers)
        error_set(&backend->error, ERROR_RUN,
                  "op_sample: the logits are not numbers; train the model again with a lower learning rate");
}

void cpu_log_softmax_masked(struct backend *backend, struct tensor *logits, const struct tensor *forbidden,
                            int64_t classes_used)
{
    const int64_t rows = logits->shape[0], classes = logits->shape[1];
    const int64_t words = forbidden ? forbidden->shape[1] : 0;
#pragma omp parallel for schedule(dynamic, 4) num_threads(backend->threads)
    for (int64_t row = 0; row < rows; row++) {
        real *values = (real *)logits->data + row * classes;
        mask_logits(values, values, forbidden ? (const uint32_t *)forbidden->data + row * words : NULL,
                    classes_used);
        const real largest = largest_of(values, classes_used);
        if (largest > -INFINITY) {
            const real log_sum = largest + (real)log(sum_of_exponentials(values, classes_used, largest, 1));
            for (int64_t c = 0; c < classes_used; c++)
                values[c] -= log_sum;
        }
        for (int64_t c = classes_used; c < classes; c++)
            values[c] = -INFINITY;
    }
}
