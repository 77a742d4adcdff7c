#include "models/language/tokenizer_bpe.h"

#include <stdlib.h>
#include <string.h>

#include "core/array.h"

/* Up to this many symbols the lowest rank is looked for from end to end; beyond, a heap knows it. */
#define SHORT_WORD 24

struct merge_symbol {
    int32_t token;          /* -1: it went into the one before it */
    int32_t previous, next; /* -1: none */
    struct merge merge;     /* with the next one; kept in short words only */
};

struct merge_candidate {
    uint64_t order; /* the rank, then the place of the left symbol */
    int32_t result;
};

void merge_scratch_free(struct merge_scratch *scratch)
{
    free(scratch->symbol);
    free(scratch->heap);
    *scratch = (struct merge_scratch){0};
}

bool token_list_append(struct token_list *list, int32_t token, struct error *error)
{
    int32_t *grown = array_room(list->token, (size_t)list->count, &list->capacity, sizeof *grown,
                                "tokens of a text", error);
    if (!grown)
        return false;
    list->token = grown;
    list->token[list->count++] = token;
    return true;
}

void token_list_free(struct token_list *list)
{
    free(list->token);
    *list = (struct token_list){0};
}

/* ---- symbols ------------------------------------------------------------------------------------------ */

static bool reserve_symbols(struct merge_scratch *scratch, size_t count, struct error *error)
{
    if ((int64_t)count <= scratch->capacity)
        return true;
    if (count > INT32_MAX / 2)
        return error_set(error, ERROR_RUN,
                         "a word of %zu bytes is too long for the tokenizer; split the text", count);
    const size_t capacity = 2 * count + 64;
    struct merge_symbol *grown = realloc(scratch->symbol, capacity * sizeof *grown);
    if (!grown)
        return error_memory(error, "symbols of a text", capacity * sizeof *grown, NULL);
    scratch->symbol = grown;
    scratch->capacity = (int64_t)capacity;
    return true;
}

static void add_symbol(struct merge_scratch *scratch, int32_t token)
{
    scratch->symbol[scratch->count++].token = token;
}

static bool add_unknown(const struct byte_pairs *model, const char *text, size_t length, bool behind_unknown,
                        struct merge_scratch *scratch, struct error *error)
{
    if (model->byte_fallback) {
        for (size_t byte = 0; byte < length; byte++)
            add_symbol(scratch, model->byte_token[(uint8_t)text[byte]]);
        return true;
    }
    if (model->unknown < 0 && model->byte_level)
        return error_set(error, ERROR_RUN,
                         "the byte %02X has no token in the vocabulary, nor have unknown ones; "
                         "choose a model with another tokenizer",
                         (unsigned)(uint8_t)text[0]);
    if (model->unknown < 0)
        return error_set(error, ERROR_RUN,
                         "the character '%.*s' has no token in the vocabulary, nor have unknown "
                         "ones; choose a model with another tokenizer",
                         (int)length, text);
    if (!behind_unknown || !model->fuse_unknown)
        add_symbol(scratch, model->unknown);
    return true;
}

static bool list_symbols(const struct byte_pairs *model, const char *text, size_t length,
                         struct merge_scratch *scratch, struct error *error)
{
    bool behind_unknown = false;
    scratch->count = 0;
    if (!reserve_symbols(scratch, length, error))
        return false;
    for (size_t place = 0; place < length;) {
        const size_t width = model->byte_level ? 1 : utf8_width(text[place]);
        const int32_t token = width == 1 ? model->byte_symbol[(uint8_t)text[place]]
                                         : token_table_find(&model->vocabulary, text + place, width);
        if (token >= 0)
            add_symbol(scratch, token);
        else if (!add_unknown(model, text + place, width, behind_unknown, scratch, error))
            return false;
        behind_unknown = token < 0;
        place += width;
    }
    return true;
}

/* ---- short words -------------------------------------------------------------------------------------- */

static void merge_short(const struct byte_pairs *model, struct merge_scratch *scratch)
{
    struct merge_symbol *const symbol = scratch->symbol;
    int64_t count = scratch->count;
    for (int64_t place = 0; place + 1 < count; place++)
        symbol[place].merge = byte_pairs_merge(model, symbol[place].token, symbol[place + 1].token);
    for (;;) {
        int64_t best = -1;
        for (int64_t place = 0; place + 1 < count; place++)
            if (symbol[place].merge.rank >= 0 &&
                (best < 0 || symbol[place].merge.rank < symbol[best].merge.rank))
                best = place;
        if (best < 0)
            break;
        symbol[best].token = symbol[best].merge.result;
        memmove(symbol + best + 1, symbol + best + 2, (size_t)(count - best - 2) * sizeof *symbol);
        symbol[best].merge.rank = -1;
        count--;
        if (best + 1 < count)
            symbol[best].merge = byte_pairs_merge(model, symbol[best].token, symbol[best + 1].token);
        if (best > 0)
            symbol[best - 1].merge = byte_pairs_merge(model, symbol[best - 1].token, symbol[best].token);
    }
    scratch->count = count;
}

/* ---- long words --------------------------------------------------------------------------------------- */

static void sift_down(struct merge_candidate *heap, int64_t count, int64_t place)
{
    const struct merge_candidate moved = heap[place];
    for (int64_t child = 2 * place + 1; child < count; child = 2 * place + 1) {
        if (child + 1 < count && heap[child + 1].order < heap[child].order)
            child++;
        if (moved.order <= heap[child].order)
            break;
        heap[place] = heap[child];
        place = child;
    }
    heap[place] = moved;
}

static void sift_up(struct merge_candidate *heap, int64_t place)
{
    const struct merge_candidate moved = heap[place];
    while (place > 0 && moved.order < heap[(place - 1) / 2].order) {
        heap[place] = heap[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    heap[place] = moved;
}

/* Adds the merge of the symbols at `left` and behind it to the end of the heap's array, when there is one. */
static bool add_candidate(const struct byte_pairs *model, struct merge_scratch *scratch, int32_t left)
{
    const struct merge_symbol *const symbol = &scratch->symbol[left];
    const struct merge merge = byte_pairs_merge(model, symbol->token, scratch->symbol[symbol->next].token);
    if (merge.rank >= 0)
        scratch->heap[scratch->heap_count++] = (struct merge_candidate){
            .order = (uint64_t)merge.rank << 32 | (uint32_t)left, .result = merge.result};
    return merge.rank >= 0;
}

/* Each merge takes one candidate away and adds two at most, so that there are never more than two for a symbol. */
static bool reserve_heap(struct merge_scratch *scratch, struct error *error)
{
    const int64_t capacity = 3 * scratch->count;
    if (capacity <= scratch->heap_capacity)
        return true;
    struct merge_candidate *grown = realloc(scratch->heap, (size_t)capacity * sizeof *grown);
    if (!grown)
        return error_memory(error, "merges of a text", (size_t)capacity * sizeof *grown, NULL);
    scratch->heap = grown;
    scratch->heap_capacity = capacity;
    return true;
}

static void fill_heap(const struct byte_pairs *model, struct merge_scratch *scratch)
{
    const int32_t count = (int32_t)scratch->count;
    scratch->heap_count = 0;
    for (int32_t place = 0; place < count; place++) {
        scratch->symbol[place].previous = place - 1;
        scratch->symbol[place].next = place + 1 < count ? place + 1 : -1;
    }
    for (int32_t place = 0; place + 1 < count; place++)
        add_candidate(model, scratch, place);
    for (int64_t place = scratch->heap_count / 2; place-- > 0;)
        sift_down(scratch->heap, scratch->heap_count, place);
}

static void apply_merge(const struct byte_pairs *model, struct merge_scratch *scratch, int32_t left,
                        int32_t result)
{
    struct merge_symbol *const symbol = scratch->symbol;
    const int32_t right = symbol[left].next, behind = symbol[right].next;
    symbol[left].token = result;
    symbol[left].next = behind;
    symbol[right].token = -1;
    if (behind >= 0)
        symbol[behind].previous = left;
    if (symbol[left].previous >= 0 && add_candidate(model, scratch, symbol[left].previous))
        sift_up(scratch->heap, scratch->heap_count - 1);
    if (behind >= 0 && add_candidate(model, scratch, left))
        sift_up(scratch->heap, scratch->heap_count - 1);
}

static bool merge_long(const struct byte_pairs *model, struct merge_scratch *scratch, struct error *error)
{
    if (!reserve_heap(scratch, error))
        return false;
    fill_heap(model, scratch);
    struct merge_symbol *const symbol = scratch->symbol;
    while (scratch->heap_count > 0) {
        const struct merge_candidate best = scratch->heap[0];
        const int32_t left = (int32_t)(uint32_t)best.order;
        scratch->heap[0] = scratch->heap[--scratch->heap_count];
        if (scratch->heap_count > 0)
            sift_down(scratch->heap, scratch->heap_count, 0);
        if (symbol[left].token < 0 || symbol[left].next < 0)
            continue;
        /* The symbols may have changed since; two tokens become the same third in one way only. */
        const struct merge merge =
            byte_pairs_merge(model, symbol[left].token, symbol[symbol[left].next].token);
        if (merge.rank >= 0 && merge.result == best.result)
            apply_merge(model, scratch, left, best.result);
    }
    int64_t kept = 0;
    for (int64_t place = 0; place < scratch->count; place++)
        if (symbol[place].token >= 0)
            symbol[kept++].token = symbol[place].token;
    scratch->count = kept;
    return true;
}

/* ---- words -------------------------------------------------------------------------------------------- */

static const struct token_table *word_table(const struct byte_pairs *model)
{
    return model->byte_level ? &model->words : &model->vocabulary;
}

static bool is_whole(const struct byte_pairs *model, int32_t token)
{
    return model->whole[token / 64] >> token % 64 & 1;
}

static bool encode_part(const struct byte_pairs *model, const char *text, size_t length,
                        struct merge_scratch *scratch, struct token_list *tokens, struct error *error)
{
    const int32_t token = token_table_find(word_table(model), text, length);
    if (token >= 0 && is_whole(model, token))
        return token_list_append(tokens, token, error);
    if (!list_symbols(model, text, length, scratch, error))
        return false;
    if (scratch->count <= SHORT_WORD)
        merge_short(model, scratch);
    else if (!merge_long(model, scratch, error))
        return false;
    for (int64_t place = 0; place < scratch->count; place++)
        if (!token_list_append(tokens, scratch->symbol[place].token, error))
            return false;
    return true;
}

static bool are_joined(const struct byte_pairs *model, char left, char right)
{
    return (model->joined[(uint8_t)left][(uint8_t)right / 64] >> (uint8_t)right % 64 & 1) ||
           (!model->byte_level && ((uint8_t)right & 0xC0) == 0x80);
}

static bool encode_parts(const struct byte_pairs *model, const char *word, size_t length,
                         struct merge_scratch *scratch, struct token_list *tokens, struct error *error)
{
    for (size_t start = 0, end; start < length; start = end) {
        end = start + 1;
        while (end < length && are_joined(model, word[end - 1], word[end]))
            end++;
        if (!encode_part(model, word + start, end - start, scratch, tokens, error))
            return false;
    }
    return true;
}

bool byte_pairs_encode(const struct byte_pairs *model, const char *word, size_t length,
                       struct merge_scratch *scratch, struct token_list *tokens, struct error *error)
{
    const int32_t token = model->ignore_merges ? token_table_find(word_table(model), word, length) : -1;
    return token >= 0 ? token_list_append(tokens, token, error)
                      : encode_parts(model, word, length, scratch, tokens, error);
}

bool byte_pairs_find_whole(struct byte_pairs *model, struct error *error)
{
    const struct token_table *const table = word_table(model);
    struct merge_scratch scratch = {0};
    struct token_list tokens = {0};
    model->whole = calloc(LARGEST_TOKEN_ID / 64 + 1, sizeof *model->whole);
    if (!model->whole)
        return error_memory(error, "a bit for each token", LARGEST_TOKEN_ID / 8, NULL);
    for (int64_t index = 0; index < table->count; index++) {
        /* A token with characters that the vocabulary lacks fails, and is never the whole of a word. */
        struct error ignored = ERROR_INITIALIZER;
        size_t length;
        int32_t id;
        const char *const text = token_table_at(table, index, &length, &id);
        tokens.count = 0;
        if (encode_parts(model, text, length, &scratch, &tokens, &ignored) && tokens.count == 1 &&
            tokens.token[0] == id)
            model->whole[id / 64] |= (uint64_t)1 << id % 64;
    }
    merge_scratch_free(&scratch);
    token_list_free(&tokens);
    return true;
}
