/*
 * language_folder.h: the language model that a path of the command line stands for: a Hugging Face folder, or the folder of
 * a run, which has a base and, mostly, an adapter.
 */
#ifndef IDREC_EXPERIMENTS_LANGUAGE_FOLDER_H
#define IDREC_EXPERIMENTS_LANGUAGE_FOLDER_H

#include <stdbool.h>

#include "core/error.h"

struct language_folder {
    char *base;
    char *adapter;   /* NULL: none */
    char *tokenizer; /* a tokenizer.json; NULL: the model has none */
    char *run;       /* NULL: a Hugging Face folder */
};

/* `adapter` is taken instead of the run's own unless it is NULL. A run must have fine-tuned its model. */
bool language_folder_open(struct language_folder *folder, const char *path, const char *adapter,
                          struct error *error);
void language_folder_close(struct language_folder *folder);

#endif
