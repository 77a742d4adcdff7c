#include "models/language/item_codes.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "core/interrupt.h"
#include "models/language/item_groups.h"

/* The items order[begin .. end - 1]. Parts of a group follow one another, later than it. */
struct group {
    int64_t begin, end;
    int64_t parent, level, parts; /* parts 0: it is not cut */
};

struct tree {
    struct item_code_settings settings;
    int64_t items;
    int32_t *order;       /* [items] */
    struct group *groups; /* level by level; group 0 is all items */
    int64_t count, room;
};

/* The cutting of a group. */
struct task {
    int64_t group;
    const struct task *parent; /* of which the group is a part; NULL: all items */
    int64_t part;
    struct item_graph graph;
    struct item_groups found;
    struct error error;
};

/* ---- cutting ------------------------------------------------------------------------------------------ */

/* Items that `levels` further levels hold when each group has all its parts. */
static int64_t capacity(const struct item_code_settings *settings, int64_t levels)
{
    int64_t items = settings->cluster_size;
    for (; levels > 0 && items < INT32_MAX; levels--)
        items *= settings->clusters;
    return items;
}

/* The levels that there may be. */
static int64_t level_limit(const struct tree *tree)
{
    int64_t levels = ITEM_CODE_LEVELS;
    while (capacity(&tree->settings, levels) < tree->items)
        levels++;
    return levels;
}

static int64_t largest_part(const struct item_groups *found, int64_t items, int64_t *sizes)
{
    int64_t most = 0;
    memset(sizes, 0, (size_t)found->count * sizeof *sizes);
    for (int64_t item = 0; item < items; item++) {
        const int64_t size = ++sizes[found->group[item]];
        most = size > most ? size : most;
    }
    return most;
}

/* The graph of a task's items, out of that of the group that they are a part of. */
static bool open_graph(struct task *task, int32_t *scratch)
{
    const struct task *parent = task->parent;
    int64_t count = 0;
    for (int64_t item = 0; item < parent->graph.audience.rows; item++)
        if (parent->found.group[item] == task->part)
            scratch[count++] = (int32_t)item;
    return item_graph_part(&task->graph, &parent->graph, scratch, count, &task->error);
}

/* Cuts a group and sorts its items by parts; `sizes` [clusters] and `scratch` [items] are the task's own. */
static bool cut_sorted(struct task *task, const struct tree *tree, int threads, int64_t *sizes,
                       int32_t *scratch)
{
    const struct group *group = &tree->groups[task->group];
    const int64_t items = group->end - group->begin, clusters = tree->settings.clusters;
    int32_t *order = tree->order + group->begin;
    if (task->parent && !open_graph(task, scratch))
        return false;
    if (!item_groups_find(&task->found, &task->graph, clusters, tree->settings.seed, (uint64_t)task->group,
                          threads, &task->error))
        return false;
    const int64_t levels_left = level_limit(tree) - group->level - 1;
    if (largest_part(&task->found, items, sizes) > capacity(&tree->settings, levels_left))
        item_groups_even(&task->found, items, clusters, scratch);
    int64_t place = 0;
    for (int64_t part = 0; part < task->found.count; part++)
        for (int64_t item = 0; item < items; item++)
            if (task->found.group[item] == part)
                scratch[place++] = order[item];
    memcpy(order, scratch, (size_t)items * sizeof *order);
    return true;
}

static void cut(struct task *task, const struct tree *tree, int threads)
{
    const struct group *group = &tree->groups[task->group];
    const size_t items = (size_t)(group->end - group->begin), clusters = (size_t)tree->settings.clusters;
    int64_t *sizes = malloc(clusters * sizeof *sizes);
    int32_t *scratch = malloc(items * sizeof *scratch);
    if (sizes && scratch)
        cut_sorted(task, tree, threads, sizes, scratch);
    else
        error_memory(&task->error, "groups of items", items * sizeof *scratch, NULL);
    free(sizes);
    free(scratch);
}

/* ---- levels ------------------------------------------------------------------------------------------- */

/* Many groups are cut side by side, few one after the other by all threads. */
static bool cut_all(struct task *tasks, int64_t count, const struct tree *tree, struct error *error)
{
    const int threads = tree->settings.threads;
    const int aside = count < threads ? 1 : threads;
#pragma omp parallel for schedule(dynamic) num_threads(aside)
    for (int64_t t = 0; t < count; t++)
        cut(&tasks[t], tree, aside == 1 ? threads : 1);
    for (int64_t t = 0; t < count; t++)
        if (tasks[t].error.kind != ERROR_NONE)
            return error_set(error, tasks[t].error.kind, "%s", tasks[t].error.message);
    return interrupt_check(error);
}

/* Adds the parts of a group that was cut; its items are in order of their parts. */
static bool add_parts(struct tree *tree, const struct task *task, struct error *error)
{
    const int64_t needed = tree->count + task->found.count;
    if (needed > tree->room) {
        const size_t bytes = (size_t)(2 * needed) * sizeof *tree->groups;
        struct group *grown = realloc(tree->groups, bytes);
        if (!grown)
            return error_memory(error, "groups of items", bytes, NULL);
        tree->groups = grown;
        tree->room = 2 * needed;
    }
    struct group *group = &tree->groups[task->group], *parts = &tree->groups[tree->count];
    group->parts = task->found.count;
    for (int64_t part = 0; part < group->parts; part++)
        parts[part] = (struct group){.parent = task->group, .level = group->level + 1};
    for (int64_t item = 0; item < group->end - group->begin; item++)
        parts[task->found.group[item]].end++;
    for (int64_t part = 0, begin = group->begin; part < group->parts; part++) {
        parts[part].begin = begin;
        begin = parts[part].end += begin;
    }
    tree->count = needed;
    return true;
}

/* *next = a task for each of the groups from `first` on that is too large. */
static bool find_next(struct task **next, int64_t *next_count, const struct tree *tree, int64_t first,
                      const struct task *tasks, int64_t count, struct error *error)
{
    *next = calloc((size_t)(tree->count - first) + 1, sizeof **next);
    *next_count = 0;
    if (!*next)
        return error_memory(error, "groups of items", (size_t)(tree->count - first) * sizeof **next, NULL);
    for (int64_t t = 0, group = first; t < count; t++)
        for (int64_t part = 0; part < tasks[t].found.count; part++, group++)
            if (tree->groups[group].end - tree->groups[group].begin > tree->settings.cluster_size)
                (*next)[(*next_count)++] = (struct task){.group = group, .parent = &tasks[t], .part = part};
    return true;
}

static void free_tasks(struct task *tasks, int64_t count)
{
    for (int64_t t = 0; t < count; t++) {
        item_graph_free(&tasks[t].graph);
        item_groups_free(&tasks[t].found);
    }
    free(tasks);
}

/* Cuts the groups of a level, and goes on with their parts, whose graphs are made of theirs. Takes the tasks. */
static bool grow(struct tree *tree, struct task *tasks, int64_t count, struct error *error)
{
    struct task *parents = NULL;
    int64_t parent_count = 0;
    bool done = true;
    while (done && count > 0) {
        struct task *next = NULL;
        int64_t next_count = 0;
        const int64_t first = tree->count;
        done = cut_all(tasks, count, tree, error);
        for (int64_t t = 0; t < count && done; t++)
            done = add_parts(tree, &tasks[t], error);
        done = done && find_next(&next, &next_count, tree, first, tasks, count, error);
        free_tasks(parents, parent_count);
        parents = tasks;
        parent_count = count;
        tasks = next;
        count = next_count;
    }
    free_tasks(parents, parent_count);
    free_tasks(tasks, count);
    return done;
}

static bool build_tree(struct tree *tree, const struct csr *train, struct error *error)
{
    const size_t items = (size_t)train->columns;
    tree->order = malloc(items * sizeof *tree->order + 1);
    tree->groups = malloc(sizeof *tree->groups);
    struct task *whole = calloc(1, sizeof *whole);
    if (!tree->order || !tree->groups || !whole) {
        free(whole);
        return error_memory(error, "groups of items", items * sizeof *tree->order, NULL);
    }
    for (size_t item = 0; item < items; item++)
        tree->order[item] = (int32_t)item;
    tree->groups[0] = (struct group){.end = tree->items, .parent = -1};
    tree->count = tree->room = 1;
    if (tree->items <= tree->settings.cluster_size) {
        free(whole);
        return true;
    }
    if (!item_graph_create(&whole->graph, train, error)) {
        free(whole);
        return false;
    }
    return grow(tree, whole, 1, error);
}

/* ---- codes -------------------------------------------------------------------------------------------- */

/* The code ends with a number of the item's own among those of its group. */
static bool numbers_items(const struct tree *tree, const struct group *group)
{
    return !tree->settings.own && (group->end - group->begin > 1 || group->level == 0);
}

static bool allocate(struct item_codes *codes, const struct tree *tree, struct error *error)
{
    struct token_rows *code = &codes->code;
    code->count = tree->items;
    code->starts = calloc((size_t)tree->items + 1, sizeof *code->starts);
    if (!code->starts)
        return error_memory(error, "codes of items", (size_t)tree->items * sizeof *code->starts, NULL);
    for (int64_t g = 0; g < tree->count; g++)
        for (int64_t place = tree->groups[g].begin; tree->groups[g].parts == 0 && place < tree->groups[g].end;
             place++)
            code->starts[tree->order[place] + 1] =
                tree->groups[g].level + numbers_items(tree, &tree->groups[g]);
    for (int64_t item = 0; item < tree->items; item++)
        code->starts[item + 1] += code->starts[item];
    code->token = malloc((size_t)code->starts[tree->items] * sizeof *code->token + 1);
    return code->token != NULL || error_memory(error, "codes of items",
                                               (size_t)code->starts[tree->items] * sizeof *code->token, NULL);
}

static void put(struct item_codes *codes, int32_t item, int64_t place, int64_t number)
{
    codes->code.token[codes->code.starts[item] + place] = (int32_t)number;
    codes->numbers = number + 1 > codes->numbers ? number + 1 : codes->numbers;
}

static void write_codes(struct item_codes *codes, const struct tree *tree)
{
    const struct item_code_settings *settings = &tree->settings;
    const int64_t widest =
        settings->clusters > settings->cluster_size ? settings->clusters : settings->cluster_size;
    const int64_t modulus = settings->own ? tree->count : widest;
    int64_t numbered = tree->count - 1;
    for (int64_t g = 0; g < tree->count; g++) {
        const struct group *group = &tree->groups[g];
        if (group->parts > 0)
            continue;
        for (int64_t place = group->begin; place < group->end; place++) {
            const int32_t item = tree->order[place];
            for (int64_t of = g; of > 0; of = tree->groups[of].parent)
                put(codes, item, tree->groups[of].level - 1, (of - 1) % modulus);
            if (numbers_items(tree, group))
                put(codes, item, group->level, numbered++ % modulus);
        }
        codes->groups++;
        codes->levels = group->level > codes->levels ? group->level : codes->levels;
        if (group->end - group->begin > codes->largest_group)
            codes->largest_group = group->end - group->begin;
    }
}

bool item_codes_create(struct item_codes *codes, const struct csr *train,
                       const struct item_code_settings *settings, struct error *error)
{
    struct tree tree = {.settings = *settings, .items = train->columns};
    const int blas_threads = openblas_get_num_threads();
    *codes = (struct item_codes){.numbers = 0};
    openblas_set_num_threads(1);
    const bool done = build_tree(&tree, train, error) && allocate(codes, &tree, error);
    openblas_set_num_threads(blas_threads);
    if (done)
        write_codes(codes, &tree);
    else
        item_codes_free(codes);
    free(tree.order);
    free(tree.groups);
    return done;
}

void item_codes_free(struct item_codes *codes)
{
    token_rows_free(&codes->code);
    *codes = (struct item_codes){.numbers = 0};
}
