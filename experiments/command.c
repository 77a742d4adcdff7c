#include "experiments/command.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/schema.h"

enum { KEY_HELP = OPTION_FIRST + OPTIONS_MAXIMUM };

/* What the parser fills. */
struct parsing {
    struct invocation invocation;
    bool help;
    struct error *error;
};

static error_t refuse(struct parsing *parsing, const char *format, const char *word)
{
    error_set(parsing->error, ERROR_USAGE, format, word, parsing->invocation.command->name);
    return EINVAL;
}

static error_t parse_word(int key, char *argument, struct argp_state *state)
{
    struct parsing *parsing = state->input;
    struct invocation *invocation = &parsing->invocation;
    switch (key) {
    case KEY_HELP:
        parsing->help = true;
        return 0;
    case ARGP_KEY_ARG:
        if (invocation->word_count >= invocation->command->most_words)
            return refuse(parsing, "%.200s: is one argument too many; see `idrec %s --help`", argument);
        invocation->words[invocation->word_count++] = argument;
        return 0;
    case ARGP_KEY_ERROR:
        return refuse(parsing, "%.200s: is not an option, or lacks its value; see `idrec %s --help`",
                      state->argv[state->next > 0 ? state->next - 1 : 0]);
    default:
        if (key < OPTION_FIRST || key >= OPTION_FIRST + OPTIONS_MAXIMUM)
            return ARGP_ERR_UNKNOWN;
        invocation->option[key - OPTION_FIRST] = argument ? argument : "";
        return 0;
    }
}

static void print_help(const struct command *command, const struct argp *argp)
{
    char *name = path_format("idrec %s", command->name);
    argp_help(argp, stdout, ARGP_HELP_USAGE | ARGP_HELP_PRE_DOC | ARGP_HELP_LONG | ARGP_HELP_POST_DOC, name);
    free(name);
}

/* All ranks run stages together; anything else is rank 0's. */
static bool is_by_ranks(const struct command *command)
{
    return command->work == command_stage || command->work == command_run_config;
}

bool command_run(const struct command *command, struct communicator *communicator, int argc, char **argv,
                 struct error *error)
{
    struct argp_option options[OPTIONS_MAXIMUM + 2] = {{"help", KEY_HELP, NULL, 0, "Print this help", -1}};
    for (int i = 0; command->options && command->options[i].name; i++)
        options[i + 1] = command->options[i];
    char *text = path_format("%s\v%s", command->summary, command->help);
    const struct argp argp = {
        .options = options, .parser = parse_word, .args_doc = command->arguments, .doc = text};
    struct parsing parsing = {.invocation = {.command = command, .communicator = communicator},
                              .error = error};
    const error_t status =
        argp_parse(&argp, argc, argv, ARGP_NO_EXIT | ARGP_NO_ERRS | ARGP_NO_HELP, NULL, &parsing);
    bool done =
        status == 0 || error_set(error, ERROR_USAGE, "bad arguments; see `idrec %s --help`", command->name);
    if (done && parsing.help && communicator->rank == 0)
        print_help(command, &argp);
    else if (done && !parsing.help && parsing.invocation.word_count < command->fewest_words)
        done = error_set(error, ERROR_USAGE, "usage: idrec %s %s; see `idrec %s --help`", command->name,
                         command->arguments, command->name);
    else if (done && !parsing.help && (is_by_ranks(command) || communicator->rank == 0))
        done = command->work(&parsing.invocation, error);
    free(text);
    return done;
}

bool option_integer(const struct invocation *invocation, int option, int64_t least, int64_t *value,
                    struct error *error)
{
    const char *text = invocation->option[option];
    if (!text)
        return true;
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    if (end != text && *end == '\0' && errno == 0 && *value >= least)
        return true;
    return error_set(error, ERROR_USAGE, "--%s=%.60s: a whole number from %lld on is expected",
                     invocation->command->options[option].name, text, (long long)least);
}

bool option_number(const struct invocation *invocation, int option, double *value, struct error *error)
{
    const char *text = invocation->option[option];
    if (!text)
        return true;
    char *end;
    *value = strtod(text, &end);
    if (end != text && *end == '\0' && isfinite(*value))
        return true;
    return error_set(error, ERROR_USAGE, "--%s=%.60s: a number is expected",
                     invocation->command->options[option].name, text);
}

const struct command *command_find(const char *name)
{
    for (const struct command *command = commands; command->name; command++)
        if (strcmp(command->name, name) == 0)
            return command;
    return NULL;
}

const char *command_nearest(const char *name)
{
    const char *nearest = NULL;
    size_t least = strlen(name) / 2 + 2;
    for (const struct command *command = commands; command->name; command++) {
        const size_t distance = edit_distance(name, command->name);
        if (distance < least) {
            least = distance;
            nearest = command->name;
        }
    }
    return nearest;
}
