#include "experiments/sweep_order.h"

#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "experiments/stages.h"

/* The fits of one recommender in one trial: a number that other trials with the same fits have as well. */
struct described {
    int count;
    int *fits; /* [count] */
};

struct sweep_order {
    int trial_count, fit_count;
    struct described *trials; /* [trial_count] */
    json_t *numbers;          /* of hashes */
};

bool sweep_order_open(struct sweep_order **order, int trial_count, struct error *error)
{
    struct sweep_order *made = *order = calloc(1, sizeof *made);
    if (made) {
        made->trial_count = trial_count;
        made->trials = calloc((size_t)trial_count, sizeof *made->trials);
        made->numbers = json_object();
    }
    return (made && made->trials && made->numbers) || error_memory(error, "the order of trials", 0, NULL);
}

void sweep_order_close(struct sweep_order *order)
{
    if (!order)
        return;
    for (int i = 0; order->trials && i < order->trial_count; i++)
        free(order->trials[i].fits);
    free(order->trials);
    json_decref(order->numbers);
    free(order);
}

/* ---- describing ---------------------------------------------------------------------------------------- */

static void add_settings(XXH3_state_t *state, const struct config *config, const char *path)
{
    char *text = config_canonical(config, path);
    XXH3_128bits_update(state, text, strlen(text) + 1);
    free(text);
}

/* What all recommenders read: the rows, and what they are fitted for. */
static void add_common(XXH3_state_t *state, const struct config *config)
{
    const int shared = stage_last_shared(config);
    char digits[33];
    stage_settings_hash(config, shared, digits);
    XXH3_128bits_update(state, digits, sizeof digits);
    for (int i = shared + 1; i <= stage_number("train"); i++)
        for (int j = 0; stages[i].settings[j] && !stage_is_left_out(config, i); j++)
            if (strcmp(stages[i].settings[j], "recommenders") != 0)
                add_settings(state, config, stages[i].settings[j]);
}

/* The number of a hash, a new one where it comes for the first time; -1: no memory. */
static int number_of(struct sweep_order *order, const char *digits)
{
    const json_t *number = json_object_get(order->numbers, digits);
    if (number)
        return (int)json_integer_value(number);
    return json_object_set_new(order->numbers, digits, json_integer(order->fit_count)) == 0
               ? order->fit_count++
               : -1;
}

bool sweep_order_describe(struct sweep_order *order, int trial, const struct config *config,
                          struct error *error)
{
    struct described *described = &order->trials[trial];
    XXH3_state_t *state = XXH3_createState();
    const int count = (int)config_length(config, "recommenders");
    described->fits = calloc((size_t)count + 1, sizeof *described->fits);
    bool done = state && described->fits;
    for (int i = 0; done && i < count; i++) {
        char path[64], digits[33];
        snprintf(path, sizeof path, "recommenders[%d]", i);
        XXH3_128bits_reset(state);
        add_common(state, config);
        add_settings(state, config, path);
        hash_digits(digits, XXH3_128bits_digest(state));
        described->fits[described->count++] = number_of(order, digits);
        done = described->fits[i] >= 0;
    }
    XXH3_freeState(state);
    return done || error_memory(error, "the order of trials", 0, NULL);
}

/* ---- the next ------------------------------------------------------------------------------------------ */

/* How far the fits are: as far as in the trial that is farthest. [fit_count], malloc'ed */
static enum order_progress *progress_of_fits(const struct sweep_order *order,
                                             const enum order_progress *progress)
{
    enum order_progress *fits = calloc((size_t)order->fit_count + 1, sizeof *fits);
    if (!fits)
        abort();
    for (int trial = 0; trial < order->trial_count; trial++)
        for (int i = 0; i < order->trials[trial].count; i++) {
            enum order_progress *fit = &fits[order->trials[trial].fits[i]];
            *fit = progress[trial] > *fit ? progress[trial] : *fit;
        }
    return fits;
}

/* The least of its recommenders: what nobody has begun is done first, and what is under way last. */
static int place_of(const struct described *trial, const enum order_progress *fits)
{
    enum { NEW, KNOWN, AWAITED };
    int place = KNOWN;
    for (int i = 0; i < trial->count; i++) {
        if (fits[trial->fits[i]] == ORDER_WAITS)
            return NEW;
        if (fits[trial->fits[i]] == ORDER_UNDER_WAY)
            place = AWAITED;
    }
    return place;
}

int sweep_order_next(const struct sweep_order *order, const enum order_progress *progress,
                     const bool *may_begin)
{
    enum order_progress *fits = progress_of_fits(order, progress);
    bool alone = true;
    int best = -1, best_place = 0;
    for (int trial = 0; trial < order->trial_count; trial++)
        alone = alone && progress[trial] != ORDER_UNDER_WAY;
    for (int trial = 0; trial < order->trial_count; trial++) {
        const int place = alone ? 0 : place_of(&order->trials[trial], fits);
        if (may_begin[trial] && (best < 0 || place < best_place)) {
            best = trial;
            best_place = place;
        }
    }
    free(fits);
    return best;
}
