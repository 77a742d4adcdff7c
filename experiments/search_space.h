/*
 * search_space.h: the settings of recommenders that `idrec tune` tries, as tune.space declares them.
 *
 * A dimension is uniform between two bounds, which belong to it, or uniform in the logarithm between them, or any of the
 * values listed, all alike. A whole number is drawn from those between the bounds; any other is rounded to four digits, so
 * that the tables show what was trained, to the bit.
 *
 * The draw of a trial is keyed (seed, trial, place in tune.space) and by nothing else: every arm tries the same settings.
 */
#ifndef IDREC_EXPERIMENTS_SEARCH_SPACE_H
#define IDREC_EXPERIMENTS_SEARCH_SPACE_H

#include "core/config.h"
#include "models/recommenders/recommender.h"

enum { SPACE_MAXIMUM = 32, SETTING_SIZE = 32 };

struct dimension {
    int place;       /* in tune.space */
    const char *key; /* of recommenders[] */
    const char
        *recommender; /* the label of the only one whose setting it is; NULL: of all that read the key */
    bool is_whole, logarithmic; /* between bounds */
    double low, high;
    int value_count; /* > 0: values instead of bounds, at tune.space[place].values */
};

struct search_space {
    const struct config *config;
    int count;
    struct dimension dimensions[SPACE_MAXIMUM];
};

/* A recommender that may be tuned. */
struct tunable {
    const char *label, *model;
};

/* Reads tune.space. What no recommender reads, what the schema does not allow and what is declared twice is an error with
 * file and line. */
bool search_space_read(struct search_space *space, const struct config *config,
                       const struct tunable *recommenders, int recommender_count, struct error *error);

/* The dimensions of one recommender: where one names it, that stands in place of the one for all. */
struct search_space search_space_of(const struct search_space *space, const struct tunable *recommender);

/* The setting that trial `trial` draws of a dimension, as YAML. */
void search_space_draw(char text[SETTING_SIZE], const struct search_space *space, int dimension,
                       uint64_t seed, uint64_t trial);

#endif
