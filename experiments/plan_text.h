/*
 * plan_text.h: prompts of text as they are expected to be, where no tokenizer has been asked.
 */
#ifndef IDREC_EXPERIMENTS_PLAN_TEXT_H
#define IDREC_EXPERIMENTS_PLAN_TEXT_H

#include "core/interactions.h"
#include "models/language/prompt_layout.h"

/* The published prompt with ids as text: 40 tokens of words; of an id its digits, one each, and two more ("i", ","), unless
 * tokens_per_item, a mean, is given. The tokens themselves mean nothing and are small. */
bool plan_text_layout(struct prompt_layout *layout, const struct dataset *dataset, double tokens_per_item,
                      struct error *error);

#endif
