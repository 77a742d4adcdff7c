/*
 * command.h: the subcommands of idrec: their arguments, the help that teaches them, and the work.
 */
#ifndef IDREC_EXPERIMENTS_COMMAND_H
#define IDREC_EXPERIMENTS_COMMAND_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/comm.h"
#include "core/error.h"

/* Options have long names only; `key` of an argp_option is OPTION_FIRST + its place in option[]. */
enum { OPTION_FIRST = 256, OPTIONS_MAXIMUM = 16, WORDS_MAXIMUM = 256 };

struct invocation {
    const struct command *command;
    struct communicator *communicator; /* the ranks that were started with this process */
    int word_count;
    char *words[WORDS_MAXIMUM];          /* what is not an option */
    const char *option[OPTIONS_MAXIMUM]; /* NULL: not given; "" for options without a value */
};

struct command {
    const char *name;
    const char *summary;               /* one line of `idrec --help` */
    const char *arguments;             /* as in "CONFIG [key.path=value ...]" */
    const char *help;                  /* the rest of `idrec COMMAND --help`, with examples */
    const struct argp_option *options; /* ended by {0}; NULL: none */
    int fewest_words, most_words;
    bool (*work)(const struct invocation *invocation, struct error *error);
};

/* Parses the words behind the command's name (argv[0] is the name) and does the work, or prints the help. */
bool command_run(const struct command *command, struct communicator *communicator, int argc, char **argv,
                 struct error *error);

/* A number of an option; without the option *value stays as it is. */
bool option_integer(const struct invocation *invocation, int option, int64_t least, int64_t *value,
                    struct error *error);
bool option_number(const struct invocation *invocation, int option, double *value, struct error *error);

bool command_run_config(const struct invocation *invocation,
                        struct error *error); /* of an experiment or a study */
bool command_stage(const struct invocation *invocation, struct error *error); /* every single stage */
bool command_status(const struct invocation *invocation, struct error *error);
bool command_plan(const struct invocation *invocation, struct error *error);
bool command_config(const struct invocation *invocation, struct error *error);
bool command_info(const struct invocation *invocation, struct error *error);
bool command_devices(const struct invocation *invocation, struct error *error);
bool command_synthesize(const struct invocation *invocation, struct error *error);
bool command_compare(const struct invocation *invocation, struct error *error);
bool command_tensorboard(const struct invocation *invocation, struct error *error);
bool command_recommend(const struct invocation *invocation, struct error *error);
bool command_export(const struct invocation *invocation, struct error *error);
bool command_merge(const struct invocation *invocation, struct error *error);
bool command_score(const struct invocation *invocation, struct error *error);
bool command_reproduce(const struct invocation *invocation, struct error *error);

/* The table, ended by a name that is NULL. */
extern const struct command commands[];
/* NULL when there is none of that name. */
const struct command *command_find(const char *name);
const char *command_nearest(const char *name);

#endif
