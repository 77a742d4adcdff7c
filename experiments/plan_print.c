#include <math.h>
#include <string.h>

#include "experiments/plan_units.h"

/* "12 TFLOP" */
static const char *operations_text(char text[32], double operations)
{
    static const char *const units[] = {"", "k", "M", "G", "T", "P", "E"};
    int unit = 0;
    for (; operations >= 999.5 && unit < 6; unit++)
        operations /= 1000;
    snprintf(text, 32, "%.*f %sFLOP", operations < 99.5 ? 1 : 0, operations, units[unit]);
    return text;
}

static void print_amounts(FILE *stream, const char *title, const struct plan_amount *amounts, int count)
{
    char text[32];
    for (int i = 0; i < count; i++)
        fprintf(stream, "    %-8s %-34s %10s\n", i == 0 ? title : "", amounts[i].name,
                plan_bytes_text(text, amounts[i].bytes));
}

static void print_stage(const struct plan_stage *stage, FILE *stream)
{
    char time[72], memory[32], disk[32], low[32], high[32];
    fprintf(stream, "%s%-*s %-24s %10s %10s\n", stage->part ? "  " : "\n", stage->part ? 22 : 24, stage->name,
            plan_range_text(time, stage->seconds), plan_bytes_text(memory, plan_stage_memory(stage)),
            plan_bytes_text(disk, plan_stage_disk(stage)));
    fprintf(stream, "    %s\n", stage->work);
    if (stage->operations.high > 0 && plan_is_wide(stage->operations))
        fprintf(stream, "    %.3g to %.3g tokens, %s to %s\n", stage->tokens.low, stage->tokens.high,
                operations_text(low, stage->operations.low), operations_text(high, stage->operations.high));
    else if (stage->operations.high > 0)
        fprintf(stream, "    %.3g tokens, %s\n", stage->tokens.high,
                operations_text(high, stage->operations.high));
    fprintf(stream, "    time: %s\n", stage->rate);
    plan_exchange_print(&stage->exchange, stream);
    if (stage->part)
        return;
    print_amounts(stream, "memory", stage->memory, stage->memory_count);
    print_amounts(stream, "files", stage->files, stage->file_count);
    if (stage->passing_bytes > 0)
        print_amounts(stream, "besides", &(struct plan_amount){"until it is over", stage->passing_bytes}, 1);
}

static void print_head(const struct plan *plan, FILE *stream)
{
    char memory[32];
    fprintf(stream, "%s on %s: %lld users, %lld items, %lld training rows (%s)\n",
            config_string(plan->run.config, "name"),
            plan->device ? plan->device->description : "a device that is assumed",
            (long long)plan->dataset.train.rows, (long long)plan->dataset.train.columns,
            (long long)csr_count(&plan->dataset.train), plan->data->source);
    if (plan->memory_available > 0)
        fprintf(stream, "memory that can be used: %s%s\n", plan_bytes_text(memory, plan->memory_available),
                plan->options.memory > 0 ? ", as given" : "");
    if (plan->options.ranks > 1)
        fprintf(
            stream,
            "%lld ranks, each with such a device: memory is that of one; tune and train are told as one does "
            "them\n",
            (long long)plan->options.ranks);
    fprintf(stream, "\n%-24s %-24s %10s %10s\n", "stage", "time", "memory", "disk");
}

/* What does not fit, and what to lower. */
static void print_excess(const struct plan *plan, FILE *stream)
{
    char needed[32], available[32];
    for (int i = 0; i < plan->stage_count; i++) {
        const struct plan_stage *const stage = &plan->stages[i];
        if (stage->part || plan->memory_available <= 0 || plan_stage_memory(stage) <= plan->memory_available)
            continue;
        fprintf(stream, "%s does not fit: it needs %s of %s; %s\n", stage->name,
                plan_bytes_text(needed, plan_stage_memory(stage)),
                plan_bytes_text(available, plan->memory_available),
                stage->lower ? stage->lower : "take a machine with more");
    }
}

void plan_print(const struct plan *plan, FILE *stream)
{
    const struct plan_total total = plan_total(plan);
    char time[72], expected[32], memory[32], disk[32];
    print_head(plan, stream);
    for (int i = 0; i < plan->stage_count; i++)
        print_stage(&plan->stages[i], stream);
    fprintf(stream, "\n");
    print_excess(plan, stream);
    if (plan_is_wide(total.seconds))
        fprintf(stream, "from %s, as early stopping goes\n", plan_range_text(time, total.seconds));
    fprintf(stream, "about %s%s, %s of memory (%s), %s of disk; the largest part is %s\n",
            plan_seconds_text(expected, plan_expected(total.seconds)),
            plan->device ? "" : " (assumed, not measured)", plan_bytes_text(memory, total.memory),
            plan->stages[total.largest].name, plan_bytes_text(disk, total.disk + total.passing),
            plan->stages[total.slowest].name);
}

/* ---- JSON ---------------------------------------------------------------------------------------------- */

static json_t *amounts_json(const struct plan_amount *amounts, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:f}", "name", amounts[i].name, "bytes", amounts[i].bytes));
    return list;
}

json_t *plan_stage_json(const struct plan_stage *stage, bool measured, double memory_available)
{
    const double memory = plan_stage_memory(stage);
    return json_pack(
        "{s:s, s:b, s:s, s:o, s:o, s:o, s:s, s:s, s:f, s:o, s:b, s:s, s:f, s:o, s:f, s:o}", "stage",
        stage->name, "part", stage->part, "work", stage->work, "tokens", plan_range_json(stage->tokens),
        "flops", plan_range_json(stage->operations), "seconds", plan_range_json(stage->seconds), "rate",
        stage->rate, "basis", measured ? "measured" : "assumed", "memory_bytes", memory, "memory",
        amounts_json(stage->memory, stage->memory_count), "fits",
        memory_available <= 0 || memory <= memory_available, "lower", stage->lower ? stage->lower : "",
        "disk_bytes", plan_stage_disk(stage), "files", amounts_json(stage->files, stage->file_count),
        "passing_bytes", stage->passing_bytes, "exchange", plan_exchange_json(&stage->exchange));
}

json_t *plan_json(const struct plan *plan)
{
    const struct plan_total total = plan_total(plan);
    json_t *list = json_array();
    for (int i = 0; i < plan->stage_count; i++)
        json_array_append_new(
            list, plan_stage_json(&plan->stages[i], plan->device != NULL, plan->memory_available));
    return json_pack(
        "{s:s, s:s, s:I, s:{s:I, s:I, s:I, s:s}, s:f, s:o, s:{s:o, s:f, s:f, s:f, s:f, s:s, s:s}}", "name",
        config_string(plan->run.config, "name"), "device",
        plan->device ? plan->device->description : "assumed", "ranks", (json_int_t)plan->options.ranks,
        "data", "users", (json_int_t)plan->dataset.train.rows, "items",
        (json_int_t)plan->dataset.train.columns, "train", (json_int_t)csr_count(&plan->dataset.train),
        "source", plan->data->source, "memory_available_bytes", plan->memory_available, "stages", list,
        "total", "seconds", plan_range_json(total.seconds), "expected_seconds", plan_expected(total.seconds),
        "memory_bytes", total.memory, "disk_bytes", total.disk, "passing_bytes", total.passing, "slowest",
        plan->stages[total.slowest].name, "largest", plan->stages[total.largest].name);
}
