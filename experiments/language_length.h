/*
 * language_length.h: whether prompts and what is generated behind them fit into the longest sequence that a checkpoint was
 * made for, told before hours of fine-tuning and not after them.
 */
#ifndef IDREC_EXPERIMENTS_LANGUAGE_LENGTH_H
#define IDREC_EXPERIMENTS_LANGUAGE_LENGTH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/config.h"
#include "core/error.h"
#include "models/language/prompt.h"

/* Tokens that generation needs room for behind a prompt, as generate.method and its limits ask for. */
int64_t language_tokens_after(const struct config *config, const struct prompt_layout *layout);
/* Refused with the place of prompts.length. */
bool language_length_check(const struct config *config, const struct prompt_settings *prompt,
                           struct error *error);

#endif
