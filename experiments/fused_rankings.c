#include "experiments/fused_rankings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "experiments/language_rankings.h"

enum { BLOCK_USERS = 4096 };

/* Two rankings of the same users, without what is hidden from them. */
struct ranking_pair {
    struct csr language, recommender; /* [users, items]; a row is best first */
};

static void ranking_pair_free(struct ranking_pair *pair)
{
    csr_free(&pair->language);
    csr_free(&pair->recommender);
}

static bool open_lists(struct csr *lists, const struct study *study, int64_t most, struct error *error)
{
    *lists = (struct csr){.rows = study->train.rows, .columns = study->train.columns};
    lists->starts = calloc((size_t)lists->rows + 1, sizeof *lists->starts);
    lists->indices = malloc((size_t)(most + 1) * sizeof *lists->indices);
    return (lists->starts && lists->indices) ||
           error_memory(error, "rankings to fuse", (size_t)most * sizeof *lists->indices,
                        "lower experiment.fusion.depth");
}

/* ---- the two rankings ---------------------------------------------------------------------------------- */

static bool take_language(struct csr *lists, const struct study *study, const struct csr *ranking,
                          const struct csr *hidden, struct error *error)
{
    if (!open_lists(lists, study, csr_count(ranking), error))
        return false;
    for (int64_t user = 0, end = 0; user < lists->rows; user++) {
        for (int64_t i = ranking->starts[user]; i < ranking->starts[user + 1]; i++)
            if (!csr_contains_sorted(hidden, user, ranking->indices[i]))
                lists->indices[end++] = ranking->indices[i];
        lists->starts[user + 1] = end;
    }
    return true;
}

/* Appends the lists of users behind those who come before them. */
static void append_lists(struct csr *lists, const struct top_k *top, int64_t *next_user)
{
    for (int64_t row = 0; row < top->users; row++) {
        while (*next_user < top->user[row]) {
            lists->starts[*next_user + 1] = lists->starts[*next_user];
            ++*next_user;
        }
        int64_t end = lists->starts[*next_user];
        for (int64_t i = 0; i < top->k && top->items[row * top->k + i] >= 0; i++)
            lists->indices[end++] = top->items[row * top->k + i];
        lists->starts[++*next_user] = end;
    }
}

/* `users` ascend; the others have no list. */
static bool take_recommender(struct csr *lists, const struct study *study, struct recommender *recommender,
                             const int32_t *users, int64_t count, const struct csr *hidden,
                             struct backend *backend, struct error *error)
{
    const int64_t items = study->train.columns;
    const int64_t depth = study->fusion.depth < items ? study->fusion.depth : items;
    const struct scorer scorer = recommender_scorer(recommender);
    int64_t next_user = 0;
    bool done = open_lists(lists, study, count * depth, error);
    for (int64_t first = 0; done && first < count; first += BLOCK_USERS) {
        struct top_k top = {0};
        done = top_k_rank(&top, backend, &scorer, users + first,
                          count - first < BLOCK_USERS ? count - first : BLOCK_USERS, depth, hidden, error);
        if (done)
            append_lists(lists, &top, &next_user);
        top_k_free(&top);
    }
    for (; done && next_user < lists->rows; next_user++)
        lists->starts[next_user + 1] = lists->starts[next_user];
    return done;
}

/* Both after the same interactions: `place` of the language model's rankings follows `history`, of which `hidden` is sorted. */
static bool take_pair(struct ranking_pair *pair, const struct study *study, struct recommender *recommender,
                      int place, const int32_t *users, int64_t count, struct backend *backend,
                      struct error *error)
{
    const struct language_rankings *language = study_generator(study)->rankings;
    const struct csr *hidden = place == 0 ? &study->train : &study->known;
    const struct csr *history = place == 0 ? &study->dataset.train : &study->history;
    const struct given_ranking *given = &language->given[place < language->count ? place : 0];
    return recommender_set_history(recommender, history, error) &&
           take_language(&pair->language, study, given->items, hidden, error) &&
           take_recommender(&pair->recommender, study, recommender, users, count, hidden, backend, error);
}

/* ---- the weight ---------------------------------------------------------------------------------------- */

/* Of the arm control.fusion; `lists` [2] with their weights. */
static struct fusion fusion_of_pair(struct fusion_list *lists, const struct study *study,
                                    const struct ranking_pair *pair, double weight)
{
    lists[0] = (struct fusion_list){&pair->language, weight};
    lists[1] = (struct fusion_list){&pair->recommender, 1 - weight};
    return (struct fusion){.constant = study->fusion.constant, .depth = study->fusion.depth};
}

static bool fuse(struct fused_lists *fused, const struct study *study, const struct ranking_pair *pair,
                 double weight, int64_t kept, struct error *error)
{
    struct fusion_list lists[2];
    const struct fusion fusion = fusion_of_pair(lists, study, pair, weight);
    return fusion_rank(fused, lists, 2, &fusion, kept, error);
}

static bool score_weight(double *score, const struct study *study, const struct ranking_pair *pair,
                         double weight, struct error *error)
{
    struct fusion_list lists[2];
    const struct fusion fusion = fusion_of_pair(lists, study, pair, weight);
    const struct fusion_judge judge = {.validation = &study->validation,
                                       .users = study->validation_users,
                                       .user_count = study->validation_count,
                                       .metric = study->select_metric,
                                       .cut = study->select_cut};
    return fusion_score(score, lists, 2, &fusion, &judge, error);
}

static bool choose_weight(double *chosen, json_t *scores, const struct study *study,
                          const struct ranking_pair *pair, struct error *error)
{
    double best = -INFINITY;
    *chosen = study->fusion.weights[0];
    for (int i = 0; study->validation_count > 0 && i < study->fusion.weight_count; i++) {
        const double weight = study->fusion.weights[i];
        double score;
        if (!score_weight(&score, study, pair, weight, error))
            return false;
        json_array_append_new(scores, json_pack("{s:f, s:f}", "weight", weight, "score", score));
        if (score > best) {
            best = score;
            *chosen = weight;
        }
    }
    return true;
}

/* ---- all of it ----------------------------------------------------------------------------------------- */

static bool load_original(struct recommender **recommender, const struct study *study, int contestant,
                          uint64_t seed, struct backend *backend, struct error *error)
{
    char *folder = study_fit_folder(study, contestant, arm_name(ARM_ORIGINAL), seed);
    char *path = path_format("%s/model.h5", folder);
    const bool done = recommender_load(recommender, backend, path, error);
    free(path);
    free(folder);
    return done;
}

static bool fuse_validation(struct fused_rankings *rankings, double *weight, const struct study *study,
                            struct recommender *recommender, struct backend *backend, struct error *error)
{
    const int64_t kept = study->largest_cut > study->select_cut ? study->largest_cut : study->select_cut;
    struct ranking_pair pair = {.language.rows = 0};
    json_t *scores = json_array();
    bool done = take_pair(&pair, study, recommender, 0, study->validation_users, study->validation_count,
                          backend, error) &&
                choose_weight(weight, scores, study, &pair, error) &&
                fuse(&rankings->validation, study, &pair, *weight, kept, error);
    ranking_pair_free(&pair);
    rankings->choice = json_pack("{s:f, s:o}", "weight", *weight, "validation", scores);
    return done && (rankings->choice || error_memory(error, "the weight of a fusion", 0, NULL));
}

static bool fuse_test(struct fused_rankings *rankings, double weight, const struct study *study,
                      struct recommender *recommender, struct backend *backend, struct error *error)
{
    const int64_t users = study->train.rows;
    struct ranking_pair pair = {.language.rows = 0};
    int32_t *all = malloc((size_t)users * sizeof *all);
    bool done = all || error_memory(error, "users to rank", (size_t)users * sizeof *all, NULL);
    for (int32_t user = 0; done && user < users; user++)
        all[user] = user;
    done = done && take_pair(&pair, study, recommender, 1, all, users, backend, error) &&
           fuse(&rankings->test, study, &pair, weight, study->fusion.depth, error);
    ranking_pair_free(&pair);
    free(all);
    return done;
}

bool fused_rankings_make(struct fused_rankings *rankings, const struct study *study, int contestant,
                         uint64_t seed, struct backend *backend, struct error *error)
{
    struct recommender *recommender = NULL;
    double weight = 0;
    *rankings = (struct fused_rankings){.choice = NULL};
    const bool done = load_original(&recommender, study, contestant, seed, backend, error) &&
                      fuse_validation(rankings, &weight, study, recommender, backend, error) &&
                      fuse_test(rankings, weight, study, recommender, backend, error);
    if (study->validation_count > 0)
        rankings->given[rankings->count++] = (struct given_ranking){.context = &study->dataset.train,
                                                                    .items = &rankings->validation.items,
                                                                    .scores = rankings->validation.scores};
    rankings->given[rankings->count++] = (struct given_ranking){
        .context = &study->history, .items = &rankings->test.items, .scores = rankings->test.scores};
    recommender_free(recommender);
    return done;
}

void fused_rankings_free(struct fused_rankings *rankings)
{
    fused_lists_free(&rankings->validation);
    fused_lists_free(&rankings->test);
    json_decref(rankings->choice);
}
