#include "models/language/template.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "models/language/template_parts.h"

/* A layout being made, from what. */
struct layout_work {
    struct prompt_layout *layout;
    const struct template_source *source;
    const struct tokenizer *tokenizer;
    struct token_list fixed; /* becomes layout->token */
};

static bool encode(struct token_list *tokens, const struct tokenizer *tokenizer, const char *text,
                   bool continues, struct error *error)
{
    const struct encoding_options options = {.continues = continues};
    return *text == '\0' || tokenizer_encode(tokenizer, text, strlen(text), options, tokens, error);
}

static bool append(struct token_list *tokens, const int32_t *token, int64_t count, struct error *error)
{
    const size_t needed = (size_t)(tokens->count + count);
    if (needed > tokens->capacity) {
        const size_t capacity = needed + tokens->capacity / 2;
        int32_t *grown = realloc(tokens->token, capacity * sizeof *grown);
        if (!grown)
            return error_memory(error, "the tokens of the prompts", capacity * sizeof *grown, NULL);
        tokens->token = grown;
        tokens->capacity = capacity;
    }
    if (count > 0)
        memcpy(tokens->token + tokens->count, token, (size_t)count * sizeof *token);
    tokens->count += count;
    return true;
}

/* ---- users and items ---------------------------------------------------------------------------------- */

/* How a row is written: a name, or its tokens, between two texts. */
struct row_form {
    const char *what; /* "user", "item" */
    const struct id_map *names;
    const struct token_rows *codes;
    const char *before, *middle, *after; /* `before`, `middle`, name, `after` */
    bool continues;
};

static bool encode_row(struct token_list *tokens, const struct tokenizer *tokenizer,
                       const struct row_form *form, int64_t row, struct error *error)
{
    const struct token_rows *codes = form->codes;
    char *text = path_format("%s%s%s%s", form->before, form->middle,
                             codes ? "" : id_map_name(form->names, row), codes ? "" : form->after);
    const int64_t first = tokens->count;
    bool fine = encode(tokens, tokenizer, text, form->continues, error);

    if (fine && codes)
        fine = append(tokens, codes->token + codes->starts[row], token_row_length(codes, row), error) &&
               encode(tokens, tokenizer, form->after, true, error);
    if (fine && tokens->count == first)
        fine = error_set(error, ERROR_USAGE, "%s '%s': '%s' has no token in this tokenizer", form->what,
                         id_map_name(form->names, row), text);
    free(text);
    return fine;
}

static bool encode_rows(struct token_rows *rows, const struct tokenizer *tokenizer,
                        const struct row_form *form, struct error *error)
{
    const int64_t count = form->names->count;
    struct token_list tokens = {.count = 0};
    bool fine = true;

    *rows = (struct token_rows){.count = count, .starts = malloc(((size_t)count + 1) * sizeof *rows->starts)};
    if (!rows->starts)
        return error_memory(error, "the tokens of the prompts", (size_t)count * sizeof *rows->starts, NULL);
    rows->starts[0] = 0;
    for (int64_t row = 0; fine && row < count; row++) {
        fine = encode_row(&tokens, tokenizer, form, row, error);
        rows->starts[row + 1] = tokens.count;
    }
    rows->token = tokens.token;
    return fine;
}

/* A list's items take their fixed beginning along, but for the first of a context's, whose opening has it. */
static bool encode_items(struct layout_work *work, const struct template_names *names, struct error *error)
{
    const struct template_source *source = work->source;
    const bool begins = source->context.part[0].kind == PART_ITEMS;
    const bool opened = *source->item_before != '\0';
    const struct row_form next = {.what = "item",
                                  .names = names->items,
                                  .codes = names->item_codes,
                                  .before = source->separator,
                                  .middle = source->item_before,
                                  .after = source->item_after,
                                  .continues = true};
    struct row_form first = next, answer = next;

    first.before = "";
    first.middle = "";
    first.continues = opened || !begins;
    answer.before = source->first_before;
    answer.continues = !source->apart || *source->lead != '\0';
    return encode_rows(&work->layout->items.first, work->tokenizer, &first, error) &&
           encode_rows(&work->layout->items.next, work->tokenizer, &next, error) &&
           encode_rows(&work->layout->answer.first, work->tokenizer, &answer, error) &&
           encode_rows(&work->layout->answer.next, work->tokenizer, &next, error);
}

static bool encode_users(struct layout_work *work, const struct template_names *names, struct error *error)
{
    const struct template_parts *context = &work->source->context;
    const bool begins = context->part[0].kind == PART_USER;
    const struct row_form form = {.what = "user",
                                  .names = names->users,
                                  .codes = names->user_codes,
                                  .before = "",
                                  .middle = "",
                                  .after = "",
                                  .continues = !begins};

    for (int part = 1; begins && part < context->count; part++)
        if (context->part[part].kind == PART_USER)
            return error_set(
                error, ERROR_USAGE,
                "prompts.text.context begins with {user} and holds it again; begin it with some text");
    return template_parts_find(context, PART_USER) < 0 ||
           encode_rows(&work->layout->users, work->tokenizer, &form, error);
}

/* ---- fixed text --------------------------------------------------------------------------------------- */

/* Adds a piece of fixed text that ends where work->fixed does. */
static bool end_piece(struct layout_work *work, enum prompt_piece_kind kind, int64_t first,
                      struct error *error)
{
    struct prompt_layout *layout = work->layout;

    if (layout->piece_count == PROMPT_PIECES_MAXIMUM)
        return error_set(error, ERROR_USAGE, "prompts.text.context holds more than %d texts and placeholders",
                         PROMPT_PIECES_MAXIMUM);
    layout->piece[layout->piece_count++] = (struct prompt_piece){
        .kind = kind, .first = (int32_t)first, .count = (int32_t)(work->fixed.count - first)};
    return true;
}

static bool add_text(struct layout_work *work, enum prompt_piece_kind kind, const char *text, bool continues,
                     struct error *error)
{
    const int64_t first = work->fixed.count;
    return encode(&work->fixed, work->tokenizer, text, continues, error) &&
           end_piece(work, kind, first, error);
}

/* What the tokenizer puts before every text, such as <s>; what it puts behind one is no part of a context. */
static bool add_beginning(struct layout_work *work, struct error *error)
{
    struct token_list plain = {.count = 0}, whole = {.count = 0};
    const struct encoding_options special = {.special = true};
    int64_t before = 0;
    bool fine = tokenizer_encode(work->tokenizer, "a", 1, (struct encoding_options){.special = false}, &plain,
                                 error) &&
                tokenizer_encode(work->tokenizer, "a", 1, special, &whole, error);

    while (fine && before + plain.count < whole.count &&
           memcmp(whole.token + before, plain.token, (size_t)plain.count * sizeof *plain.token) != 0)
        before++;
    fine =
        fine && append(&work->fixed, whole.token, before, error) && end_piece(work, PIECE_TOKENS, 0, error);
    token_list_free(&plain);
    token_list_free(&whole);
    return fine;
}

/* The text before the list, to which an item's fixed beginning belongs where the list is not empty. */
static bool add_opening(struct layout_work *work, const char *text, bool continues, struct error *error)
{
    char *opening = path_format("%s%s", text, work->source->item_before);
    const bool fine = add_text(work, PIECE_EMPTY, text, continues, error) &&
                      add_text(work, PIECE_OPENING, opening, continues, error);
    free(opening);
    return fine;
}

static bool add_context(struct layout_work *work, struct error *error)
{
    const struct template_parts *context = &work->source->context;
    const bool opened = *work->source->item_before != '\0';
    bool fine = add_beginning(work, error);

    for (int i = 0; fine && i < context->count; i++) {
        const struct template_part *part = &context->part[i];
        const bool before_list = i + 1 < context->count && context->part[i + 1].kind == PART_ITEMS;
        const bool after_text = i > 0 && context->part[i - 1].kind == PART_TEXT;
        if (part->kind == PART_USER)
            fine = end_piece(work, PIECE_USER, work->fixed.count, error);
        else if (part->kind == PART_ITEMS)
            fine = (!opened || after_text || add_opening(work, "", i > 0, error)) &&
                   end_piece(work, PIECE_ITEMS, work->fixed.count, error);
        else if (opened && before_list)
            fine = add_opening(work, part->text, i > 0, error);
        else
            fine = add_text(work, PIECE_TOKENS, part->text, i > 0, error);
    }
    if (fine && work->source->apart && *work->source->lead != '\0')
        fine = add_text(work, PIECE_TOKENS, work->source->lead, false, error);
    return fine;
}

/* The token that ends an answer. */
static bool find_end(int32_t *end, const struct prompt_template *template, const struct tokenizer *tokenizer,
                     struct error *error)
{
    static const char *const ends[CHAT_FORMATS] = {[CHAT_LLAMA2] = "</s>",
                                                   [CHAT_LLAMA3] = "<|eot_id|>",
                                                   [CHAT_CHATML] = "<|im_end|>",
                                                   [CHAT_MISTRAL] = "</s>"};
    const char *token = ends[template->chat];

    if (token)
        *end = tokenizer_find(tokenizer, token);
    if (*end >= 0)
        return true;
    if (!token)
        return error_set(error, ERROR_USAGE,
                         "neither the checkpoint nor prompts.text.chat says which token ends an answer; set "
                         "prompts.text.chat");
    return error_set(
        error, ERROR_USAGE,
        "prompts.text.chat: %s ends an answer with %s, which is no token of this tokenizer; use another "
        "format, or none",
        chat_format_name(template->chat), token);
}

static bool add_closing(struct layout_work *work, int32_t end, struct error *error)
{
    const int64_t first = work->fixed.count;

    if (!encode(&work->fixed, work->tokenizer, work->source->answer_after, true, error) ||
        !append(&work->fixed, &end, 1, error))
        return false;
    work->layout->closing = (struct prompt_piece){
        .kind = PIECE_TOKENS, .first = (int32_t)first, .count = (int32_t)(work->fixed.count - first)};
    work->layout->end = work->fixed.token[first];
    return true;
}

/* ---- names -------------------------------------------------------------------------------------------- */

static bool check_names(const char *what, const struct id_map *names, const char *separator,
                        struct error *error)
{
    for (int64_t row = 0; row < names->count; row++) {
        const char *name = id_map_name(names, row);
        if (*name == '\0')
            return error_set(error, ERROR_USAGE, "%s %lld has an empty name, which no prompt can hold", what,
                             (long long)row);
        if (separator && *separator != '\0' && strstr(name, separator))
            return error_set(error, ERROR_USAGE,
                             "%s '%s' holds '%s', which separates items; set another prompts.text.separator",
                             what, name, separator);
    }
    return true;
}

/* Marks the tokens that a further item of an answer begins with. */
static void mark_beginnings(bool *begins, const struct token_rows *next)
{
    for (int64_t row = 0; row < next->count; row++)
        begins[next->token[next->starts[row]]] = true;
}

/* Behind the tokens of an item only what separates items and what ends the answer may tell that it is complete. */
static bool check_row(const struct token_rows *rows, int64_t row, int64_t skip, int32_t end,
                      const bool *begins, const char *name, struct error *error)
{
    for (int64_t i = rows->starts[row]; i < rows->starts[row + 1]; i++) {
        const int32_t token = rows->token[i];
        if (token == end)
            return error_set(error, ERROR_USAGE,
                             "item '%s' holds the token that ends the answer; change prompts.text.answer",
                             name);
        if (begins && i >= rows->starts[row] + skip && begins[token])
            return error_set(error, ERROR_USAGE,
                             "item '%s' holds the first token of what separates items; set another "
                             "prompts.text.separator",
                             name);
    }
    return true;
}

/* Of the tokenizer and of the items, whose codes may go beyond it. */
static int64_t largest_token(const struct layout_work *work)
{
    const struct token_rows *const forms[] = {&work->layout->answer.first, &work->layout->answer.next};
    int64_t largest = tokenizer_size(work->tokenizer);
    for (int form = 0; form < 2; form++)
        for (int64_t i = 0; i < forms[form]->starts[forms[form]->count]; i++)
            largest = forms[form]->token[i] > largest ? forms[form]->token[i] : largest;
    return largest;
}

static bool check_tokens(const struct layout_work *work, const struct template_names *names,
                         struct error *error)
{
    const struct prompt_layout *layout = work->layout;
    const size_t size = 1 + (size_t)largest_token(work);
    bool *begins = *work->source->separator != '\0' ? calloc(size, sizeof *begins) : NULL;
    bool fine = true;

    if (*work->source->separator != '\0' && !begins)
        return error_memory(error, "the tokens of separators", size, NULL);
    if (begins)
        mark_beginnings(begins, &layout->answer.next);
    for (int64_t row = 0; fine && row < names->items->count; row++) {
        const char *name = id_map_name(names->items, row);
        fine = check_row(&layout->answer.first, row, 0, layout->end, begins, name, error) &&
               check_row(&layout->answer.next, row, 1, layout->end, begins, name, error);
    }
    free(begins);
    return fine;
}

/* ---- the layout --------------------------------------------------------------------------------------- */

/* The last token of a context is decoded behind those that are read, of which there must be one, whatever is in the list. */
static bool check_length(const struct prompt_layout *layout, struct error *error)
{
    int64_t fixed = 0, with_items = 0, without = 0;

    for (int i = 0; i < layout->piece_count; i++) {
        const struct prompt_piece *piece = &layout->piece[i];
        fixed += piece->kind == PIECE_USER ? 1 : piece->kind == PIECE_TOKENS ? piece->count : 0;
        with_items += piece->kind == PIECE_OPENING ? piece->count : 0;
        without += piece->kind == PIECE_EMPTY ? piece->count : 0;
    }
    return fixed + (with_items < without ? with_items : without) >= 2 ||
           error_set(
               error, ERROR_USAGE,
               "prompts.text.context has fewer than two tokens besides its list; write some text there");
}

static bool make_layout(struct layout_work *work, const struct prompt_template *template,
                        const struct template_names *names, int32_t end, struct error *error)
{
    const struct template_parts *context = &work->source->context;

    work->layout->joined = !work->source->apart && *work->source->first_before == '\0' &&
                           context->part[context->count - 1].kind == PART_ITEMS;
    if (!find_end(&end, template, work->tokenizer, error) || !add_context(work, error) ||
        !add_closing(work, end, error))
        return false;
    work->layout->token = work->fixed.token;
    work->fixed = (struct token_list){.count = 0};
    return check_length(work->layout, error) && encode_users(work, names, error) &&
           encode_items(work, names, error) && check_tokens(work, names, error);
}

bool template_layout(struct prompt_layout *layout, const struct prompt_template *template,
                     const struct tokenizer *tokenizer, const struct template_names *names, int32_t end,
                     struct error *error)
{
    struct template_source source;
    struct layout_work work = {.layout = layout, .source = &source, .tokenizer = tokenizer};

    *layout = (struct prompt_layout){.piece_count = 0};
    if (!template_source_open(&source, template, error))
        return false;
    if (*template->separator == '\0' && !names->item_codes)
        error_set(error, ERROR_USAGE,
                  "prompts.text.separator is empty: the names of items would run together");
    else if ((names->user_codes || check_names("user", names->users, NULL, error)) &&
             (names->item_codes || check_names("item", names->items, template->separator, error)) &&
             make_layout(&work, template, names, end, error)) {
        template_source_close(&source);
        return true;
    }
    token_list_free(&work.fixed);
    template_source_close(&source);
    prompt_layout_free(layout);
    return false;
}
