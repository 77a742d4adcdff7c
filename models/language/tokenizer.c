#include "models/language/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "models/language/tokenizer_added.h"
#include "models/language/tokenizer_bpe.h"
#include "models/language/tokenizer_decoder.h"
#include "models/language/tokenizer_normalizer.h"
#include "models/language/tokenizer_template.h"
#include "models/language/tokenizer_words.h"

struct tokenizer {
    struct normalizer normalizer;
    struct added_tokens added;
    struct word_splitter splitter;
    struct byte_pairs model;
    struct token_template around;
    struct decoder decoder;
    int64_t size;
    const char **name;                /* [size] by id, as the file writes it; NULL: no token */
    const struct added_token **extra; /* [size] by id; NULL: not added */
    bool *left_out;                   /* [size] decoding leaves it out with skip_special */
};

/* ---- parse -------------------------------------------------------------------------------------------- */

static bool check_top(const struct spot *top, struct error *error)
{
    static const char *const keys[] = {
        "version",       "truncation",     "padding", "added_tokens", "normalizer",
        "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
    const struct spot version = spot_key(top, "version"), truncation = spot_key(top, "truncation");
    const struct spot padding = spot_key(top, "padding");
    if (!spot_check_keys(top, keys, error))
        return false;
    if (!spot_is_null(&version) &&
        !(json_is_string(version.value) && strcmp(json_string_value(version.value), "1.0") == 0))
        return spot_refuse(&version, error, "is not \"1.0\"; choose a model with another tokenizer");
    const struct spot *const on = !spot_is_null(&truncation) ? &truncation : &padding;
    return spot_is_null(on) || spot_refuse(on, error, "is not supported; set it to null in the file");
}

static bool reserve_names(struct tokenizer *tokenizer, int64_t size, struct error *error)
{
    tokenizer->name = calloc((size_t)size + 1, sizeof *tokenizer->name);
    tokenizer->extra = calloc((size_t)size + 1, sizeof *tokenizer->extra);
    tokenizer->left_out = calloc((size_t)size + 1, sizeof *tokenizer->left_out);
    tokenizer->size = size;
    return (tokenizer->name && tokenizer->extra && tokenizer->left_out) ||
           error_memory(error, "the names of tokens", (size_t)size * 17, NULL);
}

static int64_t largest_id(const struct tokenizer *tokenizer)
{
    const struct token_table *const vocabulary = &tokenizer->model.vocabulary;
    int64_t largest = -1;
    for (int64_t index = 0; index < vocabulary->count; index++) {
        size_t length;
        int32_t id;
        token_table_at(vocabulary, index, &length, &id);
        largest = id > largest ? id : largest;
    }
    for (int64_t index = 0; index < tokenizer->added.count; index++)
        if (tokenizer->added.token[index].id > largest)
            largest = tokenizer->added.token[index].id;
    return largest;
}

/* The vocabulary's ids, each once. */
static bool name_vocabulary(struct tokenizer *tokenizer, const struct spot *top, struct error *error)
{
    const struct spot model = spot_key(top, "model"), spot = spot_key(&model, "vocab");
    const struct token_table *const vocabulary = &tokenizer->model.vocabulary;
    for (int64_t index = 0; index < vocabulary->count; index++) {
        size_t length;
        int32_t id;
        const char *const token = token_table_at(vocabulary, index, &length, &id);
        if (tokenizer->name[id])
            return spot_refuse(&spot, error, "'%.40s' and '%.40s' have the same id %d; get the file anew",
                               tokenizer->name[id], token, (int)id);
        tokenizer->name[id] = token;
    }
    return true;
}

/* An added token has the id that it has in the vocabulary, or one behind: the `tokenizers` library counts on from the
 * vocabulary's size, whatever the file says, so a file that says something else is refused. */
static bool name_added(struct tokenizer *tokenizer, const struct spot *top, struct error *error)
{
    const struct spot spot = spot_key(top, "added_tokens");
    int64_t next = tokenizer->model.vocabulary.count;
    for (int64_t index = 0; index < tokenizer->added.count; index++) {
        const struct added_token *const token = &tokenizer->added.token[index];
        const int32_t known = token_table_find(&tokenizer->model.vocabulary, token->content, token->length);
        const int64_t expected = known >= 0 ? known : next++;
        if (token->id != expected || tokenizer->extra[token->id])
            return spot_refuse(&spot, error, "'%.60s' has the id %d where %lld comes next; get the file anew",
                               token->content, (int)token->id, (long long)expected);
        tokenizer->name[token->id] = token->content;
        tokenizer->extra[token->id] = token;
    }
    return true;
}

/* A token is left out when what is decoded of it is the content of a special token. */
static void find_left_out(struct tokenizer *tokenizer)
{
    for (int64_t index = 0; index < tokenizer->added.count; index++) {
        const struct added_token *const token = &tokenizer->added.token[index];
        tokenizer->left_out[token->id] = token->special && strcmp(token->form, token->content) == 0;
    }
}

static bool parse_parts(struct tokenizer *tokenizer, const struct spot *top, struct error *error)
{
    const struct spot normalizer = spot_key(top, "normalizer"), words = spot_key(top, "pre_tokenizer"),
                      model = spot_key(top, "model"), added = spot_key(top, "added_tokens"),
                      around = spot_key(top, "post_processor"), decoder = spot_key(top, "decoder");
    if (!check_top(top, error) || !normalizer_parse(&tokenizer->normalizer, &normalizer, error) ||
        !word_splitter_parse(&tokenizer->splitter, &words, error) ||
        !byte_pairs_parse(&tokenizer->model, &model, tokenizer->splitter.byte_level, error) ||
        !added_tokens_parse(&tokenizer->added, &added, &tokenizer->normalizer, LARGEST_TOKEN_ID, error))
        return false;
    const int64_t largest = largest_id(tokenizer);
    if (!reserve_names(tokenizer, largest + 1, error) || !name_vocabulary(tokenizer, top, error) ||
        !name_added(tokenizer, top, error))
        return false;
    find_left_out(tokenizer);
    return token_template_parse(&tokenizer->around, &around, largest, error) &&
           decoder_parse(&tokenizer->decoder, &decoder, error);
}

bool tokenizer_parse(struct tokenizer **tokenizer, const char *name, const char *json, size_t length,
                     struct error *error)
{
    json_error_t reason;
    json_t *document = json_loadb(json, length, JSON_REJECT_DUPLICATES, &reason);
    *tokenizer = NULL;
    if (!document)
        return error_at(error, ERROR_RUN, name, reason.line, "is no JSON (%s); get the file anew",
                        reason.text);
    *tokenizer = calloc(1, sizeof **tokenizer);
    const struct spot top = {.file = name, .value = document};
    const bool done = *tokenizer ? parse_parts(*tokenizer, &top, error)
                                 : error_memory(error, "the tokenizer", sizeof **tokenizer, NULL);
    json_decref(document);
    if (done)
        return true;
    tokenizer_free(*tokenizer);
    *tokenizer = NULL;
    return false;
}

bool tokenizer_load(struct tokenizer **tokenizer, const char *path, struct error *error)
{
    char *json = NULL;
    size_t length = 0;
    *tokenizer = NULL;
    if (!file_read(path, &json, &length, error))
        return false;
    const bool done = tokenizer_parse(tokenizer, path, json, length, error);
    free(json);
    return done;
}

void tokenizer_free(struct tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    normalizer_free(&tokenizer->normalizer);
    added_tokens_free(&tokenizer->added);
    word_splitter_free(&tokenizer->splitter);
    byte_pairs_free(&tokenizer->model);
    token_template_free(&tokenizer->around);
    decoder_free(&tokenizer->decoder);
    free(tokenizer->name);
    free(tokenizer->extra);
    free(tokenizer->left_out);
    free(tokenizer);
}

/* ---- tokens ------------------------------------------------------------------------------------------- */

int64_t tokenizer_size(const struct tokenizer *tokenizer)
{
    return tokenizer->size;
}

int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *token)
{
    const int32_t id = token_table_find(&tokenizer->model.vocabulary, token, strlen(token));
    for (int64_t index = 0; id < 0 && index < tokenizer->added.count; index++)
        if (strcmp(tokenizer->added.token[index].content, token) == 0)
            return tokenizer->added.token[index].id;
    return id;
}

const char *tokenizer_token(const struct tokenizer *tokenizer, int32_t id)
{
    return id >= 0 && id < tokenizer->size ? tokenizer->name[id] : NULL;
}

/* ---- encode ------------------------------------------------------------------------------------------- */

struct encoder {
    const struct tokenizer *tokenizer;
    struct normalizer_scratch normalized;
    struct word_scratch words;
    struct merge_scratch merges;
    struct token_list *tokens;
    bool continues;
};

static bool take_word(void *context, const char *word, size_t length, struct error *error)
{
    struct encoder *const encoder = context;
    return byte_pairs_encode(&encoder->tokenizer->model, word, length, &encoder->merges, encoder->tokens,
                             error);
}

/* Text between added tokens; `first`: the text begins with it. */
static bool encode_section(struct encoder *encoder, const char *section, size_t bytes, bool first,
                           struct error *error)
{
    const struct tokenizer *const tokenizer = encoder->tokenizer;
    const struct word_sink sink = {.take = take_word, .context = encoder};
    const char *text;
    size_t length;
    if (!normalizer_apply(&tokenizer->normalizer, section, bytes, first && encoder->continues,
                          &encoder->normalized, &text, &length, error))
        return false;
    struct added_place place = {0};
    struct added_part part;
    while (added_next(&tokenizer->added, &tokenizer->added.normalized, text, length, &place, &part)) {
        const struct word_place at = {.first = first && part.start == 0, .continues = encoder->continues};
        const bool done = part.id >= 0 ? token_list_append(encoder->tokens, part.id, error)
                                       : word_split(&tokenizer->splitter, text + part.start,
                                                    part.end - part.start, at, &encoder->words, sink, error);
        if (!done)
            return false;
    }
    return true;
}

static bool encode_text(struct encoder *encoder, const char *text, size_t bytes, struct error *error)
{
    const struct added_tokens *const added = &encoder->tokenizer->added;
    struct added_place place = {0};
    struct added_part part;
    while (added_next(added, &added->plain, text, bytes, &place, &part)) {
        const bool done = part.id >= 0 ? token_list_append(encoder->tokens, part.id, error)
                                       : encode_section(encoder, text + part.start, part.end - part.start,
                                                        part.start == 0, error);
        if (!done)
            return false;
    }
    return true;
}

static bool append_all(struct token_list *tokens, const struct token_list *list, bool wanted,
                       struct error *error)
{
    for (int64_t index = 0; wanted && index < list->count; index++)
        if (!token_list_append(tokens, list->token[index], error))
            return false;
    return true;
}

bool tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t bytes,
                      struct encoding_options options, struct token_list *tokens, struct error *error)
{
    const size_t valid = utf8_valid_prefix(text, bytes);
    if (valid < bytes)
        return error_set(error, ERROR_RUN,
                         "byte %zu of a text, %02X, is no UTF-8; convert the text (iconv -t UTF-8)", valid,
                         (unsigned)(unsigned char)text[valid]);
    struct encoder encoder = {.tokenizer = tokenizer, .tokens = tokens, .continues = options.continues};
    const bool done = append_all(tokens, &tokenizer->around.before, options.special, error) &&
                      encode_text(&encoder, text, bytes, error) &&
                      append_all(tokens, &tokenizer->around.after, options.special, error);
    normalizer_scratch_free(&encoder.normalized);
    word_scratch_free(&encoder.words);
    merge_scratch_free(&encoder.merges);
    return done;
}

/* ---- decode ------------------------------------------------------------------------------------------- */

static bool list_strings(const struct tokenizer *tokenizer, const int32_t *tokens, int64_t count,
                         bool skip_special, struct string_list *list, struct error *error)
{
    for (int64_t index = 0; index < count; index++) {
        const int32_t id = tokens[index];
        const char *const name = tokenizer_token(tokenizer, id);
        if (!name || (skip_special && tokenizer->left_out[id]))
            continue;
        const char *const string = tokenizer->extra[id] ? tokenizer->extra[id]->form : name;
        if (!string_list_append(list, string, strlen(string), error))
            return false;
    }
    return true;
}

bool tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *tokens, int64_t count,
                      bool skip_special, char **text, size_t *bytes, struct error *error)
{
    struct string_list list = {0};
    *text = NULL;
    if (list_strings(tokenizer, tokens, count, skip_special, &list, error) &&
        decoder_apply(&tokenizer->decoder, &list, error) && text_append(&list.bytes, "", 1, error)) {
        *text = list.bytes.bytes;
        if (bytes)
            *bytes = list.bytes.length - 1;
        list.bytes = (struct text){0};
    }
    string_list_free(&list);
    return *text != NULL;
}
