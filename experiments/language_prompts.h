/*
 * language_prompts.h: how an experiment writes users and items as tokens: the vocabulary, what stands for an item, and the
 * layout of the prompts.
 */
#ifndef IDREC_EXPERIMENTS_LANGUAGE_PROMPTS_H
#define IDREC_EXPERIMENTS_LANGUAGE_PROMPTS_H

#include "core/interactions.h"
#include "experiments/run.h"
#include "models/language/answer_text.h"
#include "models/language/indexing.h"
#include "models/language/prompt.h"
#include "models/language/template.h"
#include "models/language/tokenizer.h"

/* It points into itself: it is not to be copied. */
struct language_prompts {
    struct vocabulary vocabulary;         /* ids */
    struct tokenizer *tokenizer;          /* text; else NULL */
    struct id_map user_names, item_names; /* text */
    struct prompt_template template;      /* text; the strings are the configuration's */
    enum indexing_kind kind;              /* what an item is written as */
    struct indexing indexing;             /* of any kind but text */
    struct prompt_layout layout;
    struct answer_text answer; /* text; how answers are read */
    /* length_maximum: prompts.length, or what the longest prompt needs if that is less */
    struct prompt_settings settings;
    bool single;         /* an item is one token of `vocabulary` */
    int32_t begin;       /* the token that begins a text; -1: none does */
    int64_t tokens;      /* of the model's table */
    int64_t classes;     /* the first tokens, which can be predicted */
    int64_t first_added; /* text: tokens from here on are new to the tokenizer; tokens: none is */
};

/* Collaborative codes are made once; with keep_codes they stay in the run's folder. */
bool language_prompts_open(struct language_prompts *prompts, const struct run *run,
                           const struct dataset *dataset, bool keep_codes, struct error *error);
/* Sets the settings for prompts over what users have in `train`, which may be more than the data set's train. */
bool language_prompts_choose_length(struct language_prompts *prompts, const struct run *run,
                                    const struct csr *train, struct error *error);
void language_prompts_close(struct language_prompts *prompts);
/* Says how items and prompts are written, and how often pieces of text give the tokens of the whole. */
bool language_prompts_tell(const struct language_prompts *prompts, const struct run *run,
                           const struct dataset *dataset, struct error *error);

/* How many of the tokens are new to the base in that folder. */
bool language_added_tokens(int64_t *added, const struct language_prompts *prompts, const char *base,
                           struct error *error);

/* What the configuration alone tells: whether an item is one token of the vocabulary `ids`, and whether it has collaborative
 * codes. */
bool language_items_are_tokens(const struct config *config);
bool language_items_have_codes(const struct config *config);
/* Whether a checkpoint's vocabulary has to grow. */
bool language_tokens_are_added(const struct config *config);

#endif
