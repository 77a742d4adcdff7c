#include "experiments/controls.h"

#include <stdlib.h>
#include <string.h>

#include "core/random.h"

enum control_kind { CONTROL_RANDOM = 1, CONTROL_POPULARITY, CONTROL_PERMUTED };
enum { GROUP = 32 };

/* Rows under construction: items are added to the last user until his row is full. */
struct row_builder {
    struct csr *rows;
    const struct csr *amounts, *train;
    int32_t *owner; /* [items]: user + 1 of the last row that took the item */
    int64_t user;
};

static bool builder_open(struct row_builder *builder, struct csr *rows, const struct csr *amounts,
                         const struct csr *train, struct error *error)
{
    *builder = (struct row_builder){.rows = rows, .amounts = amounts, .train = train};
    *rows = (struct csr){.rows = train->rows, .columns = train->columns};
    size_t bytes = (size_t)(csr_count(amounts) + 1) * sizeof *rows->indices;
    rows->starts = calloc((size_t)train->rows + 1, sizeof *rows->starts);
    rows->indices = malloc(bytes);
    builder->owner = calloc((size_t)train->columns, sizeof *builder->owner);
    if (rows->starts == NULL || rows->indices == NULL || builder->owner == NULL)
        return error_memory(error, "rows of a control arm", bytes, NULL);
    return true;
}

static void builder_close(struct row_builder *builder)
{
    free(builder->owner);
}

static void builder_start(struct row_builder *builder, int64_t user)
{
    builder->user = user;
    builder->rows->starts[user + 1] = builder->rows->starts[user];
}

static int64_t builder_missing(const struct row_builder *builder)
{
    int64_t unseen = builder->train->columns - csr_row_length(builder->train, builder->user);
    int64_t wanted = csr_row_length(builder->amounts, builder->user);
    return (wanted < unseen ? wanted : unseen) - csr_row_length(builder->rows, builder->user);
}

/* Takes the item unless it is seen or taken already. */
static void builder_add(struct row_builder *builder, int32_t item)
{
    int32_t mark = (int32_t)builder->user + 1;
    if (builder->owner[item] == mark || csr_contains_sorted(builder->train, builder->user, item))
        return;
    builder->owner[item] = mark;
    builder->rows->indices[builder->rows->starts[builder->user + 1]++] = item;
}

/* Draws with rejection; a user who has seen nearly everything gets the rest from a walk over the
 * catalogue. */
static void draw_items(struct row_builder *builder, struct random_stream *stream, const struct csr *weighted)
{
    int64_t items = builder->train->columns;
    for (int64_t tries = 100 * builder_missing(builder); tries > 0 && builder_missing(builder) > 0; tries--) {
        int32_t item = weighted != NULL
                           ? weighted->indices[random_below(stream, (uint32_t)csr_count(weighted))]
                           : (int32_t)random_below(stream, (uint32_t)items);
        builder_add(builder, item);
    }
    int64_t item = random_below(stream, (uint32_t)items);
    for (; builder_missing(builder) > 0; item = (item + 1) % items)
        builder_add(builder, (int32_t)item);
}

static bool control_drawn(struct csr *rows, const struct csr *amounts, const struct csr *train, uint64_t seed,
                          enum control_kind kind, struct error *error)
{
    struct row_builder builder;
    bool done = builder_open(&builder, rows, amounts, train, error);
    for (int64_t user = 0; done && user < train->rows; user++) {
        struct random_stream stream =
            random_stream_open(seed, RANDOM_CONTROL, (uint64_t)kind, (uint64_t)user);
        builder_start(&builder, user);
        draw_items(&builder, &stream, kind == CONTROL_POPULARITY ? train : NULL);
    }
    builder_close(&builder);
    return done;
}

bool control_random(struct csr *rows, const struct csr *amounts, const struct csr *train, uint64_t seed,
                    struct error *error)
{
    return control_drawn(rows, amounts, train, seed, CONTROL_RANDOM, error);
}

bool control_popularity(struct csr *rows, const struct csr *amounts, const struct csr *train, uint64_t seed,
                        struct error *error)
{
    return control_drawn(rows, amounts, train, seed, CONTROL_POPULARITY, error);
}

struct user_length {
    int64_t length;
    int32_t user;
};

static int compare_lengths(const void *left, const void *right)
{
    const struct user_length *a = left, *b = right;
    if (a->length != b->length)
        return a->length < b->length ? -1 : 1;
    return (a->user > b->user) - (a->user < b->user);
}

/* Users by length of history, shuffled within groups of similar length. */
static bool group_users(int32_t **order, const struct csr *train, uint64_t seed, struct error *error)
{
    size_t users = (size_t)train->rows;
    struct user_length *lengths = malloc(users * sizeof *lengths);
    *order = malloc(users * sizeof **order);
    if (lengths == NULL || *order == NULL) {
        free(lengths);
        return error_memory(error, "users by length of history", users * sizeof *lengths, NULL);
    }
    for (int64_t user = 0; user < train->rows; user++)
        lengths[user] = (struct user_length){csr_row_length(train, user), (int32_t)user};
    qsort(lengths, users, sizeof *lengths, compare_lengths);
    for (size_t i = 0; i < users; i++)
        (*order)[i] = lengths[i].user;
    free(lengths);
    for (int64_t first = 0; first < train->rows; first += GROUP) {
        struct random_stream stream =
            random_stream_open(seed, RANDOM_CONTROL, CONTROL_PERMUTED, (uint64_t)first);
        random_shuffle(&stream, *order + first, first + GROUP < train->rows ? GROUP : train->rows - first);
    }
    return true;
}

static void take_list(struct row_builder *builder, const struct csr *lists, int64_t user)
{
    for (int64_t i = lists->starts[user]; i < lists->starts[user + 1] && builder_missing(builder) > 0; i++)
        builder_add(builder, lists->indices[i]);
}

bool control_listed(struct csr *rows, const struct csr *amounts, const struct csr *train,
                    const struct csr *lists, struct error *error)
{
    struct row_builder builder;
    const bool done = builder_open(&builder, rows, amounts, train, error);
    for (int64_t user = 0; done && user < train->rows; user++) {
        builder_start(&builder, user);
        take_list(&builder, lists, user);
    }
    builder_close(&builder);
    return done;
}

/* Fills the row of the user at `place` from the lists of the others in his group, beginning with the next,
 * and, where these do not suffice, from the groups that follow. */
static void take_from_others(struct row_builder *builder, const struct ranked_lists *lists,
                             const int32_t *order, int64_t users, int64_t place)
{
    int64_t first = place / GROUP * GROUP, size = first + GROUP < users ? GROUP : users - first;
    for (int64_t step = 1; step < size && builder_missing(builder) > 0; step++)
        take_list(builder, &lists->items, order[first + (place - first + step) % size]);
    for (int64_t step = size; step < users && builder_missing(builder) > 0; step++)
        take_list(builder, &lists->items, order[(first + step) % users]);
}

bool control_permuted(struct csr *rows, const struct csr *amounts, const struct csr *train,
                      const struct ranked_lists *lists, uint64_t seed, struct error *error)
{
    struct row_builder builder;
    int32_t *order = NULL, *place = malloc((size_t)train->rows * sizeof *place);
    bool done = builder_open(&builder, rows, amounts, train, error);
    if (done && place == NULL)
        done = error_memory(error, "places of users", (size_t)train->rows * sizeof *place, NULL);
    done = done && group_users(&order, train, seed, error);
    for (int32_t i = 0; done && i < train->rows; i++)
        place[order[i]] = i;
    for (int64_t user = 0; done && user < train->rows; user++) {
        builder_start(&builder, user);
        take_from_others(&builder, lists, order, train->rows, place[user]);
    }
    builder_close(&builder);
    free(order);
    free(place);
    return done;
}

bool control_recommender(struct csr *rows, const struct csr *amounts, const struct csr *train,
                         struct recommender *recommender, struct backend *backend, struct error *error)
{
    const int64_t longest = csr_longest_row(amounts), most = longest > 0 ? longest : 1;
    struct row_builder builder;
    struct top_k top = {0};
    struct scorer scorer = recommender_scorer(recommender);
    int32_t *users = malloc((size_t)train->rows * sizeof *users);
    bool done = builder_open(&builder, rows, amounts, train, error);
    if (done && users == NULL)
        done = error_memory(error, "users to rank", (size_t)train->rows * sizeof *users, NULL);
    for (int32_t user = 0; done && user < train->rows; user++)
        users[user] = user;
    done = done && top_k_rank(&top, backend, &scorer, users, train->rows, most, train, error);
    for (int64_t user = 0; done && user < train->rows; user++) {
        builder_start(&builder, user);
        for (int64_t i = 0; i < most && builder_missing(&builder) > 0 && top.items[user * most + i] >= 0; i++)
            builder_add(&builder, top.items[user * most + i]);
    }
    builder_close(&builder);
    top_k_free(&top);
    free(users);
    return done;
}
