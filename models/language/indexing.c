#include "models/language/indexing.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "core/store.h"

enum indexing_kind indexing_kind_of(const char *word, bool text)
{
    if (strcmp(word, "collaborative") == 0)
        return INDEXING_COLLABORATIVE;
    if (strcmp(word, "collaborative_ids") == 0)
        return INDEXING_COLLABORATIVE_IDS;
    return strcmp(word, "text") == 0 || (text && strcmp(word, "auto") == 0) ? INDEXING_TEXT : INDEXING_IDS;
}

static bool copy_rows(struct token_rows *copy, const struct token_rows *rows, struct error *error)
{
    const size_t starts = (size_t)(rows->count + 1) * sizeof *rows->starts;
    const size_t tokens = (size_t)rows->starts[rows->count] * sizeof *rows->token;
    *copy = (struct token_rows){rows->count, malloc(starts), malloc(tokens + 1)};
    if (!copy->starts || !copy->token)
        return error_memory(error, "the tokens of items", starts + tokens, NULL);
    memcpy(copy->starts, rows->starts, starts);
    memcpy(copy->token, rows->token, tokens);
    return true;
}

/* Rows of the codes' tokens, each followed by the item's own where there are such. */
static bool write_rows(struct token_rows *rows, const struct indexing *indexing,
                       const struct token_rows *codes, struct error *error)
{
    const int64_t own = indexing->own_tokens > 0, tokens = codes->starts[codes->count] + own * codes->count;
    const int32_t first_code = indexing->first_token + (int32_t)indexing->own_tokens;
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
            rows->token[end++] = indexing->first_token + (int32_t)item;
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
    *indexing = (struct indexing){.first_token = settings->first_token};
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
        write_rows(&indexing->tokens.first, indexing, &codes.code, error) &&
        copy_rows(&indexing->tokens.next, &indexing->tokens.first, error);
    item_codes_free(&codes);
    if (!done)
        indexing_free(indexing);
    return done;
}

/* ---- the file ----------------------------------------------------------------------------------------- */

/* The counts by their names in the file. */
struct figure {
    const char *name;
    size_t offset; /* in struct indexing */
};
static const struct figure figures[] = {{"own_tokens", offsetof(struct indexing, own_tokens)},
                                        {"code_tokens", offsetof(struct indexing, code_tokens)},
                                        {"groups", offsetof(struct indexing, groups)},
                                        {"largest_group", offsetof(struct indexing, largest_group)},
                                        {"levels", offsetof(struct indexing, levels)}};
enum { FIGURES = sizeof figures / sizeof *figures };

static int64_t *figure_of(struct indexing *indexing, int figure)
{
    return (int64_t *)(void *)((char *)indexing + figures[figure].offset);
}

bool indexing_save(const struct indexing *indexing, const char *path, struct error *error)
{
    const struct token_rows *rows = &indexing->tokens.first;
    struct indexing copy = *indexing;
    struct store *store = NULL;
    bool done = store_create(&store, path, error) &&
                store_write(store, "starts", DTYPE_I64, rows->count + 1, 0, rows->starts, error) &&
                store_write(store, "tokens", DTYPE_I32, rows->starts[rows->count], 0, rows->token, error) &&
                store_set_integer(store, "/", "first_token", indexing->first_token, error);
    for (int i = 0; i < FIGURES && done; i++)
        done = store_set_integer(store, "/", figures[i].name, *figure_of(&copy, i), error);
    if (done)
        return store_commit(store, error);
    store_close(store);
    return false;
}

/* Every item has tokens, all of them among the new ones. */
static bool check_rows(const struct indexing *indexing, int64_t items, int64_t tokens, const char *path,
                       struct error *error)
{
    const struct token_rows *rows = &indexing->tokens.first;
    const int64_t own = indexing->own_tokens, codes = indexing->code_tokens;
    bool whole = (own == 0 || own == items) && codes >= 0 && codes <= INT32_MAX;
    const int64_t end = whole ? indexing->first_token + own + codes : 0;
    whole = whole && rows->count == items && rows->starts[0] == 0 && rows->starts[items] == tokens;
    for (int64_t item = 0; item < items && whole; item++)
        whole = rows->starts[item] < rows->starts[item + 1];
    for (int64_t i = 0; i < tokens && whole; i++)
        whole = rows->token[i] >= indexing->first_token && rows->token[i] < end;
    return whole || error_at(error, ERROR_RUN, path, 0,
                             "is not the indexing of %lld items; remove it, and the stage makes it anew",
                             (long long)items);
}

static bool read_figures(struct indexing *indexing, struct store *store, struct error *error)
{
    int64_t first_token = 0;
    bool done = store_get_integer(store, "/", "first_token", &first_token, error);
    for (int i = 0; i < FIGURES && done; i++)
        done = store_get_integer(store, "/", figures[i].name, figure_of(indexing, i), error);
    indexing->first_token = (int32_t)first_token;
    return done; /* a number that does not fit is told by the tokens, which it does not agree with */
}

bool indexing_load(struct indexing *indexing, const char *path, int64_t items, struct error *error)
{
    struct store *store = NULL;
    struct token_rows *rows = &indexing->tokens.first;
    void *starts = NULL, *token = NULL;
    int64_t tokens = 0;
    *indexing = (struct indexing){.own_tokens = 0};
    bool done = store_open(&store, path, error) && read_figures(indexing, store, error) &&
                store_read(store, "starts", DTYPE_I64, &rows->count, NULL, &starts, error) &&
                store_read(store, "tokens", DTYPE_I32, &tokens, NULL, &token, error);
    store_close(store);
    rows->count--;
    rows->starts = starts;
    rows->token = token;
    done = done && check_rows(indexing, items, tokens, path, error) &&
           copy_rows(&indexing->tokens.next, rows, error);
    if (!done)
        indexing_free(indexing);
    return done;
}

void indexing_free(struct indexing *indexing)
{
    item_tokens_free(&indexing->tokens);
    *indexing = (struct indexing){.own_tokens = 0};
}
