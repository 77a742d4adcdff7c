/*
 * bench_finetune.c: tokens a second of whole training steps of the language model (forward, backward, clipping, AdamW)
 * over packed sequences, beside the rate of a large product measured in the same run.
 *
 *   bench_finetune [--device NAME] [--threads N] [--small] [CASE] [SECONDS A CASE]
 *
 * On a GPU in bf16: LoRA of rank 16 on all seven linears of models with random weights in the shapes of Qwen3-0.6B
 * (without its norms of q and k, which this model does not have), Llama-3.2-1B and Llama-3.1-8B over rows of 2,048 tokens,
 * and a model of IDs over ragged prompts. On the CPU in f32: small models of IDs. --small: shapes that only show that it
 * runs. Work that peers/finetune_gpu.py repeats: sequence i of a batch has shortest + 197 i mod (longest - shortest + 1)
 * tokens, its token j is (7919 i + 104729 j) mod vocabulary, the targets are the next tokens.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"
#include "core/file.h"
#include "models/language/transformer.h"

/* ---- cases -------------------------------------------------------------------------------------------- */

enum place { ON_CPU, ON_GPU, SMALL };

struct bench_case {
    enum place place;
    const char *name;
    int64_t vocabulary, width, layers, query_heads, key_heads, head_width, hidden;
    bool tied;
    enum train_mode mode;
    int64_t rank; /* of adapters: up to 8 on q and v with dropout 0.05, above on all linears without */
    int64_t sequences, shortest, longest;
    double answer; /* the share of a sequence's end that counts in the loss */
};

static const struct bench_case cases[] = {
    {ON_GPU, "qwen3-0.6b-no-qk-norm", 151936, 1024, 28, 16, 8, 128, 3072, true, TRAIN_LORA, 16, 4, 2048, 2048,
     1.0},
    {ON_GPU, "llama-3.2-1b", 128256, 2048, 16, 32, 8, 64, 8192, true, TRAIN_LORA, 16, 4, 2048, 2048, 1.0},
    {ON_GPU, "llama-3.1-8b", 128256, 4096, 32, 32, 8, 128, 14336, false, TRAIN_LORA, 16, 4, 2048, 2048, 1.0},
    {ON_GPU, "id-prompts", 41000, 512, 12, 8, 8, 64, 1376, true, TRAIN_LORA, 16, 76, 20, 400, 1.0},
    {ON_GPU, "id-prompts-full", 41000, 512, 12, 8, 8, 64, 1376, true, TRAIN_ALL, 0, 76, 20, 400, 1.0},
    {ON_CPU, "ids-1700-64-full", 1700, 64, 2, 2, 2, 32, 160, true, TRAIN_ALL, 0, 20, 20, 400, 1.0},
    {ON_CPU, "ids-1700-64-lora", 1700, 64, 2, 2, 2, 32, 160, true, TRAIN_LORA, 8, 20, 20, 400, 1.0},
    {ON_CPU, "ids-12000-64-full", 12000, 64, 2, 2, 2, 32, 160, true, TRAIN_ALL, 0, 20, 20, 400, 1.0},
    {ON_CPU, "ids-1700-128-full", 1700, 128, 4, 4, 4, 32, 320, true, TRAIN_ALL, 0, 20, 20, 400, 1.0},
    {ON_CPU, "ids-1700-128-lora", 1700, 128, 4, 4, 4, 32, 320, true, TRAIN_LORA, 8, 20, 20, 400, 1.0},
    {ON_CPU, "ids-1700-128-half", 1700, 128, 4, 4, 4, 32, 320, true, TRAIN_LORA, 8, 20, 20, 400, 0.5},
    {ON_CPU, "ids-12000-128-full", 12000, 128, 4, 4, 4, 32, 320, true, TRAIN_ALL, 0, 20, 20, 400, 1.0},
    {ON_CPU, "ids-12000-128-half", 12000, 128, 4, 4, 4, 32, 320, true, TRAIN_LORA, 8, 20, 20, 400, 0.5},
    {SMALL, "small-rows", 300, 32, 2, 4, 2, 8, 64, false, TRAIN_LORA, 16, 2, 64, 64, 1.0},
    {SMALL, "small-ids", 500, 32, 2, 2, 2, 16, 64, true, TRAIN_ALL, 0, 6, 4, 30, 1.0},
};
enum { CASE_COUNT = (int)(sizeof cases / sizeof cases[0]) };

static struct transformer_settings model_settings(const struct bench_case *bench, bool gpu)
{
    return (struct transformer_settings){.vocabulary = bench->vocabulary,
                                         .width = bench->width,
                                         .layers = bench->layers,
                                         .query_heads = bench->query_heads,
                                         .key_heads = bench->key_heads,
                                         .head_width = bench->head_width,
                                         .hidden = bench->hidden,
                                         .norm_epsilon = 1e-5f,
                                         .rope_theta = 5e5f,
                                         .positions = true,
                                         .tied = bench->tied,
                                         .precision = gpu ? PRECISION_BF16 : PRECISION_F32};
}

static struct lora_settings adapter_settings(const struct bench_case *bench)
{
    const bool all = bench->rank > 8;
    struct lora_settings lora = {.rank = bench->rank, .alpha = 32.0, .dropout = all ? 0.0 : 0.05};
    for (int linear = 0; linear < LINEAR_COUNT; linear++)
        lora.targets[linear] = all || linear == LINEAR_Q || linear == LINEAR_V;
    return lora;
}

/* Multiply-adds of a token in the forward pass: the linears of the base and the output layer. */
static double weights_of_token(const struct bench_case *bench)
{
    const double queries = (double)(bench->query_heads * bench->head_width),
                 keys = (double)(bench->key_heads * bench->head_width);
    const double layer = (2.0 * queries + 2.0 * keys + 3.0 * (double)bench->hidden) * (double)bench->width;
    return (double)bench->layers * layer + (double)(bench->vocabulary * bench->width);
}

/* ---- a batch ------------------------------------------------------------------------------------------ */

struct example {
    struct batch batch;
    int32_t *starts, *token, *position, *target;
    float *weight;
};

static int64_t sequence_length(const struct bench_case *bench, int64_t sequence)
{
    return bench->shortest + 197 * sequence % (bench->longest - bench->shortest + 1);
}

static void fill_sequence(struct example *example, const struct bench_case *bench, int64_t sequence)
{
    const int64_t first = example->starts[sequence], length = sequence_length(bench, sequence);
    for (int64_t place = 0; place < length; place++) {
        example->token[first + place] = (int32_t)((7919 * sequence + 104729 * place) % bench->vocabulary);
        example->target[first + place] =
            (int32_t)((7919 * sequence + 104729 * (place + 1)) % bench->vocabulary);
        example->position[first + place] = (int32_t)place;
        example->weight[first + place] =
            (double)place >= (1.0 - bench->answer) * (double)length && place + 1 < length ? 1e-4f : 0.0f;
    }
    example->starts[sequence + 1] = (int32_t)(first + length);
}

static bool example_create(struct example *example, const struct bench_case *bench, struct error *error)
{
    const size_t tokens = (size_t)(bench->sequences * bench->longest);
    *example = (struct example){.starts = calloc((size_t)bench->sequences + 1, sizeof(int32_t)),
                                .token = malloc(tokens * sizeof(int32_t)),
                                .position = malloc(tokens * sizeof(int32_t)),
                                .target = malloc(tokens * sizeof(int32_t)),
                                .weight = malloc(tokens * sizeof(float))};
    if (!example->starts || !example->token || !example->position || !example->target || !example->weight)
        return error_memory(error, "a batch", tokens * 16, NULL);
    for (int64_t sequence = 0; sequence < bench->sequences; sequence++)
        fill_sequence(example, bench, sequence);
    example->batch = (struct batch){.tokens = example->starts[bench->sequences],
                                    .sequences = bench->sequences,
                                    .token = example->token,
                                    .position = example->position,
                                    .starts = example->starts,
                                    .target = example->target,
                                    .weight = example->weight};
    return true;
}

static void example_free(struct example *example)
{
    free(example->starts);
    free(example->token);
    free(example->position);
    free(example->target);
    free(example->weight);
}

/* ---- steps -------------------------------------------------------------------------------------------- */

enum { STEPS_BEFORE = 3, STEPS_AHEAD = 2 };

/* As the trainer does: on a GPU the loss of a step is asked for when two more are under way. */
static bool run_step(struct transformer *model, const struct batch *batch, int64_t step, struct error *error)
{
    const bool gpu = transformer_backend(model)->device != DEVICE_CPU;
    const struct adamw adamw = {1e-4f, 0.9f, 0.99f, 1e-8f, 0.0f, step};
    double loss;
    if (!transformer_accumulate(model, batch, 0.0, 1, (uint64_t)step, NULL, error))
        return false;
    while (transformer_batches_under_way(model) > (gpu ? STEPS_AHEAD : 0))
        if (!transformer_take_loss(model, &loss, error))
            return false;
    return transformer_step(model, adamw, 1.0, NULL, error);
}

/* Waits for the steps under way. */
static bool finish_steps(struct transformer *model, struct error *error)
{
    double loss;
    while (transformer_batches_under_way(model) > 0)
        if (!transformer_take_loss(model, &loss, error))
            return false;
    return backend_synchronize(transformer_backend(model), error);
}

struct pace {
    int64_t steps;
    double seconds, operations; /* of all steps; as the operators count them */
};

static bool measure_steps(struct pace *pace, struct transformer *model, const struct batch *batch,
                          double seconds, struct error *error)
{
    struct backend *backend = transformer_backend(model);
    bool done = true;
    *pace = (struct pace){0};
    for (int64_t step = 1; done && step <= STEPS_BEFORE; step++)
        done = run_step(model, batch, step, error);
    done = done && finish_steps(model, error);
    backend_reset_counters(backend);
    const double started = clock_seconds();
    while (done && (pace->steps < STEPS_BEFORE || clock_seconds() - started < seconds))
        done = run_step(model, batch, STEPS_BEFORE + ++pace->steps, error);
    done = done && finish_steps(model, error);
    pace->seconds = clock_seconds() - started;
    pace->operations = backend->counters.floating_point_operations;
    return done;
}

static void print_case(const struct bench_case *bench, const struct batch *batch, const struct pace *pace,
                       double peak, size_t memory)
{
    const bool lora = bench->mode == TRAIN_LORA;
    const double tokens = (double)(batch->tokens * pace->steps) / pace->seconds;
    const double needed = (lora ? 4.0 : 6.0) * weights_of_token(bench) * tokens;
    printf("%-21s %s batch %lld: %.0f tokens/s, %.2f ms a step, %.3f TFLOP/s at %dN (%.1f %% of the GEMM "
           "peak; all "
           "operators count %.1f %%), memory %.2f GiB\n",
           bench->name, lora ? "LoRA" : "full", (long long)batch->tokens, tokens,
           1e3 * pace->seconds / (double)pace->steps, 1e-12 * needed, lora ? 4 : 6, 100.0 * needed / peak,
           100.0 * pace->operations / pace->seconds / peak, (double)memory / (1 << 30));
    fflush(stdout);
}

static bool run_case(struct backend *backend, const struct bench_case *bench, double seconds, double peak,
                     struct error *error)
{
    const struct transformer_settings settings = model_settings(bench, backend->device != DEVICE_CPU);
    const struct lora_settings lora = adapter_settings(bench);
    struct transformer *model = NULL;
    struct example example;
    struct pace pace;
    backend->memory.peak = backend->memory.bytes;
    const bool done = example_create(&example, bench, error) &&
                      transformer_create(&model, backend, &settings, &lora, bench->mode, example.batch.tokens,
                                         bench->sequences, 1, error) &&
                      measure_steps(&pace, model, &example.batch, seconds, error);
    if (done)
        print_case(bench, &example.batch, &pace, peak, backend->memory.peak);
    transformer_free(model);
    example_free(&example);
    return done;
}

/* "all", or the one of that name. */
static bool run_cases(struct backend *backend, const struct ceilings *ceilings, bool small, const char *name,
                      double seconds, struct error *error)
{
    const bool gpu = backend->device != DEVICE_CPU, all = strcmp(name, "all") == 0;
    const enum place place = small ? SMALL : gpu ? ON_GPU : ON_CPU;
    const double peak = gpu ? ceilings->gemm_bf16 : ceilings->gemm_f32;
    bool found = false, done = true;
    for (int index = 0; done && index < CASE_COUNT; index++)
        if (cases[index].place == place && (all || strcmp(name, cases[index].name) == 0)) {
            found = true;
            done = run_case(backend, &cases[index], seconds, peak, error);
        }
    return found ? done
                 : error_set(error, ERROR_USAGE, "no case '%s'; see the head of bench_finetune.c", name);
}

int main(int count, char **arguments)
{
    struct error error = ERROR_INITIALIZER;
    backend_prepare_process(arguments);
    const struct measured_device device = measured_device_read(&count, &arguments);
    const char *name = count > 1 ? arguments[1] : "all";
    const double seconds = count > 2 ? atof(arguments[2]) : device.small ? 0.1 : 5.0;
    struct backend *backend = backend_open(device.name, device.threads, &error);
    struct ceilings ceilings;
    bool done = backend && ceilings_measure(&ceilings, backend, device.small, &error);
    if (done)
        ceilings_print(&ceilings, backend);
    done = done && run_cases(backend, &ceilings, device.small, name, seconds, &error);
    error_print(&error, stderr);
    backend_close(backend);
    return done ? 0 : 1;
}
