/*
 * bench_load FOLDER [ROWS [integer|string]]: seconds to load, filter (5-core) and split interactions from
 * text. Writes FOLDER/load-KIND-ROWS.tsv once (users and items drawn with skew, times at random) and keeps
 * it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/filter.h"
#include "core/random.h"
#include "core/readers.h"
#include "core/split.h"

#define USERS 162000
#define ITEMS 59000

static bool write_rows(const char *path, int64_t rows, bool strings, struct error *error)
{
    FILE *file = fopen(path, "w");
    if (!file)
        return error_system(error, path, "cannot be written", NULL);
    for (int64_t row = 0; row < rows; row++) {
        struct random_stream stream = random_stream_open(1, RANDOM_TEST, 0, (uint64_t)row);
        const int user = (int)(pow(random_double(&stream), 1.5) * USERS);
        const int item = (int)(pow(random_double(&stream), 3.0) * ITEMS);
        const double rating = 0.5 * (1 + random_below(&stream, 10));
        const long time = 800000000L + (long)random_below(&stream, 600000000);
        fprintf(file, strings ? "A%09X\tB00%07X\t%.1f\t%ld\n" : "%d\t%d\t%.1f\t%ld\n", user, item, rating,
                time);
    }
    if (fclose(file) != 0)
        return error_system(error, path, "cannot be written", NULL);
    return true;
}

static double lap(double *since)
{
    const double now = clock_seconds(), seconds = now - *since;
    *since = now;
    return seconds;
}

static bool measure(const char *path, struct error *error)
{
    const struct reader_settings settings = {
        .format = "tsv", .user_column = "0", .item_column = "1", .rating_column = "2", .time_column = "3"};
    struct interactions interactions;
    struct preparation_counts counts;
    struct dataset dataset = {0};
    double since = clock_seconds();
    if (!interactions_read(&interactions, &path, 1, &settings, NULL, NULL, error))
        return false;
    const double read_seconds = lap(&since);
    bool done =
        interactions_filter(&interactions, NULL, (struct filter_settings){.k_core = 5}, &counts, error);
    const double filter_seconds = lap(&since);
    const struct split_settings split = {.method = SPLIT_RANDOM, .ratios = {0.8, 0.1, 0.1}, .seed = 1};
    done = done && dataset_split(&dataset, &interactions, NULL, split, error);
    const double split_seconds = lap(&since);
    if (done)
        printf("%s\n%lld rows, %lld duplicates, %lld outside the core, %lld users, %lld items\n"
               "read %.2f s, filter %.2f s, split %.2f s, together %.2f s; peak memory %.0f MiB\n",
               path, (long long)counts.rows_read, (long long)counts.duplicates, (long long)counts.below_core,
               (long long)dataset.user_ids.count, (long long)dataset.item_ids.count, read_seconds,
               filter_seconds, split_seconds, read_seconds + filter_seconds + split_seconds,
               (double)peak_memory_bytes() / (1024.0 * 1024.0));
    dataset_free(&dataset);
    interactions_free(&interactions);
    return done;
}

int main(int argument_count, char **arguments)
{
    if (argument_count < 2) {
        fprintf(stderr, "usage: %s FOLDER [ROWS [integer|string]]\n", arguments[0]);
        return 2;
    }
    const long long rows = argument_count > 2 ? atoll(arguments[2]) : 25000000;
    const bool strings = argument_count > 3 && strcmp(arguments[3], "string") == 0;
    char *path = path_format("%s/load-%s-%lld.tsv", arguments[1], strings ? "string" : "integer", rows);
    struct error error = ERROR_INITIALIZER;
    const bool done = (path_exists(path) || write_rows(path, rows, strings, &error)) && measure(path, &error);
    error_print(&error, stderr);
    free(path);
    return done ? 0 : 1;
}
