/*
 * comparisons.h: the metrics of every tested user in every arm and seed, recomputed from top_k.tsv, and the
 * paired comparisons of arms made from them, each as comparison.h describes it.
 */
#ifndef IDREC_EXPERIMENTS_COMPARISONS_H
#define IDREC_EXPERIMENTS_COMPARISONS_H

#include "experiments/study.h"

/* Values of one recommender: value[((arm * seeds + seed) * series + serie) * users + user], where `arm`
 * counts study->arms and a serie is one metric at one cut. */
struct user_values {
    int64_t seeds, series, users;
    double *value;
};

/* The series of the configuration: metrics of evaluate.metrics, each at every cut. */
struct serie {
    enum metric metric;
    int cut; /* index of study->cuts */
};
int64_t series_of(struct serie series[METRIC_COUNT * CUTS_MAXIMUM], const struct study *study);
/* The place of a metric at a cut ("ndcg@20") among them; -1: it is none of them. */
int64_t series_find(const struct study *study, const char *metric);

/* Reads the lists of all arms and seeds; metrics that differ from those of metrics.json are an error. */
struct name_index;
bool user_values_load(struct user_values *values, const struct study *study, const struct name_index *items,
                      int contestant, struct error *error);
void user_values_free(struct user_values *values);
/* One serie of an arm at a seed, counted from 0. */
const double *user_values_at(const struct user_values *values, int arm, int64_t seed,
                             int64_t serie); /* [users] */

/* Appends the comparisons of one recommender to the array `comparisons`, with p but without p_holm, whose family is the
 * comparisons of one metric. */
bool compare_arms(json_t *comparisons, const struct study *study, const struct user_values *values,
                  int contestant, struct error *error);

#endif
