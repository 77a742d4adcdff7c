#include "models/language/tokenizer_template.h"

#include <string.h>

#include "models/language/tokenizer_bpe.h"

/* Appends what a special token of the template stands for. */
static bool append_special(struct token_list *list, const struct spot *spot, const char *name,
                           int64_t largest_id, struct error *error)
{
    const struct spot table = spot_key(spot, "special_tokens"), token = spot_key(&table, name);
    const struct spot ids = spot_key(&token, "ids");
    if (!json_is_array(ids.value))
        return spot_refuse(&ids, error, "is missing or no list; get the file anew");
    for (size_t index = 0; index < json_array_size(ids.value); index++) {
        const json_t *const id = json_array_get(ids.value, index);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > largest_id)
            return spot_refuse(&ids, error, "holds something that is no token's id; get the file anew");
        if (!token_list_append(list, (int32_t)json_integer_value(id), error))
            return false;
    }
    return true;
}

/* {"Sequence": {"id": "A"}} or {"SpecialToken": {"id": "<s>"}}, each with a type_id that is not used here. */
static bool parse_piece(struct token_template *template, const struct spot *spot, const struct spot *piece,
                        bool *behind, int64_t largest_id, struct error *error)
{
    static const char *const piece_keys[] = {"Sequence", "SpecialToken", NULL};
    static const char *const keys[] = {"id", "type_id", NULL};
    const struct spot sequence = spot_key(piece, "Sequence"), special = spot_key(piece, "SpecialToken");
    const struct spot *const inner = sequence.value ? &sequence : &special;
    const char *name;
    size_t length;
    if (!spot_check_keys(piece, piece_keys, error) || !spot_check_keys(inner, keys, error) ||
        !spot_string(inner, "id", &name, &length, error))
        return false;
    if (inner == &special)
        return append_special(*behind ? &template->after : &template->before, spot, name, largest_id, error);
    if (*behind || strcmp(name, "A") != 0)
        return spot_refuse(piece, error,
                           "a template in which the text isn't once is not supported; choose a model "
                           "with another tokenizer");
    *behind = true;
    return true;
}

static bool parse_template(struct token_template *template, const struct spot *spot, int64_t largest_id,
                           struct error *error)
{
    static const char *const keys[] = {"type", "single", "pair", "special_tokens", NULL};
    const struct spot single = spot_key(spot, "single");
    bool behind = false;
    if (template->given)
        return spot_refuse(spot, error,
                           "a second template is not supported; choose a model with another tokenizer");
    template->given = true;
    if (!spot_check_keys(spot, keys, error))
        return false;
    if (!json_is_array(single.value))
        return spot_refuse(&single, error, "is missing or no list; get the file anew");
    for (size_t index = 0; index < json_array_size(single.value); index++) {
        const struct spot piece = spot_element(&single, index);
        if (!parse_piece(template, spot, &piece, &behind, largest_id, error))
            return false;
    }
    return behind || spot_refuse(&single, error,
                                 "a template without the text is not supported; choose a model with "
                                 "another tokenizer");
}

struct parsing {
    struct token_template *template;
    int64_t largest_id;
};

static bool parse_processor(void *context, const struct spot *spot, const char *type, struct error *error)
{
    static const char *const byte_level_keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex",
                                                  NULL};
    const struct parsing *const parsing = context;
    if (strcmp(type, "ByteLevel") == 0)
        return spot_check_keys(spot, byte_level_keys, error);
    return strcmp(type, "TemplateProcessing") == 0
               ? parse_template(parsing->template, spot, parsing->largest_id, error)
               : spot_refuse_type(spot, "post-processor", type, error);
}

bool token_template_parse(struct token_template *template, const struct spot *spot, int64_t largest_id,
                          struct error *error)
{
    struct parsing parsing = {template, largest_id};
    *template = (struct token_template){0};
    return spot_is_null(spot) || spot_each(spot, "processors", parse_processor, &parsing, error);
}

void token_template_free(struct token_template *template)
{
    token_list_free(&template->before);
    token_list_free(&template->after);
}
