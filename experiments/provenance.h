/*
 * provenance.h: where the synthetic rows came from and where they went: counts of generation and filters,
 * popularity of their items, and, for artificial data, how many are truly preferred.
 */
#ifndef IDREC_EXPERIMENTS_PROVENANCE_H
#define IDREC_EXPERIMENTS_PROVENANCE_H

#include "experiments/study.h"

/* {"requested", "valid", "invalid", "already_seen", "duplicate", "accepted", "in_test", "in_validation",
 * "rejected"}: the last by filter; in_test counts accepted rows that equal a test pair, which are never
 * filtered. New reference. */
bool generation_json(json_t **record, const struct study *study, struct error *error);

/* Shares of rows by popularity of their items: "deciles"[0] is the tenth of the items with the most training
 * rows.
 * [{"rows": "train" | "LABEL: CHOICE", "deciles": [10]}]; a recommender's rows are those of its selection. */
bool popularity_json(json_t **list, const struct study *study, const json_t *selections, struct error *error);

/* The rows of the choice that selection.json names under `key` ("chosen", "controls"). */
bool selected_rows(struct csr *rows, const struct study *study, const json_t *selection, const char *key,
                   struct error *error);

#endif
