/* Decoding over the cache, sampling and ranking against the uncached forward pass, and the stage's files. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/counting.h"
#include "core/file.h"
#include "core/store.h"
#include "experiments/generated.h"
#include "experiments/run.h"
#include "models/language/cache.h"
#include "models/language/checkpoint.h"
#include "models/language/constraint.h"
#include "tests/generation_models.h"

/* ---- the cache ---------------------------------------------------------------------------------------- */

enum { CACHED = 70, LENGTH = 40, VOCABULARY = 50 };

static void assert_close(const real *actual, const float *expected, int64_t count)
{
    double largest = 0, difference = 0;
    for (int64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs((double)expected[i]));
        difference = fmax(difference, fabs((double)actual[i] - (double)expected[i]));
    }
    if (!(difference <= 1e-5 * largest))
        fail_msg("cached and uncached logits differ by %g of %g", difference, largest);
}

/* Sequences of all lengths, two of which begin alike, are decoded side by side to LENGTH tokens. */
static void compare_with_uncached(int64_t key_heads, bool positions, enum frozen_storage frozen)
{
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = open_backend(1);
    struct transformer_settings shape = model_settings(VOCABULARY, key_heads, positions);
    shape.frozen = frozen;
    struct transformer *model = make_model(backend, shape, LENGTH);
    const struct cache_settings settings = {.slots = CACHED, .capacity = LENGTH, .pass_tokens = 100};
    struct random_stream stream = random_stream_open(1, RANDOM_TEST, 0, 0);
    struct cache *cache;
    int32_t tokens[CACHED][LENGTH], position[CACHED], slot[CACHED], next[CACHED];
    float *expected[CACHED];
    require(cache_create(&cache, model, &settings, &error), &error);
    for (int row = 0; row < CACHED; row++) {
        for (int i = 0; i < LENGTH; i++)
            tokens[row][i] = (int32_t)random_below(&stream, VOCABULARY);
        slot[row] = CACHED - 1 - row;
        position[row] = 1 + row % 30;
        if (row == 1) {
            position[row] = position[0] = 9;
            memcpy(tokens[1], tokens[0], 9 * sizeof(int32_t));
            cache_share(cache, slot[1], slot[0], 0, 9);
        } else {
            cache_read(cache, slot[row], tokens[row], row == 0 ? 9 : position[row]);
        }
        expected[row] = full_logits(model, tokens[row], LENGTH);
    }
    for (int step = 0; step < 10; step++) {
        struct tensor logits;
        for (int row = 0; row < CACHED; row++)
            next[row] = tokens[row][position[row]];
        cache_decode(cache, &(struct decode_step){CACHED, slot, next, position}, &logits);
        require(backend_synchronize(backend, &error), &error);
        for (int row = 0; row < CACHED; row++, position[row - 1]++)
            assert_close((const real *)logits.data + row * VOCABULARY,
                         expected[row] + position[row] * VOCABULARY, VOCABULARY);
    }
    for (int row = 0; row < CACHED; row++)
        free(expected[row]);
    cache_free(cache);
    transformer_free(model);
    backend_close(backend);
}

static void test_cache(void **state)
{
    (void)state;
    compare_with_uncached(4, false, FROZEN_PRECISION);
    compare_with_uncached(2, true, FROZEN_PRECISION);
    compare_with_uncached(1, true, FROZEN_PRECISION);
    compare_with_uncached(2, true, FROZEN_INT8);
    compare_with_uncached(2, true, FROZEN_NF4);
}

/* ---- sampling ----------------------------------------------------------------------------------------- */

static bool contains(const int32_t *values, int64_t count, int32_t value)
{
    for (int64_t i = 0; i < count; i++)
        if (values[i] == value)
            return true;
    return false;
}

/* Temperature 0 is the argmax of the uncached logits over what is allowed, step by step. */
static void test_greedy(void **state)
{
    (void)state;
    enum { ITEMS = 40, TRAIN = 12, MAXIMUM = 6, PROMPT = TRAIN + 4 };
    struct backend *backend = open_backend(1);
    struct transformer *model = make_model(backend, model_settings(CONTROL_TOKEN_COUNT + ITEMS, 2, true), 64);
    struct csr train = make_train(5, ITEMS, TRAIN);
    struct sampler_settings settings = sampler_settings(ITEMS, PROMPT);
    settings.sampling.temperature = 0.0f;
    struct proposal_list list = run_sampler(model, &settings, &train);
    assert_int_equal(list.count, train.rows * MAXIMUM);
    for (int32_t user = 0; user < train.rows; user++) {
        int32_t tokens[PROMPT + MAXIMUM];
        int64_t length = prompt_context(tokens, &settings.prompt, user, train.indices + train.starts[user],
                                        csr_row_length(&train, user), 11, 0);
        for (int step = 0; step < MAXIMUM; step++) {
            float *logits = full_logits(model, tokens, length);
            const float *last = logits + (length - 1) * (CONTROL_TOKEN_COUNT + ITEMS);
            int32_t best = -1;
            for (int32_t token = CONTROL_TOKEN_COUNT; token < CONTROL_TOKEN_COUNT + ITEMS; token++)
                if (!contains(tokens, length, token) && (best < 0 || last[token] > last[best]))
                    best = token;
            free(logits);
            assert_int_equal(list.row[user * MAXIMUM + step].item, best - CONTROL_TOKEN_COUNT);
            tokens[length++] = best;
        }
    }
    proposal_list_free(&list);
    csr_free(&train);
    transformer_free(model);
    backend_close(backend);
}

enum { FEW = 5, DRAWS = 10000 };

static int compare_descending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Leaves out what top_k and then top_p leave out, and renormalises. */
static void truncate_distribution(double probability[FEW], const struct sampling *sampling)
{
    double sorted[FEW], mass = 0, sum = 0;
    int kept = 0;
    const int most = sampling->top_k > 0 && sampling->top_k < FEW ? (int)sampling->top_k : FEW;
    memcpy(sorted, probability, sizeof sorted);
    qsort(sorted, FEW, sizeof *sorted, compare_descending);
    for (int i = 0; i < most; i++)
        mass += sorted[i];
    while (kept < most && (kept == 0 || sum < (double)sampling->top_p * mass))
        sum += sorted[kept++];
    for (int item = 0; item < FEW; item++)
        probability[item] = probability[item] < sorted[kept - 1] ? 0 : probability[item] / sum;
}

/* P(item | tokens) over the items that are not among the tokens. */
static void item_distribution(double probability[FEW], struct transformer *model, const int32_t *tokens,
                              int64_t length, const struct sampling *sampling)
{
    float *logits = full_logits(model, tokens, length);
    const float *last = logits + (length - 1) * (CONTROL_TOKEN_COUNT + FEW) + CONTROL_TOKEN_COUNT;
    double sum = 0;
    for (int32_t item = 0; item < FEW; item++) {
        const bool taken = contains(tokens, length, vocabulary_item_token(item));
        probability[item] = taken ? 0 : exp((double)last[item] / (double)sampling->temperature);
        sum += probability[item];
    }
    for (int item = 0; item < FEW; item++)
        probability[item] /= sum;
    free(logits);
    truncate_distribution(probability, sampling);
}

/* The 0.999 quantiles of chi-square by degrees of freedom. */
static const double quantiles[20] = {0,     10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32, 26.12, 27.88,
                                     29.59, 31.26, 32.91, 34.53, 36.12, 37.70, 39.25, 40.79, 42.31, 43.82};

static void compare_frequencies(struct transformer *model, const struct sampler_settings *settings,
                                const struct proposal_list *list)
{
    int64_t observed[FEW][FEW] = {{0}};
    int32_t tokens[4] = {TOKEN_BEGIN, TOKEN_NO_USER, TOKEN_SEPARATOR};
    double first[FEW], second[FEW], statistic = 0;
    int possible = 0;
    for (int64_t row = 0; row < list->count; row += 2)
        observed[list->row[row].item][list->row[row + 1].item]++;
    item_distribution(first, model, tokens, 3, &settings->sampling);
    for (int32_t a = 0; a < FEW; a++) {
        tokens[3] = vocabulary_item_token(a);
        item_distribution(second, model, tokens, 4, &settings->sampling);
        for (int b = 0; b < FEW; b++) {
            const double expected = DRAWS * first[a] * second[b];
            if (expected <= 0)
                assert_int_equal(observed[a][b], 0);
            else
                statistic += pow((double)observed[a][b] - expected, 2) / expected;
            possible += expected > 0;
        }
    }
    assert_in_range(possible, 2, 20);
    if (!(statistic < quantiles[possible - 1]))
        fail_msg("chi-square %g of %d kinds of lists", statistic, possible);
}

static void test_frequencies(void **state)
{
    (void)state;
    static const struct sampling ways[] = {{.temperature = 0.7f, .top_p = 1.0f, .seed = 11},
                                           {.temperature = 1.5f, .top_p = 0.8f, .seed = 12},
                                           {.temperature = 1.0f, .top_p = 1.0f, .top_k = 3, .seed = 13},
                                           {.temperature = 1.0f, .top_p = 0.9f, .top_k = 3, .seed = 14}};
    const struct sampling plain = {.temperature = 1.0f, .top_p = 1.0f};
    struct backend *backend = open_backend(2);
    struct transformer *model = make_model(backend, model_settings(CONTROL_TOKEN_COUNT + FEW, 4, true), 64);
    struct csr train = make_train(1, FEW, 0);
    struct sampler_settings settings = sampler_settings(FEW, 8);
    settings.samples = DRAWS;
    settings.items_maximum = 2;
    settings.batch = 512;
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
        settings.sampling = ways[way];
        struct proposal_list list = run_sampler(model, &settings, &train);
        assert_int_equal(list.count, 2 * DRAWS);
        compare_frequencies(model, &settings, &list);
        double first[FEW]; /* log-probabilities are those before temperature and truncation */
        item_distribution(first, model, (const int32_t[]){TOKEN_BEGIN, TOKEN_NO_USER, TOKEN_SEPARATOR}, 3,
                          &plain);
        for (int64_t row = 0; row < 200; row += 2)
            assert_true(fabs((double)list.row[row].log_probability - log(first[list.row[row].item])) < 1e-4);
        proposal_list_free(&list);
    }
    csr_free(&train);
    transformer_free(model);
    backend_close(backend);
}

/* Plans ask a small model with a tokenizer about items that are no tokens of it. */
static void test_items_without_a_token(void **state)
{
    (void)state;
    const struct vocabulary vocabulary = {.items = 3};
    const int32_t items[] = {1, 3, 1000};
    uint32_t bits[2] = {0, 0};
    assert_int_equal(constraint_words(&vocabulary), 1);
    constraint_begin(bits, &vocabulary, true, items, 3);
    for (int32_t token = 0; token < vocabulary_classes(&vocabulary); token++)
        assert_int_equal(constraint_holds(bits, token),
                         token < CONTROL_TOKEN_COUNT || token == vocabulary_item_token(1));
    assert_int_equal(bits[1], 0);
}

static void test_constraints(void **state)
{
    (void)state;
    enum { ITEMS = 10 };
    struct backend *backend = open_backend(1);
    struct transformer *model = make_model(backend, model_settings(CONTROL_TOKEN_COUNT + ITEMS, 4, false), 0);
    struct csr train = make_train(100, ITEMS, 8);
    struct sampler_settings settings = sampler_settings(ITEMS, 12);
    settings.samples = 3;
    settings.contexts = 2;
    struct proposal_list list = run_sampler(model, &settings, &train);
    assert_int_equal(list.requested, 100 * 3 * 6);
    assert_int_equal(list.invalid + list.already_seen + list.duplicate, 0);
    assert_int_equal(list.valid, list.count);
    for (int64_t row = 0; row < list.count; row++) {
        const struct proposal *p = &list.row[row];
        assert_false(
            contains(train.indices + train.starts[p->user], csr_row_length(&train, p->user), p->item));
        int votes = 0; /* a list of the user holds an item at most once */
        for (int64_t other = 0; other < list.count; other++)
            votes += list.row[other].user == p->user && list.row[other].item == p->item;
        assert_int_equal(p->votes, votes);
    }
    for (int64_t user = 0; user < train.rows; user++) { /* lists stop when nothing is left */
        int64_t rows = 0;
        for (int64_t row = 0; row < list.count; row++)
            rows += list.row[row].user == user;
        const int64_t left = ITEMS - csr_row_length(&train, user);
        assert_int_equal(rows, 3 * (left < 6 ? left : 6));
    }
    proposal_list_free(&list);
    settings.constrained = false;
    list = run_sampler(model, &settings, &train);
    assert_true(list.invalid > 0 && list.already_seen > 0 && list.duplicate > 0 && list.valid > 0);
    assert_int_equal(list.count, list.valid + list.already_seen + list.duplicate);
    assert_int_equal(list.count + list.invalid, list.requested);
    proposal_list_free(&list);
    csr_free(&train);
    transformer_free(model);
    backend_close(backend);
}

/* ---- ranking ------------------------------------------------------------------------------------------ */

/* Adds a vote for each of the `limit` most probable items after a context, by their logits. */
static void add_votes(int *votes, const float *logits, int64_t items, int64_t limit, const int32_t *tokens,
                      int64_t length)
{
    for (int32_t item = 0; item < items; item++) {
        int64_t better = 0;
        for (int32_t other = 0; other < items; other++)
            better += !contains(tokens, length, vocabulary_item_token(other)) && logits[other] > logits[item];
        votes[item] += better < limit && !contains(tokens, length, vocabulary_item_token(item));
    }
}

/* Mean over the contexts of the probability of each item that is not in train, and the votes of each. */
static void mean_probability(double *mean, int *votes, struct transformer *model,
                             const struct ranker_settings *settings, const struct csr *train, int32_t user)
{
    const int64_t items = settings->vocabulary.items;
    int32_t tokens[64];
    memset(mean, 0, (size_t)items * sizeof *mean);
    memset(votes, 0, (size_t)items * sizeof *votes);
    for (int64_t context = 0; context < settings->contexts; context++) {
        const int64_t length =
            prompt_context(tokens, &settings->prompt, user, train->indices + train->starts[user],
                           csr_row_length(train, user), settings->seed, (uint64_t)context);
        float *logits = full_logits(model, tokens, length),
              *last = logits + (length - 1) * (CONTROL_TOKEN_COUNT + items);
        double sum = 0;
        for (int32_t item = 0; item < items; item++)
            if (!contains(tokens, length, vocabulary_item_token(item)))
                sum += exp((double)last[vocabulary_item_token(item)]);
        for (int32_t item = 0; item < items; item++)
            if (!contains(tokens, length, vocabulary_item_token(item)))
                mean[item] +=
                    exp((double)last[vocabulary_item_token(item)]) / sum / (double)settings->contexts;
        add_votes(votes, last + vocabulary_item_token(0), items, settings->items_maximum, tokens, length);
        free(logits);
    }
}

static void test_ranking(void **state)
{
    (void)state;
    enum { ITEMS = 40, TRAIN = 12, USERS = 30, BEST = 5 };
    struct backend *backend = open_backend(2);
    struct transformer *model = make_model(backend, model_settings(CONTROL_TOKEN_COUNT + ITEMS, 2, true), 64);
    struct csr train = make_train(USERS, ITEMS, TRAIN);
    const struct ranker_settings settings = ranker_settings(ITEMS, TRAIN + 4);
    struct proposal_list list = run_ranker(model, &settings, &train);
    assert_int_equal(list.count, USERS * BEST);
    for (int32_t user = 0; user < USERS; user++) {
        const struct proposal *row = list.row + user * BEST;
        double mean[ITEMS];
        int votes[ITEMS];
        int64_t better = 0;
        mean_probability(mean, votes, model, &settings, &train, user);
        for (int rank = 0; rank < BEST; rank++) {
            assert_true(row[rank].user == user && row[rank].position == rank && row[rank].sample == 0);
            assert_true(fabs((double)row[rank].log_probability - log(mean[row[rank].item])) < 1e-4);
            assert_int_equal(row[rank].votes, votes[row[rank].item]);
        }
        for (int item = 0; item < ITEMS; item++)
            better += log(mean[item]) > (double)row[BEST - 1].log_probability + 1e-4;
        assert_true(better < BEST);
    }
    proposal_list_free(&list);
    csr_free(&train);
    transformer_free(model);
    backend_close(backend);
}

/* ---- slots -------------------------------------------------------------------------------------------- */

/* More lists and contexts than any number of slots. */
static void test_any_number_of_slots(void **state)
{
    (void)state;
    enum { ITEMS = 40, TRAIN = 12, USERS = 70 };
    struct backend *backend = open_backend(2);
    struct transformer *model = make_model(backend, model_settings(CONTROL_TOKEN_COUNT + ITEMS, 2, true), 0);
    struct csr train = make_train(USERS, ITEMS, TRAIN);
    struct sampler_settings sampling = sampler_settings(ITEMS, TRAIN + 4);
    struct ranker_settings ranking = ranker_settings(ITEMS, TRAIN + 4);
    sampling.samples = 3;
    sampling.contexts = 2;
    struct proposal_list drawn = run_sampler(model, &sampling, &train);
    struct proposal_list ranked = run_ranker(model, &ranking, &train);
    for (int i = 0; i < SLOT_COUNTS; i++) {
        sampling.batch = ranking.batch = slot_counts[i];
        struct proposal_list lists = run_sampler(model, &sampling, &train);
        struct proposal_list rankings = run_ranker(model, &ranking, &train);
        assert_true(same_list(&drawn, &lists));
        assert_true(same_list(&ranked, &rankings));
        proposal_list_free(&lists);
        proposal_list_free(&rankings);
    }
    proposal_list_free(&drawn);
    proposal_list_free(&ranked);
    csr_free(&train);
    transformer_free(model);
    backend_close(backend);
}

/* A model on a device that has so much memory; 0: nobody knows how much. */
static struct transformer *model_with_memory(enum device_kind device, size_t memory)
{
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = counting_backend_open(device, 1, &error);
    struct transformer_settings shape = model_settings(1000, 4, true);
    struct transformer *model;
    assert_non_null(backend);
    counting_backend_set_memory(backend, memory);
    shape.layers = 16;
    require(transformer_create(&model, backend, &shape, NULL, TRAIN_NOTHING, 0, 0, 7, &error), &error);
    return model;
}

enum { SLOT_CAPACITY = 4096 };
#define SLOT_BYTES ((size_t)2 * 16 * SLOT_CAPACITY * 32 * sizeof(float)) /* 16 MiB */
#define GIB ((size_t)1 << 30)

static int64_t slots_of(enum device_kind device, size_t memory, struct slots_wanted wanted)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer *model = model_with_memory(device, memory);
    struct backend *backend = transformer_backend(model);
    int64_t slots;
    wanted.capacity = SLOT_CAPACITY;
    require(cache_choose_slots(&slots, model, &wanted, &error), &error);
    transformer_free(model);
    backend_close(backend);
    return slots;
}

static void test_choice_of_slots(void **state)
{
    (void)state;
    const struct slots_wanted many = {.most = 1000, .least = 1}, beams = {.most = 1000, .least = 100};
    struct slots_wanted given = {.most = 40, .least = 1, .bytes = 20 * SLOT_BYTES - 1};
    assert_int_equal(slots_of(DEVICE_CPU, 0, given), 19);
    given.bytes = 40 * SLOT_BYTES;
    assert_int_equal(slots_of(DEVICE_CPU, 0, given), 40);
    given.bytes = 400 * SLOT_BYTES;
    assert_int_equal(slots_of(DEVICE_CUDA, 4 * SLOT_BYTES, given), 40);
    given.most = 1000;
    given.bytes = 150 * SLOT_BYTES;
    assert_int_equal(slots_of(DEVICE_CPU, 0, given), 128); /* whole blocks of rows */
    assert_int_equal(slots_of(DEVICE_CUDA, 0, given), 150);
    given.least = 130;
    assert_int_equal(slots_of(DEVICE_CPU, 0, given), 150);
    assert_int_equal(slots_of(DEVICE_CPU, 0, many), GIB / SLOT_BYTES);
    assert_int_equal(slots_of(DEVICE_CUDA, 0, many), 1000);
    assert_int_equal(slots_of(DEVICE_CPU, GIB, beams), 100);
    assert_int_equal(slots_of(DEVICE_CUDA, GIB / 64, many), 1);
    const int64_t found = slots_of(DEVICE_CUDA, 8 * GIB, many);
    assert_true(found >= (int64_t)(5 * GIB / SLOT_BYTES) && found <= (int64_t)(7 * GIB / SLOT_BYTES));
    assert_int_equal((size_t)found * SLOT_BYTES % GIB, 0);
}

static void test_refusal_of_slots(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct transformer *model = model_with_memory(DEVICE_CUDA, 0);
    struct backend *backend = transformer_backend(model);
    const struct slots_wanted wanted = {
        .capacity = SLOT_CAPACITY, .most = 40, .least = 32, .bytes = 31 * SLOT_BYTES};
    int64_t slots;
    assert_false(cache_choose_slots(&slots, model, &wanted, &error));
    assert_int_equal(error.kind, ERROR_USAGE);
    assert_non_null(strstr(error.message, "32 sequences of up to 4096 tokens take 0.5 GiB"));
    assert_non_null(strstr(error.message, "generate.memory is 0.484; raise it, or lower prompts.length"));
    transformer_free(model);
    backend_close(backend);
}

/* ---- the stage ---------------------------------------------------------------------------------------- */

enum { STAGE_USERS = 1100, STAGE_ITEMS = 60 };

static struct id_map make_ids(int64_t count)
{
    struct id_map ids = {.count = count};
    ids.offsets = calloc((size_t)count + 1, sizeof *ids.offsets);
    ids.bytes = calloc((size_t)count, 8);
    for (int64_t id = 0; id < count; id++)
        ids.offsets[id + 1] =
            ids.offsets[id] + sprintf(ids.bytes + ids.offsets[id], "%lld", (long long)id) + 1;
    return ids;
}

static struct csr empty_matrix(void)
{
    return (struct csr){.rows = STAGE_USERS,
                        .columns = STAGE_ITEMS,
                        .starts = calloc(STAGE_USERS + 1, sizeof(int64_t)),
                        .indices = calloc(1, sizeof(int32_t))};
}

/* A run's folder with a data set and a base model. */
static char *make_folder(void)
{
    struct error error = ERROR_INITIALIZER;
    char name[] = "/tmp/idrec-generation-XXXXXX";
    char *folder = path_format("%s", mkdtemp(name));
    char *data = path_format("%s/dataset.h5", folder), *base = path_format("%s/language_model/base", folder);
    struct dataset dataset = {.name = path_format("test"),
                              .user_ids = make_ids(STAGE_USERS),
                              .item_ids = make_ids(STAGE_ITEMS),
                              .train = make_train(STAGE_USERS, STAGE_ITEMS, 20),
                              .validation = empty_matrix(),
                              .test = empty_matrix()};
    struct backend *backend = open_backend(1);
    struct transformer *model =
        make_model(backend, model_settings(CONTROL_TOKEN_COUNT + STAGE_ITEMS, 2, true), 0);
    require(dataset_save(&dataset, data, &error), &error);
    require(folder_create(base, &error), &error);
    require(checkpoint_save_base(model, base, &error), &error);
    transformer_free(model);
    backend_close(backend);
    dataset_free(&dataset);
    free(data);
    free(base);
    return folder;
}

/* Runs the stage and reads its file. */
static struct generated run_stage_generate(char *folder, const char *method, int batch, int threads)
{
    struct error error = ERROR_INITIALIZER;
    struct stage_cost cost = {0};
    struct generated generated;
    char *text = path_format("name: test\ndata: {path: none.csv}\nfinetune: {method: none}\n"
                             "generate: {method: %s, samples: 3, contexts: 2, max_items: 5, batch: %d}\n",
                             method, batch);
    char *path = path_format("%s/generated.h5", folder), *parts = path_format("%s/generated_parts", folder);
    struct run run = {.folder = folder, .backend = open_backend(threads)};
    require(config_parse(&run.config, "test.yaml", text, strlen(text), &error), &error);
    require(stage_generate(&run, &cost, &error), &error);
    require(generated_load(&generated, path, &error), &error);
    assert_false(path_exists(parts));
    assert_int_equal(cost.tokens, generated.counts.tokens);
    config_free(run.config);
    backend_close(run.backend);
    free(text);
    free(path);
    free(parts);
    return generated;
}

static void assert_same(const struct generated *a, const struct generated *b)
{
    const size_t bytes = (size_t)a->count * sizeof(int32_t);
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->user, b->user, bytes);
    assert_memory_equal(a->item, b->item, bytes);
    assert_memory_equal(a->sample, b->sample, bytes);
    assert_memory_equal(a->position, b->position, bytes);
    assert_memory_equal(a->votes, b->votes, bytes);
    assert_memory_equal(a->cut, b->cut, bytes);
    assert_memory_equal(a->log_probability, b->log_probability, bytes);
    assert_memory_equal(&a->counts, &b->counts,
                        offsetof(struct generation_counts, floating_point_operations));
}

static void remove_path(const char *folder, const char *name)
{
    struct error error = ERROR_INITIALIZER;
    char *path = path_format("%s/%s", folder, name);
    require(path_remove(path, &error), &error);
    free(path);
}

static void test_independence(void **state)
{
    (void)state;
    static const char *const methods[] = {"sampling", "ranking"};
    static const struct {
        int batch, threads;
    } ways[] = {{64, 1}, {128, 1}, {192, 2}, {1000, 2}};
    char *folder = make_folder();
    for (int method = 0; method < 2; method++) {
        struct generated first = {.count = 0};
        for (size_t way = 0; way < sizeof ways / sizeof *ways; way++) {
            struct generated generated =
                run_stage_generate(folder, methods[method], ways[way].batch, ways[way].threads);
            remove_path(folder, "generated.h5");
            if (way == 0) {
                first = generated;
                assert_int_equal(first.count, (method == 0 ? 3 : 1) * STAGE_USERS * 5);
                continue;
            }
            assert_same(&first, &generated);
            generated_free(&generated);
        }
        generated_free(&first);
    }
    remove_path(folder, "");
    free(folder);
}

/* Writes the rows from `first` to `end` of `all` as a part, with one vote changed to a mark. */
static void write_part(const char *folder, int part, const struct generated *all, int64_t first, int64_t end,
                       const char *fingerprint)
{
    struct error error = ERROR_INITIALIZER;
    const struct generated_origin origin = {"sampling", "", fingerprint};
    char *path = path_format("%s/generated_parts/%06d.h5", folder, part);
    struct generated rows = {.count = end - first,
                             .user = all->user + first,
                             .item = all->item + first,
                             .sample = all->sample + first,
                             .position = all->position + first,
                             .votes = all->votes + first,
                             .cut = all->cut + first,
                             .log_probability = all->log_probability + first,
                             .counts = {.valid = end - first}};
    const int32_t votes = rows.votes[0];
    rows.votes[0] = 77;
    require(generated_save(&rows, &origin, path, &error), &error);
    rows.votes[0] = votes;
    free(path);
}

/* A finished part is taken as it is; one of other settings and a damaged one are made again. */
static void test_resume(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    char *folder = make_folder(), *path = path_format("%s/generated.h5", folder);
    char *parts = path_format("%s/generated_parts", folder), *fingerprint;
    char *damaged = path_format("%s/000002.h5", parts);
    struct generated reference = run_stage_generate(folder, "sampling", 64, 1);
    struct store *store;
    require(store_open(&store, path, &error), &error);
    require(store_get_string(store, "/", "fingerprint", &fingerprint, &error), &error);
    store_close(store);
    remove_path(folder, "generated.h5");
    require(folder_create(parts, &error), &error);
    int64_t second = 0, third = 0;
    while (reference.user[second] < 512)
        second++;
    while (reference.user[third] < 1024)
        third++;
    write_part(folder, 0, &reference, 0, second, fingerprint);
    write_part(folder, 1, &reference, second, third, "0123456789abcdef");
    require(file_write(damaged, "not HDF5", 8, &error), &error);
    struct generated resumed = run_stage_generate(folder, "sampling", 64, 1);
    assert_int_equal(resumed.votes[0], 77);
    resumed.votes[0] = reference.votes[0];
    resumed.counts = reference.counts;
    assert_same(&reference, &resumed);
    generated_free(&reference);
    generated_free(&resumed);
    remove_path(folder, "");
    free(folder);
    free(path);
    free(parts);
    free(damaged);
    free(fingerprint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_frequencies),
        cmocka_unit_test(test_constraints),
        cmocka_unit_test(test_items_without_a_token),
        cmocka_unit_test(test_ranking),
        cmocka_unit_test(test_any_number_of_slots),
        cmocka_unit_test(test_choice_of_slots),
        cmocka_unit_test(test_refusal_of_slots),
        cmocka_unit_test(test_independence),
        cmocka_unit_test(test_resume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
