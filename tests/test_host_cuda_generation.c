/* Generation on the emulated GPU: decoding over the cache, sampling and ranking against the CPU, with steps that are
 * recorded and steps that are not, in f32 and in bf16. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/language/cache.h"
#include "tests/generation_models.h"
#include "tests/host_device.h"

enum { ITEMS = 40, USERS = 22, LONGEST = 12, PROMPT = LONGEST + 4, DRAWN = 4 };

static struct transformer *open_model(struct backend *backend, enum precision precision)
{
    struct transformer_settings settings = model_settings(CONTROL_TOKEN_COUNT + ITEMS, 2, true);
    settings.layers = 2;
    settings.precision = precision;
    return make_model(backend, settings, backend->device == DEVICE_CPU ? 64 : 0);
}

/* ---- the cache ---------------------------------------------------------------------------------------- */

enum { CACHED = 20, LENGTH = 24, STEPS = 4, CLASSES = CONTROL_TOKEN_COUNT + ITEMS };

/* By norm. */
static double relative_difference(const float *actual, const float *expected, int64_t count)
{
    double square = 0, difference = 0;
    for (int64_t i = 0; i < count; i++) {
        square += pow((double)expected[i], 2);
        difference += pow((double)actual[i] - (double)expected[i], 2);
    }
    return sqrt(difference / square);
}

/* Sequences of many lengths, two of which begin alike, go on side by side from what the device has read. */
static void compare_with_uncached(struct backend *cpu, struct backend *device, enum precision precision,
                                  double limit)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer *reference = open_model(cpu, PRECISION_F32), *model = open_model(device, precision);
    const struct cache_settings settings = {.slots = CACHED, .capacity = LENGTH, .pass_tokens = 100};
    struct random_stream stream = random_stream_open(1, RANDOM_TEST, 0, 0);
    int32_t tokens[CACHED][LENGTH], position[CACHED], slot[CACHED], next[CACHED];
    struct cache *cache;
    double worst = 0;
    const int64_t columns = transformer_logit_columns(model);
    float *expected[CACHED], *found = malloc((size_t)(CACHED * columns) * sizeof *found);
    require(cache_create(&cache, model, &settings, &error), &error);
    for (int row = 0; row < CACHED; row++) {
        for (int i = 0; i < LENGTH; i++)
            tokens[row][i] = (int32_t)random_below(&stream, CLASSES);
        slot[row] = CACHED - 1 - row;
        position[row] = 1 + row * 7 % (LENGTH - STEPS - 1);
        if (row == 1) {
            position[1] = position[0];
            memcpy(tokens[1], tokens[0], (size_t)position[0] * sizeof(int32_t));
            cache_share(cache, slot[1], slot[0], 0, position[0]);
        } else {
            cache_read(cache, slot[row], tokens[row], position[row]);
        }
        expected[row] = full_logits(reference, tokens[row], LENGTH);
    }
    for (int step = 0; step < STEPS; step++) {
        struct tensor logits;
        for (int row = 0; row < CACHED; row++)
            next[row] = tokens[row][position[row]];
        cache_decode(cache, &(struct decode_step){CACHED, slot, next, position}, &logits);
        logits = tensor_rows(&logits, 0, CACHED);
        tensor_download(device, found, &logits);
        require(backend_synchronize(device, &error), &error);
        for (int row = 0; row < CACHED; row++) {
            worst = fmax(worst, relative_difference(found + row * columns,
                                                    expected[row] + position[row] * CLASSES, CLASSES));
            position[row]++;
        }
    }
    printf("logits differ by %.2g\n", worst);
    assert_true(worst <= limit);
    for (int row = 0; row < CACHED; row++)
        free(expected[row]);
    free(found);
    cache_free(cache);
    transformer_free(model);
    transformer_free(reference);
}

static void cached_decoding_equals_the_uncached_forward(void **state)
{
    (void)state;
    struct backend *cpu = open_backend(1), *device = open_device();
    compare_with_uncached(cpu, device, PRECISION_F32, 1e-5);
    compare_with_uncached(cpu, device, PRECISION_BF16, 0.2);
    backend_close(device);
    backend_close(cpu);
}

/* ---- sampling ----------------------------------------------------------------------------------------- */

/* More lists than rows, so that ended ones are replaced. */
static struct sampler_settings sampling_way(int way)
{
    struct sampler_settings settings = sampler_settings(ITEMS, PROMPT);
    settings.samples = 3;
    settings.contexts = 2;
    settings.items_maximum = DRAWN;
    settings.sampling.top_p = way == 0 ? 1.0f : 0.9f;
    settings.constrained = way != 1;
    settings.end_trained = way == 2;
    return settings;
}

/* Lists that are not the same items in the same order; the log-probabilities of the others must agree. */
static int count_other_lists(const struct proposal_list *a, const struct proposal_list *b)
{
    int32_t items[2][USERS * 3][DRAWN];
    float log_probability[2][USERS * 3][DRAWN] = {{{0}}};
    memset(items, 0xFF, sizeof items);
    for (int which = 0; which < 2; which++) {
        const struct proposal_list *list = which == 0 ? a : b;
        for (int64_t i = 0; i < list->count; i++) {
            const struct proposal *row = &list->row[i];
            items[which][row->user * 3 + row->sample][row->position] = row->item;
            log_probability[which][row->user * 3 + row->sample][row->position] = row->log_probability;
        }
    }
    int other = 0;
    for (int index = 0; index < USERS * 3; index++) {
        if (memcmp(items[0][index], items[1][index], sizeof items[0][index]) != 0) {
            other++;
            continue;
        }
        for (int i = 0; i < DRAWN; i++)
            assert_true(fabsf(log_probability[0][index][i] - log_probability[1][index][i]) < 1e-4f);
    }
    return other;
}

/* Against the CPU, and the same bits again: without recorded steps, or simply again. */
static void check_sampling(struct backend *cpu, struct backend *device, const struct csr *train, int way)
{
    const struct sampler_settings settings = sampling_way(way);
    struct transformer *reference = open_model(cpu, PRECISION_F32),
                       *model = open_model(device, PRECISION_F32);
    const struct graph_calls *calls = device->graph_calls;
    struct proposal_list expected = run_sampler(reference, &settings, train);
    struct proposal_list found = run_sampler(model, &settings, train);
    if (way == 2)
        device->graph_calls = NULL;
    if (way != 1) {
        struct proposal_list again = run_sampler(model, &settings, train);
        assert_true(same_list(&found, &again));
        proposal_list_free(&again);
    }
    device->graph_calls = calls;
    const int other = count_other_lists(&expected, &found);
    printf("way %d: %d of %d lists differ from the CPU's\n", way, other, USERS * 3);
    assert_in_range(other, 0, 1); /* a random number can fall between two roundings of a sum */
    assert_true(other > 0 || expected.invalid == found.invalid);
    assert_true(way != 1 || (found.invalid > 0 && found.already_seen > 0 && found.duplicate > 0));
    assert_true(way != 2 || found.count < USERS * 3 * DRAWN); /* some lists end early */
    proposal_list_free(&expected);
    proposal_list_free(&found);
    transformer_free(model);
    transformer_free(reference);
}

static void samples_equal_the_cpus(void **state)
{
    (void)state;
    struct backend *cpu = open_backend(1), *device = open_device();
    struct csr train = make_train(USERS, ITEMS, LONGEST);
    for (int way = 0; way < 3; way++)
        check_sampling(cpu, device, &train, way);
    csr_free(&train);
    backend_close(device);
    backend_close(cpu);
}

static void samples_of_bf16_are_valid(void **state)
{
    (void)state;
    struct backend *device = open_device();
    struct csr train = make_train(USERS, ITEMS, LONGEST);
    struct transformer *model = open_model(device, PRECISION_BF16);
    const struct sampler_settings settings = sampling_way(0);
    struct proposal_list found = run_sampler(model, &settings, &train);
    assert_int_equal(found.count, USERS * 3 * DRAWN);
    assert_int_equal(found.valid, found.count);
    proposal_list_free(&found);
    transformer_free(model);
    csr_free(&train);
    backend_close(device);
}

/* ---- ranking ------------------------------------------------------------------------------------------ */

static struct ranker_settings ranking(void)
{
    struct ranker_settings settings = ranker_settings(ITEMS, PROMPT);
    settings.items_maximum = DRAWN;
    return settings;
}

enum { MODELS = 3 };

/* Whose probabilities are averaged. */
static struct proposal_list rank_by(struct backend *backend, int64_t count, const struct csr *train)
{
    const struct transformer_settings settings = model_settings(CONTROL_TOKEN_COUNT + ITEMS, 2, true);
    const struct ranker_settings wanted = ranking();
    struct transformer *models[MODELS];
    for (int64_t i = 0; i < count; i++)
        models[i] = draw_model(backend, settings, backend->device == DEVICE_CPU ? 64 : 0, (uint64_t)(5 + i));
    struct proposal_list list = run_rankers(models, count, &wanted, train);
    for (int64_t i = 0; i < count; i++)
        transformer_free(models[i]);
    return list;
}

static void compare_rankings(int64_t models)
{
    struct backend *cpu = open_backend(1), *device = open_device();
    struct csr train = make_train(USERS, ITEMS, LONGEST);
    struct proposal_list expected = rank_by(cpu, models, &train);
    struct proposal_list found = rank_by(device, models, &train);
    assert_int_equal(expected.count, USERS * DRAWN);
    assert_int_equal(found.count, expected.count);
    for (int64_t i = 0; i < found.count; i++) {
        const struct proposal *a = &expected.row[i], *b = &found.row[i];
        assert_true(fabsf(a->log_probability - b->log_probability) < 1e-4f);
        assert_int_equal(a->user, b->user);
        assert_int_equal(a->item, b->item);
        assert_int_equal(a->position, b->position);
        assert_int_equal(a->votes, b->votes);
    }
    proposal_list_free(&expected);
    proposal_list_free(&found);
    csr_free(&train);
    backend_close(device);
    backend_close(cpu);
}

static void rankings_equal_the_cpus(void **state)
{
    (void)state;
    compare_rankings(1);
    compare_rankings(MODELS);
}

/* ---- slots -------------------------------------------------------------------------------------------- */

/* What a device draws and ranks with so many slots. */
static void draw_and_rank(struct proposal_list *results, struct transformer *model, const struct csr *train,
                          int way, int64_t slots)
{
    struct sampler_settings sampling = sampling_way(way);
    struct ranker_settings ranked = ranking();
    sampling.batch = ranked.batch = slots;
    results[0] = run_sampler(model, &sampling, train);
    results[1] = run_ranker(model, &ranked, train);
}

/* Steps are recorded for 64 and for 128 rows. Few users where there are few slots, for the sake of time. */
static void compare_slots(struct backend *device, enum precision precision, int way, int first, int last)
{
    struct csr train = make_train(USERS, ITEMS, LONGEST);
    struct transformer *model = open_model(device, precision);
    for (int i = first; i <= last; i++) {
        struct proposal_list expected[2], found[2];
        train.rows = slot_counts[i] < 63 ? 3 : USERS;
        draw_and_rank(expected, model, &train, way, 128);
        draw_and_rank(found, model, &train, way, slot_counts[i]);
        for (int result = 0; result < 2; result++) {
            assert_true(same_list(&expected[result], &found[result]));
            proposal_list_free(&expected[result]);
            proposal_list_free(&found[result]);
        }
    }
    transformer_free(model);
    csr_free(&train);
}

static void lists_do_not_depend_on_the_slots(void **state)
{
    (void)state;
    struct backend *device = open_device();
    compare_slots(device, PRECISION_F32, 0, 0, SLOT_COUNTS - 1);
    compare_slots(device, PRECISION_BF16, 2, 1, 2);
    backend_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cached_decoding_equals_the_uncached_forward),
        cmocka_unit_test(samples_equal_the_cpus),
        cmocka_unit_test(samples_of_bf16_are_valid),
        cmocka_unit_test(rankings_equal_the_cpus),
        cmocka_unit_test(lists_do_not_depend_on_the_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
