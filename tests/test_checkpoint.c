#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "golden_transformer.h"
#include "models/language/checkpoint.h"

static struct backend *backend;
static char folder[] = "/tmp/idrec-checkpoint-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    backend = open_backend(1);
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct error error = ERROR_INITIALIZER;
    (void)state;
    backend_close(backend);
    return path_remove(folder, &error) ? 0 : -1;
}

static char *inside(const char *name)
{
    return path_format("%s/%s", folder, name);
}

static float *logits_of(struct transformer *model, const struct golden *golden, size_t *bytes)
{
    struct error error = ERROR_INITIALIZER;
    const int64_t tokens = golden->batch.tokens;
    *bytes = (size_t)(tokens * golden->settings.vocabulary) * sizeof(float);
    float *logits = malloc(*bytes);
    int32_t *rows = malloc((size_t)tokens * sizeof *rows);
    for (int32_t row = 0; row < tokens; row++)
        rows[row] = row;
    require(transformer_logits(model, &golden->batch, rows, tokens, logits, &error), &error);
    free(rows);
    return logits;
}

static void assert_same_logits(struct transformer *model, struct transformer *other,
                               const struct golden *golden)
{
    size_t bytes;
    float *one = logits_of(model, golden, &bytes), *two = logits_of(other, golden, &bytes);
    assert_memory_equal(one, two, bytes);
    free(one);
    free(two);
}

static struct transformer *load(const char *base, const char *adapter, const struct golden *golden,
                                enum train_mode mode)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    require(checkpoint_load(&model, backend, base, adapter, &golden->lora, 0, mode, false, PRECISION_F32,
                            FROZEN_PRECISION, false, golden->batch.tokens, golden->batch.sequences, 4,
                            &error),
            &error);
    return model;
}

static void models_come_back(void **state)
{
    static const char *const names[] = {"plain", "bias", "lora_all", "lora_qv"};
    (void)state;
    for (size_t index = 0; index < sizeof names / sizeof *names; index++) {
        struct error error = ERROR_INITIALIZER;
        struct golden golden = golden_open(names[index]);
        const bool adapted = golden.lora.rank > 0;
        golden.settings.classes = 30;
        golden.settings.positions = index != 0;
        struct transformer *model = golden_model(&golden, backend);
        char *base = inside("base"), *adapter = adapted ? inside("adapter") : NULL;
        require(checkpoint_save_base(model, base, &error), &error);
        require(!adapter || checkpoint_save_adapter(model, adapter, &error), &error);
        assert_true(checkpoint_complete(base));
        struct transformer *other = load(base, adapter, &golden, TRAIN_NOTHING);
        const struct transformer_settings *settings = transformer_settings_of(other);
        assert_int_equal(settings->classes, 30);
        assert_true(settings->positions == golden.settings.positions);
        assert_true(settings->tied == golden.settings.tied);
        assert_true(settings->rope_theta == 500.0f && settings->norm_epsilon == 1e-5f);
        assert_same_logits(model, other, &golden);
        transformer_free(other);
        transformer_free(model);
        free(base);
        free(adapter);
        golden_close(&golden);
    }
}

/* A fresh adapter changes nothing until it is trained. */
static void fresh_adapters_are_neutral(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("lora_all");
    struct transformer *model = golden_model(&golden, backend);
    char *base = inside("base");
    require(checkpoint_save_base(model, base, &error), &error);
    struct transformer *fresh = load(base, NULL, &golden, TRAIN_LORA);
    struct transformer *plain = load(base, NULL, &golden, TRAIN_NOTHING);
    assert_int_equal(transformer_lora_of(plain)->rank, 0);
    assert_same_logits(fresh, plain, &golden);
    transformer_free(plain);
    transformer_free(fresh);
    transformer_free(model);
    free(base);
    golden_close(&golden);
}

static void train(struct transformer *model, const struct golden *golden, int64_t first, int64_t last)
{
    struct error error = ERROR_INITIALIZER;
    for (int64_t step = first; step <= last; step++) {
        double loss = 0.0;
        require(transformer_accumulate(model, &golden->batch, 0.1, 5, (uint64_t)step, &loss, &error), &error);
        require(transformer_step(model, (struct adamw){0.01f, 0.9f, 0.99f, 1e-8f, 0.01f, step}, 1.0, NULL,
                                 &error),
                &error);
    }
}

static void training_goes_on_bit_for_bit(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("lora_qv");
    golden.lora.dropout = 0.1;
    struct transformer *model = golden_model(&golden, backend), *other = golden_model(&golden, backend);
    float average[3] = {1.0f, 2.0f, 3.0f}, back[3] = {0};
    struct parameter extra = {.name = "average", .value = tensor_1d(average, DTYPE_F32, DEVICE_CPU, 3)};
    char *place = inside("state"), *counters;
    assert_false(checkpoint_complete(place));
    train(model, &golden, 1, 3);
    require(checkpoint_save_state(model, &extra, 1, "{\"step\": 3}", place, &error), &error);
    train(model, &golden, 4, 6);
    extra.value.data = back;
    require(checkpoint_load_counters(&counters, place, &error), &error);
    require(checkpoint_load_state(other, &extra, 1, place, &error), &error);
    assert_string_equal(counters, "{\"step\": 3}");
    assert_memory_equal(back, average, sizeof average);
    train(other, &golden, 4, 6);
    assert_same_logits(model, other, &golden);
    free(counters);
    require(checkpoint_remove(place, &error), &error);
    assert_false(checkpoint_complete(place));
    assert_false(checkpoint_load_state(other, &extra, 1, place, &error));
    assert_non_null(strstr(error.message, "no complete state"));
    free(place);
    transformer_free(other);
    transformer_free(model);
    golden_close(&golden);
}

/* Saves states without end until it is killed. */
static void save_forever(struct transformer *model, const char *place)
{
    for (long long number = 1;; number++) {
        struct error error = ERROR_INITIALIZER;
        char counters[32];
        float mark = (float)number;
        const struct parameter extra = {.name = "mark", .value = tensor_1d(&mark, DTYPE_F32, DEVICE_CPU, 1)};
        snprintf(counters, sizeof counters, "%lld", number);
        if (!checkpoint_save_state(model, &extra, 1, counters, place, &error))
            _exit(1);
    }
}

static void states_survive_a_kill_at_any_moment(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("lora_qv");
    struct transformer *model = golden_model(&golden, backend);
    struct random_stream stream = random_stream_open(8, RANDOM_TEST, 0, 0);
    char *place = inside("killed");
    float mark = 0.0f;
    struct parameter extra = {.name = "mark", .value = tensor_1d(&mark, DTYPE_F32, DEVICE_CPU, 1)};
    require(checkpoint_save_state(model, &extra, 1, "0", place, &error), &error);
    for (int round = 0; round < 40; round++) {
        const pid_t child = fork();
        if (child == 0)
            save_forever(model, place);
        usleep(1000 + random_below(&stream, 30000));
        kill(child, SIGKILL);
        int status;
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status));
        char *counters;
        assert_true(checkpoint_complete(place));
        require(checkpoint_load_counters(&counters, place, &error), &error);
        require(checkpoint_load_state(model, &extra, 1, place, &error), &error);
        assert_true((float)strtod(counters, NULL) == mark);
        free(counters);
    }
    free(place);
    transformer_free(model);
    golden_close(&golden);
}

static void write_text(const char *path, const char *text)
{
    struct error error = ERROR_INITIALIZER;
    require(file_write(path, text, strlen(text), &error), &error);
}

static void refuses(const char *base, const char *adapter, const char *part)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer *model;
    assert_false(checkpoint_load(&model, backend, base, adapter, NULL, 0, TRAIN_NOTHING, false, PRECISION_F32,
                                 FROZEN_PRECISION, false, 0, 0, 1, &error));
    assert_null(model);
    if (!strstr(error.message, part))
        fail_msg("'%s' does not say '%s'", error.message, part);
}

#define SIZES                                                                                                \
    "\"hidden_act\": \"silu\", \"hidden_size\": 20, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "  \
    "\"intermediate_size\": 28, \"rms_norm_eps\": 1e-5, \"rope_theta\": 500"

static void damaged_models_are_refused(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("plain");
    struct transformer *model = golden_model(&golden, backend);
    char *base = inside("damaged"), *config = inside("damaged/config.json");
    char *weights = inside("damaged/model.safetensors");
    refuses(base, NULL, "No such file");
    require(checkpoint_save_base(model, base, &error), &error);
    refuses(base, base, "adapter_config.json");
    write_text(config, "{\"model_type\": \"llama\", \"vocab_size\": 37, \"head_dim\": 6, " SIZES "}");
    assert_int_equal(truncate(weights, 5000), 0);
    refuses(base, NULL, "cut off");
    require(checkpoint_save_base(model, base, &error), &error);
    write_text(config, "{\"model_type\": \"llama\", \"vocab_size\": 38, \"head_dim\": 6, " SIZES "}");
    refuses(base, NULL, "tensor 'model.embed_tokens.weight' has the shape [37, 20], not [38, 20]");
    write_text(config, "{\"model_type\": \"llama\", \"vocab_size\": 0, \"head_dim\": 6, " SIZES "}");
    refuses(base, NULL, "'vocab_size' is 0");
    write_text(config, "{\"model_type\": \"llama\", " SIZES "}");
    refuses(base, NULL, "'vocab_size' is missing");
    write_text(config, "{\"model_type\": \"mamba\", " SIZES "}");
    refuses(base, NULL, "model_type 'mamba'");
    write_text(config, "{\"model_type\": \"llama\", \"vocab_size\": 37, \"head_dim\": 6, \"rope_scaling\": "
                       "{\"type\": \"yarn\"}, " SIZES "}");
    refuses(base, NULL, "'rope_scaling' asks for rotary positions of type 'yarn', which is not supported");
    write_text(config, "{\"model_type\": \"llama\", \"vocab_size\": 37, \"head_dim\": 6, "
                       "\"logits_soft_cap\": 30.0, " SIZES "}");
    refuses(base, NULL, "'logits_soft_cap' is 30.0, which is not supported");
    write_text(config, "{\n\"model_type\": \"llama\",\n");
    refuses(base, NULL, "config.json:");
    free(weights);
    free(config);
    free(base);
    transformer_free(model);
    golden_close(&golden);
}

static void damaged_adapters_are_refused(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct golden golden = golden_open("lora_qv");
    struct transformer *model = golden_model(&golden, backend);
    char *base = inside("base"), *adapter = inside("adapter"),
         *config = inside("adapter/adapter_config.json");
    require(checkpoint_save_base(model, base, &error), &error);
    require(checkpoint_save_adapter(model, adapter, &error), &error);
    write_text(config,
               "{\"r\": 4, \"lora_alpha\": 8, \"lora_dropout\": 0.0, \"target_modules\": [\"q_proj\"]}");
    refuses(base, adapter, "has the shape [3, 20], not [4, 20]");
    write_text(config,
               "{\"r\": 3, \"lora_alpha\": 8, \"lora_dropout\": 0.0, \"target_modules\": [\"k_proj\"]}");
    refuses(base, adapter, "no tensor 'base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight'");
    write_text(config,
               "{\"r\": 3, \"lora_alpha\": 8, \"lora_dropout\": 0.0, \"target_modules\": [\"x_proj\"]}");
    refuses(base, adapter, "'x_proj' is not supported");
    write_text(config,
               "{\"r\": 0, \"lora_alpha\": 8, \"lora_dropout\": 0.0, \"target_modules\": [\"q_proj\"]}");
    refuses(base, adapter, "rank r is 0");
    write_text(config, "{\"r\": 3, \"use_dora\": true}");
    refuses(base, adapter, "'use_dora' is not supported");
    free(config);
    free(adapter);
    free(base);
    transformer_free(model);
    golden_close(&golden);
}

/* Saves the models of all goldens below `place`, for goldens/check_checkpoint.py. */
static void save_goldens(const char *place)
{
    static const char *const names[] = {"plain", "grouped_tied", "bias", "lora_all", "lora_qv"};
    for (size_t index = 0; index < sizeof names / sizeof *names; index++) {
        struct error error = ERROR_INITIALIZER;
        struct golden golden = golden_open(names[index]);
        struct transformer *model = golden_model(&golden, backend);
        char *base = path_format("%s/%s/base", place, names[index]);
        char *adapter = path_format("%s/%s/adapter", place, names[index]);
        require(checkpoint_save_base(model, base, &error), &error);
        require(golden.lora.rank == 0 || checkpoint_save_adapter(model, adapter, &error), &error);
        free(adapter);
        free(base);
        transformer_free(model);
        golden_close(&golden);
    }
}

int main(int argument_count, char **arguments)
{
    if (argument_count == 2) {
        set_up(NULL);
        save_goldens(arguments[1]);
        return tear_down(NULL);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_come_back),
        cmocka_unit_test(fresh_adapters_are_neutral),
        cmocka_unit_test(training_goes_on_bit_for_bit),
        cmocka_unit_test(states_survive_a_kill_at_any_moment),
        cmocka_unit_test(damaged_models_are_refused),
        cmocka_unit_test(damaged_adapters_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
