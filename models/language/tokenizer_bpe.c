#include "models/language/tokenizer_bpe.h"

#include <stdlib.h>
#include <string.h>

struct merge_slot {
    int32_t left, right; /* left -1: empty */
    struct merge merge;
};

/* ---- the list of merges ------------------------------------------------------------------------------- */

static struct merge_slot *slot_of(const struct byte_pairs *model, int32_t left, int32_t right)
{
    const uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t slot = (pair * 0x9E3779B97F4A7C15u >> 32) & model->slot_mask;
    while (model->slots[slot].left >= 0 &&
           (model->slots[slot].left != left || model->slots[slot].right != right))
        slot = (slot + 1) & model->slot_mask;
    return &model->slots[slot];
}

struct merge byte_pairs_merge(const struct byte_pairs *model, int32_t left, int32_t right)
{
    const struct merge_slot *const slot = slot_of(model, left, right);
    return slot->left >= 0 ? slot->merge : (struct merge){.rank = -1, .result = -1};
}

static bool create_slots(struct byte_pairs *model, size_t count, struct error *error)
{
    size_t slots = 16;
    while (slots < 2 * count)
        slots *= 2;
    model->slot_mask = slots - 1;
    model->slots = malloc(slots * sizeof *model->slots);
    if (!model->slots)
        return error_memory(error, "the merges", slots * sizeof *model->slots, NULL);
    for (size_t slot = 0; slot < slots; slot++)
        model->slots[slot].left = -1;
    return true;
}

/* One merge as the file writes it: "a b" or ["a", "b"]. */
struct merge_text {
    const char *left, *right;
    size_t left_length, right_length;
};

static bool read_merge(const json_t *value, struct merge_text *merge)
{
    if (json_is_string(value)) {
        const char *const text = json_string_value(value), *const blank = strchr(text, ' ');
        if (!blank || strchr(blank + 1, ' '))
            return false;
        *merge = (struct merge_text){.left = text,
                                     .right = blank + 1,
                                     .left_length = (size_t)(blank - text),
                                     .right_length = json_string_length(value) - (size_t)(blank + 1 - text)};
        return true;
    }
    const json_t *const left = json_array_get(value, 0), *const right = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_string(left) || !json_is_string(right))
        return false;
    *merge = (struct merge_text){.left = json_string_value(left),
                                 .right = json_string_value(right),
                                 .left_length = json_string_length(left),
                                 .right_length = json_string_length(right)};
    return true;
}

/* Notes which bytes the merged token has side by side. */
static bool note_joined(struct byte_pairs *model, const struct text *token, struct text *bytes,
                        struct error *error)
{
    bool mapped = false;
    bytes->length = 0;
    if (model->byte_level && !append_character_bytes(bytes, token->bytes, token->length, &mapped, error))
        return false;
    const struct text *const text = mapped ? bytes : token;
    for (size_t place = 1; place < text->length; place++) {
        const uint8_t left = (uint8_t)text->bytes[place - 1], right = (uint8_t)text->bytes[place];
        model->joined[left][right / 64] |= (uint64_t)1 << right % 64;
    }
    return true;
}

/* <unk> and <0x0A> stand for other text than their own. */
static bool is_substitute(const struct byte_pairs *model, int32_t token, const char *text, size_t length)
{
    return token == model->unknown || (length == 6 && memcmp(text, "<0x", 3) == 0);
}

struct merge_texts {
    struct text token, bytes;
};

static bool add_merge(struct byte_pairs *model, const struct spot *list, size_t index,
                      struct merge_texts *scratch, struct error *error)
{
    struct spot spot = {.file = list->file, .value = json_array_get(list->value, index)};
    struct merge_text text;
    if (!read_merge(spot.value, &text)) {
        spot = spot_element(list, index);
        return spot_refuse(&spot, error, "is no pair of tokens; get the file anew");
    }
    scratch->token.length = 0;
    if (!text_append(&scratch->token, text.left, text.left_length, error) ||
        !text_append(&scratch->token, text.right, text.right_length, error))
        return false;
    const int32_t left = token_table_find(&model->vocabulary, text.left, text.left_length);
    const int32_t right = token_table_find(&model->vocabulary, text.right, text.right_length);
    const int32_t result = token_table_find(&model->vocabulary, scratch->token.bytes, scratch->token.length);
    if (left < 0 || right < 0 || result < 0) {
        spot = spot_element(list, index);
        return spot_refuse(&spot, error,
                           "'%.*s' + '%.40s': one of the tokens or what they become is not in the "
                           "vocabulary; get the file anew",
                           (int)(text.left_length < 40 ? text.left_length : 40), text.left, text.right);
    }
    *slot_of(model, left, right) = (struct merge_slot){
        .left = left, .right = right, .merge = {.rank = (int32_t)model->merge_count++, .result = result}};
    if (is_substitute(model, left, text.left, text.left_length) ||
        is_substitute(model, right, text.right, text.right_length))
        memset(model->joined, 0xFF, sizeof model->joined);
    return note_joined(model, &scratch->token, &scratch->bytes, error);
}

/* Of a pair that is there twice the later one counts, as in the `tokenizers` library. */
static bool parse_merges(struct byte_pairs *model, const struct spot *spot, struct error *error)
{
    const struct spot list = spot_key(spot, "merges");
    struct merge_texts scratch = {0};
    if (!json_is_array(list.value) || json_array_size(list.value) > LARGEST_TOKEN_ID)
        return spot_refuse(&list, error, "is missing or no list; get the file anew");
    bool done = create_slots(model, json_array_size(list.value), error);
    for (size_t index = 0; done && index < json_array_size(list.value); index++) {
        const char *const line = json_string_value(json_array_get(list.value, index));
        if (!line || strncmp(line, "#version", 8) != 0)
            done = add_merge(model, &list, index, &scratch, error);
    }
    text_free(&scratch.token);
    text_free(&scratch.bytes);
    return done;
}

/* ---- the vocabulary ----------------------------------------------------------------------------------- */

static bool parse_vocabulary(struct byte_pairs *model, const struct spot *spot, struct error *error)
{
    const struct spot list = spot_key(spot, "vocab");
    if (!json_is_object(list.value) || json_object_size(list.value) > LARGEST_TOKEN_ID)
        return spot_refuse(&list, error, "is missing or no object; get the file anew");
    const char *token;
    json_t *id;
    size_t bytes = 0;
    json_object_foreach((json_t *)list.value, token, id) bytes += strlen(token);
    if (!token_table_create(&model->vocabulary, (int64_t)json_object_size(list.value), bytes, error))
        return false;
    json_object_foreach((json_t *)list.value, token, id)
    {
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > LARGEST_TOKEN_ID)
            return spot_refuse(&list, error,
                               "the id of '%.60s' is no whole number from 0 to %d; get the file anew", token,
                               LARGEST_TOKEN_ID);
        token_table_add(&model->vocabulary, token, strlen(token), (int32_t)json_integer_value(id));
    }
    return true;
}

/* The tokens that are made of bytes' characters, by their bytes. */
static bool list_words(struct byte_pairs *model, const struct spot *spot, struct error *error)
{
    const struct spot list = spot_key(spot, "vocab");
    const char *token;
    json_t *id;
    struct text bytes = {0};
    bool done =
        token_table_create(&model->words, model->vocabulary.count, model->vocabulary.byte_count, error);
    json_object_foreach((json_t *)list.value, token, id)
    {
        bool mapped;
        bytes.length = 0;
        done = done && append_character_bytes(&bytes, token, strlen(token), &mapped, error);
        if (done && mapped)
            token_table_add(&model->words, bytes.bytes, bytes.length, (int32_t)json_integer_value(id));
    }
    text_free(&bytes);
    return done;
}

static void list_bytes(struct byte_pairs *model)
{
    const struct token_table *const words = model->byte_level ? &model->words : &model->vocabulary;
    for (int byte = 0; byte < 256; byte++) {
        char name[8];
        const char one = (char)byte;
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte);
        model->byte_token[byte] = token_table_find(&model->vocabulary, name, 6);
        model->byte_symbol[byte] = byte < 0x80 || model->byte_level ? token_table_find(words, &one, 1) : -1;
    }
}

/* ---- the model ---------------------------------------------------------------------------------------- */

static bool check_off(const struct spot *spot, const char *key, struct error *error)
{
    const struct spot found = spot_key(spot, key);
    if (spot_is_null(&found) || (json_is_string(found.value) && json_string_length(found.value) == 0) ||
        (json_is_number(found.value) && json_number_value(found.value) == 0.0))
        return true;
    return spot_refuse(&found, error, "is not supported; choose a model with another tokenizer");
}

static bool parse_settings(struct byte_pairs *model, const struct spot *spot, struct error *error)
{
    static const char *const keys[] = {"type",
                                       "dropout",
                                       "unk_token",
                                       "continuing_subword_prefix",
                                       "end_of_word_suffix",
                                       "fuse_unk",
                                       "byte_fallback",
                                       "ignore_merges",
                                       "vocab",
                                       "merges",
                                       NULL};
    const struct spot type = spot_key(spot, "type");
    if (json_is_string(type.value) && strcmp(json_string_value(type.value), "BPE") != 0)
        return spot_refuse_type(spot, "model", json_string_value(type.value), error);
    return spot_check_keys(spot, keys, error) && check_off(spot, "dropout", error) &&
           check_off(spot, "continuing_subword_prefix", error) &&
           check_off(spot, "end_of_word_suffix", error) &&
           spot_boolean(spot, "fuse_unk", &model->fuse_unknown, error) &&
           spot_boolean(spot, "byte_fallback", &model->byte_fallback, error) &&
           spot_boolean(spot, "ignore_merges", &model->ignore_merges, error);
}

static bool check_substitutes(struct byte_pairs *model, const struct spot *spot, struct error *error)
{
    const struct spot unknown = spot_key(spot, "unk_token");
    const char *token;
    size_t length;
    model->unknown = -1;
    if (!spot_is_null(&unknown)) {
        if (!spot_string(spot, "unk_token", &token, &length, error))
            return false;
        model->unknown = token_table_find(&model->vocabulary, token, length);
        if (model->unknown < 0)
            return spot_refuse(&unknown, error, "'%.60s' is not in the vocabulary; get the file anew", token);
    }
    for (int byte = 0; model->byte_fallback && byte < 256; byte++)
        if (model->byte_token[byte] < 0)
            return spot_refuse(spot, error,
                               "byte_fallback without the token <0x%02X> is not supported; choose a "
                               "model with another tokenizer",
                               (unsigned)byte);
    return true;
}

bool byte_pairs_parse(struct byte_pairs *model, const struct spot *spot, bool byte_level, struct error *error)
{
    *model = (struct byte_pairs){.byte_level = byte_level};
    if (!parse_settings(model, spot, error) || !parse_vocabulary(model, spot, error) ||
        (byte_level && !list_words(model, spot, error)))
        return false;
    list_bytes(model);
    if (!check_substitutes(model, spot, error))
        return false;
    /* Where unknown characters in a row become one token a word is not cut between them. */
    if (model->fuse_unknown && model->unknown >= 0 && !model->byte_fallback)
        memset(model->joined, 0xFF, sizeof model->joined);
    return parse_merges(model, spot, error) && byte_pairs_find_whole(model, error);
}

void byte_pairs_free(struct byte_pairs *model)
{
    token_table_free(&model->vocabulary);
    token_table_free(&model->words);
    free(model->slots);
    free(model->whole);
    model->slots = NULL;
    model->whole = NULL;
}
