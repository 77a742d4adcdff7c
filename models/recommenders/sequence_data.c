#include "models/recommenders/sequence_data.h"

#include <stdlib.h>
#include <string.h>

#include "core/random.h"

static bool allocate_rows(struct csr *rows, const struct csr *like, int64_t count, struct error *error)
{
    const size_t starts = (size_t)like->rows + 1;
    *rows = (struct csr){.rows = like->rows,
                         .columns = like->columns,
                         .starts = calloc(starts, sizeof *rows->starts),
                         .indices = malloc((size_t)count * sizeof *rows->indices + 1)};
    if (rows->starts && rows->indices)
        return true;
    csr_free(rows);
    return error_memory(error, "sequences", starts * sizeof(int64_t) + (size_t)count * sizeof(int32_t), NULL);
}

/* One user's rows, on their way into one sequence. */
struct parts {
    const int32_t *history, *synthetic;
    int64_t history_count, synthetic_count;
};

typedef void place_rows(int32_t *sequence, const struct parts *parts, void *context);

static void prepend(int32_t *sequence, const struct parts *parts, void *context)
{
    (void)context;
    for (int64_t place = 0; place < parts->synthetic_count; place++)
        sequence[place] = parts->synthetic[parts->synthetic_count - 1 - place];
    memcpy(sequence + parts->synthetic_count, parts->history,
           (size_t)parts->history_count * sizeof *sequence);
}

static void append(int32_t *sequence, const struct parts *parts, void *context)
{
    (void)context;
    memcpy(sequence, parts->history, (size_t)parts->history_count * sizeof *sequence);
    memcpy(sequence + parts->history_count, parts->synthetic,
           (size_t)parts->synthetic_count * sizeof *sequence);
}

/* The gaps drawn for one user. */
struct gaps {
    struct random_stream stream;
    int64_t count;   /* gaps to draw from: 1 + the training history's items */
    int64_t *places; /* [1 + count]: synthetic items up to a gap */
    int32_t *drawn;  /* [synthetic items] */
};

static void insert(int32_t *sequence, const struct parts *parts, void *context)
{
    struct gaps *gaps = context;
    const int64_t last = parts->history_count;
    memset(gaps->places, 0, (size_t)(gaps->count + 1) * sizeof *gaps->places);
    for (int64_t item = 0; item < parts->synthetic_count; item++) {
        const int64_t gap = random_below(&gaps->stream, (uint32_t)gaps->count);
        gaps->drawn[item] = (int32_t)(gap < last ? gap : last);
        gaps->places[gaps->drawn[item] + 1]++;
    }
    for (int64_t gap = 0; gap < gaps->count; gap++)
        gaps->places[gap + 1] += gaps->places[gap];
    for (int64_t item = 0; item < last; item++)
        sequence[item + gaps->places[item + 1 < gaps->count ? item + 1 : gaps->count]] = parts->history[item];
    for (int64_t item = 0; item < parts->synthetic_count; item++) {
        const int32_t gap = gaps->drawn[item];
        sequence[gap + gaps->places[gap]++] = parts->synthetic[item];
    }
}

static void merge_rows(struct csr *sequences, const struct csr *history,
                       const struct synthetic_rows *synthetic, place_rows *place, struct gaps *gaps)
{
    for (int64_t user = 0; user < history->rows; user++) {
        const struct parts parts = {.history = history->indices + history->starts[user],
                                    .history_count = csr_row_length(history, user),
                                    .synthetic = synthetic->rows->indices + synthetic->rows->starts[user],
                                    .synthetic_count = csr_row_length(synthetic->rows, user)};
        gaps->stream = random_stream_open(synthetic->seed, RANDOM_PLACE, 0, (uint64_t)user);
        gaps->count = 1 + csr_row_length(synthetic->training_history, user);
        place(sequences->indices + sequences->starts[user], &parts, gaps);
        sequences->starts[user + 1] = sequences->starts[user] + parts.history_count + parts.synthetic_count;
    }
}

static place_rows *place_of(const char *position)
{
    if (strcmp(position, "prepended") == 0)
        return prepend;
    if (strcmp(position, "appended") == 0)
        return append;
    return strcmp(position, "inserted") == 0 ? insert : NULL;
}

bool synthetic_rows_are_targets(const struct synthetic_rows *synthetic)
{
    return synthetic->rows && strcmp(synthetic->position, "targets") == 0;
}

bool sequences_merge(struct csr *sequences, const struct csr *history, const struct synthetic_rows *synthetic,
                     struct error *error)
{
    if (!synthetic->rows || strcmp(synthetic->position, "none") == 0 || synthetic_rows_are_targets(synthetic))
        return csr_copy(sequences, history, error);
    place_rows *place = place_of(synthetic->position);
    if (!place)
        return error_set(
            error, ERROR_USAGE,
            "synthetic_position '%s' is not known; use prepended, appended, inserted, targets or none",
            synthetic->position);
    const size_t places = (size_t)csr_longest_row(synthetic->training_history) + 2,
                 drawn = (size_t)csr_longest_row(synthetic->rows);
    struct gaps gaps = {.places = malloc(places * sizeof *gaps.places),
                        .drawn = malloc(drawn * sizeof *gaps.drawn + 1)};
    bool done =
        (gaps.places && gaps.drawn) || error_memory(error, "sequences", places * sizeof *gaps.places, NULL);
    done = done && allocate_rows(sequences, history, csr_count(history) + csr_count(synthetic->rows), error);
    if (done)
        merge_rows(sequences, history, synthetic, place, &gaps);
    free(gaps.places);
    free(gaps.drawn);
    return done;
}

/* The index of a pair among rows that ascend; -1: not there. */
static int64_t index_of(const struct csr *rows, int64_t row, int32_t column)
{
    int64_t low = rows->starts[row], high = rows->starts[row + 1];
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (rows->indices[middle] < column)
            low = middle + 1;
        else
            high = middle;
    }
    return low < rows->starts[row + 1] && rows->indices[low] == column ? low : -1;
}

bool sequences_weigh(real **weights, const struct csr *sequences, const struct training_set *data,
                     struct error *error)
{
    const size_t bytes = (size_t)csr_count(sequences) * sizeof **weights;
    *weights = malloc(bytes + 1);
    if (!*weights)
        return error_memory(error, "weights of sequences", bytes, NULL);
    for (int64_t user = 0; user < sequences->rows; user++)
        for (int64_t place = sequences->starts[user]; place < sequences->starts[user + 1]; place++) {
            const int64_t index = index_of(data->positives, user, sequences->indices[place]);
            if (index < 0) {
                free(*weights);
                *weights = NULL;
                return error_set(error, ERROR_RUN,
                                 "user %lld's sequence holds item %d, which is not among the training rows",
                                 (long long)user, sequences->indices[place]);
            }
            (*weights)[place] = data->weights ? (real)data->weights[index] : (real)1.0;
        }
    return true;
}

bool rows_without(struct csr *result, const struct csr *excluded, const struct csr *positives,
                  struct error *error)
{
    if (!allocate_rows(result, excluded, csr_count(excluded), error))
        return false;
    int64_t filled = 0;
    for (int64_t row = 0; row < excluded->rows; row++) {
        for (int64_t place = excluded->starts[row]; place < excluded->starts[row + 1]; place++)
            if (!csr_contains_sorted(positives, row, excluded->indices[place]))
                result->indices[filled++] = excluded->indices[place];
        result->starts[row + 1] = filled;
    }
    return true;
}
