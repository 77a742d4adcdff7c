#include "experiments/plan_work.h"

#include <math.h>
#include <stdlib.h>

#include "core/file.h"
#include "models/language/context_cache.h"

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* From here on what the backend does is counted anew. */
static double begin(struct backend *backend)
{
    backend->wait(backend);
    backend_reset_counters(backend);
    return clock_seconds();
}

static void add_since(struct work_done *done, struct backend *backend, double begun)
{
    backend->wait(backend);
    done->seconds += clock_seconds() - begun;
    done->work.floating_point_operations += backend->counters.floating_point_operations;
    done->work.gemm_operations += backend->counters.gemm_operations;
    done->work.bytes += backend->counters.bytes;
}

bool shape_create(struct transformer **model, const struct language_shape *shape, struct backend *backend,
                  bool batches, struct error *error)
{
    const int64_t tokens = batches ? shape->packing.batch_tokens : 0;
    const int64_t sequences = batches ? packer_sequences_maximum(&shape->packing, shape->train) : 0;
    if (transformer_measure(model, backend, &shape->settings, shape->lora.rank > 0 ? &shape->lora : NULL,
                            shape->mode, tokens, sequences, error) &&
        transformer_allocate(*model, 1, shape->values, error))
        return true;
    transformer_free(*model);
    *model = NULL;
    return false;
}

/* ---- training ----------------------------------------------------------------------------------------- */

static bool train_batch(struct work_done *done, const struct language_shape *shape, struct transformer *model,
                        struct packer *packer, int64_t index, struct error *error)
{
    struct backend *const backend = transformer_backend(model);
    struct batch batch;
    double loss = 0;
    const double begun = begin(backend);
    if (!packer_batch(packer, index, 1, &batch, error) ||
        !transformer_accumulate(model, &batch, shape->dropout, 1, (uint64_t)index, &loss, error))
        return false;
    add_since(done, backend, begun);
    done->pieces++;
    done->tokens += batch.tokens;
    return true;
}

static bool take_step(struct work_done *done, struct transformer *model, int64_t step, struct error *error)
{
    const struct adamw settings = {
        .learning_rate = 1e-4F, .beta1 = 0.9F, .beta2 = 0.99F, .epsilon = 1e-8F, .step = step};
    const double begun = begin(transformer_backend(model));
    if (!transformer_step(model, settings, 1, NULL, error))
        return false;
    add_since(done, transformer_backend(model), begun);
    done->pieces++;
    return true;
}

bool work_train(struct work_done *done, struct work_done *steps, const struct language_shape *shape,
                struct transformer *model, struct packer *packer, int64_t stride, int64_t warm_up,
                double seconds, struct error *error)
{
    const double begun = clock_seconds();
    int64_t count = 0;
    *done = *steps = (struct work_done){.pieces = 0};
    for (int64_t index = 0; index < packer_batch_count(packer); index += stride) {
        if (!train_batch(done, shape, model, packer, index, error) ||
            !take_step(steps, model, ++count, error))
            return false;
        const bool last = index + stride >= packer_batch_count(packer) || clock_seconds() - begun > seconds;
        if (count <= warm_up && !last)
            *done = *steps = (struct work_done){.pieces = 0};
        if (last)
            break;
    }
    return true;
}

bool work_validate(struct work_done *done, const struct language_shape *shape, struct transformer *model,
                   int64_t users, struct error *error)
{
    struct backend *const backend = transformer_backend(model);
    const struct validator validator = {
        .prompt = shape->packing.prompt,
        .train = shape->train,
        .train_sorted = shape->train_sorted,
        .truth = shape->validation,
        .batch_tokens = shape->packing.batch_tokens,
        .batch_sequences = packer_sequences_maximum(&shape->packing, shape->train),
        .users_maximum = users,
        .k = 20,
        .seed = 1,
    };
    struct validation result;
    *done = (struct work_done){.pieces = 0};
    const double begun = begin(backend);
    if (!validate(&result, &validator, model, error))
        return false;
    add_since(done, backend, begun);
    done->pieces = result.users;
    return true;
}

/* ---- generation --------------------------------------------------------------------------------------- */

static int64_t context_tokens(const struct language_shape *shape, const struct prompt_settings *prompt,
                              int32_t *tokens, int64_t user)
{
    const struct csr *const train = shape->train;
    return prompt_context(tokens, prompt, (int32_t)user, train->indices + train->starts[user],
                          csr_row_length(train, user), 1, 0);
}

int64_t shape_context_tokens(const struct language_shape *shape)
{
    const struct prompt_settings *prompt = shape->ranking ? &shape->ranker.prompt : &shape->sampler.prompt;
    const int64_t contexts =
        shape->ranking ? shape->ranker.contexts : smaller(shape->sampler.contexts, shape->sampler.samples);
    int32_t *tokens = malloc((size_t)prompt->length_maximum * sizeof *tokens);
    int64_t sum = 0;
    for (int64_t user = 0; tokens && user < shape->train->rows; user++)
        sum += contexts * context_tokens(shape, prompt, tokens, user);
    free(tokens);
    return sum;
}

bool shape_choose_slots(struct language_shape *shape, const struct transformer *model, struct error *error)
{
    const struct sampler_settings *const sampler = &shape->sampler;
    const struct ranker_settings *const ranker = &shape->ranker;
    const struct slots_wanted ranked = {.capacity = ranker->prompt.length_maximum + 1,
                                        .most = ranker->batch,
                                        .least = 1,
                                        .bytes = ranker->cache_bytes};
    const struct slots_wanted sampled = {.capacity = sampler->prompt.length_maximum + sampler->items_maximum,
                                         .most = sampler->batch,
                                         .least = 1,
                                         .bytes = sampler->cache_bytes};
    const struct context_settings contexts = {.prompt = sampler->prompt,
                                              .batch = sampler->batch,
                                              .least = 1,
                                              .cache_bytes = sampler->cache_bytes,
                                              .tokens_after = sampler->items_maximum};
    if (!shape->ranking && !prompt_layout_single(sampler->prompt.layout))
        return context_cache_slots(&shape->slots, model, &contexts, error);
    return cache_choose_slots(&shape->slots, model, shape->ranking ? &ranked : &sampled, error);
}

/* One step of all slots of the cache, and reading the contexts of as many users: what sampling is made of. */
struct sampling_count {
    struct cache *cache;
    int64_t slots;
    int32_t *tokens, *slot, *token, *position; /* [length_maximum], [slots] each */
};

static bool open_sampling(struct sampling_count *count, const struct language_shape *shape,
                          struct transformer *model, struct error *error)
{
    const struct sampler_settings *const sampler = &shape->sampler;
    const int64_t capacity = sampler->prompt.length_maximum + sampler->items_maximum;
    const struct cache_settings settings = {.slots = shape->slots, .capacity = capacity};
    *count = (struct sampling_count){
        .slots = settings.slots,
        .tokens = malloc((size_t)sampler->prompt.length_maximum * sizeof(int32_t)),
        .slot = calloc((size_t)settings.slots, sizeof(int32_t)),
        .token = calloc((size_t)settings.slots, sizeof(int32_t)),
        .position = calloc((size_t)settings.slots, sizeof(int32_t)),
    };
    return ((count->tokens && count->slot && count->token && count->position) ||
            error_memory(error, "rows of lists", (size_t)settings.slots * 12, NULL)) &&
           cache_create(&count->cache, model, &settings, error);
}

static void close_sampling(struct sampling_count *count)
{
    cache_free(count->cache);
    free(count->tokens);
    free(count->slot);
    free(count->token);
    free(count->position);
}

static void add_times(struct work_done *done, const struct operation_counters *work, double times)
{
    done->work.floating_point_operations += times * work->floating_point_operations;
    done->work.gemm_operations += times * work->gemm_operations;
    done->work.bytes += times * work->bytes;
}

/* The lists of a context that are decoded at the same time share it. */
static double times_read(const struct sampler_settings *sampler, int64_t slots)
{
    const int64_t contexts = smaller(sampler->contexts, sampler->samples);
    return 1.0 + ((double)sampler->samples / (double)contexts - 1.0) / (double)slots;
}

static bool count_sampling(struct work_done *done, const struct language_shape *shape,
                           struct transformer *model, int64_t users, struct error *error)
{
    struct backend *const backend = transformer_backend(model);
    const struct sampler_settings *const sampler = &shape->sampler;
    const int64_t contexts = smaller(sampler->contexts, sampler->samples);
    struct sampling_count count;
    struct tensor logits;
    const bool opened = open_sampling(&count, shape, model, error);
    for (int64_t user = 0; opened && user < users; user++) {
        const int64_t length =
            context_tokens(shape, &sampler->prompt, count.tokens, user * shape->train->rows / users);
        cache_read(count.cache, (int32_t)(user % count.slots), count.tokens, length - 1);
        done->tokens += contexts * (length - 1) + sampler->samples * sampler->items_maximum;
        if ((user + 1) % count.slots == 0)
            cache_flush(count.cache);
    }
    if (opened) {
        cache_flush(count.cache);
        add_times(done, &backend->counters, (double)contexts * times_read(sampler, count.slots));
        backend_reset_counters(backend);
        for (int64_t row = 0; row < count.slots; row++)
            count.slot[row] = (int32_t)row;
        const struct decode_step step = {count.slots, count.slot, count.token, count.position};
        cache_decode(count.cache, &step, &logits);
        backend->counters.floating_point_operations += 4.0 * (double)tensor_count(&logits);
        add_times(done, &backend->counters,
                  (double)(users * sampler->samples * sampler->items_maximum) / (double)count.slots);
    }
    close_sampling(&count);
    return opened && backend_synchronize(backend, error);
}

/* What asks, by the method. */
struct asking {
    struct ranker *ranker;
    struct sampler *sampler;
    struct proposal_list list;
};

static bool ask(struct work_done *done, struct asking *asking, struct backend *backend, int64_t first,
                int64_t users, struct error *error)
{
    const double begun = begin(backend);
    const bool fine = asking->ranker ? ranker_run(asking->ranker, first, users, &asking->list, error)
                                     : sampler_run(asking->sampler, first, users, &asking->list, error);
    add_since(done, backend, begun);
    done->pieces += users;
    done->tokens = asking->ranker ? ranker_tokens(asking->ranker) : sampler_tokens(asking->sampler);
    return fine;
}

/* Users that are asked about at a time: as many as fill the rows of the device. */
static int64_t users_together(const struct language_shape *shape)
{
    const int64_t lists = shape->ranking ? shape->ranker.contexts : shape->sampler.samples;
    const int64_t batch = shape->ranking ? shape->ranker.batch : shape->sampler.batch;
    return batch > lists ? batch / lists : 1;
}

bool work_generate(struct work_done *done, const struct language_shape *shape, struct transformer *model,
                   int64_t users, double seconds, struct error *error)
{
    struct backend *const backend = transformer_backend(model);
    struct asking asking = {.ranker = NULL};
    *done = (struct work_done){.pieces = 0};
    begin(backend);
    if (backend->counts_only && !shape->ranking) {
        done->pieces = users;
        return count_sampling(done, shape, model, users, error);
    }
    bool fine = shape->ranking ? ranker_create(&asking.ranker, &model, 1, &shape->ranker, shape->train, error)
                               : sampler_create(&asking.sampler, model, &shape->sampler, shape->train, error);
    const double begun = clock_seconds();
    const int64_t all = shape->train->rows, together = smaller(users_together(shape), all);
    const int64_t blocks = users >= all ? (all + together - 1) / together : users / together + 1;
    for (int64_t block = 0; fine && block < blocks && (block == 0 || clock_seconds() - begun < seconds);
         block++) {
        const int64_t first = users >= all ? block * together : block * (all - together) / blocks;
        fine = ask(done, &asking, backend, first, smaller(together, all - first), error);
    }
    ranker_free(asking.ranker);
    sampler_free(asking.sampler);
    proposal_list_free(&asking.list);
    return fine;
}
