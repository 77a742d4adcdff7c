/* thread.h: threads beside the one that does the work. */
#ifndef IDREC_CORE_THREAD_H
#define IDREC_CORE_THREAD_H

#include <pthread.h>

/* pthread_create() of a thread that no signal reaches: signals are for those that were there before. Returns its error. */
int thread_start(pthread_t *thread, void *(*work)(void *argument), void *argument);

/* Waits for `changed`, as pthread_cond_wait(), but no longer than so many seconds. */
void thread_wait(pthread_cond_t *changed, pthread_mutex_t *lock, double seconds);

#endif
