/* Collaborative codes: groups against scikit-learn's (goldens/make_item_groups.py), and what every code must keep
 * to. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/random.h"
#include "core/readers.h"
#include "core/store.h"
#include "models/language/item_codes.h"
#include "models/language/item_groups.h"
#include "models/language/item_trie.h"
#include "tests/support.h"

#define GOLDENS IDREC_SOURCE_DIR "/tests/goldens/item_groups.h5"

static struct store *goldens(void)
{
    struct error error = ERROR_INITIALIZER;
    struct store *store;
    require(store_open(&store, GOLDENS, &error), &error);
    return store;
}

static struct csr golden_train(struct store *store, const char *name)
{
    struct error error = ERROR_INITIALIZER;
    struct csr train;
    require(store_read_csr(store, name, &train, &error), &error);
    return train;
}

static void *golden_array(struct store *store, const char *name, enum dtype dtype, int64_t *rows)
{
    struct error error = ERROR_INITIALIZER;
    void *data;
    require(store_read(store, name, dtype, rows, NULL, &data, &error), &error);
    return data;
}

static struct item_codes codes_of(const struct csr *train, struct item_code_settings settings)
{
    struct error error = ERROR_INITIALIZER;
    struct item_codes codes;
    require(item_codes_create(&codes, train, &settings, &error), &error);
    return codes;
}

/* ---- groups against scikit-learn ---------------------------------------------------------------------- */

/* Groups are numbered by their first items, so equal partitions of a golden that is renumbered so are equal arrays. */
static void renumber_by_first(int32_t *group, int64_t count)
{
    int32_t number[64], next = 0;
    memset(number, -1, sizeof number);
    for (int64_t i = 0; i < count; i++) {
        assert_in_range(group[i], 0, 63);
        if (number[group[i]] < 0)
            number[group[i]] = next++;
        group[i] = number[group[i]];
    }
}

static void planted_blocks_are_found(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct store *store = goldens();
    for (int n = 0; n < 3; n++) {
        char group[32], name[64];
        double expected, cut;
        int64_t items;
        snprintf(group, sizeof group, "planted_%d", n);
        snprintf(name, sizeof name, "%s/train", group);
        struct csr train = golden_train(store, name);
        snprintf(name, sizeof name, "%s/group", group);
        int32_t *blocks = golden_array(store, name, DTYPE_I32, &items), most = 0;
        require(store_get_number(store, group, "cut", &expected, &error), &error);
        for (int64_t item = 0; item < items; item++)
            most = blocks[item] > most ? blocks[item] : most;
        renumber_by_first(blocks, items);
        struct item_graph graph;
        struct item_groups found;
        require(item_graph_create(&graph, &train, &error), &error);
        require(item_groups_find(&found, &graph, most + 1, 1, 0, 2, &error), &error);
        require(item_graph_normalized_cut(&cut, &graph, blocks, most + 1, &error), &error);
        assert_int_equal(found.count, most + 1);
        assert_memory_equal(found.group, blocks, (size_t)items * sizeof *blocks);
        assert_true(fabs(cut - expected) < 1e-12);
        item_groups_free(&found);
        item_graph_free(&graph);
        csr_free(&train);
        free(blocks);
    }
    store_close(store);
}

/* Whether the first numbers of two codes agree just where the golden's first groups do. */
static void nested_blocks_make_the_codes(void **state)
{
    (void)state;
    struct store *store = goldens();
    struct csr train = golden_train(store, "nested/train");
    int64_t items, columns = 2;
    void *data;
    struct error error = ERROR_INITIALIZER;
    require(store_read(store, "nested/path", DTYPE_I32, &items, &columns, &data, &error), &error);
    const int32_t *path = data;
    struct item_codes codes = codes_of(&train, (struct item_code_settings){3, 30, false, 1, 2});
    assert_int_equal(codes.levels, 2);
    assert_int_equal(codes.groups, 9);
    assert_int_equal(codes.largest_group, 30);
    for (int64_t a = 0; a < items; a++) {
        const int32_t *code_a = codes.code.token + codes.code.starts[a];
        assert_int_equal(token_row_length(&codes.code, a), 3);
        for (int64_t b = 0; b < items; b++) {
            const int32_t *code_b = codes.code.token + codes.code.starts[b];
            const bool same_block = path[2 * a] == path[2 * b];
            assert_int_equal(code_a[0] == code_b[0], same_block);
            if (same_block)
                assert_int_equal(code_a[1] == code_b[1], path[2 * a + 1] == path[2 * b + 1]);
        }
    }
    item_codes_free(&codes);
    csr_free(&train);
    free(data);
    store_close(store);
}

/* Users' rows of distinct items, whole: no split. */
static struct csr read_train(const char *path)
{
    struct error error = ERROR_INITIALIZER;
    struct interactions rows;
    char description[READER_DESCRIPTION_LENGTH];
    const struct reader_settings settings = {.format = "auto"};
    require(interactions_read(&rows, &path, 1, &settings, NULL, description, &error), &error);
    const int64_t users = rows.user_ids.count;
    struct csr train = {users, rows.item_ids.count, calloc((size_t)users + 2, sizeof(int64_t)),
                        malloc((size_t)rows.count * sizeof(int32_t))};
    assert_true(train.starts && train.indices);
    for (int64_t row = 0; row < rows.count; row++)
        train.starts[rows.users[row] + 2]++;
    for (int64_t user = 2; user <= users; user++)
        train.starts[user] += train.starts[user - 1];
    for (int64_t row = 0; row < rows.count; row++)
        train.indices[train.starts[rows.users[row] + 1]++] = rows.items[row];
    interactions_free(&rows);
    return train;
}

static void cuts_of_movielens_are_as_small(void **state)
{
    (void)state;
    const char *folder = getenv("IDREC_DATA");
    char *path = path_format("%s/ml-100k.inter.gz", folder ? folder : IDREC_SOURCE_DIR "/../shared/data");
    if (!path_exists(path)) {
        print_message("no %s; set IDREC_DATA to the folder of the data sets\n", path);
        free(path);
        skip();
    }
    struct error error = ERROR_INITIALIZER;
    struct store *store = goldens();
    struct csr train = read_train(path);
    int64_t cases;
    int32_t *clusters = golden_array(store, "ml-100k/clusters", DTYPE_I32, &cases);
    float *cuts = golden_array(store, "ml-100k/cut", DTYPE_F32, &cases);
    struct item_graph graph;
    require(item_graph_create(&graph, &train, &error), &error);
    for (int64_t n = 0; n < cases; n++) {
        struct item_groups found;
        double cut;
        require(item_groups_find(&found, &graph, clusters[n], 1, 0, 2, &error), &error);
        require(item_graph_normalized_cut(&cut, &graph, found.group, found.count, &error), &error);
        print_message("%d groups: normalised cut %.4f, scikit-learn %.4f\n", clusters[n], cut,
                      (double)cuts[n]);
        assert_int_equal(found.count, clusters[n]);
        assert_true(cut <= 1.02 * (double)cuts[n]);
        item_groups_free(&found);
    }
    item_graph_free(&graph);
    csr_free(&train);
    free(clusters);
    free(cuts);
    free(path);
    store_close(store);
}

/* ---- what every code keeps to ------------------------------------------------------------------------- */

/* Users with up to 8 items, popular ones more often than others; the last tenth of the items has no users, and the
 * tenth before it one user each. */
static struct csr draw_train(int64_t users, int64_t items, uint64_t seed)
{
    struct random_stream stream = random_stream_open(seed, RANDOM_TEST, 1, 0);
    struct csr train = {users, items, malloc((size_t)(users + 1) * sizeof(int64_t)),
                        malloc((size_t)(users * 9) * sizeof(int32_t))};
    assert_true(train.starts && train.indices);
    int64_t end = 0;
    const int64_t shared = items - items / 5;
    for (int64_t user = 0; user < users; user++) {
        train.starts[user] = end;
        const int64_t wanted = random_below(&stream, 9);
        for (int64_t tried = 0; tried < wanted; tried++) {
            const double place = random_double(&stream);
            const int32_t item = (int32_t)(place * place * place * (double)shared);
            bool known = false;
            for (int64_t i = train.starts[user]; i < end; i++)
                known |= train.indices[i] == item;
            if (!known)
                train.indices[end++] = item;
        }
        if (user < items / 10)
            train.indices[end++] = (int32_t)(shared + user);
    }
    train.starts[users] = end;
    return train;
}

static void check_codes(const struct item_codes *codes, const struct item_code_settings *settings)
{
    const int64_t widest =
        settings->cluster_size > settings->clusters ? settings->cluster_size : settings->clusters;
    struct error error = ERROR_INITIALIZER;
    struct item_trie trie;
    require(item_trie_create(&trie, &codes->code, &error), &error);
    for (int32_t node = 0; node < trie.node_count; node++) {
        const int32_t parts = trie.first_child[node + 1] - trie.first_child[node];
        if (trie.item[node] >= 0)
            assert_int_equal(parts, 0); /* no code begins with another */
        assert_true(parts <= widest);
    }
    assert_true(codes->largest_group <= settings->cluster_size);
    assert_true(codes->numbers <= widest);
    for (int64_t i = 0; i < codes->code.starts[codes->code.count]; i++)
        assert_in_range(codes->code.token[i], 0, codes->numbers - 1);
    item_trie_free(&trie);
}

/* Codes of groups alone: every group has its own number, which stands at one depth behind one group only. */
static void check_own_codes(const struct item_codes *codes, const struct item_code_settings *settings)
{
    int32_t *before = malloc((size_t)codes->numbers * sizeof *before + 1);
    int64_t *items = calloc((size_t)codes->numbers + 1, sizeof *items), groups = 0;
    assert_true(before && items);
    for (int64_t number = 0; number < codes->numbers; number++)
        before[number] = -2;
    for (int64_t item = 0; item < codes->code.count; item++) {
        const int64_t end = codes->code.starts[item + 1];
        int32_t last = -1;
        for (int64_t i = codes->code.starts[item]; i < end; i++) {
            const int32_t number = codes->code.token[i];
            assert_true(before[number] == -2 || before[number] == last);
            before[number] = last;
            last = number;
        }
        groups += ++items[last] == 1;
        assert_true(items[last] <= settings->cluster_size);
    }
    for (int64_t number = 0; number < codes->numbers; number++)
        assert_int_not_equal(before[number], -2);
    assert_int_equal(groups, codes->groups);
    free(before);
    free(items);
}

static void codes_are_distinct_and_limited(void **state)
{
    (void)state;
    const int64_t shapes[][2] = {{2, 1}, {2, 7}, {3, 20}, {10, 5}, {20, 60}, {200, 3}};
    struct csr train = draw_train(900, 700, 1);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        struct item_code_settings settings = {shapes[s][0], shapes[s][1], false, 1, 2};
        struct item_codes codes = codes_of(&train, settings);
        check_codes(&codes, &settings);
        /* 2 parts of single items need ten levels for 700 items, 2 of 7 seven. */
        assert_true(codes.levels <= (s == 0 ? 10 : ITEM_CODE_LEVELS));
        settings.own = true;
        struct item_codes own = codes_of(&train, settings);
        check_own_codes(&own, &settings);
        assert_int_equal(own.groups, codes.groups);
        item_codes_free(&codes);
        item_codes_free(&own);
    }
    csr_free(&train);
}

/* Each of a chain's items shares users with the next one only, ever fewer: spectral cuts of it are uneven. */
static void levels_are_limited_where_cuts_are_uneven(void **state)
{
    (void)state;
    enum { CHAIN = 400 };
    int64_t starts[CHAIN * 12 + 1], rows = 0;
    int32_t indices[CHAIN * 24];
    for (int32_t item = 0; item + 1 < CHAIN; item++)
        for (int copy = 0; copy < (item < 12 ? 12 - item : 1); copy++) {
            starts[rows] = 2 * rows;
            indices[2 * rows] = item;
            indices[2 * rows++ + 1] = item / 3 * 2;
            if (indices[2 * rows - 1] == item)
                indices[2 * rows - 1] = item + 1;
        }
    starts[rows] = 2 * rows;
    const struct csr train = {rows, CHAIN, starts, indices};
    const struct item_code_settings settings = {2, 2, false, 1, 1};
    struct item_codes codes = codes_of(&train, settings);
    check_codes(&codes, &settings);
    assert_int_equal(codes.levels, 8); /* 2 * 2^8 >= 400 */
    item_codes_free(&codes);
}

static void few_items_have_codes_too(void **state)
{
    (void)state;
    int64_t starts[] = {0, 0, 1};
    int32_t indices[] = {0};
    for (int64_t items = 1; items <= 12; items++) {
        const struct csr train = {2, items, starts, indices}; /* no two items have a user in common */
        const struct item_code_settings settings = {3, 4, false, 1, 1};
        struct item_codes codes = codes_of(&train, settings);
        check_codes(&codes, &settings);
        assert_int_equal(codes.code.count, items);
        assert_int_equal(codes.levels, items > 4);
        item_codes_free(&codes);
    }
}

static void threads_do_not_change_the_codes(void **state)
{
    (void)state;
    struct csr train = draw_train(3000, 2000, 2);
    struct item_code_settings settings = {7, 40, false, 3, 1};
    struct item_codes one = codes_of(&train, settings);
    settings.threads = 3;
    struct item_codes three = codes_of(&train, settings);
    assert_memory_equal(one.code.starts, three.code.starts, sizeof(int64_t) * 2001);
    assert_memory_equal(one.code.token, three.code.token, sizeof(int32_t) * (size_t)one.code.starts[2000]);
    item_codes_free(&one);
    item_codes_free(&three);
    csr_free(&train);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planted_blocks_are_found),
        cmocka_unit_test(nested_blocks_make_the_codes),
        cmocka_unit_test(cuts_of_movielens_are_as_small),
        cmocka_unit_test(codes_are_distinct_and_limited),
        cmocka_unit_test(levels_are_limited_where_cuts_are_uneven),
        cmocka_unit_test(few_items_have_codes_too),
        cmocka_unit_test(threads_do_not_change_the_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
