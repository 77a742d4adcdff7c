#include "experiments/synthesize.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/interactions.h"
#include "core/random.h"
#include "core/store.h"

struct synthesize_settings synthesize_defaults(void)
{
    return (struct synthesize_settings){.users = 1000,
                                        .items = 600,
                                        .interactions_per_user = 30,
                                        .factors = 8,
                                        .blocks = 10,
                                        .noise = 0.1,
                                        .popularity_skew = 0.5,
                                        .preferred_share = 0.1,
                                        .seed = 1};
}

static bool check_settings(const struct synthesize_settings *settings, struct error *error)
{
    const struct {
        const char *name;
        double value, minimum, maximum;
    } ranges[] = {
        {"users", (double)settings->users, 1, 1e8},
        {"items", (double)settings->items, 10, 1e7},
        {"interactions per user", settings->interactions_per_user, 1, (double)settings->items / 2},
        {"factors", (double)settings->factors, 1, 4096},
        {"blocks", (double)settings->blocks, 1, 1e6},
        {"noise", settings->noise, 0, 1},
        {"popularity skew", settings->popularity_skew, 0, 10},
        {"preferred share", settings->preferred_share, 1e-6, 1},
    };
    for (size_t index = 0; index < sizeof ranges / sizeof *ranges; index++)
        if (!(ranges[index].value >= ranges[index].minimum && ranges[index].value <= ranges[index].maximum))
            return error_set(error, ERROR_USAGE, "synthesize: %s is %g; choose from %g to %g",
                             ranges[index].name, ranges[index].value, ranges[index].minimum,
                             ranges[index].maximum);
    return true;
}

/* The planted model and what was drawn from it. */
struct plant {
    struct synthesize_settings settings;
    double *centres;      /* [blocks, factors] */
    double *item_vectors; /* [items, factors] */
    double *popularity;   /* [items] */
    int64_t *starts;      /* [users + 1]: the rows of each user */
    int32_t *drawn;       /* [starts[users]], in the order drawn */
    int64_t preferred_count;
    int32_t *preferred; /* [users, preferred_count], ascending */
};

/* Independent streams of one seed; the index within is a block, an item or a user. */
enum synthesize_stream {
    STREAM_CENTRES,
    STREAM_ITEMS,
    STREAM_USERS,
    STREAM_LENGTHS,
    STREAM_DRAWS,
    STREAM_RANKS
};

static struct random_stream stream_open(const struct plant *plant, enum synthesize_stream step, int64_t index)
{
    return random_stream_open(plant->settings.seed, RANDOM_SYNTHESIZE, step, (uint64_t)index);
}

/* The centre of a random block plus half as much of its own. */
static void draw_vector(double *vector, const struct plant *plant, enum synthesize_stream step, int64_t index)
{
    const int64_t factors = plant->settings.factors;
    struct random_stream stream = stream_open(plant, step, index);
    const int64_t block = random_below(&stream, (uint32_t)plant->settings.blocks);
    for (int64_t factor = 0; factor < factors; factor++)
        vector[factor] = plant->centres[block * factors + factor] + 0.5 * random_normal(&stream);
}

static bool draw_popularity(struct plant *plant)
{
    const int64_t items = plant->settings.items;
    int32_t *order = malloc((size_t)items * sizeof *order);
    if (!order)
        return false;
    for (int64_t item = 0; item < items; item++)
        order[item] = (int32_t)item;
    struct random_stream stream = stream_open(plant, STREAM_RANKS, 0);
    random_shuffle(&stream, order, items);
    for (int64_t rank = 0; rank < items; rank++)
        plant->popularity[order[rank]] = pow((double)rank + 1.0, -plant->settings.popularity_skew);
    free(order);
    return true;
}

static int64_t draw_length(const struct plant *plant, int64_t user)
{
    const double spread = 0.5;
    struct random_stream stream = stream_open(plant, STREAM_LENGTHS, user);
    const double length =
        plant->settings.interactions_per_user * exp(spread * random_normal(&stream) - spread * spread / 2);
    const int64_t most = plant->settings.items / 2, rounded = llround(fmin(length, (double)most));
    return rounded < 5 ? 5 : rounded;
}

static bool plant_model(struct plant *plant, struct error *error)
{
    const struct synthesize_settings *settings = &plant->settings;
    const size_t factors = (size_t)settings->factors, items = (size_t)settings->items;
    plant->centres = malloc((size_t)settings->blocks * factors * sizeof *plant->centres);
    plant->item_vectors = malloc(items * factors * sizeof *plant->item_vectors);
    plant->popularity = malloc(items * sizeof *plant->popularity);
    plant->starts = calloc((size_t)settings->users + 1, sizeof *plant->starts);
    plant->preferred_count = llround(ceil(settings->preferred_share * (double)settings->items));
    plant->preferred = malloc((size_t)(settings->users * plant->preferred_count) * sizeof *plant->preferred);
    if (!plant->centres || !plant->item_vectors || !plant->popularity || !plant->starts ||
        !plant->preferred || !draw_popularity(plant))
        return error_memory(error, "the planted model",
                            (size_t)(settings->users * plant->preferred_count) * 4,
                            "lower the number of users or items");
    for (int64_t block = 0; block < settings->blocks; block++) {
        struct random_stream stream = stream_open(plant, STREAM_CENTRES, block);
        for (int64_t factor = 0; factor < settings->factors; factor++)
            plant->centres[block * settings->factors + factor] = random_normal(&stream);
    }
    for (int64_t item = 0; item < settings->items; item++)
        draw_vector(plant->item_vectors + item * settings->factors, plant, STREAM_ITEMS, item);
    for (int64_t user = 0; user < settings->users; user++)
        plant->starts[user + 1] = plant->starts[user] + draw_length(plant, user);
    plant->drawn = malloc((size_t)plant->starts[settings->users] * sizeof *plant->drawn);
    return plant->drawn || error_memory(error, "the interactions",
                                        (size_t)plant->starts[settings->users] * sizeof *plant->drawn, NULL);
}

struct scored_item {
    double score;
    int32_t item;
};

static int compare_scores(const void *a, const void *b)
{
    const struct scored_item *left = a, *right = b;
    if (left->score != right->score)
        return left->score < right->score ? -1 : 1;
    return (left->item > right->item) - (left->item < right->item);
}

static int compare_items(const void *a, const void *b)
{
    const int32_t left = *(const int32_t *)a, right = *(const int32_t *)b;
    return (left > right) - (left < right);
}

/* Scratch of one thread. */
struct desk {
    double *vector;             /* [factors] */
    double *affinity;           /* [items] */
    struct scored_item *scored; /* [items] */
};

static void compute_affinity(const struct plant *plant, struct desk *desk, int64_t user)
{
    const int64_t factors = plant->settings.factors;
    draw_vector(desk->vector, plant, STREAM_USERS, user);
    for (int64_t item = 0; item < plant->settings.items; item++) {
        double sum = 0;
        for (int64_t factor = 0; factor < factors; factor++)
            sum += desk->vector[factor] * plant->item_vectors[item * factors + factor];
        desk->affinity[item] = sum / sqrt((double)factors);
    }
}

static void keep_preferred(struct plant *plant, struct desk *desk, int64_t user)
{
    const int64_t items = plant->settings.items;
    int32_t *preferred = plant->preferred + user * plant->preferred_count;
    for (int64_t item = 0; item < items; item++)
        desk->scored[item] = (struct scored_item){.score = -desk->affinity[item], .item = (int32_t)item};
    qsort(desk->scored, (size_t)items, sizeof *desk->scored, compare_scores);
    for (int64_t index = 0; index < plant->preferred_count; index++)
        preferred[index] = desk->scored[index].item;
    qsort(preferred, (size_t)plant->preferred_count, sizeof *preferred, compare_items);
}

/* Exponential waiting times at the items' rates: their order is that of successive draws without replacement
 * (Efraimidis and Spirakis, 2006). */
static void draw_items(struct plant *plant, struct desk *desk, int64_t user)
{
    const int64_t items = plant->settings.items;
    double mean = 0;
    for (int64_t item = 0; item < items; item++)
        mean += exp(2 * desk->affinity[item]) / (double)items;
    struct random_stream stream = stream_open(plant, STREAM_DRAWS, user);
    for (int64_t item = 0; item < items; item++) {
        const double liking = exp(2 * desk->affinity[item]) / mean, noise = plant->settings.noise;
        const double rate = plant->popularity[item] * ((1 - noise) * liking + noise);
        const double waiting = -log(1 - random_double(&stream)) / rate;
        desk->scored[item] = (struct scored_item){.score = waiting, .item = (int32_t)item};
    }
    qsort(desk->scored, (size_t)items, sizeof *desk->scored, compare_scores);
    const int64_t first = plant->starts[user], count = plant->starts[user + 1] - first;
    for (int64_t index = 0; index < count; index++)
        plant->drawn[first + index] = desk->scored[index].item;
}

static bool draw_users(struct plant *plant, struct error *error)
{
    const size_t items = (size_t)plant->settings.items;
    bool enough = true;
#pragma omp parallel
    {
        struct desk desk = {.vector = malloc((size_t)plant->settings.factors * sizeof *desk.vector),
                            .affinity = malloc(items * sizeof *desk.affinity),
                            .scored = malloc(items * sizeof *desk.scored)};
        const bool ready = desk.vector && desk.affinity && desk.scored;
        if (!ready) {
#pragma omp atomic write
            enough = false;
        }
#pragma omp for schedule(dynamic, 16)
        for (int64_t user = 0; user < plant->settings.users; user++) {
            if (!ready)
                continue;
            compute_affinity(plant, &desk, user);
            keep_preferred(plant, &desk, user);
            draw_items(plant, &desk, user);
        }
        free(desk.vector);
        free(desk.affinity);
        free(desk.scored);
    }
    return enough || error_memory(error, "drawing interactions", items * sizeof(struct scored_item), NULL);
}

/* ---- files -------------------------------------------------------------------------------------------- */

static bool write_rows(const struct plant *plant, const char *path, struct error *error)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    if (!stream)
        return error_memory(error, path, 0, NULL);
    fputs("user_id:token\titem_id:token\ttimestamp:float\n", stream);
    for (int64_t user = 0; user < plant->settings.users; user++)
        for (int64_t row = plant->starts[user]; row < plant->starts[user + 1]; row++)
            fprintf(stream, "u%lld\ti%d\t%lld\n", (long long)user, plant->drawn[row],
                    1600000000LL + user * 60 + (row - plant->starts[user]) * 86400);
    const bool written = fclose(stream) == 0;
    const bool done =
        (written || error_memory(error, path, length, NULL)) && file_write(path, text, length, error);
    free(text);
    return done;
}

/* prefix0, prefix1, ... */
static bool number_ids(struct id_map *ids, char prefix, int64_t count, struct error *error)
{
    *ids = (struct id_map){.count = count};
    ids->offsets = malloc((size_t)(count + 1) * sizeof *ids->offsets);
    ids->bytes = malloc((size_t)count * 24);
    if (!ids->offsets || !ids->bytes)
        return error_memory(error, "the ids", (size_t)count * 32, NULL);
    ids->offsets[0] = 0;
    for (int64_t id = 0; id < count; id++)
        ids->offsets[id + 1] =
            ids->offsets[id] + sprintf(ids->bytes + ids->offsets[id], "%c%lld", prefix, (long long)id) + 1;
    return true;
}

static bool write_truth(const struct plant *plant, const char *path, struct error *error)
{
    const int64_t users = plant->settings.users, items = plant->settings.items;
    struct id_map user_ids = {0}, item_ids = {0};
    struct store *store = NULL;
    struct csr preferred = {.rows = users, .columns = items, .indices = plant->preferred};
    preferred.starts = malloc((size_t)(users + 1) * sizeof *preferred.starts);
    bool done = preferred.starts || error_memory(error, path, (size_t)users * 8, NULL);
    for (int64_t user = 0; user <= users && done; user++)
        preferred.starts[user] = user * plant->preferred_count;
    done = done && number_ids(&user_ids, 'u', users, error) && number_ids(&item_ids, 'i', items, error) &&
           store_create(&store, path, error);
    if (done) {
        const bool written =
            store_write_ids(store, "/users/id", &user_ids, error) &&
            store_write_ids(store, "/items/id", &item_ids, error) &&
            store_write_csr(store, "/preferred", &preferred, error) &&
            store_set_number(store, "/", "preferred_share", plant->settings.preferred_share, error) &&
            store_set_integer(store, "/", "seed", (int64_t)plant->settings.seed, error);
        done = written && store_commit(store, error);
        if (!written)
            store_close(store);
    }
    free(preferred.starts);
    id_map_free(&user_ids);
    id_map_free(&item_ids);
    return done;
}

bool synthesize(const char *out_path, const struct synthesize_settings *settings, struct error *error)
{
    if (!check_settings(settings, error))
        return false;
    struct plant plant = {.settings = *settings};
    char *truth_path = path_format("%s.truth.h5", out_path);
    const bool done = plant_model(&plant, error) && draw_users(&plant, error) &&
                      write_truth(&plant, truth_path, error) && write_rows(&plant, out_path, error);
    free(truth_path);
    free(plant.centres);
    free(plant.item_vectors);
    free(plant.popularity);
    free(plant.starts);
    free(plant.drawn);
    free(plant.preferred);
    return done;
}
