#include <stdio.h>
#include <string.h>

#include "core/backend.h"
#include "core/interrupt.h"
#include "experiments/command.h"

static void print_help(void)
{
    printf("usage: idrec COMMAND [argument ...]\n\n"
           "Learn a language model of item ids from interactions, let it generate interactions, filter them, "
           "and see\n"
           "whether recommenders that train on them as well get better.\n\n");
    for (const struct command *command = commands; command->name; command++)
        printf("  %-11s %s\n", command->name, command->summary);
    printf("\n`idrec COMMAND --help` explains a command, with examples. To begin:\n"
           "  idrec synthesize runs/quickstart/data.inter\n"
           "  idrec run configs/quickstart.yaml\n\n"
           "Exit status: 0 done, 1 the run failed, 2 bad usage or configuration, 130 interrupted (the state "
           "is saved:\n"
           "the same command goes on).\n");
}

static bool dispatch(int argc, char **argv, struct error *error)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name)
        return error_set(error, ERROR_USAGE, "a command is missing; see `idrec --help`");
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        print_help();
        return true;
    }
    if (strcmp(name, "--version") == 0) {
        printf("idrec %s (%s)\n", IDREC_VERSION, IDREC_COMMIT);
        return true;
    }
    const struct command *command = command_find(name);
    if (command)
        return command_run(command, argc - 1, argv + 1, error);
    const char *nearest = command_nearest(name);
    if (nearest)
        return error_set(error, ERROR_USAGE, "%.100s: is not a command; did you mean %s?", name, nearest);
    return error_set(error, ERROR_USAGE, "%.100s: is not a command; see `idrec --help`", name);
}

int main(int argc, char **argv)
{
    backend_prepare_process(argv);
    interrupt_install();
    struct error error = ERROR_INITIALIZER;
    const bool done = dispatch(argc, argv, &error);
    if (done && (fflush(stdout) != 0 || ferror(stdout)))
        error_system(&error, "standard output", "cannot write", NULL);
    else if (!done)
        error_set(&error, ERROR_RUN, "failed without a reason; this is a defect");
    error_print(&error, stderr);
    return error.kind == ERROR_DIVERGED ? (int)ERROR_RUN : (int)error.kind;
}
