/*
 * model.h: what a recommender is made of, for the files of this folder only.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_MODEL_H
#define IDREC_MODELS_RECOMMENDERS_MODEL_H

#include "core/arena.h"
#include "core/store.h"
#include "models/recommenders/recommender.h"

struct embedding_training;

/* One kind of recommender. A model either is fitted in one go on the host (`fit`) or trained epoch by epoch (the next
 * three; see steps.h), after which `parameters` holds embeddings. */
struct recommender_model {
    const char *name;
    bool (*fit)(struct recommender *recommender, const struct training_set *data, struct error *error);

    bool (*prepare)(struct embedding_training *training, const struct training_set *data,
                    struct error *error);
    /* Trains epoch `epoch` (from 1); *loss is the mean over its triples. */
    bool (*train_epoch)(struct embedding_training *training, int64_t epoch, double *loss,
                        struct error *error);
    /* Fills final [users + items, width] with the embeddings that score. */
    bool (*embed)(struct embedding_training *training, struct tensor *final, struct error *error);

    /* The scorer's function; context is the recommender. */
    bool (*score)(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                  struct error *error);
    bool (*save)(const struct recommender *recommender, struct store *store, struct error *error);
    bool (*load)(struct recommender *recommender, struct store *store, struct error *error);
    void (*release)(void *parameters);
};

struct recommender {
    const struct recommender_model *model;
    struct backend *backend;
    struct recommender_settings settings;
    int64_t users, items;
    void *parameters; /* the model's own; NULL before fit or load */
};

extern const struct recommender_model popularity_model, item_knn_model, bpr_mf_model, lightgcn_model;

/* Threads for loops on the host. */
int host_threads(const struct backend *backend);

/* A recommender without parameters. An unknown settings->model is an error. */
bool recommender_create(struct recommender **recommender, struct backend *backend,
                        const struct recommender_settings *settings, int64_t users, int64_t items,
                        struct error *error);
/* Checks what the schema cannot: rows in range, weights that are numbers and not negative. */
bool training_set_check(const struct training_set *data, struct error *error);

/* ---- settings by name (settings.c) -------------------------------------------------------------------- */

bool settings_save(const struct recommender_settings *settings, struct store *store, struct error *error);
bool settings_load(struct recommender_settings *settings, struct store *store, struct error *error);
/* All settings as one line of text; malloc'ed. */
char *settings_text(const struct recommender_settings *settings);

/* ---- final embeddings (embeddings.c): the parameters of bpr_mf and lightgcn --------------------------- */

struct embeddings {
    struct backend *backend;
    int64_t users, items, width;
    struct arena arena;
    struct tensor table; /* [users + items, width]: users first */
    struct arena scratch;
    int64_t scratch_rows;       /* users that a call of score may ask for without growing the scratch */
    int32_t *host_users;        /* [scratch_rows] */
    struct tensor user_indices; /* i32 [scratch_rows] */
    struct tensor user_rows;    /* [scratch_rows, width] */
};

bool embeddings_create(struct embeddings **embeddings, struct backend *backend, int64_t users, int64_t items,
                       int64_t width, struct error *error);
bool embeddings_score(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                      struct error *error);
bool embeddings_save(const struct recommender *recommender, struct store *store, struct error *error);
bool embeddings_load(struct recommender *recommender, struct store *store, struct error *error);
void embeddings_release(void *parameters);

/* ---- scoring on the host (host_scores.c): for popularity and item_knn --------------------------------- */

/* Fills row [items] with a user's scores. */
typedef void (*host_score_row)(const struct recommender *recommender, int32_t user, real *row);
/* Scores a block of users on the host and brings it to the scores' device. */
bool host_score_block(const struct recommender *recommender, host_score_row score_row, const int32_t *users,
                      int64_t count, struct tensor *scores, struct error *error);

#endif
