/* export.h: vectors and scores of a trained recommender, as HDF5 for other programs (layout: docs/data-formats.md). */
#ifndef IDREC_EXPERIMENTS_EXPORT_H
#define IDREC_EXPERIMENTS_EXPORT_H

#include "experiments/trained.h"

/* Writes the vectors of the users and of all items where the model has them, and with `scores` the scores of all items,
 * a block of users at a time. Without vectors and scores there is nothing to write, which is an error. */
bool export_trained(const struct trained_request *request, const char *path, bool scores,
                    struct error *error);

#endif
