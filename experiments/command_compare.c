#include <stdio.h>

#include "experiments/command.h"
#include "experiments/compare.h"

enum { OPTION_ARM, OPTION_AGAINST_ARM, OPTION_METRIC, OPTION_RECOMMENDER, OPTION_JSON, OPTION_MARKDOWN };

bool command_compare(const struct invocation *invocation, struct error *error)
{
    const char *const *option = invocation->option;
    const struct compare_request request = {.run_count = invocation->word_count,
                                            .folders = invocation->words,
                                            .arm = option[OPTION_ARM],
                                            .against_arm = option[OPTION_AGAINST_ARM],
                                            .metric = option[OPTION_METRIC],
                                            .recommender = option[OPTION_RECOMMENDER]};
    json_t *result = NULL;
    bool done = compare_runs(&result, &request, error);
    if (done && option[OPTION_JSON]) {
        json_dumpf(result, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
        putchar('\n');
    } else if (done) {
        done = compare_print(result, option[OPTION_MARKDOWN] ? DOCUMENT_MARKDOWN : DOCUMENT_TEXT, stdout) ||
               error_memory(error, "the tables", 0, NULL);
    }
    json_decref(result);
    return done;
}
