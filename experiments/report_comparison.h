/*
 * report_comparison.h: comparisons of two arms (comparison.h) in tables and in words, whether of a run, a study or several
 * runs.
 */
#ifndef IDREC_EXPERIMENTS_REPORT_COMPARISON_H
#define IDREC_EXPERIMENTS_REPORT_COMPARISON_H

#include <jansson.h>

#include "experiments/document.h"

enum { COMPARISON_TEXT_SIZE = 768, COMPARISON_CELLS = 5 };

/* Cells of a comparison: gain, its interval, effect size, corrected p, and the smallest gain that this number of seeds and
 * users would have shown. What was not computed is left empty, as is all where `comparison` is NULL. `metric` NULL: the rows
 * have several. */
void comparison_add_heads(struct table *table, const char *metric);
void comparison_add_cells(struct table *table, const json_t *comparison);
/* Those of the gain, its interval and corrected p alone. */
enum { COMPARISON_SHORT_CELLS = 3 };
void comparison_add_short_heads(struct table *table, const char *what);
void comparison_add_short_cells(struct table *table, const json_t *comparison);

/* The two ends of "ci95" or another interval; false: it is not known, and they are 0. */
bool comparison_interval(double interval[2], const json_t *comparison, const char *key);
/* Whether the arms have the same results, as where nothing was adopted. */
bool comparison_is_same(const json_t *comparison);
/* 1: the arm is better, -1: worse, over at least five seeds, with the whole interval on that side of 0 and a corrected p
 * below 0.05; else 0. */
int comparison_verdict(const json_t *comparison);
/* "beats", "does not beat", "does worse than", or what can be said of too few seeds. */
const char *comparison_verb(const json_t *comparison);
/* "0.1234 against 0.1200, +2.83 %, 95 % interval +1.00 to +4.70 %, effect size +0.110 [+0.040, +0.180], p 0.01 corrected for
 * 12 comparisons; a difference of 3.10 % would have been found with 80 % chance; NOTE". */
void comparison_describe(char text[COMPARISON_TEXT_SIZE], const json_t *comparison);

#endif
