#include <stdlib.h>
#include <string.h>

#include "core/comm/comm_calls.h"

/* How launchers tell a process how many there are. A job's batch script runs with Slurm's variables as well, but as one
 * process: SLURM_NTASKS counts only in a step. */
static const struct {
    const char *launcher, *ranks, *required;
} launchers[] = {{"Open MPI", "OMPI_COMM_WORLD_SIZE", NULL},
                 {"MPICH", "PMI_SIZE", NULL},
                 {"Slurm", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}};

enum { LAUNCHERS = sizeof launchers / sizeof *launchers };

int launcher_ranks(const char **launcher)
{
    for (int i = 0; i < LAUNCHERS; i++) {
        const char *ranks = getenv(launchers[i].ranks);
        const bool complete = !launchers[i].required || getenv(launchers[i].required);
        if (!ranks || !complete || atoi(ranks) < 2)
            continue;
        *launcher = launchers[i].launcher;
        return atoi(ranks);
    }
    return 1;
}

void comm_leave_environment(void)
{
    /* The variables that MPI itself looks at would make a child join in its parent's place. */
    extern char **environ;
    static const char *const prefixes[] = {"OMPI_COMM_WORLD_", "PMI_",        "PMIX_",
                                           "SLURM_PROCID=",    "SLURM_STEP_", "IDREC_RANKS_FOLDER="};
    for (char **variable = environ; *variable;) {
        char name[128];
        bool removed = false;
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
            removed = removed || strncmp(*variable, prefixes[i], strlen(prefixes[i])) == 0;
        const size_t length = strcspn(*variable, "=");
        if (removed && length < sizeof name) {
            memcpy(name, *variable, length);
            name[length] = '\0';
            unsetenv(name);
            variable = environ;
        } else {
            variable++;
        }
    }
}
