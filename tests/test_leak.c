/* A held-out pair in the training data stops the language model's stages, which name it by its raw ids. */
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/file.h"
#include "core/interactions.h"
#include "experiments/run.h"
#include "tests/support.h"

/* Two users and two items; the second user has the second item in train and in validation or test. */
static void save_leaking(const char *path, bool in_test, struct error *error)
{
    char users[] = "alice\0bob", items[] = "tea\0coffee";
    int64_t user_offsets[] = {0, 6, 10}, item_offsets[] = {0, 4, 11};
    int64_t train_starts[] = {0, 1, 3}, held_out_starts[] = {0, 0, 1}, none_starts[] = {0, 0, 0};
    int32_t train_items[] = {0, 0, 1}, held_out_items[] = {1}, none_items[] = {0};
    const struct csr held_out = {2, 2, held_out_starts, held_out_items},
                     none = {2, 2, none_starts, none_items};
    const struct dataset dataset = {
        .name = "leaking",
        .user_ids = {2, user_offsets, users},
        .item_ids = {2, item_offsets, items},
        .train = {2, 2, train_starts, train_items},
        .validation = in_test ? none : held_out,
        .test = in_test ? held_out : none,
    };
    require(dataset_save(&dataset, path, error), error);
}

static void check_stage(stage_function *stage, bool in_test, const char *part)
{
    struct error error = ERROR_INITIALIZER;
    char folder[] = "/tmp/idrec-leak-XXXXXX",
         *overrides[] = {"language_model={layers: 1, width: 8, heads: 2}"};
    assert_non_null(mkdtemp(folder));
    char *config_path = path_format("%s/leak.yaml", folder),
         *dataset_path = path_format("%s/dataset.h5", folder);
    const char text[] = "data: {path: none.inter}\n";
    require(file_write(config_path, text, sizeof text - 1, &error), &error);
    save_leaking(dataset_path, in_test, &error);
    struct run run = {.folder = folder, .backend = open_backend(1)};
    require(config_load(&run.config, config_path, 1, overrides, &error), &error);
    struct stage_cost cost = {0};
    assert_false(stage(&run, &cost, &error));
    assert_non_null(strstr(error.message, "leak: user 'bob' and item 'coffee'"));
    assert_non_null(strstr(error.message, part));
    config_free(run.config);
    backend_close(run.backend);
    error = ERROR_INITIALIZER;
    require(path_remove(folder, &error), &error);
    free(config_path);
    free(dataset_path);
}

static void test_pretraining_stops_at_a_leak(void **state)
{
    (void)state;
    check_stage(stage_pretrain, false, "pair of validation");
    check_stage(stage_pretrain, true, "pair of test");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pretraining_stops_at_a_leak)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
