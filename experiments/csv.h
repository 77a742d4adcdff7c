/*
 * csv.h: records as comma-separated values (RFC 4180), for programs: all digits, and nothing where there is no value.
 */
#ifndef IDREC_EXPERIMENTS_CSV_H
#define IDREC_EXPERIMENTS_CSV_H

#include <jansson.h>
#include <stdio.h>

#include "core/error.h"

/* In quotes where it must be. */
void csv_write_text(FILE *stream, const char *text);
/* Nothing where it is no number. */
void csv_write_number(FILE *stream, const json_t *value);

/* Writes an array of objects to `path`, a line each. A column is a key of any of them; a member of an object within is
 * "KEY.MEMBER". An interval, which is a key that ends in "ci95", has two columns, "KEY.low" and "KEY.high"; another array of
 * numbers one for each, "KEY.1", "KEY.2", ...; of other arrays nothing is written. */
/* The columns of `order`, which ends with NULL and names them as records do, "ci95" as well as "metrics.recall@20", come first,
 * whether a record has them or not; "metrics." stands for all members of that object, in the order of their names; columns
 * that it does not name follow. */
bool csv_write_records(const char *path, const json_t *records, const char *const *order,
                       struct error *error);

#endif
