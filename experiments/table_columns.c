#include "experiments/table_columns.h"

#include <stddef.h>

const char *const table_run_columns[] = {
    "trial",    "recommender", "arm",        "seed", "epochs",          "best_epoch",  "seconds",
    "metrics.", "validation.", "rows_added", "ties", "still_improving", "copied_from", NULL};
const char *const table_comparison_columns[] = {"trial",
                                                "against_trial",
                                                "recommender",
                                                "arm",
                                                "against",
                                                "metric",
                                                "mean",
                                                "against_mean",
                                                "seeds",
                                                "users",
                                                "relative_gain",
                                                "ci95",
                                                "difference",
                                                "difference_ci95",
                                                "effect_size",
                                                "effect_size_ci95",
                                                "p",
                                                "p_holm",
                                                "family",
                                                "p_seeds",
                                                "p_users",
                                                "flips",
                                                "deviation_seeds",
                                                "deviation_users",
                                                "detectable_difference",
                                                "detectable_relative_gain",
                                                "note",
                                                "fingerprint",
                                                "same_results",
                                                NULL};
const char *const table_selection_columns[] = {
    "trial",        "recommender",        "metric", "choice", "chosen",         "use", "amount",
    "proportional", "threshold_quantile", "mean",   "gain",   "standard_error", NULL};
const char *const table_cost_columns[] = {"trial",
                                          "stage",
                                          "seconds",
                                          "device",
                                          "tokens",
                                          "tokens_per_second",
                                          "peak_memory_bytes",
                                          "peak_device_memory_bytes",
                                          "flops",
                                          "energy_joules",
                                          "reused",
                                          NULL};
const char *const table_trial_columns[] = {"trial", "state", "reference", "stage", "reason", NULL};
