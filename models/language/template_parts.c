#include "models/language/template_parts.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"

/* ---- parts -------------------------------------------------------------------------------------------- */

static const char *const placeholders[PART_KINDS] = {
    [PART_USER] = "{user}", [PART_ITEMS] = "{items}", [PART_ITEM] = "{item}"};

void template_parts_free(struct template_parts *parts)
{
    for (int i = 0; i < parts->count; i++)
        free(parts->part[i].text);
    parts->count = 0;
}

static struct template_part *add_part(struct template_parts *parts, enum template_part_kind kind,
                                      struct error *error)
{
    if (parts->count == TEMPLATE_PARTS_MAXIMUM) {
        error_set(error, ERROR_USAGE, "a template of prompts has more than %d texts and placeholders",
                  TEMPLATE_PARTS_MAXIMUM);
        return NULL;
    }
    parts->part[parts->count] = (struct template_part){.kind = kind};
    return &parts->part[parts->count++];
}

bool template_parts_add_text(struct template_parts *parts, const char *text, size_t bytes,
                             struct error *error)
{
    struct template_part *last = parts->count > 0 ? &parts->part[parts->count - 1] : NULL;

    if (bytes == 0)
        return true;
    if (!last || last->kind != PART_TEXT)
        last = add_part(parts, PART_TEXT, error);
    if (!last)
        return false;
    const size_t length = last->text ? strlen(last->text) : 0;
    char *grown = realloc(last->text, length + bytes + 1);
    if (!grown)
        return error_memory(error, "a template", length + bytes + 1, NULL);
    memcpy(grown + length, text, bytes);
    grown[length + bytes] = '\0';
    last->text = grown;
    return true;
}

const char *template_parts_text(const struct template_parts *parts, int part)
{
    if (part < 0 || part >= parts->count || parts->part[part].kind != PART_TEXT)
        return "";
    return parts->part[part].text;
}

int template_parts_find(const struct template_parts *parts, enum template_part_kind kind)
{
    for (int i = 0; i < parts->count; i++)
        if (parts->part[i].kind == kind)
            return i;
    return -1;
}

/* ---- reading a text ----------------------------------------------------------------------------------- */

/* The placeholder at the beginning of `text`; PART_TEXT: none of them. */
static enum template_part_kind placeholder_at(const char *text)
{
    for (int kind = PART_TEXT + 1; kind < PART_KINDS; kind++)
        if (strncmp(text, placeholders[kind], strlen(placeholders[kind])) == 0)
            return (enum template_part_kind)kind;
    return PART_TEXT;
}

static bool refuse_brace(const char *key, const char *at, struct error *error)
{
    const char *end = strchr(at, '}');

    if (*at == '{' && end && end - at < 40)
        return error_set(
            error, ERROR_USAGE,
            "prompts.text.%s: %.*s is no placeholder; use {user}, {items} or {item}, or write {{ and }} "
            "for braces",
            key, (int)(end + 1 - at), at);
    return error_set(error, ERROR_USAGE, "prompts.text.%s: a single brace at '%.20s'; write %c%c for a brace",
                     key, at, *at, *at);
}

/* Appends the parts of `text`. `key` is that of the configuration, for messages. */
static bool parse(struct template_parts *parts, const char *key, const char *text, struct error *error)
{
    for (const char *at = text; *at != '\0';) {
        const enum template_part_kind kind = placeholder_at(at);
        const size_t plain = strcspn(at, "{}");
        bool fine;
        if (plain > 0) {
            fine = template_parts_add_text(parts, at, plain, error);
            at += plain;
        } else if (kind != PART_TEXT) {
            fine = add_part(parts, kind, error) != NULL;
            at += strlen(placeholders[kind]);
        } else if (at[1] == at[0]) {
            fine = template_parts_add_text(parts, at, 1, error);
            at += 2;
        } else {
            return refuse_brace(key, at, error);
        }
        if (!fine)
            return false;
    }
    return true;
}

static int count_kind(const struct template_parts *parts, enum template_part_kind kind)
{
    int count = 0;

    for (int i = 0; i < parts->count; i++)
        count += parts->part[i].kind == kind;
    return count;
}

/* Each of the kinds allowed, and the one wanted exactly once. */
static bool check_parts(const struct template_parts *parts, const char *key, enum template_part_kind wanted,
                        bool user, struct error *error)
{
    for (int kind = PART_TEXT + 1; kind < PART_KINDS; kind++)
        if (kind != (int)wanted && !(user && kind == PART_USER) &&
            count_kind(parts, (enum template_part_kind)kind) > 0)
            return error_set(error, ERROR_USAGE, "prompts.text.%s: %s has no meaning here; write %s there",
                             key, placeholders[kind], placeholders[wanted]);
    if (count_kind(parts, wanted) != 1)
        return error_set(error, ERROR_USAGE, "prompts.text.%s: %s must stand in it once and does %d times",
                         key, placeholders[wanted], count_kind(parts, wanted));
    return true;
}

/* ---- chat formats ------------------------------------------------------------------------------------- */

/* As the chat templates of the models' own tokenizers write one question and its answer. */
static const struct {
    const char *name, *before, *after, *answer;
} chats[CHAT_FORMATS] = {
    [CHAT_NONE] = {"none", "", "", ""},
    [CHAT_LLAMA2] = {"llama2", "[INST] ", " [/INST]", " "},
    [CHAT_LLAMA3] = {"llama3", "<|start_header_id|>user<|end_header_id|>\n\n",
                     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", ""},
    [CHAT_CHATML] = {"chatml", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", ""},
    [CHAT_MISTRAL] = {"mistral", "[INST] ", "[/INST]", " "},
};

const char *chat_format_name(enum chat_format format)
{
    return chats[format].name;
}

bool chat_format_find(enum chat_format *format, const char *name)
{
    for (int chat = 0; chat < CHAT_FORMATS; chat++)
        if (strcmp(name, chats[chat].name) == 0) {
            *format = (enum chat_format)chat;
            return true;
        }
    return false;
}

/* ---- a template --------------------------------------------------------------------------------------- */

static bool add_string(struct template_parts *parts, const char *text, struct error *error)
{
    return template_parts_add_text(parts, text, strlen(text), error);
}

static bool open_item(struct template_source *source, const struct prompt_template *template,
                      struct error *error)
{
    struct template_parts item = {.count = 0};
    const bool fine =
        parse(&item, "item", template->item, error) && check_parts(&item, "item", PART_ITEM, false, error);

    if (fine) {
        const int place = template_parts_find(&item, PART_ITEM);
        source->item_before = path_format("%s", template_parts_text(&item, place - 1));
        source->item_after = path_format("%s", template_parts_text(&item, place + 1));
    }
    template_parts_free(&item);
    if (fine && *template->separator != '\0' &&
        (strstr(source->item_before, template->separator) || strstr(source->item_after, template->separator)))
        return error_set(error, ERROR_USAGE,
                         "prompts.text.item: '%s' holds the separator '%s'; change one of them",
                         template->item, template->separator);
    return fine;
}

/* Blanks at the end of the answer's fixed beginning move to its first item, and those of the context that it goes on from. */
static bool open_answer(struct template_source *source, const struct prompt_template *template,
                        struct error *error)
{
    struct template_parts answer = {.count = 0};
    bool fine = template->answer_apart || add_string(&answer, chats[template->chat].answer, error);

    fine = fine && parse(&answer, "answer", template->answer, error) &&
           check_parts(&answer, "answer", PART_ITEMS, false, error);
    if (fine) {
        const int place = template_parts_find(&answer, PART_ITEMS);
        source->lead = path_format("%s", template_parts_text(&answer, place - 1));
        source->answer_after = path_format("%s", template_parts_text(&answer, place + 1));
    }
    template_parts_free(&answer);
    if (!fine)
        return false;
    if (!source->apart && !add_string(&source->context, source->lead, error))
        return false;
    struct template_part *last = &source->context.part[source->context.count - 1];
    char *text = source->apart ? source->lead : last->kind == PART_TEXT ? last->text : source->lead;
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == ' ')
        length--;
    source->first_before = path_format("%s", text + length);
    text[length] = '\0';
    if (last->kind == PART_TEXT && *last->text == '\0') {
        free(last->text);
        source->context.count--;
    }
    return true;
}

bool template_source_open(struct template_source *source, const struct prompt_template *template,
                          struct error *error)
{
    *source = (struct template_source){.separator = template->separator, .apart = template->answer_apart};
    if (add_string(&source->context, chats[template->chat].before, error) &&
        parse(&source->context, "context", template->context, error) &&
        check_parts(&source->context, "context", PART_ITEMS, true, error) &&
        add_string(&source->context, chats[template->chat].after, error) &&
        open_answer(source, template, error) && open_item(source, template, error))
        return true;
    template_source_close(source);
    return false;
}

void template_source_close(struct template_source *source)
{
    template_parts_free(&source->context);
    free(source->item_before);
    free(source->item_after);
    free(source->lead);
    free(source->first_before);
    free(source->answer_after);
    *source = (struct template_source){.separator = NULL};
}

static bool copy_text(char **copy, const char *text, struct error *error)
{
    *copy = strdup(text ? text : "");
    return *copy || error_memory(error, "the template of an answer", strlen(text ? text : "") + 1, NULL);
}

bool template_answer_open(struct template_answer *answer, const struct prompt_template *template,
                          struct error *error)
{
    struct template_source source;

    *answer = (struct template_answer){.before = NULL};
    if (!template_source_open(&source, template, error))
        return false;
    const bool copied = copy_text(&answer->before, source.item_before, error) &&
                        copy_text(&answer->after, source.item_after, error) &&
                        copy_text(&answer->opening, source.lead, error) &&
                        copy_text(&answer->closing, source.answer_after, error);
    template_source_close(&source);
    if (!copied)
        template_answer_close(answer);
    return copied;
}

void template_answer_close(struct template_answer *answer)
{
    free(answer->before);
    free(answer->after);
    free(answer->opening);
    free(answer->closing);
    *answer = (struct template_answer){.before = NULL};
}
