/*
 * grouping.h: the ways in which the audit of a study tells users or items apart: users by the length of their history, items
 * by tenths of popularity, and either by an attribute from a file (evaluate.attributes).
 */
#ifndef IDREC_EXPERIMENTS_GROUPING_H
#define IDREC_EXPERIMENTS_GROUPING_H

#include "core/config.h"
#include "core/groups.h"

enum { GROUPINGS_MAXIMUM = 16 };

struct grouping {
    char name[GROUP_NAME_SIZE]; /* "history", "popularity", or the column's name */
    bool of_items;
    struct groups groups;
};

/* Entry `index` of evaluate.attributes. Members without a line are in no group. */
bool grouping_read(struct grouping *grouping, const struct config *config, int index,
                   const struct dataset *dataset, struct error *error);
/* What can be said of evaluate.attributes before anything is trained. */
bool groupings_check(const struct config *config, struct error *error);

#endif
