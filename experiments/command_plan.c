#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experiments/check.h"
#include "experiments/command.h"
#include "experiments/plan_study.h"

enum { RANKS_MOST = 65536 };
enum {
    OPTION_JSON,
    OPTION_MEMORY,
    OPTION_USERS,
    OPTION_ITEMS,
    OPTION_INTERACTIONS,
    OPTION_SPREAD,
    OPTION_TOKENS_PER_ITEM,
    OPTION_TFLOPS,
    OPTION_EFFICIENCY,
    OPTION_BANDWIDTH,
    OPTION_SECONDS,
    OPTION_TRIAL,
    OPTION_RANKS,
    OPTION_LINK
};

static bool positive(const struct invocation *invocation, int option, double *value, struct error *error)
{
    if (!option_number(invocation, option, value, error))
        return false;
    return !invocation->option[option] || *value > 0 ||
           error_set(error, ERROR_USAGE, "--%s=%.60s: a number above 0 is expected",
                     invocation->command->options[option].name, invocation->option[option]);
}

/* "12GB", "512MB", "12GiB", or bytes. */
static bool option_bytes(const struct invocation *invocation, int option, double *bytes, struct error *error)
{
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"", 1},      {"B", 1},        {"kB", 1e3},        {"MB", 1e6},          {"GB", 1e9},
                 {"TB", 1e12}, {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}};
    const char *text = invocation->option[option];
    if (!text)
        return true;
    char *end;
    const double number = strtod(text, &end);
    for (size_t i = 0; end != text && i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].name) == 0 && number > 0) {
            *bytes = number * units[i].factor;
            return true;
        }
    return error_set(error, ERROR_USAGE, "--%s=%.60s: a size such as 12GB, 512MB or 8GiB is expected",
                     invocation->command->options[option].name, text);
}

static bool read_options(struct plan_options *options, const struct invocation *invocation,
                         struct error *error)
{
    double tflops = 0, bandwidth = 0, link = 0;
    *options = (struct plan_options){.mean_spread = 1, .efficiency = 0.4, .seconds = 2, .ranks = 1};
    if (!option_bytes(invocation, OPTION_MEMORY, &options->memory, error) ||
        !option_integer(invocation, OPTION_USERS, 1, &options->users, error) ||
        !option_integer(invocation, OPTION_ITEMS, 2, &options->items, error) ||
        !option_integer(invocation, OPTION_INTERACTIONS, 1, &options->interactions, error) ||
        !option_number(invocation, OPTION_SPREAD, &options->mean_spread, error) ||
        !positive(invocation, OPTION_TOKENS_PER_ITEM, &options->tokens_per_item, error) ||
        !positive(invocation, OPTION_TFLOPS, &tflops, error) ||
        !positive(invocation, OPTION_EFFICIENCY, &options->efficiency, error) ||
        !positive(invocation, OPTION_BANDWIDTH, &bandwidth, error) ||
        !option_integer(invocation, OPTION_RANKS, 1, &options->ranks, error) ||
        !positive(invocation, OPTION_LINK, &link, error) ||
        !positive(invocation, OPTION_SECONDS, &options->seconds, error))
        return false;
    options->operations_per_second = tflops * 1e12;
    options->bytes_per_second = bandwidth * 1e9;
    options->link = link * 1e9;
    if (options->ranks > RANKS_MOST)
        return error_set(error, ERROR_USAGE, "--ranks=%lld: at most %d", (long long)options->ranks,
                         RANKS_MOST);
    if (link > 0 && options->ranks == 1)
        return error_set(error, ERROR_USAGE, "--link belongs to --ranks: one process sends nothing");
    if (tflops <= 0 && (invocation->option[OPTION_EFFICIENCY] || invocation->option[OPTION_BANDWIDTH]))
        return error_set(error, ERROR_USAGE,
                         "--efficiency and --bandwidth belong to --device-tflops; rates of "
                         "this machine are measured");
    return options->efficiency <= 1 || error_set(error, ERROR_USAGE, "--efficiency: is at most 1");
}

static void print_json(json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(json);
}

/* Of a run, or of one trial by itself. */
static bool plan_run(const struct plan_options *options, struct config *config, bool json,
                     struct error *error)
{
    struct plan_memo *memo = NULL;
    struct plan plan;
    if (!plan_memo_open(&memo, false, error)) {
        config_free(config);
        return false;
    }
    const bool done = plan_make(&plan, config, options, memo, (struct plan_place){.at_once = 0}, error);
    if (done && json)
        print_json(plan_json(&plan));
    else if (done)
        plan_print(&plan, stdout);
    plan_free(&plan);
    plan_memo_close(memo);
    return done;
}

static bool plan_one_trial(const struct plan_options *options, const struct sweep *sweep, const char *name,
                           bool json, struct error *error)
{
    const int trial = sweep_find(sweep, name);
    struct config *config;
    if (trial < 0)
        return sweep_lacks_trial(sweep, name, error);
    return sweep_trial_config(&config, sweep, trial, error) && plan_run(options, config, json, error);
}

static bool plan_all_trials(const struct plan_options *options, const struct sweep *sweep, bool json,
                            struct error *error)
{
    struct study_plan study;
    const bool done = study_plan_make(&study, sweep, options, error);
    if (done && json)
        print_json(study_plan_json(&study));
    else if (done)
        study_plan_print(&study, stdout);
    study_plan_free(&study);
    return done;
}

static bool plan_configuration(const struct plan_options *options, const struct invocation *invocation,
                               bool json, struct error *error)
{
    struct config *config;
    if (config_load(&config, invocation->words[0], invocation->word_count - 1, invocation->words + 1,
                    error) &&
        check_config(config, error))
        return plan_run(options, config, json, error);
    config_free(config);
    return false;
}

bool command_plan(const struct invocation *invocation, struct error *error)
{
    const bool json = invocation->option[OPTION_JSON];
    const char *trial = invocation->option[OPTION_TRIAL];
    struct plan_options options;
    struct sweep sweep;
    if (!read_options(&options, invocation, error) ||
        !sweep_open(&sweep, invocation->words[0], invocation->word_count - 1,
                    (char *const *)invocation->words + 1, error))
        return false;
    bool done;
    if (options.ranks > 1 && sweep.trial_count > 0 && !trial)
        done =
            error_set(error, ERROR_USAGE,
                      "--ranks is of one run, and ranks of a study take whole trials; name one by --trial");
    else if (trial)
        done = plan_one_trial(&options, &sweep, trial, json, error);
    else
        done = sweep.trial_count > 0 ? plan_all_trials(&options, &sweep, json, error)
                                     : plan_configuration(&options, invocation, json, error);
    sweep_close(&sweep);
    return done;
}
