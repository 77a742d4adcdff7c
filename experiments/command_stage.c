#include <string.h>

#include "experiments/command.h"
#include "experiments/report.h"
#include "experiments/run.h"
#include "experiments/stages.h"
#include "experiments/sweep.h"
#include "experiments/sweep_run.h"
#include "experiments/tuning.h"

/* Of the commands that train a language model, at the same place; the other stages have no options. */
enum { OPTION_TRACE, OPTION_TRIAL, OPTION_THROUGH, OPTION_THREADS, OPTION_PUT_ASIDE };

bool command_stage(const struct invocation *invocation, struct error *error)
{
    const char *name = invocation->command->name;
    const bool tune = strcmp(name, "tune") == 0;
    struct run run;
    if (!run_open(&run, invocation->communicator, invocation->words[0], invocation->word_count - 1,
                  invocation->words + 1, error))
        return false;
    run_count_start(&run);
    bool done =
        run_open_trace(&run, invocation->option[OPTION_TRACE], error) && run_stage(&run, name, tune, error);
    if (done && run_leads(&run) && strcmp(name, "report") == 0)
        done = report_print_table(&run, stdout, error);
    if (done && run_leads(&run) && tune)
        done = tuning_print(&run, stdout, error);
    invocation->communicator->failing = !done;
    run_close(&run);
    return done;
}

/* ---- run: everything, of an experiment or of a study ----------------------------------------------------- */

static bool run_experiment(const struct invocation *invocation, struct error *error)
{
    struct run run;
    if (!run_open(&run, invocation->communicator, invocation->words[0], invocation->word_count - 1,
                  (char *const *)invocation->words + 1, error))
        return false;
    run_count_start(&run);
    const bool done = run_open_trace(&run, invocation->option[OPTION_TRACE], error) &&
                      run_stage(&run, "report", true, error) &&
                      (!run_leads(&run) || report_print_table(&run, stdout, error));
    invocation->communicator->failing = !done;
    run_close(&run);
    return done;
}

static bool run_trial(const struct sweep *sweep, const struct invocation *invocation, struct error *error)
{
    const char *name = invocation->option[OPTION_TRIAL], *stage = invocation->option[OPTION_THROUGH];
    const int trial = sweep_find(sweep, name);
    int64_t threads = 0;
    if (trial < 0)
        return sweep_lacks_trial(sweep, name, error);
    if (stage && stage_number(stage) < 0)
        return error_set(error, ERROR_USAGE, "--through=%.60s: no such stage", stage);
    return option_integer(invocation, OPTION_THREADS, 1, &threads, error) &&
           sweep_run_trial(sweep, trial, stage ? stage : "report", (int)threads,
                           !invocation->option[OPTION_PUT_ASIDE], error);
}

bool command_run_config(const struct invocation *invocation, struct error *error)
{
    struct sweep sweep;
    if (!sweep_open(&sweep, invocation->words[0], invocation->word_count - 1,
                    (char *const *)invocation->words + 1, error))
        return false;
    const bool trial = invocation->option[OPTION_TRIAL];
    bool done = true;
    if (!trial && (invocation->option[OPTION_THROUGH] || invocation->option[OPTION_THREADS] ||
                   invocation->option[OPTION_PUT_ASIDE]))
        done = error_set(error, ERROR_USAGE, "--through, --threads and --put-aside belong to --trial");
    else if ((trial || sweep.trial_count > 0) && invocation->option[OPTION_TRACE])
        done = error_set(error, ERROR_USAGE, "--trace is of one run; the trials of a study are not traced");
    else if (trial && invocation->communicator->size > 1)
        done =
            error_set(error, ERROR_USAGE,
                      "--trial=%.200s is done by one process; without --trial the ranks divide the trials of "
                      "the study",
                      invocation->option[OPTION_TRIAL]);
    else if (trial)
        done = run_trial(&sweep, invocation, error);
    else
        done = sweep.trial_count > 0 ? sweep_run(&sweep, invocation->communicator, stdout, error)
                                     : run_experiment(invocation, error);
    sweep_close(&sweep);
    return done;
}
