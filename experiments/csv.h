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
bool csv_write_records(const char *path, const json_t *records, struct error *error);

#endif
