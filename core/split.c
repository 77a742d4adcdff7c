#include "core/split.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"
#include "core/row_groups.h"

struct splitting {
    const struct interactions *interactions;
    struct split_settings settings;
    const uint8_t *provided;   /* by row */
    struct row_groups by_user; /* in order of time */
    uint8_t *part;             /* by position in by_user */
};

static int64_t share(double ratio, int64_t count)
{
    return (int64_t)floor(ratio * (double)count + 1e-9);
}

/* How many of a user's `count` rows are validation and test; train keeps at least one. */
static void count_held_out(int64_t held_out[3], const double ratios[3], int64_t count)
{
    int64_t train = count;
    for (int part = PART_VALIDATION; part <= PART_TEST; part++) {
        held_out[part] = share(ratios[part], count);
        train -= held_out[part];
    }
    for (int part = PART_TEST; part >= PART_VALIDATION; part--) {
        if (train > 1 && ratios[part] > 0 && held_out[part] == 0) {
            held_out[part] = 1;
            train--;
        }
    }
    for (int part = PART_VALIDATION; part <= PART_TEST && train < 1; part++) {
        const int64_t given_back = held_out[part] < 1 - train ? held_out[part] : 1 - train;
        held_out[part] -= given_back;
        train += given_back;
    }
}

/* Marks held_out[part] random entries of part[positions[..]] for validation and test. */
static void mark_at_random(uint8_t *part, int32_t *positions, int64_t count, const int64_t held_out[3],
                           uint64_t seed, int64_t user)
{
    struct random_stream stream = random_stream_open(seed, RANDOM_SPLIT, 0, (uint64_t)user);
    random_shuffle(&stream, positions, count);
    for (int64_t index = 0; index < held_out[PART_TEST] + held_out[PART_VALIDATION]; index++)
        part[positions[index]] = index < held_out[PART_TEST] ? PART_TEST : PART_VALIDATION;
}

static void split_user_at_random(struct splitting *splitting, int64_t user, int32_t *positions)
{
    const int64_t start = splitting->by_user.starts[user],
                  count = splitting->by_user.starts[user + 1] - start;
    int64_t held_out[3];
    count_held_out(held_out, splitting->settings.ratios, count);
    for (int64_t index = 0; index < count; index++)
        positions[index] = (int32_t)index;
    memset(splitting->part + start, PART_TRAIN, (size_t)count);
    mark_at_random(splitting->part + start, positions, count, held_out, splitting->settings.seed, user);
}

static void split_user_as_provided(struct splitting *splitting, int64_t user, int32_t *positions)
{
    const int64_t start = splitting->by_user.starts[user], end = splitting->by_user.starts[user + 1];
    int64_t train = 0;
    for (int64_t position = start; position < end; position++) {
        splitting->part[position] = splitting->provided[splitting->by_user.rows[position]];
        if (splitting->part[position] == PART_TRAIN)
            positions[train++] = (int32_t)(position - start);
    }
    int64_t held_out[3] = {0};
    held_out[PART_VALIDATION] = share(splitting->settings.validation_ratio, train);
    if (held_out[PART_VALIDATION] == train && train > 0)
        held_out[PART_VALIDATION]--;
    mark_at_random(splitting->part + start, positions, train, held_out, splitting->settings.seed, user);
}

static void split_user_last_out(struct splitting *splitting, int64_t user)
{
    const int64_t start = splitting->by_user.starts[user], end = splitting->by_user.starts[user + 1];
    memset(splitting->part + start, PART_TRAIN, (size_t)(end - start));
    if (end - start >= 3) {
        splitting->part[end - 1] = PART_TEST;
        splitting->part[end - 2] = PART_VALIDATION;
    }
}

static bool split_users(struct splitting *splitting, struct error *error)
{
    const struct row_groups *groups = &splitting->by_user;
    const enum split_method method = splitting->settings.method;
    int64_t longest = 1;
    for (int64_t user = 0; user < groups->groups; user++) {
        const int64_t length = groups->starts[user + 1] - groups->starts[user];
        longest = length > longest ? length : longest;
    }
    bool enough = true;
#pragma omp parallel
    {
        int32_t *positions = malloc((size_t)longest * sizeof *positions);
        if (!positions) {
#pragma omp atomic write
            enough = false;
        }
#pragma omp for schedule(dynamic, 256)
        for (int64_t user = 0; user < groups->groups; user++) {
            if (method == SPLIT_LEAVE_ONE_OUT)
                split_user_last_out(splitting, user);
            else if (positions && method == SPLIT_RANDOM)
                split_user_at_random(splitting, user, positions);
            else if (positions)
                split_user_as_provided(splitting, user, positions);
        }
        free(positions);
    }
    return enough || error_memory(error, "splitting the data", (size_t)longest * sizeof(int32_t), NULL);
}

/* ---- temporal ----------------------------------------------------------------------------------------- */

static int64_t count_before(const struct interactions *interactions, int64_t instant)
{
    int64_t before = 0;
#pragma omp parallel for reduction(+ : before)
    for (int64_t row = 0; row < interactions->count; row++)
        before += interactions->times[row] < instant;
    return before;
}

/* The latest instant that at most `rows` rows precede: bisection over the values of time. */
static int64_t find_instant(const struct interactions *interactions, int64_t rows)
{
    int64_t low = INT64_MIN, high = INT64_MAX; /* count_before(low) <= rows */
    while (low < high) {
        const int64_t middle = (int64_t)(((uint64_t)high - (uint64_t)low) / 2 + (uint64_t)low + 1);
        if (count_before(interactions, middle) <= rows)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static bool split_by_time(struct splitting *splitting, struct error *error)
{
    const struct interactions *interactions = splitting->interactions;
    if (!interactions->times)
        return error_set(error, ERROR_RUN,
                         "data.split.method temporal needs times, which the data lacks; choose "
                         "another split or set data.columns.time");
    const double *ratios = splitting->settings.ratios;
    const int64_t first = find_instant(interactions, share(ratios[PART_TRAIN], interactions->count));
    const int64_t second =
        find_instant(interactions, share(ratios[PART_TRAIN] + ratios[PART_VALIDATION], interactions->count));
#pragma omp parallel for
    for (int64_t position = 0; position < interactions->count; position++) {
        const int64_t time = interactions->times[splitting->by_user.rows[position]];
        splitting->part[position] = time < first ? PART_TRAIN : time < second ? PART_VALIDATION : PART_TEST;
    }
    return true;
}

/* ---- the parts as matrices ---------------------------------------------------------------------------- */

static bool allocate_part(struct csr *matrix, const struct splitting *splitting, enum dataset_part part,
                          struct error *error)
{
    const struct interactions *interactions = splitting->interactions;
    const struct row_groups *groups = &splitting->by_user;
    *matrix = (struct csr){.rows = groups->groups, .columns = interactions->item_ids.count};
    matrix->starts = malloc((size_t)(groups->groups + 1) * sizeof *matrix->starts);
    if (!matrix->starts)
        return error_memory(error, "the split", (size_t)groups->groups * sizeof *matrix->starts, NULL);
    int64_t count = 0;
    for (int64_t user = 0; user < groups->groups; user++) {
        matrix->starts[user] = count;
        for (int64_t position = groups->starts[user]; position < groups->starts[user + 1]; position++)
            count += splitting->part[position] == part;
    }
    matrix->starts[groups->groups] = count;
    matrix->indices = malloc((size_t)(count + 1) * sizeof *matrix->indices);
    return matrix->indices || error_memory(error, "the split", (size_t)count * sizeof *matrix->indices, NULL);
}

/* times (or NULL) [count of the part] gets the times of its rows. */
static bool build_part(struct csr *matrix, int64_t **times, const struct splitting *splitting,
                       enum dataset_part part, struct error *error)
{
    const struct interactions *interactions = splitting->interactions;
    const struct row_groups *groups = &splitting->by_user;
    if (!allocate_part(matrix, splitting, part, error))
        return false;
    if (times) {
        *times = malloc((size_t)(csr_count(matrix) + 1) * sizeof **times);
        if (!*times)
            return error_memory(error, "the times of the split", (size_t)csr_count(matrix) * sizeof **times,
                                NULL);
    }
#pragma omp parallel for schedule(dynamic, 256)
    for (int64_t user = 0; user < groups->groups; user++) {
        int64_t next = matrix->starts[user];
        for (int64_t position = groups->starts[user]; position < groups->starts[user + 1]; position++) {
            if (splitting->part[position] != part)
                continue;
            const int32_t row = groups->rows[position];
            matrix->indices[next] = interactions->items[row];
            if (times)
                (*times)[next] = interactions->times[row];
            next++;
        }
    }
    return true;
}

static bool build(struct dataset *dataset, struct splitting *splitting, struct error *error)
{
    const struct interactions *interactions = splitting->interactions;
    if (!row_groups_build(&splitting->by_user, interactions->users, interactions->count,
                          interactions->user_ids.count, error))
        return false;
    if (interactions->times && !row_groups_sort_by_time(&splitting->by_user, interactions->times, error))
        return false;
    splitting->part = malloc((size_t)interactions->count + 1);
    if (!splitting->part)
        return error_memory(error, "the split", (size_t)interactions->count, NULL);
    const bool temporal = splitting->settings.method == SPLIT_TEMPORAL;
    return (temporal ? split_by_time : split_users)(splitting, error) &&
           build_part(&dataset->train, interactions->times ? &dataset->train_times : NULL, splitting,
                      PART_TRAIN, error) &&
           build_part(&dataset->validation, NULL, splitting, PART_VALIDATION, error) &&
           build_part(&dataset->test, NULL, splitting, PART_TEST, error);
}

bool dataset_split(struct dataset *dataset, struct interactions *interactions, const uint8_t *parts,
                   struct split_settings settings, struct error *error)
{
    *dataset = (struct dataset){0};
    struct splitting splitting = {.interactions = interactions, .settings = settings, .provided = parts};
    const bool done = build(dataset, &splitting, error);
    row_groups_free(&splitting.by_user);
    free(splitting.part);
    if (!done) {
        dataset_free(dataset);
        return false;
    }
    dataset->user_ids = interactions->user_ids;
    dataset->item_ids = interactions->item_ids;
    interactions->user_ids = interactions->item_ids = (struct id_map){0};
    return true;
}
