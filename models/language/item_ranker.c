#include "models/language/item_ranker.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/interrupt.h"
#include "models/language/best_items.h"
#include "models/language/token_candidates.h"

#define ADVICE "lower generate.batch"

struct item_ranker {
    struct transformer *model;
    struct item_ranker_settings settings;
    struct context_cache contexts;
    struct candidates candidates;
    int64_t rows, items, classes, tokens;
    int32_t *slot, *token, *position; /* [rows], a step */
    int32_t *base, *last;             /* [rows]: the position and token that a context ends with */
    double *score;                    /* [rows, items]: log-probabilities */
    double *mean;                     /* [items], of the user whose contexts are being added */
    int32_t *votes;                   /* [items], likewise */
    struct scored_item *best;         /* [items_maximum] */
};

/* ---- creation ----------------------------------------------------------------------------------------- */

static bool allocate(struct item_ranker *ranker, struct error *error)
{
    const size_t rows = (size_t)ranker->rows, items = (size_t)ranker->items;
    ranker->slot = calloc(rows, sizeof *ranker->slot);
    ranker->token = calloc(rows, sizeof *ranker->token);
    ranker->position = calloc(rows, sizeof *ranker->position);
    ranker->base = calloc(rows, sizeof *ranker->base);
    ranker->last = calloc(rows, sizeof *ranker->last);
    ranker->score = calloc(rows * items, sizeof *ranker->score);
    ranker->mean = calloc(items, sizeof *ranker->mean);
    ranker->votes = calloc(items, sizeof *ranker->votes);
    ranker->best = calloc((size_t)ranker->settings.items_maximum, sizeof *ranker->best);
    if (ranker->slot && ranker->token && ranker->position && ranker->base && ranker->last && ranker->score &&
        ranker->mean && ranker->votes && ranker->best)
        return true;
    return error_memory(error, "the rankings of a batch", rows * items * sizeof *ranker->score, ADVICE);
}

bool item_ranker_create(struct item_ranker **ranker, struct transformer *model,
                        const struct item_ranker_settings *settings, const struct csr *train,
                        struct error *error)
{
    struct item_ranker *made = calloc(1, sizeof *made);
    *ranker = NULL;
    if (!made)
        return error_memory(error, "the ranker", sizeof *made, NULL);
    const struct transformer_settings *shape = transformer_settings_of(model);
    const struct context_settings contexts = {.prompt = settings->prompt,
                                              .seed = settings->seed,
                                              .batch = settings->batch,
                                              .least = 1,
                                              .cache_bytes = settings->cache_bytes,
                                              .tokens_after = settings->writer->length_maximum + 1};
    made->model = model;
    made->settings = *settings;
    made->items = settings->writer->next.item_count;
    made->classes = shape->classes > 0 ? shape->classes : shape->vocabulary;
    bool done = context_cache_create(&made->contexts, model, &contexts, train, error);
    made->rows = done ? made->contexts.rows : 0;
    done = done && allocate(made, error) &&
           candidates_create(&made->candidates, transformer_backend(model), made->rows,
                             settings->writer->allowed_maximum, error);
    if (!done) {
        item_ranker_free(made);
        return false;
    }
    *ranker = made;
    return true;
}

void item_ranker_free(struct item_ranker *ranker)
{
    if (!ranker)
        return;
    candidates_free(&ranker->candidates);
    context_cache_free(&ranker->contexts);
    free(ranker->slot);
    free(ranker->token);
    free(ranker->position);
    free(ranker->base);
    free(ranker->last);
    free(ranker->score);
    free(ranker->mean);
    free(ranker->votes);
    free(ranker->best);
    free(ranker);
}

void item_ranker_print_memory(const struct item_ranker *ranker, FILE *stream)
{
    cache_print_memory(ranker->contexts.cache, stream);
}

int64_t item_ranker_tokens(const struct item_ranker *ranker)
{
    return ranker->tokens;
}

/* ---- the walk through the trie ------------------------------------------------------------------------- */

/* Contexts that walk together, and how far they have come. */
struct walk {
    const struct item_trie *trie;
    int64_t rows;
};

/* The tokens that are looked at behind a node, the same in all rows: its children's, and where an item ends at it those by
 * which that item is complete. */
static int64_t list_tokens(int32_t *token, const struct item_writer *writer, const struct item_trie *trie,
                           int32_t node)
{
    int64_t count = 0;
    for (int32_t child = trie->first_child[node]; child < trie->first_child[node + 1]; child++)
        token[count++] = trie->token[child];
    return trie->item[node] < 0 ? count : count + item_writer_stops(writer, token + count);
}

/* Decodes the node's token behind those that led to it and fetches the log-probabilities of the tokens above. */
static bool decode_node(struct item_ranker *ranker, const struct walk *walk, int32_t node, int64_t depth,
                        struct error *error)
{
    struct backend *const backend = transformer_backend(ranker->model);
    struct candidates *const candidates = &ranker->candidates;
    struct tensor logits;
    for (int64_t row = 0; row < walk->rows; row++) {
        ranker->slot[row] = (int32_t)row;
        ranker->token[row] = depth == 0 ? ranker->last[row] : walk->trie->token[node];
        ranker->position[row] = ranker->base[row] + (int32_t)depth;
        candidates->count[row] =
            list_tokens(candidates_tokens(candidates, row), ranker->settings.writer, walk->trie, node);
    }
    ranker->tokens += walk->rows;
    cache_decode(ranker->contexts.cache,
                 &(struct decode_step){walk->rows, ranker->slot, ranker->token, ranker->position}, &logits);
    op_log_softmax_masked(backend, &logits, NULL, ranker->classes);
    return interrupt_check(error) && candidates_pick(candidates, walk->rows, &logits, error);
}

/* The probability that the item at the node is complete. */
static double log_stop(const real *value, int64_t children, int64_t count)
{
    double sum = 0.0;
    for (int64_t i = children; i < count; i++)
        sum += exp((double)value[i]);
    return log(sum);
}

static bool walk_node(struct item_ranker *ranker, const struct walk *walk, int32_t node, int64_t depth,
                      const double *path, struct error *error);

/* Scores the items that end at the node or at a child without children, and keeps the sums that lead to the other children
 * in `paths` [children, rows]. */
static void score_children(struct item_ranker *ranker, const struct walk *walk, int32_t node,
                           const double *path, double *paths)
{
    const struct item_trie *const trie = walk->trie;
    const int32_t first = trie->first_child[node];
    const int64_t children = trie->first_child[node + 1] - first;
    for (int64_t row = 0; row < walk->rows; row++) {
        const real *value = candidates_values(&ranker->candidates, row);
        double *score = ranker->score + row * ranker->items;
        if (trie->item[node] >= 0)
            score[trie->item[node]] = path[row] + log_stop(value, children, ranker->candidates.count[row]);
        for (int64_t i = 0; i < children; i++) {
            const int32_t child = first + (int32_t)i;
            paths[i * walk->rows + row] = path[row] + (double)value[i];
            if (trie->first_child[child] == trie->first_child[child + 1])
                score[trie->item[child]] = path[row] + (double)value[i];
        }
    }
}

static bool walk_children(struct item_ranker *ranker, const struct walk *walk, int32_t node, int64_t depth,
                          const double *paths, struct error *error)
{
    const struct item_trie *const trie = walk->trie;
    const int32_t first = trie->first_child[node];
    for (int32_t child = first; child < trie->first_child[node + 1]; child++)
        if (trie->first_child[child] < trie->first_child[child + 1] &&
            !walk_node(ranker, walk, child, depth + 1, paths + (child - first) * walk->rows, error))
            return false;
    return true;
}

/* path [rows]: the log-probabilities of the tokens that lead to the node. */
static bool walk_node(struct item_ranker *ranker, const struct walk *walk, int32_t node, int64_t depth,
                      const double *path, struct error *error)
{
    const int64_t children = walk->trie->first_child[node + 1] - walk->trie->first_child[node];
    if (!decode_node(ranker, walk, node, depth, error))
        return false;
    double *paths = malloc((size_t)(children * walk->rows) * sizeof *paths);
    if (!paths)
        return error_memory(error, "the walk through the trie",
                            (size_t)(children * walk->rows) * sizeof *paths, ADVICE);
    score_children(ranker, walk, node, path, paths);
    const bool done = walk_children(ranker, walk, node, depth, paths, error);
    free(paths);
    return done;
}

/* ---- users --------------------------------------------------------------------------------------------- */

/* The contexts of users in order, context by context. */
struct rank_jobs {
    const int64_t *order;
    int64_t next, count; /* of users times contexts */
};

static int64_t job_user(const struct item_ranker *ranker, const struct rank_jobs *jobs, int64_t job)
{
    return jobs->order[job / ranker->settings.contexts];
}

static const struct item_trie *trie_of(const struct item_ranker *ranker, int64_t user)
{
    const bool joined =
        ranker->settings.prompt.layout->joined && csr_row_length(ranker->contexts.train, user) > 0;
    return joined ? &ranker->settings.writer->next : &ranker->settings.writer->first;
}

/* Reads as many contexts as there are rows and as walk through the same trie. */
static struct walk begin_walk(struct item_ranker *ranker, const struct rank_jobs *jobs)
{
    struct walk walk = {.trie = trie_of(ranker, job_user(ranker, jobs, jobs->next))};
    const int64_t tokens = ranker->contexts.tokens;
    for (int64_t job = jobs->next; walk.rows < ranker->rows && job < jobs->count; job++) {
        const int64_t user = job_user(ranker, jobs, job), row = walk.rows;
        if (trie_of(ranker, user) != walk.trie)
            break;
        ranker->base[row] = (int32_t)context_cache_read(&ranker->contexts, (int32_t)row, user,
                                                        job % ranker->settings.contexts);
        ranker->last[row] = ranker->contexts.prompt[ranker->base[row]];
        walk.rows++;
    }
    ranker->tokens += ranker->contexts.tokens - tokens;
    return walk;
}

/* The scores of a context become log-probabilities among the items that the user does not have; the others' are
 * -infinity. */
static bool normalise(struct item_ranker *ranker, int64_t user, double *score, struct error *error)
{
    int64_t count;
    const int32_t *had = context_items(ranker->contexts.train, user, &count);
    double largest = -INFINITY, sum = 0.0;
    for (int64_t i = 0; i < count; i++)
        score[had[i]] = -INFINITY;
    for (int64_t item = 0; item < ranker->items; item++)
        largest = fmax(largest, score[item]);
    for (int64_t item = 0; item < ranker->items; item++)
        sum += exp(score[item] - largest);
    if (count < ranker->items && !(isfinite(largest) && isfinite(sum)))
        return error_set(
            error, ERROR_RUN,
            "the model's probabilities are not numbers; train it again with a lower learning rate");
    for (int64_t item = 0; item < ranker->items; item++)
        score[item] -= largest + log(sum);
    return true;
}

static int64_t find_best(struct item_ranker *ranker, const double *score)
{
    int64_t count = 0;
    for (int32_t item = 0; item < ranker->items; item++)
        if (score[item] > -INFINITY)
            count = best_items_add(ranker->best, count, ranker->settings.items_maximum, item, score[item]);
    return count;
}

static bool append_user(struct item_ranker *ranker, int64_t user, struct proposal_list *list,
                        struct error *error)
{
    for (int64_t item = 0; item < ranker->items; item++)
        ranker->mean[item] = log(ranker->mean[item] / (double)ranker->settings.contexts);
    const int64_t count = find_best(ranker, ranker->mean);
    for (int64_t rank = 0; rank < count; rank++) {
        const struct proposal proposal = {.user = (int32_t)user,
                                          .item = ranker->best[rank].item,
                                          .position = (int32_t)rank,
                                          .votes = ranker->votes[ranker->best[rank].item],
                                          .log_probability = (float)ranker->best[rank].score};
        if (!proposal_list_append(list, proposal, error))
            return false;
    }
    list->valid += count;
    return true;
}

/* Adds a context to its user's mean and votes; the last one makes his ranking. */
static bool add_context(struct item_ranker *ranker, const struct rank_jobs *jobs, int64_t job, double *score,
                        struct proposal_list *list, struct error *error)
{
    const int64_t context = job % ranker->settings.contexts, user = job_user(ranker, jobs, job);
    if (context == 0) {
        memset(ranker->mean, 0, (size_t)ranker->items * sizeof *ranker->mean);
        memset(ranker->votes, 0, (size_t)ranker->items * sizeof *ranker->votes);
    }
    if (!normalise(ranker, user, score, error))
        return false;
    const int64_t count = find_best(ranker, score);
    for (int64_t i = 0; i < count; i++)
        ranker->votes[ranker->best[i].item]++;
    for (int64_t item = 0; item < ranker->items; item++)
        ranker->mean[item] += exp(score[item]);
    return context < ranker->settings.contexts - 1 || append_user(ranker, user, list, error);
}

static bool rank_batch(struct item_ranker *ranker, struct rank_jobs *jobs, struct proposal_list *list,
                       struct error *error)
{
    const struct walk walk = begin_walk(ranker, jobs);
    double *path = calloc((size_t)walk.rows, sizeof *path);
    if (!path)
        return error_memory(error, "the walk through the trie", (size_t)walk.rows * sizeof *path, ADVICE);
    bool done = walk_node(ranker, &walk, 0, 0, path, error);
    free(path);
    for (int64_t row = 0; done && row < walk.rows; row++)
        done = add_context(ranker, jobs, jobs->next + row, ranker->score + row * ranker->items, list, error);
    jobs->next += walk.rows;
    return done;
}

bool item_ranker_run(struct item_ranker *ranker, int64_t first_user, int64_t user_count,
                     struct proposal_list *list, struct error *error)
{
    int64_t *order = context_order(ranker->contexts.train, first_user, user_count, error);
    struct rank_jobs jobs = {.order = order, .count = user_count * ranker->settings.contexts};
    bool done = order != NULL;
    list->requested += user_count * ranker->settings.items_maximum;
    while (done && jobs.next < jobs.count)
        done = rank_batch(ranker, &jobs, list, error);
    free(order);
    if (done)
        proposal_list_sort(list);
    return done;
}
