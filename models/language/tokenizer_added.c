#include "models/language/tokenizer_added.h"

#include <stdlib.h>
#include <string.h>

struct trie_node {
    int32_t child, sibling; /* 0: none */
    int32_t token;          /* an index + 1; 0: no form ends here */
    uint8_t byte;
};

/* ---- the trie ----------------------------------------------------------------------------------------- */

static int32_t new_node(struct added_trie *trie, uint8_t byte)
{
    if (trie->count == trie->capacity) {
        if (trie->capacity > INT32_MAX / 4)
            return 0;
        const int32_t capacity = 2 * trie->capacity + 64;
        struct trie_node *grown = realloc(trie->nodes, (size_t)capacity * sizeof *grown);
        if (!grown)
            return 0;
        trie->nodes = grown;
        trie->capacity = capacity;
        if (trie->count == 0)
            trie->nodes[trie->count++] = (struct trie_node){0};
    }
    trie->nodes[trie->count] = (struct trie_node){.byte = byte};
    return trie->count++;
}

static int32_t child_of(const struct added_trie *trie, int32_t node, uint8_t byte)
{
    int32_t child = trie->nodes[node].child;
    while (child && trie->nodes[child].byte != byte)
        child = trie->nodes[child].sibling;
    return child;
}

static int32_t add_child(struct added_trie *trie, int32_t node, uint8_t byte)
{
    const int32_t child = new_node(trie, byte);
    if (child) {
        trie->nodes[child].sibling = trie->nodes[node].child;
        trie->nodes[node].child = child;
    }
    return child;
}

/* False: no memory. A form that is there already keeps its token, and *taken tells which. */
static bool trie_add(struct added_trie *trie, const char *form, size_t length, int32_t index, int32_t *taken)
{
    const uint8_t first = (uint8_t)form[0];
    int32_t node = trie->root[first];
    if (!node)
        node = trie->root[first] = new_node(trie, first);
    for (size_t place = 1; node && place < length; place++) {
        const int32_t child = child_of(trie, node, (uint8_t)form[place]);
        node = child ? child : add_child(trie, node, (uint8_t)form[place]);
    }
    if (!node)
        return false;
    *taken = trie->nodes[node].token - 1;
    if (*taken < 0)
        trie->nodes[node].token = index + 1;
    return true;
}

/* The longest form at the beginning of the text: its token's index and length; -1: none. */
static int32_t trie_match(const struct added_trie *trie, const char *text, size_t length, size_t *form_length)
{
    int32_t token = -1, node = trie->root[(uint8_t)text[0]];
    for (size_t place = 1; node; place++) {
        if (trie->nodes[node].token) {
            token = trie->nodes[node].token - 1;
            *form_length = place;
        }
        if (place == length)
            break;
        node = child_of(trie, node, (uint8_t)text[place]);
    }
    return token;
}

/* ---- parse -------------------------------------------------------------------------------------------- */

static bool set_form(struct added_token *token, const struct normalizer *normalizer, const struct spot *spot,
                     struct error *error)
{
    struct normalizer_scratch scratch = {0};
    const char *form = token->content;
    size_t length = token->length;
    bool done = !token->normalized || normalizer_apply(normalizer, token->content, token->length, false,
                                                       &scratch, &form, &length, error);
    if (done && length == 0)
        done =
            spot_refuse(spot, error, "the token '%.60s' is nothing when it is normalised; get the file anew",
                        token->content);
    if (done) {
        token->form = strndup(form, length);
        token->form_length = length;
        done = token->form || error_memory(error, "an added token", length, NULL);
    }
    normalizer_scratch_free(&scratch);
    return done;
}

static bool parse_token(struct added_token *token, const struct spot *spot,
                        const struct normalizer *normalizer, int64_t largest_id, struct error *error)
{
    static const char *const keys[] = {"id",     "content",    "single_word", "lstrip",
                                       "rstrip", "normalized", "special",     NULL};
    const char *content;
    int64_t id = 0;
    token->normalized = true;
    if (!spot_check_keys(spot, keys, error) || !spot_number(spot, "id", largest_id, &id, error) ||
        !spot_string(spot, "content", &content, &token->length, error) ||
        !spot_boolean(spot, "single_word", &token->single_word, error) ||
        !spot_boolean(spot, "lstrip", &token->left_strip, error) ||
        !spot_boolean(spot, "rstrip", &token->right_strip, error) ||
        !spot_boolean(spot, "normalized", &token->normalized, error) ||
        !spot_boolean(spot, "special", &token->special, error))
        return false;
    token->id = (int32_t)id;
    if (token->length == 0)
        return spot_refuse(spot, error, "an added token is empty; get the file anew");
    token->content = strdup(content);
    if (!token->content)
        return error_memory(error, "an added token", token->length, NULL);
    return set_form(token, normalizer, spot, error);
}

bool added_tokens_parse(struct added_tokens *added, const struct spot *spot,
                        const struct normalizer *normalizer, int64_t largest_id, struct error *error)
{
    *added = (struct added_tokens){0};
    if (spot_is_null(spot))
        return true;
    const size_t count = json_array_size(spot->value);
    if (!json_is_array(spot->value) || count > (size_t)largest_id)
        return spot_refuse(spot, error, "is no list of tokens; get the file anew");
    added->token = calloc(count + 1, sizeof *added->token);
    if (!added->token)
        return error_memory(error, "the added tokens", count * sizeof *added->token, NULL);
    for (size_t index = 0; index < count; index++) {
        const struct spot element = spot_element(spot, index);
        struct added_token *const token = &added->token[added->count++];
        int32_t taken;
        if (!parse_token(token, &element, normalizer, largest_id, error))
            return false;
        if (!trie_add(token->normalized ? &added->normalized : &added->plain, token->form, token->form_length,
                      (int32_t)index, &taken))
            return error_memory(error, "the added tokens", token->form_length * sizeof(struct trie_node),
                                NULL);
        if (taken >= 0)
            return spot_refuse(&element, error, "the token '%.60s' is there twice; get the file anew",
                               token->content);
    }
    return true;
}

void added_tokens_free(struct added_tokens *added)
{
    for (int64_t index = 0; index < added->count; index++) {
        free(added->token[index].content);
        free(added->token[index].form);
    }
    free(added->token);
    free(added->plain.nodes);
    free(added->normalized.nodes);
    *added = (struct added_tokens){0};
}

/* ---- find --------------------------------------------------------------------------------------------- */

/* The place of the character that ends at `end`. */
static size_t step_back(const char *text, size_t end)
{
    size_t place = end - 1;
    while (place > 0 && ((uint8_t)text[place] & 0xC0) == 0x80)
        place--;
    return place;
}

static bool stands_alone(const char *text, size_t length, size_t start, size_t end)
{
    const bool left = start == 0 || !character_is_word(utf8_character(text + step_back(text, start)));
    return left && (end == length || !character_is_word(utf8_character(text + end)));
}

static size_t strip_left(const char *text, size_t start, size_t least)
{
    while (start > least) {
        const size_t before = step_back(text, start);
        if (!character_is_space(utf8_character(text + before)))
            break;
        start = before;
    }
    return start > least ? start : least;
}

static size_t strip_right(const char *text, size_t length, size_t end)
{
    while (end < length && character_is_space(utf8_character(text + end)))
        end += utf8_width(text[end]);
    return end;
}

/* Looks for a token behind place->searched. */
static bool find_token(const struct added_tokens *added, const struct added_trie *trie, const char *text,
                       size_t length, struct added_place *place)
{
    while (place->searched < length) {
        size_t form_length = 0;
        const int32_t index =
            trie_match(trie, text + place->searched, length - place->searched, &form_length);
        if (index < 0) {
            place->searched++;
            continue;
        }
        const struct added_token *const token = &added->token[index];
        const size_t start = place->searched, end = start + form_length;
        place->searched = end;
        if (token->single_word && !stands_alone(text, length, start, end))
            continue;
        place->found =
            (struct added_part){.start = token->left_strip ? strip_left(text, start, place->covered) : start,
                                .end = token->right_strip ? strip_right(text, length, end) : end,
                                .id = token->id};
        return true;
    }
    return false;
}

bool added_next(const struct added_tokens *added, const struct added_trie *trie, const char *text,
                size_t length, struct added_place *place, struct added_part *part)
{
    if (!place->waits && trie->count > 0)
        place->waits = find_token(added, trie, text, length, place);
    else if (trie->count == 0)
        place->searched = length;
    const size_t end = place->waits ? place->found.start : length;
    if (place->covered < end) {
        *part = (struct added_part){.start = place->covered, .end = end, .id = -1};
        place->covered = end;
        return true;
    }
    if (!place->waits)
        return false;
    *part = place->found;
    place->covered = place->found.end;
    place->waits = false;
    return true;
}
