/*
 * The language model on the emulated GPU, whose memory host code cannot touch: against the goldens and the CPU in f32, in
 * bf16 against f32 on the same rounded weights, and what training there promises: no wait in a step, the same bits twice.
 *
 *   test_host_cuda_transformer [PATTERN OF TESTS]
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/bf16.h"
#include "core/file.h"
#include "core/quantize.h"
#include "models/language/checkpoint.h"
#include "tests/golden_transformer.h"
#include "tests/new_token_goldens.h"

static struct backend *cpu, *gpu;

static int set_up(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    cpu = open_backend(1);
    gpu = backend_open("cuda", 1, &error);
    require(gpu != NULL, &error);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    backend_close(gpu);
    backend_close(cpu);
    return 0;
}

/* ---- f32 ----------------------------------------------------------------------------------------------- */

static void equals_the_goldens(void **state)
{
    (void)state;
    for (size_t index = 0; index < CASE_COUNT; index++)
        equals_the_golden(case_names[index], gpu);
}

static void logits_equal_the_goldens(void **state)
{
    (void)state;
    for (size_t index = 0; index < CASE_COUNT; index++)
        logits_equal_the_golden(case_names[index], gpu);
}

/* A family's folder and adapter, all of it trained. */
static struct transformer *family(const char *name, struct backend *backend, const struct batch *batch)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    char *base = path_format("%s/tests/goldens/families/%s", IDREC_SOURCE_DIR, name);
    char *adapter = path_format("%s/adapter", base);
    require(checkpoint_load(&model, backend, base, adapter, NULL, 0, TRAIN_ALL, false, PRECISION_F32,
                            FROZEN_PRECISION, false, batch->tokens, batch->sequences, 1, &error),
            &error);
    free(adapter);
    free(base);
    return model;
}

/* Norms of queries and keys, and biases on every linear. */
static void families_equal_the_cpu(void **state)
{
    (void)state;
    static const char *const names[] = {"qwen3", "qwen3_bias", "llama_bias", "llama3"};
    for (size_t index = 0; index < sizeof names / sizeof *names; index++) {
        struct golden golden = golden_open("plain");
        struct transformer *model = family(names[index], gpu, &golden.batch);
        struct transformer *reference = family(names[index], cpu, &golden.batch);
        int64_t length;
        float *logits = all_logits(model, &golden.batch), *expected = all_logits(reference, &golden.batch);
        assert_close("logits", logits, expected,
                     golden.batch.tokens * transformer_settings_of(model)->vocabulary);
        const double loss = accumulate(reference, &golden.batch, 0.0, 1);
        assert_near(accumulate(model, &golden.batch, 0.0, 1), loss, TOLERANCE * loss);
        float *gradients = copy_gradients(model, &length), *references = copy_gradients(reference, &length);
        assert_close(names[index], gradients, references, length);
        free(gradients);
        free(references);
        free(logits);
        free(expected);
        transformer_free(model);
        transformer_free(reference);
        golden_close(&golden);
    }
}

/* ---- bf16 ---------------------------------------------------------------------------------------------- */

/* Sum of squared errors over sum of squares. */
static double normalised_error(const float *values, const float *expected, int64_t count)
{
    double square = 0.0, difference = 0.0;
    for (int64_t index = 0; index < count; index++) {
        difference += pow((double)values[index] - (double)expected[index], 2.0);
        square += pow((double)expected[index], 2.0);
    }
    return difference / square;
}

/* Every weight as bf16 holds it. */
static void round_weights(struct transformer *model)
{
    int64_t count;
    struct parameter *parameters = transformer_parameters(model, &count);
    for (int64_t index = 0; index < count; index++) {
        float *values = parameters[index].value.data;
        if (dtype_is_quantized(parameters[index].value.dtype))
            continue;
        for (int64_t element = 0; element < tensor_count(&parameters[index].value); element++)
            values[element] = bf16_value(bf16_nearest(values[element]));
    }
}

/* Normalised mean square errors that are allowed: a single rounding makes 1e-6. The gradients of k's bias, which
 * softmax takes out but for the turning of positions, are small differences of large numbers. */
#define BF16_LOGITS_ERROR 3e-4
#define BF16_GRADIENT_ERROR 3e-3
#define BF16_KEY_BIAS_ERROR 3e-2
#define BF16_LOSS_ERROR 2e-3 /* relative */
/* The goldens' alpha is large: see bf16_equals_f32_on_rounded_weights(). */
#define BF16_GRADIENT_ERROR_OF_NEW_TOKENS 3e-2

static void compare_batch(struct transformer *model, struct transformer *expected, const struct batch *batch,
                          const char *name)
{
    const double loss = accumulate(model, batch, 0.0, 1), expected_loss = accumulate(expected, batch, 0.0, 1);
    assert_near(loss, expected_loss, BF16_LOSS_ERROR * expected_loss);
    int64_t count;
    const struct parameter *parameters = transformer_parameters(model, &count);
    const struct parameter *references = transformer_parameters(expected, &count);
    for (int64_t index = 0; index < count; index++) {
        if (!parameters[index].trained)
            continue;
        float *gradient = download(gpu, &parameters[index].gradient);
        const double error = normalised_error(gradient, references[index].gradient.data,
                                              tensor_count(&parameters[index].gradient));
        const bool key_bias = strstr(parameters[index].name, "k_proj.bias") != NULL;
        if (!(error <= (key_bias ? BF16_KEY_BIAS_ERROR : BF16_GRADIENT_ERROR)))
            fail_msg("%s: the gradient of %s is off by %.3g", name, parameters[index].name, error);
        free(gradient);
    }
    clear_gradients(model);
    clear_gradients(expected);
}

/* At the goldens' alpha the adapters are so large that rounding the weights alone changes gradients by a third. */
static void bf16_equals_f32_on_rounded_weights(void **state)
{
    (void)state;
    for (size_t index = 0; index < CASE_COUNT; index++) {
        struct golden golden = golden_open(case_names[index]);
        golden.lora.alpha = 1.0;
        struct transformer *expected = golden_model(&golden, cpu);
        golden.settings.precision = PRECISION_BF16;
        struct transformer *model = golden_model(&golden, gpu);
        round_weights(expected);
        float *logits = all_logits(model, &golden.batch), *references = all_logits(expected, &golden.batch);
        const double error =
            normalised_error(logits, references, golden.batch.tokens * golden.settings.vocabulary);
        if (!(error <= BF16_LOGITS_ERROR))
            fail_msg("%s: logits are off by %.3g", case_names[index], error);
        const struct batch sets = golden_sets(&golden);
        compare_batch(model, expected, &golden.batch, case_names[index]);
        compare_batch(model, expected, &sets, case_names[index]);
        free(logits);
        free(references);
        transformer_free(model);
        transformer_free(expected);
        golden_close(&golden);
    }
}

static void bf16_takes_half_and_keeps_masters(void **state)
{
    (void)state;
    struct golden golden = golden_open("lora_qv");
    golden.settings.precision = PRECISION_BF16;
    struct transformer *model = golden_model(&golden, gpu);
    int64_t count;
    const struct parameter *parameters = transformer_parameters(model, &count);
    for (int64_t index = 0; index < count; index++) {
        const struct parameter *parameter = &parameters[index];
        assert_int_equal(parameter->working.dtype, DTYPE_BF16);
        assert_int_equal(parameter->value.dtype, parameter->trained ? DTYPE_F32 : DTYPE_BF16);
        assert_true((parameter->working.data == parameter->value.data) == !parameter->trained);
    }
    assert_int_equal(transformer_weights_of(model)->layer[1].lora_a[LINEAR_Q].dtype, DTYPE_BF16);
    transformer_free(model);
    struct error error = ERROR_INITIALIZER;
    assert_false(transformer_create(&model, cpu, &golden.settings, NULL, TRAIN_ALL, 8, 1, 1, &error));
    assert_non_null(strstr(error.message, "language_model.precision"));
    golden_close(&golden);
}

/* ---- training ------------------------------------------------------------------------------------------ */

/* All trained values, one after another; malloc'ed. */
static float *copy_values(struct transformer *model, int64_t *length)
{
    int64_t count;
    const struct parameter *parameters = transformer_parameters(model, &count);
    float *values = NULL;
    *length = 0;
    for (int64_t index = 0; index < count; index++) {
        if (!parameters[index].trained)
            continue;
        const int64_t more = tensor_count(&parameters[index].value);
        values = realloc(values, (size_t)(*length + more) * sizeof *values);
        tensor_download(transformer_backend(model), values + *length, &parameters[index].value);
        *length += more;
    }
    return values;
}

static struct adamw adamw_of(int64_t step)
{
    return (struct adamw){0.001f, 0.9f, 0.98f, 1e-8f, 0.1f, step};
}

enum { STEPS = 10, ACCUMULATED = 2, SHORT_SEQUENCES = 2 };

/* The first sequences only: the emulated GPU is slow. */
static struct batch shortened(struct batch batch)
{
    batch.sequences = SHORT_SEQUENCES;
    batch.tokens = batch.starts[SHORT_SEQUENCES];
    return batch;
}

/* Steps over two batches each, of single targets and of sets, with all dropouts; the loss of each batch is asked for two
 * batches later, as the trainer does on a GPU. */
static void train(struct transformer *model, const struct golden *golden, int64_t first_step, int64_t steps,
                  double *losses)
{
    struct error error = ERROR_INITIALIZER;
    const struct batch batches[ACCUMULATED] = {shortened(golden->batch), shortened(golden_sets(golden))};
    int64_t taken = 0;
    for (int64_t step = first_step; step < first_step + steps; step++) {
        for (int b = 0; b < ACCUMULATED; b++) {
            const uint64_t draw = (uint64_t)(step * ACCUMULATED + b);
            require(transformer_accumulate(model, &batches[b], 0.1, 5, draw, NULL, &error), &error);
            if (transformer_batches_under_way(model) > 2)
                require(transformer_take_loss(model, &losses[taken++], &error), &error);
        }
        require(transformer_step(model, adamw_of(step + 1), 1.0, NULL, &error), &error);
    }
    while (transformer_batches_under_way(model) > 0)
        require(transformer_take_loss(model, &losses[taken++], &error), &error);
    assert_int_equal(taken, steps * ACCUMULATED);
}

static struct golden trained_golden(const char *name, enum precision precision)
{
    struct golden golden = golden_open(name);
    golden.lora.dropout = golden.lora.rank > 0 ? 0.2 : 0.0;
    golden.settings.precision = precision;
    return golden;
}

static const char *const trained_names[] = {"bias", "lora_all"};

static void ten_steps_equal_the_cpu(void **state)
{
    (void)state;
    for (int index = 0; index < 2; index++) {
        double losses[2][STEPS * ACCUMULATED];
        for (int device = 0; device < 2; device++) {
            struct golden golden = trained_golden(trained_names[index], PRECISION_F32);
            struct transformer *model = golden_model(&golden, device ? gpu : cpu);
            train(model, &golden, 0, STEPS, losses[device]);
            transformer_free(model);
            golden_close(&golden);
        }
        for (int batch = 0; batch < STEPS * ACCUMULATED; batch++)
            assert_near(losses[1][batch], losses[0][batch], 1e-4 * losses[0][batch]);
    }
}

enum { FEW_STEPS = 2 };

/* The 37 tokens of the goldens are 40 columns of logits, which rows of zeros behind the tables are for. */
static void rows_behind_tables_stay_zero(void **state)
{
    (void)state;
    static const char *const names[] = {"plain", "lora_qv"};
    double losses[FEW_STEPS * ACCUMULATED];
    for (int index = 0; index < 2; index++) {
        struct golden golden = trained_golden(names[index], PRECISION_BF16);
        struct transformer *model = golden_model(&golden, gpu);
        train(model, &golden, 0, FEW_STEPS, losses);
        const struct parameter *table = transformer_parameter(model, "lm_head.weight");
        const struct tensor *const tables[] = {&table->value, &table->working, &table->gradient};
        const int64_t tokens = golden.settings.vocabulary, columns = transformer_logit_columns(model);
        assert_int_equal(tokens, 37);
        assert_int_equal(columns, 40);
        for (int t = 0; t < (table->trained ? 3 : 2); t++) {
            struct tensor behind = *tables[t];
            behind.shape[0] = columns;
            behind = tensor_rows(&behind, tokens, columns - tokens);
            char *bytes = malloc(tensor_bytes(&behind)), *zeros = calloc(1, tensor_bytes(&behind));
            tensor_download(gpu, bytes, &behind);
            assert_memory_equal(bytes, zeros, tensor_bytes(&behind));
            free(bytes);
            free(zeros);
        }
        transformer_free(model);
        golden_close(&golden);
    }
}

/* What a few steps lead to: the losses, and the trained values (malloc'ed). */
static float *train_anew(struct golden *golden, double *losses, int64_t *length)
{
    struct transformer *model = golden_model(golden, gpu);
    train(model, golden, 0, FEW_STEPS, losses);
    float *values = copy_values(model, length);
    transformer_free(model);
    return values;
}

/* Once more, and with each layer run again in backward. */
static void training_repeats_its_bits(void **state)
{
    (void)state;
    for (enum precision precision = PRECISION_F32; precision <= PRECISION_BF16; precision++) {
        double losses[FEW_STEPS * ACCUMULATED], again[FEW_STEPS * ACCUMULATED];
        int64_t length;
        struct golden golden = trained_golden("lora_all", precision);
        float *expected = train_anew(&golden, losses, &length);
        for (int recompute = 0; recompute < 2; recompute++) {
            golden.settings.recompute = recompute;
            float *values = train_anew(&golden, again, &length);
            assert_memory_equal(again, losses, sizeof losses);
            assert_memory_equal(values, expected, (size_t)length * sizeof(float));
            free(values);
        }
        free(expected);
        golden_close(&golden);
    }
}

static void bf16_resumes_bit_for_bit(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    char folder[] = "/tmp/idrec_test_XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = path_format("%s/state", folder);
    struct golden golden = trained_golden("lora_all", PRECISION_BF16);
    double losses[FEW_STEPS * ACCUMULATED], part[FEW_STEPS * ACCUMULATED];
    int64_t length;
    float *expected = train_anew(&golden, losses, &length);
    struct transformer *first = golden_model(&golden, gpu), *second = golden_model(&golden, gpu);
    train(first, &golden, 0, 1, part);
    require(checkpoint_save_state(first, NULL, 0, "{}", path, &error), &error);
    require(checkpoint_load_state(second, NULL, 0, path, &error), &error);
    train(second, &golden, 1, FEW_STEPS - 1, part + ACCUMULATED);
    assert_memory_equal(part, losses, sizeof losses);
    float *values = copy_values(second, &length);
    assert_memory_equal(values, expected, (size_t)length * sizeof(float));
    free(expected);
    free(values);
    transformer_free(first);
    transformer_free(second);
    require(path_remove(folder, &error), &error);
    free(path);
    golden_close(&golden);
}

/* ---- new tokens ---------------------------------------------------------------------------------------- */

static void new_tokens_equal_the_goldens(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    char folder[] = "/tmp/idrec_test_XXXXXX";
    assert_non_null(mkdtemp(folder));
    for (int which = 0; which < NEW_TOKENS_CASES; which++) {
        struct golden golden = open_new_tokens_golden(&new_tokens_cases[which]);
        char *base = save_new_tokens_base(&new_tokens_cases[which], cpu, folder);
        struct transformer *model =
            load_new_tokens(&new_tokens_cases[which], &golden, gpu, base, PRECISION_F32);
        equals_new_tokens_golden(&golden, model);
        transformer_free(model);
        free(base);
        golden_close(&golden);
    }
    require(path_remove(folder, &error), &error);
}

/* The rows behind the base's in a table that passes read, as floats; malloc'ed. */
static float *rows_read(const struct tensor *table, int64_t first, int64_t count)
{
    const struct tensor rows = tensor_rows(table, first, count);
    uint16_t *stored = malloc(tensor_bytes(&rows));
    float *values = malloc((size_t)tensor_count(&rows) * sizeof *values);
    tensor_download(gpu, stored, &rows);
    for (int64_t index = 0; index < tensor_count(&rows); index++)
        values[index] = bf16_value(stored[index]);
    free(stored);
    return values;
}

static void compare_new_rows(struct transformer *model, struct transformer *expected,
                             const struct batch *batch)
{
    int64_t count;
    const struct parameter *references = transformer_parameters(expected, &count);
    accumulate(model, batch, 0.0, 1);
    accumulate(expected, batch, 0.0, 1);
    for (int64_t index = 0; index < count; index++) {
        if (!references[index].added)
            continue;
        const struct parameter *parameter = transformer_parameter(model, references[index].name);
        float *gradient = download(gpu, &parameter->gradient);
        const double error = normalised_error(gradient, references[index].gradient.data,
                                              tensor_count(&references[index].gradient));
        if (!(error <= BF16_GRADIENT_ERROR_OF_NEW_TOKENS))
            fail_msg("the gradient of %s is off by %.3g", parameter->name, error);
        free(gradient);
    }
    clear_gradients(model);
}

/* The masters are f32, what is read are these rounded, and the base's rows stay. */
static void take_a_step(struct transformer *model, const struct golden *golden)
{
    struct error error = ERROR_INITIALIZER;
    const struct adamw settings = {0.05f, 0.9f, 0.99f, 1e-8f, 0.0f, 1};
    const int64_t old = golden->settings.vocabulary, width = golden->settings.width;
    const struct tensor *const table = &transformer_weights_of(model)->output;
    char name[112];
    snprintf(name, sizeof name, ADDED_ROWS_NAME, golden->settings.tied ? "model.embed_tokens" : "lm_head");
    const struct tensor *const rows = &transformer_parameter(model, name)->value;
    float *before = rows_read(table, 0, old + NEW_TOKENS);
    accumulate(model, &golden->batch, 0.0, 1);
    require(transformer_step(model, settings, 1.0, NULL, &error), &error);
    float *after = rows_read(table, 0, old + NEW_TOKENS), *masters = download(gpu, rows);
    assert_int_equal(rows->dtype, DTYPE_F32);
    assert_memory_equal(before, after, (size_t)(old * width) * sizeof *before);
    for (int64_t index = 0; index < NEW_TOKENS * width; index++) {
        assert_true(after[old * width + index] == bf16_value(bf16_nearest(masters[index])));
        assert_true(after[old * width + index] != before[old * width + index]);
    }
    free(masters);
    free(after);
    free(before);
}

static void new_tokens_are_trained_in_bf16(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    char folder[] = "/tmp/idrec_test_XXXXXX";
    assert_non_null(mkdtemp(folder));
    for (int index = 0; index < NEW_TOKENS_CASES; index++) {
        const struct new_tokens_case *const which = &new_tokens_cases[index];
        struct golden golden = open_new_tokens_golden(which);
        char *base = save_new_tokens_base(which, cpu, folder);
        struct transformer *model = load_new_tokens(which, &golden, gpu, base, PRECISION_BF16);
        struct transformer *expected = load_new_tokens(which, &golden, cpu, base, PRECISION_F32);
        round_weights(expected);
        transformer_values_changed(expected);
        compare_new_rows(model, expected, &golden.batch);
        take_a_step(model, &golden);
        transformer_free(expected);
        transformer_free(model);
        free(base);
        golden_close(&golden);
    }
    require(path_remove(folder, &error), &error);
}

/* Half of the steps, then the state in a model that has not learned yet: the bits of one that never stopped. */
static void new_tokens_resume_bit_for_bit(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    char folder[] = "/tmp/idrec_test_XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = path_format("%s/state", folder);
    for (int index = 0; index < NEW_TOKENS_CASES; index++) {
        const struct new_tokens_case *const which = &new_tokens_cases[index];
        double losses[FEW_STEPS * ACCUMULATED], parts[FEW_STEPS * ACCUMULATED];
        struct golden golden = open_new_tokens_golden(which);
        struct transformer *model[3];
        int64_t length, other_length;
        char *base = save_new_tokens_base(which, cpu, folder);
        for (int copy = 0; copy < 3; copy++)
            model[copy] = load_new_tokens(which, &golden, gpu, base, PRECISION_BF16);
        train(model[0], &golden, 0, FEW_STEPS, losses);
        train(model[1], &golden, 0, 1, parts);
        require(checkpoint_save_state(model[1], NULL, 0, "{}", path, &error) &&
                    checkpoint_load_state(model[2], NULL, 0, path, &error),
                &error);
        train(model[2], &golden, 1, FEW_STEPS - 1, parts + ACCUMULATED);
        assert_memory_equal(parts, losses, sizeof losses);
        float *expected = copy_values(model[0], &length), *values = copy_values(model[2], &other_length);
        assert_int_equal(length, other_length);
        assert_memory_equal(values, expected, (size_t)length * sizeof(float));
        free(expected);
        free(values);
        for (int copy = 0; copy < 3; copy++)
            transformer_free(model[copy]);
        free(base);
        golden_close(&golden);
    }
    require(path_remove(folder, &error), &error);
    free(path);
}

/* ---- no wait ------------------------------------------------------------------------------------------- */

static int waits;
static struct backend real_calls;

static void counted_wait(struct backend *backend)
{
    waits++;
    real_calls.wait(backend);
}

static void counted_upload(struct backend *backend, void *to, const void *from, size_t bytes)
{
    waits++;
    real_calls.upload(backend, to, from, bytes);
}

static void counted_download(struct backend *backend, void *to, const void *from, size_t bytes)
{
    waits++;
    real_calls.download(backend, to, from, bytes);
}

static int queued;

static void counted_queue_upload(struct backend *backend, void *to, const void *from, size_t bytes)
{
    queued++;
    real_calls.queue_upload(backend, to, from, bytes);
}

static void a_step_waits_for_nothing(void **state)
{
    (void)state;
    struct golden golden = trained_golden("lora_all", PRECISION_BF16);
    struct transformer *model = golden_model(&golden, gpu);
    double losses[FEW_STEPS * ACCUMULATED];
    train(model, &golden, 0, 1, losses); /* scratch memory grows */
    real_calls = *gpu;
    gpu->wait = counted_wait;
    gpu->upload = counted_upload;
    gpu->download = counted_download;
    gpu->queue_upload = counted_queue_upload;
    waits = queued = 0;
    train(model, &golden, 1, FEW_STEPS, losses);
    assert_int_equal(waits, 0);
    assert_int_equal(queued, FEW_STEPS * ACCUMULATED);
    *gpu = real_calls;
    transformer_free(model);
    golden_close(&golden);
}

/* The check of a step's gradient comes with the loss of the batch before it. */
static void a_gradient_that_is_not_finite_is_reported(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("plain");
    struct transformer *model = golden_model(&golden, gpu);
    const float infinite = INFINITY;
    double loss;
    struct tensor element = transformer_parameter(model, "lm_head.weight")->gradient;
    require(transformer_accumulate(model, &golden.batch, 0.0, 5, 1, NULL, &error), &error);
    gpu->upload(gpu, element.data, &infinite, sizeof infinite);
    require(transformer_step(model, adamw_of(7), 1.0, NULL, &error), &error);
    require(transformer_accumulate(model, &golden.batch, 0.0, 5, 2, NULL, &error), &error);
    assert_false(transformer_take_loss(model, &loss, &error));
    assert_non_null(strstr(error.message, "the gradient is not finite at step 7"));
    transformer_free(model);
    golden_close(&golden);
}

static void too_many_batches_under_way_are_refused(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("plain");
    struct transformer *model = golden_model(&golden, gpu);
    const struct batch short_batch = shortened(golden.batch);
    for (int batch = 0; batch < BATCHES_UNDER_WAY; batch++)
        require(transformer_accumulate(model, &short_batch, 0.0, 5, 1, NULL, &error), &error);
    assert_false(transformer_accumulate(model, &short_batch, 0.0, 5, 1, NULL, &error));
    assert_non_null(strstr(error.message, "8 batches are under way"));
    transformer_free(model);
    golden_close(&golden);
}

/* ---- sets and files ------------------------------------------------------------------------------------ */

/* More targets than room was set aside for. */
static void large_sets_find_room(void **state)
{
    (void)state;
    struct golden golden = golden_open("plain");
    const int64_t tokens = golden.batch.tokens, classes = golden.settings.vocabulary;
    int64_t *starts = malloc((size_t)(tokens + 1) * sizeof *starts);
    int32_t *items = malloc((size_t)(tokens * classes) * sizeof *items);
    starts[0] = 0;
    for (int64_t token = 0; token < tokens; token++) {
        starts[token + 1] = starts[token] + (token % 7 == 0 ? 1 : classes - token % 3);
        for (int64_t item = starts[token]; item < starts[token + 1]; item++)
            items[item] = (int32_t)(item - starts[token]);
    }
    struct batch batch = golden.batch;
    batch.target = NULL;
    batch.target_starts = starts;
    batch.target_items = items;
    struct transformer *model = golden_model(&golden, gpu), *reference = golden_model(&golden, cpu);
    const double expected = accumulate(reference, &batch, 0.0, 1);
    assert_near(accumulate(model, &golden.batch, 0.0, 1), *(double *)golden_entry(&golden, "losses")->data,
                1e-2);
    clear_gradients(model);
    assert_near(accumulate(model, &batch, 0.0, 1), expected, 1e-4 * expected);
    int64_t length;
    float *gradients = copy_gradients(model, &length), *references = copy_gradients(reference, &length);
    assert_close("gradients", gradients, references, length);
    free(gradients);
    free(references);
    free(starts);
    free(items);
    transformer_free(model);
    transformer_free(reference);
    golden_close(&golden);
}

/* A frozen base is written in bf16, and read in f32 it is the same; masters are written in f32. */
static void bf16_files_read_in_f32(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    char folder[] = "/tmp/idrec_test_XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *base = path_format("%s/base", folder), *adapter = path_format("%s/adapter", folder);
    struct golden golden = golden_open("lora_all");
    struct transformer *expected = golden_model(&golden, cpu), *read;
    golden.settings.precision = PRECISION_BF16;
    struct transformer *model = golden_model(&golden, gpu);
    require(checkpoint_save_base(model, base, &error), &error);
    require(checkpoint_save_adapter(model, adapter, &error), &error);
    require(checkpoint_load(&read, cpu, base, adapter, NULL, 0, TRAIN_NOTHING, false, PRECISION_F32,
                            FROZEN_PRECISION, false, 0, 0, 1, &error),
            &error);
    int64_t count;
    const struct parameter *values = transformer_parameters(read, &count);
    const struct parameter *given = transformer_parameters(expected, &count);
    for (int64_t index = 0; index < count; index++)
        for (int64_t element = 0; element < tensor_count(&values[index].value); element++) {
            const float original = ((const float *)given[index].value.data)[element];
            assert_true(((const float *)values[index].value.data)[element] ==
                        (given[index].trained ? original : bf16_value(bf16_nearest(original))));
        }
    transformer_free(read);
    transformer_free(model);
    transformer_free(expected);
    require(path_remove(folder, &error), &error);
    free(base);
    free(adapter);
    golden_close(&golden);
}

/* The device holds the same codes as the CPU; f32 and bf16 differ only by the type into which they are read. */
static void quantised_bases_equal_the_cpu(void **state)
{
    (void)state;
    for (enum frozen_storage storage = FROZEN_INT8; storage <= FROZEN_NF4; storage++) {
        struct golden golden = golden_open("lora_all");
        golden.settings.frozen = storage;
        golden.lora.alpha = 1.0;
        struct transformer *expected = golden_model(&golden, cpu), *model = golden_model(&golden, gpu);
        int64_t length;
        const double loss = accumulate(expected, &golden.batch, 0.0, 1);
        assert_near(accumulate(model, &golden.batch, 0.0, 1), loss, 1e-5 * loss);
        float *gradients = copy_gradients(model, &length), *references = copy_gradients(expected, &length);
        assert_close("gradients", gradients, references, length);
        clear_gradients(expected);
        transformer_free(model);
        golden.settings.precision = PRECISION_BF16;
        model = golden_model(&golden, gpu);
        round_weights(expected);
        compare_batch(model, expected, &golden.batch, frozen_storage_name(storage));
        free(gradients);
        free(references);
        transformer_free(model);
        transformer_free(expected);
        golden_close(&golden);
    }
}

int main(int argument_count, char **arguments)
{
    if (argument_count > 1)
        cmocka_set_test_filter(arguments[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_goldens),
        cmocka_unit_test(logits_equal_the_goldens),
        cmocka_unit_test(families_equal_the_cpu),
        cmocka_unit_test(bf16_equals_f32_on_rounded_weights),
        cmocka_unit_test(bf16_takes_half_and_keeps_masters),
        cmocka_unit_test(ten_steps_equal_the_cpu),
        cmocka_unit_test(rows_behind_tables_stay_zero),
        cmocka_unit_test(training_repeats_its_bits),
        cmocka_unit_test(bf16_resumes_bit_for_bit),
        cmocka_unit_test(a_step_waits_for_nothing),
        cmocka_unit_test(a_gradient_that_is_not_finite_is_reported),
        cmocka_unit_test(too_many_batches_under_way_are_refused),
        cmocka_unit_test(large_sets_find_room),
        cmocka_unit_test(bf16_files_read_in_f32),
        cmocka_unit_test(new_tokens_equal_the_goldens),
        cmocka_unit_test(new_tokens_are_trained_in_bf16),
        cmocka_unit_test(new_tokens_resume_bit_for_bit),
        cmocka_unit_test(quantised_bases_equal_the_cpu),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
