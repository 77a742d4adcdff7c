#include <math.h>

#include "experiments/tuning.h"

/* Seconds of the training that took a trial from its rung before to this one. */
static double seconds_to(const struct search *search, int trial, int rung)
{
    const double *seconds = search->trials[trial].seconds;
    return trial == 0 || rung == 0 ? seconds[rung] : seconds[rung] - seconds[rung - 1];
}

json_t *tuning_curve(const struct search *search, struct error *error)
{
    struct halving halving;
    json_t *curve = json_array();
    double spent = 0.0, best = -INFINITY;
    int trial, rung;
    bool done =
        halving_open(&halving, search->trial_count, search->halving.reduction, search->rung_count, error);
    while (done && halving_take(&halving, &trial, &rung)) {
        const double score = search->trials[trial].scores[rung];
        spent += fmax(0.0, seconds_to(search, trial, rung));
        halving_score(&halving, trial, rung, score);
        if (score <= best)
            continue;
        best = score;
        json_array_append_new(curve,
                              json_pack("{s:f, s:i, s:f}", "seconds", spent, "trial", trial, "score", best));
    }
    halving_close(&halving);
    if (done)
        return curve;
    json_decref(curve);
    return NULL;
}
