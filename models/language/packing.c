#include "models/language/packing.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct packer {
    struct packing_settings settings;
    const struct csr *train;
    const struct csr *withheld[2];
    int64_t prompts_per_user, sequences;
    int64_t epoch, batches;                    /* epoch: -1 before the first */
    int64_t epoch_tokens, shortened, left_out; /* of the epoch */
    int32_t *order;                            /* [sequences]: numbers user * prompts_per_user + prompt */
    int32_t *length;                           /* [users * prompts_per_user]: positions of each sequence */
    int32_t *learn_from;   /* [users * prompts_per_user]: the first position that learns */
    int64_t *batch_starts; /* [sequences + 1]: into order */
    int32_t *items;        /* [longest train row] */
    int32_t *token, *position, *starts, *target; /* of the batch */
    int64_t *target_starts;
    int32_t *target_items;
    int64_t target_capacity;
    float *weight;
    struct leaked_pair leak;
    bool leaks;
};

static int64_t clamp(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

static int64_t prompts_per_user(const struct packing_settings *settings)
{
    return settings->random_cuts + (settings->full ? 1 : 0);
}

int64_t packer_sequences_maximum(const struct packing_settings *settings, const struct csr *train)
{
    const struct prompt_layout *layout = settings->prompt.layout;
    const int64_t all = train->rows * prompts_per_user(settings);
    int64_t shortest = settings->batch_tokens, most;

    for (int64_t user = 0; user < train->rows; user++) {
        const int64_t frame = prompt_layout_frame(layout, (int32_t)user);
        shortest = frame < shortest ? frame : shortest;
    }
    most = settings->batch_tokens / (shortest > 0 ? shortest : 1);
    if (settings->batch_sequences > 0 && settings->batch_sequences < most)
        most = settings->batch_sequences;
    return most < all ? most : all;
}

static bool allocate(struct packer *packer, struct error *error)
{
    /* prompt_training() may write a last item and what ends an answer that are not part of the batch. */
    const size_t tokens =
        (size_t)(packer->settings.batch_tokens + packer->settings.prompt.layout->closing.count + 1);
    const size_t sequences = (size_t)packer->sequences;
    const size_t numbers = (size_t)(packer->train->rows * packer->prompts_per_user);
    int64_t longest = 1;

    for (int64_t user = 0; user < packer->train->rows; user++)
        if (csr_row_length(packer->train, user) > longest)
            longest = csr_row_length(packer->train, user);
    packer->order = malloc((sequences + 1) * sizeof *packer->order);
    packer->length = malloc((numbers + 1) * sizeof *packer->length);
    packer->learn_from = malloc((numbers + 1) * sizeof *packer->learn_from);
    packer->batch_starts = malloc((sequences + 1) * sizeof *packer->batch_starts);
    packer->items = malloc((size_t)longest * sizeof *packer->items);
    packer->token = malloc(tokens * sizeof *packer->token);
    packer->position = malloc(tokens * sizeof *packer->position);
    packer->starts = malloc(tokens * sizeof *packer->starts);
    packer->target = malloc(tokens * sizeof *packer->target);
    packer->target_starts = malloc(tokens * sizeof *packer->target_starts);
    packer->weight = malloc(tokens * sizeof *packer->weight);
    if (packer->order && packer->length && packer->learn_from && packer->batch_starts && packer->items &&
        packer->token && packer->position && packer->starts && packer->target && packer->target_starts &&
        packer->weight)
        return true;
    return error_memory(error, "training batches", 36 * tokens + 16 * sequences, "lower tokens_per_batch");
}

/* The sequences in order of their numbers. */
static void list_sequences(struct packer *packer)
{
    int64_t count = 0;

    for (int64_t user = 0; user < packer->train->rows; user++)
        if (csr_row_length(packer->train, user) > 0)
            for (int64_t prompt = 0; prompt < packer->prompts_per_user; prompt++)
                packer->order[count++] = (int32_t)(user * packer->prompts_per_user + prompt);
    assert(count == packer->sequences);
}

bool packer_create(struct packer **packer, const struct packing_settings *settings, const struct csr *train,
                   const struct csr *const withheld[2], struct error *error)
{
    if (!prompt_check(&settings->prompt, train->rows, error))
        return false;
    if (settings->objective == OBJECTIVE_SET && !prompt_layout_single(settings->prompt.layout))
        return error_set(
            error, ERROR_USAGE,
            "the objective `set` is for items of one token each, and these prompts write some with "
            "several; use `next`");
    struct packer *made = calloc(1, sizeof *made);
    if (!made)
        return error_memory(error, "training batches", sizeof *made, NULL);
    made->settings = *settings;
    made->train = train;
    made->epoch = -1;
    made->prompts_per_user = prompts_per_user(settings);
    if (withheld)
        memcpy(made->withheld, withheld, sizeof made->withheld);
    for (int64_t user = 0; user < train->rows; user++)
        if (csr_row_length(train, user) > 0)
            made->sequences += made->prompts_per_user;
    if (train->rows * made->prompts_per_user > INT32_MAX) {
        packer_free(made);
        return error_set(error, ERROR_USAGE,
                         "%lld prompts an epoch are more than 2^31; lower prompts.random_cuts",
                         (long long)train->rows * prompts_per_user(settings));
    }
    if (!allocate(made, error)) {
        packer_free(made);
        return false;
    }
    list_sequences(made);
    *packer = made;
    return true;
}

void packer_free(struct packer *packer)
{
    if (!packer)
        return;
    free(packer->order);
    free(packer->length);
    free(packer->learn_from);
    free(packer->batch_starts);
    free(packer->items);
    free(packer->token);
    free(packer->position);
    free(packer->starts);
    free(packer->target);
    free(packer->target_starts);
    free(packer->target_items);
    free(packer->weight);
    free(packer);
}

/* ---- epochs ------------------------------------------------------------------------------------------- */

/* Draws a sequence into tokens [length_maximum]; packer->items becomes the user's items in its order. */
static struct prompt_sequence draw_sequence(struct packer *packer, int64_t number, int32_t *tokens)
{
    const struct packing_settings *settings = &packer->settings;
    const int64_t user = number / packer->prompts_per_user, prompt = number % packer->prompts_per_user;
    const struct prompt_draw draw = {
        .user = (int32_t)user,
        .cut = prompt < settings->random_cuts ? PROMPT_CUT_RANDOM : PROMPT_CUT_FIRST,
        .seed = settings->seed,
        .epoch = (uint64_t)packer->epoch,
        .index = (uint64_t)number,
    };
    return prompt_training(tokens, packer->items, &settings->prompt, &draw,
                           packer->train->indices + packer->train->starts[user],
                           csr_row_length(packer->train, user));
}

/* Positions that are computed: with the set objective neither END nor an item after which nothing is left. */
static int64_t computed_positions(const struct packer *packer, const struct prompt_sequence *sequence,
                                  int64_t items)
{
    if (packer->settings.objective == OBJECTIVE_NEXT)
        return sequence->length;
    return sequence->shown == items ? sequence->end - 1 : sequence->end;
}

static void draw_lengths(struct packer *packer)
{
    packer->epoch_tokens = packer->shortened = packer->left_out = 0;
    for (int64_t user = 0; user < packer->train->rows; user++) {
        const int64_t items = csr_row_length(packer->train, user), left_out = packer->left_out;
        for (int64_t prompt = 0; items > 0 && prompt < packer->prompts_per_user; prompt++) {
            const int64_t number = user * packer->prompts_per_user + prompt;
            const struct prompt_sequence sequence = draw_sequence(packer, number, packer->token);
            packer->length[number] = (int32_t)computed_positions(packer, &sequence, items);
            packer->learn_from[number] = packer->settings.answer_only ? (int32_t)sequence.answer : 1;
            packer->epoch_tokens += packer->length[number];
            packer->left_out += items - sequence.shown;
        }
        packer->shortened += packer->left_out > left_out;
    }
}

static int compare_numbers(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void shuffle_sequences(struct packer *packer)
{
    struct random_stream stream =
        random_stream_open(packer->settings.seed, RANDOM_SHUFFLE, (uint64_t)packer->epoch, 0);

    /* From the same order each time, so that an epoch does not depend on those drawn before it. */
    qsort(packer->order, (size_t)packer->sequences, sizeof *packer->order, compare_numbers);
    random_shuffle(&stream, packer->order, packer->sequences);
}

void packer_begin_epoch(struct packer *packer, int64_t epoch)
{
    const int64_t most = packer_sequences_maximum(&packer->settings, packer->train);
    int64_t tokens = 0, sequences = 0;

    if (epoch == packer->epoch)
        return;
    packer->epoch = epoch;
    packer->batches = 0;
    draw_lengths(packer);
    shuffle_sequences(packer);
    for (int64_t i = 0; i < packer->sequences; i++) {
        const int64_t length = packer->length[packer->order[i]];
        if (i == 0 || tokens + length > packer->settings.batch_tokens || sequences == most) {
            packer->batch_starts[packer->batches++] = i;
            tokens = sequences = 0;
        }
        tokens += length;
        sequences++;
    }
    packer->batch_starts[packer->batches] = packer->sequences;
}

/* Of the sequences at places begin .. end - 1 of the epoch's order. */
static int64_t count_tokens(const struct packer *packer, int64_t begin, int64_t end)
{
    int64_t tokens = 0;

    for (int64_t i = begin; i < end; i++)
        tokens += packer->length[packer->order[i]];
    return tokens;
}

int64_t packer_batch_tokens(const struct packer *packer, int64_t index)
{
    return count_tokens(packer, packer->batch_starts[index], packer->batch_starts[index + 1]);
}

/* The first sequence whose middle lies behind `rank` of `ranks` equal parts of the tokens. */
static int64_t cut(const struct packer *packer, struct packer_run all, int64_t tokens, int rank, int ranks)
{
    int64_t before = 0, place = all.begin;

    for (; place < all.end; place++) {
        const int64_t length = packer->length[packer->order[place]];
        if ((2 * before + length) * ranks > 2 * tokens * rank)
            break;
        before += length;
    }
    return place;
}

struct packer_run packer_divide(const struct packer *packer, int64_t first, int64_t count, int rank,
                                int ranks)
{
    const struct packer_run all = {packer->batch_starts[first], packer->batch_starts[first + count]};
    const int64_t tokens = count_tokens(packer, all.begin, all.end);

    return (struct packer_run){rank == 0 ? all.begin : cut(packer, all, tokens, rank, ranks),
                               rank + 1 == ranks ? all.end : cut(packer, all, tokens, rank + 1, ranks)};
}

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b != 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

struct packer_run packer_divide_by_batches(const struct packer *packer, int64_t first, int64_t count,
                                           int rank, int ranks)
{
    const int groups = (int)common_divisor(count, ranks), group_ranks = ranks / groups;
    const int64_t group = rank / group_ranks, batches = count / groups;

    return packer_divide(packer, first + group * batches, batches, rank % group_ranks, group_ranks);
}

int64_t packer_run_batches(const struct packer *packer, int64_t first, int64_t count, struct packer_run run)
{
    int64_t batches = 0;

    for (int64_t i = first; i < first + count; i++)
        batches += run.begin < run.end && packer->batch_starts[i] < run.end &&
                   packer->batch_starts[i + 1] > run.begin;
    return batches;
}

int64_t packer_batch_count(const struct packer *packer)
{
    return packer->batches;
}

int64_t packer_epoch_tokens(const struct packer *packer)
{
    return packer->epoch_tokens;
}

int64_t packer_sequence_count(const struct packer *packer)
{
    return packer->sequences;
}

int64_t packer_shortened(const struct packer *packer)
{
    return packer->shortened;
}

int64_t packer_left_out(const struct packer *packer)
{
    return packer->left_out;
}

/* ---- batches ------------------------------------------------------------------------------------------ */

static bool check_withheld(struct packer *packer, int64_t user, int64_t count, struct error *error)
{
    for (int part = 0; part < 2; part++) {
        const struct csr *withheld = packer->withheld[part];
        for (int64_t i = 0; withheld && i < count; i++)
            if (csr_contains_sorted(withheld, user, packer->items[i])) {
                packer->leak = (struct leaked_pair){user, packer->items[i], part == 1};
                packer->leaks = true;
                return error_set(
                    error, ERROR_RUN,
                    "leak: the withheld pair (user %lld, item %d) of the %s part is in a training "
                    "prompt; prepare the data set again",
                    (long long)user, (int)packer->items[i], part == 0 ? "validation" : "test");
            }
    }
    return true;
}

static bool reserve_targets(struct packer *packer, int64_t count, struct error *error)
{
    if (count <= packer->target_capacity)
        return true;
    const int64_t capacity = count + count / 2;
    int32_t *grown = realloc(packer->target_items, (size_t)capacity * sizeof *grown);
    if (!grown)
        return error_memory(error, "the targets of a batch", (size_t)capacity * sizeof *grown,
                            "lower tokens_per_batch");
    packer->target_items = grown;
    packer->target_capacity = capacity;
    return true;
}

/* Appends the targets of the positions of a sequence of single tokens, which begins at `first`: what is not shown yet. */
static bool set_targets(struct packer *packer, const struct prompt_sequence *sequence, int64_t first,
                        int64_t length, int64_t items, struct error *error)
{
    const struct token_rows *tokens = &packer->settings.prompt.layout->answer.next;
    int64_t end = packer->target_starts[first];

    if (!reserve_targets(packer, end + length * items, error))
        return false;
    for (int64_t i = 0; i < length; i++) {
        const int64_t shown = clamp(i + 1 - sequence->list, 0, sequence->cut) +
                              clamp(i - sequence->answer, 0, sequence->shown - sequence->cut);
        if (packer->weight[first + i] > 0)
            for (int64_t j = shown; j < items; j++)
                packer->target_items[end++] = tokens->token[tokens->starts[packer->items[j]]];
        packer->target_starts[first + i + 1] = end;
    }
    return true;
}

/* Weighs the positions of a sequence: those that learn begin at learn_from, and the last learns where it is of a set; returns
 * the sum. */
static double weigh(const struct packer *packer, int32_t number, float *weights /* [length], or NULL */)
{
    const double power = packer->settings.context_weight;
    const int64_t length = packer->length[number];
    const int64_t end = packer->settings.objective == OBJECTIVE_SET ? length : length - 1;
    double sum = 0;

    for (int64_t i = 0; i < length; i++) {
        const bool learns = i >= packer->learn_from[number] && i < end;
        const double weight = learns ? pow((double)i / (double)length, power) : 0;
        if (weights)
            weights[i] = (float)weight;
        sum += weight;
    }
    return sum;
}

/* Appends one sequence at token `first`. *weights += the sum of its weights. */
static bool append_sequence(struct packer *packer, int32_t number, int64_t first, double *weights,
                            struct error *error)
{
    const struct packing_settings *settings = &packer->settings;
    const int64_t user = number / packer->prompts_per_user, length = packer->length[number];
    const int64_t items = csr_row_length(packer->train, user);
    const struct prompt_sequence sequence = draw_sequence(packer, number, packer->token + first);

    for (int64_t i = 0; i < length; i++)
        packer->position[first + i] = (int32_t)i;
    if (!check_withheld(packer, user, items, error))
        return false;
    *weights += weigh(packer, number, packer->weight + first);
    if (settings->objective == OBJECTIVE_SET)
        return set_targets(packer, &sequence, first, length, items, error);
    for (int64_t i = 0; i + 1 < length; i++)
        packer->target[first + i] = packer->weight[first + i] > 0 ? packer->token[first + i + 1] : -1;
    packer->target[first + length - 1] = -1;
    return true;
}

bool packer_batch(struct packer *packer, int64_t index, double share, struct batch *batch,
                  struct error *error)
{
    const struct packer_run all = {0, packer->sequences};

    return packer_batch_part(packer, index, all, share, batch, error);
}

bool packer_batch_part(struct packer *packer, int64_t index, struct packer_run run, double share,
                       struct batch *batch, struct error *error)
{
    const int64_t first = packer->batch_starts[index], last = packer->batch_starts[index + 1];
    const int64_t begin = clamp(run.begin, first, last), end = clamp(run.end, begin, last);
    int64_t tokens = 0, sequences = 0;
    double weights = 0;

    assert(index >= 0 && index < packer->batches);
    packer->target_starts[0] = 0;
    for (int64_t i = first; i < last; i++) {
        if (i < begin || i >= end) {
            weights += weigh(packer, packer->order[i], NULL);
            continue;
        }
        packer->starts[sequences++] = (int32_t)tokens;
        if (!append_sequence(packer, packer->order[i], tokens, &weights, error))
            return false;
        tokens += packer->length[packer->order[i]];
    }
    packer->starts[sequences] = (int32_t)tokens;
    for (int64_t t = 0; t < tokens; t++)
        packer->weight[t] = (float)(packer->weight[t] * share / weights);
    const bool set = packer->settings.objective == OBJECTIVE_SET;
    *batch = (struct batch){
        .tokens = tokens,
        .sequences = sequences,
        .first_token = count_tokens(packer, first, begin),
        .token = packer->token,
        .position = packer->position,
        .starts = packer->starts,
        .target = set ? NULL : packer->target,
        .target_starts = set ? packer->target_starts : NULL,
        .target_items = set ? packer->target_items : NULL,
        .exclude_shown = set,
        .weight = packer->weight,
    };
    return true;
}

const struct leaked_pair *packer_leak(const struct packer *packer)
{
    return packer->leaks ? &packer->leak : NULL;
}
