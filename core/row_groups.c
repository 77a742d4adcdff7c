#include "core/row_groups.h"

#include <stdlib.h>
#include <string.h>

bool row_groups_build(struct row_groups *result, const int32_t *group_of, int64_t count, int64_t groups,
                      struct error *error)
{
    *result = (struct row_groups){.groups = groups};
    result->starts = calloc((size_t)groups + 1, sizeof *result->starts);
    result->rows = malloc((size_t)(count + 1) * sizeof *result->rows);
    if (!result->starts || !result->rows) {
        row_groups_free(result);
        return error_memory(error, "grouping the interactions", (size_t)count * 4 + (size_t)groups * 8, NULL);
    }
    int64_t *starts = result->starts;
    for (int64_t row = 0; row < count; row++)
        starts[group_of[row] + 1]++;
    for (int64_t group = 0; group < groups; group++)
        starts[group + 1] += starts[group];
    for (int64_t row = 0; row < count; row++)
        result->rows[starts[group_of[row]]++] = (int32_t)row;
    memmove(starts + 1, starts, (size_t)groups * sizeof *starts);
    starts[0] = 0;
    return true;
}

struct timed_row {
    int64_t time;
    int32_t row;
};

/* A stable merge sort of values[0 .. count - 1]; spare has the same length. */
static void sort_timed_rows(struct timed_row *values, struct timed_row *spare, int64_t count)
{
    if (count < 2)
        return;
    const int64_t half = count / 2;
    sort_timed_rows(values, spare, half);
    sort_timed_rows(values + half, spare, count - half);
    if (values[half - 1].time <= values[half].time)
        return;
    memcpy(spare, values, (size_t)half * sizeof *values);
    int64_t left = 0, right = half, out = 0;
    while (left < half)
        values[out++] =
            right < count && values[right].time < spare[left].time ? values[right++] : spare[left++];
}

static int64_t longest_group(const struct row_groups *groups)
{
    int64_t longest = 0;
    for (int64_t group = 0; group < groups->groups; group++) {
        const int64_t length = groups->starts[group + 1] - groups->starts[group];
        longest = length > longest ? length : longest;
    }
    return longest;
}

static void sort_group(int32_t *rows, int64_t count, const int64_t *times, struct timed_row *buffer)
{
    for (int64_t position = 0; position < count; position++)
        buffer[position] = (struct timed_row){.time = times[rows[position]], .row = rows[position]};
    sort_timed_rows(buffer, buffer + count, count);
    for (int64_t position = 0; position < count; position++)
        rows[position] = buffer[position].row;
}

bool row_groups_sort_by_time(struct row_groups *groups, const int64_t *times, struct error *error)
{
    const size_t bytes = (size_t)(longest_group(groups) * 2 + 1) * sizeof(struct timed_row);
    bool enough = true;
#pragma omp parallel
    {
        struct timed_row *buffer = malloc(bytes);
        if (!buffer) {
#pragma omp atomic write
            enough = false;
        }
#pragma omp for schedule(dynamic, 256)
        for (int64_t group = 0; group < groups->groups; group++)
            if (buffer)
                sort_group(groups->rows + groups->starts[group],
                           groups->starts[group + 1] - groups->starts[group], times, buffer);
        free(buffer);
    }
    return enough || error_memory(error, "ordering the interactions by time", bytes, NULL);
}

void row_groups_free(struct row_groups *groups)
{
    free(groups->starts);
    free(groups->rows);
    *groups = (struct row_groups){0};
}
