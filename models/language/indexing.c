#include "models/language/indexing.h"

#include <stdlib.h>
#include <string.h>

enum indexing_kind indexing_kind_of(const char *word, bool text)
{
    if (strcmp(word, "collaborative") == 0)
        return INDEXING_COLLABORATIVE;
    if (strcmp(word, "collaborative_ids") == 0)
        return INDEXING_COLLABORATIVE_IDS;
    return strcmp(word, "text") == 0 || (text && strcmp(word, "auto") == 0) ? INDEXING_TEXT : INDEXING_IDS;
}

/* Rows of the codes' tokens, each followed by the item's own where there are such. */
static bool write_rows(struct token_rows *rows, const struct indexing *indexing,
                       const struct token_rows *codes, int32_t first_token, struct error *error)
{
    const int64_t own = indexing->own_tokens > 0, tokens = codes->starts[codes->count] + own * codes->count;
    const int32_t first_code = first_token + (int32_t)indexing->own_tokens;
    *rows = (struct token_rows){.count = codes->count,
                                .starts = malloc((size_t)(codes->count + 1) * sizeof *rows->starts),
                                .token = malloc((size_t)tokens * sizeof *rows->token + 1)};
    if (!rows->starts || !rows->token)
        return error_memory(error, "the tokens of items", (size_t)tokens * sizeof *rows->token, NULL);
    int64_t end = 0;
    for (int64_t item = 0; item < codes->count; item++) {
        rows->starts[item] = end;
        for (int64_t i = codes->starts[item]; i < codes->starts[item + 1]; i++)
            rows->token[end++] = first_code + codes->token[i];
        if (own)
            rows->token[end++] = first_token + (int32_t)item;
    }
    rows->starts[codes->count] = end;
    return true;
}

/* Rows without any number. */
static bool no_codes(struct item_codes *codes, int64_t items, struct error *error)
{
    *codes = (struct item_codes){.code = {items, calloc((size_t)items + 1, sizeof(int64_t)), NULL}};
    return codes->code.starts ||
           error_memory(error, "the tokens of items", (size_t)items * sizeof(int64_t), NULL);
}

static bool make_codes(struct item_codes *codes, const struct csr *train,
                       const struct indexing_settings *settings, struct error *error)
{
    struct item_code_settings made = settings->codes;
    made.own = settings->kind == INDEXING_COLLABORATIVE_IDS;
    return settings->kind == INDEXING_IDS ? no_codes(codes, train->columns, error)
                                          : item_codes_create(codes, train, &made, error);
}

bool indexing_create(struct indexing *indexing, const struct csr *train,
                     const struct indexing_settings *settings, struct error *error)
{
    struct item_codes codes;
    *indexing = (struct indexing){.own_tokens = 0};
    if (settings->kind == INDEXING_TEXT)
        return error_set(error, ERROR_RUN, "names in text have no tokens of their own");
    if (!make_codes(&codes, train, settings, error))
        return false;
    indexing->own_tokens = settings->kind == INDEXING_COLLABORATIVE ? 0 : train->columns;
    indexing->code_tokens = codes.numbers;
    indexing->groups = codes.groups;
    indexing->largest_group = codes.largest_group;
    indexing->levels = codes.levels;
    const int64_t tokens = settings->first_token + indexing->own_tokens + indexing->code_tokens;
    const bool done =
        (tokens <= INT32_MAX || error_set(error, ERROR_RUN, "%lld tokens are too many", (long long)tokens)) &&
        write_rows(&indexing->tokens.first, indexing, &codes.code, settings->first_token, error) &&
        write_rows(&indexing->tokens.next, indexing, &codes.code, settings->first_token, error);
    item_codes_free(&codes);
    if (!done)
        indexing_free(indexing);
    return done;
}

void indexing_free(struct indexing *indexing)
{
    item_tokens_free(&indexing->tokens);
    *indexing = (struct indexing){.own_tokens = 0};
}
