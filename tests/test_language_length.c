/* What generation needs room for behind a prompt, and checkpoints whose longest sequence does not hold it. */
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/language_length.h"
#include "tests/support.h"

/* Two items of 3 and 1 tokens, 4 and 2 as further ones; llama2's folder is for 256 tokens. */
static int64_t starts_first[] = {0, 3, 4}, starts_next[] = {0, 4, 6};
static const struct prompt_layout layout = {
    .answer = {.first = {.count = 2, .starts = starts_first}, .next = {.count = 2, .starts = starts_next}}};

static struct config *config_of(const char *generate)
{
    struct error error = ERROR_INITIALIZER;
    struct config *config = NULL;
    char *text =
        path_format("name: test\ndata: {path: none.csv}\n"
                    "language_model: {vocabulary: text, checkpoint: %s/tests/goldens/families/llama2}\n"
                    "generate: {%s}\n",
                    IDREC_SOURCE_DIR, generate);
    require(config_parse(&config, "test.yaml", text, strlen(text), &error), &error);
    free(text);
    return config;
}

static const struct {
    const char *generate;
    int64_t after;
} cases[] = {{"method: ranking, max_items: 10", 5},
             {"method: beam, max_items: 10", 5},
             {"method: sampling, max_items: 10", 41},
             {"method: sampling, max_items: 10, max_tokens: 20", 20},
             {"method: sampling, max_items: 10, max_tokens: 100", 41},
             {"method: sampling, max_items: 10, max_tokens: 100, constrained: false", 100},
             {"method: beam_lists, max_items: 10", 42}};

static void room_is_what_the_method_takes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *config = config_of(cases[i].generate);
        assert_int_equal(language_tokens_after(config, &layout), cases[i].after);
        config_free(config);
    }
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error error = ERROR_INITIALIZER;
        struct config *config = config_of(cases[i].generate);
        struct prompt_settings prompt = {.layout = &layout, .length_maximum = 256 - cases[i].after};
        require(language_length_check(config, &prompt, &error), &error);
        prompt.length_maximum++;
        assert_false(language_length_check(config, &prompt, &error));
        assert_int_equal(error.kind, ERROR_USAGE);
        assert_non_null(strstr(error.message, "prompts.length: "));
        assert_non_null(strstr(error.message, "the 256 that the checkpoint was made for"));
        config_free(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room_is_what_the_method_takes),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
