#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/backend.h"
#include "core/comm.h"
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
           "Exit status: 0 done, 1 the run failed, 2 bad usage or configuration, 75 one of several ranks was "
           "lost,\n"
           "130 interrupted (after these two the same command goes on from what was saved).\n");
}

static bool dispatch(struct communicator *communicator, int argc, char **argv, struct error *error)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name)
        return error_set(error, ERROR_USAGE, "a command is missing; see `idrec --help`");
    const bool help = strcmp(name, "--help") == 0 || strcmp(name, "help") == 0;
    if (help || strcmp(name, "--version") == 0) {
        if (help && communicator->rank == 0)
            print_help();
        else if (communicator->rank == 0)
            printf("idrec %s (%s)\n", IDREC_VERSION, IDREC_COMMIT);
        return true;
    }
    const struct command *command = command_find(name);
    if (command)
        return command_run(command, communicator, argc - 1, argv + 1, error);
    const char *nearest = command_nearest(name);
    if (nearest)
        return error_set(error, ERROR_USAGE, "%.100s: is not a command; did you mean %s?", name, nearest);
    return error_set(error, ERROR_USAGE, "%.100s: is not a command; see `idrec --help`", name);
}

enum { TELL_SECONDS = 5 };

/* What fails at one rank ends all. Most failures are everyone's: rank 0 is given the time to tell them alone. */
static void end_ranks(struct communicator *communicator, struct error *error)
{
    const bool alone = !communicator || communicator->size == 1;
    const int status = error->kind == ERROR_DIVERGED ? (int)ERROR_RUN : (int)error->kind;
    if (alone || error->kind == ERROR_NONE || communicator->ending) {
        if (alone || communicator->rank == 0)
            error_print(error, stderr);
        comm_close(communicator);
        return;
    }
    if (communicator->rank > 0 && sleep(TELL_SECONDS) > 0)
        _exit(status); /* the launcher ends this rank: rank 0 has told */
    comm_name_rank(communicator, error);
    error_print(error, stderr);
    comm_abort(communicator, status);
}

int main(int argc, char **argv)
{
    backend_prepare_process(argv);
    /* A process that was executed again through /proc/self/exe is called exe, and `pkill idrec` would not find it. */
    prctl(PR_SET_NAME, program_invocation_short_name);
    interrupt_install();
    struct error error = ERROR_INITIALIZER;
    struct communicator *communicator;
    const bool done = comm_open(&communicator, &error) && dispatch(communicator, argc, argv, &error);
    if (done && (fflush(stdout) != 0 || ferror(stdout)))
        error_system(&error, "standard output", "cannot write", NULL);
    else if (!done)
        error_set(&error, ERROR_RUN, "failed without a reason; this is a defect");
    end_ranks(communicator, &error);
    return error.kind == ERROR_DIVERGED ? (int)ERROR_RUN : (int)error.kind;
}
