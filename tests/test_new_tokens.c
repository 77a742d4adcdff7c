/* New tokens for a trained base: against peft's logits, losses and gradients (goldens/make_new_tokens.py), what is trained
 * and what stays, files and back, their start, and what is refused. */
#include <unistd.h>

#include "models/language/merge.h"
#include "new_token_goldens.h"

static struct backend *backend;
static char folder[] = "/tmp/idrec-new-tokens-XXXXXX";
static char *bases[NEW_TOKENS_CASES];

static char *inside(const char *name)
{
    return path_format("%s/%s", folder, name);
}

static int set_up(void **state)
{
    (void)state;
    backend = open_backend(1);
    if (!mkdtemp(folder))
        return -1;
    for (int which = 0; which < NEW_TOKENS_CASES; which++)
        bases[which] = save_new_tokens_base(&new_tokens_cases[which], backend, folder);
    return 0;
}

static int tear_down(void **state)
{
    struct error error = ERROR_INITIALIZER;
    (void)state;
    backend_close(backend);
    for (int which = 0; which < NEW_TOKENS_CASES; which++)
        free(bases[which]);
    return path_remove(folder, &error) ? 0 : -1;
}

static struct transformer *load_peft(int which, const struct golden *golden)
{
    return load_new_tokens(&new_tokens_cases[which], golden, backend, bases[which], PRECISION_F32);
}

/* The base with a fresh adapter and fresh tokens, or with these trained like everything. */
static struct transformer *load_fresh(int which, const struct golden *golden, enum train_mode mode,
                                      enum frozen_storage frozen, uint64_t seed)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    const struct lora_settings lora = {
        .rank = 2, .alpha = 4.0, .targets = {[LINEAR_Q] = true, [LINEAR_DOWN] = true}};
    require(checkpoint_load(&model, backend, bases[which], NULL, &lora, NEW_TOKENS, mode, false,
                            PRECISION_F32, frozen, false, golden->batch.tokens, golden->batch.sequences, seed,
                            &error),
            &error);
    return model;
}

static struct transformer *load_for_inference(const char *base, const char *adapter,
                                              const struct golden *golden, enum frozen_storage frozen)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    require(checkpoint_load(&model, backend, base, adapter, NULL, 0, TRAIN_NOTHING, false, PRECISION_F32,
                            frozen, false, golden->batch.tokens, golden->batch.sequences, 4, &error),
            &error);
    return model;
}

static void assert_same_logits(struct transformer *one, struct transformer *other,
                               const struct golden *golden)
{
    const int64_t vocabulary = transformer_settings_of(one)->vocabulary;
    float *ones = all_logits(one, &golden->batch), *others = all_logits(other, &golden->batch);
    assert_int_equal(transformer_settings_of(other)->vocabulary, vocabulary);
    assert_memory_equal(ones, others, (size_t)(golden->batch.tokens * vocabulary) * sizeof *ones);
    free(ones);
    free(others);
}

static void train(struct transformer *model, const struct golden *golden, int64_t first, int64_t steps)
{
    struct error error = ERROR_INITIALIZER;
    for (int64_t step = first + 1; step <= first + steps; step++) {
        accumulate(model, &golden->batch, 0.1, (uint64_t)step);
        require(transformer_step(model, (struct adamw){0.05f, 0.9f, 0.99f, 1e-8f, 0.01f, step}, 1.0, NULL,
                                 &error),
                &error);
    }
}

/* ---- peft --------------------------------------------------------------------------------------------- */

static void adapters_of_peft_give_its_results(void **state)
{
    (void)state;
    for (int which = 0; which < NEW_TOKENS_CASES; which++) {
        struct golden golden = open_new_tokens_golden(&new_tokens_cases[which]);
        struct transformer *model = load_peft(which, &golden);
        assert_int_equal(transformer_settings_of(model)->vocabulary, golden.settings.vocabulary + NEW_TOKENS);
        equals_new_tokens_golden(&golden, model);
        transformer_free(model);
        golden_close(&golden);
    }
}

static void saved_adapters_come_back(void **state)
{
    (void)state;
    for (int which = 0; which < NEW_TOKENS_CASES; which++) {
        struct error error = ERROR_INITIALIZER;
        struct golden golden = open_new_tokens_golden(&new_tokens_cases[which]);
        struct transformer *model = load_peft(which, &golden);
        char *copy = inside("copy");
        require(checkpoint_save_adapter(model, copy, &error), &error);
        struct transformer *other = load_for_inference(bases[which], copy, &golden, FROZEN_PRECISION);
        assert_same_logits(model, other, &golden);
        transformer_free(other);
        transformer_free(model);
        free(copy);
        golden_close(&golden);
    }
}

static void merged_models_give_the_logits_of_peft(void **state)
{
    (void)state;
    for (int which = 0; which < NEW_TOKENS_CASES; which++) {
        struct error error = ERROR_INITIALIZER;
        struct golden golden = open_new_tokens_golden(&new_tokens_cases[which]);
        struct merge_result result;
        char *out = inside(which ? "merged_untied" : "merged_tied"),
             *adapter = new_tokens_adapter(&new_tokens_cases[which]);
        const struct merge_settings settings = {bases[which], adapter, out, NULL, INT64_MAX};
        require(merge_adapter(&result, &settings, &error), &error);
        assert_int_equal(result.added_tokens, NEW_TOKENS);
        struct transformer *model = load_for_inference(out, NULL, &golden, FROZEN_PRECISION);
        const struct safetensors_entry *expected = golden_entry(&golden, "logits");
        float *logits = all_logits(model, &golden.batch);
        assert_close(new_tokens_cases[which].name, logits, expected->data, expected->count);
        free(logits);
        transformer_free(model);
        free(adapter);
        free(out);
        golden_close(&golden);
    }
}

/* ---- training ----------------------------------------------------------------------------------------- */

/* All values, or those of the base alone, one after another; malloc'ed. */
static float *copy_values(struct transformer *model, bool base_alone, size_t *bytes)
{
    int64_t count;
    const struct parameter *parameters = transformer_parameters(model, &count);
    float *values = NULL;
    *bytes = 0;
    for (int64_t index = 0; index < count; index++) {
        const size_t more = tensor_bytes(&parameters[index].value);
        if (base_alone && parameter_is_adapter(&parameters[index]))
            continue;
        values = realloc(values, *bytes + more);
        memcpy((char *)values + *bytes, parameters[index].value.data, more);
        *bytes += more;
    }
    return values;
}

/* What passes read behind the base's rows is what was trained. */
static void assert_rows_are_read(struct transformer *model, const char *name, const struct tensor *table)
{
    const struct parameter *rows = transformer_parameter(model, name);
    assert_non_null(rows);
    const struct tensor tail =
        tensor_rows(table, table->shape[0] - rows->value.shape[0], rows->value.shape[0]);
    assert_memory_equal(tail.data, rows->value.data, tensor_bytes(&tail));
}

static void only_the_adapter_changes(void **state)
{
    (void)state;
    for (int which = 0; which < NEW_TOKENS_CASES; which++) {
        struct golden golden = open_new_tokens_golden(&new_tokens_cases[which]);
        struct transformer *model = load_fresh(which, &golden, TRAIN_LORA, FROZEN_PRECISION, 3);
        const struct transformer_weights *weights = transformer_weights_of(model);
        const char *const names[] = {
            "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta",
            "base_model.model.lm_head.token_adapter.trainable_tokens_delta"};
        const struct tensor *rows = &transformer_parameter(model, names[0])->value;
        size_t bytes, row_bytes = tensor_bytes(rows);
        float *before = copy_values(model, true, &bytes), *rows_before = malloc(row_bytes);
        memcpy(rows_before, rows->data, row_bytes);
        train(model, &golden, 0, 4);
        float *after = copy_values(model, true, &bytes);
        assert_memory_equal(before, after, bytes);
        for (int64_t index = 0; index < tensor_count(rows); index++)
            assert_true(rows_before[index] != ((const float *)rows->data)[index]);
        assert_rows_are_read(model, names[0], &weights->embedding);
        if (golden.settings.tied)
            assert_null(transformer_parameter(model, names[1]));
        else
            assert_rows_are_read(model, names[1], &weights->output);
        free(rows_before);
        free(before);
        free(after);
        transformer_free(model);
        golden_close(&golden);
    }
}

static void training_goes_on_with_the_same_bits(void **state)
{
    (void)state;
    for (int which = 0; which < NEW_TOKENS_CASES; which++) {
        struct error error = ERROR_INITIALIZER;
        struct golden golden = open_new_tokens_golden(&new_tokens_cases[which]);
        struct transformer *whole = load_fresh(which, &golden, TRAIN_LORA, FROZEN_PRECISION, 3);
        struct transformer *first = load_fresh(which, &golden, TRAIN_LORA, FROZEN_PRECISION, 3);
        struct transformer *second = load_fresh(which, &golden, TRAIN_LORA, FROZEN_PRECISION, 8);
        char *path = inside("state");
        train(whole, &golden, 0, 4);
        train(first, &golden, 0, 2);
        require(checkpoint_save_state(first, NULL, 0, "{}", path, &error) &&
                    checkpoint_load_state(second, NULL, 0, path, &error),
                &error);
        train(second, &golden, 2, 2);
        size_t bytes;
        float *expected = copy_values(whole, false, &bytes), *found = copy_values(second, false, &bytes);
        assert_memory_equal(found, expected, bytes);
        assert_same_logits(whole, second, &golden);
        free(expected);
        free(found);
        free(path);
        transformer_free(whole);
        transformer_free(first);
        transformer_free(second);
        golden_close(&golden);
    }
}

/* Recomputed layers and a quantised base, whose tables stay as they are. */
static void a_quantised_base_learns_new_tokens(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct golden golden = open_new_tokens_golden(&new_tokens_cases[1]);
    struct transformer *model = load_fresh(1, &golden, TRAIN_LORA, FROZEN_NF4, 3);
    char *adapter = inside("quantised");
    const double before = accumulate(model, &golden.batch, 0.0, 1);
    clear_gradients(model);
    train(model, &golden, 0, 5);
    assert_true(accumulate(model, &golden.batch, 0.0, 1) < 0.9 * before);
    require(checkpoint_save_adapter(model, adapter, &error), &error);
    struct transformer *other = load_for_inference(bases[1], adapter, &golden, FROZEN_NF4);
    assert_same_logits(model, other, &golden);
    transformer_free(other);
    transformer_free(model);
    free(adapter);
    golden_close(&golden);
}

/* ---- trained with everything -------------------------------------------------------------------------- */

static void whole_tables_grow(void **state)
{
    (void)state;
    for (int which = 0; which < NEW_TOKENS_CASES; which++) {
        struct error error = ERROR_INITIALIZER;
        struct golden golden = open_new_tokens_golden(&new_tokens_cases[which]);
        struct transformer *model = load_fresh(which, &golden, TRAIN_ALL, FROZEN_PRECISION, 3);
        struct transformer *adapter = load_fresh(which, &golden, TRAIN_LORA, FROZEN_PRECISION, 3);
        struct transformer_settings settings;
        struct lora_settings lora;
        char *grown = inside("grown");
        assert_same_logits(model, adapter, &golden);
        train(model, &golden, 0, 2);
        require(checkpoint_save_base(model, grown, &error) &&
                    checkpoint_settings(&settings, &lora, grown, NULL, &error),
                &error);
        assert_int_equal(settings.vocabulary, golden.settings.vocabulary + NEW_TOKENS);
        assert_int_equal(settings.added, 0);
        struct transformer *other = load_for_inference(grown, NULL, &golden, FROZEN_PRECISION);
        assert_same_logits(model, other, &golden);
        transformer_free(other);
        transformer_free(adapter);
        transformer_free(model);
        free(grown);
        golden_close(&golden);
    }
}

/* A base that was not trained is written as it was read. */
static void the_base_stays(void **state)
{
    (void)state;
    for (int which = 0; which < NEW_TOKENS_CASES; which++) {
        struct error error = ERROR_INITIALIZER;
        struct golden golden = open_new_tokens_golden(&new_tokens_cases[which]);
        struct transformer *model = load_peft(which, &golden);
        char *copy = inside("base_copy"), *one = NULL, *two = NULL;
        size_t length, other_length;
        require(checkpoint_save_base(model, copy, &error), &error);
        static const char *const files[] = {"config.json", "model.safetensors"};
        for (int file = 0; file < 2; file++) {
            char *path = path_format("%s/%s", bases[which], files[file]);
            char *path_of_copy = path_format("%s/%s", copy, files[file]);
            require(file_read(path, &one, &length, &error) &&
                        file_read(path_of_copy, &two, &other_length, &error),
                    &error);
            assert_int_equal(length, other_length);
            assert_memory_equal(one, two, length);
            free(one);
            free(two);
            free(path);
            free(path_of_copy);
        }
        free(copy);
        transformer_free(model);
        golden_close(&golden);
    }
}

/* ---- the start ---------------------------------------------------------------------------------------- */

/* Mean and deviation about it, of each column; the latter over all columns. */
static double describe(const float *rows, int64_t count, int64_t width, double *mean)
{
    double squares = 0.0;
    for (int64_t column = 0; column < width; column++) {
        mean[column] = 0.0;
        for (int64_t row = 0; row < count; row++)
            mean[column] += (double)rows[row * width + column] / (double)count;
        for (int64_t row = 0; row < count; row++)
            squares += pow((double)rows[row * width + column] - mean[column], 2.0);
    }
    return sqrt(squares / (double)(count * width));
}

static void new_rows_are_near_the_mean(void **state)
{
    (void)state;
    struct golden golden = open_new_tokens_golden(&new_tokens_cases[1]);
    struct transformer *model = load_fresh(1, &golden, TRAIN_LORA, FROZEN_PRECISION, 3);
    struct transformer *again = load_fresh(1, &golden, TRAIN_LORA, FROZEN_PRECISION, 3);
    struct transformer *other = load_fresh(1, &golden, TRAIN_LORA, FROZEN_PRECISION, 4);
    const struct tensor *const tables[] = {&transformer_weights_of(model)->embedding,
                                           &transformer_weights_of(model)->output};
    for (int table = 0; table < 2; table++) {
        double mean[64], squares = 0.0;
        const int64_t width = tables[table]->shape[1], old = golden.settings.vocabulary;
        const float *values = tables[table]->data;
        const double deviation = describe(values, old, width, mean);
        for (int64_t index = 0; index < NEW_TOKENS * width; index++)
            squares += pow((double)values[old * width + index] - mean[index % width], 2.0);
        const double found = sqrt(squares / (double)(NEW_TOKENS * width));
        assert_near(found, 0.1 * deviation, 0.03 * deviation);
    }
    assert_same_logits(model, again, &golden);
    assert_memory_not_equal(tables[0]->data, transformer_weights_of(other)->embedding.data,
                            tensor_bytes(tables[0]));
    assert_memory_not_equal(tables[0]->data, tables[1]->data, tensor_bytes(tables[0]));
    transformer_free(other);
    transformer_free(again);
    transformer_free(model);
    golden_close(&golden);
}

/* ---- what is refused ---------------------------------------------------------------------------------- */

static void refuses(const char *base, const char *adapter, int64_t added, enum train_mode mode,
                    const char *part)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    assert_false(checkpoint_load(&model, backend, base, adapter, NULL, added, mode, false, PRECISION_F32,
                                 FROZEN_PRECISION, false, 0, 0, 1, &error));
    assert_null(model);
    if (!strstr(error.message, part))
        fail_msg("'%s' does not say '%s'", error.message, part);
}

/* The adapter of peft with another value of trainable_token_indices. */
static void refuses_indices(int which, const char *value, const char *part)
{
    struct error error = ERROR_INITIALIZER;
    char *adapter = new_tokens_adapter(&new_tokens_cases[which]), *copy = inside("indices");
    char *weights = path_format("%s/adapter_model.safetensors", adapter);
    char *link = path_format("%s/adapter_model.safetensors", copy),
         *config = path_format("%s/adapter_config.json", copy);
    char *text = path_format("{\"r\": 3, \"lora_alpha\": 12, \"lora_dropout\": 0, \"target_modules\": "
                             "\"all-linear\", \"trainable_token_indices\": %s}",
                             value);
    require(folder_create(copy, &error) && file_write(config, text, strlen(text), &error), &error);
    assert_int_equal(symlink(weights, link), 0);
    refuses(bases[which], copy, 0, TRAIN_NOTHING, part);
    require(path_remove(copy, &error), &error);
    free(text);
    free(config);
    free(link);
    free(weights);
    free(copy);
    free(adapter);
}

static void other_tokens_are_refused(void **state)
{
    (void)state;
    refuses_indices(0, "[36, 37, 38, 39, 40]", "does not have 37 at place 0; only tokens that are new");
    refuses_indices(0, "[37, 38, 39, 41, 40]", "does not have 40 at place 3");
    refuses_indices(0, "[37, \"38\"]", "does not have 38 at place 1");
    refuses_indices(0, "{\"lm_head\": [37]}", "has no list of tokens of embed_tokens");
    refuses_indices(0, "{\"embed_tokens\": [37], \"wte\": [37]}", "has 'wte', which is no list");
    refuses_indices(0, "{\"embed_tokens\": 37}", "has 'embed_tokens', which is no list");
    refuses_indices(0, "{\"embed_tokens\": [37, 38], \"lm_head\": [37]}", "2 tokens of embed_tokens and 1");
    refuses_indices(1, "[37, 38, 39, 40, 41]", "5 tokens of embed_tokens and 0 of lm_head");
    refuses_indices(1, "{\"embed_tokens\": [37], \"lm_head\": [37]}", "trainable_tokens_delta");
    refuses_indices(1, "37", "has no list of tokens");
}

static void what_nothing_trains_is_refused(void **state)
{
    (void)state;
    char *adapter = new_tokens_adapter(&new_tokens_cases[0]);
    refuses(bases[0], NULL, 3, TRAIN_NOTHING, "3 tokens are new to the base and nothing trains them");
    refuses(bases[0], adapter, 3, TRAIN_LORA, "3 tokens are new to the base and nothing trains them");
    refuses(bases[0], adapter, 0, TRAIN_ALL, "merge it into the base first");
    refuses(bases[0], NULL, INT32_MAX, TRAIN_ALL, "new tokens for a vocabulary of 37");
    free(adapter);
}

/* A base with its first row changed is another one: the whole table beside the rows of peft's adapter tells. */
static void another_base_is_refused(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("grouped_tied");
    struct transformer *model = golden_model(&golden, backend);
    char *adapter = new_tokens_adapter(&new_tokens_cases[0]), *base = inside("other"), *out = inside("out");
    const struct merge_settings settings = {base, adapter, out, NULL, INT64_MAX};
    struct merge_result result;
    ((float *)transformer_parameter(model, "model.embed_tokens.weight")->value.data)[0] += 0.1f;
    require(checkpoint_save_base(model, base, &error), &error);
    refuses(base, adapter, 0, TRAIN_NOTHING, "is not the base's table with 5 new tokens behind it");
    assert_false(merge_adapter(&result, &settings, &error));
    assert_non_null(strstr(error.message, "is not the base's table"));
    assert_false(path_exists(out));
    transformer_free(model);
    free(out);
    free(base);
    free(adapter);
    golden_close(&golden);
}

static void a_part_of_the_classes_cannot_grow(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("plain");
    struct transformer *model;
    char *base = inside("classes");
    golden.settings.classes = 30;
    model = golden_model(&golden, backend);
    require(checkpoint_save_base(model, base, &error), &error);
    refuses(base, NULL, 3, TRAIN_ALL, "can predict only 30 of its 37");
    transformer_free(model);
    free(base);
    golden_close(&golden);
}

/* ---- for goldens/check_adapter.py --------------------------------------------------------------------- */

/* A fresh adapter of each case, trained for a few steps, below `place`, with its logits. */
static void save_trained(const char *place)
{
    for (int which = 0; which < NEW_TOKENS_CASES; which++) {
        struct error error = ERROR_INITIALIZER;
        struct golden golden = open_new_tokens_golden(&new_tokens_cases[which]);
        struct transformer *model = load_fresh(which, &golden, TRAIN_LORA, FROZEN_PRECISION, 3);
        char *to = path_format("%s/new_tokens_%s", place, new_tokens_cases[which].name);
        char *base = path_format("%s/base", to), *adapter = path_format("%s/adapter", to);
        char *path = path_format("%s/logits.safetensors", to);
        train(model, &golden, 0, 5);
        float *logits = all_logits(model, &golden.batch);
        const struct named_tensor tensor = {.name = "logits",
                                            .tensor =
                                                tensor_2d(logits, DTYPE_F32, DEVICE_CPU, golden.batch.tokens,
                                                          transformer_settings_of(model)->vocabulary)};
        require(checkpoint_save_base(model, base, &error) &&
                    checkpoint_save_adapter(model, adapter, &error) &&
                    safetensors_write(path, backend, &tensor, 1, &error),
                &error);
        free(logits);
        free(path);
        free(adapter);
        free(base);
        free(to);
        transformer_free(model);
        golden_close(&golden);
    }
}

int main(int argument_count, char **arguments)
{
    if (argument_count == 2) {
        set_up(NULL);
        save_trained(arguments[1]);
        return tear_down(NULL);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adapters_of_peft_give_its_results),
        cmocka_unit_test(saved_adapters_come_back),
        cmocka_unit_test(merged_models_give_the_logits_of_peft),
        cmocka_unit_test(only_the_adapter_changes),
        cmocka_unit_test(training_goes_on_with_the_same_bits),
        cmocka_unit_test(a_quantised_base_learns_new_tokens),
        cmocka_unit_test(whole_tables_grow),
        cmocka_unit_test(the_base_stays),
        cmocka_unit_test(new_rows_are_near_the_mean),
        cmocka_unit_test(other_tokens_are_refused),
        cmocka_unit_test(what_nothing_trains_is_refused),
        cmocka_unit_test(another_base_is_refused),
        cmocka_unit_test(a_part_of_the_classes_cannot_grow),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
