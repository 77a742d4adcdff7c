#include <string.h>

#include "experiments/command.h"
#include "experiments/report.h"
#include "experiments/run.h"
#include "experiments/tuning.h"

bool command_stage(const struct invocation *invocation, struct error *error)
{
    const char *name = invocation->command->name;
    const bool everything = strcmp(name, "run") == 0, tune = strcmp(name, "tune") == 0;
    struct run run;
    if (!run_open(&run, invocation->words[0], invocation->word_count - 1, invocation->words + 1, error))
        return false;
    bool done = run_stage(&run, everything ? "report" : name, everything || tune, error);
    if (done && (everything || strcmp(name, "report") == 0))
        done = report_print_table(&run, stdout, error);
    if (done && tune)
        done = tuning_print(&run, stdout, error);
    run_close(&run);
    return done;
}
