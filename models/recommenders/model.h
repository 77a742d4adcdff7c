/*
 * model.h: what a recommender is made of, for the files of this folder only.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_MODEL_H
#define IDREC_MODELS_RECOMMENDERS_MODEL_H

#include "core/arena.h"
#include "core/store.h"
#include "models/recommenders/recommender.h"
#include "models/recommenders/row_parts.h"

/* What a training is between two epochs: its tensors, at most 3, and the number of optimizer steps taken. A divided tensor
 * holds this rank's rows of `parts`, the others are the same at all ranks. */
struct training_state {
    int64_t *step;
    const struct row_parts *parts;
    int count;
    struct tensor *tensors[3];
    bool divided[3];
};

/* Vectors of users and items, as a model that is not made of `struct embeddings` gives them. */
struct recommender_vectors {
    int64_t (*width)(const struct recommender *recommender);
    /* vectors [count, width] on the host; a sequential model's are those after the history that is set. */
    bool (*users)(struct recommender *recommender, const int32_t *users, int64_t count, real *vectors,
                  struct error *error);
    bool (*items)(struct recommender *recommender, real *vectors /* [items, width] */, struct error *error);
};

/* One kind of recommender. A model either is fitted in one go (`fit`) or trained epoch by epoch, by the five that follow
 * it; a training is the model's own, see steps.h. */
struct recommender_model {
    const char *name;
    bool deterministic; /* a fit is the same whatever the seed */
    bool sequential;    /* reads training_set.history and .synthetic, and scores users from their history */
    bool given;         /* reads training_set.rankings, and nothing else of it */
    /* Whether ranks can do a fit with these settings together: the five functions of a training are called by all of them,
     * with the same arguments. NULL: they cannot. */
    bool (*divides)(const struct recommender_settings *settings);
    /* What of the settings the schema cannot check; NULL: nothing. */
    bool (*check)(const struct recommender_settings *settings, struct error *error);
    const char *host_work; /* what the host does of it whatever the device, for people; NULL: nothing */
    bool (*fit)(struct recommender *recommender, const struct training_set *data, uint64_t seed,
                struct error *error);

    /* Makes the recommender's parameters too, which publish() fills. `data` must outlive the training. */
    bool (*training_open)(void **training, struct recommender *recommender, const struct training_set *data,
                          uint64_t seed, struct error *error);
    /* Trains epoch `epoch` (from 1); *loss is the mean over what it is made of. */
    bool (*train_epoch)(void *training, int64_t epoch, double *loss, struct error *error);
    /* The bytes that this rank is expected to send in an epoch; NULL where ranks cannot do a fit together. */
    double (*epoch_bytes)(const void *training);
    /* From now on the recommender scores with what the training has reached. */
    bool (*publish)(void *training, struct error *error);
    struct training_state (*training_state)(void *training);
    void (*training_close)(void *training);
    /* The tensor, of rank 2, that publish() fills: all that the scores depend on besides the data. */
    struct tensor *(*published)(struct recommender *recommender);

    /* Scores users from these rows from now on; see recommender_set_history(). Sequential models, and given ones. */
    bool (*set_history)(struct recommender *recommender, const struct csr *history, struct error *error);
    /* The scorer's function; context is the recommender. */
    bool (*score)(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                  struct error *error);
    /* See recommender_vector_width(). NULL: those of `struct embeddings` where `score` is embeddings_score(), else none. */
    const struct recommender_vectors *vectors;
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

extern const struct recommender_model popularity_model, item_knn_model, ease_model, slim_model, als_model,
    gf_cf_model, bpr_mf_model, lightgcn_model, sgl_model, simgcl_model, xsimgcl_model, ncl_model,
    sasrec_model, bert4rec_model, cl4srec_model, language_model_model;

/* NULL when there is none of that name. */
const struct recommender_model *recommender_model_find(const char *name);

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
/* scores = users' rows times items' rows + beta * scores. */
bool embeddings_multiply(struct embeddings *embeddings, const int32_t *users, int64_t count,
                         struct tensor *scores, float beta, struct error *error);
/* From users [users, width] and items [items, width] on the host. */
bool embeddings_upload(struct embeddings *embeddings, const double *users, const double *items,
                       struct error *error);
/* /users/embedding and /items/embedding. */
bool embeddings_write(const struct embeddings *embeddings, struct store *store, struct error *error);
bool embeddings_read(struct embeddings *embeddings, struct store *store, struct error *error);

/* As functions of a model whose parameters are embeddings. */
bool embeddings_score(void *context, const int32_t *users, int64_t count, struct tensor *scores,
                      struct error *error);
bool embeddings_save(const struct recommender *recommender, struct store *store, struct error *error);
bool embeddings_load(struct recommender *recommender, struct store *store, struct error *error);
struct tensor *embeddings_published(struct recommender *recommender);
void embeddings_release(void *parameters);

/* ---- scoring on the host (host_scores.c): for popularity and item_knn --------------------------------- */

/* Fills row [items] with a user's scores. */
typedef void (*host_score_row)(const struct recommender *recommender, int32_t user, real *row);
/* Scores a block of users on the host and brings it to the scores' device. */
bool host_score_block(const struct recommender *recommender, host_score_row score_row, const int32_t *users,
                      int64_t count, struct tensor *scores, struct error *error);

#endif
