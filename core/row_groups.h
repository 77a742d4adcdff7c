/* row_groups.h: the rows of interactions, grouped by user or by item. */
#ifndef IDREC_CORE_ROW_GROUPS_H
#define IDREC_CORE_ROW_GROUPS_H

#include "core/interactions.h"

/* Group g holds rows[starts[g] .. starts[g + 1] - 1]. */
struct row_groups {
    int64_t groups;
    int64_t *starts; /* [groups + 1] */
    int32_t *rows;
};
/* group_of [count]: values from 0 to groups - 1. Rows ascend within a group. */
bool row_groups_build(struct row_groups *result, const int32_t *group_of, int64_t count, int64_t groups,
                      struct error *error);
/* Orders the rows of each group by time, equal times by row. */
bool row_groups_sort_by_time(struct row_groups *groups, const int64_t *times, struct error *error);
void row_groups_free(struct row_groups *groups);

#endif
