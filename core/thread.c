#include "core/thread.h"

#include <signal.h>
#include <time.h>

int thread_start(pthread_t *thread, void *(*work)(void *argument), void *argument)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failure = pthread_create(thread, NULL, work, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failure;
}

void thread_wait(pthread_cond_t *changed, pthread_mutex_t *lock, double seconds)
{
    enum { NANOSECONDS = 1000000000 };
    const double whole = (double)(time_t)seconds;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)whole;
    until.tv_nsec += (long)((seconds - whole) * NANOSECONDS);
    until.tv_sec += until.tv_nsec / NANOSECONDS;
    until.tv_nsec %= NANOSECONDS;
    pthread_cond_timedwait(changed, lock, &until);
}
