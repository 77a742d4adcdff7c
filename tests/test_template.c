/* Prompts of text: tokens as the `tokenizers` library makes them piece by piece, and what is refused. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "models/language/template.h"
#include "tests/prompt_templates.h"
#include "tests/support.h"

enum { LENGTH = 2048, ITEMS_MAXIMUM = 64 };

static struct id_map ids_of(const char *const *names, int64_t count)
{
    struct id_map ids = {.count = count};
    size_t bytes = 0;
    for (int64_t i = 0; i < count; i++)
        bytes += strlen(names[i]) + 1;
    ids.offsets = calloc((size_t)count + 1, sizeof *ids.offsets);
    ids.bytes = calloc(bytes + 1, 1);
    for (int64_t i = 0; i < count; i++) {
        strcpy(ids.bytes + ids.offsets[i], names[i]);
        ids.offsets[i + 1] = ids.offsets[i] + (int64_t)strlen(names[i]) + 1;
    }
    return ids;
}

static struct tokenizer *open_tokenizer(const char *name)
{
    struct error error = ERROR_INITIALIZER;
    struct tokenizer *tokenizer = NULL;
    char *path = path_format("%s/tests/goldens/tokenizer_%s.json", IDREC_SOURCE_DIR, name);
    require(tokenizer_load(&tokenizer, path, &error), &error);
    free(path);
    return tokenizer;
}

/* ---- goldens ------------------------------------------------------------------------------------------ */

static json_t *load_goldens(void)
{
    char *path = path_format("%s/tests/goldens/templates.json", IDREC_SOURCE_DIR);
    json_error_t where;
    json_t *goldens = json_load_file(path, 0, &where);
    if (!goldens)
        fail_msg("%s: %s", path, where.text);
    free(path);
    return goldens;
}

static int64_t integers_of(int32_t *values, const json_t *array)
{
    size_t i;
    json_t *value;
    json_array_foreach(array, i, value) values[i] = (int32_t)json_integer_value(value);
    return (int64_t)json_array_size(array);
}

static struct id_map names_of(const json_t *array)
{
    const char *names[ITEMS_MAXIMUM];
    size_t i;
    json_t *value;
    json_array_foreach(array, i, value) names[i] = json_string_value(value);
    return ids_of(names, (int64_t)json_array_size(array));
}

static void assert_tokens(const int32_t *tokens, int64_t length, const json_t *expected, const char *what)
{
    int32_t golden[LENGTH];
    const int64_t count = integers_of(golden, expected);
    for (int64_t i = 0; i < count && i < length; i++)
        if (tokens[i] != golden[i])
            fail_msg("%s: token %lld is %d, not %d", what, (long long)i, (int)tokens[i], (int)golden[i]);
    if (length != count)
        fail_msg("%s: %lld tokens, not %lld", what, (long long)length, (long long)count);
}

/* A template with its tokenizer and names. */
struct example {
    struct prompt_template template;
    char context[TEMPLATE_CONTEXT_SIZE];
    struct tokenizer *tokenizer;
    struct id_map users, items;
    struct template_names names;
    struct prompt_layout layout;
    struct prompt_settings settings;
};

static void open_example(struct example *example, const json_t *golden, const json_t *entry)
{
    struct error error = ERROR_INITIALIZER;
    *example =
        (struct example){.tokenizer = open_tokenizer(json_string_value(json_object_get(entry, "tokenizer"))),
                         .users = names_of(json_object_get(golden, "users")),
                         .items = names_of(json_object_get(golden, "items"))};
    example->template =
        test_template(json_string_value(json_object_get(entry, "template")), example->context);
    example->names = (struct template_names){.users = &example->users, .items = &example->items};
    assert_true(chat_format_find(&example->template.chat, json_string_value(json_object_get(entry, "chat"))));
    require(template_layout(&example->layout, &example->template, example->tokenizer, &example->names,
                            (int32_t)json_integer_value(json_object_get(entry, "end")), &error),
            &error);
    example->settings = (struct prompt_settings){.layout = &example->layout, .length_maximum = LENGTH};
}

static void close_example(struct example *example)
{
    prompt_layout_free(&example->layout);
    tokenizer_free(example->tokenizer);
    id_map_free(&example->users);
    id_map_free(&example->items);
}

static void check_text(const struct example *example, int32_t user, const int32_t *items, int64_t count,
                       int64_t cut, const char *expected)
{
    struct error error = ERROR_INITIALIZER;
    size_t answer;
    char *text;
    require(
        template_text(&text, &answer, &example->template, &example->names, user, items, count, cut, &error),
        &error);
    assert_string_equal(text, expected);
    assert_true(answer <= strlen(text));
    free(text);
}

static void check_prompt(const struct example *example, const json_t *prompt)
{
    const int32_t user = (int32_t)json_integer_value(json_object_get(prompt, "user"));
    int32_t items[ITEMS_MAXIMUM], order[ITEMS_MAXIMUM], tokens[LENGTH];
    const int64_t count = integers_of(items, json_object_get(prompt, "items"));
    const int64_t length = prompt_context(tokens, &example->settings, user, items, count, 1, 0);
    assert_tokens(tokens, length, json_object_get(prompt, "context"), "context");
    if (count == 0)
        return;
    const struct prompt_draw draw = {.user = user, .cut = PROMPT_CUT_FIRST};
    const struct prompt_sequence made =
        prompt_training(tokens, order, &example->settings, &draw, items, count);
    assert_tokens(tokens, made.length, json_object_get(prompt, "training"), "training");
    assert_int_equal(made.cut, count > 1 ? 1 : 0);
    assert_int_equal(tokens[made.end], example->layout.end);
    check_text(example, user, items, count, made.cut, json_string_value(json_object_get(prompt, "text")));
}

static void tokens_are_those_of_the_library(void **state)
{
    (void)state;
    json_t *goldens = load_goldens(), *entry, *prompt;
    size_t i, j;
    json_array_foreach(json_object_get(goldens, "cases"), i, entry)
    {
        struct example example;
        open_example(&example, goldens, entry);
        json_array_foreach(json_object_get(entry, "prompts"), j, prompt) check_prompt(&example, prompt);
        close_example(&example);
    }
    assert_true(i >= 10);
    json_decref(goldens);
}

/* In order of time a user of one item or two is cut in one way only, so that the library's own verdicts are known. */
static void agreement_is_that_of_the_library(void **state)
{
    (void)state;
    json_t *goldens = load_goldens(), *entry, *prompt;
    int64_t differing = 0;
    size_t i, j;
    json_array_foreach(json_object_get(goldens, "cases"), i, entry)
    {
        struct error error = ERROR_INITIALIZER;
        struct example example;
        struct template_agreement found;
        int64_t starts[ITEMS_MAXIMUM] = {0}, users = 0, equal = 0;
        int32_t items[ITEMS_MAXIMUM];
        open_example(&example, goldens, entry);
        json_array_foreach(json_object_get(entry, "prompts"), j, prompt)
        {
            const json_t *list = json_object_get(prompt, "items");
            const bool taken = json_array_size(list) == 1 || json_array_size(list) == 2;
            assert_int_equal(json_integer_value(json_object_get(prompt, "user")), j);
            starts[j + 1] = starts[j] + (taken ? integers_of(items + starts[j], list) : 0);
            users += taken;
            equal += taken && json_is_true(json_object_get(prompt, "whole"));
        }
        const struct csr train = {
            .rows = (int64_t)j, .columns = ITEMS_MAXIMUM, .starts = starts, .indices = items};
        require(template_agreement(&found, &example.template, example.tokenizer, &example.names,
                                   &example.settings, &train, 100, 1, &error),
                &error);
        assert_int_equal(found.prompts, users);
        assert_int_equal(found.equal, equal);
        differing += users - equal;
        require(template_agreement(&found, &example.template, example.tokenizer, &example.names,
                                   &example.settings, &train, 2, 1, &error),
                &error);
        assert_int_equal(found.prompts, 2);
        close_example(&example);
    }
    assert_true(differing > 0);
    json_decref(goldens);
}

/* ---- what is refused ---------------------------------------------------------------------------------- */

static const struct prompt_template plain = {
    .context = "user {user}: {items}. More:", .answer = " {items}", .item = "i{item}", .separator = ","};

static void assert_refused(const struct prompt_template *template, const char *const users[2],
                           const char *const items[2], int32_t end, const char *words)
{
    struct error error = ERROR_INITIALIZER;
    struct tokenizer *tokenizer = open_tokenizer("llama2");
    struct id_map user_ids = ids_of(users, 2), item_ids = ids_of(items, 2);
    const struct template_names names = {.users = &user_ids, .items = &item_ids};
    struct prompt_layout layout;
    const bool made = template_layout(&layout, template, tokenizer, &names, end, &error);
    if (made || !strstr(error.message, words))
        fail_msg("'%s' is not in '%s'", words, made ? "no error" : error.message);
    assert_int_equal(error.kind, ERROR_USAGE);
    assert_null(layout.token);
    tokenizer_free(tokenizer);
    id_map_free(&user_ids);
    id_map_free(&item_ids);
}

static void what_is_wrong_is_refused(void **state)
{
    (void)state;
    static const char *const names[2] = {"1", "12"};
    static const struct {
        const char *context, *answer, *item, *separator, *words;
    } wrong[] = {
        {"{users}: {items}", NULL, NULL, NULL, "{users} is no placeholder"},
        {"{user}: {", NULL, NULL, NULL, "single brace"},
        {"} {items}", NULL, NULL, NULL, "single brace"},
        {"user {user}:", NULL, NULL, NULL, "{items} must stand in it once and does 0 times"},
        {"{items} {items}", NULL, NULL, NULL, "does 2 times"},
        {"{items} {item}", NULL, NULL, NULL, "{item} has no meaning here"},
        {NULL, "nothing", NULL, NULL, "prompts.text.answer: {items} must"},
        {NULL, "{user} {items}", NULL, NULL, "prompts.text.answer: {user} has no meaning"},
        {NULL, NULL, "i", NULL, "prompts.text.item: {item} must"},
        {NULL, NULL, "i,{item}", NULL, "holds the separator"},
        {NULL, NULL, NULL, "", "prompts.text.separator is empty"},
        {NULL, NULL, NULL, "2", "item '12' holds '2'"},
        {"{items}", NULL, NULL, NULL, "fewer than two tokens"},
        {"{user} and {user}: {items}", NULL, NULL, NULL, "begins with {user}"},
        {NULL, "{items};", NULL, ";", "change prompts.text.answer"},
        {NULL, NULL, NULL, "12;", "first token of what separates"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct prompt_template template = plain;
        template.context = wrong[i].context ? wrong[i].context : plain.context;
        template.answer = wrong[i].answer ? wrong[i].answer : plain.answer;
        template.item = wrong[i].item ? wrong[i].item : plain.item;
        template.separator = wrong[i].separator ? wrong[i].separator : plain.separator;
        assert_refused(&template, names, names, 2, wrong[i].words);
    }
    struct prompt_template chat = plain;
    chat.chat = CHAT_CHATML;
    assert_refused(&plain, names, (const char *const[2]){"1", "a,b"}, 2, "item 'a,b' holds ','");
    assert_refused(&plain, names, (const char *const[2]){"1", ""}, 2, "item 1 has an empty name");
    assert_refused(&plain, (const char *const[2]){"", "1"}, names, 2, "user 0 has an empty name");
    assert_refused(&plain, names, (const char *const[2]){"1", "a</s>"}, 2, "holds the token that ends");
    assert_refused(&plain, names, names, -1, "prompts.text.chat");
    assert_refused(&chat, names, names, 2, "<|im_end|>, which is no token");
}

/* ---- what is fixed ------------------------------------------------------------------------------------ */

/* Tokens for items in place of their names, text around the answer, braces, and a list that goes on into the answer. */
static void codes_stand_for_names(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct tokenizer *tokenizer = open_tokenizer("llama2");
    struct id_map ids = ids_of((const char *const[2]){"a", "b"}, 2);
    int64_t starts[] = {0, 2, 3};
    int32_t codes[] = {700, 701, 702}, tokens[64], order[2];
    const struct token_rows rows = {.count = 2, .starts = starts, .token = codes};
    const struct template_names names = {.users = &ids, .items = &ids, .item_codes = &rows};
    const struct prompt_template template = {
        .context = "{{x}} {items}", .answer = "{items}", .item = "{item}", .separator = ""};
    struct prompt_layout layout;
    require(template_layout(&layout, &template, tokenizer, &names, 2, &error), &error);
    assert_true(layout.joined);
    assert_int_equal(layout.users.count, 0);
    const struct prompt_settings settings = {.layout = &layout, .length_maximum = 64};
    const struct prompt_draw draw = {.cut = PROMPT_CUT_FIRST};
    const struct prompt_sequence made =
        prompt_training(tokens, order, &settings, &draw, (const int32_t[]){1, 0}, 2);
    assert_int_equal(made.end, made.length - 1);
    assert_int_equal(made.answer, made.list);
    assert_memory_equal(tokens + made.list, ((const int32_t[]){702, 700, 701, 2}), 4 * sizeof *tokens);
    char *text;
    assert_int_equal(tokens[0], 1);
    require(tokenizer_decode(tokenizer, tokens + 1, made.list - 1, true, &text, NULL, &error), &error);
    assert_non_null(strstr(text, "{x}"));
    free(text);
    prompt_layout_free(&layout);
    tokenizer_free(tokenizer);
    id_map_free(&ids);
}

/* Text behind the answer's list ends the list, and then the answer ends. */
static void text_around_the_answer(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct tokenizer *tokenizer = open_tokenizer("llama3");
    struct id_map ids = ids_of((const char *const[2]){"1", "2"}, 2);
    const struct template_names names = {.users = &ids, .items = &ids};
    struct prompt_template template = plain;
    struct prompt_layout layout;
    int32_t tokens[64], order[2];
    char *text;
    template.answer = " Items: {items};\n";
    require(template_layout(&layout, &template, tokenizer, &names, 601, &error), &error);
    const struct prompt_settings settings = {.layout = &layout, .length_maximum = 64};
    const struct prompt_draw draw = {.user = 1, .cut = PROMPT_CUT_FIRST};
    const struct prompt_sequence made =
        prompt_training(tokens, order, &settings, &draw, (const int32_t[]){0, 1}, 2);
    assert_int_equal(tokens[made.length - 1], 601);
    assert_int_equal(tokens[made.end], layout.end);
    assert_true(made.end < made.length - 1);
    require(tokenizer_decode(tokenizer, tokens + 1, made.length - 2, false, &text, NULL, &error), &error);
    assert_string_equal(text, "user 2: i1. More: Items: i2;\n");
    free(text);
    require(tokenizer_decode(tokenizer, tokens + 1, made.answer, false, &text, NULL, &error), &error);
    assert_string_equal(text, "user 2: i1. More: Items:");
    free(text);
    prompt_layout_free(&layout);
    tokenizer_free(tokenizer);
    id_map_free(&ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_those_of_the_library), cmocka_unit_test(agreement_is_that_of_the_library),
        cmocka_unit_test(what_is_wrong_is_refused),        cmocka_unit_test(codes_stand_for_names),
        cmocka_unit_test(text_around_the_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
