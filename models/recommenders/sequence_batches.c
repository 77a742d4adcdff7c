#include "models/recommenders/sequence_batches.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/backend.h"
#include "core/comm.h"
#include "models/recommenders/recommender.h"

static struct tensor *list_of(struct sequence_epoch *epoch, int list)
{
    struct tensor *const lists[EPOCH_LISTS] = {
        [EPOCH_TOKENS] = &epoch->tokens,      [EPOCH_POSITIONS] = &epoch->positions,
        [EPOCH_STARTS] = &epoch->starts,      [EPOCH_ROWS] = &epoch->rows,
        [EPOCH_TARGETS] = &epoch->targets,    [EPOCH_USERS] = &epoch->users,
        [EPOCH_BEGIN] = &epoch->begin,        [EPOCH_LAST] = &epoch->last,
        [EPOCH_CONTRASTS] = &epoch->contrasts};
    return lists[list];
}

static int64_t length_of(const struct sequence_epoch *epoch, const struct sequence_counts *counts, int list)
{
    switch (list) {
    case EPOCH_TOKENS:
    case EPOCH_POSITIONS:
        return counts->tokens;
    case EPOCH_STARTS:
        return counts->sequences + counts->batches;
    case EPOCH_BEGIN:
    case EPOCH_LAST:
        return epoch->excluded ? counts->predictions : 0;
    case EPOCH_CONTRASTS:
        return counts->contrasts;
    default:
        return counts->predictions;
    }
}

static void lay_out(struct sequence_epoch *epoch)
{
    const struct sequence_counts *capacity = &epoch->capacity;
    for (int list = 0; list < EPOCH_LISTS; list++)
        *list_of(epoch, list) = arena_tensor_1d(&epoch->arena, DTYPE_I32, length_of(epoch, capacity, list));
    epoch->weights = arena_tensor_1d(&epoch->arena, DTYPE_REAL, capacity->predictions);
    epoch->losses = arena_tensor_1d(&epoch->arena, DTYPE_REAL, capacity->predictions);
    epoch->contrast_losses = arena_tensor_1d(&epoch->arena, DTYPE_REAL, capacity->contrasts);
}

static bool allocate_host(struct sequence_epoch *epoch, struct error *error)
{
    const struct sequence_counts *capacity = &epoch->capacity;
    const int64_t most_losses =
        capacity->predictions > capacity->contrasts ? capacity->predictions : capacity->contrasts;
    const size_t before = ((size_t)capacity->batches + 1) * sizeof *epoch->before;
    epoch->before = malloc(before);
    epoch->ahead = calloc((size_t)capacity->batches + 1, sizeof *epoch->ahead);
    epoch->host_weights = malloc((size_t)capacity->predictions * sizeof(real));
    epoch->host_losses = malloc((size_t)most_losses * sizeof(real));
    bool done = epoch->before && epoch->ahead && epoch->host_weights && epoch->host_losses;
    for (int list = 0; list < EPOCH_LISTS; list++) {
        epoch->host[list] = malloc((size_t)length_of(epoch, capacity, list) * sizeof(int32_t) + 1);
        done = done && epoch->host[list];
    }
    return done || error_memory(error, "an epoch of sequences", 32 * (size_t)capacity->tokens + before,
                                "lower recommenders.length");
}

bool sequence_epoch_open(struct sequence_epoch *epoch, struct backend *backend,
                         struct sequence_counts capacity, int64_t length, const struct csr *excluded,
                         struct error *error)
{
    *epoch = (struct sequence_epoch){.backend = backend,
                                     .ranks = fit_ranks(backend),
                                     .capacity = capacity,
                                     .length = length,
                                     .excluded = excluded,
                                     .arena = arena_measure(backend, "an epoch of sequences")};
    lay_out(epoch);
    if (!allocate_host(epoch, error) || !arena_reserve(&epoch->arena, 0, "lower recommenders.length", error))
        return false;
    lay_out(epoch);
    return true;
}

void sequence_epoch_close(struct sequence_epoch *epoch)
{
    for (int list = 0; list < EPOCH_LISTS; list++)
        free(epoch->host[list]);
    free(epoch->before);
    free(epoch->ahead);
    free(epoch->host_weights);
    free(epoch->host_losses);
    if (epoch->backend)
        arena_release(&epoch->arena);
    *epoch = (struct sequence_epoch){0};
}

/* ---- writing ------------------------------------------------------------------------------------------ */

void epoch_begin(struct sequence_epoch *epoch)
{
    epoch->written = (struct sequence_counts){0};
    epoch->before[0] = epoch->written;
    epoch->predictions_of_all = 0;
    epoch->host[EPOCH_STARTS][0] = 0;
}

int64_t epoch_next_row(const struct sequence_epoch *epoch)
{
    return epoch->written.tokens - epoch->before[epoch->written.batches].tokens;
}

int64_t epoch_sequence(struct sequence_epoch *epoch, const int32_t *entries, int64_t count)
{
    struct sequence_counts *written = &epoch->written;
    const int64_t row = epoch_next_row(epoch);
    memcpy(epoch->host[EPOCH_TOKENS] + written->tokens, entries, (size_t)count * sizeof *entries);
    for (int64_t place = 0; place < count; place++)
        epoch->host[EPOCH_POSITIONS][written->tokens + place] = (int32_t)(epoch->length - count + place);
    written->tokens += count;
    written->sequences++;
    epoch->host[EPOCH_STARTS][written->sequences + written->batches] = (int32_t)(row + count);
    return row;
}

void epoch_prediction(struct sequence_epoch *epoch, int64_t row, int32_t target, int32_t user, real weight)
{
    const int64_t place = epoch->written.predictions++;
    epoch->host[EPOCH_ROWS][place] = (int32_t)row;
    epoch->host[EPOCH_TARGETS][place] = target;
    epoch->host[EPOCH_USERS][place] = user;
    epoch->host_weights[place] = weight;
    if (epoch->excluded) {
        epoch->host[EPOCH_BEGIN][place] = (int32_t)epoch->excluded->starts[user];
        epoch->host[EPOCH_LAST][place] = (int32_t)(epoch->excluded->starts[user + 1] - 1);
    }
}

void epoch_contrast(struct sequence_epoch *epoch, int64_t first, int64_t second)
{
    int32_t *pair = epoch->host[EPOCH_CONTRASTS] + epoch->written.contrasts;
    pair[0] = (int32_t)first;
    pair[1] = (int32_t)second;
    epoch->written.contrasts += 2;
}

/* The first sequence of the batch with so many tokens or more ahead of it. */
static int64_t sequence_at(const int32_t *starts, int64_t tokens)
{
    int64_t sequence = 0;
    while (starts[sequence] < tokens)
        sequence++;
    return sequence;
}

/* The first prediction of the batch, at or behind `place`, of a token from `token` on: they follow the tokens' order. */
static int64_t prediction_at(const struct sequence_epoch *epoch, int64_t place, int32_t token)
{
    while (place < epoch->written.predictions && epoch->host[EPOCH_ROWS][place] < token)
        place++;
    return place;
}

/* Moves a part of a list to where the batch begins. */
static void move_list(struct sequence_epoch *epoch, int list, int64_t to, int64_t from, int64_t count)
{
    if (length_of(epoch, &epoch->capacity, list) > 0)
        memmove(epoch->host[list] + to, epoch->host[list] + from, (size_t)count * sizeof(int32_t));
}

static void move_predictions(struct sequence_epoch *epoch, int64_t to, int64_t from, int64_t count,
                             int32_t first_token)
{
    static const int lists[] = {EPOCH_ROWS, EPOCH_TARGETS, EPOCH_USERS, EPOCH_BEGIN, EPOCH_LAST};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        move_list(epoch, lists[i], to, from, count);
    memmove(epoch->host_weights + to, epoch->host_weights + from, (size_t)count * sizeof(real));
    for (int64_t place = to; place < to + count; place++)
        epoch->host[EPOCH_ROWS][place] -= first_token;
}

/* Of the batch that is being written. */
static void keep_own_part(struct sequence_epoch *epoch)
{
    struct sequence_counts *const written = &epoch->written;
    const struct sequence_counts from = epoch->before[written->batches];
    int32_t *const starts = epoch->host[EPOCH_STARTS] + from.sequences + written->batches;
    const int64_t tokens = written->tokens - from.tokens;
    const int rank = epoch->ranks->rank;
    const int64_t begin = sequence_at(starts, comm_part(epoch->ranks, tokens, rank));
    const int64_t end = sequence_at(starts, comm_part(epoch->ranks, tokens, rank + 1));
    const int32_t first = starts[begin], last = starts[end];
    const int64_t prediction = prediction_at(epoch, from.predictions, first);
    const int64_t predictions = prediction_at(epoch, prediction, last) - prediction;
    move_list(epoch, EPOCH_TOKENS, from.tokens, from.tokens + first, last - first);
    move_list(epoch, EPOCH_POSITIONS, from.tokens, from.tokens + first, last - first);
    move_predictions(epoch, from.predictions, prediction, predictions, first);
    for (int64_t sequence = begin; sequence <= end; sequence++)
        starts[sequence - begin] = starts[sequence] - first;
    epoch->ahead[written->batches] =
        (struct sequence_counts){.tokens = first, .predictions = prediction - from.predictions};
    *written = (struct sequence_counts){.batches = written->batches,
                                        .tokens = from.tokens + last - first,
                                        .sequences = from.sequences + end - begin,
                                        .predictions = from.predictions + predictions};
}

void epoch_end_batch(struct sequence_epoch *epoch)
{
    struct sequence_counts *written = &epoch->written;
    const int64_t first = epoch->before[written->batches].predictions;
    const real share = (real)1.0 / (real)(written->predictions - first);
    for (int64_t place = first; place < written->predictions; place++)
        epoch->host_weights[place] *= share;
    epoch->predictions_of_all += written->predictions - first;
    if (epoch->ranks)
        keep_own_part(epoch);
    written->batches++;
    epoch->before[written->batches] = *written;
    if (written->batches < epoch->capacity.batches)
        epoch->host[EPOCH_STARTS][written->sequences + written->batches] = 0;
}

void epoch_upload(struct sequence_epoch *epoch)
{
    for (int list = 0; list < EPOCH_LISTS; list++) {
        struct tensor part = tensor_rows(list_of(epoch, list), 0, length_of(epoch, &epoch->written, list));
        if (tensor_count(&part) > 0)
            tensor_upload(epoch->backend, &part, epoch->host[list]);
    }
    struct tensor weights = tensor_rows(&epoch->weights, 0, epoch->written.predictions);
    tensor_upload(epoch->backend, &weights, epoch->host_weights);
}

/* ---- reading ------------------------------------------------------------------------------------------ */

struct sequence_batch epoch_batch(const struct sequence_epoch *epoch, int64_t number)
{
    const struct sequence_counts *from = &epoch->before[number], *to = from + 1;
    const int64_t token = from->tokens, tokens = to->tokens - token;
    const int64_t first = from->predictions, predictions = to->predictions - first;
    const int64_t contrast = from->contrasts, contrasts = to->contrasts - contrast;
    struct sequence_batch batch = {
        .first_token = epoch->ahead[number].tokens,
        .first_prediction = epoch->ahead[number].predictions,
        .tokens = tensor_rows(&epoch->tokens, token, tokens),
        .positions = tensor_rows(&epoch->positions, token, tokens),
        .starts = tensor_rows(&epoch->starts, from->sequences + number, to->sequences - from->sequences + 1),
        .rows = tensor_rows(&epoch->rows, first, predictions),
        .targets = tensor_rows(&epoch->targets, first, predictions),
        .users = tensor_rows(&epoch->users, first, predictions),
        .weights = tensor_rows(&epoch->weights, first, predictions),
        .losses = tensor_rows(&epoch->losses, first, predictions),
        .contrasts = tensor_rows(&epoch->contrasts, contrast, contrasts),
        .contrast_losses = tensor_rows(&epoch->contrast_losses, contrast, contrasts),
    };
    if (epoch->excluded) {
        batch.begin = tensor_rows(&epoch->begin, first, predictions);
        batch.last = tensor_rows(&epoch->last, first, predictions);
    }
    return batch;
}

/* The batch of place `place` in a list of which so many members lie before each batch. */
static int64_t batch_of(const struct sequence_epoch *epoch, int64_t place, bool contrast)
{
    int64_t batch = 0;
    while (place >= (contrast ? epoch->before[batch + 1].contrasts : epoch->before[batch + 1].predictions))
        batch++;
    return batch;
}

/* Of `count` losses their sum, divided by `all`. */
static bool mean_of(struct sequence_epoch *epoch, const struct tensor *losses, int64_t count, int64_t all,
                    bool contrast, double *mean, int64_t *bad, struct error *error)
{
    const struct tensor written = tensor_rows(losses, 0, count);
    *mean = 0.0;
    if (count == 0)
        return true;
    tensor_download(epoch->backend, epoch->host_losses, &written);
    if (!backend_synchronize(epoch->backend, error))
        return false;
    for (int64_t place = 0; place < count; place++) {
        if (!isfinite(epoch->host_losses[place])) {
            const int64_t batch = batch_of(epoch, place, contrast);
            *bad = *bad < 0 || batch < *bad ? batch : *bad;
            break;
        }
        *mean += (double)epoch->host_losses[place] / (double)all;
    }
    return true;
}

/* The sum of what the ranks have, and the first bad batch of any of them. */
static bool bring_together(struct sequence_epoch *epoch, double *mean, int64_t *bad, struct error *error)
{
    const int64_t batches = epoch->written.batches;
    int64_t behind = *bad < 0 ? 0 : batches - *bad; /* the largest is of the first batch */
    struct tensor x = tensor_1d(&behind, DTYPE_I64, DEVICE_CPU, 1);
    if (!epoch->ranks)
        return true;
    const bool done = comm_sum_numbers(epoch->ranks, mean, 1, error) &&
                      comm_all_reduce(epoch->ranks, &x, COMM_MAXIMUM, error);
    *bad = behind == 0 ? -1 : batches - behind;
    return done;
}

bool epoch_mean_loss(struct sequence_epoch *epoch, double contrast_weight, double *loss, int64_t *bad,
                     struct error *error)
{
    double predictions, contrasts;
    *bad = -1;
    const struct sequence_counts *const own = &epoch->written;
    if (!mean_of(epoch, &epoch->losses, own->predictions, epoch->predictions_of_all, false, &predictions, bad,
                 error) ||
        !mean_of(epoch, &epoch->contrast_losses, own->contrasts, own->contrasts, true, &contrasts, bad,
                 error) ||
        !bring_together(epoch, &predictions, bad, error))
        return false;
    *loss = predictions + contrast_weight * contrasts;
    return true;
}
