/*
 * Sequential recommenders: goldens against PyTorch, where synthetic rows go, masks and views, the same bits at any number
 * of threads, after a resume and from a file, what users are scored from, and what is refused.
 */
#include <unistd.h>

#include "models/recommenders/fit_checkpoint.h"
#include "tests/sequential_cases.h"

static void goldens_hold(void **state)
{
    (void)state;
    struct backend *backend = open_backend(1);
    for (int number = 0; number < SEQUENTIAL_GOLDENS; number++)
        check_sequential_golden(backend, number);
    backend_close(backend);
}

/* ---- synthetic rows ----------------------------------------------------------------------------------- */

static void expect_row(const struct csr *rows, int64_t user, const int32_t *expected, int64_t count)
{
    assert_int_equal(csr_row_length(rows, user), count);
    assert_memory_equal(rows->indices + rows->starts[user], expected, (size_t)count * sizeof *expected);
}

static struct csr merged(const struct csr *history, const struct synthetic_rows *synthetic)
{
    struct error error = ERROR_INITIALIZER;
    struct csr sequences;
    require(sequences_merge(&sequences, history, synthetic, &error), &error);
    return sequences;
}

static void synthetic_rows_go_where_the_setting_says(void **state)
{
    (void)state;
    int64_t history_starts[] = {0, 3, 3}, synthetic_starts[] = {0, 2, 3};
    int32_t history_items[] = {7, 3, 5}, synthetic_items[] = {9, 1, 4};
    const struct csr history = {2, 10, history_starts, history_items};
    const struct csr rows = {2, 10, synthetic_starts, synthetic_items};
    static const struct {
        const char *position;
        int32_t first[5], second[1];
        int64_t counts[2];
    } cases[] = {{"prepended", {1, 9, 7, 3, 5}, {4}, {5, 1}},
                 {"appended", {7, 3, 5, 9, 1}, {4}, {5, 1}},
                 {"targets", {7, 3, 5}, {0}, {3, 0}},
                 {"none", {7, 3, 5}, {0}, {3, 0}}};
    for (size_t number = 0; number < sizeof cases / sizeof *cases; number++) {
        struct csr sequences =
            merged(&history, &(struct synthetic_rows){&rows, cases[number].position, &history, 3});
        expect_row(&sequences, 0, cases[number].first, cases[number].counts[0]);
        expect_row(&sequences, 1, cases[number].second, cases[number].counts[1]);
        csr_free(&sequences);
    }
}

static int64_t place_in(const struct csr *rows, int64_t user, int32_t item)
{
    for (int64_t place = 0; place < csr_row_length(rows, user); place++)
        if (rows->indices[rows->starts[user] + place] == item)
            return place;
    fail_msg("user %lld lacks item %d", (long long)user, item);
    return -1;
}

/* Every gap is as likely as any other, the history stays in order, and what comes later changes nothing before it. */
static void inserted_rows_are_spread_evenly(void **state)
{
    (void)state;
    enum { USERS = 4000, REAL = 3 };
    struct csr history = {USERS, 10, calloc(USERS + 1, 8), malloc(USERS * (REAL + 1) * 4)}, longer,
               rows = {USERS, 10, calloc(USERS + 1, 8), malloc(USERS * 4)};
    longer = (struct csr){USERS, 10, calloc(USERS + 1, 8), malloc(USERS * (REAL + 1) * 4)};
    for (int64_t user = 0; user < USERS; user++) {
        for (int32_t item = 0; item <= REAL; item++)
            longer.indices[(REAL + 1) * user + item] = history.indices[REAL * user + item % (REAL + 1)] =
                item;
        rows.indices[user] = 9;
        history.starts[user + 1] = REAL * (user + 1);
        longer.starts[user + 1] = (REAL + 1) * (user + 1);
        rows.starts[user + 1] = user + 1;
    }
    for (int64_t user = 0; user < USERS; user++)
        for (int32_t item = 0; item < REAL; item++)
            history.indices[REAL * user + item] = item;
    const struct synthetic_rows synthetic = {&rows, "inserted", &history, 3};
    struct csr trained = merged(&history, &synthetic), tested = merged(&longer, &synthetic);
    int64_t counts[REAL + 1] = {0};
    for (int64_t user = 0; user < USERS; user++) {
        const int64_t place = place_in(&trained, user, 9);
        counts[place]++;
        assert_int_equal(place_in(&tested, user, 9), place);
        for (int32_t item = 0; item < REAL; item++)
            assert_int_equal(place_in(&trained, user, item), item + (item >= place));
        assert_int_equal(place_in(&tested, user, REAL), REAL + 1);
    }
    for (int gap = 0; gap <= REAL; gap++)
        assert_in_range(counts[gap], 1000 - 140, 1000 + 140); /* five standard deviations */
    csr_free(&trained);
    csr_free(&tested);
    csr_free(&history);
    csr_free(&longer);
    csr_free(&rows);
}

static void weights_are_those_of_the_rows(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct chains chains;
    make_chains(&chains);
    const struct training_set data = chain_set(&chains);
    const struct synthetic_rows synthetic = {&chains.synthetic, "appended", &chains.history, 3};
    struct csr sequences = merged(&chains.history, &synthetic);
    real *weights;
    require(sequences_weigh(&weights, &sequences, &data, &error), &error);
    for (int64_t user = 0; user < CHAIN_USERS; user++)
        for (int64_t place = 0; place < csr_row_length(&sequences, user); place++)
            assert_true(weights[sequences.starts[user] + place] ==
                        (place < csr_row_length(&chains.history, user) ? (real)1.0 : (real)0.5));
    free(weights);
    sequences.indices[0] = (sequences.indices[0] + 20) % CHAIN_ITEMS;
    assert_false(sequences_weigh(&weights, &sequences, &data, &error));
    csr_free(&sequences);
    free_chains(&chains);
}

/* ---- masks and views ---------------------------------------------------------------------------------- */

/* The tokens of a sequence of the epoch that has been written. */
struct written_sequence {
    const int32_t *entries;
    int64_t count;
};

static struct written_sequence sequence_at(const struct sequence_epoch *epoch, int64_t number)
{
    const int32_t *starts = epoch->host[EPOCH_STARTS];
    return (struct written_sequence){epoch->host[EPOCH_TOKENS] + starts[number],
                                     starts[number + 1] - starts[number]};
}

/* Writes one batch of users 2 .. and hands it to `check`. */
typedef void check_batch(struct sequence_training *training, const int32_t *users, int64_t count);

static void write_batches(const struct recommender_settings *settings, check_batch *check)
{
    struct chains chains;
    make_chains(&chains);
    const struct training_set data = chain_set(&chains);
    struct backend *backend = open_backend(1);
    const struct sequential_training opened = open_sequential(backend, settings, &data, 7);
    int32_t users[CHAIN_USERS];
    for (int32_t user = 2; user < CHAIN_USERS; user++)
        users[user - 2] = user;
    for (int64_t epoch = 1; epoch <= 20; epoch++) {
        epoch_begin(&opened.training->epoch);
        opened.training->kind->write_batch(opened.training, users, CHAIN_USERS - 2, epoch);
        check(opened.training, users, CHAIN_USERS - 2);
    }
    close_sequential(opened);
    backend_close(backend);
    free_chains(&chains);
}

static int64_t last_only, examples, behind; /* of the masks that check_masks() has seen */

/* The user's targets, from prediction `prediction` on, by the mask behind his sequence. */
static int64_t check_targets(const struct sequence_training *training, int32_t user, int64_t sequence,
                             int64_t prediction)
{
    const struct sequence_epoch *epoch = &training->epoch;
    const struct user_items targets = training_targets(training, user);
    for (int64_t place = 0; place < targets.count; place++, prediction++) {
        assert_int_equal(epoch->host[EPOCH_ROWS][prediction], epoch->host[EPOCH_STARTS][sequence + 1] - 1);
        assert_int_equal(epoch->host[EPOCH_TARGETS][prediction], targets.items[place]);
        assert_int_equal(epoch->host[EPOCH_USERS][prediction], user);
        assert_true(epoch->host_weights[prediction] == (real)0.5 / (real)epoch->written.predictions);
        behind++;
    }
    return prediction;
}

static void check_masks(struct sequence_training *training, const int32_t *users, int64_t count)
{
    const struct sequence_epoch *epoch = &training->epoch;
    int64_t prediction = 0;
    for (int64_t place = 0; place < count; place++) {
        struct user_items read = training_items(training, users[place]);
        struct written_sequence written = sequence_at(epoch, place);
        if (training_targets(training, users[place]).count > 0) {
            assert_int_equal(written.entries[--written.count], training->items);
            read.items += read.count - written.count;
            read.count = written.count;
        }
        const int64_t wanted = llround(training->settings.mask_share * (double)read.count);
        int64_t masked = 0;
        assert_int_equal(written.count, read.count);
        for (int64_t token = 0; token < written.count; token++)
            if (written.entries[token] == training->items) {
                masked++;
                assert_int_equal(epoch->host[EPOCH_ROWS][prediction],
                                 epoch->host[EPOCH_STARTS][place] + token);
                assert_int_equal(epoch->host[EPOCH_TARGETS][prediction], read.items[token]);
                assert_int_equal(epoch->host[EPOCH_USERS][prediction++], users[place]);
            } else {
                assert_int_equal(written.entries[token], read.items[token]);
            }
        prediction = check_targets(training, users[place], place, prediction);
        assert_true(masked == (wanted > 1 ? wanted : 1) || masked == 1);
        if (wanted > 1) {
            examples++;
            last_only += masked == 1 && written.entries[written.count - 1] == training->items;
        }
    }
    assert_int_equal(prediction, epoch->written.predictions);
}

static void masks_have_their_share(void **state)
{
    (void)state;
    struct recommender_settings settings = sequential_settings("bert4rec", "");
    last_only = examples = behind = 0;
    write_batches(&settings, check_masks);
    assert_int_equal(behind, 0);
    snprintf(settings.synthetic_position, sizeof settings.synthetic_position, "targets");
    write_batches(&settings, check_masks);
    assert_true(behind > 1000 && examples > 2000);
    const double share = (double)last_only / (double)examples,
                 deviation = sqrt(1.0 / 11 * 10 / 11 / (double)examples);
    assert_true(fabs(share - 1.0 / 11) < 5 * deviation);
}

/* One item and rows behind it are an example of one token, but for models with views, which need an item more. */
static void one_item_and_targets_are_an_example(void **state)
{
    (void)state;
    int64_t history_starts[] = {0, 1, 4}, synthetic_starts[] = {0, 2, 2}, starts[] = {0, 3, 6};
    int32_t history_items[] = {7, 1, 2, 3}, synthetic_items[] = {9, 4}, items[] = {4, 7, 9, 1, 2, 3};
    const struct csr history = {2, 10, history_starts, history_items};
    const struct csr synthetic = {2, 10, synthetic_starts, synthetic_items};
    const struct csr positives = {2, 10, starts, items};
    const struct training_set data = {.positives = &positives, .history = &history, .synthetic = &synthetic};
    static const struct {
        const char *model;
        int64_t users;
    } cases[] = {{"sasrec", 2}, {"bert4rec", 2}, {"cl4srec", 1}};
    struct backend *backend = open_backend(1);
    for (size_t number = 0; number < sizeof cases / sizeof *cases; number++) {
        struct error error = ERROR_INITIALIZER;
        struct recommender_settings settings = sequential_settings(cases[number].model, "cross_entropy");
        snprintf(settings.synthetic_position, sizeof settings.synthetic_position, "targets");
        const struct sequential_training opened = open_sequential(backend, &settings, &data, 7);
        double loss;
        assert_int_equal(opened.training->user_count, cases[number].users);
        require(sequence_train_epoch(opened.training, 1, &loss, &error), &error);
        assert_true(isfinite(loss));
        close_sequential(opened);
    }
    backend_close(backend);
}

static int64_t differing(const struct written_sequence *view, const int32_t *items, int64_t *first,
                         int64_t *last)
{
    int64_t count = 0;
    for (int64_t place = 0; place < view->count; place++)
        if (view->entries[place] != items[place]) {
            *first = count++ == 0 ? place : *first;
            *last = place;
        }
    return count;
}

static void check_view(const struct sequence_training *training, const struct written_sequence *view,
                       const struct user_items *read)
{
    const int64_t count = read->count - 1, part = (int64_t)(training->settings.view_share * (double)count);
    int64_t first = 0, last = -1, offset = 0, sum = 0;
    if (strcmp(training->settings.view, "crop") == 0) {
        assert_int_equal(view->count, count > part ? count - part : 1);
        while (memcmp(view->entries, read->items + offset, (size_t)view->count * sizeof *view->entries) != 0)
            assert_true(++offset + view->count <= count);
        return;
    }
    assert_int_equal(view->count, count);
    const int64_t changed = differing(view, read->items, &first, &last);
    for (int64_t place = 0; place < count; place++)
        sum += view->entries[place] == training->items ? read->items[place]
                                                       : view->entries[place] - read->items[place];
    if (strcmp(training->settings.view, "mask") == 0) {
        assert_int_equal(changed, part);
        for (int64_t place = 0; place < count; place++)
            assert_true(view->entries[place] == read->items[place] ||
                        view->entries[place] == training->items);
    } else {
        assert_true(last - first + 1 <= part);
        assert_int_equal(sum, 0); /* the same items */
    }
}

static void check_views(struct sequence_training *training, const int32_t *users, int64_t count)
{
    const struct sequence_epoch *epoch = &training->epoch;
    for (int64_t place = 0; place < count; place++) {
        const struct user_items read = training_items(training, users[place]);
        for (int64_t number = 0; number < 2; number++) {
            const struct written_sequence view = sequence_at(epoch, count + 2 * place + number);
            check_view(training, &view, &read);
            assert_int_equal(epoch->host[EPOCH_CONTRASTS][2 * place + number],
                             epoch->host[EPOCH_STARTS][count + 2 * place + number + 1] - 1);
        }
    }
}

static void views_are_what_they_are_called(void **state)
{
    (void)state;
    static const char *const views[] = {"crop", "mask", "reorder"};
    struct recommender_settings settings = sequential_settings("cl4srec", "cross_entropy");
    for (int view = 0; view < 3; view++) {
        snprintf(settings.view, sizeof settings.view, "%s", views[view]);
        write_batches(&settings, check_views);
    }
}

/* ---- fits --------------------------------------------------------------------------------------------- */

static struct recommender_settings settings_of(int model)
{
    struct recommender_settings settings =
        sequential_settings(sequential_models[model][0], sequential_models[model][1]);
    settings.sequences = 16;
    settings.dropout = 0.2;
    return settings;
}

/* Losses of predictions first .. first + count - 1 of the batch that is encoded. */
static void lose(struct sequence_training *training, int64_t first, int64_t count, real *losses)
{
    const struct sequence_batch all = epoch_batch(&training->epoch, 0);
    struct sequence_batch batch = {.first_prediction = first,
                                   .targets = tensor_rows(&all.targets, first, count),
                                   .users = tensor_rows(&all.users, first, count),
                                   .weights = tensor_rows(&all.weights, first, count),
                                   .losses = tensor_rows(&all.losses, first, count)};
    const struct scored_items scored = {.items = &training->parameters.items,
                                        .d_items = &training->gradients.items};
    const struct tensor states = tensor_rows(&training->activations.output, first, count);
    struct tensor d_states = tensor_rows(&training->d_states, first, count);
    sequence_loss_backward(&training->loss, &d_states, &states, &scored, &batch, 3);
    tensor_download(training->backend, losses, &batch.losses);
}

/* Parts that begin and end within a chunk of predictions, as ranks have them. */
static void check_parts(struct sequence_training *training, const int32_t *users, int64_t count)
{
    enum { CHUNK = 8 };
    (void)users;
    (void)count;
    epoch_upload(&training->epoch);
    const struct sequence_batch batch = epoch_batch(&training->epoch, 0);
    const int64_t predictions = tensor_count(&batch.targets), cuts[] = {0, 5, 6, 6 + 3 * CHUNK, predictions};
    real *whole = calloc((size_t)predictions, sizeof *whole),
         *parts = calloc((size_t)predictions, sizeof *parts);
    assert_true(predictions > 6 + 3 * CHUNK);
    training->loss.chunk = CHUNK;
    training->loss.chunks = (predictions - 1) / CHUNK + 1;
    training_encode(training, &batch);
    lose(training, 0, predictions, whole);
    for (int i = 0; i < 4; i++)
        lose(training, cuts[i], cuts[i + 1] - cuts[i], parts + cuts[i]);
    assert_memory_equal(whole, parts, (size_t)predictions * sizeof *whole);
    free(whole);
    free(parts);
}

static void parts_of_a_batch_draw_as_the_batch_does(void **state)
{
    (void)state;
    struct recommender_settings settings = sequential_settings("sasrec", "gbce");
    settings.negatives = 3;
    settings.sequences = CHAIN_USERS; /* write_batches() makes one batch of them */
    write_batches(&settings, check_parts);
}

static void fits_learn(void **state)
{
    (void)state;
    struct chains chains;
    make_chains(&chains);
    struct backend *backend = open_backend(1);
    for (int model = 0; model < SEQUENTIAL_MODELS; model++) {
        struct recommender_settings settings = settings_of(model);
        struct fit_report report;
        settings.width = 32;
        settings.dropout = 0.0;
        settings.epochs = 40;
        settings.evaluate_every = 10;
        settings.patience = 0;
        recommender_free(fit_chains(&settings, &chains, backend, NULL, &report));
        if (report.best_score < 0.6)
            fail_msg("%s %s: ndcg@5 is %.3f", settings.model, settings.loss, report.best_score);
    }
    backend_close(backend);
    free_chains(&chains);
}

static void threads_give_the_same_bits(void **state)
{
    (void)state;
    struct chains chains;
    make_chains(&chains);
    for (int model = 0; model < SEQUENTIAL_MODELS; model++) {
        struct recommender_settings settings = settings_of(model);
        settings.width = 32;
        settings.sequences = 64; /* large enough for the operators to use their threads */
        settings.negatives = 64;
        real *scores[2];
        for (int threads = 1; threads <= 2; threads++) {
            struct fit_report report;
            struct backend *backend = open_backend(threads);
            struct recommender *recommender = fit_chains(&settings, &chains, backend, NULL, &report);
            scores[threads - 1] = chain_scores(recommender, backend);
            recommender_free(recommender);
            backend_close(backend);
        }
        assert_memory_equal(scores[0], scores[1], CHAIN_SCORE_BYTES);
        free(scores[0]);
        free(scores[1]);
    }
    free_chains(&chains);
}

/* Trains epochs by hand and leaves the checkpoint that a killed fit would have left. */
static void leave_checkpoint(const struct recommender_settings *settings, const struct chains *chains,
                             struct backend *backend, int64_t epochs, const char *path)
{
    struct error error = ERROR_INITIALIZER;
    const struct training_set data = chain_set(chains);
    const struct fit_watch watch = {
        .truth = &chains->truth, .mask = &chains->positives, .metric = METRIC_NDCG, .k = 5};
    struct fit_fingerprint fingerprint;
    struct fit_progress progress = {.epoch = epochs};
    double loss;
    const struct sequential_training opened = open_sequential(backend, settings, &data, 7);
    for (int64_t epoch = 1; epoch <= epochs; epoch++)
        require(sequence_train_epoch(opened.training, epoch, &loss, &error), &error);
    const struct training_state training_state = sequence_training_state(opened.training);
    require(fit_fingerprint_compute(&fingerprint, backend, settings, &data, &watch, 7, &error) &&
                fit_checkpoint_save(path, &fingerprint, backend, &training_state,
                                    sequence_published(opened.recommender), &progress, &error),
            &error);
    close_sequential(opened);
}

static void resumed_fits_are_straight_ones(void **state)
{
    (void)state;
    struct chains chains;
    make_chains(&chains);
    struct backend *backend = open_backend(1);
    char path[64];
    snprintf(path, sizeof path, "/tmp/test-sequential-%ld.h5", (long)getpid());
    for (int model = 0; model < SEQUENTIAL_MODELS; model++) {
        struct recommender_settings settings = settings_of(model);
        settings.evaluate_every = 4;
        struct fit_report straight_report, resumed_report;
        struct recommender *straight = fit_chains(&settings, &chains, backend, NULL, &straight_report);
        leave_checkpoint(&settings, &chains, backend, 3, path);
        struct recommender *resumed = fit_chains(&settings, &chains, backend, path, &resumed_report);
        real *expected = chain_scores(straight, backend), *found = chain_scores(resumed, backend);
        assert_memory_equal(expected, found, CHAIN_SCORE_BYTES);
        assert_int_equal(straight_report.best_epoch, resumed_report.best_epoch);
        free(expected);
        free(found);
        recommender_free(straight);
        recommender_free(resumed);
    }
    unlink(path);
    backend_close(backend);
    free_chains(&chains);
}

static void files_keep_the_scores(void **state)
{
    (void)state;
    static const char *const positions[] = {"prepended", "appended", "inserted", "targets", "none"};
    struct error error = ERROR_INITIALIZER;
    struct chains chains;
    make_chains(&chains);
    struct backend *backend = open_backend(1);
    char path[64];
    snprintf(path, sizeof path, "/tmp/test-sequential-%ld.h5", (long)getpid());
    for (int model = 0; model < SEQUENTIAL_MODELS; model++) {
        struct recommender_settings settings = settings_of(model);
        struct fit_report report;
        snprintf(settings.synthetic_position, sizeof settings.synthetic_position, "%s", positions[model % 5]);
        struct recommender *fitted = fit_chains(&settings, &chains, backend, NULL, &report), *loaded;
        require(recommender_save(fitted, path, &error) && recommender_load(&loaded, backend, path, &error),
                &error);
        real *expected = chain_scores(fitted, backend), *found = chain_scores(loaded, backend);
        assert_memory_equal(expected, found, CHAIN_SCORE_BYTES);
        free(expected);
        free(found);
        recommender_free(fitted);
        recommender_free(loaded);
    }
    unlink(path);
    backend_close(backend);
    free_chains(&chains);
}

/* ---- scores ------------------------------------------------------------------------------------------- */

static void scores_do_not_depend_on_the_company(void **state)
{
    (void)state;
    struct chains chains;
    make_chains(&chains);
    struct backend *backend = open_backend(1);
    for (int model = 0; model < SEQUENTIAL_MODELS; model++) {
        const struct recommender_settings settings = settings_of(model);
        struct fit_report report;
        struct recommender *recommender = fit_chains(&settings, &chains, backend, NULL, &report);
        real *expected = chain_scores(recommender, backend);
        real *found = sequential_scores(recommender, backend, CHAIN_USERS, 3, 64);
        assert_memory_equal(expected, found, CHAIN_SCORE_BYTES);
        free(expected);
        free(found);
        recommender_free(recommender);
    }
    backend_close(backend);
    free_chains(&chains);
}

static double ndcg_after(struct recommender *recommender, struct backend *backend, const struct csr *history,
                         const struct fit_watch *watch)
{
    struct error error = ERROR_INITIALIZER;
    const struct scorer scorer = recommender_scorer(recommender);
    struct top_k top;
    struct evaluation evaluation;
    int32_t users[CHAIN_USERS];
    for (int32_t user = 0; user < CHAIN_USERS; user++)
        users[user] = user;
    require(recommender_set_history(recommender, history, &error) &&
                top_k_rank(&top, backend, &scorer, users, CHAIN_USERS, watch->k, watch->mask, &error),
            &error);
    evaluate_top_k(&evaluation, &top, watch->truth, &watch->k, 1, NULL);
    top_k_free(&top);
    return evaluation.value[watch->metric][0];
}

/* As in a fit that is watched on test items, which come after the validation items. */
static void epochs_are_judged_after_the_history_of_the_watch(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct chains chains;
    make_chains(&chains);
    struct csr longer, known, later;
    allocate_rows(&later, 1);
    for (int64_t user = 0; user < CHAIN_USERS; user++)
        add_row(&later, user, chains.truth.indices[user] + 1, 1, 1);
    require(csr_append(&longer, &chains.history, &chains.truth, &error) &&
                csr_union(&known, &chains.positives, &chains.truth, &error),
            &error);
    struct backend *backend = open_backend(1);
    for (int model = 0; model < SEQUENTIAL_MODELS; model++) {
        struct recommender_settings settings = settings_of(model);
        settings.width = 32;
        settings.dropout = 0.0;
        settings.epochs = 20;
        settings.evaluate_every = 10;
        const struct training_set data = chain_set(&chains);
        const struct fit_watch watch = {
            .truth = &later, .mask = &known, .history = &longer, .metric = METRIC_NDCG, .k = 5};
        struct fit_report report;
        struct recommender *recommender;
        require(
            recommender_fit(&recommender, backend, &settings, &data, &watch, 7, NULL, NULL, &report, &error),
            &error);
        assert_true(report.best_score == ndcg_after(recommender, backend, &longer, &watch));
        assert_true(report.best_score > ndcg_after(recommender, backend, &chains.history, &watch));
        recommender_free(recommender);
    }
    backend_close(backend);
    csr_free(&longer);
    csr_free(&known);
    csr_free(&later);
    free_chains(&chains);
}

/* With the histories turned around by one user, each has the scores that the one behind him had. */
static void scores_follow_the_history_that_is_set(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct chains chains;
    make_chains(&chains);
    struct csr turned;
    allocate_rows(&turned, CHAIN_LONGEST);
    for (int64_t user = 0; user < CHAIN_USERS; user++) {
        const int64_t from = (user + 1) % CHAIN_USERS, count = csr_row_length(&chains.history, from);
        memcpy(turned.indices + turned.starts[user], chains.history.indices + chains.history.starts[from],
               (size_t)count * sizeof *turned.indices);
        turned.starts[user + 1] = turned.starts[user] + count;
    }
    struct backend *backend = open_backend(1);
    for (int model = 0; model < SEQUENTIAL_MODELS; model++) {
        struct recommender_settings settings = settings_of(model);
        struct fit_report report;
        snprintf(settings.synthetic_position, sizeof settings.synthetic_position, "none");
        struct recommender *recommender = fit_chains(&settings, &chains, backend, NULL, &report);
        real *before = chain_scores(recommender, backend);
        require(recommender_set_history(recommender, &turned, &error), &error);
        real *after = chain_scores(recommender, backend);
        for (int64_t user = 0; user < CHAIN_USERS; user++)
            assert_memory_equal(after + user * CHAIN_ITEMS, before + (user + 1) % CHAIN_USERS * CHAIN_ITEMS,
                                CHAIN_ITEMS * sizeof *after);
        free(before);
        free(after);
        recommender_free(recommender);
    }
    backend_close(backend);
    csr_free(&turned);
    free_chains(&chains);
}

/* A user without history: SASRec scores him by items' counts, BERT4Rec by what follows a lone mask. */
static void users_without_history_have_scores(void **state)
{
    (void)state;
    enum { NOBODY = 1, POPULAR = 0 };
    struct chains chains;
    make_chains(&chains);
    struct backend *backend = open_backend(1);
    for (int model = 0; model < SEQUENTIAL_MODELS; model++) {
        struct recommender_settings settings = settings_of(model);
        struct fit_report report;
        snprintf(settings.synthetic_position, sizeof settings.synthetic_position, "none");
        struct recommender *recommender = fit_chains(&settings, &chains, backend, NULL, &report);
        real *scores = chain_scores(recommender, backend);
        int64_t counts[CHAIN_ITEMS] = {0};
        for (int64_t index = 0; index < csr_count(&chains.history); index++)
            counts[chains.history.indices[index]]++;
        for (int64_t item = 0; item < CHAIN_ITEMS; item++) {
            const real score = scores[NOBODY * CHAIN_ITEMS + item];
            assert_true(isfinite(score) && isfinite(scores[POPULAR * CHAIN_ITEMS + item]));
            if (strcmp(settings.model, "bert4rec") != 0)
                assert_true(score == (real)counts[item]);
        }
        free(scores);
        recommender_free(recommender);
    }
    backend_close(backend);
    free_chains(&chains);
}

/* ---- refusals ----------------------------------------------------------------------------------------- */

static void failures_say_what_to_do(void **state)
{
    (void)state;
    struct chains chains;
    make_chains(&chains);
    struct training_set data = chain_set(&chains);
    struct recommender_settings settings = settings_of(0);
    settings.heads = 3;
    expect_failure(&settings, &data, "heads (3) must divide width (8)");
    settings = settings_of(0);
    settings.learning_rate = 1e30;
    expect_failure(&settings, &data, "optimizer step");
    snprintf(settings.loss, sizeof settings.loss, "hinge");
    expect_failure(&settings, &data, "'hinge'");
    settings = settings_of(0);
    snprintf(settings.synthetic_position, sizeof settings.synthetic_position, "somewhere");
    expect_failure(&settings, &data, "'somewhere'");
    settings = settings_of(5);
    snprintf(settings.view, sizeof settings.view, "edge_drop");
    expect_failure(&settings, &data, "'edge_drop'");
    settings = settings_of(0);
    data.history = NULL;
    expect_failure(&settings, &data, "order of time");

    int64_t starts[CHAIN_USERS + 1];
    int32_t items[CHAIN_USERS];
    for (int32_t user = 0; user <= CHAIN_USERS; user++) {
        starts[user] = user;
        items[user % CHAIN_USERS] = user % CHAIN_ITEMS;
    }
    const struct csr lone = {CHAIN_USERS, CHAIN_ITEMS, starts, items};
    expect_failure(&settings, &(struct training_set){.positives = &lone, .history = &lone},
                   "no user has the 2 items");
    free_chains(&chains);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goldens_hold),
        cmocka_unit_test(synthetic_rows_go_where_the_setting_says),
        cmocka_unit_test(inserted_rows_are_spread_evenly),
        cmocka_unit_test(weights_are_those_of_the_rows),
        cmocka_unit_test(masks_have_their_share),
        cmocka_unit_test(one_item_and_targets_are_an_example),
        cmocka_unit_test(views_are_what_they_are_called),
        cmocka_unit_test(parts_of_a_batch_draw_as_the_batch_does),
        cmocka_unit_test(fits_learn),
        cmocka_unit_test(threads_give_the_same_bits),
        cmocka_unit_test(resumed_fits_are_straight_ones),
        cmocka_unit_test(files_keep_the_scores),
        cmocka_unit_test(scores_do_not_depend_on_the_company),
        cmocka_unit_test(scores_follow_the_history_that_is_set),
        cmocka_unit_test(epochs_are_judged_after_the_history_of_the_watch),
        cmocka_unit_test(users_without_history_have_scores),
        cmocka_unit_test(failures_say_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
