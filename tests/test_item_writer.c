/* The tokens that may follow in a list of items, and answers read from what was written freely. */
#include <stdlib.h>
#include <string.h>

#include "models/language/answer_text.h"
#include "tests/item_models.h"
#include "tests/prompt_templates.h"

static bool holds(const int32_t *values, int64_t count, int32_t value)
{
    for (int64_t i = 0; i < count; i++)
        if (values[i] == value)
            return true;
    return false;
}

/* ---- lists written at random --------------------------------------------------------------------------- */

enum { CATALOGUE = 60, LIST = 12, SYMBOLS = 5, SEPARATOR = SYMBOLS, LIST_END = SYMBOLS + 1 };

/* Distinct random codes over few symbols, many of which go on from others. */
static struct item_tokens random_items(struct random_stream *stream, bool separated)
{
    struct item_tokens items = {.first = {.count = 0}};
    while (items.first.count < CATALOGUE) {
        int32_t token[8] = {SEPARATOR};
        const int64_t length = separated ? 1 + (int64_t)random_below(stream, 5) : 4;
        bool known = false;
        for (int64_t i = 1; i <= length; i++)
            token[i] = (int32_t)random_below(stream, SYMBOLS);
        for (int64_t row = 0; row < items.first.count; row++)
            known = known ||
                    (token_row_length(&items.first, row) == length &&
                     memcmp(items.first.token + items.first.starts[row], token + 1, (size_t)length * 4) == 0);
        if (known)
            continue;
        add_row(&items.first, token + 1, length);
        add_row(&items.next, separated ? token : token + 1, separated ? length + 1 : length);
    }
    return items;
}

/* The rows of the items one after another must be the tokens. */
static void check_written(const struct item_tokens *items, bool joined, const int32_t *item, int64_t count,
                          const int32_t *token, int64_t length)
{
    int64_t place = 0;
    for (int64_t i = 0; i < count; i++) {
        const struct token_rows *rows = i == 0 && !joined ? &items->first : &items->next;
        const int64_t row = token_row_length(rows, item[i]);
        assert_true(place + row <= length);
        assert_memory_equal(token + place, rows->token + rows->starts[item[i]], (size_t)row * 4);
        place += row;
        for (int64_t j = 0; j < i; j++)
            assert_int_not_equal(item[i], item[j]);
    }
    assert_int_equal(place, length);
}

/* Every token that is allowed leads on, until a list has ended or holds all that is left. */
static void write_list(struct random_stream *stream, const struct item_writer *writer,
                       const struct item_tokens *items, bool joined, const int32_t *had, int64_t had_count)
{
    struct error error = ERROR_INITIALIZER;
    struct written_list list = {.node = 0};
    int32_t *allowed = malloc((size_t)writer->allowed_maximum * sizeof *allowed);
    int32_t token[LIST * 8], item[LIST + 1];
    int64_t length = 0, count = 0, complete = 0;
    require(written_list_begin(&list, writer, joined, had, had_count, &error), &error);
    while (count < LIST) {
        int64_t continuing;
        struct written_step step;
        const int64_t tokens = item_writer_allowed(writer, &list, allowed, &continuing);
        assert_true(tokens <= writer->allowed_maximum);
        if (tokens == 0) {
            assert_int_equal(count, CATALOGUE - had_count);
            break;
        }
        const int32_t chosen = allowed[random_below(stream, (uint32_t)tokens)];
        require(item_writer_take(&step, writer, &list, chosen, &error), &error);
        if (step.before >= 0) {
            item[count++] = step.before;
            complete = length;
        }
        if (step.ends) {
            assert_int_equal(chosen, LIST_END);
            break;
        }
        token[length++] = chosen;
        if (step.with >= 0) {
            assert_true(count <= LIST);
            item[count++] = step.with;
            complete = length;
        }
    }
    for (int64_t i = 0; i < count; i++)
        assert_false(holds(had, had_count, item[i]));
    check_written(items, joined, item, count, token, complete);
    written_list_free(&list);
    free(allowed);
}

static void written_lists_hold_items_that_are_left(void **state)
{
    struct error error = ERROR_INITIALIZER;
    struct random_stream stream = random_stream_open(1, RANDOM_TEST, 0, 0);
    (void)state;
    for (int trial = 0; trial < 40; trial++) {
        const bool separated = trial % 2 == 0;
        struct item_tokens items = random_items(&stream, separated);
        struct item_writer writer;
        int32_t order[CATALOGUE];
        require(item_writer_create(&writer, &items, trial % 4 < 2 ? LIST_END : -1, &error), &error);
        for (int32_t i = 0; i < CATALOGUE; i++)
            order[i] = i;
        for (int round = 0; round < 200; round++) {
            random_shuffle(&stream, order, CATALOGUE);
            write_list(&stream, &writer, &items, round % 3 == 0, order,
                       round % 5 == 0 ? CATALOGUE - 3 : (int64_t)random_below(&stream, CATALOGUE - LIST));
        }
        item_writer_free(&writer);
        item_tokens_free(&items);
    }
}

/* ---- what is refused ----------------------------------------------------------------------------------- */

static void refuse(const int32_t (*rows)[4], int64_t count, const char *complaint)
{
    struct error error = ERROR_INITIALIZER;
    struct item_tokens items = {.first = {.count = 0}};
    struct item_writer writer;
    for (int64_t row = 0; row < count; row++) {
        int64_t length = 0;
        while (rows[row][length] >= 0)
            length++;
        add_row(&items.first, rows[row], length);
        add_row(&items.next, rows[row], length);
    }
    assert_false(item_writer_create(&writer, &items, 9, &error));
    assert_non_null(strstr(error.message, complaint));
    item_tokens_free(&items);
}

static void ambiguous_items_are_refused(void **state)
{
    (void)state;
    refuse((const int32_t[][4]){{5, -1}, {5, 6, -1}, {6, -1}}, 3, "item 1 goes on from item 0 with token 6");
    refuse((const int32_t[][4]){{5, -1}, {7, 9, -1}}, 2, "item 1 is written with token 9, which ends a list");
}

/* ---- answers ------------------------------------------------------------------------------------------- */

/* Tokens of one letter. */
static bool decode_letters(const void *decoder, const int32_t *tokens, int64_t count, char **text,
                           struct error *error)
{
    const char *alphabet = decoder;
    (void)error;
    *text = malloc((size_t)count + 1);
    for (int64_t i = 0; i < count; i++)
        (*text)[i] = alphabet[tokens[i]];
    (*text)[count] = '\0';
    return true;
}

static const char letters[] = "0123456789i, .#x\n";

static struct answer read_text(const struct answer_format *format, const char *text, bool cut, int64_t most)
{
    struct error error = ERROR_INITIALIZER;
    struct answer_parser *parser;
    struct answer answer = {.count = 0};
    int32_t token[64];
    float log_probability[64];
    const int64_t count = (int64_t)strlen(text);
    for (int64_t i = 0; i < count; i++) {
        token[i] = (int32_t)(strchr(letters, text[i]) - letters);
        log_probability[i] = -1.0f;
    }
    require(answer_parser_create(&parser, NULL, format, &error), &error);
    require(answer_parse(&answer, parser, token, log_probability, count, false, cut, most, &error), &error);
    answer_parser_free(parser);
    return answer;
}

static void check_answer(const struct answer_format *format, const char *text, bool cut, const int32_t *items,
                         int64_t count, int64_t malformed, int64_t unknown, int64_t incomplete)
{
    struct answer answer = read_text(format, text, cut, 100);
    assert_int_equal(answer.count, count);
    for (int64_t i = 0; i < count; i++)
        assert_int_equal(answer.item[i].item, items[i]);
    for (int64_t i = 0; i < count; i++)
        assert_int_equal(answer.item[i].cut, incomplete == 1 && i == count - 1);
    assert_int_equal(answer.malformed, malformed);
    assert_int_equal(answer.unknown, unknown);
    assert_int_equal(answer.incomplete, incomplete);
    answer_free(&answer);
}

static void texts_are_read(void **state)
{
    char bytes[] = "0\0"
                   "1\0"
                   "12\0"
                   "123\0"
                   "7";
    int64_t offsets[] = {0, 2, 4, 7, 11, 13};
    const struct id_map names = {5, offsets, bytes};
    const struct answer_format format = {NULL, NULL, "i", "", ",", &names, decode_letters, letters};
    const struct answer_format bare = {NULL, NULL, "i", "", "", &names, decode_letters, letters};
    const struct answer_format marked = {NULL, NULL, "xi#", "", "", &names, decode_letters, letters};
    const struct answer_format fenced = {"x ", ".", "#", "#", ", ", &names, decode_letters, letters};
    (void)state;
    check_answer(&format, "i12,i1,i123", false, (const int32_t[]){2, 1, 3}, 3, 0, 0, 0);
    check_answer(&format, "i12,i1,i123", true, (const int32_t[]){2, 1, 3}, 3, 0, 0, 1);
    check_answer(&format, "i12,i1,", true, (const int32_t[]){2, 1}, 2, 0, 0, 0);
    check_answer(&format, " i12 ,\ni1\n", false, (const int32_t[]){2, 1}, 2, 0, 0, 0);
    check_answer(&format, "12,i99,i,,i7.", false, NULL, 0, 3, 2, 0);
    check_answer(&format, "i7,i7", false, (const int32_t[]){4, 4}, 2, 0, 0, 0);
    check_answer(&format, "i01,xi1", false, NULL, 0, 1, 1, 0);
    check_answer(&bare, "i12i1i9", false, (const int32_t[]){2, 1}, 2, 0, 1, 0);
    check_answer(&marked, "xi#12xi#1", false, (const int32_t[]){2, 1}, 2, 0, 0, 0);
    check_answer(&marked, "x", false, NULL, 0, 1, 0, 0);
    check_answer(&fenced, "#12#, #1#, #1", false, (const int32_t[]){2, 1}, 2, 1, 0, 0);
    check_answer(&fenced, " x #12#, #1#.", false, (const int32_t[]){2, 1}, 2, 0, 0, 0);
    check_answer(&format, "", true, NULL, 0, 0, 0, 0);
    struct answer answer = read_text(&format, "i12,i1,i123", false, 2);
    assert_int_equal(answer.count, 2);
    assert_true(answer.item[0].log_probability == -3.0); /* "i12" */
    assert_true(answer.item[1].log_probability == -3.0); /* ",i1" */
    answer_free(&answer);
}

static void check_tokens(const struct item_writer *writer, const char *text, bool cut, const int32_t *items,
                         int64_t count, int64_t malformed, int64_t incomplete)
{
    struct error error = ERROR_INITIALIZER;
    struct answer_parser *parser;
    struct answer answer = {.count = 0};
    int32_t token[64];
    float log_probability[64] = {0};
    const int64_t length = (int64_t)strlen(text);
    for (int64_t i = 0; i < length; i++)
        token[i] = text[i] == 'i'   ? LETTER
                   : text[i] == ',' ? COMMA
                   : text[i] == 'x' ? 20
                                    : DIGIT + text[i] - '0';
    require(answer_parser_create(&parser, writer, NULL, &error), &error);
    require(answer_parse(&answer, parser, token, log_probability, length, false, cut, 100, &error), &error);
    assert_int_equal(answer.count, count);
    for (int64_t i = 0; i < count; i++)
        assert_int_equal(answer.item[i].item, items[i]);
    for (int64_t i = 0; i < count; i++)
        assert_int_equal(answer.item[i].cut, incomplete == 1 && i == count - 1);
    assert_int_equal(answer.malformed, malformed);
    assert_int_equal(answer.incomplete, incomplete);
    answer_free(&answer);
    answer_parser_free(parser);
}

static void tokens_are_read(void **state)
{
    struct error error = ERROR_INITIALIZER;
    struct item_tokens items = numbered_items(30);
    struct item_writer writer;
    (void)state;
    require(item_writer_create(&writer, &items, ENDS, &error), &error);
    check_tokens(&writer, "i12,i1,i29", false, (const int32_t[]){12, 1, 29}, 3, 0, 0);
    check_tokens(&writer, "i12,i1,i2", true, (const int32_t[]){12, 1, 2}, 3, 0, 1);
    check_tokens(&writer, "i12xx,i1,i,i3", false, (const int32_t[]){12, 1, 3}, 3, 2, 0);
    check_tokens(&writer, "x5", false, NULL, 0, 1, 0);
    check_tokens(&writer, "", true, NULL, 0, 0, 0);
    item_writer_free(&writer);
    item_tokens_free(&items);
}

static void unreadable_formats_are_refused(void **state)
{
    struct error error = ERROR_INITIALIZER;
    const struct id_map names = {.count = 0};
    const struct answer_format format = {NULL, NULL, "", "", "", &names, decode_letters, letters};
    struct answer_parser *parser;
    (void)state;
    assert_false(answer_parser_create(&parser, NULL, &format, &error));
    assert_non_null(strstr(error.message, "separator"));
}

/* The published template's answers, by tokenizers that write a blank before a text or not. */
static void answers_of_a_template_are_read(void **state)
{
    static const char *const files[] = {"tokenizer_llama2.json", "tokenizer_llama3.json"};
    char bytes[] = "0\0"
                   "1\0"
                   "12";
    int64_t offsets[] = {0, 2, 4, 7};
    const struct id_map names = {3, offsets, bytes};
    const char *answer_text = "i12,i1,x9,i7,i0";
    char context[TEMPLATE_CONTEXT_SIZE];
    const struct prompt_template template = test_template("published", context);
    (void)state;
    for (size_t file = 0; file < sizeof files / sizeof *files; file++) {
        struct error error = ERROR_INITIALIZER;
        struct tokenizer *tokenizer;
        struct token_list tokens = {.count = 0};
        struct answer_text text;
        struct answer_parser *parser;
        struct answer answer = {.count = 0};
        char path[512];
        snprintf(path, sizeof path, "%s/tests/goldens/%s", IDREC_SOURCE_DIR, files[file]);
        require(tokenizer_load(&tokenizer, path, &error), &error);
        require(answer_text_open(&text, &template, tokenizer, &names, &error), &error);
        require(answer_parser_create(&parser, NULL, &text.format, &error), &error);
        require(tokenizer_encode(tokenizer, answer_text, strlen(answer_text),
                                 (struct encoding_options){.special = false}, &tokens, &error),
                &error);
        float *log_probability = malloc((size_t)tokens.count * sizeof *log_probability);
        for (int64_t i = 0; i < tokens.count; i++)
            log_probability[i] = -1.0f;
        require(answer_parse(&answer, parser, tokens.token, log_probability, tokens.count, false, true, 10,
                             &error),
                &error);
        assert_int_equal(answer.count, 3);
        assert_int_equal(answer.item[0].item, 2);
        assert_int_equal(answer.item[1].item, 1);
        assert_int_equal(answer.item[2].item, 0);
        assert_false(answer.item[1].cut);
        assert_true(answer.item[2].cut);
        assert_int_equal(answer.malformed, 1);
        assert_int_equal(answer.unknown, 1);
        assert_int_equal(answer.incomplete, 1);
        assert_true(answer.item[0].log_probability + answer.item[1].log_probability > -(double)tokens.count);
        free(log_probability);
        answer_free(&answer);
        answer_parser_free(parser);
        answer_text_close(&text);
        token_list_free(&tokens);
        tokenizer_free(tokenizer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_lists_hold_items_that_are_left),
        cmocka_unit_test(ambiguous_items_are_refused),
        cmocka_unit_test(texts_are_read),
        cmocka_unit_test(tokens_are_read),
        cmocka_unit_test(answers_of_a_template_are_read),
        cmocka_unit_test(unreadable_formats_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
