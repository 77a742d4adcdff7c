#include "experiments/plan_units.h"

#include <stdio.h>

const char *plan_bytes_text(char text[32], double bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    int unit = 0;
    for (; bytes >= 999.5 && unit < 4; unit++)
        bytes /= 1000;
    snprintf(text, 32, "%.*f %s", bytes < 9.95 && unit > 0 ? 1 : 0, bytes, units[unit]);
    return text;
}

const char *plan_seconds_text(char text[32], double seconds)
{
    if (seconds < 0.95)
        snprintf(text, 32, "%.1f s", seconds);
    else if (seconds < 99.5)
        snprintf(text, 32, "%.*f s", seconds < 9.95 ? 1 : 0, seconds);
    else if (seconds < 99.5 * 60)
        snprintf(text, 32, "%.0f min", seconds / 60);
    else if (seconds < 99.5 * 3600)
        snprintf(text, 32, "%.1f h", seconds / 3600);
    else
        snprintf(text, 32, "%.1f days", seconds / 86400);
    return text;
}

bool plan_is_wide(struct plan_range range)
{
    return range.high > 1.1 * range.low + 0.1;
}

const char *plan_range_text(char text[72], struct plan_range range)
{
    char low[32], high[32];
    if (plan_is_wide(range))
        snprintf(text, 72, "%s to %s", plan_seconds_text(low, range.low),
                 plan_seconds_text(high, range.high));
    else
        snprintf(text, 72, "%s", plan_seconds_text(high, range.high));
    return text;
}

json_t *plan_range_json(struct plan_range range)
{
    return json_pack("[f, f]", range.low, range.high);
}
