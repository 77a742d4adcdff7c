/*
 * Tokens and decoded text against those of the `tokenizers` library (goldens/make_tokenizers.py), options, and files that
 * are refused.
 *
 *   test_tokenizer --encode FILE.json < texts > tokens      for goldens/compare_tokenizers.py
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/store.h"
#include "models/language/tokenizer.h"
#include "tests/support.h"

#define GOLDENS IDREC_SOURCE_DIR "/tests/goldens/"

static const char *const families[] = {"gpt2",    "llama3",           "qwen2",           "smollm",
                                       "llama2",  "metaspace_always", "metaspace_first", "metaspace_never",
                                       "unknown", "unknown_fused"};
enum { FAMILIES = sizeof families / sizeof *families };

static struct tokenizer *load(const char *family)
{
    struct error error = ERROR_INITIALIZER;
    struct tokenizer *tokenizer;
    char path[512];
    snprintf(path, sizeof path, GOLDENS "tokenizer_%s.json", family);
    require(tokenizer_load(&tokenizer, path, &error), &error);
    return tokenizer;
}

static struct token_list encode(const struct tokenizer *tokenizer, const char *text, size_t bytes,
                                struct encoding_options options)
{
    struct error error = ERROR_INITIALIZER;
    struct token_list list = {0};
    require(tokenizer_encode(tokenizer, text, bytes, options, &list, &error), &error);
    return list;
}

static void assert_tokens(const struct tokenizer *tokenizer, const char *text,
                          struct encoding_options options, const char *const *expected)
{
    struct token_list list = encode(tokenizer, text, strlen(text), options);
    int64_t count = 0;
    for (; expected[count]; count++) {
        assert_true(count < list.count);
        assert_string_equal(tokenizer_token(tokenizer, list.token[count]), expected[count]);
    }
    assert_int_equal(list.count, count);
    token_list_free(&list);
}

/* ---- goldens ------------------------------------------------------------------------------------------ */

/* Strings of bytes or tokens, one behind the other, and where each ends. */
struct golden_list {
    int32_t *value;
    int64_t *end;
    int64_t count;
};

static struct golden_list read_list(struct store *store, const char *group, const char *values,
                                    const char *ends)
{
    struct error error = ERROR_INITIALIZER;
    struct golden_list list;
    char name[64];
    int64_t rows, columns = 0;
    snprintf(name, sizeof name, "%s/%s", group, values);
    require(store_read(store, name, DTYPE_I32, &rows, &columns, (void **)&list.value, &error), &error);
    snprintf(name, sizeof name, "%s/%s", group, ends);
    columns = 0;
    require(store_read(store, name, DTYPE_I64, &list.count, &columns, (void **)&list.end, &error), &error);
    assert_int_equal(list.end[list.count - 1], rows);
    return list;
}

static const int32_t *golden_at(const struct golden_list *list, int64_t index, int64_t *length)
{
    const int64_t start = index > 0 ? list->end[index - 1] : 0;
    *length = list->end[index] - start;
    return list->value + start;
}

static char *golden_text(const struct golden_list *list, int64_t index, int64_t *length)
{
    const int32_t *const bytes = golden_at(list, index, length);
    char *text = malloc((size_t)*length + 1);
    assert_non_null(text);
    for (int64_t place = 0; place < *length; place++)
        text[place] = (char)bytes[place];
    text[*length] = '\0';
    return text;
}

static void golden_free(struct golden_list *list)
{
    free(list->value);
    free(list->end);
}

struct goldens {
    struct store *store;
    struct golden_list texts;
};

static int open_goldens(void **state)
{
    static struct goldens goldens;
    struct error error = ERROR_INITIALIZER;
    require(store_open(&goldens.store, GOLDENS "tokenizers.h5", &error), &error);
    goldens.texts = read_list(goldens.store, "texts", "bytes", "end");
    *state = &goldens;
    return 0;
}

static int close_goldens(void **state)
{
    struct goldens *const goldens = *state;
    golden_free(&goldens->texts);
    store_close(goldens->store);
    return 0;
}

static void check_tokens(const char *family, const struct token_list *list, const int32_t *expected,
                         int64_t count, const char *text)
{
    for (int64_t place = 0; place < count || place < list->count; place++)
        if (place >= count || place >= list->count || list->token[place] != expected[place])
            fail_msg("%s, '%s': token %lld of %lld is %d, not %d of %lld", family, text, (long long)place,
                     (long long)list->count, place < list->count ? list->token[place] : -1,
                     place < count ? expected[place] : -1, (long long)count);
}

static void check_decoded(const struct tokenizer *tokenizer, const char *family,
                          const struct token_list *list, const char *expected, int64_t length)
{
    struct error error = ERROR_INITIALIZER;
    char *text;
    size_t bytes;
    require(tokenizer_decode(tokenizer, list->token, list->count, true, &text, &bytes, &error), &error);
    if ((int64_t)bytes != length || memcmp(text, expected, bytes) != 0)
        fail_msg("%s: decoded is '%s' (%zu bytes), not '%s' (%lld)", family, text, bytes, expected,
                 (long long)length);
    assert_int_equal(text[bytes], '\0');
    free(text);
}

/* What the library made of the texts in one family. */
struct golden_family {
    const char *name;
    struct tokenizer *tokenizer;
    struct golden_list tokens, decoded;
    int32_t *same; /* [texts] it decodes to the text itself */
};

static void check_text(const struct goldens *goldens, const struct golden_family *family, int64_t index)
{
    int64_t length, count, decoded_length;
    char *text = golden_text(&goldens->texts, index, &length);
    char *decoded = golden_text(&family->decoded, index, &decoded_length);
    const int32_t *const expected = golden_at(&family->tokens, index, &count);
    struct token_list list =
        encode(family->tokenizer, text, (size_t)length, (struct encoding_options){.special = true});
    check_tokens(family->name, &list, expected, count, text);
    if (family->same[index])
        check_decoded(family->tokenizer, family->name, &list, text, length);
    else
        check_decoded(family->tokenizer, family->name, &list, decoded, decoded_length);
    token_list_free(&list);
    free(text);
    free(decoded);
}

static void tokens_and_texts_are_those_of_the_library(void **state)
{
    const struct goldens *const goldens = *state;
    struct error error = ERROR_INITIALIZER;
    for (int index = 0; index < FAMILIES; index++) {
        const char *const name = families[index];
        struct golden_family family = {.name = name,
                                       .tokenizer = load(name),
                                       .tokens = read_list(goldens->store, name, "tokens", "token_end"),
                                       .decoded = read_list(goldens->store, name, "decoded", "decoded_end")};
        char path[64];
        int64_t rows, columns = 0;
        snprintf(path, sizeof path, "%s/same", name);
        require(store_read(goldens->store, path, DTYPE_I32, &rows, &columns, (void **)&family.same, &error),
                &error);
        assert_true(rows >= 1000);
        assert_int_equal(rows, goldens->texts.count);
        assert_int_equal(rows, family.tokens.count);
        assert_int_equal(rows, family.decoded.count);
        for (int64_t text = 0; text < rows; text++)
            check_text(goldens, &family, text);
        golden_free(&family.tokens);
        golden_free(&family.decoded);
        free(family.same);
        tokenizer_free(family.tokenizer);
    }
}

/* ---- a small file ------------------------------------------------------------------------------------- */

#define SMALL                                                                                                \
    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[{\"id\":5,\"content\":\"<"  \
    "s>\","                                                                                                  \
    "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}],"       \
    "\"normalizer\":null,\"pre_tokenizer\":null,\"post_processor\":null,\"decoder\":null,"                   \
    "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4},"   \
    "\"merges\":[\"a b\",[\"ab\",\"c\"]]}}"

/* SMALL with one piece replaced. */
static char *changed(const char *from, const char *to)
{
    const char *const place = strstr(SMALL, from);
    assert_non_null(place);
    char *text = malloc(sizeof SMALL + strlen(to));
    assert_non_null(text);
    sprintf(text, "%.*s%s%s", (int)(place - SMALL), SMALL, to, place + strlen(from));
    return text;
}

/* ---- by hand ------------------------------------------------------------------------------------------ */

static void byte_level_texts_come_back_whole(void **state)
{
    static const char *const lossless[] = {"gpt2", "llama3", "smollm"};
    const struct goldens *const goldens = *state;
    struct error error = ERROR_INITIALIZER;
    for (size_t family = 0; family < sizeof lossless / sizeof *lossless; family++) {
        struct tokenizer *tokenizer = load(lossless[family]);
        for (int64_t index = 0; index < goldens->texts.count; index++) {
            int64_t length;
            size_t bytes;
            char *text = golden_text(&goldens->texts, index, &length), *back;
            struct token_list list = encode(tokenizer, text, (size_t)length, (struct encoding_options){0});
            require(tokenizer_decode(tokenizer, list.token, list.count, false, &back, &bytes, &error),
                    &error);
            assert_int_equal(bytes, length);
            assert_memory_equal(back, text, bytes);
            token_list_free(&list);
            free(text);
            free(back);
        }
        tokenizer_free(tokenizer);
    }
}

static void tokens_have_names(void **state)
{
    (void)state;
    struct tokenizer *tokenizer = load("llama3");
    const int32_t begin = tokenizer_find(tokenizer, "<|begin_of_text|>");
    assert_int_equal(tokenizer_size(tokenizer), 607);
    assert_int_equal(begin, 600);
    assert_string_equal(tokenizer_token(tokenizer, begin), "<|begin_of_text|>");
    assert_string_equal(tokenizer_token(tokenizer, tokenizer_find(tokenizer, "\xC4\xA0the")), "\xC4\xA0the");
    assert_int_equal(tokenizer_find(tokenizer, "no such token"), -1);
    assert_null(tokenizer_token(tokenizer, -1));
    assert_null(tokenizer_token(tokenizer, 607));
    tokenizer_free(tokenizer);
}

#define BLANK "\xE2\x96\x81" /* U+2581 */

static void continued_text_has_nothing_before_it(void **state)
{
    (void)state;
    static const char *const prepending[] = {"llama2", "metaspace_always", "metaspace_first"};
    const struct encoding_options continues = {.continues = true}, special = {.special = true};
    for (size_t family = 0; family < sizeof prepending / sizeof *prepending; family++) {
        struct tokenizer *tokenizer = load(prepending[family]);
        assert_tokens(tokenizer, "the", (struct encoding_options){0},
                      (const char *const[]){BLANK "the", NULL});
        assert_tokens(tokenizer, "the", special, (const char *const[]){"<s>", BLANK "the", NULL});
        assert_tokens(tokenizer, "7 the", continues, (const char *const[]){"7", BLANK "the", NULL});
        assert_tokens(tokenizer, " the", continues, (const char *const[]){BLANK "the", NULL});
        tokenizer_free(tokenizer);
    }
    struct tokenizer *tokenizer = load("llama2");
    assert_tokens(tokenizer, "7</s>7", continues, (const char *const[]){"7", "</s>", BLANK, "7", NULL});
    tokenizer_free(tokenizer);
}

/* Only the part with which a text begins is the first, also of those that an earlier step has cut. */
static void metaspace_first_is_the_first_part(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct tokenizer *tokenizer;
    char *text = changed(
        "\"pre_tokenizer\":null",
        "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{"
        "\"String\":\"b\"},"
        "\"behavior\":\"Isolated\",\"invert\":false},"
        "{\"type\":\"Metaspace\",\"replacement\":\"c\",\"prepend_scheme\":\"first\",\"split\":false}]}");
    require(tokenizer_parse(&tokenizer, "small.json", text, strlen(text), &error), &error);
    assert_tokens(tokenizer, "aba<s>a", (struct encoding_options){0},
                  (const char *const[]){"c", "a", "b", "a", "<s>", "a", NULL});
    assert_tokens(tokenizer, "aba", (struct encoding_options){.continues = true},
                  (const char *const[]){"a", "b", "a", NULL});
    tokenizer_free(tokenizer);
    free(text);
}

/* Marks that are newer than the library's tables stay where they are: behind U+0301 U+1ABF holds U+0323 back. */
static void marks_are_ordered_as_in_the_library(void **state)
{
    (void)state;
    static const char late[] = "x\xCC\x81\xE1\xAA\xBF\xCC\xA3", expected[] = "x\xCC\x81\xE1\xAA\xBF\xCC\xA3";
    struct tokenizer *tokenizer = load("qwen2");
    struct token_list list = encode(tokenizer, late, sizeof late - 1, (struct encoding_options){0});
    check_decoded(tokenizer, "qwen2", &list, expected, sizeof expected - 1);
    token_list_free(&list);
    tokenizer_free(tokenizer);
}

static void unknown_ids_are_left_out(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct tokenizer *tokenizer = load("gpt2");
    const int32_t tokens[] = {-1, tokenizer_find(tokenizer, "a"), 1 << 30, INT32_MIN};
    /* The bytes E2 82 of U+20AC, cut off, and FF, which no text has. */
    const int32_t broken[] = {tokenizer_find(tokenizer, "\xC3\xA2"), tokenizer_find(tokenizer, "\xC4\xA4"),
                              tokenizer_find(tokenizer, "\xC3\xBF")};
    char *text;
    size_t bytes;
    require(tokenizer_decode(tokenizer, tokens, 4, false, &text, &bytes, &error), &error);
    assert_string_equal(text, "a");
    free(text);
    require(tokenizer_decode(tokenizer, broken, 3, false, &text, &bytes, &error), &error);
    assert_string_equal(text, "\xEF\xBF\xBD\xEF\xBF\xBD");
    free(text);
    require(tokenizer_decode(tokenizer, NULL, 0, false, &text, NULL, &error), &error);
    assert_string_equal(text, "");
    free(text);
    tokenizer_free(tokenizer);
}

static void text_that_is_no_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"abc\xFF", "abc\xC0\x80", "abc\xED\xA0\x80", "abc\xE2\x82",
                                      "abc\xF4\x90\x80\x80"};
    struct tokenizer *tokenizer = load("gpt2");
    for (size_t index = 0; index < sizeof bad / sizeof *bad; index++) {
        struct error error = ERROR_INITIALIZER;
        struct token_list list = {0};
        assert_false(tokenizer_encode(tokenizer, bad[index], strlen(bad[index]), (struct encoding_options){0},
                                      &list, &error));
        assert_non_null(strstr(error.message, "byte 3 of a text"));
        token_list_free(&list);
    }
    tokenizer_free(tokenizer);
}

/* ---- files that are refused --------------------------------------------------------------------------- */

static const struct {
    const char *from, *to, *reason;
} lacking[] = {
    {"\"BPE\"", "\"Unigram\"", "model: the model 'Unigram' is not supported"},
    {"\"dropout\":null", "\"dropout\":0.1", "model.dropout: is not supported"},
    {"\"dropout\":null", "\"surprise\":1", "model: the key 'surprise' is not known"},
    {"\"dropout\":null", "\"end_of_word_suffix\":\"</w>\"", "model.end_of_word_suffix: is not supported"},
    {"\"dropout\":null", "\"byte_fallback\":true", "byte_fallback without the token <0x00>"},
    {"\"dropout\":null", "\"unk_token\":\"?\"", "model.unk_token: '?' is not in the vocabulary"},
    {"\"version\":\"1.0\"", "\"version\":\"2.0\"", "version: is not \"1.0\""},
    {"\"version\":\"1.0\"", "\"extra\":1", "the key 'extra' is not known"},
    {"\"truncation\":null", "\"truncation\":{\"max_length\":5}", "truncation: is not supported"},
    {"\"padding\":null", "\"padding\":{}", "padding: is not supported"},
    {"\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}",
     "the normaliser 'Lowercase' is not supported"},
    {"\"normalizer\":null",
     "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"X\"}]}",
     "normalizer.normalizers[1]: the normaliser 'X'"},
    {"\"normalizer\":null",
     "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"\"}",
     "normalizer.pattern: an empty pattern"},
    {"\"pre_tokenizer\":null", "\"pre_tokenizer\":{\"type\":\"Whitespace\"}",
     "the pre-tokeniser 'Whitespace'"},
    {"\"pre_tokenizer\":null",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a\"},\"behavior\":\"Isolated\","
     "\"invert\":false}",
     "pre_tokenizer.pattern: no usable expression (missing closing parenthesis)"},
    {"\"pre_tokenizer\":null",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\bx\"},\"behavior\":\"Isolated\","
     "\"invert\":false}",
     "pre_tokenizer.pattern: the escape '\\b' in an expression"},
    {"\"pre_tokenizer\":null",
     "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x\"},\"behavior\":\"Sideways\","
     "\"invert\":false}",
     "the behavior 'Sideways'"},
    {"\"pre_tokenizer\":null",
     "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":"
     "\"Digits\"}]}",
     "pre_tokenizer.pretokenizers[1]: a step behind ByteLevel"},
    {"\"post_processor\":null", "\"post_processor\":{\"type\":\"BertProcessing\"}",
     "the post-processor 'BertProcessing'"},
    {"\"decoder\":null", "\"decoder\":{\"type\":\"CTC\"}", "the decoder 'CTC'"},
    {"\"content\":\"<s>\"", "\"content\":\"\"", "an added token is empty"},
    {"\"id\":5", "\"id\":7", "added_tokens: '<s>' has the id 7 where 5 comes next"},
    {"\"id\":5", "\"id\":4294967296", "added_tokens[0].id: is missing or no whole number"},
    {"\"c\":2", "\"c\":1", "have the same id 1"},
    {"\"c\":2", "\"c\":2147483648", "the id of 'c' is no whole number from 0"},
    {"\"c\":2", "\"c\":-1", "the id of 'c' is no whole number from 0"},
    {"\"c\":2", "\"c\":2.5", "the id of 'c' is no whole number from 0"},
    {"\"c\":2", "\"b\":2", "duplicate object key"},
    {"\"c\":2", "\"\\u0000\":2", "is no JSON"},
    {"\"c\":2", "\"d\":2", "model.merges[1]: 'ab' + 'c'"},
    {"\"a b\"", "\"a b c\"", "model.merges[0]: is no pair of tokens"},
    {"\"a b\"", "\"b a\"", "model.merges[0]: 'b' + 'a'"},
    {"\"a b\"", "[\"a\"]", "model.merges[0]: is no pair of tokens"},
};

static void what_is_lacking_is_refused_by_name(void **state)
{
    (void)state;
    for (size_t index = 0; index < sizeof lacking / sizeof *lacking; index++) {
        struct error error = ERROR_INITIALIZER;
        struct tokenizer *tokenizer;
        char *text = changed(lacking[index].from, lacking[index].to);
        if (tokenizer_parse(&tokenizer, "small.json", text, strlen(text), &error))
            fail_msg("taken: %s", text);
        if (!strstr(error.message, lacking[index].reason) || strncmp(error.message, "small.json:", 11) != 0)
            fail_msg("'%s' is not in '%s'", lacking[index].reason, error.message);
        assert_null(tokenizer);
        free(text);
    }
}

/* A list of lists, deeper than any tokenizer. */
static void deep_nesting_is_refused(void **state)
{
    (void)state;
    enum { DEPTH = 1500 };
    static const char begin[] = "{\"type\":\"Sequence\",\"decoders\":[";
    char *decoder = calloc(DEPTH, sizeof begin + 2);
    assert_non_null(decoder);
    char *end = stpcpy(decoder, "\"decoder\":");
    for (int depth = 0; depth < DEPTH / 2; depth++)
        end = stpcpy(end, begin);
    end = stpcpy(end, "{\"type\":\"Fuse\"}");
    for (int depth = 0; depth < DEPTH / 2; depth++)
        end = stpcpy(end, "]}");
    char *text = changed("\"decoder\":null", decoder);
    struct error error = ERROR_INITIALIZER;
    struct tokenizer *tokenizer;
    assert_false(tokenizer_parse(&tokenizer, "deep.json", text, strlen(text), &error));
    assert_non_null(strstr(error.message, "too deep within others"));
    free(text);
    free(decoder);
}

static void both_forms_of_merges_are_read(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct tokenizer *tokenizer;
    struct token_list list = {0};
    require(tokenizer_parse(&tokenizer, "small.json", SMALL, strlen(SMALL), &error), &error);
    assert_tokens(tokenizer, "abcab<s>ba", (struct encoding_options){0},
                  (const char *const[]){"abc", "ab", "<s>", "b", "a", NULL});
    /* Neither a token nor an unknown one for it. */
    assert_false(tokenizer_encode(tokenizer, "abx", 3, (struct encoding_options){0}, &list, &error));
    assert_non_null(strstr(error.message, "the character 'x' has no token"));
    token_list_free(&list);
    tokenizer_free(tokenizer);
}

/* ---- for compare_tokenizers.py ------------------------------------------------------------------------ */

static bool write_number(uint32_t number)
{
    return fwrite(&number, sizeof number, 1, stdout) == 1;
}

struct text_record {
    char *text;
    uint32_t length;
    struct token_list tokens;
};

static int64_t read_records(struct text_record **records)
{
    int64_t count = 0, capacity = 0;
    uint32_t length;
    while (fread(&length, sizeof length, 1, stdin) == 1) {
        if (count == capacity)
            *records = realloc(*records, (size_t)(capacity = 2 * capacity + 1024) * sizeof **records);
        (*records)[count] = (struct text_record){.text = malloc(length + 1), .length = length};
        if (fread((*records)[count].text, 1, length, stdin) != length)
            return -1;
        count++;
    }
    return count;
}

static bool write_record(const struct tokenizer *tokenizer, const struct text_record *record,
                         struct error *error)
{
    char *back;
    size_t bytes;
    if (!tokenizer_decode(tokenizer, record->tokens.token, record->tokens.count, true, &back, &bytes, error))
        return false;
    const size_t count = (size_t)record->tokens.count;
    const bool written = write_number((uint32_t)count) &&
                         fwrite(record->tokens.token, sizeof(int32_t), count, stdout) == count &&
                         write_number((uint32_t)bytes) && fwrite(back, 1, bytes, stdout) == bytes;
    free(back);
    return written || error_system(error, "stdout", "cannot write", NULL);
}

/* Texts, each behind its length (32 bits), become tokens, each list behind its count, and what they decode to behind its
 * length. The last line of stderr is the processor's seconds that encoding took. */
static int encode_texts(const char *path)
{
    struct error error = ERROR_INITIALIZER;
    struct tokenizer *tokenizer;
    struct text_record *records = NULL;
    const int64_t count = read_records(&records);
    bool done = count >= 0 && tokenizer_load(&tokenizer, path, &error);
    const clock_t start = clock();
    for (int64_t index = 0; done && index < count; index++)
        done = tokenizer_encode(tokenizer, records[index].text, records[index].length,
                                (struct encoding_options){.special = true}, &records[index].tokens, &error);
    fprintf(stderr, "%.6f\n", (double)(clock() - start) / CLOCKS_PER_SEC);
    for (int64_t index = 0; done && index < count; index++)
        done = write_record(tokenizer, &records[index], &error);
    error_print(&error, stderr);
    return done ? 0 : 1;
}

int main(int count, char **arguments)
{
    if (count == 3 && strcmp(arguments[1], "--encode") == 0)
        return encode_texts(arguments[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tokens_and_texts_are_those_of_the_library, open_goldens,
                                        close_goldens),
        cmocka_unit_test_setup_teardown(byte_level_texts_come_back_whole, open_goldens, close_goldens),
        cmocka_unit_test(tokens_have_names),
        cmocka_unit_test(continued_text_has_nothing_before_it),
        cmocka_unit_test(metaspace_first_is_the_first_part),
        cmocka_unit_test(marks_are_ordered_as_in_the_library),
        cmocka_unit_test(unknown_ids_are_left_out),
        cmocka_unit_test(text_that_is_no_utf8_is_refused),
        cmocka_unit_test(what_is_lacking_is_refused_by_name),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(both_forms_of_merges_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
