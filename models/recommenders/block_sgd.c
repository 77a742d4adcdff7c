#include "models/recommenders/block_sgd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"

enum {
    BLOCKS_MAXIMUM = 32,
    BLOCK_ITEMS_MINIMUM = 32, /* fewer would make the negatives of a cell too much alike */
    DRAWN_AHEAD = 8,
    CACHE_LINE = 64,
    REJECTIONS_MAXIMUM = 16 /* a user whose positives fill a block of items may have no negative in it */
};

struct block_sgd {
    const struct training_set *data;
    uint64_t seed;
    int threads;
    int64_t users, items, blocks;
    /* This epoch's deal: block b holds places b * n / B .. (b + 1) * n / B - 1. */
    int32_t *user_order, *item_order;
    int32_t *item_block;   /* [items]: the block of each item */
    int64_t *run_starts;   /* [users, blocks]: where the positives of a user in a block of items begin */
    int32_t *dealt;        /* positives of each user, ordered by block: items */
    float *dealt_weights;  /* and their weights; NULL: all 1 */
    double *cell_losses;   /* [blocks * blocks] */
    int64_t *cell_triples; /* [blocks * blocks] */
};

static int64_t block_count(int64_t users, int64_t items)
{
    const int64_t fewer = users < items ? users : items;
    const int64_t blocks = fewer / BLOCK_ITEMS_MINIMUM;
    return blocks < 1 ? 1 : blocks > BLOCKS_MAXIMUM ? BLOCKS_MAXIMUM : blocks;
}

static bool allocate(struct block_sgd *blocks, int64_t positives)
{
    const size_t users = (size_t)blocks->users, items = (size_t)blocks->items, count = (size_t)blocks->blocks;
    blocks->user_order = malloc(users * sizeof *blocks->user_order);
    blocks->item_order = malloc(items * sizeof *blocks->item_order);
    blocks->item_block = malloc(items * sizeof *blocks->item_block);
    blocks->run_starts = malloc((users * count + 1) * sizeof *blocks->run_starts);
    blocks->dealt = malloc((size_t)positives * sizeof *blocks->dealt);
    blocks->dealt_weights =
        blocks->data->weights ? malloc((size_t)positives * sizeof *blocks->dealt_weights) : NULL;
    blocks->cell_losses = malloc(count * count * sizeof *blocks->cell_losses);
    blocks->cell_triples = malloc(count * count * sizeof *blocks->cell_triples);
    return blocks->user_order && blocks->item_order && blocks->item_block && blocks->run_starts &&
           blocks->dealt && (blocks->dealt_weights || !blocks->data->weights) && blocks->cell_losses &&
           blocks->cell_triples;
}

bool block_sgd_open(struct block_sgd **blocks, const struct training_set *data, uint64_t seed, int threads,
                    struct error *error)
{
    const int64_t positives = csr_count(data->positives);
    *blocks = calloc(1, sizeof **blocks);
    if (!*blocks)
        return error_memory(error, "the blocks of an epoch", sizeof **blocks, NULL);
    **blocks = (struct block_sgd){.data = data,
                                  .seed = seed,
                                  .threads = threads,
                                  .users = data->positives->rows,
                                  .items = data->positives->columns,
                                  .blocks = block_count(data->positives->rows, data->positives->columns)};
    if (allocate(*blocks, positives))
        return true;
    block_sgd_close(*blocks);
    *blocks = NULL;
    return error_memory(error, "the blocks of an epoch", (size_t)positives * sizeof(int32_t), NULL);
}

void block_sgd_close(struct block_sgd *blocks)
{
    if (!blocks)
        return;
    free(blocks->user_order);
    free(blocks->item_order);
    free(blocks->item_block);
    free(blocks->run_starts);
    free(blocks->dealt);
    free(blocks->dealt_weights);
    free(blocks->cell_losses);
    free(blocks->cell_triples);
    free(blocks);
}

static int64_t block_start(int64_t block, int64_t count, int64_t blocks)
{
    return block * count / blocks;
}

static void deal_order(int32_t *order, int64_t count, struct random_stream stream)
{
    for (int64_t place = 0; place < count; place++)
        order[place] = (int32_t)place;
    random_shuffle(&stream, order, count);
}

/* Orders a user's positives by their block of items, within a block as they stand. */
static void deal_user(struct block_sgd *blocks, int64_t user)
{
    const struct csr *positives = blocks->data->positives;
    const int64_t first = positives->starts[user], end = positives->starts[user + 1];
    int64_t *starts = blocks->run_starts + user * blocks->blocks;
    int64_t next[BLOCKS_MAXIMUM] = {0};
    for (int64_t index = first; index < end; index++)
        next[blocks->item_block[positives->indices[index]]]++;
    int64_t filled = first;
    for (int64_t block = 0; block < blocks->blocks; block++) {
        starts[block] = filled;
        filled += next[block];
        next[block] = starts[block];
    }
    for (int64_t index = first; index < end; index++) {
        const int64_t place = next[blocks->item_block[positives->indices[index]]]++;
        blocks->dealt[place] = positives->indices[index];
        if (blocks->dealt_weights)
            blocks->dealt_weights[place] = blocks->data->weights[index];
    }
}

static void deal_epoch(struct block_sgd *blocks, int64_t epoch)
{
    deal_order(blocks->user_order, blocks->users,
               random_stream_open(blocks->seed, RANDOM_SHUFFLE, (uint64_t)epoch, 0));
    deal_order(blocks->item_order, blocks->items,
               random_stream_open(blocks->seed, RANDOM_SHUFFLE, (uint64_t)epoch, 1));
    for (int64_t block = 0; block < blocks->blocks; block++)
        for (int64_t place = block_start(block, blocks->items, blocks->blocks);
             place < block_start(block + 1, blocks->items, blocks->blocks); place++)
            blocks->item_block[blocks->item_order[place]] = (int32_t)block;
    blocks->run_starts[blocks->users * blocks->blocks] = csr_count(blocks->data->positives);
#pragma omp parallel for schedule(static) num_threads(blocks->threads)
    for (int64_t user = 0; user < blocks->users; user++)
        deal_user(blocks, user);
}

/* One triple: returns the loss before the update. */
static double update(real *user, real *positive, real *negative, int64_t width, real weight, real rate,
                     real regularization)
{
    real difference = 0;
#pragma omp simd reduction(+ : difference)
    for (int64_t column = 0; column < width; column++)
        difference += user[column] * (negative[column] - positive[column]);
    const double exponential = exp(-fabs((double)difference));
    const double probability = (difference > 0 ? 1.0 : exponential) / (1.0 + exponential);
    const real step = rate * weight * (real)probability, keep = 1 - rate * regularization;
#pragma omp simd
    for (int64_t column = 0; column < width; column++) {
        const real u = user[column], p = positive[column], n = negative[column];
        user[column] = keep * u + step * (p - n);
        positive[column] = keep * p + step * u;
        negative[column] = keep * n - step * u;
    }
    return (difference > 0 ? (double)difference : 0.0) + log1p(exponential);
}

/* The items that a cell may draw from, and those of its user that it may not. */
struct drawing {
    const int32_t *items, *positives;
    int64_t item_count, positive_count;
    const struct csr *excluded;
    int32_t user;
};

static bool is_allowed(const struct drawing *drawing, int32_t item)
{
    for (int64_t place = 0; place < drawing->positive_count; place++)
        if (drawing->positives[place] == item)
            return false;
    return !drawing->excluded || !csr_contains_sorted(drawing->excluded, drawing->user, item);
}

/* -1: none found. */
static int32_t draw_negative(const struct drawing *drawing, struct random_stream *stream)
{
    for (int attempt = 0; attempt < REJECTIONS_MAXIMUM; attempt++) {
        const int32_t item = drawing->items[random_below(stream, (uint32_t)drawing->item_count)];
        if (is_allowed(drawing, item))
            return item;
    }
    return -1;
}

struct descent {
    real *users, *items; /* the two parts of the table */
    int64_t width;
    real rate, regularization;
};

struct triple {
    real *user, *positive, *negative, weight;
};

/* Triples drawn but not yet used: their rows are on the way to the cache while others are drawn. */
struct drawn_triples {
    struct triple triples[DRAWN_AHEAD];
    int64_t count, used; /* waiting; used up so far in this cell */
    double loss;         /* of those used */
};

static void use_triples(struct drawn_triples *drawn, const struct descent *descent)
{
    for (int64_t place = 0; place < drawn->count; place++) {
        const struct triple *triple = &drawn->triples[place];
        drawn->loss += update(triple->user, triple->positive, triple->negative, descent->width,
                              triple->weight, descent->rate, descent->regularization);
    }
    drawn->used += drawn->count;
    drawn->count = 0;
}

static void fetch_row(const real *row, int64_t width)
{
    for (int64_t column = 0; column < width; column += CACHE_LINE / (int64_t)sizeof *row)
        __builtin_prefetch(row + column, 1);
}

static void add_triple(struct drawn_triples *drawn, const struct descent *descent, struct triple triple)
{
    fetch_row(triple.user, descent->width);
    fetch_row(triple.positive, descent->width);
    fetch_row(triple.negative, descent->width);
    drawn->triples[drawn->count++] = triple;
    if (drawn->count == DRAWN_AHEAD)
        use_triples(drawn, descent);
}

static void descend_cell(struct block_sgd *blocks, int64_t epoch, int64_t user_block, int64_t item_block,
                         const struct descent *descent)
{
    const int64_t count = blocks->blocks, cell = user_block * count + item_block, width = descent->width;
    const int64_t first_item = block_start(item_block, blocks->items, count);
    struct drawing drawing = {.items = blocks->item_order + first_item,
                              .item_count = block_start(item_block + 1, blocks->items, count) - first_item,
                              .excluded = blocks->data->excluded};
    struct random_stream stream =
        random_stream_open(blocks->seed, RANDOM_NEGATIVE, (uint64_t)epoch, (uint64_t)cell);
    struct drawn_triples drawn = {.count = 0};
    for (int64_t place = block_start(user_block, blocks->users, count);
         place < block_start(user_block + 1, blocks->users, count); place++) {
        const int32_t user = blocks->user_order[place];
        const int64_t *run = blocks->run_starts + user * count + item_block;
        drawing.user = user;
        drawing.positives = blocks->dealt + run[0];
        drawing.positive_count = run[1] - run[0];
        for (int64_t index = run[0]; index < run[1]; index++) {
            const int32_t negative = draw_negative(&drawing, &stream);
            if (negative < 0)
                continue;
            add_triple(
                &drawn, descent,
                (struct triple){.user = descent->users + user * width,
                                .positive = descent->items + blocks->dealt[index] * width,
                                .negative = descent->items + negative * width,
                                .weight = blocks->dealt_weights ? (real)blocks->dealt_weights[index] : 1});
        }
    }
    use_triples(&drawn, descent);
    blocks->cell_losses[cell] = drawn.loss;
    blocks->cell_triples[cell] = drawn.used;
}

bool block_sgd_epoch(struct block_sgd *blocks, int64_t epoch, real *table, int64_t width,
                     double learning_rate, double regularization, double *loss, struct error *error)
{
    const struct descent descent = {.users = table,
                                    .items = table + blocks->users * width,
                                    .width = width,
                                    .rate = (real)learning_rate,
                                    .regularization = (real)regularization};
    const int64_t count = blocks->blocks;
    deal_epoch(blocks, epoch);
    for (int64_t stratum = 0; stratum < count; stratum++) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(blocks->threads)
        for (int64_t block = 0; block < count; block++)
            descend_cell(blocks, epoch, block, (block + stratum) % count, &descent);
    }
    double sum = 0.0;
    int64_t triples = 0;
    for (int64_t cell = 0; cell < count * count; cell++) {
        sum += blocks->cell_losses[cell];
        triples += blocks->cell_triples[cell];
    }
    if (triples == 0)
        return error_set(error, ERROR_RUN,
                         "no user has both a training item and an item left to rank below it; a "
                         "ranking loss needs both: check the split and the filters");
    *loss = sum / (double)triples;
    return true;
}
