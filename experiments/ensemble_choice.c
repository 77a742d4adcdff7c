#include "experiments/ensemble_choice.h"

#include <math.h>
#include <stdlib.h>

bool lists_top(struct top_k *top, const struct csr *lists, const int32_t *users, int64_t user_count,
               int64_t cut, struct error *error)
{
    *top = (struct top_k){.users = user_count, .k = cut};
    const size_t bytes = (size_t)(user_count * cut + 1) * sizeof *top->items;
    top->user = malloc((size_t)(user_count + 1) * sizeof *top->user);
    top->items = malloc(bytes);
    if (!top->user || !top->items)
        return error_memory(error, "fused lists", bytes, NULL);
    for (int64_t row = 0; row < user_count; row++) {
        const int32_t user = users[row];
        top->user[row] = user;
        for (int64_t i = 0; i < cut; i++)
            top->items[row * cut + i] =
                i < csr_row_length(lists, user) ? lists->indices[lists->starts[user] + i] : -1;
    }
    return true;
}

static bool judge_lists(double *score, const struct fusion_list *lists, int count,
                        const struct fusion *fusion, const struct list_judge *judge, struct error *error)
{
    struct fused_lists fused = {0};
    struct top_k top = {0};
    struct evaluation evaluation;
    const int64_t kept = judge->cut < fusion->depth ? judge->cut : fusion->depth;
    const bool done = fusion_rank(&fused, lists, count, fusion, kept, error) &&
                      lists_top(&top, &fused.items, judge->users, judge->user_count, judge->cut, error);
    if (done) {
        evaluate_top_k(&evaluation, &top, judge->validation, &judge->cut, 1, NULL);
        *score = evaluation.value[judge->metric][0];
    }
    top_k_free(&top);
    fused_lists_free(&fused);
    return done;
}

bool lists_choose(struct fusion_list *lists, int count, bool from_best, const struct fusion *fusion,
                  const struct list_judge *judge, double *score, struct error *error)
{
    for (int i = 0; i < count; i++)
        lists[i].weight = i == 0 && !from_best;
    *score = -INFINITY;
    if (!from_best && !judge_lists(score, lists, count, fusion, judge, error))
        return false;
    for (;;) {
        int best = -1;
        for (int i = 0; i < count; i++) {
            double added = 0;
            if (lists[i].weight > 0)
                continue;
            lists[i].weight = 1;
            const bool judged = judge_lists(&added, lists, count, fusion, judge, error);
            lists[i].weight = 0;
            if (!judged)
                return false;
            if (added > *score) {
                *score = added;
                best = i;
            }
        }
        if (best < 0)
            return true;
        lists[best].weight = 1;
    }
}
