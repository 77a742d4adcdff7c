/* Any bytes: refused, or a short text can be encoded, and what comes of it decoded. Behind a NUL stands the text. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "models/language/tokenizer.h"

#define TOKENS_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void need_message(const struct error *error)
{
    if (error->kind == ERROR_NONE || error->message[0] == '\0')
        abort();
}

static void decode(const struct tokenizer *tokenizer, const struct token_list *list, bool skip_special)
{
    struct error error = ERROR_INITIALIZER;
    char *text;
    size_t length;
    if (!tokenizer_decode(tokenizer, list->token, list->count, skip_special, &text, &length, &error)) {
        need_message(&error);
        return;
    }
    if (text[length] != '\0')
        abort();
    free(text);
}

static void encode(const struct tokenizer *tokenizer, const char *text, size_t length,
                   struct encoding_options options)
{
    struct error error = ERROR_INITIALIZER;
    struct token_list list = {0};
    if (tokenizer_encode(tokenizer, text, length, options, &list, &error)) {
        for (int64_t index = 0; index < list.count; index++)
            if (list.token[index] < 0 || !tokenizer_token(tokenizer, list.token[index]))
                abort();
        decode(tokenizer, &list, options.special);
    } else {
        need_message(&error);
    }
    token_list_free(&list);
}

/* All tokens in turn, and ids that are none. */
static void decode_all(const struct tokenizer *tokenizer)
{
    int32_t tokens[TOKENS_MAX];
    const int64_t size = tokenizer_size(tokenizer);
    const int64_t count = size + 2 < TOKENS_MAX ? size + 2 : TOKENS_MAX;
    for (int64_t index = 0; index < count; index++) {
        const char *const name = tokenizer_token(tokenizer, (int32_t)index);
        tokens[index] = (int32_t)(index - 1);
        if (name && tokenizer_find(tokenizer, name) < 0)
            abort();
    }
    struct token_list list = {.token = tokens, .count = count};
    decode(tokenizer, &list, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const char usual[] =
        "Given the user(u12)'s list:i3,i45 \xC3\xA9te\xCC\x81 \xE6\x97\xA5 <s></s>\r\n 1234 \xF0\x9F\x98\x80";
    struct error error = ERROR_INITIALIZER;
    struct tokenizer *tokenizer;
    const uint8_t *const end = length > 0 ? memchr(bytes, 0, length) : NULL;
    const size_t json = end ? (size_t)(end - bytes) : length;
    if (!tokenizer_parse(&tokenizer, "fuzzed", (const char *)bytes, json, &error)) {
        need_message(&error);
        if (tokenizer)
            abort();
        return 0;
    }
    encode(tokenizer, usual, sizeof usual - 1, (struct encoding_options){.special = true});
    if (end)
        encode(tokenizer, (const char *)end + 1, length - json - 1,
               (struct encoding_options){.continues = true});
    decode_all(tokenizer);
    tokenizer_free(tokenizer);
    return 0;
}
