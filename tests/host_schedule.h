/* host_schedule.h: host_cuda.h's schedules for tests in C. */
#ifndef IDREC_TESTS_HOST_SCHEDULE_H
#define IDREC_TESTS_HOST_SCHEDULE_H

#ifdef __cplusplus
extern "C" {
#endif

int host_schedule_count(void);
const char *host_schedule_label(int schedule);
void host_schedule_choose(int schedule); /* for the launches to come */

#ifdef __cplusplus
}
#endif

#endif
