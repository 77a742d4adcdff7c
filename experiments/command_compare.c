#include <stdio.h>

#include "experiments/command.h"
#include "experiments/compare.h"

enum { OPTION_ARM, OPTION_AGAINST_ARM, OPTION_METRIC, OPTION_RECOMMENDER, OPTION_JSON, OPTION_MARKDOWN };

bool command_compare(const struct invocation *invocation, struct error *error)
{
    const char *const *option = invocation->option;
    char *const twice[] = {invocation->words[0], invocation->words[0]};
    const bool alone = invocation->word_count == 1;
    if (alone && !(option[OPTION_ARM] && option[OPTION_AGAINST_ARM]))
        return error_set(error, ERROR_USAGE,
                         "one run is given; name another to compare it with, or two of its arms: --arm=ARM "
                         "--against-arm=ARM");
    const struct compare_request request = {.run_count = alone ? 2 : invocation->word_count,
                                            .folders = alone ? twice : invocation->words,
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
