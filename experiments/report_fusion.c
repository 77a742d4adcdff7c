#include <string.h>

#include "experiments/report.h"

/* One that chose: a copy did not. */
static bool is_fusion(const json_t *run, const char *recommender)
{
    return strcmp(json_text_at(run, "recommender"), recommender) == 0 && json_has(run, "fusion") &&
           !json_has(run, "copied_from");
}

/* The entries of one recommender: mean validation scores of a weight, and how often it was chosen. */
static void add_weight(struct table *table, const struct report *report, const char *recommender,
                       size_t place)
{
    const json_t *run, *first = NULL;
    size_t index;
    double sum = 0;
    int fits = 0, chosen = 0;
    json_array_foreach(json_object_get(report->results, "runs"), index, run)
    {
        const json_t *fusion = json_object_get(run, "fusion");
        const json_t *entry = json_array_get(json_object_get(fusion, "validation"), place);
        if (!is_fusion(run, recommender) || !entry)
            continue;
        first = entry;
        fits++;
        sum += json_number_at(entry, "score");
        chosen += json_number_at(fusion, "weight") == json_number_at(entry, "weight");
    }
    if (!first)
        return;
    table_cell(table, "%s", recommender);
    table_cell(table, "%g", json_number_at(first, "weight"));
    table_cell(table, "%.4f", sum / fits);
    table_cell(table, "%d of %d", chosen, fits);
}

static bool has_fusion(const struct report *report)
{
    const json_t *run;
    size_t index;
    json_array_foreach(json_object_get(report->results, "runs"), index, run)
    {
        if (json_has(run, "fusion"))
            return true;
    }
    return false;
}

void report_fusion(const struct report *report, const struct document *document)
{
    const char *names[REPORT_NAMES_MAXIMUM];
    const int count = report_names(report, "recommender", names, REPORT_NAMES_MAXIMUM);
    const struct config *config = report->run->config;
    if (!has_fusion(report))
        return;
    document_heading(document, 2, "Weights of the fusion");
    document_paragraph(
        document,
        "control.fusion ranks by the sum of weight / (%g + rank) over the first %lld items of the "
        "language model's ranking and of the recommender's, which has the rest of the weight. Each "
        "fit takes the weight whose lists are best on validation.",
        config_number(config, "experiment.fusion.constant"),
        (long long)config_integer(config, "experiment.fusion.depth"));
    struct table table = {.columns = 4};
    table_cell(&table, "recommender");
    table_cell(&table, "weight of the language model");
    table_cell(&table, "validation %s@%lld, mean", config_string(config, "augment.select_metric"),
               (long long)config_integer(config, "augment.select_k"));
    table_cell(&table, "chosen in fits");
    for (int i = 0; i < count; i++)
        for (int w = 0; w < (int)config_length(config, "experiment.fusion.weights"); w++)
            add_weight(&table, report, names[i], (size_t)w);
    document_table(document, &table);
}
