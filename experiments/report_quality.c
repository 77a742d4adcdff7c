#include "experiments/report.h"

static void add_share(struct table *table, const json_t *object, const char *key)
{
    if (json_has(object, key))
        table_cell(table, "%.4f", json_number_at(object, key));
    else
        table_cell(table, "-");
}

/* A line of the overview: what, its value, what to hold it against, and how to read it. */
static void add_line(struct table *table, const char *what, const json_t *object, const char *key,
                     const char *against, const char *meaning)
{
    table_cell(table, "%s", what);
    add_share(table, object, key);
    if (against != NULL)
        add_share(table, object, against);
    else
        table_cell(table, " ");
    table_cell(table, "%s", meaning);
}

static void overview_table(const struct document *document, const json_t *quality)
{
    const json_t *duplicates = json_object_get(quality, "duplicates");
    struct table table = {.name = "quality", .columns = 4};
    table_cell(&table, "measure");
    table_cell(&table, "value");
    table_cell(&table, "against");
    table_cell(&table, "meaning");
    add_line(&table, "hit rate on validation ↑", json_object_get(quality, "validation"), "hit_rate", "chance",
             "share of the rows that validation holds; against: unseen items drawn at random");
    if (json_has(quality, "truth"))
        add_line(&table, "truly preferred ↑", json_object_get(quality, "truth"), "share", "chance",
                 "share of the rows that the user truly prefers; against: unseen items drawn at random");
    add_line(&table, "agreement with item-kNN", json_object_get(quality, "item_knn"), "share", NULL,
             "share of the rows that item_knn would have added too, asked for as many");
    add_line(&table, "new co-occurrences", json_object_get(quality, "co_occurrence"), "new_share", NULL,
             "share of the pairs of a row's item and a train item of its user that no user has together");
    add_line(&table, "unconnected rows", json_object_get(quality, "co_occurrence"), "unconnected_share", NULL,
             "share of the rows for which that holds with all train items of the user");
    add_line(&table, "novelty ↑", json_object_get(quality, "novelty"), "rows", "train",
             "mean of log2(users / train rows of the item); against: the train rows");
    add_line(&table, "distinct items ↑", duplicates, "distinct_share", NULL, "different items over rows");
    add_line(&table, "most frequent item ↓", duplicates, "largest_share", NULL,
             "share of the users with rows who get the item that most get");
    add_line(&table, "shared with another user ↓", duplicates, "shared_with_another", NULL,
             "how likely a row's item is among the rows of another user drawn at random");
    document_table(document, &table);
}

static void ranges_table(const struct document *document, const json_t *ranges, const char *name, bool truth)
{
    char file[32];
    snprintf(file, sizeof file, "quality-by-%s", name);
    struct table table = {.name = file, .columns = truth ? 5 : 4};
    const json_t *range;
    size_t index;
    table_cell(&table, "%s", name);
    table_cell(&table, "rows");
    table_cell(&table, "hit rate ↑");
    table_cell(&table, "by chance");
    if (truth)
        table_cell(&table, "truly preferred ↑");
    json_array_foreach(ranges, index, range)
    {
        const double from = json_number_at(range, "from"), to = json_number_at(range, "to");
        if (!json_has(range, "to"))
            table_cell(&table, "%.0f and more", from);
        else if (to > from)
            table_cell(&table, "%.0f to %.0f", from, to);
        else
            table_cell(&table, "%.0f", from);
        table_cell(&table, "%.0f", json_number_at(range, "rows"));
        add_share(&table, range, "hit_rate");
        add_share(&table, range, "chance");
        if (truth)
            add_share(&table, range, "preferred");
    }
    document_table(document, &table);
}

void report_quality(const struct report *report, const struct document *document)
{
    const json_t *quality = json_object_get(report->results, "generation_quality");
    const bool truth = json_has(quality, "truth");
    if (quality == NULL)
        return;
    document_heading(document, 2, "Quality of the generated rows");
    document_paragraph(
        document,
        "Before anything is trained on them: the %.0f rows of %.0f users that passed the filters. Hit rates "
        "are over the %.0f rows of users with validation items.",
        json_number_at(quality, "rows"), json_number_at(quality, "users"),
        json_number_at(json_object_get(quality, "validation"), "judged"));
    overview_table(document, quality);
    ranges_table(document, json_object_get(quality, "by_rank"), "rank", truth);
    ranges_table(document, json_object_get(quality, "by_votes"), "votes", truth);
}
