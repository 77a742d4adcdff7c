#include "core/filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"
#include "core/row_groups.h"

/* The rows still there, as a byte each, and the data they are about. */
struct filtering {
    struct interactions *interactions;
    uint8_t *parts;
    uint8_t *keep; /* [count] */
    struct row_groups by_user;
};

static int64_t drop_low_ratings(struct filtering *filtering, double min_rating)
{
    const struct interactions *interactions = filtering->interactions;
    int64_t dropped = 0;
#pragma omp parallel for reduction(+ : dropped)
    for (int64_t row = 0; row < interactions->count; row++) {
        filtering->keep[row] = interactions->ratings[row] >= (float)min_rating;
        dropped += !filtering->keep[row];
    }
    return dropped;
}

static bool comes_before(const struct filtering *filtering, int32_t row, int32_t other)
{
    const int64_t *times = filtering->interactions->times;
    if (filtering->parts && filtering->parts[row] != filtering->parts[other])
        return filtering->parts[row] < filtering->parts[other];
    if (times && times[row] != times[other])
        return times[row] < times[other];
    return row < other;
}

/* Keeps the first row of each item of one user. kept_row[item] is a row of this user or stale. */
static void drop_user_duplicates(struct filtering *filtering, int64_t user, int32_t *kept_row,
                                 int64_t *duplicates, int64_t *overlaps)
{
    const struct interactions *interactions = filtering->interactions;
    const struct row_groups *groups = &filtering->by_user;
    for (int64_t position = groups->starts[user]; position < groups->starts[user + 1]; position++) {
        const int32_t row = groups->rows[position];
        if (!filtering->keep[row])
            continue;
        int32_t *kept = &kept_row[interactions->items[row]];
        if (*kept < 0 || interactions->users[*kept] != user) {
            *kept = row;
            continue;
        }
        const int32_t first = comes_before(filtering, row, *kept) ? row : *kept;
        const int32_t later = first == row ? *kept : row;
        filtering->keep[later] = 0;
        const bool overlap = filtering->parts && filtering->parts[first] != filtering->parts[later];
        *overlaps += overlap;
        *duplicates += !overlap;
        *kept = first;
    }
}

static bool drop_duplicates(struct filtering *filtering, struct preparation_counts *counts,
                            struct error *error)
{
    const int64_t items = filtering->interactions->item_ids.count,
                  users = filtering->interactions->user_ids.count;
    int64_t duplicates = 0, overlaps = 0;
    bool enough = true;
#pragma omp parallel reduction(+ : duplicates, overlaps)
    {
        int32_t *kept_row = malloc((size_t)(items + 1) * sizeof *kept_row);
        if (kept_row) {
            memset(kept_row, 0xff, (size_t)items * sizeof *kept_row);
        } else {
#pragma omp atomic write
            enough = false;
        }
#pragma omp for schedule(dynamic, 256)
        for (int64_t user = 0; user < users; user++)
            if (kept_row)
                drop_user_duplicates(filtering, user, kept_row, &duplicates, &overlaps);
        free(kept_row);
    }
    counts->duplicates = duplicates;
    counts->overlaps = overlaps;
    return enough || error_memory(error, "finding duplicates", (size_t)items * sizeof(int32_t), NULL);
}

/* ---- a sample of users -------------------------------------------------------------------------------- */

/* The users with a row left, in a random order. */
static int64_t shuffle_users(int32_t *order, const struct filtering *filtering, uint64_t seed)
{
    const struct row_groups *const groups = &filtering->by_user;
    int64_t count = 0;
    for (int64_t user = 0; user < filtering->interactions->user_ids.count; user++)
        for (int64_t position = groups->starts[user]; position < groups->starts[user + 1]; position++)
            if (filtering->keep[groups->rows[position]]) {
                order[count++] = (int32_t)user;
                break;
            }
    struct random_stream stream = random_stream_open(seed, RANDOM_USERS, 0, 0);
    random_shuffle(&stream, order, count);
    return count;
}

static bool drop_users_not_drawn(struct filtering *filtering, int64_t users, uint64_t seed, int64_t *dropped,
                                 struct error *error)
{
    const struct row_groups *const groups = &filtering->by_user;
    const size_t bytes = (size_t)(filtering->interactions->user_ids.count + 1) * sizeof(int32_t);
    int32_t *order = malloc(bytes);
    if (!order)
        return error_memory(error, "drawing users", bytes, NULL);
    const int64_t count = shuffle_users(order, filtering, seed);
    for (int64_t place = users; place < count; place++)
        for (int64_t position = groups->starts[order[place]]; position < groups->starts[order[place] + 1];
             position++) {
            *dropped += filtering->keep[groups->rows[position]];
            filtering->keep[groups->rows[position]] = 0;
        }
    free(order);
    return true;
}

/* ---- k-core ------------------------------------------------------------------------------------------- */

/* Users and items as one range of nodes: user u is u, item i is users + i. */
struct core {
    int64_t k, users, nodes;
    int32_t *degree; /* [nodes] */
    int32_t *queue;  /* nodes that fell below k, each once */
    int64_t queued;
};

static void count_degrees(struct core *core, const struct filtering *filtering)
{
    const struct interactions *interactions = filtering->interactions;
    for (int64_t row = 0; row < interactions->count; row++)
        if (filtering->keep[row]) {
            core->degree[interactions->users[row]]++;
            core->degree[core->users + interactions->items[row]]++;
        }
    for (int64_t node = 0; node < core->nodes; node++)
        if (core->degree[node] < core->k)
            core->queue[core->queued++] = (int32_t)node;
}

/* Drops a node's rows; their other ends lose a row each and may fall below k. */
static int64_t drop_node(struct core *core, struct filtering *filtering, const struct row_groups *groups,
                         int64_t group, bool is_user)
{
    const struct interactions *interactions = filtering->interactions;
    int64_t dropped = 0;
    for (int64_t position = groups->starts[group]; position < groups->starts[group + 1]; position++) {
        const int32_t row = groups->rows[position];
        if (!filtering->keep[row])
            continue;
        filtering->keep[row] = 0;
        dropped++;
        const int64_t other = is_user ? core->users + interactions->items[row] : interactions->users[row];
        if (core->degree[other]-- == core->k)
            core->queue[core->queued++] = (int32_t)other;
    }
    return dropped;
}

static bool drop_below_core(struct filtering *filtering, int64_t k, int64_t *dropped, struct error *error)
{
    const struct interactions *interactions = filtering->interactions;
    const int64_t users = interactions->user_ids.count, nodes = users + interactions->item_ids.count;
    if (nodes > INT32_MAX)
        return error_set(error, ERROR_RUN, "more than 2^31 users and items; lower the input");
    struct core core = {.k = k, .users = users, .nodes = nodes};
    struct row_groups by_item = {0};
    core.degree = calloc((size_t)nodes + 1, sizeof *core.degree);
    core.queue = malloc((size_t)(nodes + 1) * sizeof *core.queue);
    bool done = (core.degree && core.queue) || error_memory(error, "the k-core", (size_t)nodes * 8, NULL);
    if (done)
        count_degrees(&core, filtering);
    if (done && core.queued > 0)
        done = row_groups_build(&by_item, interactions->items, interactions->count, nodes - users, error);
    for (int64_t next = 0; done && next < core.queued; next++) {
        const int32_t node = core.queue[next];
        const bool is_user = node < users;
        *dropped += drop_node(&core, filtering, is_user ? &filtering->by_user : &by_item,
                              is_user ? node : node - users, is_user);
    }
    row_groups_free(&by_item);
    free(core.degree);
    free(core.queue);
    return done;
}

/* ---- what is left ------------------------------------------------------------------------------------- */

/* Removes the ids that no kept row uses and renumbers values. Their texts move down in place. */
static bool renumber(struct id_map *map, int32_t *values, const uint8_t *keep, int64_t count,
                     struct error *error)
{
    int32_t *numbers = calloc((size_t)map->count + 1, sizeof *numbers);
    if (!numbers)
        return error_memory(error, "renumbering ids", (size_t)map->count * sizeof *numbers, NULL);
    for (int64_t row = 0; row < count; row++)
        numbers[values[row]] |= keep[row];
    int64_t kept = 0, bytes = 0;
    for (int64_t id = 0; id < map->count; id++) {
        if (!numbers[id])
            continue;
        const int64_t start = map->offsets[id], length = map->offsets[id + 1] - start;
        memmove(map->bytes + bytes, map->bytes + start, (size_t)length);
        numbers[id] = (int32_t)kept;
        map->offsets[kept++] = bytes;
        bytes += length;
    }
    map->offsets[kept] = bytes;
    map->count = kept;
#pragma omp parallel for
    for (int64_t row = 0; row < count; row++)
        values[row] = numbers[values[row]];
    free(numbers);
    return true;
}

static void compact(struct interactions *interactions, uint8_t *parts, const uint8_t *keep)
{
    int64_t kept = 0;
    for (int64_t row = 0; row < interactions->count; row++) {
        if (!keep[row])
            continue;
        interactions->users[kept] = interactions->users[row];
        interactions->items[kept] = interactions->items[row];
        if (interactions->ratings)
            interactions->ratings[kept] = interactions->ratings[row];
        if (interactions->times)
            interactions->times[kept] = interactions->times[row];
        if (parts)
            parts[kept] = parts[row];
        kept++;
    }
    interactions->count = kept;
}

static bool complain_of_nothing_left(const struct filter_settings *settings,
                                     const struct preparation_counts *counts, struct error *error)
{
    char drawn[96] = "";
    if (settings->users > 0)
        snprintf(drawn, sizeof drawn, "%lld of users beyond data.users %lld, ", (long long)counts->not_drawn,
                 (long long)settings->users);
    return error_set(
        error, ERROR_RUN,
        "nothing is left of %lld rows: %lld below data.min_rating %g, %s%lld outside the %lld-core; "
        "lower data.min_rating or data.k_core%s",
        (long long)counts->rows_read, (long long)counts->below_rating, settings->min_rating, drawn,
        (long long)counts->below_core, (long long)settings->k_core,
        settings->users > 0 ? ", or raise data.users" : "");
}

static bool apply(struct filtering *filtering, struct filter_settings settings,
                  struct preparation_counts *counts, struct error *error)
{
    struct interactions *interactions = filtering->interactions;
    if (settings.min_rating != 0 && !interactions->ratings)
        return error_set(error, ERROR_RUN,
                         "the data has no ratings for data.min_rating %g; set it to 0, or "
                         "data.columns.rating to the column",
                         settings.min_rating);
    if (settings.min_rating != 0)
        counts->below_rating = drop_low_ratings(filtering, settings.min_rating);
    if (!drop_duplicates(filtering, counts, error))
        return false;
    if (settings.users > 0 &&
        !drop_users_not_drawn(filtering, settings.users, settings.seed, &counts->not_drawn, error))
        return false;
    if (settings.k_core > 1 && !drop_below_core(filtering, settings.k_core, &counts->below_core, error))
        return false;
    if (counts->below_rating + counts->duplicates + counts->overlaps + counts->not_drawn +
            counts->below_core ==
        counts->rows_read)
        return complain_of_nothing_left(&settings, counts, error);
    if (!renumber(&interactions->user_ids, interactions->users, filtering->keep, interactions->count,
                  error) ||
        !renumber(&interactions->item_ids, interactions->items, filtering->keep, interactions->count, error))
        return false;
    compact(interactions, filtering->parts, filtering->keep);
    return true;
}

bool interactions_filter(struct interactions *interactions, uint8_t *parts, struct filter_settings settings,
                         struct preparation_counts *counts, struct error *error)
{
    *counts = (struct preparation_counts){.rows_read = interactions->count};
    struct filtering filtering = {.interactions = interactions, .parts = parts};
    filtering.keep = malloc((size_t)interactions->count + 1);
    if (!filtering.keep)
        return error_memory(error, "filtering the interactions", (size_t)interactions->count, NULL);
    memset(filtering.keep, 1, (size_t)interactions->count);
    const bool done = row_groups_build(&filtering.by_user, interactions->users, interactions->count,
                                       interactions->user_ids.count, error) &&
                      apply(&filtering, settings, counts, error);
    row_groups_free(&filtering.by_user);
    free(filtering.keep);
    return done;
}
