/* The readers on any bytes: the first byte picks the format, the rest is the file. Nothing may crash, and
 * what is read must survive the filter and the split. */
#include <stdlib.h>

#include "core/filter.h"
#include "core/readers.h"
#include "core/split.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void prepare(struct interactions *rows, struct error *error)
{
    struct preparation_counts counts;
    struct dataset dataset;
    if (!interactions_filter(rows, NULL, (struct filter_settings){.k_core = 2}, &counts, error))
        return;
    const struct split_settings split = {
        .method = rows->times ? SPLIT_TEMPORAL : SPLIT_RANDOM, .ratios = {0.8, 0.1, 0.1}, .seed = 1};
    if (!dataset_split(&dataset, rows, NULL, split, error))
        return;
    if (!dataset_check_disjoint(&dataset, error))
        abort();
    dataset_free(&dataset);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    static const struct reader_settings settings[] = {
        {.format = "auto"},
        {.format = "recbole"},
        {.format = "csv"},
        {.format = "csv", .user_column = "0", .item_column = "1", .rating_column = "2", .time_column = "3"},
        {.format = "tsv", .user_column = "user", .item_column = "item"},
        {.format = "movielens"},
        {.format = "adjacency"},
        {.format = "sequence"},
        {.format = "selfrec"},
    };
    if (length == 0)
        return 0;
    const size_t choice = bytes[0] % (sizeof settings / sizeof *settings);
    struct interactions rows;
    struct error error = ERROR_INITIALIZER;
    const bool read =
        interactions_read_text(&rows, "fuzz", bytes + 1, length - 1, &settings[choice], NULL, &error);
    if (read == (error.kind != ERROR_NONE))
        abort();
    if (read)
        prepare(&rows, &error);
    interactions_free(&rows);
    return 0;
}
