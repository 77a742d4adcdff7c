#include "models/language/schedule.h"

#include <math.h>
#include <string.h>

enum schedule_course schedule_course_from_name(const char *name)
{
    if (strcmp(name, "constant") == 0)
        return SCHEDULE_CONSTANT;
    return strcmp(name, "linear") == 0 ? SCHEDULE_LINEAR : SCHEDULE_COSINE;
}

double schedule_rate(const struct schedule *schedule, double done)
{
    if (done < schedule->warm_up)
        return schedule->learning_rate * done / schedule->warm_up;
    if (schedule->course == SCHEDULE_CONSTANT || schedule->warm_up >= 1)
        return schedule->learning_rate;
    const double fall = (fmin(done, 1) - schedule->warm_up) / (1 - schedule->warm_up);
    const double left = schedule->course == SCHEDULE_LINEAR ? 1 - fall : 0.5 * (1 + cos(acos(-1) * fall));
    return schedule->learning_rate * (schedule->final_share + (1 - schedule->final_share) * left);
}
