/*
 * recommender.h: what every recommender offers: fit, score users against all items, save, load.
 *
 * No state is shared: fits may run at the same time in different threads, each with a backend (and an error)
 * of its own; the data and settings may be shared. A recommender and its scorer belong to one thread at a
 * time. HDF5 is not built for threads everywhere: save, load and fits with a checkpoint take turns or run in
 * processes of their own.
 */
#ifndef IDREC_MODELS_RECOMMENDERS_RECOMMENDER_H
#define IDREC_MODELS_RECOMMENDERS_RECOMMENDER_H

#include "core/backend.h"
#include "core/evaluate.h"
#include "core/interactions.h"
#include "core/progress.h"

/* The rankings of a language model: after one context, or after each of several that users are scored from. */
enum { RANKINGS_MAXIMUM = 2 };
struct given_ranking {
    const struct csr *context; /* what it follows, as recommender_set_history() gets it; NULL: whatever */
    const struct csr *items;   /* [users, items]; a row is best first */
    const float *scores;       /* one an index of items */
};

/* What one arm trains on. */
struct training_set {
    const struct csr *positives; /* [users, items], rows ascend: real and synthetic rows */
    const float *weights;       /* one an index of positives, of its ranking loss and its edge; NULL: all 1 */
    const struct csr *excluded; /* never drawn as negatives, besides the positives; rows ascend; NULL: none */

    /* For models that read_history: together the rows of positives. NULL: only the other models can be trained. */
    const struct csr *history;   /* the real rows, in order of time */
    const struct csr *synthetic; /* each user's best first; NULL: none */

    /* For the model that is given them, at most RANKINGS_MAXIMUM, the first for validation. */
    const struct given_ranking *rankings;
    int ranking_count;
};

/* One entry of `recommenders:` in the config, where every member is explained (docs/configuration.md). What a model
 * does on the host whatever the device, its file says, and so does the log of a fit. */
struct recommender_settings {
    char model[32];
    int64_t width, layers;
    char optimizer[16];
    double learning_rate, regularization, initial_deviation;
    int64_t batch, epochs, patience,
        evaluate_every; /* patience (0: never stops early) and the last count epochs */

    int64_t neighbors;      /* item_knn, slim */
    double shrinkage;       /* item_knn */
    char similarity[16];    /* item_knn */
    double l1;              /* slim */
    double confidence;      /* als */
    int64_t components;     /* gf_cf */
    double low_pass_weight; /* gf_cf */

    int64_t heads, length, sequences; /* sequential models: sasrec, bert4rec, cl4srec */
    double dropout;                   /* sequential */
    char loss[24];                    /* sasrec, cl4srec */
    int64_t negatives;                /* sasrec, cl4srec */
    double calibration;               /* loss gbce */
    double mask_share;                /* bert4rec */
    char synthetic_position[16];      /* sequential */

    char view[16];                       /* sgl, cl4srec */
    double view_share;                   /* sgl, cl4srec */
    double contrast_weight, temperature; /* sgl, simgcl, xsimgcl, ncl, cl4srec */
    double noise;                        /* simgcl, xsimgcl */
    int64_t contrast_layer;              /* xsimgcl, ncl */
    double item_share, prototype_weight; /* ncl */
    int64_t clusters, warm_up;           /* ncl */

    char ranking[8];                       /* language_model */
    int64_t contexts, beams, ranked_items; /* language_model */
};

struct recommender;

/* How a fit went. */
struct fit_report {
    int64_t epochs, best_epoch; /* epochs trained; the epoch whose parameters were kept */
    double best_score;          /* the watched metric at best_epoch */
    double seconds;
    /* What this rank has sent to others in an epoch's training, on average, and what the model of docs/scaling.md says; 0: it
     * has trained alone, or not since the start. */
    double epoch_bytes, epoch_bytes_expected;
};

/* When to stop and what to keep: the metric is watched on `truth` (validation; the protocol test_selected
 * gives test here) with `mask` hidden. truth NULL: train settings->epochs epochs and keep the last. */
struct fit_watch {
    const struct csr *truth, *mask; /* rows ascend */
    const struct csr *history;      /* of recommender_set_history(); NULL: that of the training set */
    enum metric metric;
    int64_t k;
    int64_t
        pause_after; /* epochs; 0: never. What comes after is left to a later call, see recommender_fit() */
};

/* Fits from scratch, or goes on from `checkpoint` (a path, NULL: none) when a checkpoint of the same fit is
 * there; writes one there every minute or so. A resumed fit has the bits of one that was never stopped.
 * SIGINT and SIGTERM let the epoch under way end, write a checkpoint and end in ERROR_INTERRUPTED. A pause of the
 * watch writes one too and leaves the recommender with the best epoch so far: a later call with a later pause, or none,
 * goes on from there.
 * Where fit_ranks() do the fit, all of them call it with the same arguments, and recommender_divides();
 * each has the whole recommender afterwards. Rank 0 writes the checkpoint, which is whole: any number
 * of ranks goes on from it. The epoch under way ends for all when a signal has come to one. */
bool recommender_fit(struct recommender **recommender, struct backend *backend,
                     const struct recommender_settings *settings, const struct training_set *data,
                     const struct fit_watch *watch, uint64_t seed, const char *checkpoint, struct log *log,
                     struct fit_report *report, struct error *error);

/* Sequential models score what comes after a user's history, with its synthetic rows among it where recommenders.
 * synthetic_position says so: that of the fit's watch until this has been called, from then on `history` [users, items], in
 * order of time, which may go on beyond the training set's (a test item comes after the validation item). A model that is
 * given rankings takes the one that follows this history; there is an error where none does. Other models ignore it.
 * `history` must outlive the scorer. */
bool recommender_set_history(struct recommender *recommender, const struct csr *history, struct error *error);
bool recommender_reads_history(const struct recommender_settings *settings);
/* Whether it is trained by epochs, rather than fitted at once. */
bool recommender_has_epochs(const struct recommender_settings *settings);
/* Whether items kept out of the negatives change a fit: models that are fitted at once have none. */
bool recommender_has_negatives(const struct recommender_settings *settings);
/* Whether fits on the same data are the same whatever the seed. */
bool recommender_is_deterministic(const struct recommender_settings *settings);
/* The ranks that do fits on this backend together, and rank the users of its recommenders; NULL: it does that alone. */
struct communicator *fit_ranks(const struct backend *backend);
/* Whether ranks can do such a fit together. */
bool recommender_divides(const struct recommender_settings *settings);
/* Whether the model of that name is not trained on the rows of an arm at all, but given rankings. */
bool recommender_is_given(const char *model);

/* Scores against all items; see core/evaluate.h. The scorer lives as long as the recommender. */
struct scorer recommender_scorer(struct recommender *recommender);

/* Vectors of users and items whose inner product is the score, for an index of nearest neighbours: real [count, width] on
 * the host. Width 0: the model has none, and the other two must not be called. */
int64_t recommender_vector_width(const struct recommender *recommender);
bool recommender_user_vectors(struct recommender *recommender, const int32_t *users, int64_t count,
                              real *vectors, struct error *error);
bool recommender_item_vectors(struct recommender *recommender, real *vectors, struct error *error);

/* model.h5: settings as attributes, parameters as arrays; /users/embedding and /items/embedding hold the
 * final embeddings where the model has them. */
bool recommender_save(const struct recommender *recommender, const char *path, struct error *error);
bool recommender_load(struct recommender **recommender, struct backend *backend, const char *path,
                      struct error *error);
void recommender_free(struct recommender *recommender);
/* Whether it was fitted on that many users and items. */
bool recommender_fits(const struct recommender *recommender, int64_t users, int64_t items);

/* Whether a model can be fitted with them, as far as that can be told without data: recommender_fit() begins with it. */
bool recommender_settings_check(const struct recommender_settings *settings, struct error *error);

/* Reads entry `index` of `recommenders:`. */
struct config;
bool recommender_settings_read(struct recommender_settings *settings, const struct config *config, int index,
                               struct error *error);

#endif
