/* language_base.h: where an experiment's language model begins: a pretrained checkpoint as it is, or what `pretrain` made. */
#ifndef IDREC_EXPERIMENTS_LANGUAGE_BASE_H
#define IDREC_EXPERIMENTS_LANGUAGE_BASE_H

#include <stdint.h>

#include "experiments/run.h"

bool language_is_text(const struct config *config);
/* A checkpoint is the base, whose weights `pretrain` leaves alone. */
bool language_base_is_given(const struct config *config);
/* Of the models that are averaged (language_model.members) the first is 0, and 1 all there is in most runs. */
int64_t language_members(const struct config *config);
/* The seed itself for the first. */
uint64_t language_member_seed(uint64_t seed, int64_t member);
/* The folder of a member's "base", "adapter" or "finetuned", and its place below the run's folder; malloc'ed. */
char *language_member_folder(const struct run *run, const char *part, int64_t member);
char *language_member_place(const char *part, int64_t member);
/* The folder of a member's base, which all share where it is given; malloc'ed. */
char *language_base_folder(const struct run *run, int64_t member);
/* tokenizer.json of the vocabulary `text`; malloc'ed. */
char *language_tokenizer_path(const struct config *config);

/* The token that ends a text: eos_token_id of the checkpoint's config.json (of several the first), or, from scratch, the
 * first of the usual names that the tokenizer has. */
struct tokenizer;
bool language_end_token(int32_t *token, const struct config *config, const struct tokenizer *tokenizer,
                        struct error *error);
/* The token that the tokenizer puts before an empty text; -1: none. */
int32_t language_begin_token(const struct tokenizer *tokenizer);

/* Rows of the model's table before new ones: the checkpoint's, which may be more than the tokenizer has, or, from scratch, the
 * tokenizer's size. A checkpoint with fewer is refused. */
bool language_table_size(int64_t *rows, const struct config *config, const struct tokenizer *tokenizer,
                         struct error *error);

/* A hash of the files that the vocabulary `text` reads: the checkpoint's and the tokenizer, 32 digits; "none" with `ids`. Of
 * files above 64 MiB it covers name, size, time of change, and the first and the last MiB. */
bool language_files_hash(char digits[33], const struct config *config, struct error *error);

#endif
