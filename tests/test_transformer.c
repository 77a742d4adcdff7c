#include "golden_transformer.h"

static struct backend *backend;

static int set_up(void **state)
{
    (void)state;
    backend = open_backend(2);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    backend_close(backend);
    return 0;
}

static void equals_the_goldens(void **state)
{
    (void)state;
    for (size_t index = 0; index < CASE_COUNT; index++)
        equals_the_golden(case_names[index], backend);
}

static void logits_equal_the_goldens(void **state)
{
    (void)state;
    for (size_t index = 0; index < CASE_COUNT; index++)
        logits_equal_the_golden(case_names[index], backend);
}

/* Running each layer again, and any number of threads, changes no bit, with all dropouts on. */
static void recompute_and_threads_change_nothing(void **state)
{
    (void)state;
    for (size_t index = 0; index < CASE_COUNT; index++) {
        struct golden golden = golden_open(case_names[index]);
        golden.lora.dropout = golden.lora.rank > 0 ? 0.2 : 0.0;
        float *gradients[3];
        double losses[3];
        int64_t length = 0;
        for (int way = 0; way < 3; way++) {
            struct error error = ERROR_INITIALIZER;
            struct backend *const kept = backend;
            golden.settings.recompute = way == 1;
            if (way == 2)
                backend = backend_open("cpu", 1, &error);
            require(backend != NULL, &error);
            struct transformer *model = golden_model(&golden, backend);
            losses[way] = accumulate(model, &golden.batch, 0.1, 3);
            gradients[way] = copy_gradients(model, &length);
            transformer_free(model);
            if (way == 2)
                backend_close(backend);
            backend = kept;
        }
        for (int way = 1; way < 3; way++) {
            assert_true(losses[way] == losses[0]);
            assert_memory_equal(gradients[way], gradients[0], (size_t)length * sizeof(float));
        }
        for (int way = 0; way < 3; way++)
            free(gradients[way]);
        golden_close(&golden);
    }
}

static void dropout_is_keyed_by_its_step(void **state)
{
    (void)state;
    struct golden golden = golden_open("lora_all");
    golden.lora.dropout = 0.3;
    struct transformer *model = golden_model(&golden, backend);
    const double first = accumulate(model, &golden.batch, 0.0, 1);
    assert_true(accumulate(model, &golden.batch, 0.0, 1) == first);
    assert_true(accumulate(model, &golden.batch, 0.0, 2) != first);
    assert_true(accumulate(model, &golden.batch, 0.2, 1) != first);
    transformer_free(model);
    golden_close(&golden);
}

/* Without positions a model sees no difference between positions; with them it does. */
static void positions_can_be_switched_off(void **state)
{
    (void)state;
    struct golden golden = golden_open("grouped_tied");
    for (int positions = 0; positions < 2; positions++) {
        golden.settings.positions = positions;
        struct transformer *model = golden_model(&golden, backend);
        const double as_given = accumulate(model, &golden.batch, 0.0, 1);
        for (int64_t token = 0; token < golden.batch.tokens; token++)
            golden.position[token] *= 3;
        assert_true((accumulate(model, &golden.batch, 0.0, 1) != as_given) == positions);
        transformer_free(model);
    }
    golden_close(&golden);
}

/* The first classes alone compete, and rows of weight 0 leave no trace. */
static void only_the_classes_compete(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("plain");
    golden.settings.classes = 23;
    struct transformer *model = golden_model(&golden, backend);
    const int32_t row = 40;
    int32_t target[128];
    float weight[128] = {0}, logits[37];
    for (int64_t token = 0; token < golden.batch.tokens; token++)
        target[token] = 1;
    target[row] = 22;
    weight[row] = 2.0f;
    struct batch batch = golden.batch;
    batch.target = target;
    batch.weight = weight;
    require(transformer_logits(model, &batch, &row, 1, logits, &error), &error);
    double sum = 0.0;
    for (int column = 0; column < 23; column++)
        sum += exp((double)logits[column]);
    assert_near(accumulate(model, &batch, 0.0, 1), 2.0 * (log(sum) - (double)logits[22]), 1e-4);
    int64_t count;
    const struct parameter *parameters = transformer_parameters(model, &count);
    const float *d_output = parameters[count - 1].gradient.data;
    assert_string_equal(parameters[count - 1].name, "lm_head.weight");
    for (int64_t index = 23 * golden.settings.width; index < 37 * golden.settings.width; index++)
        assert_true(d_output[index] == 0.0f);
    weight[row] = 0.0f;
    assert_true(accumulate(model, &batch, 0.0, 1) == 0.0);
    transformer_free(model);
    golden_close(&golden);
}

/* With exclude_shown a position's softmax leaves out what its own sequence has shown, and nothing else. */
static void shown_tokens_do_not_compete(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("plain");
    struct transformer *model = golden_model(&golden, backend);
    struct batch batch = golden.batch;
    int32_t target[128];
    float weight[128] = {0}, logits[37];
    batch.target = target;
    batch.weight = weight;
    batch.exclude_shown = true;
    for (int64_t sequence = 0; sequence < batch.sequences; sequence++) {
        const int32_t row = batch.starts[sequence + 1] - 1;
        bool shown[37] = {false};
        double sum = 0.0;
        for (int32_t token = batch.starts[sequence]; token <= row; token++)
            shown[batch.token[token]] = true;
        memset(target, 0xFF, sizeof target);
        memset(weight, 0, sizeof weight);
        for (target[row] = 0; shown[target[row]]; target[row]++)
            continue;
        weight[row] = 1.0f;
        require(transformer_logits(model, &batch, &row, 1, logits, &error), &error);
        for (int column = 0; column < 37; column++)
            sum += shown[column] ? 0.0 : exp((double)logits[column]);
        assert_near(accumulate(model, &batch, 0.0, 1), log(sum) - (double)logits[target[row]], 1e-4);
    }
    transformer_free(model);
    golden_close(&golden);
}

/* A vocabulary so large that the logits take several chunks. */
static void chunks_add_up(void **state)
{
    (void)state;
    enum { TOKENS = 150, VOCABULARY = 150000 };
    const struct transformer_settings settings = {.vocabulary = VOCABULARY,
                                                  .width = 4,
                                                  .layers = 1,
                                                  .query_heads = 1,
                                                  .key_heads = 1,
                                                  .head_width = 4,
                                                  .hidden = 4,
                                                  .positions = true,
                                                  .norm_epsilon = 1e-5f,
                                                  .rope_theta = 100.0f,
                                                  .tied = true};
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    int32_t token[TOKENS], position[TOKENS], items[2 * TOKENS], starts[] = {0, TOKENS};
    int64_t set_starts[TOKENS + 1] = {0};
    float weight[TOKENS], other[TOKENS];
    for (int index = 0; index < TOKENS; index++) {
        token[index] = index * 997;
        position[index] = index;
        weight[index] = index % 3 ? 1.0f : 0.0f;
        set_starts[index + 1] = set_starts[index] + index % 3;
        for (int64_t item = set_starts[index]; item < set_starts[index + 1]; item++)
            items[item] = (int32_t)(item * 331);
    }
    require(transformer_create(&model, backend, &settings, NULL, TRAIN_ALL, TOKENS, 1, 1, &error), &error);
    struct batch batch = {.tokens = TOKENS,
                          .sequences = 1,
                          .token = token,
                          .position = position,
                          .starts = starts,
                          .target_starts = set_starts,
                          .target_items = items,
                          .weight = weight};
    const double whole = accumulate(model, &batch, 0.0, 1);
    int64_t length;
    float *expected = copy_gradients(model, &length);
    clear_gradients(model);
    double parts = 0.0;
    for (int part = 0; part < 3; part++) {
        for (int index = 0; index < TOKENS; index++)
            other[index] = index / 50 == part ? weight[index] : 0.0f;
        batch.weight = other;
        parts += accumulate(model, &batch, 0.0, 1);
    }
    assert_near(parts, whole, 1e-5 * whole);
    float *gradients = copy_gradients(model, &length);
    assert_close("gradients of parts", gradients, expected, length);
    free(gradients);
    free(expected);
    transformer_free(model);
}

/* AdamW from its paper, in double precision, after clipping by the global norm. */
static void steps_like_adamw(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("grouped_tied");
    struct transformer *model = golden_model(&golden, backend);
    int64_t count, length, used = 0;
    struct parameter *parameters = transformer_parameters(model, &count);
    accumulate(model, &golden.batch, 0.0, 1);
    float *gradients = copy_gradients(model, &length);
    double square = 0.0, norm = 0.0;
    for (int64_t index = 0; index < length; index++)
        square += (double)gradients[index] * (double)gradients[index];
    const double clip = 0.25 * sqrt(square);
    require(transformer_step(model, (struct adamw){0.01f, 0.9f, 0.98f, 1e-8f, 0.1f, 1}, clip, &norm, &error),
            &error);
    assert_near(norm, sqrt(square), 1e-6 * norm);
    for (int64_t index = 0; index < count; index++) {
        const float *before = golden_entry(&golden, parameters[index].name)->data;
        const float *after = parameters[index].value.data, *left = parameters[index].gradient.data;
        const bool matrix = parameters[index].value.rank == 2;
        assert_true(parameters[index].decayed == matrix);
        for (int64_t element = 0; element < tensor_count(&parameters[index].value); element++, used++) {
            const double g = 0.25 * (double)gradients[used], w = (double)before[element];
            const double expected = w - 0.01 * (g / (fabs(g) + 1e-8) + (matrix ? 0.1 * w : 0.0));
            assert_near((double)after[element], expected, 2e-6);
            assert_true(left[element] == 0.0f);
        }
    }
    free(gradients);
    transformer_free(model);
    golden_close(&golden);
}

static void initial_values_are_as_promised(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    const struct transformer_settings settings = {.vocabulary = 500,
                                                  .width = 64,
                                                  .layers = 2,
                                                  .query_heads = 2,
                                                  .key_heads = 2,
                                                  .head_width = 32,
                                                  .hidden = 96,
                                                  .tied = true,
                                                  .norm_epsilon = 1e-5f,
                                                  .rope_theta = 1e4f,
                                                  .attention_bias = true};
    const struct lora_settings lora = {.rank = 4, .alpha = 8.0, .targets = {[LINEAR_Q] = true}};
    struct transformer *model;
    require(transformer_create(&model, backend, &settings, &lora, TRAIN_LORA, 0, 0, 9, &error), &error);
    const struct transformer_weights *weights = transformer_weights_of(model);
    const struct tensor *const normal[] = {&weights->embedding, &weights->layer[1].linear[LINEAR_GATE],
                                           &weights->layer[1].linear[LINEAR_DOWN]};
    const double deviation[] = {0.02, 0.02, 0.01};
    for (int index = 0; index < 3; index++) {
        const float *values = normal[index]->data;
        const int64_t count = tensor_count(normal[index]);
        double square = 0.0;
        for (int64_t element = 0; element < count; element++)
            square += (double)values[element] * (double)values[element];
        assert_near(sqrt(square / (double)count), deviation[index], 0.05 * deviation[index]);
    }
    const float *a = weights->layer[0].lora_a[LINEAR_Q].data, *b = weights->layer[0].lora_b[LINEAR_Q].data;
    float largest = 0.0f;
    for (int element = 0; element < 4 * 64; element++)
        largest = fmaxf(largest, fabsf(a[element]));
    assert_true(largest <= 0.125f && largest > 0.12f);
    assert_true(b[0] == 0.0f && ((const float *)weights->output_norm.data)[3] == 1.0f);
    assert_int_equal(weights->layer[0].lora_a[LINEAR_V].rank, 0);
    transformer_free(model);
}

static void refuses(struct transformer *model, const struct batch *batch, const char *part)
{
    struct error error = ERROR_INITIALIZER;
    double loss = 0.0;
    assert_false(transformer_accumulate(model, batch, 0.0, 1, 1, &loss, &error));
    if (!strstr(error.message, part))
        fail_msg("'%s' does not say '%s'", error.message, part);
}

static void bad_batches_are_refused(void **state)
{
    (void)state;
    struct golden golden = golden_open("grouped_tied");
    struct transformer *model = golden_model(&golden, backend);
    int32_t token[128], starts[] = {0, 5, 5, 71};
    memcpy(token, golden.batch.token, (size_t)golden.batch.tokens * sizeof *token);
    struct batch batch = golden.batch;
    batch.tokens = 1000;
    refuses(model, &batch, "made for up to 71");
    batch = golden.batch;
    batch.token = token;
    token[70] = 37;
    refuses(model, &batch, "token 70 of the batch is 37");
    batch.token = golden.batch.token;
    batch.target = token;
    refuses(model, &batch, "has the target 37");
    batch = golden.batch;
    batch.starts = starts;
    batch.sequences = 3;
    refuses(model, &batch, "sequence 1 of the batch is empty");
    starts[1] = 1;
    starts[3] = 60;
    refuses(model, &batch, "do not cover");
    transformer_free(model);
    golden_close(&golden);
}

static void bad_settings_are_refused(void **state)
{
    (void)state;
    struct golden golden = golden_open("grouped_tied");
    struct transformer *model;
    const struct {
        struct transformer_settings settings;
        const char *part;
    } cases[] = {{{.vocabulary = 5, .width = 0, .layers = 1}, "at least 1"},
                 {{5, 4, 1, 3, 2, 2, 4, .positions = true}, "evenly"},
                 {{5, 4, 1, 2, 2, 3, 4, .positions = true}, "even head width"},
                 {{5, 4, 1, 2, 2, 2, 4, .classes = 6}, "6 classes"},
                 {{5, (int64_t)1 << 40, 1, 2, 2, 2, 4, .positions = true}, "at most"}};
    for (size_t index = 0; index < sizeof cases / sizeof *cases; index++) {
        struct error error = ERROR_INITIALIZER;
        assert_false(
            transformer_create(&model, backend, &cases[index].settings, NULL, TRAIN_ALL, 8, 1, 1, &error));
        assert_null(model);
        if (!strstr(error.message, cases[index].part))
            fail_msg("'%s' does not say '%s'", error.message, cases[index].part);
    }
    struct error error = ERROR_INITIALIZER;
    assert_false(
        transformer_create(&model, backend, &golden.settings, &golden.lora, TRAIN_LORA, 8, 1, 1, &error));
    assert_non_null(strstr(error.message, "nothing to train"));
    golden_close(&golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_goldens),
        cmocka_unit_test(logits_equal_the_goldens),
        cmocka_unit_test(recompute_and_threads_change_nothing),
        cmocka_unit_test(dropout_is_keyed_by_its_step),
        cmocka_unit_test(positions_can_be_switched_off),
        cmocka_unit_test(only_the_classes_compete),
        cmocka_unit_test(shown_tokens_do_not_compete),
        cmocka_unit_test(chunks_add_up),
        cmocka_unit_test(steps_like_adamw),
        cmocka_unit_test(initial_values_are_as_promised),
        cmocka_unit_test(bad_batches_are_refused),
        cmocka_unit_test(bad_settings_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
