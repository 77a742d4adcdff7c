/* Which tokens stand for an item, of each kind, and where they lie in a vocabulary. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "models/language/indexing.h"
#include "models/language/prompt_layout.h"
#include "models/language/vocabulary.h"
#include "tests/support.h"

/* Items 0 to 3 and 4 to 7 are two blocks; nobody has 8. */
enum { USERS = 4, ITEMS = 9, FIRST = 1000 };
static int64_t starts[] = {0, 4, 7, 11, 14};
static int32_t indices[] = {0, 1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 5, 4, 7};
static const struct csr train = {USERS, ITEMS, starts, indices};

static struct indexing indexing_of(enum indexing_kind kind, int32_t first_token)
{
    struct error error = ERROR_INITIALIZER;
    struct indexing indexing;
    const struct indexing_settings settings = {
        kind, first_token, {.clusters = 3, .cluster_size = 4, .seed = 1, .threads = 1}};
    require(indexing_create(&indexing, &train, &settings, &error), &error);
    const struct token_rows *first = &indexing.tokens.first, *next = &indexing.tokens.next;
    assert_int_equal(first->count, ITEMS);
    assert_int_equal(next->count, ITEMS);
    assert_memory_equal(first->starts, next->starts, (ITEMS + 1) * sizeof(int64_t));
    assert_memory_equal(first->token, next->token, (size_t)first->starts[ITEMS] * sizeof(int32_t));
    return indexing;
}

static const int32_t *row(const struct indexing *indexing, int64_t item)
{
    return indexing->tokens.first.token + indexing->tokens.first.starts[item];
}

static void ids_are_those_of_the_vocabulary(void **state)
{
    (void)state;
    struct indexing indexing = indexing_of(INDEXING_IDS, CONTROL_TOKEN_COUNT);
    assert_int_equal(indexing.own_tokens, ITEMS);
    assert_int_equal(indexing.code_tokens, 0);
    for (int32_t item = 0; item < ITEMS; item++) {
        assert_int_equal(token_row_length(&indexing.tokens.first, item), 1);
        assert_int_equal(*row(&indexing, item), vocabulary_item_token(item));
    }
    indexing_free(&indexing);
}

static void ids_beside_a_tokenizer_begin_at_its_size(void **state)
{
    (void)state;
    struct indexing indexing = indexing_of(INDEXING_IDS, FIRST);
    for (int32_t item = 0; item < ITEMS; item++)
        assert_int_equal(*row(&indexing, item), FIRST + item);
    indexing_free(&indexing);
}

/* Three groups of 4, 4 and 1 items: numbers 0, 1, 2 of groups, then 3, 0, 1, ... of items modulo 4. */
static void codes_are_new_tokens(void **state)
{
    (void)state;
    static const int32_t expected[ITEMS][2] = {{0, 3}, {0, 0}, {0, 1}, {0, 2}, {1, 3},
                                               {1, 0}, {1, 1}, {1, 2}, {2, -1}};
    struct indexing indexing = indexing_of(INDEXING_COLLABORATIVE, FIRST);
    assert_int_equal(indexing.own_tokens, 0);
    assert_int_equal(indexing.code_tokens, 4);
    assert_int_equal(indexing.groups, 3);
    assert_int_equal(indexing.largest_group, 4);
    assert_int_equal(indexing.levels, 1);
    for (int64_t item = 0; item < ITEMS; item++) {
        assert_int_equal(token_row_length(&indexing.tokens.first, item), item == 8 ? 1 : 2);
        for (int64_t i = 0; i < (item == 8 ? 1 : 2); i++)
            assert_int_equal(row(&indexing, item)[i], FIRST + expected[item][i]);
    }
    indexing_free(&indexing);
}

static void codes_go_before_ids(void **state)
{
    (void)state;
    struct indexing indexing = indexing_of(INDEXING_COLLABORATIVE_IDS, FIRST);
    assert_int_equal(indexing.own_tokens, ITEMS);
    assert_int_equal(indexing.code_tokens, 3);
    for (int32_t item = 0; item < ITEMS; item++) {
        assert_int_equal(token_row_length(&indexing.tokens.first, item), 2);
        assert_int_equal(row(&indexing, item)[0], FIRST + ITEMS + item / 4);
        assert_int_equal(row(&indexing, item)[1], FIRST + item);
    }
    indexing_free(&indexing);
}

static void a_file_holds_all_of_it(void **state)
{
    (void)state;
    char path[] = "/tmp/idrec-indexing-XXXXXX";
    const int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    struct error error = ERROR_INITIALIZER;
    struct indexing made = indexing_of(INDEXING_COLLABORATIVE_IDS, FIRST), read;
    require(indexing_save(&made, path, &error), &error);
    require(indexing_load(&read, path, ITEMS, &error), &error);
    assert_int_equal(read.first_token, FIRST);
    assert_int_equal(read.own_tokens, made.own_tokens);
    assert_int_equal(read.code_tokens, made.code_tokens);
    assert_int_equal(read.groups, made.groups);
    assert_int_equal(read.largest_group, made.largest_group);
    assert_int_equal(read.levels, made.levels);
    assert_memory_equal(read.tokens.next.starts, made.tokens.next.starts, (ITEMS + 1) * sizeof(int64_t));
    assert_memory_equal(read.tokens.next.token, made.tokens.next.token, 2 * ITEMS * sizeof(int32_t));
    indexing_free(&read);
    assert_false(indexing_load(&read, path, ITEMS + 1, &error));
    assert_non_null(strstr(error.message, "not the indexing of 10 items"));
    /* A token that is none of the new ones. */
    made.tokens.first.token[3] = FIRST - 1;
    error = ERROR_INITIALIZER;
    require(indexing_save(&made, path, &error), &error);
    assert_false(indexing_load(&read, path, ITEMS, &error));
    assert_null(read.tokens.first.token);
    indexing_free(&made);
    unlink(path);
}

static void a_layout_takes_the_tokens(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct indexing indexing = indexing_of(INDEXING_COLLABORATIVE, CONTROL_TOKEN_COUNT);
    const struct vocabulary vocabulary = {.users = USERS, .user_tokens = true, .codes = indexing.code_tokens};
    struct prompt_layout layout;
    require(prompt_layout_of_codes(&layout, &vocabulary, &indexing.tokens.first, true, &error), &error);
    const struct token_rows *const forms[] = {&layout.items.first, &layout.items.next, &layout.answer.first,
                                              &layout.answer.next};
    for (int form = 0; form < 4; form++) {
        assert_int_equal(forms[form]->count, ITEMS);
        assert_memory_equal(forms[form]->starts, indexing.tokens.first.starts, (ITEMS + 1) * sizeof(int64_t));
        assert_memory_equal(forms[form]->token, indexing.tokens.first.token,
                            (2 * ITEMS - 1) * sizeof(int32_t));
    }
    assert_int_equal(layout.users.token[2], CONTROL_TOKEN_COUNT + 4 + 2);
    assert_false(prompt_layout_single(&layout));
    prompt_layout_free(&layout);
    indexing_free(&indexing);
}

static void names_in_text_are_not_made_here(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct indexing indexing;
    const struct indexing_settings settings = {.kind = INDEXING_TEXT};
    assert_false(indexing_create(&indexing, &train, &settings, &error));
    assert_null(indexing.tokens.first.token);
}

static void kinds_have_words(void **state)
{
    (void)state;
    assert_int_equal(indexing_kind_of("auto", false), INDEXING_IDS);
    assert_int_equal(indexing_kind_of("auto", true), INDEXING_TEXT);
    assert_int_equal(indexing_kind_of("ids", true), INDEXING_IDS);
    assert_int_equal(indexing_kind_of("text", true), INDEXING_TEXT);
    assert_int_equal(indexing_kind_of("collaborative", true), INDEXING_COLLABORATIVE);
    assert_int_equal(indexing_kind_of("collaborative_ids", false), INDEXING_COLLABORATIVE_IDS);
}

static void tokens_of_a_vocabulary_follow_one_another(void **state)
{
    (void)state;
    const struct vocabulary ids = {.items = ITEMS, .users = USERS, .user_tokens = true};
    const struct vocabulary both = {.items = ITEMS, .users = USERS, .user_tokens = true, .codes = 3};
    const struct vocabulary codes = {.users = USERS, .user_tokens = true, .codes = 4};
    assert_int_equal(vocabulary_user_token(&ids, 0), CONTROL_TOKEN_COUNT + ITEMS);
    assert_int_equal(vocabulary_user_token(&both, 1), CONTROL_TOKEN_COUNT + ITEMS + 3 + 1);
    assert_int_equal(vocabulary_user_token(&codes, 3), CONTROL_TOKEN_COUNT + 4 + 3);
    assert_int_equal(vocabulary_classes(&both), CONTROL_TOKEN_COUNT + ITEMS + 3);
    assert_int_equal(vocabulary_size(&both), CONTROL_TOKEN_COUNT + ITEMS + 3 + USERS);
    assert_int_equal(vocabulary_token_item(&both, vocabulary_item_token(ITEMS - 1)), ITEMS - 1);
    assert_int_equal(vocabulary_token_item(&both, vocabulary_item_token(ITEMS)), -1);
    assert_int_equal(vocabulary_token_item(&codes, vocabulary_item_token(0)), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_the_vocabulary),
        cmocka_unit_test(ids_beside_a_tokenizer_begin_at_its_size),
        cmocka_unit_test(codes_are_new_tokens),
        cmocka_unit_test(codes_go_before_ids),
        cmocka_unit_test(a_file_holds_all_of_it),
        cmocka_unit_test(a_layout_takes_the_tokens),
        cmocka_unit_test(names_in_text_are_not_made_here),
        cmocka_unit_test(kinds_have_words),
        cmocka_unit_test(tokens_of_a_vocabulary_follow_one_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
