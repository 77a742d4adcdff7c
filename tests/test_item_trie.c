/* The trie of items against brute force: nodes, children, ranges and what is left of a node; what is refused; its
 * speed. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/random.h"
#include "models/language/item_trie.h"
#include "tests/support.h"

enum { ITEMS_MAXIMUM = 60, LENGTH_MAXIMUM = 5 };

static struct token_rows allocate_rows(int64_t count, int64_t tokens)
{
    struct token_rows rows = {count, malloc((size_t)(count + 1) * sizeof(int64_t)),
                              malloc((size_t)tokens * sizeof(int32_t) + 1)};
    assert_true(rows.starts && rows.token);
    rows.starts[0] = 0;
    return rows;
}

static bool begins_with(const struct token_rows *rows, int64_t item, const int32_t *tokens, int64_t length)
{
    return token_row_length(rows, item) >= length &&
           memcmp(rows->token + rows->starts[item], tokens, (size_t)length * sizeof *tokens) == 0;
}

static bool holds_row(const struct token_rows *rows, const int32_t *tokens, int64_t length)
{
    for (int64_t item = 0; item < rows->count; item++)
        if (token_row_length(rows, item) == length && begins_with(rows, item, tokens, length))
            return true;
    return false;
}

/* Up to 60 distinct rows of 1 to 5 tokens of a small alphabet, many of which begin with others. */
static struct token_rows draw_rows(struct random_stream *stream)
{
    const int64_t wanted = random_below(stream, ITEMS_MAXIMUM + 1);
    const uint32_t alphabet = 2 + random_below(stream, 6);
    struct token_rows rows = allocate_rows(ITEMS_MAXIMUM, ITEMS_MAXIMUM * LENGTH_MAXIMUM);
    rows.count = 0;
    for (int64_t tried = 0; tried < wanted; tried++) {
        const int64_t length = 1 + random_below(stream, LENGTH_MAXIMUM), start = rows.starts[rows.count];
        for (int64_t i = 0; i < length; i++)
            rows.token[start + i] = (int32_t)random_below(stream, alphabet) * 1000;
        if (!holds_row(&rows, rows.token + start, length))
            rows.starts[++rows.count] = start + length;
    }
    return rows;
}

/* What is known of a node by its tokens alone. */
static void check_node(const struct item_trie *trie, const struct token_rows *rows, int32_t node,
                       const int32_t *tokens, int64_t length, const struct item_exclusions *exclusions,
                       const bool *excluded)
{
    int64_t below = 0, left = 0, ends = -1;
    for (int64_t item = 0; item < rows->count; item++) {
        const bool at_or_below = begins_with(rows, item, tokens, length);
        below += at_or_below;
        left += at_or_below && !excluded[item];
        if (at_or_below && token_row_length(rows, item) == length)
            ends = item;
        assert_int_equal(at_or_below,
                         trie->number[item] >= trie->begin[node] && trie->number[item] < trie->end[node]);
    }
    assert_int_equal(trie->end[node] - trie->begin[node], below);
    assert_int_equal(trie->item[node], ends);
    assert_int_equal(item_trie_left(trie, node, exclusions), left);
    if (ends >= 0)
        assert_int_equal(trie->number[ends], trie->begin[node]);
}

/* tokens [length] lead to the node, and there is room for one more. */
static void check_children(const struct item_trie *trie, const struct token_rows *rows, int32_t node,
                           int32_t *tokens, int64_t length)
{
    const int32_t first = trie->first_child[node], end = trie->first_child[node + 1];
    for (int32_t child = first; child < end; child++) {
        assert_true(child == first || trie->token[child] > trie->token[child - 1]);
        assert_true(trie->end[child] > trie->begin[child]);
        assert_int_equal(item_trie_child(trie, node, trie->token[child]), child);
    }
    for (int32_t token = -1; token < 8000; token += 499) {
        tokens[length] = token;
        bool known = false;
        for (int64_t item = 0; item < rows->count; item++)
            known |= begins_with(rows, item, tokens, length + 1);
        assert_int_equal(item_trie_child(trie, node, token) >= 0, known);
    }
}

/* All nodes; the tokens that lead to a node are known when its parent, which comes before it, is. */
static void check_trie(const struct item_trie *trie, const struct token_rows *rows,
                       const struct item_exclusions *exclusions, const bool *excluded)
{
    enum { ROW = LENGTH_MAXIMUM + 1 };
    int32_t *tokens = calloc((size_t)trie->node_count * ROW, sizeof *tokens);
    int32_t *length = calloc((size_t)trie->node_count, sizeof *length);
    assert_true(tokens && length);
    assert_int_equal(trie->token[0], -1);
    assert_int_equal(trie->first_child[0], 1);
    assert_int_equal(trie->first_child[trie->node_count], trie->node_count);
    for (int32_t node = 0; node < trie->node_count; node++) {
        int32_t *path = tokens + (ptrdiff_t)node * ROW;
        for (int32_t child = trie->first_child[node]; child < trie->first_child[node + 1]; child++) {
            assert_true(length[node] < LENGTH_MAXIMUM && child > node);
            memcpy(tokens + (ptrdiff_t)child * ROW, path, (size_t)length[node] * sizeof *path);
            tokens[(ptrdiff_t)child * ROW + length[node]] = trie->token[child];
            length[child] = length[node] + 1;
        }
        check_node(trie, rows, node, path, length[node], exclusions, excluded);
        check_children(trie, rows, node, path, length[node]);
    }
    free(tokens);
    free(length);
}

static void agrees_with_brute_force(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct item_exclusions exclusions = {0};
    for (uint64_t trial = 0; trial < 500; trial++) {
        struct random_stream stream = random_stream_open(1, RANDOM_TEST, 0, trial);
        struct token_rows rows = draw_rows(&stream);
        struct item_trie trie;
        require(item_trie_create(&trie, &rows, &error), &error);
        bool excluded[ITEMS_MAXIMUM] = {false};
        int32_t items[ITEMS_MAXIMUM];
        int64_t count = 0;
        while (rows.count > 0 && count < (int64_t)(trial % ITEMS_MAXIMUM)) {
            items[count] = (int32_t)random_below(&stream, (uint32_t)rows.count);
            excluded[items[count++]] = true;
        }
        require(item_exclusions_set(&exclusions, &trie, items, count, &error), &error);
        for (int added = 0; rows.count > 0 && added < 5; added++) {
            const int32_t item = (int32_t)random_below(&stream, (uint32_t)rows.count);
            require(item_exclusions_add(&exclusions, &trie, item, &error), &error);
            excluded[item] = true;
        }
        for (int64_t i = 1; i < exclusions.count; i++)
            assert_true(exclusions.number[i] > exclusions.number[i - 1]);
        check_trie(&trie, &rows, &exclusions, excluded);
        item_trie_free(&trie);
        token_rows_free(&rows);
    }
    item_exclusions_free(&exclusions);
}

static void the_same_tokens_are_refused(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct item_trie trie;
    int64_t starts[] = {0, 2, 3, 5, 6};
    int32_t token[] = {5, 6, 5, 4, 6, 5};
    const struct token_rows rows = {4, starts, token};
    assert_false(item_trie_create(&trie, &rows, &error));
    assert_non_null(strstr(error.message, "items 1 and 3"));
    assert_null(trie.token);
}

static void an_item_without_tokens_is_refused(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct item_trie trie;
    int64_t starts[] = {0, 1, 1};
    int32_t token[] = {5};
    const struct token_rows rows = {2, starts, token};
    assert_false(item_trie_create(&trie, &rows, &error));
    assert_non_null(strstr(error.message, "item 1 has no tokens"));
}

/* Numbers from 0 as digits behind a letter, as text writes them. */
static void many_items_take_less_than_a_second(void **state)
{
    (void)state;
    enum { MANY = 100000 };
    struct error error = ERROR_INITIALIZER;
    struct token_rows rows = allocate_rows(MANY, MANY * 8);
    for (int item = 0; item < MANY; item++) {
        char digits[16];
        const int length = snprintf(digits, sizeof digits, "i%d", (item * 7919) % MANY);
        for (int i = 0; i < length; i++)
            rows.token[rows.starts[item] + i] = digits[i];
        rows.starts[item + 1] = rows.starts[item] + length;
    }
    struct item_trie trie;
    struct timespec began, ended;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &began);
    require(item_trie_create(&trie, &rows, &error), &error);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ended);
    const double seconds =
        (double)(ended.tv_sec - began.tv_sec) + 1e-9 * (double)(ended.tv_nsec - began.tv_nsec);
    print_message("%d items, %lld nodes: %.3f s\n", MANY, (long long)trie.node_count, seconds);
    assert_true(seconds < 1);
    assert_int_equal(trie.node_count, 2 + MANY); /* the root, 'i', and a node for each number */
    item_trie_free(&trie);
    token_rows_free(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_brute_force),
        cmocka_unit_test(the_same_tokens_are_refused),
        cmocka_unit_test(an_item_without_tokens_is_refused),
        cmocka_unit_test(many_items_take_less_than_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
