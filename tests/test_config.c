/* The configuration: defaults, types, ranges, lists, extends, overrides, and refusals with their place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/config.h"
#include "core/file.h"
#include "core/schema.h"

static struct config *parse(const char *text)
{
    struct error error = ERROR_INITIALIZER;
    struct config *config = NULL;
    if (!config_parse(&config, "test.yaml", text, strlen(text), &error))
        fail_msg("%s", error.message);
    return config;
}

static void refuse(const char *text, const char *message)
{
    struct error error = ERROR_INITIALIZER;
    struct config *config = NULL;
    assert_false(config_parse(&config, "test.yaml", text, strlen(text), &error));
    assert_null(config);
    assert_int_equal(error.kind, ERROR_USAGE);
    if (!strstr(error.message, message))
        fail_msg("'%s' does not say '%s'", error.message, message);
}

static void test_defaults(void **state)
{
    (void)state;
    struct config *config = parse("");
    assert_string_equal(config_string(config, "name"), "test");
    assert_int_equal(config_integer(config, "seed"), 1);
    assert_true(config_is_null(config, "data.path"));
    assert_int_equal(config_length(config, "recommenders"), 2);
    assert_string_equal(config_string(config, "recommenders[%d].model", 1), "lightgcn");
    assert_true(config_boolean(config, "prompts.full"));
    config_free(config);
}

static void test_values(void **state)
{
    (void)state;
    struct config *config = parse("seed: 0x10\npretrain: {steps: 1e3, learning_rate: .5}\n"
                                  "evaluate: {k: 7}\ndata: {columns: {user: 3}}\nname: \"a b\"\n"
                                  "prompts:\nfinetune: {targets: [o, up]}\n");
    assert_int_equal(config_integer(config, "seed"), 16);
    assert_int_equal(config_integer(config, "pretrain.steps"), 1000);
    assert_true(config_number(config, "pretrain.learning_rate") == 0.5);
    assert_int_equal(config_length(config, "evaluate.k"), 1);
    assert_int_equal(config_integer(config, "evaluate.k[0]"), 7);
    assert_string_equal(config_string(config, "data.columns.user"), "3");
    assert_string_equal(config_string(config, "name"), "a b");
    assert_string_equal(config_string(config, "finetune.targets[%d]", 1), "up");
    config_free(config);
}

/* Where the split is by time and items are tokens, the language model reads histories in their order by default. */
static void test_defaults_in_order(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool in_order;
    } cases[] = {
        {"data: {split: {method: leave_one_out}}\n", true},
        {"data: {split: {method: temporal}}\nlanguage_model: {indexing: ids}\n", true},
        {"data: {split: {method: random}}\n", false},
        {"data: {split: {method: provided}}\n", false},
        {"data: {split: {method: leave_one_out}}\nprompts: {shuffle: true}\n", false},
        {"data: {split: {method: leave_one_out}}\nlanguage_model: {vocabulary: text}\n", false},
        {"data: {split: {method: temporal}}\nlanguage_model: {indexing: collaborative}\n", false},
        {"data: {split: {method: temporal}}\ngenerate: {method: sampling}\n", false},
        {"data: {split: {method: temporal}}\nprompts: {template: default}\n", false},
        {"data: {split: {method: temporal}}\nprompts: {template: sequence}\npretrain: {objective: next}\n",
         true},
        {"name: a\n", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *config = parse(cases[i].text);
        const bool in_order = cases[i].in_order;
        assert_int_equal(config_boolean(config, "prompts.shuffle"), !in_order);
        assert_int_equal(config_boolean(config, "language_model.positions"), in_order);
        assert_int_equal(config_length(config, "augment.ensemble"), in_order ? 4 : 3);
        assert_string_equal(config_string(config, "prompts.template"), in_order ? "sequence" : "default");
        assert_string_equal(config_string(config, "pretrain.objective"), in_order ? "next" : "auto");
        config_free(config);
    }
    struct config *of_sets = parse("data: {split: {method: temporal}}\npretrain: {objective: set}\n");
    assert_true(config_boolean(of_sets, "prompts.shuffle"));
    config_free(of_sets);
    struct config *config = parse("data: {split: {method: temporal}}\nlanguage_model: {layers: 3}\n");
    assert_int_equal(config_integer(config, "language_model.layers"), 3);
    assert_int_equal(config_integer(config, "language_model.width"), 128);
    assert_int_equal(config_length(config, "augment.proportional"), 3);
    config_free(config);
    config = parse("data: {split: {method: temporal}}\naugment: {per_user: [5]}\n");
    assert_int_equal(config_length(config, "augment.proportional"), 0);
    config_free(config);
    config = parse("data: {split: {method: temporal}}\nprompts: {shuffle: false}\n");
    assert_string_equal(config_string(config, "pretrain.objective"), "auto");
    config_free(config);
}

static void test_refusals(void **state)
{
    (void)state;
    refuse("sed: 1\n", "test.yaml:1: sed: is not a known key; did you mean seed?");
    refuse("\nepochs: 1\n",
           "test.yaml:2: epochs: is not a known key; did you mean pretrain.epochs or finetune.epochs or "
           "recommenders[0].epochs?");
    refuse("data.path: x\n", "is not a known key");
    refuse("seed: one\n", "seed: 'one' is not a whole number");
    refuse("seed: '1'\n", "is not a whole number");
    refuse("seed: 1.5\n", "is not a whole number");
    refuse("seed: 99999999999999999999\n", "seed:");
    refuse("seed: -1\n", "out of range");
    refuse("generate: {top_p: .nan}\n", "is not a finite number");
    refuse("generate: {temperature: inf}\n", "is not a finite number");
    refuse("prompts: {full: yes}\n", "neither true nor false");
    refuse("device: gpu\n", "choose one of auto|cpu|cuda");
    refuse("recommenders: [{model: LightGCN}]\n", "did you mean lightgcn? Else choose one of ");
    refuse("data: {split: {method: leave-one-out}}\n", "did you mean leave_one_out?");
    refuse("data: {split: {method: sideways}}\n", "is not among its values; choose one of ");
    refuse("seed:\n", "has no value");
    refuse("seed: [1]\n", "a single value is expected");
    refuse("seed: {a: 1}\n", "a single value is expected");
    refuse("data: 3\n", "a section");
    refuse("recommenders: {model: bpr_mf}\n", "a list is expected");
    refuse("recommenders:\n  - bpr_mf\n", "test.yaml:2: recommenders[0]: a mapping is expected");
    refuse("recommenders:\n- model: bpr_mf\n  with: 3\n",
           "test.yaml:3: recommenders[0].with: is not a known key; "
           "did you mean width?");
    refuse("evaluate: {k: null}\n", "a list is expected");
    refuse("evaluate: {k: [1, [2]]}\n", "evaluate.k[1]: a single value");
    refuse("name: ''\n", "is empty");
    refuse("name: \"a\\nb\"\n", "control character");
    refuse("prompts: {text: {answer: \"{items}\\r\"}}\n", "control character");
    refuse("name: \"a\\0b\"\n", "NUL");
}

static void test_bad_documents(void **state)
{
    (void)state;
    refuse("- 1\n", "key: value");
    refuse("seed: 1\nseed: 2\n", "test.yaml:2: seed: this key stands here twice");
    refuse("seed: 1\n---\nseed: 2\n", "second document");
    refuse("seed: [1\n", "is not valid YAML");
    refuse("? [a]\n: 1\n", "a key must be a plain word");
    refuse("seed: *nowhere\n", "alias");
    refuse("a: &a [*a]\n", "alias");
    refuse("a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c "
           "[*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
           "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n",
           "too large");
    char deep[128];
    memset(deep, '[', 100);
    deep[100] = '\0';
    refuse(deep, "nested too deeply");
    refuse("\x80\x81", "YAML");
}

static void test_aliases(void **state)
{
    (void)state;
    struct config *config = parse("pretrain: &training {epochs: 3}\nfinetune: *training\n");
    assert_int_equal(config_integer(config, "finetune.epochs"), 3);
    config_free(config);
}

/* What is written is read back as the same values. */
static void test_round_trip(void **state)
{
    (void)state;
    struct config *config =
        parse("name: 'q\"\\x: #'\ngenerate: {temperature: 0.1234567890123456}\n"
              "augment: {filters: [], proportional: [0.1, 1e-9]}\nrecommenders: [{model: item_knn}]\n"
              "prompts: {text: {context: \"{items}\\n\\tthen\\\\n\"}}\n");
    assert_string_equal(config_string(config, "prompts.text.context"), "{items}\n\tthen\\n");
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    assert_true(config_write(config, NULL, stream));
    fclose(stream);
    struct config *again = parse(text);
    static const char *const sections[] = {"name",    "seed",         "data",       "language_model",
                                           "prompts", "pretrain",     "finetune",   "generate",
                                           "augment", "recommenders", "experiment", "evaluate"};
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        char *first = config_canonical(config, sections[i]), *second = config_canonical(again, sections[i]);
        assert_string_equal(first, second);
        assert_true(strlen(first) > 3);
        free(first);
        free(second);
    }
    free(text);
    config_free(config);
    config_free(again);
}

static void test_canonical(void **state)
{
    (void)state;
    struct config *a = parse("generate: {top_p: 0.50, max_items: 0x14}\n"),
                  *b = parse("generate:\n  top_p: 5e-1\n");
    struct config *c = parse("generate: {top_p: 0.51}\n");
    char *of_a = config_canonical(a, "generate"), *of_b = config_canonical(b, "generate"),
         *of_c = config_canonical(c, "generate");
    assert_string_equal(of_a, of_b);
    assert_string_not_equal(of_a, of_c);
    free(of_a);
    free(of_b);
    free(of_c);
    config_free(a);
    config_free(b);
    config_free(c);
}

/* A folder with base.yaml and sub/child.yaml, which extends it. */
static int make_files(void **state)
{
    char *folder = path_format("/tmp/idrec-test-XXXXXX");
    struct error error = ERROR_INITIALIZER;
    if (!mkdtemp(folder))
        return -1;
    char *sub = path_format("%s/sub", folder);
    folder_create(sub, &error);
    static const char *const files[][2] = {
        {"base.yaml", "seed: 5\ndata: {path: x.csv, k_core: 3}\nevaluate: {k: [1, 2]}\n"},
        {"sub/child.yaml", "extends: ../base.yaml\ndata: {k_core: 4}\nevaluate: {k: [9]}\noutput: here\n"},
        {"circle.yaml", "extends: sub/circle.yaml\n"},
        {"sub/circle.yaml", "extends: ../circle.yaml\n"},
        {"broken.yaml", "extends: none.yaml\n"}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = path_format("%s/%s", folder, files[i][0]);
        file_write(path, files[i][1], strlen(files[i][1]), &error);
        free(path);
    }
    free(sub);
    *state = folder;
    return error.kind == ERROR_NONE ? 0 : -1;
}

static int remove_files(void **state)
{
    struct error error = ERROR_INITIALIZER;
    const bool done = path_remove(*state, &error);
    free(*state);
    return done ? 0 : -1;
}

static bool load(struct config **config, const char *folder, const char *name, int count,
                 char *const *overrides, struct error *error)
{
    char *path = path_format("%s/%s", folder, name);
    const bool done = config_load(config, path, count, overrides, error);
    free(path);
    return done;
}

static void test_extends(void **state)
{
    struct error error = ERROR_INITIALIZER;
    struct config *config;
    assert_true(load(&config, *state, "sub/child.yaml", 0, NULL, &error));
    assert_int_equal(config_integer(config, "seed"), 5);
    assert_int_equal(config_integer(config, "data.k_core"), 4);
    assert_int_equal(config_length(config, "evaluate.k"), 1);
    char *path = config_file_path(config, "data.path");
    char *expected = path_format("%s/sub/../x.csv", (char *)*state);
    assert_string_equal(path, expected);
    assert_false(config_complain(config, "data.k_core", &error, "no"));
    assert_non_null(strstr(error.message, "child.yaml:2: data.k_core: no"));
    free(path);
    free(expected);
    config_free(config);

    error = ERROR_INITIALIZER;
    assert_false(load(&config, *state, "circle.yaml", 0, NULL, &error));
    assert_non_null(strstr(error.message, "circle"));
    error = ERROR_INITIALIZER;
    assert_false(load(&config, *state, "broken.yaml", 0, NULL, &error));
    assert_non_null(strstr(error.message, "none.yaml"));
    error = ERROR_INITIALIZER;
    assert_false(load(&config, *state, "sub", 0, NULL, &error));
    assert_int_equal(error.kind, ERROR_USAGE);
}

static void test_overrides(void **state)
{
    struct error error = ERROR_INITIALIZER;
    struct config *config;
    char *overrides[] = {"seed=7",          "recommenders[1].epochs=3", "evaluate.k=[5, 6]",
                         "evaluate.k[1]=8", "data.path=null",           "generate.constrained=false"};
    assert_true(load(&config, *state, "base.yaml", 6, overrides, &error));
    assert_int_equal(config_integer(config, "seed"), 7);
    assert_int_equal(config_integer(config, "recommenders[1].epochs"), 3);
    assert_string_equal(config_string(config, "recommenders[1].model"), "lightgcn");
    assert_int_equal(config_integer(config, "evaluate.k[0]"), 5);
    assert_int_equal(config_integer(config, "evaluate.k[1]"), 8);
    assert_true(config_is_null(config, "data.path"));
    assert_false(config_boolean(config, "generate.constrained"));
    config_free(config);

    static char *const bad[] = {"seed",
                                "=1",
                                "seed=",
                                "seed=x",
                                "sede=1",
                                "recommenders[2].epochs=1",
                                "a..b=1",
                                "seed.x=1",
                                "seed=[",
                                "recommenders[a]=1",
                                "extends=base.yaml",
                                "seed=1\n---\n2",
                                "evaluate.k[0].x=1",
                                "recommenders[-1].epochs=1",
                                "seed.=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        error = ERROR_INITIALIZER;
        if (load(&config, *state, "base.yaml", 1, &bad[i], &error))
            fail_msg("%s is accepted", bad[i]);
        assert_int_equal(error.kind, ERROR_USAGE);
        assert_non_null(strstr(error.message, "command line"));
    }
}

/* Every default passes its own checks, every key has a section before it, and no path stands twice. */
static void test_schema(void **state)
{
    (void)state;
    for (size_t i = 0; i < schema_count; i++) {
        const struct schema_entry *entry = &schema[i];
        assert_ptr_equal(schema_find(entry->path), entry);
        assert_true(strlen(entry->help) > 3);
        assert_true(entry->type == SCHEMA_SECTION || entry->default_value);
        char parent[128];
        snprintf(parent, sizeof parent, "%s", entry->path);
        char *dot = strrchr(parent, '.');
        if (!dot)
            continue;
        *dot = '\0';
        parent[strcspn(parent, "[")] = '\0';
        const struct schema_entry *above = schema_find(parent);
        assert_non_null(above);
        assert_true(above < entry);
    }
}

static void test_reference_is_up_to_date(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    char *text = NULL, *kept = NULL;
    size_t length = 0, kept_length = 0;
    FILE *stream = open_memstream(&text, &length);
    assert_true(config_write_reference(stream));
    fclose(stream);
    assert_true(file_read(IDREC_SOURCE_DIR "/docs/configuration.md", &kept, &kept_length, &error));
    if (strcmp(text, kept) != 0)
        fail_msg("run `idrec config --reference > docs/configuration.md`");
    free(text);
    free(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_defaults_in_order),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bad_documents),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_canonical),
        cmocka_unit_test_setup_teardown(test_extends, make_files, remove_files),
        cmocka_unit_test_setup_teardown(test_overrides, make_files, remove_files),
        cmocka_unit_test(test_schema),
        cmocka_unit_test(test_reference_is_up_to_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
