#include "experiments/recommend.h"

#include "core/evaluate.h"
#include "core/progress.h"
#include "experiments/top_k_file.h"

static int64_t count_short_lists(const struct top_k *top)
{
    int64_t count = 0;
    for (int64_t user = 0; user < top->users; user++)
        count += top->items[(user + 1) * top->k - 1] < 0;
    return count;
}

static bool rank_and_print(const struct trained *trained, int64_t k, FILE *out, struct error *error)
{
    const struct scorer scorer = recommender_scorer(trained->recommender);
    struct top_k top;
    if (!top_k_rank(&top, trained->backend, &scorer, trained->users, trained->user_count, k, &trained->known,
                    error))
        return false;
    top_k_print(&top, &trained->dataset, out);
    const int64_t short_lists = count_short_lists(&top);
    if (short_lists > 0)
        log_line(NULL,
                 "%lld of %lld users have fewer than %lld items left that they have not had; their lists "
                 "are shorter",
                 (long long)short_lists, (long long)top.users, (long long)k);
    top_k_free(&top);
    return fflush(out) == 0 || error_system(error, "standard output", "cannot be written", NULL);
}

bool recommend(const struct trained_request *request, int64_t k, FILE *out, struct error *error)
{
    struct trained trained;
    if (!trained_open(&trained, request, error))
        return false;
    const int64_t items = trained.dataset.item_ids.count;
    const bool done =
        k <= items ? rank_and_print(&trained, k, out, error)
                   : error_set(error, ERROR_USAGE, "K is %lld but there are only %lld items; lower --k",
                               (long long)k, (long long)items);
    trained_close(&trained);
    return done;
}
