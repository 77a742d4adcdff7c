/*
 * packing.h: the batches of an epoch: every user's training sequences, in an order drawn anew each epoch, one
 * after another without padding. Everything is a function of (seed, epoch), so a run can go on at any batch.
 *
 * Objective "set": every position from USER on learns the uniform distribution over the user's items that the
 * sequence has not shown yet. This is the expectation of "next" over all orders of the items, at lower
 * variance. What the sequence has shown is left out of the softmax, as generation leaves it out: a model that
 * has to learn not to repeat a context learns to avoid what resembles it. END is no target, and a last item
 * after which nothing is left to learn is not computed.
 *
 * It is for layouts in which every item is one token, and refused with others.
 *
 * Objective "next": every position learns the next token, up to the last of the sequence.
 */
#ifndef IDREC_MODELS_LANGUAGE_PACKING_H
#define IDREC_MODELS_LANGUAGE_PACKING_H

#include "core/error.h"
#include "core/interactions.h"
#include "models/language/prompt.h"
#include "models/language/transformer.h"

enum objective { OBJECTIVE_SET, OBJECTIVE_NEXT };

struct packing_settings {
    struct prompt_settings prompt;
    enum objective objective;
    /* A position after a share s of its sequence counts s to this power; 0: all alike. */
    double context_weight;
    bool answer_only;        /* loss_on: answer; false: on context and answer */
    bool full;               /* one sequence a user with a context of a single item */
    int64_t random_cuts;     /* sequences a user an epoch with a random cut */
    int64_t batch_tokens;    /* at least prompt.length_maximum */
    int64_t batch_sequences; /* 0: as many as fit */
    uint64_t seed;
};

struct packer;

/* `train` rows in order of time; it must outlive the packer. `withheld` (may be NULL): up to two matrices
 * whose pairs no sequence may hold, rows ascending; users without train items have no sequence. */
bool packer_create(struct packer **packer, const struct packing_settings *settings, const struct csr *train,
                   const struct csr *const withheld[2], struct error *error);
void packer_free(struct packer *packer);

/* The most sequences that a batch can hold, for transformer_create(). */
int64_t packer_sequences_maximum(const struct packing_settings *settings, const struct csr *train);

/* Draws the sequences of an epoch and their order and lays out its batches. */
void packer_begin_epoch(struct packer *packer, int64_t epoch);
int64_t packer_batch_count(const struct packer *packer);    /* of the epoch begun, as all but the next */
int64_t packer_sequence_count(const struct packer *packer); /* the same every epoch */
int64_t packer_epoch_tokens(const struct packer *packer);
int64_t
packer_shortened(const struct packer *packer); /* users with a sequence that holds not all of their items */
int64_t
packer_left_out(const struct packer *packer); /* items that sequences do not hold, over all of these */

/* A withheld pair that stands in a training prompt, by index. */
struct leaked_pair {
    int64_t user;
    int32_t item;
    bool in_test; /* else in the first of the withheld matrices, validation */
};
/* Batch `index` of the epoch; valid until the next call. The weights of its positions sum to `share`. A
 * withheld pair is an error that names user and item by index; packer_leak() then gives the pair. */
bool packer_batch(struct packer *packer, int64_t index, double share, struct batch *batch,
                  struct error *error);
int64_t packer_batch_tokens(const struct packer *packer, int64_t index);

/* A run of the epoch's sequences, by their place in its order. */
struct packer_run {
    int64_t begin, end;
};
/* What rank `rank` of `ranks` has to do of batches first .. first + count - 1: the runs of all ranks cover them without a
 * gap, and differ in tokens by less than two sequences. */
struct packer_run packer_divide(const struct packer *packer, int64_t first, int64_t count, int rank,
                                int ranks);
/* The same for ranks that begin and end their batches together, and so are to have parts of few: batches and ranks are cut into as many
 * equal groups as both can be, and the ranks of a group divide its batches. */
struct packer_run packer_divide_by_batches(const struct packer *packer, int64_t first, int64_t count,
                                           int rank, int ranks);
/* How many of these batches hold something of a run. */
int64_t packer_run_batches(const struct packer *packer, int64_t first, int64_t count, struct packer_run run);
/* The part of a batch that lies in a run: it may hold no sequence. Its weights are those that its positions have in the
 * whole batch. */
bool packer_batch_part(struct packer *packer, int64_t index, struct packer_run run, double share,
                       struct batch *batch, struct error *error);
/* The pair that ended packer_batch(); NULL: none did. */
const struct leaked_pair *packer_leak(const struct packer *packer);

#endif
