/*
 * names.h: what users and items are called in text prompts. Names carry as much meaning as the kind leaves them, so
 * that an experiment tells what a language model takes from the names themselves.
 */
#ifndef IDREC_MODELS_LANGUAGE_NAMES_H
#define IDREC_MODELS_LANGUAGE_NAMES_H

#include "core/interactions.h"

enum name_kind {
    NAMES_INDEX,      /* the number in the catalogue, from 0, as decimal digits */
    NAMES_RAW,        /* the id of the input */
    NAMES_RELABELLED, /* the numbers from 0 in a random order */
    NAMES_RANDOM      /* distinct random strings of RANDOM_NAME_LETTERS letters from a to z */
};
enum { RANDOM_NAME_LETTERS = 6 };

enum named { NAMED_USERS, NAMED_ITEMS };

/* "index", "raw", "relabelled" or "random", as the configuration's schema allows. */
enum name_kind name_kind_of(const char *word);

/* A name for each id of `raw`, all distinct when those of `raw` are. What is random is a function of the seed and
 * of who is named. More than 26^RANDOM_NAME_LETTERS random names are refused. */
bool names_create(struct id_map *names, enum name_kind kind, enum named named, const struct id_map *raw,
                  uint64_t seed, struct error *error);

#endif
