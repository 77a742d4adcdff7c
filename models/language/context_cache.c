#include "models/language/context_cache.h"

#include <stdlib.h>

#define ADVICE "lower generate.batch"

/* Tokens that all contexts begin with. */
static int64_t shared_beginning(const struct prompt_layout *layout)
{
    int64_t count = 0;
    for (int i = 0; i < layout->piece_count && layout->piece[i].kind == PIECE_TOKENS; i++)
        count += layout->piece[i].count;
    return count >= PREFIX_MINIMUM ? count : 0;
}

/* Copies the first `prefix` tokens to the prompt. */
static void write_beginning(struct context_cache *contexts)
{
    const struct prompt_layout *const layout = contexts->settings.prompt.layout;
    int64_t length = 0;
    for (int i = 0; length < contexts->prefix; i++)
        for (int32_t t = 0; t < layout->piece[i].count; t++)
            contexts->prompt[length++] = layout->token[layout->piece[i].first + t];
}

bool context_cache_slots(int64_t *slots, const struct transformer *model,
                         const struct context_settings *settings, struct error *error)
{
    const int64_t shared = shared_beginning(settings->prompt.layout) > 0;
    const struct slots_wanted wanted = {.capacity = settings->prompt.length_maximum + settings->tokens_after,
                                        .most = settings->batch + shared,
                                        .least = settings->least + shared,
                                        .bytes = settings->cache_bytes};
    return cache_choose_slots(slots, model, &wanted, error);
}

bool context_cache_create(struct context_cache *contexts, struct transformer *model,
                          const struct context_settings *settings, const struct csr *train,
                          struct error *error)
{
    const int64_t length = settings->prompt.length_maximum, capacity = length + settings->tokens_after;
    struct cache_settings cache = {.capacity = capacity};
    *contexts = (struct context_cache){.settings = *settings,
                                       .train = train,
                                       .capacity = capacity,
                                       .prefix = shared_beginning(settings->prompt.layout)};
    if (!context_cache_slots(&cache.slots, model, settings, error))
        return false;
    contexts->rows = cache.slots - (contexts->prefix > 0);
    contexts->prompt = calloc((size_t)length, sizeof *contexts->prompt);
    if (!contexts->prompt)
        return error_memory(error, "a prompt", (size_t)length * sizeof *contexts->prompt, ADVICE);
    if (!cache_create(&contexts->cache, model, &cache, error)) {
        context_cache_free(contexts);
        return false;
    }
    if (contexts->prefix > 0) {
        write_beginning(contexts);
        cache_read(contexts->cache, (int32_t)contexts->rows, contexts->prompt, contexts->prefix);
        cache_flush(contexts->cache);
        contexts->tokens = contexts->prefix;
    }
    return true;
}

void context_cache_free(struct context_cache *contexts)
{
    cache_free(contexts->cache);
    free(contexts->prompt);
    *contexts = (struct context_cache){.rows = 0};
}

int64_t context_cache_read(struct context_cache *contexts, int32_t slot, int64_t user, int64_t draw)
{
    const int64_t prefix = contexts->prefix;
    int64_t count;
    const int32_t *items = context_items(contexts->train, user, &count);
    const int64_t length = prompt_context(contexts->prompt, &contexts->settings.prompt, (int32_t)user, items,
                                          count, contexts->settings.seed, (uint64_t)draw);
    const int64_t read = length - 1 - prefix;
    if (prefix > 0 && read > 0)
        cache_extend(contexts->cache, slot, (int32_t)contexts->rows, prefix, contexts->prompt + prefix, read);
    else
        cache_read(contexts->cache, slot, contexts->prompt, length - 1);
    contexts->tokens += prefix > 0 && read > 0 ? read : length - 1;
    return length - 1;
}

/* ---- the order of users ------------------------------------------------------------------------------- */

static int compare_by_length(const void *a, const void *b, void *context)
{
    const struct csr *train = context;
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    const int64_t x_length = csr_row_length(train, x), y_length = csr_row_length(train, y);
    if (x_length != y_length)
        return x_length < y_length ? -1 : 1;
    return (x > y) - (x < y);
}

int64_t *context_order(const struct csr *train, int64_t first, int64_t count, struct error *error)
{
    int64_t *order = malloc((size_t)count * sizeof *order + 1);
    if (!order) {
        error_memory(error, "the order of users", (size_t)count * sizeof *order, NULL);
        return NULL;
    }
    for (int64_t i = 0; i < count; i++)
        order[i] = first + i;
    qsort_r(order, (size_t)count, sizeof *order, compare_by_length, (void *)(uintptr_t)train);
    return order;
}
