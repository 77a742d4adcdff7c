#include "experiments/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/thread.h"
#include "experiments/jobs.h"
#include "experiments/turns.h"
#include "models/recommenders/settings.h"

/* ---- the trials --------------------------------------------------------------------------------------- */

static bool draw_setting(struct trial *trial, const struct search *search, int number, int dimension,
                         struct error *error)
{
    const char *key = search->space.dimensions[dimension].key;
    char *drawn = trial->drawn[dimension];
    if (number > 0 && (search->arm != ARM_ORIGINAL || !recommender_setting_is_of_added_rows(key))) {
        search_space_draw(drawn, &search->space, dimension, search->study->first_seed, (uint64_t)number);
        return recommender_setting_put(&trial->settings, key, drawn, error);
    }
    char *written = recommender_setting_text(&trial->settings, key);
    snprintf(drawn, SETTING_SIZE, "%s", written);
    free(written);
    return true;
}

static bool draw_trials(struct search *search, struct error *error)
{
    const size_t bytes = (size_t)search->trial_count * sizeof *search->trials;
    search->trials = calloc((size_t)search->trial_count, sizeof *search->trials);
    if (!search->trials)
        return error_memory(error, "trials", bytes, "lower tune.trials");
    for (int number = 0; number < search->trial_count; number++) {
        struct trial *trial = &search->trials[number];
        trial->settings = search->study->contestants[search->contestant].settings;
        trial->rung = -1;
        trial->drawn = calloc((size_t)search->space.count, sizeof *trial->drawn);
        if (!trial->drawn)
            return error_memory(error, "trials", bytes, "lower tune.trials");
        for (int dimension = 0; dimension < search->space.count; dimension++)
            if (!draw_setting(trial, search, number, dimension, error))
                return false;
    }
    return true;
}

/* Validation alone is watched, under every protocol. */
static bool open_watch(struct search *search, struct error *error)
{
    const struct study *study = search->study;
    search->data = arm_training_set(&search->rows, &study->dataset.train);
    search->watch = (struct fit_watch){.truth = &study->validation,
                                       .mask = &study->train,
                                       .metric = study->select_metric,
                                       .k = study->select_cut};
    if (!study->mask_augmented)
        return true;
    search->watch.mask = &search->hidden;
    return csr_union(&search->hidden, &study->train, &search->rows.positives, error);
}

bool search_open(struct search *search, const struct study *study, const struct tune_settings *settings,
                 int contestant, enum arm arm, struct arm_rows *rows, struct error *error)
{
    *search = (struct search){.study = study,
                              .contestant = contestant,
                              .arm = arm,
                              .space = tune_space(settings, study, contestant),
                              .rows = *rows,
                              .trial_count = settings->trials};
    *rows = (struct arm_rows){0};
    search->rung_count = tune_rungs(search->pauses, settings, &study->contestants[contestant].settings);
    return open_watch(search, error) && draw_trials(search, error) &&
           halving_open(&search->halving, search->trial_count, settings->reduction, search->rung_count,
                        error);
}

void search_close(struct search *search)
{
    for (int trial = 0; search->trials && trial < search->trial_count; trial++)
        free(search->trials[trial].drawn);
    free(search->trials);
    halving_close(&search->halving);
    arm_rows_free(&search->rows);
    csr_free(&search->hidden);
}

char *search_folder(const struct search *search)
{
    return run_path(search->study->run, "tune/%s/%s", search->study->contestants[search->contestant].label,
                    arm_name(search->arm));
}

/* ---- several at a time -------------------------------------------------------------------------------- */

static const double listen_seconds = 0.1;

/* One training from a rung to the next. */
struct training {
    struct search *search;
    int trial, rung;
};

/* Every rank follows all searches, does the trainings that it takes, and hears what comes of the others. */
struct pool {
    struct search *searches;
    int count;
    struct turns *turns;
    struct training *
        others; /* [all trainings]: those that other ranks have taken, and whose results are not known here */
    int other_count;
    struct error failed; /* the first error */
    pthread_mutex_t lock;
    pthread_cond_t scored;
};

static int64_t number_of(const struct pool *pool, const struct training *training)
{
    const int64_t search = training->search - pool->searches;
    return (search * training->search->trial_count + training->trial) * RUNGS_MAXIMUM + training->rung;
}

/* The next training that can begin and that no other rank has. */
static bool take_free(struct pool *pool, struct training *training)
{
    bool taken = false;
    for (int s = 0; s < pool->count; s++) {
        training->search = &pool->searches[s];
        while (!taken && halving_take(&training->search->halving, &training->trial, &training->rung)) {
            if (!turns_take_piece(pool->turns, number_of(pool, training), &taken, &pool->failed))
                return false;
            if (!taken)
                pool->others[pool->other_count++] = *training;
        }
        if (taken)
            return true;
    }
    return false;
}

static bool say(const struct pool *pool, const struct training *training, const struct trial_result *result,
                struct error *error)
{
    json_t *said = json_pack("{s:I, s:I, s:f, s:f, s:s}", "epochs", (json_int_t)result->epochs, "best_epoch",
                             (json_int_t)result->best_epoch, "score", result->score, "seconds",
                             result->seconds, "failure", result->failure);
    char *text = json_dumps(said, JSON_REAL_PRECISION(17));
    const bool done = text ? turns_say(pool->turns, number_of(pool, training), text, error)
                           : error_memory(error, "the result of a trial", 0, NULL);
    free(text);
    json_decref(said);
    return done;
}

static bool parse_result(struct trial_result *result, const char *text, struct error *error)
{
    json_int_t epochs, best_epoch;
    const char *failure;
    json_t *said = json_loads(text, 0, NULL);
    const bool done =
        said && json_unpack(said, "{s:I, s:I, s:f, s:f, s:s}", "epochs", &epochs, "best_epoch", &best_epoch,
                            "score", &result->score, "seconds", &result->seconds, "failure", &failure) == 0;
    if (done) {
        result->epochs = epochs;
        result->best_epoch = best_epoch;
        snprintf(result->failure, sizeof result->failure, "%s", failure);
    }
    json_decref(said);
    return done ||
           error_set(error, ERROR_RUN, "what another rank says of a trial cannot be read: %.100s", text);
}

/* The result of a training that another rank has done. */
static bool hear(struct pool *pool, struct training *training, struct trial_result *result)
{
    char *text = NULL;
    int place = 0;
    while (place < pool->other_count && !text) {
        if (!turns_hear(pool->turns, number_of(pool, &pool->others[place]), &text, &pool->failed))
            return false;
        place += text == NULL;
    }
    if (!text)
        return false;
    *training = pool->others[place];
    pool->others[place] = pool->others[--pool->other_count];
    const bool heard = parse_result(result, text, &pool->failed);
    free(text);
    return heard;
}

/* Until something has changed here, or may have at another rank. */
static void wait_for_change(struct pool *pool)
{
    if (pool->other_count == 0) {
        pthread_cond_wait(&pool->scored, &pool->lock);
        return;
    }
    thread_wait(&pool->scored, &pool->lock, listen_seconds);
    turns_check(pool->turns, &pool->failed);
}

/* Waits for a training that can begin, or for the result of one of another rank: then *known. As there is one left for every
 * piece, and the next one can begin at the latest when nothing is under way, only an error ends the waiting without. */
static bool take(struct pool *pool, struct training *training, bool *known, struct trial_result *result,
                 struct error *error)
{
    pthread_mutex_lock(&pool->lock);
    bool found = false;
    *known = false;
    while (!found && pool->failed.kind == ERROR_NONE) {
        found = take_free(pool, training);
        *known = !found && pool->failed.kind == ERROR_NONE && hear(pool, training, result);
        found = found || *known;
        if (!found && pool->failed.kind == ERROR_NONE)
            wait_for_change(pool);
    }
    if (!found)
        *error = pool->failed;
    pthread_mutex_unlock(&pool->lock);
    return found;
}

static char *trial_folder(const struct search *search, int trial)
{
    char *folder = search_folder(search), *path = path_format("%s/trial-%d", folder, trial);
    free(folder);
    return path;
}

static bool drop_checkpoint(const struct search *search, int trial, struct error *error)
{
    char *folder = trial_folder(search, trial);
    const bool done = trial_drop_checkpoint(folder, error);
    free(folder);
    return done;
}

/* Checkpoints that nothing will go on from are not kept. */
static bool drop_checkpoints(const struct search *search, const struct training *scored, struct error *error)
{
    if (!halving_is_complete(&search->halving, scored->rung))
        return !halving_is_out(&search->halving, scored->trial, scored->rung) ||
               drop_checkpoint(search, scored->trial, error);
    const struct halving_rung *rung = &search->halving.rungs[scored->rung];
    for (int place = 0; place < rung->count; place++)
        if (!rung->members[place].promoted && !drop_checkpoint(search, rung->members[place].trial, error))
            return false;
    return true;
}

static bool record(struct pool *pool, const struct training *training, const struct trial_result *result,
                   bool done, struct error *error)
{
    struct search *search = training->search;
    struct trial *trial = &search->trials[training->trial];
    pthread_mutex_lock(&pool->lock);
    if (done) {
        trial->rung = training->rung;
        trial->result = *result;
        trial->scores[training->rung] = *result->failure ? -INFINITY : result->score;
        trial->seconds[training->rung] = result->seconds;
        halving_score(&search->halving, training->trial, training->rung, trial->scores[training->rung]);
        done = !run_leads(search->study->run) || drop_checkpoints(search, training, error);
    }
    if (!done && pool->failed.kind == ERROR_NONE)
        pool->failed = *error;
    pthread_cond_broadcast(&pool->scored);
    pthread_mutex_unlock(&pool->lock);
    return done;
}

static bool train(struct trial_result *result, const struct training *training, struct backend *backend,
                  struct error *error)
{
    const struct search *search = training->search;
    const struct trial *trial = &search->trials[training->trial];
    if (*trial->result.failure) {
        *result = trial->result;
        return true;
    }
    char *folder = trial_folder(search, training->trial);
    const struct trial_task task = {.folder = folder,
                                    .settings = &trial->settings,
                                    .data = &search->data,
                                    .watch = search->watch,
                                    .seed = search->study->first_seed,
                                    .rung_count = search->rung_count,
                                    .rung = training->rung,
                                    .pauses = search->pauses};
    const bool done = trial_train(result, &task, backend, error);
    if (done && *result->failure)
        log_line(search->study->run->log, "%s, %s, trial %d failed: %s",
                 search->study->contestants[search->contestant].label, arm_name(search->arm), training->trial,
                 result->failure);
    free(folder);
    return done;
}

/* The piece's number says nothing: whoever is free takes what can begin. */
static bool do_training(void *context, int64_t index, struct backend *backend, struct error *error)
{
    (void)index;
    struct pool *pool = context;
    struct training training;
    struct trial_result result;
    bool known;
    if (!take(pool, &training, &known, &result, error))
        return false;
    const bool done = known || (train(&result, &training, backend, error) &&
                                (!turns_are_shared(pool->turns) || say(pool, &training, &result, error)));
    return record(pool, &training, &result, done, error);
}

static bool pool_run(struct pool *pool, int64_t trainings, const struct run *run, struct error *error)
{
    pool->others = calloc((size_t)trainings, sizeof *pool->others);
    bool done = pool->others || error_memory(error, "trials", (size_t)trainings * sizeof *pool->others, NULL);
    done = done && turns_open(&pool->turns, run, true, trainings, error);
    if (done) {
        done = jobs_run(run, jobs_parallel(run), trainings, do_training, pool, "tune", "trainings", error);
        done = turns_end(pool->turns, done, error);
    }
    turns_close(pool->turns);
    free(pool->others);
    return done;
}

bool search_run(struct search *searches, int count, const struct run *run, struct error *error)
{
    struct pool pool = {.searches = searches, .count = count};
    int64_t trainings = 0;
    for (int s = 0; s < count; s++)
        trainings += halving_training_count(&searches[s].halving);
    if (trainings == 0)
        return true;
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.scored, NULL);
    const bool done = pool_run(&pool, trainings, run, error);
    pthread_cond_destroy(&pool.scored);
    pthread_mutex_destroy(&pool.lock);
    return done;
}

/* ---- the order ---------------------------------------------------------------------------------------- */

static bool is_better(const struct search *search, int a, int b)
{
    const struct trial_result *first = &search->trials[a].result, *second = &search->trials[b].result;
    if (!*first->failure != !*second->failure)
        return !*first->failure;
    return !*first->failure && first->score != second->score ? first->score > second->score : a < b;
}

void search_rank(int *order, const struct search *search)
{
    for (int count = 0; count < search->trial_count; count++) {
        int place = count;
        for (; place > 0 && is_better(search, count, order[place - 1]); place--)
            order[place] = order[place - 1];
        order[place] = count;
    }
}
