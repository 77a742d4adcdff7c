/* Lists and rankings of items that are several tokens, by a model with random weights and the vocabulary of a text model:
 * constrained by the trie, unconstrained, and by beam search.
 *
 *   bench_item_generation [--device NAME] [--threads N] [--small] [FOLDER]
 *
 * FOLDER: the model goes there as a Hugging Face checkpoint, with prompts.txt (the contexts) and items.txt (an item's tokens
 * as the first of a list), a line of tokens each, for bench/peers/generation.py --items. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"
#include "core/file.h"
#include "core/random.h"
#include "models/language/checkpoint.h"
#include "models/language/item_beams.h"
#include "models/language/item_ranker.h"
#include "models/language/list_sampler.h"

/* Digits are tokens DIGIT .. + 9, as in the vocabularies of Llama 2 and Mistral. */
enum { BEGIN = 1, END = 2, DIGIT = 29900, LETTER = 29875, COMMA = 29892, WORD = 400, CONTEXT_WORDS = 24 };

struct workload {
    int64_t users, items, list, longest, batch;
    double log_mean, log_deviation; /* of the number of a user's items, which nearly is log-normal */
    struct transformer_settings model;
};

static struct workload make_workload(const struct backend *backend, bool small)
{
    struct workload workload = {.users = small ? 20 : 128,
                                .items = small ? 100 : 1682,
                                .list = small ? 3 : 10,
                                .longest = small ? 10 : 100,
                                .batch = 128,
                                .log_mean = small ? 1.5 : 3.4,
                                .log_deviation = 0.6};
    workload.model = (struct transformer_settings){.vocabulary = 32000,
                                                   .width = small ? 32 : 128,
                                                   .layers = small ? 1 : 4,
                                                   .query_heads = 4,
                                                   .key_heads = 4,
                                                   .head_width = small ? 8 : 32,
                                                   .hidden = small ? 64 : 344,
                                                   .norm_epsilon = 1e-5f,
                                                   .rope_theta = 10000.0f,
                                                   .positions = true};
    workload.model.precision = backend->device == DEVICE_CPU ? PRECISION_F32 : PRECISION_BF16;
    return workload;
}

/* What is measured, and over what. */
struct bench {
    struct workload workload;
    struct transformer *model;
    struct prompt_layout layout;
    struct prompt_settings prompt;
    struct item_writer writer;
    struct answer_parser *parser;
    struct csr train;
};

/* ---- the data ------------------------------------------------------------------------------------------ */

static bool add_row(struct token_rows *rows, const int32_t *token, int64_t count)
{
    const int64_t begin = rows->count > 0 ? rows->starts[rows->count] : 0;
    int64_t *starts = realloc(rows->starts, (size_t)(rows->count + 2) * sizeof *starts);
    int32_t *tokens = realloc(rows->token, (size_t)(begin + count) * sizeof *tokens);
    rows->starts = starts ? starts : rows->starts;
    rows->token = tokens ? tokens : rows->token;
    if (!starts || !tokens)
        return false;
    rows->starts[0] = 0;
    rows->starts[++rows->count] = begin + count;
    memcpy(rows->token + begin, token, (size_t)count * sizeof *token);
    return true;
}

/* "i12" and ",i12" of every number, each character a token. */
static bool make_items(struct item_tokens *items, int64_t count)
{
    for (int64_t number = 0; number < count; number++) {
        int32_t token[16] = {COMMA, LETTER};
        char digits[16];
        const int length = snprintf(digits, sizeof digits, "%d", (int)number);
        for (int i = 0; i < length; i++)
            token[2 + i] = DIGIT + digits[i] - '0';
        if (!add_row(&items->first, token + 1, length + 1) || !add_row(&items->next, token, length + 2))
            return false;
    }
    return true;
}

/* Words, the items, words. */
static bool make_layout(struct prompt_layout *layout, int64_t items)
{
    layout->end = END;
    layout->token = calloc(CONTEXT_WORDS + 1, sizeof *layout->token);
    for (int i = 0; layout->token && i <= CONTEXT_WORDS; i++)
        layout->token[i] = i == 0 ? BEGIN : i == CONTEXT_WORDS ? END : WORD + i;
    layout->piece_count = 3;
    layout->piece[0] = (struct prompt_piece){PIECE_TOKENS, 0, CONTEXT_WORDS - 4};
    layout->piece[1] = (struct prompt_piece){.kind = PIECE_ITEMS};
    layout->piece[2] = (struct prompt_piece){PIECE_TOKENS, CONTEXT_WORDS - 4, 4};
    layout->closing = (struct prompt_piece){PIECE_TOKENS, CONTEXT_WORDS, 1};
    return layout->token && make_items(&layout->items, items) && make_items(&layout->answer, items);
}

static bool make_train(struct csr *train, const struct workload *workload)
{
    const int64_t users = workload->users, longest = workload->longest;
    struct random_stream stream = random_stream_open(1, RANDOM_TEST, 0, 0);
    int32_t *order = malloc((size_t)workload->items * sizeof *order);
    *train = (struct csr){.rows = users,
                          .columns = workload->items,
                          .starts = calloc((size_t)users + 1, sizeof *train->starts),
                          .indices = calloc((size_t)(users * longest), sizeof *train->indices)};
    for (int32_t item = 0; order && item < workload->items; item++)
        order[item] = item;
    for (int64_t user = 0; order && train->starts && train->indices && user < users; user++) {
        const double length = exp(workload->log_mean + workload->log_deviation * random_normal(&stream));
        const int64_t count = length < 4 ? 4 : length > (double)longest ? longest : (int64_t)length;
        random_shuffle(&stream, order, workload->items);
        memcpy(train->indices + train->starts[user], order, (size_t)count * sizeof *order);
        train->starts[user + 1] = train->starts[user] + count;
    }
    const bool made = order && train->starts && train->indices;
    free(order);
    return made;
}

/* ---- for the peer -------------------------------------------------------------------------------------- */

static void write_line(FILE *stream, const int32_t *token, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        fprintf(stream, "%d%c", (int)token[i], i + 1 < count ? ' ' : '\n');
}

static bool write_rows(const char *folder, const char *name, const struct bench *bench, bool prompts,
                       struct error *error)
{
    char *path = path_format("%s/%s", folder, name);
    int32_t *token = malloc((size_t)bench->prompt.length_maximum * sizeof *token);
    FILE *stream = fopen(path, "w");
    const struct token_rows *const items = &bench->layout.answer.first;
    for (int64_t row = 0; stream && token && row < (prompts ? bench->train.rows : items->count); row++) {
        if (prompts)
            write_line(stream, token,
                       prompt_context(token, &bench->prompt, (int32_t)row,
                                      bench->train.indices + bench->train.starts[row],
                                      csr_row_length(&bench->train, row), 1, 0));
        else
            write_line(stream, items->token + items->starts[row], token_row_length(items, row));
    }
    const bool written = stream && fclose(stream) == 0 && token;
    if (!written)
        error_system(error, path, "cannot write", NULL);
    free(token);
    free(path);
    return written;
}

/* ---- runs ---------------------------------------------------------------------------------------------- */

static size_t cache_bytes(const struct bench *bench)
{
    return (size_t)(transformer_backend(bench->model)->device == DEVICE_CPU ? 2 : 32) << 30;
}

struct measured_time {
    double clock, processor; /* seconds; of all threads together */
};

static struct measured_time start_time(void)
{
    return (struct measured_time){clock_seconds(), processor_seconds()};
}

static void print_run(const char *name, const struct bench *bench, const struct proposal_list *list,
                      int64_t tokens, struct measured_time started)
{
    const double seconds = clock_seconds() - started.clock, busy = processor_seconds() - started.processor;
    printf("%-24s %8.3f s (%.3f s of processors), %8.0f items/s, %8.0f tokens/s, %7.1f users/s; %lld valid, "
           "%lld invalid, %lld already seen or repeated, %lld cut off\n",
           name, seconds, busy, (double)list->count / seconds, (double)tokens / seconds,
           (double)bench->workload.users / seconds, (long long)list->valid, (long long)list->invalid,
           (long long)(list->already_seen + list->duplicate), (long long)list->incomplete);
    fflush(stdout);
}

/* Lists of `workload->list` items, or, unconstrained, of as many tokens as such a list has on average. */
static bool sample(const struct bench *bench, bool constrained, struct error *error)
{
    struct proposal_list list = {.count = 0};
    struct list_sampler *sampler;
    const struct list_sampler_settings settings = {
        .prompt = bench->prompt,
        .writer = &bench->writer,
        .parser = bench->parser,
        .batch = bench->workload.batch,
        .cache_bytes = cache_bytes(bench),
        .samples = 1,
        .contexts = 1,
        .items_maximum = bench->workload.list,
        .tokens_maximum = constrained ? 0 : 5 * bench->workload.list,
        .sampling = {.temperature = 0.8f, .top_p = 0.9f, .seed = 1},
        .constrained = constrained};
    if (!list_sampler_create(&sampler, bench->model, &settings, &bench->train, error))
        return false;
    const struct measured_time started = start_time();
    const bool done = list_sampler_run(sampler, 0, bench->workload.users, &list, error);
    if (done)
        print_run(constrained ? "sampling, constrained" : "sampling, unconstrained", bench, &list,
                  list_sampler_tokens(sampler), started);
    list_sampler_free(sampler);
    proposal_list_free(&list);
    return done;
}

static bool rank(const struct bench *bench, struct error *error)
{
    struct proposal_list list = {.count = 0};
    struct item_ranker *ranker;
    const struct item_ranker_settings settings = {.prompt = bench->prompt,
                                                  .writer = &bench->writer,
                                                  .batch = bench->workload.batch,
                                                  .cache_bytes = cache_bytes(bench),
                                                  .contexts = 1,
                                                  .items_maximum = bench->workload.list,
                                                  .seed = 1};
    if (!item_ranker_create(&ranker, bench->model, &settings, &bench->train, error))
        return false;
    const struct measured_time started = start_time();
    const bool done = item_ranker_run(ranker, 0, bench->workload.users, &list, error);
    if (done)
        print_run("ranking of all items", bench, &list, item_ranker_tokens(ranker), started);
    item_ranker_free(ranker);
    proposal_list_free(&list);
    return done;
}

static bool search(const struct bench *bench, struct error *error)
{
    struct proposal_list list = {.count = 0};
    struct item_beams *beams;
    const struct item_beams_settings settings = {.search = {.prompt = bench->prompt,
                                                            .batch = bench->workload.batch,
                                                            .cache_bytes = cache_bytes(bench),
                                                            .contexts = 1,
                                                            .beams = 20,
                                                            .groups = 1,
                                                            .seed = 1},
                                                 .writer = &bench->writer,
                                                 .items_maximum = bench->workload.list};
    if (!item_beams_create(&beams, bench->model, &settings, &bench->train, error))
        return false;
    const struct measured_time started = start_time();
    const bool done = item_beams_run(beams, 0, bench->workload.users, &list, error);
    if (done)
        print_run("beam search, 20 beams", bench, &list, item_beams_tokens(beams), started);
    item_beams_free(beams);
    proposal_list_free(&list);
    return done;
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

static bool open_bench(struct bench *bench, struct backend *backend, bool small, struct error *error)
{
    *bench = (struct bench){.workload = make_workload(backend, small)};
    const struct workload *const workload = &bench->workload;
    if (!make_layout(&bench->layout, workload->items) || !make_train(&bench->train, workload))
        return error_memory(error, "the data", (size_t)workload->users * 400, NULL);
    bench->prompt = (struct prompt_settings){.layout = &bench->layout,
                                             .shuffle = true,
                                             .length_maximum = CONTEXT_WORDS + 6 * workload->longest + 1};
    return item_writer_create(&bench->writer, &bench->layout.answer, -1, error) &&
           answer_parser_create(&bench->parser, &bench->writer, NULL, error) &&
           transformer_create(&bench->model, backend, &workload->model, NULL, TRAIN_NOTHING, 0, 0, 1, error);
}

static void close_bench(struct bench *bench)
{
    transformer_free(bench->model);
    answer_parser_free(bench->parser);
    item_writer_free(&bench->writer);
    prompt_layout_free(&bench->layout);
    csr_free(&bench->train);
}

int main(int argument_count, char **arguments)
{
    backend_prepare_process(arguments);
    const struct measured_device device = measured_device_read(&argument_count, &arguments);
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = backend_open(device.name, device.threads, &error);
    const char *folder = argument_count > 1 ? arguments[1] : NULL;
    struct bench bench = {.model = NULL};
    bool done = backend && open_bench(&bench, backend, device.small, &error);
    done = done && (!folder || (checkpoint_save_base(bench.model, folder, &error) &&
                                write_rows(folder, "prompts.txt", &bench, true, &error) &&
                                write_rows(folder, "items.txt", &bench, false, &error)));
    if (done)
        printf("%lld users, %lld context items, %lld items of up to %lld tokens, lists of %lld, layers %lld "
               "width "
               "%lld, vocabulary %lld, batch %lld, on %s\n",
               (long long)bench.workload.users, (long long)csr_count(&bench.train),
               (long long)bench.workload.items, (long long)bench.writer.length_maximum,
               (long long)bench.workload.list, (long long)bench.workload.model.layers,
               (long long)bench.workload.model.width, (long long)bench.workload.model.vocabulary,
               (long long)bench.workload.batch, backend->description);
    done = done && sample(&bench, true, &error) && sample(&bench, false, &error) && rank(&bench, &error) &&
           search(&bench, &error);
    error_print(&error, stderr);
    close_bench(&bench);
    backend_close(backend);
    return done ? 0 : (int)error.kind;
}
