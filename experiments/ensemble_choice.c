#include "experiments/ensemble_choice.h"

#include <math.h>

bool lists_choose(struct fusion_list *lists, int count, bool from_best, const struct fusion *fusion,
                  const struct fusion_judge *judge, double *score, struct error *error)
{
    for (int i = 0; i < count; i++)
        lists[i].weight = i == 0 && !from_best;
    *score = -INFINITY;
    if (!from_best && !fusion_score(score, lists, count, fusion, judge, error))
        return false;
    for (;;) {
        int best = -1;
        for (int i = 0; i < count; i++) {
            double added = 0;
            if (lists[i].weight > 0)
                continue;
            lists[i].weight = 1;
            const bool judged = fusion_score(&added, lists, count, fusion, judge, error);
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
