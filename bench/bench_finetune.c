/*
 * bench_finetune.c: tokens a second of forward and backward over ragged sequences, beside the rate of a large
 * GEMM measured in the same run.
 *
 *   bench_finetune [threads] [seconds a case]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/file.h"
#include "models/language/transformer.h"

enum { SEQUENCES = 20, SHORTEST = 20, LONGEST = 400, PEAK_SIZE = 1024 };

/* ---- the peak ----------------------------------------------------------------------------------------- */

/* GFLOP/s of square products. */
static double gemm_peak(struct backend *backend)
{
    const size_t bytes = (size_t)PEAK_SIZE * PEAK_SIZE * sizeof(real);
    struct tensor tensors[3];
    for (int index = 0; index < 3; index++) {
        void *memory = backend->allocate(backend, bytes);
        if (!memory)
            return 0.0;
        backend->fill_zero(backend, memory, bytes);
        tensors[index] = tensor_2d(memory, DTYPE_REAL, backend->device, PEAK_SIZE, PEAK_SIZE);
    }
    double best = 0.0;
    for (int round = 0; round < 12; round++) {
        const double start = clock_seconds();
        op_gemm(backend, &tensors[0], &tensors[1], PLAIN, &tensors[2], TRANSPOSED, 1.0f, 0.0f);
        backend->wait(backend);
        best = fmax(best, 2e-9 * pow(PEAK_SIZE, 3.0) / (clock_seconds() - start));
    }
    for (int index = 0; index < 3; index++)
        backend->release(backend, tensors[index].data);
    return best;
}

/* ---- a batch ------------------------------------------------------------------------------------------ */

struct example {
    struct batch batch;
    int32_t starts[SEQUENCES + 1];
    int32_t token[SEQUENCES * LONGEST], position[SEQUENCES * LONGEST], target[SEQUENCES * LONGEST];
    float weight[SEQUENCES * LONGEST];
};

/* `answer`: the share of a sequence's end that counts in the loss. */
static void fill_example(struct example *example, int64_t vocabulary, double answer)
{
    struct random_stream stream = random_stream_open(1, RANDOM_TEST, 0, 0);
    int32_t used = 0;
    for (int sequence = 0; sequence < SEQUENCES; sequence++) {
        const int32_t length = SHORTEST + (int32_t)random_below(&stream, LONGEST - SHORTEST + 1);
        example->starts[sequence] = used;
        for (int32_t place = 0; place < length; place++, used++) {
            example->token[used] = (int32_t)random_below(&stream, (uint32_t)vocabulary);
            example->target[used] = (int32_t)random_below(&stream, (uint32_t)vocabulary);
            example->position[used] = place;
            example->weight[used] = place >= (1.0 - answer) * length ? 1.0f : 0.0f;
        }
    }
    example->starts[SEQUENCES] = used;
    example->batch = (struct batch){.tokens = used,
                                    .sequences = SEQUENCES,
                                    .token = example->token,
                                    .position = example->position,
                                    .starts = example->starts,
                                    .target = example->target,
                                    .weight = example->weight};
}

/* ---- cases -------------------------------------------------------------------------------------------- */

struct bench_case {
    int64_t width, layers, vocabulary;
    enum train_mode mode;
    double answer;
};

static bool run_case(struct backend *backend, const struct bench_case *bench, double seconds, double peak,
                     struct error *error)
{
    const struct transformer_settings settings = {.vocabulary = bench->vocabulary,
                                                  .width = bench->width,
                                                  .layers = bench->layers,
                                                  .query_heads = bench->width / 32,
                                                  .key_heads = bench->width / 32,
                                                  .head_width = 32,
                                                  .hidden = bench->width * 8 / 3 / 32 * 32,
                                                  .norm_epsilon = 1e-5f,
                                                  .rope_theta = 1e4f,
                                                  .positions = true,
                                                  .tied = true};
    const struct lora_settings lora = {.rank = bench->mode == TRAIN_LORA ? 8 : 0,
                                       .alpha = 32.0,
                                       .dropout = 0.05,
                                       .targets = {[LINEAR_Q] = true, [LINEAR_V] = true}};
    struct example *example = malloc(sizeof *example);
    struct transformer *model = NULL;
    double loss = 0.0, tokens = 0.0;
    if (!example)
        return error_memory(error, "a batch", sizeof *example, NULL);
    fill_example(example, bench->vocabulary, bench->answer);
    bool done = transformer_create(&model, backend, &settings, &lora, bench->mode, example->batch.tokens,
                                   SEQUENCES, 1, error) &&
                transformer_accumulate(model, &example->batch, 0.0, 1, 0, &loss, error);
    backend_reset_counters(backend);
    const double start = clock_seconds();
    double elapsed = 0.0;
    for (uint64_t step = 1; done && elapsed < seconds; step++) {
        done = transformer_accumulate(model, &example->batch, 0.0, 1, step, &loss, error);
        tokens += (double)example->batch.tokens;
        elapsed = clock_seconds() - start;
    }
    const double rate = 1e-9 * backend->counters.floating_point_operations / elapsed;
    if (done)
        printf("%-5s width %3lld layers %lld vocabulary %5lld answer %.2f %9.0f tokens/s %7.1f GFLOP/s %5.1f "
               "%% of "
               "the GEMM peak\n",
               bench->mode == TRAIN_LORA ? "lora" : "full", (long long)bench->width, (long long)bench->layers,
               (long long)bench->vocabulary, bench->answer, tokens / elapsed, rate, 100.0 * rate / peak);
    transformer_free(model);
    free(example);
    return done;
}

int main(int argument_count, char **arguments)
{
    static const struct bench_case cases[] = {
        {64, 2, 1700, TRAIN_ALL, 1.0},    {64, 2, 1700, TRAIN_LORA, 1.0},  {64, 2, 12000, TRAIN_ALL, 1.0},
        {64, 2, 12000, TRAIN_LORA, 0.5},  {128, 4, 1700, TRAIN_ALL, 1.0},  {128, 4, 1700, TRAIN_LORA, 1.0},
        {128, 4, 1700, TRAIN_LORA, 0.5},  {128, 4, 12000, TRAIN_ALL, 1.0}, {128, 4, 12000, TRAIN_LORA, 1.0},
        {128, 4, 12000, TRAIN_LORA, 0.5},
    };
    struct error error = ERROR_INITIALIZER;
    backend_prepare_process(arguments);
    const int threads = argument_count > 1 ? atoi(arguments[1]) : 0;
    const double seconds = argument_count > 2 ? atof(arguments[2]) : 2.0;
    struct backend *backend = backend_open("cpu", threads, &error);
    const double peak = backend ? gemm_peak(backend) : 0.0;
    if (backend)
        printf("%d threads, GEMM of %d: %.1f GFLOP/s\n", backend->threads, PEAK_SIZE, peak);
    bool done = backend != NULL;
    for (size_t index = 0; done && index < sizeof cases / sizeof *cases; index++)
        done = run_case(backend, &cases[index], seconds, peak, &error);
    error_print(&error, stderr);
    backend_close(backend);
    return done ? 0 : 1;
}
