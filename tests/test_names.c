/* Names of users and items: digits, raw ids, a permutation, random strings; all distinct; a function of the seed. */
#include <stdlib.h>
#include <string.h>

#include "core/id_table.h"
#include "models/language/names.h"
#include "tests/support.h"

enum { COUNT = 20000 };

static struct id_map raw_ids(int64_t count)
{
    struct id_map raw = {count, malloc((size_t)(count + 1) * sizeof(int64_t)),
                         malloc((size_t)count * 16 + 1)};
    assert_true(raw.offsets && raw.bytes);
    raw.offsets[0] = 0;
    for (int64_t id = 0; id < count; id++)
        raw.offsets[id + 1] =
            raw.offsets[id] + snprintf(raw.bytes + raw.offsets[id], 16, "B%lld", (long long)(id * id)) + 1;
    return raw;
}

static struct id_map names_of(enum name_kind kind, enum named named, int64_t count, uint64_t seed)
{
    struct error error = ERROR_INITIALIZER;
    struct id_map raw = raw_ids(count), names;
    require(names_create(&names, kind, named, &raw, seed, &error), &error);
    assert_int_equal(names.count, count);
    id_map_free(&raw);
    return names;
}

static void assert_distinct(const struct id_map *names)
{
    struct id_table table = {0};
    for (int64_t index = 0; index < names->count; index++) {
        const char *name = id_map_name(names, index);
        assert_int_equal(id_table_add(&table, id_key_of(name, strlen(name)), name, strlen(name)), index);
    }
    id_table_free(&table);
}

/* How many names are the same at the same place. */
static int64_t same(const struct id_map *a, const struct id_map *b)
{
    int64_t count = 0;
    for (int64_t index = 0; index < a->count; index++)
        count += strcmp(id_map_name(a, index), id_map_name(b, index)) == 0;
    return count;
}

static void indices_are_digits(void **state)
{
    (void)state;
    struct id_map names = names_of(NAMES_INDEX, NAMED_ITEMS, COUNT, 1);
    for (int64_t index = 0; index < COUNT; index++)
        assert_int_equal(strtoll(id_map_name(&names, index), NULL, 10), index);
    assert_string_equal(id_map_name(&names, 0), "0");
    assert_string_equal(id_map_name(&names, 19999), "19999");
    id_map_free(&names);
}

static void raw_names_are_the_ids(void **state)
{
    (void)state;
    struct id_map names = names_of(NAMES_RAW, NAMED_USERS, COUNT, 1), raw = raw_ids(COUNT);
    assert_int_equal(same(&names, &raw), COUNT);
    id_map_free(&names);
    id_map_free(&raw);
}

static void relabelling_permutes_the_indices(void **state)
{
    (void)state;
    struct id_map names = names_of(NAMES_RELABELLED, NAMED_ITEMS, COUNT, 1);
    int64_t near = 0, last = -1;
    for (int64_t index = 0; index < COUNT; index++) {
        const int64_t number = strtoll(id_map_name(&names, index), NULL, 10);
        assert_in_range(number, 0, COUNT - 1);
        near += llabs(number - last) < COUNT / 100;
        last = number;
    }
    assert_distinct(&names);
    assert_in_range(near, COUNT / 100, COUNT / 33); /* of a random order about one in 50 */
    id_map_free(&names);
}

static void random_names_are_distinct_letters(void **state)
{
    (void)state;
    struct id_map names = names_of(NAMES_RANDOM, NAMED_ITEMS, COUNT, 1);
    int first[26] = {0};
    for (int64_t index = 0; index < COUNT; index++) {
        const char *name = id_map_name(&names, index);
        assert_int_equal(strlen(name), RANDOM_NAME_LETTERS);
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz"), RANDOM_NAME_LETTERS);
        first[name[0] - 'a']++;
    }
    for (int letter = 0; letter < 26; letter++)
        assert_in_range(first[letter], COUNT / 26 - 150, COUNT / 26 + 150); /* 5.5 standard deviations */
    assert_distinct(&names);
    id_map_free(&names);
}

static void seed_and_who_is_named_decide(void **state)
{
    (void)state;
    const enum name_kind kinds[] = {NAMES_RELABELLED, NAMES_RANDOM};
    for (size_t kind = 0; kind < 2; kind++) {
        struct id_map names = names_of(kinds[kind], NAMED_ITEMS, COUNT, 1);
        struct id_map again = names_of(kinds[kind], NAMED_ITEMS, COUNT, 1);
        struct id_map seeded = names_of(kinds[kind], NAMED_ITEMS, COUNT, 2);
        struct id_map users = names_of(kinds[kind], NAMED_USERS, COUNT, 1);
        assert_int_equal(same(&names, &again), COUNT);
        assert_true(same(&names, &seeded) < 10);
        assert_true(same(&names, &users) < 10);
        id_map_free(&names);
        id_map_free(&again);
        id_map_free(&seeded);
        id_map_free(&users);
    }
}

static void no_ids_have_no_names(void **state)
{
    (void)state;
    for (int kind = NAMES_INDEX; kind <= NAMES_RANDOM; kind++) {
        struct id_map names = names_of((enum name_kind)kind, NAMED_USERS, 0, 1);
        assert_int_equal(names.offsets[0], 0);
        id_map_free(&names);
    }
}

static void kinds_have_words(void **state)
{
    (void)state;
    assert_int_equal(name_kind_of("index"), NAMES_INDEX);
    assert_int_equal(name_kind_of("raw"), NAMES_RAW);
    assert_int_equal(name_kind_of("relabelled"), NAMES_RELABELLED);
    assert_int_equal(name_kind_of("random"), NAMES_RANDOM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(indices_are_digits),
        cmocka_unit_test(raw_names_are_the_ids),
        cmocka_unit_test(relabelling_permutes_the_indices),
        cmocka_unit_test(random_names_are_distinct_letters),
        cmocka_unit_test(seed_and_who_is_named_decide),
        cmocka_unit_test(no_ids_have_no_names),
        cmocka_unit_test(kinds_have_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
