#include "experiments/fusion.h"

#include <stdlib.h>

struct scored_item {
    double score;
    int32_t item, votes;
};

/* The items of one user's lists. */
struct pool {
    struct scored_item *items; /* [lists x depth] */
    int64_t count;
    int32_t *place; /* [items]: where an item is, from 1; 0: nowhere */
};

static bool pool_open(struct pool *pool, int64_t items, int64_t depth, int count, struct error *error)
{
    const int64_t most = count * (depth < items ? depth : items);
    pool->items = malloc((size_t)(most + 1) * sizeof *pool->items);
    pool->place = calloc((size_t)items + 1, sizeof *pool->place);
    return (pool->items && pool->place) ||
           error_memory(error, "lists to fuse", (size_t)items * sizeof *pool->place, NULL);
}

static void pool_close(struct pool *pool)
{
    free(pool->items);
    free(pool->place);
}

static void pool_add(struct pool *pool, const struct fusion_list *list, int64_t user,
                     const struct fusion *fusion)
{
    const int32_t *items = list->items->indices + list->items->starts[user];
    const int64_t length = csr_row_length(list->items, user);
    for (int64_t i = 0; list->weight > 0 && i < length && i < fusion->depth; i++) {
        int32_t *place = &pool->place[items[i]];
        if (*place == 0) {
            pool->items[pool->count++] = (struct scored_item){.item = items[i]};
            *place = (int32_t)pool->count;
        }
        pool->items[*place - 1].score += list->weight / (fusion->constant + (double)(i + 1));
        pool->items[*place - 1].votes++;
    }
}

static int compare_scores(const void *left, const void *right)
{
    const struct scored_item *a = left, *b = right;
    const float scores[2] = {(float)a->score, (float)b->score};
    if (scores[0] != scores[1])
        return scores[0] > scores[1] ? -1 : 1;
    return (a->item > b->item) - (a->item < b->item);
}

/* Moves the best items into the user's row; the pool is empty afterwards. */
static void pool_take(struct pool *pool, struct fused_lists *fused, int64_t user, int64_t kept)
{
    int64_t end = fused->items.starts[user];
    qsort(pool->items, (size_t)pool->count, sizeof *pool->items, compare_scores);
    for (int64_t i = 0; i < pool->count; i++) {
        pool->place[pool->items[i].item] = 0;
        if (i >= kept)
            continue;
        fused->items.indices[end] = pool->items[i].item;
        fused->votes[end] = pool->items[i].votes;
        fused->scores[end++] = (float)pool->items[i].score;
    }
    fused->items.starts[user + 1] = end;
    pool->count = 0;
}

static int64_t read_length(const struct csr *list, int64_t user, int64_t depth)
{
    const int64_t length = csr_row_length(list, user);
    return length < depth ? length : depth;
}

static bool fused_lists_open(struct fused_lists *fused, const struct fusion_list *lists, int count,
                             int64_t depth, int64_t kept, struct error *error)
{
    const struct csr *const first = lists->items;
    int64_t most = 0;
    for (int64_t user = 0; user < first->rows; user++) {
        int64_t length = 0;
        for (int list = 0; list < count; list++)
            length += read_length(lists[list].items, user, depth);
        most += length < kept ? length : kept;
    }
    *fused = (struct fused_lists){.items = {.rows = first->rows, .columns = first->columns}};
    fused->items.starts = calloc((size_t)first->rows + 1, sizeof *fused->items.starts);
    fused->items.indices = malloc((size_t)(most + 1) * sizeof *fused->items.indices);
    fused->scores = malloc((size_t)(most + 1) * sizeof *fused->scores);
    fused->votes = malloc((size_t)(most + 1) * sizeof *fused->votes);
    return (fused->items.starts && fused->items.indices && fused->scores && fused->votes) ||
           error_memory(error, "fused lists", (size_t)most * 12,
                        "lower experiment.fusion.depth, or generate.max_items of an ensemble");
}

bool fusion_rank(struct fused_lists *fused, const struct fusion_list *lists, int count,
                 const struct fusion *fusion, int64_t kept, struct error *error)
{
    struct pool pool = {.count = 0};
    const bool done = pool_open(&pool, lists->items->columns, fusion->depth, count, error) &&
                      fused_lists_open(fused, lists, count, fusion->depth, kept, error);
    for (int64_t user = 0; done && user < lists->items->rows; user++) {
        for (int list = 0; list < count; list++)
            pool_add(&pool, &lists[list], user, fusion);
        pool_take(&pool, fused, user, kept);
    }
    pool_close(&pool);
    return done;
}

void fused_lists_free(struct fused_lists *fused)
{
    csr_free(&fused->items);
    free(fused->scores);
    free(fused->votes);
    fused->scores = NULL;
    fused->votes = NULL;
}

/* The first `cut` items of the lists of `users`; -1 where a list is shorter. */
static bool top_of_lists(struct top_k *top, const struct csr *lists, const int32_t *users, int64_t user_count,
                         int64_t cut, struct error *error)
{
    *top = (struct top_k){.users = user_count, .k = cut};
    const size_t bytes = (size_t)(user_count * cut + 1) * sizeof *top->items;
    top->user = malloc((size_t)(user_count + 1) * sizeof *top->user);
    top->items = malloc(bytes);
    if (!top->user || !top->items)
        return error_memory(error, "fused lists", bytes, NULL);
    for (int64_t row = 0; row < user_count; row++) {
        const int32_t user = users[row];
        top->user[row] = user;
        for (int64_t i = 0; i < cut; i++)
            top->items[row * cut + i] =
                i < csr_row_length(lists, user) ? lists->indices[lists->starts[user] + i] : -1;
    }
    return true;
}

bool fusion_score(double *score, const struct fusion_list *lists, int count, const struct fusion *fusion,
                  const struct fusion_judge *judge, struct error *error)
{
    struct fused_lists fused = {0};
    struct top_k top = {0};
    struct evaluation evaluation;
    const int64_t kept = judge->cut < fusion->depth ? judge->cut : fusion->depth;
    const bool done = fusion_rank(&fused, lists, count, fusion, kept, error) &&
                      top_of_lists(&top, &fused.items, judge->users, judge->user_count, judge->cut, error);
    if (done) {
        evaluate_top_k(&evaluation, &top, judge->validation, &judge->cut, 1, NULL);
        *score = evaluation.value[judge->metric][0];
    }
    top_k_free(&top);
    fused_lists_free(&fused);
    return done;
}
