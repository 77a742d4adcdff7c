/*
 * top_k_file.h: top_k.tsv, lists of recommended items in the raw ids of the input, best first, without
 * header: user<TAB>item<TAB>rank<TAB>score. Users ascend in the order of dataset.h5.
 */
#ifndef IDREC_EXPERIMENTS_TOP_K_FILE_H
#define IDREC_EXPERIMENTS_TOP_K_FILE_H

#include <stdio.h>

#include "core/evaluate.h"
#include "experiments/name_index.h"

/* The lines of top_k.tsv. */
void top_k_print(const struct top_k *top, const struct dataset *dataset, FILE *stream);
bool top_k_write(const struct top_k *top, const struct dataset *dataset, const char *path,
                 struct error *error);

/* Reads the lists of the users given, who ascend; `items` is an index of the data set's items. At most k
 * items each; scores are not kept (NULL). */
bool top_k_read(struct top_k *top, const struct dataset *dataset, const struct name_index *items,
                const char *path, const int32_t *users, int64_t user_count, int64_t k, struct error *error);

#endif
