/*
 * augmented.h: augmented.h5, the real rows of train with the synthetic rows that passed the filters:
 *   /user /item /source /weight    one an interaction; source 0 real, 1 synthetic
 *   /rank /log_probability /votes  the place in the user's synthetic list (from 1), and what the generator
 *                                  said; 0 for real rows
 *   /ensemble                      with augment.ensemble: lists [users, items] of the rankers other than the language model,
 *                                  fused, best first; attributes `with`, `without`: whose lists were fused, with the
 *                                  language model and without it; `with_score`, `without_score`: what they reach on
 *                                  validation, where it chose them
 *   /rejected/user /item /reason   what a filter refused; reason is the filter's place, from 0, in the
 *                                  attribute `filters` of /rejected
 * With augment.ensemble the synthetic rows are fused ones: /log_probability is the logarithm of the fused score, and /votes
 * the rankers that list the item.
 * Attributes hold the counts: candidates and accepted, and below /rejected one for each filter.
 */
#ifndef IDREC_EXPERIMENTS_AUGMENTED_H
#define IDREC_EXPERIMENTS_AUGMENTED_H

#include "experiments/choice.h"
#include "experiments/ensemble.h"
#include "experiments/filters.h"

/* `candidates` as candidates_rank() leaves them. `ensemble`: NULL: none. */
bool augmented_save(const char *path, const struct csr *train, const struct candidate *candidates,
                    int64_t count, double weight, const struct ensemble_lists *ensemble, struct error *error);
/* The synthetic rows; `train` gives the shape that they must have. */
bool augmented_load(struct ranked_lists *lists, const char *path, const struct csr *train,
                    struct error *error);

/* Whose lists were fused: {"with", "without": arrays of names, "with_score", "without_score": numbers or null}; a JSON null where
 * the rows are the language model's alone. */
bool augmented_ensemble_json(json_t **record, const char *path, struct error *error);

/* The lists of the group /ensemble. */
bool augmented_load_ensemble(struct csr *lists, const char *path, const struct csr *train,
                             struct error *error);

/* What the filters did. */
struct augmentation_counts {
    int64_t candidates, accepted, rejected[FILTER_COUNT];
};
bool augmented_load_counts(struct augmentation_counts *counts, const char *path, struct error *error);

#endif
