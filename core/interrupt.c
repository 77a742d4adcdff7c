#include "core/interrupt.h"

#include <signal.h>
#include <string.h>

static volatile sig_atomic_t requested;

static void on_signal(int signal_number)
{
    (void)signal_number;
    requested = 1;
}

void interrupt_install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = (int)SA_RESETHAND;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    signal(SIGXFSZ, SIG_IGN);
}

void interrupt_request(void)
{
    requested = 1;
}

bool interrupt_requested(void)
{
    return requested != 0;
}

bool interrupt_check(struct error *error)
{
    if (!requested)
        return true;
    return error_set(error, ERROR_INTERRUPTED,
                     "interrupted; what was finished is kept, run the same command to go on");
}
