#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "models/language/template.h"
#include "models/language/template_parts.h"

/* ---- prompts as text ---------------------------------------------------------------------------------- */

struct prompt_of_text {
    const struct template_source *source;
    const struct template_names *names;
    const int32_t *items;
    int64_t count, cut;
};

static void write_items(FILE *stream, const struct prompt_of_text *prompt, int64_t first, int64_t end,
                        bool begins)
{
    const struct template_source *source = prompt->source;

    for (int64_t i = first; i < end; i++)
        fprintf(stream, "%s%s%s%s", begins && i == first ? "" : source->separator, source->item_before,
                id_map_name(prompt->names->items, prompt->items[i]), source->item_after);
}

static void write_context(FILE *stream, const struct prompt_of_text *prompt, int32_t user)
{
    const struct template_parts *context = &prompt->source->context;

    for (int i = 0; i < context->count; i++) {
        if (context->part[i].kind == PART_USER)
            fputs(id_map_name(prompt->names->users, user), stream);
        else if (context->part[i].kind == PART_ITEMS)
            write_items(stream, prompt, 0, prompt->cut, true);
        else
            fputs(context->part[i].text, stream);
    }
}

/* An answer that goes on from a context which ends with its list goes on with the list. */
static void write_answer(FILE *stream, const struct prompt_of_text *prompt)
{
    const struct template_source *source = prompt->source;
    const bool parted = source->apart || *source->first_before != '\0' || prompt->cut == 0 ||
                        source->context.part[source->context.count - 1].kind != PART_ITEMS;

    if (source->apart)
        fputs(source->lead, stream);
    fputs(source->first_before, stream);
    write_items(stream, prompt, prompt->cut, prompt->count, parted);
    fputs(source->answer_after, stream);
}

static bool write_text(char **text, size_t *answer, const struct prompt_of_text *prompt, int32_t user,
                       struct error *error)
{
    size_t bytes = 0;
    FILE *stream = open_memstream(text, &bytes);

    if (!stream)
        return error_memory(error, "the text of a prompt", 1024, NULL);
    write_context(stream, prompt, user);
    fflush(stream);
    *answer = bytes;
    write_answer(stream, prompt);
    return fclose(stream) == 0 || error_memory(error, "the text of a prompt", bytes, NULL);
}

bool template_text(char **text, size_t *answer, const struct prompt_template *template,
                   const struct template_names *names, int32_t user, const int32_t *items, int64_t item_count,
                   int64_t cut, struct error *error)
{
    struct template_source source;

    *text = NULL;
    if (!template_source_open(&source, template, error))
        return false;
    const struct prompt_of_text prompt = {&source, names, items, item_count, cut};
    const bool written = write_text(text, answer, &prompt, user, error);
    template_source_close(&source);
    return written;
}

/* ---- agreement ---------------------------------------------------------------------------------------- */

/* Whether `tokens` begin with what the tokenizer puts before a text, go on as it encodes the prompt's text, and then end. */
static bool compare(bool *equal, const struct tokenizer *tokenizer, const struct prompt_settings *settings,
                    const struct prompt_of_text *prompt, int32_t user, const int32_t *tokens, int64_t length,
                    struct error *error)
{
    const struct encoding_options plain = {.special = false};
    const struct prompt_layout *layout = settings->layout;
    const int64_t before = layout->piece[0].count;
    struct token_list whole = {.count = 0};
    size_t answer = 0;
    char *text = NULL;
    bool fine = write_text(&text, &answer, prompt, user, error);
    const size_t first = fine && prompt->source->apart ? answer : fine ? strlen(text) : 0;

    fine = fine && tokenizer_encode(tokenizer, text, first, plain, &whole, error) &&
           (!prompt->source->apart ||
            tokenizer_encode(tokenizer, text + answer, strlen(text + answer), plain, &whole, error));
    *equal = fine && length == before + whole.count + 1 &&
             memcmp(tokens + before, whole.token, (size_t)whole.count * sizeof *tokens) == 0;
    token_list_free(&whole);
    free(text);
    return fine;
}

static bool compare_user(struct template_agreement *agreement, const struct template_source *source,
                         const struct tokenizer *tokenizer, const struct template_names *names,
                         const struct prompt_settings *settings, const struct csr *train,
                         const struct prompt_draw *draw, struct error *error)
{
    const int64_t items = csr_row_length(train, draw->user);
    int32_t *tokens = malloc((size_t)settings->length_maximum * sizeof *tokens);
    int32_t *order = malloc((size_t)items * sizeof *order);
    bool equal = false, fine = tokens && order;

    if (!fine)
        error_memory(error, "a prompt", (size_t)settings->length_maximum * sizeof *tokens, NULL);
    if (fine) {
        const struct prompt_sequence sequence =
            prompt_training(tokens, order, settings, draw, train->indices + train->starts[draw->user], items);
        const struct prompt_of_text prompt = {source, names, order, sequence.shown, sequence.cut};
        fine = compare(&equal, tokenizer, settings, &prompt, draw->user, tokens, sequence.length, error);
    }
    free(tokens);
    free(order);
    agreement->prompts += fine;
    agreement->equal += equal;
    return fine;
}

bool template_agreement(struct template_agreement *agreement, const struct prompt_template *template,
                        const struct tokenizer *tokenizer, const struct template_names *names,
                        const struct prompt_settings *settings, const struct csr *train, int64_t sample,
                        uint64_t seed, struct error *error)
{
    struct template_source source;
    int64_t users = 0, seen = 0;
    bool fine = true;

    *agreement = (struct template_agreement){.prompts = 0};
    if (names->item_codes || names->user_codes)
        return true;
    if (!template_source_open(&source, template, error))
        return false;
    for (int64_t user = 0; user < train->rows; user++)
        users += csr_row_length(train, user) > 0;
    for (int64_t user = 0; fine && user < train->rows; user++) {
        const struct prompt_draw draw = {.user = (int32_t)user, .seed = seed, .index = (uint64_t)user};
        if (csr_row_length(train, user) == 0)
            continue;
        /* Every users / sample-th of them. */
        if (users <= sample || (seen + 1) * sample / users > seen * sample / users)
            fine = compare_user(agreement, &source, tokenizer, names, settings, train, &draw, error);
        seen++;
    }
    template_source_close(&source);
    return fine;
}
