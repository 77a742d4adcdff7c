#include "models/language/trainer.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/file.h"
#include "core/interrupt.h"
#include "core/trace.h"
#include "models/language/checkpoint.h"
#include "models/language/shares.h"

/* Where a training stands; all of it is in the state on disk. */
struct position {
    int64_t epoch, batch; /* epochs finished; batches finished of the one under way */
    int64_t step, draws;  /* optimizer steps; batches ever, which number the dropout's draws */
    int64_t tokens;
    int64_t best_epoch, since_best;
    int64_t finished;       /* 1: nothing is left to train */
    double loss_sum;        /* over the batches of the epoch under way */
    double recent_loss_sum; /* over those since the last record of steps */
    int64_t recent_batches;
    double train_loss;
    struct validation best;
};

/* Batches that a GPU is given before the host asks for the loss of the oldest. */
enum { BATCHES_AHEAD = 2 };

/* Steps between two records in metrics.jsonl, beside those of the epochs. */
enum { STEPS_PER_RECORD = 20 };

/* What belongs to a batch whose loss is not known yet. */
struct awaited_loss {
    double scale; /* from the batch's share of its step to a mean */
    int64_t step;
};

struct trainer {
    struct transformer *model;
    struct backend *backend;
    struct packer *packer;
    const struct validator *validator;
    const struct trainer_settings *settings;
    struct log *log;
    struct position at;
    struct arena arena;
    struct tensor average, best;          /* kept lists (shares.h); rank 0: there is none */
    int64_t bytes_counted, steps_counted; /* sent in steps since the start */
    double bytes_expected;                /* by the model of docs/scaling.md */
    double saved_at;                      /* clock_seconds() */
    double rate_since;   /* clock_seconds() from which on the rate of the next record counts */
    int64_t rate_tokens; /* tokens at that time */
    double own_loss;     /* of this rank, not yet in the sums of `at` */
    struct awaited_loss awaited[BATCHES_UNDER_WAY]; /* oldest first, as many as batches are under way */
};

/* ---- ranks -------------------------------------------------------------------------------------------- */

static int rank_of(const struct trainer *trainer)
{
    return trainer->settings->communicator ? trainer->settings->communicator->rank : 0;
}

static int rank_count(const struct trainer *trainer)
{
    return trainer->settings->communicator ? trainer->settings->communicator->size : 1;
}

/* From the same values, whatever each rank's processor has made of the seed. */
static bool share_values(struct trainer *trainer, struct error *error)
{
    struct tensor values = transformer_trained_values(trainer->model);

    if (rank_count(trainer) == 1)
        return true;
    if (!comm_broadcast(trainer->settings->communicator, &values, 0, error))
        return false;
    transformer_values_changed(trainer->model);
    return true;
}

/* Brings the losses of all ranks together, and sums `count` more numbers. */
static bool share_losses(struct trainer *trainer, double *numbers /* [1 + count], the first is set here */,
                         int64_t count, struct error *error)
{
    numbers[0] = trainer->own_loss;
    if (rank_count(trainer) > 1 &&
        !comm_sum_numbers(trainer->settings->communicator, numbers, 1 + count, error))
        return false;
    trainer->at.loss_sum += numbers[0];
    trainer->at.recent_loss_sum += numbers[0];
    trainer->own_loss = 0;
    return true;
}

/* What all ranks do after a step: a signal that one has got ends all, and rank 0 knows the time to save. */
static bool agree(struct trainer *trainer, bool *stop, bool *save, struct error *error)
{
    const bool due = clock_seconds() - trainer->saved_at >= trainer->settings->checkpoint_seconds;
    double numbers[] = {0, interrupt_requested(), due && rank_of(trainer) == 0};

    if (!share_losses(trainer, numbers, 2, error))
        return false;
    *stop = numbers[1] > 0;
    *save = numbers[2] > 0;
    if (*stop)
        interrupt_request();
    return true;
}

/* ---- copies of the weights ---------------------------------------------------------------------------- */

static void lay_out_copies(struct trainer *trainer)
{
    const int64_t kept = shares_kept(trainer->model);

    if (trainer->settings->average > 0)
        trainer->average = arena_tensor_1d(&trainer->arena, DTYPE_REAL, kept);
    if (trainer->validator)
        trainer->best = arena_tensor_1d(&trainer->arena, DTYPE_REAL, kept);
}

static void keep_weights(const struct trainer *trainer, struct tensor *copy)
{
    const struct tensor values = transformer_trained_values(trainer->model);

    shares_take(trainer->model, copy, &values);
}

static bool restore_weights(const struct trainer *trainer, const struct tensor *copy, struct error *error)
{
    struct tensor values = transformer_trained_values(trainer->model);

    shares_put(trainer->model, &values, copy);
    if (!shares_gather(trainer->model, &values, error))
        return false;
    transformer_values_changed(trainer->model);
    return true;
}

static bool make_copies(struct trainer *trainer, struct error *error)
{
    trainer->arena = arena_measure(trainer->backend, "weight copies");
    lay_out_copies(trainer);
    if (!arena_reserve(&trainer->arena, 0, "lower language_model.width", error))
        return false;
    lay_out_copies(trainer);
    if (trainer->average.rank > 0)
        keep_weights(trainer, &trainer->average);
    if (trainer->best.rank > 0)
        keep_weights(trainer, &trainer->best);
    return true;
}

/* average = decay * average + (1 - decay) * weights; the decay rises from 2/11 so that the start is
 * forgotten. */
static void update_average(struct trainer *trainer)
{
    const double step = (double)trainer->at.step;
    const double decay = fmin(trainer->settings->average, (1 + step) / (10 + step));
    const struct tensor values = transformer_trained_values(trainer->model);

    if (trainer->average.rank > 0)
        shares_add(trainer->model, &trainer->average, (float)(1 - decay), &values, (float)decay);
}

/* Puts the average into the model and the weights into the gradients, which are zero between steps and have
 * just the right size; take_average_out() undoes it. */
static bool put_average_in(struct trainer *trainer, struct error *error)
{
    const struct tensor values = transformer_trained_values(trainer->model),
                        gradients = transformer_trained_gradients(trainer->model);

    if (trainer->average.rank == 0)
        return true;
    trainer->backend->copy(trainer->backend, gradients.data, values.data, tensor_bytes(&values));
    return restore_weights(trainer, &trainer->average, error);
}

static void take_average_out(struct trainer *trainer)
{
    const struct tensor values = transformer_trained_values(trainer->model);
    struct tensor gradients = transformer_trained_gradients(trainer->model);

    if (trainer->average.rank == 0)
        return;
    trainer->backend->copy(trainer->backend, values.data, gradients.data, tensor_bytes(&values));
    tensor_zero(trainer->backend, &gradients);
    transformer_values_changed(trainer->model);
}

/* ---- losses ------------------------------------------------------------------------------------------- */

/* What other ranks have of the same batches is brought together later. */
static void add_loss(struct trainer *trainer, double loss)
{
    if (rank_count(trainer) > 1) {
        trainer->own_loss += loss;
        return;
    }
    trainer->at.loss_sum += loss;
    trainer->at.recent_loss_sum += loss;
}

/* Adds the losses of all batches but the `ahead` newest. */
static bool take_losses(struct trainer *trainer, int64_t ahead, struct error *error)
{
    const char *stage = trainer->settings->stage;

    while (transformer_batches_under_way(trainer->model) > ahead) {
        const struct awaited_loss awaited = trainer->awaited[0];
        double loss;
        if (!transformer_take_loss(trainer->model, &loss, error))
            return false;
        if (!isfinite(loss))
            return error_set(error, ERROR_RUN,
                             "%s: the loss is not finite at step %lld; lower %s.learning_rate", stage,
                             (long long)awaited.step, stage);
        add_loss(trainer, loss * awaited.scale);
        memmove(trainer->awaited, trainer->awaited + 1, sizeof trainer->awaited - sizeof awaited);
    }
    return true;
}

/* The mean over the batches of the epoch whose losses are known. */
static double known_loss(const struct trainer *trainer)
{
    const int64_t known = trainer->at.batch - transformer_batches_under_way(trainer->model);

    return trainer->at.loss_sum / (double)(known > 0 ? known : 1);
}

/* ---- the state on disk -------------------------------------------------------------------------------- */

static json_t *position_to_json(const struct position *at, uint64_t fingerprint)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:I}",
                     "fingerprint", (json_int_t)(fingerprint >> 1), "epoch", (json_int_t)at->epoch, "batch",
                     (json_int_t)at->batch, "step", (json_int_t)at->step, "draws", (json_int_t)at->draws,
                     "tokens", (json_int_t)at->tokens, "best_epoch", (json_int_t)at->best_epoch, "since_best",
                     (json_int_t)at->since_best, "finished", (json_int_t)at->finished, "users",
                     (json_int_t)at->best.users, "loss_sum", at->loss_sum, "train_loss", at->train_loss,
                     "best_loss", at->best.loss, "best_ndcg", at->best.ndcg, "best_recall", at->best.recall,
                     "recent_loss_sum", at->recent_loss_sum, "recent_batches",
                     (json_int_t)at->recent_batches);
}

/* The losses of all batches so far, of all ranks. */
static bool settle_losses(struct trainer *trainer, struct error *error)
{
    double own;

    return take_losses(trainer, 0, error) && share_losses(trainer, &own, 0, error);
}

/* What a state holds besides the counters, whole: the moments, which the model's parameters get, and the copies by
 * parameter, first the average and then the best. */
struct state_lists {
    struct whole_moments moments;
    struct whole_list average, best;
    struct parameter *copies; /* [copy_count] */
    int64_t copy_count;
};

static void list_copies(const struct trainer *trainer, struct state_lists *lists, const struct tensor *whole,
                        const char *name)
{
    int64_t count = 0;
    const struct parameter *const parameters = transformer_parameters(trainer->model, &count);

    for (int64_t i = 0; whole->rank > 0 && i < count; i++) {
        if (!parameters[i].trained)
            continue;
        struct parameter *const copy = &lists->copies[lists->copy_count++];
        copy->value = shares_part(trainer->model, whole, &parameters[i]);
        snprintf(copy->name, sizeof copy->name, "%s.%.100s", name, parameters[i].name);
    }
}

static bool open_lists(struct trainer *trainer, struct state_lists *lists, bool to_write, struct error *error)
{
    bool (*const make)(const struct transformer *, struct whole_list *, const struct tensor *,
                       struct error *) = to_write ? shares_collect : shares_expect;
    int64_t count = 0;

    transformer_parameters(trainer->model, &count);
    *lists = (struct state_lists){.copies = calloc(2 * (size_t)count + 1, sizeof *lists->copies)};
    if (!lists->copies)
        return error_memory(error, "the list of weights", 2 * (size_t)count * sizeof *lists->copies, NULL);
    if (!shares_show_moments(trainer->model, &lists->moments, to_write, error) ||
        (trainer->average.rank > 0 && !make(trainer->model, &lists->average, &trainer->average, error)) ||
        (trainer->best.rank > 0 && !make(trainer->model, &lists->best, &trainer->best, error)))
        return false;
    list_copies(trainer, lists, &lists->average.tensor, "average");
    list_copies(trainer, lists, &lists->best.tensor, "best");
    return true;
}

/* `read`: this rank keeps its part of what was read. */
static void close_lists(struct trainer *trainer, struct state_lists *lists, bool read)
{
    shares_hide_moments(trainer->model, &lists->moments, read);
    if (read && trainer->average.rank > 0)
        shares_deal(trainer->model, &trainer->average, &lists->average);
    if (read && trainer->best.rank > 0)
        shares_deal(trainer->model, &trainer->best, &lists->best);
    shares_release(&lists->average);
    shares_release(&lists->best);
    free(lists->copies);
}

static bool write_state(struct trainer *trainer, const struct state_lists *lists, struct error *error)
{
    json_t *counters = position_to_json(&trainer->at, trainer->settings->fingerprint);
    char *text = json_dumps(counters, JSON_REAL_PRECISION(17));
    const bool saved = text ? checkpoint_save_state(trainer->model, lists->copies, lists->copy_count, text,
                                                    trainer->settings->state_folder, error)
                            : error_memory(error, "the state of training", 1024, NULL);
    free(text);
    json_decref(counters);
    return saved;
}

/* All ranks call it, and rank 0 writes. */
static bool save_state(struct trainer *trainer, struct error *error)
{
    struct state_lists lists;
    bool saved = settle_losses(trainer, error);

    if (!saved)
        return false;
    saved = open_lists(trainer, &lists, true, error) &&
            (rank_of(trainer) > 0 || write_state(trainer, &lists, error));
    close_lists(trainer, &lists, false);
    trainer->saved_at = clock_seconds();
    return saved;
}

static bool position_from_json(struct position *at, const char *text, uint64_t *fingerprint)
{
    json_t *counters = json_loads(text, 0, NULL);
    json_int_t print = 0, epoch = 0, batch = 0, step = 0, draws = 0, tokens = 0, best_epoch = 0,
               since_best = 0, finished = 0, users = 0, recent_batches = 0;
    struct position read = {.epoch = 0};
    const bool fine =
        counters &&
        json_unpack(
            counters, "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:F, s:F, s:F, s:F, s:F, s?F, s?I}",
            "fingerprint", &print, "epoch", &epoch, "batch", &batch, "step", &step, "draws", &draws, "tokens",
            &tokens, "best_epoch", &best_epoch, "since_best", &since_best, "finished", &finished, "users",
            &users, "loss_sum", &read.loss_sum, "train_loss", &read.train_loss, "best_loss", &read.best.loss,
            "best_ndcg", &read.best.ndcg, "best_recall", &read.best.recall, "recent_loss_sum",
            &read.recent_loss_sum, "recent_batches", &recent_batches) == 0;

    json_decref(counters);
    read.epoch = epoch;
    read.batch = batch;
    read.step = step;
    read.draws = draws;
    read.tokens = tokens;
    read.best_epoch = best_epoch;
    read.since_best = since_best;
    read.finished = finished;
    read.best.users = users;
    read.recent_batches = recent_batches;
    *fingerprint = (uint64_t)print;
    if (fine)
        *at = read;
    return fine;
}

static bool read_position(struct position *at, uint64_t *fingerprint, const char *folder, struct error *error)
{
    char *counters;
    if (!checkpoint_load_counters(&counters, folder, error))
        return false;
    const bool fine = position_from_json(at, counters, fingerprint);
    free(counters);
    return fine ||
           error_at(error, ERROR_RUN, folder, 0,
                    "the counters of this state of training are damaged; remove the folder to start anew");
}

static bool read_lists(struct trainer *trainer, const char *folder, struct error *error)
{
    struct state_lists lists;
    const bool read = open_lists(trainer, &lists, false, error) &&
                      checkpoint_load_state(trainer->model, lists.copies, lists.copy_count, folder, error);

    close_lists(trainer, &lists, read);
    return read;
}

/* Continues from the state on disk if there is one of this very training. */
static bool load_state(struct trainer *trainer, struct error *error)
{
    const char *folder = trainer->settings->state_folder, *stage = trainer->settings->stage;
    uint64_t fingerprint;
    struct position at;

    if (!checkpoint_complete(folder))
        return true;
    if (!read_position(&at, &fingerprint, folder, error))
        return false;
    if (fingerprint != trainer->settings->fingerprint >> 1) {
        log_line(trainer->log,
                 "%s: starting anew, the state of training is of another configuration or data set", stage);
        return true;
    }
    if (!read_lists(trainer, folder, error))
        return false;
    trainer->at = at;
    log_line(trainer->log, "%s: going on after step %lld (epoch %lld, batch %lld)", stage, (long long)at.step,
             (long long)at.epoch, (long long)at.batch);
    return true;
}

/* ---- steps -------------------------------------------------------------------------------------------- */

/* The part of the training that is done. */
static double share_done(const struct trainer *trainer)
{
    const struct position *at = &trainer->at;

    if (trainer->settings->steps_maximum > 0)
        return (double)at->step / (double)trainer->settings->steps_maximum;
    return ((double)at->epoch + (double)at->batch / (double)packer_batch_count(trainer->packer)) /
           (double)trainer->settings->epochs;
}

static double seconds_since_1970(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* From here on the rate counts: validation is none of it. */
static void begin_rate(struct trainer *trainer)
{
    trainer->rate_since = clock_seconds();
    trainer->rate_tokens = trainer->at.tokens;
}

/* Every so many steps a record of the loss since the one before. */
static bool log_steps(struct trainer *trainer, double learning_rate, struct error *error)
{
    static const char *const names[] = {"epoch", "loss", "learning_rate", "tokens_per_second", "time"};
    struct position *at = &trainer->at;

    if (at->step % STEPS_PER_RECORD != 0)
        return true;
    if (!settle_losses(trainer, error))
        return false;
    const double seconds = clock_seconds() - trainer->rate_since;
    const double values[] = {
        (double)at->epoch + (double)at->batch / (double)packer_batch_count(trainer->packer),
        at->recent_loss_sum / (double)at->recent_batches, learning_rate,
        seconds > 0 ? (double)(at->tokens - trainer->rate_tokens) / seconds : 0, seconds_since_1970()};
    log_metric(trainer->log, trainer->settings->stage, at->step, 5, names, values);
    at->recent_loss_sum = 0;
    at->recent_batches = 0;
    begin_rate(trainer);
    return true;
}

/* What this rank has of a step. */
struct step_part {
    struct packer_run run;
    int64_t batches; /* of the step */
    int64_t
        rounds; /* in which ranks compute side by side: those of this one, or, with a sharded base, the most of any */
    int64_t done; /* rounds that are over */
};

static struct step_part find_part(const struct trainer *trainer, int64_t batches)
{
    const struct packer *const packer = trainer->packer;
    const bool sharded = transformer_base_is_sharded(trainer->model);
    const int64_t first = trainer->at.batch;
    const int ranks = rank_count(trainer);
    struct step_part part = {.batches = batches};

    for (int rank = 0; rank < ranks; rank++) {
        const bool own = rank == rank_of(trainer);
        if (!own && !sharded)
            continue;
        const struct packer_run run = sharded ? packer_divide_by_batches(packer, first, batches, rank, ranks)
                                              : packer_divide(packer, first, batches, rank, ranks);
        const int64_t rounds = packer_run_batches(packer, first, batches, run);
        part.rounds = rounds > part.rounds ? rounds : part.rounds;
        if (own)
            part.run = run;
    }
    return part;
}

/* Adds the gradients of what this rank has of the next batch. */
static bool add_batch(struct trainer *trainer, struct step_part *part, struct error *error)
{
    const struct trainer_settings *settings = trainer->settings;
    const struct position *at = &trainer->at;
    struct batch batch;

    if (!packer_batch_part(trainer->packer, at->batch, part->run, 1.0 / (double)part->batches, &batch, error))
        return false;
    if (batch.sequences == 0)
        return true;
    batch.last = ++part->done == part->rounds;
    if (!transformer_accumulate(trainer->model, &batch, settings->dropout, settings->seed,
                                (uint64_t)at->draws, NULL, error))
        return false;
    trainer->awaited[transformer_batches_under_way(trainer->model) - 1] =
        (struct awaited_loss){(double)part->batches, at->step + 1};
    return true;
}

/* Adds the gradients of the next batches, each with an equal part. */
static bool add_batches(struct trainer *trainer, int64_t batches, struct error *error)
{
    struct position *at = &trainer->at;
    const int64_t end = at->batch + batches;
    const int64_t ahead = trainer->backend->device == DEVICE_CPU ? 0 : BATCHES_AHEAD;
    struct step_part part = find_part(trainer, batches);

    trainer->bytes_expected += transformer_gathered_bytes(trainer->model, part.rounds);
    while (at->batch < end) {
        if (!add_batch(trainer, &part, error))
            return false;
        at->tokens += packer_batch_tokens(trainer->packer, at->batch);
        at->batch++;
        at->draws++;
        at->recent_batches++;
        if (!take_losses(trainer, ahead, error))
            return false;
    }
    while (part.done < part.rounds)
        if (!transformer_accompany(trainer->model, ++part.done == part.rounds, error))
            return false;
    return true;
}

/* Makes one step of up to `accumulation` batches. */
static bool train_step(struct trainer *trainer, struct error *error)
{
    const struct trainer_settings *settings = trainer->settings;
    struct position *at = &trainer->at;
    const int64_t left = packer_batch_count(trainer->packer) - at->batch;
    const int64_t batches = left < settings->accumulation ? left : settings->accumulation;
    const double rate = schedule_rate(&settings->schedule, share_done(trainer));

    if (!add_batches(trainer, batches, error))
        return false;
    const struct adamw adamw = {.learning_rate = (float)rate,
                                .beta1 = (float)settings->beta1,
                                .beta2 = (float)settings->beta2,
                                .epsilon = (float)settings->epsilon,
                                .weight_decay = (float)settings->weight_decay,
                                .step = at->step + 1};
    if (!transformer_step(trainer->model, adamw, settings->clip_norm, NULL, error))
        return false;
    at->step++;
    update_average(trainer);
    at->finished = settings->steps_maximum > 0 && at->step >= settings->steps_maximum;
    return log_steps(trainer, rate, error);
}

/* The model of docs/scaling.md, without what a sharded base is gathered by. */
static double expected_bytes(const struct trainer *trainer)
{
    const struct tensor gradients = transformer_trained_gradients(trainer->model);
    const double ranks = rank_count(trainer);

    return 2 * (ranks - 1) / ranks * (double)tensor_bytes(&gradients) + (ranks - 1) * sizeof(double);
}

/* A step whose bytes are counted, and which may be traced. */
static bool traced_step(struct trainer *trainer, struct error *error)
{
    struct communicator *communicator = trainer->settings->communicator;
    struct trace *trace = trainer->backend->trace;
    const int64_t before = communicator ? comm_bytes_sent(communicator) : 0;
    const double begun = clock_seconds();

    if (!train_step(trainer, error))
        return false;
    trainer->bytes_counted += communicator ? comm_bytes_sent(communicator) - before : 0;
    trainer->bytes_expected += expected_bytes(trainer);
    trainer->steps_counted++;
    trace_add(trace, TRACE_COMPUTES, begun, -1, "step %lld", (long long)trainer->at.step);
    return !trace_end_step(trace) || trace_write(trace, communicator, error);
}

/* No rank ends before the state is written. */
static bool end_together(struct trainer *trainer, struct error *error)
{
    struct communicator *communicator = trainer->settings->communicator;

    if (rank_count(trainer) == 1)
        return true;
    communicator->ending = true;
    return comm_barrier(communicator, error);
}

static bool save_when_due(struct trainer *trainer, struct error *error)
{
    bool stop, save;

    if (!agree(trainer, &stop, &save, error))
        return false;
    if (stop)
        return save_state(trainer, error) && end_together(trainer, error) && interrupt_check(error);
    return !save || save_state(trainer, error);
}

/* ---- epochs ------------------------------------------------------------------------------------------- */

/* Where the last weights are kept, none of the validations is the best. */
static const char *kept_remark(const struct trainer *trainer)
{
    return trainer->at.since_best == 0 && !trainer->settings->select_last ? ", the best" : "";
}

/* Of a validation without a ranking, whose items are several tokens. */
static void log_loss(const struct trainer *trainer, const struct validation *now)
{
    const struct position *at = &trainer->at;
    const char *stage = trainer->settings->stage;

    if (at->step == 0)
        log_line(trainer->log, "%s: as it is, validation loss of an item %.4f", stage, now->loss);
    else
        log_line(trainer->log, "%s: epoch %lld, loss of a token %.4f, validation loss of an item %.4f%s",
                 stage, (long long)at->epoch, at->train_loss, now->loss, kept_remark(trainer));
}

static void log_epoch(struct trainer *trainer, const struct validation *now)
{
    static const char *const names[] = {"time", "epoch", "train_loss", "validation_loss", "ndcg", "recall"};
    const struct position *at = &trainer->at;
    const char *stage = trainer->settings->stage;
    const double values[] = {seconds_since_1970(), (double)at->epoch,   at->step > 0 ? at->train_loss : NAN,
                             now ? now->loss : 0,  now ? now->ndcg : 0, now ? now->recall : 0};
    const bool ranked = now && now->ndcg >= 0;

    log_metric(trainer->log, stage, at->step, ranked ? 6 : now ? 4 : 3, names, values);
    if (now && !ranked)
        log_loss(trainer, now);
    else if (now && at->step == 0)
        log_line(trainer->log, "%s: as it is, validation loss %.4f, ndcg@%lld %.4f, recall@%lld %.4f", stage,
                 now->loss, (long long)trainer->validator->k, now->ndcg, (long long)trainer->validator->k,
                 now->recall);
    else if (now)
        log_line(trainer->log,
                 "%s: epoch %lld, loss %.4f, validation loss %.4f, ndcg@%lld %.4f, recall@%lld %.4f%s", stage,
                 (long long)at->epoch, at->train_loss, now->loss, (long long)trainer->validator->k, now->ndcg,
                 (long long)trainer->validator->k, now->recall, kept_remark(trainer));
}

static bool is_better(const struct trainer *trainer, const struct validation *now)
{
    const struct position *at = &trainer->at;

    if (at->best_epoch < 0 || trainer->settings->select_last)
        return true;
    return trainer->settings->select_ndcg ? now->ndcg > at->best.ndcg : now->loss < at->best.loss;
}

static bool validate_epoch(struct trainer *trainer, struct error *error)
{
    struct position *at = &trainer->at;
    struct validation now;

    if (!put_average_in(trainer, error) || !validate(&now, trainer->validator, trainer->model, error))
        return false;
    if (!isfinite(now.loss))
        return error_set(error, ERROR_RUN,
                         "%s: the validation loss is not finite after epoch %lld; lower %s.learning_rate",
                         trainer->settings->stage, (long long)at->epoch, trainer->settings->stage);
    at->since_best++;
    if (is_better(trainer, &now)) {
        at->best = now;
        at->best_epoch = at->epoch;
        at->since_best = 0;
        keep_weights(trainer, &trainer->best);
    }
    take_average_out(trainer);
    if (trainer->settings->patience > 0 && at->since_best >= trainer->settings->patience)
        at->finished = 1;
    log_epoch(trainer, &now);
    return true;
}

static bool end_epoch(struct trainer *trainer, struct error *error)
{
    struct position *at = &trainer->at;

    if (!settle_losses(trainer, error))
        return false;
    at->train_loss = known_loss(trainer);
    at->loss_sum = 0;
    at->batch = 0;
    at->epoch++;
    at->finished = at->finished || at->epoch >= trainer->settings->epochs;
    if (trainer->validator && (at->finished || at->epoch % trainer->settings->validate_every == 0)) {
        if (!validate_epoch(trainer, error))
            return false;
    } else {
        log_epoch(trainer, NULL);
    }
    return save_state(trainer, error);
}

/* A record of step 0 tells that those before it are of another training. */
static void log_beginning(struct trainer *trainer)
{
    static const char *const names[] = {"time"};
    const double now = seconds_since_1970();

    log_metric(trainer->log, trainer->settings->stage, 0, 1, names, &now);
}

static bool train_epochs(struct trainer *trainer, struct error *error)
{
    const struct trainer_settings *settings = trainer->settings;
    struct position *at = &trainer->at;
    packer_begin_epoch(trainer->packer, at->epoch);
    const int64_t epoch_tokens = packer_epoch_tokens(trainer->packer);
    struct progress *progress =
        progress_start(trainer->log, settings->stage, "tokens",
                       settings->steps_maximum > 0 ? 0 : settings->epochs * epoch_tokens);
    bool fine = true;

    at->finished = at->finished || at->epoch >= settings->epochs;
    if (at->step == 0)
        log_beginning(trainer);
    if (trainer->validator && settings->validate_first && at->best_epoch < 0)
        fine = validate_epoch(trainer, error);
    while (fine && !at->finished) {
        packer_begin_epoch(trainer->packer, at->epoch);
        begin_rate(trainer);
        while (fine && !at->finished && at->batch < packer_batch_count(trainer->packer)) {
            fine = traced_step(trainer, error) && save_when_due(trainer, error);
            progress_update(progress, at->tokens, "epoch %lld, loss %.4f", (long long)at->epoch + 1,
                            known_loss(trainer));
        }
        fine = fine && end_epoch(trainer, error);
    }
    progress_finish(progress, "%lld epoch%s, %lld step%s, loss %.4f", (long long)at->epoch,
                    at->epoch == 1 ? "" : "s", (long long)at->step, at->step == 1 ? "" : "s", at->train_loss);
    return fine;
}

/* A training of fewer steps than are traced is traced to its end. */
static bool train_traced(struct trainer *trainer, struct error *error)
{
    struct trace *trace = trainer->backend->trace;

    trace_begin_steps(trace);
    if (!train_epochs(trainer, error))
        return false;
    while (trace_is_on(trace))
        if (trace_end_step(trace) && !trace_write(trace, trainer->settings->communicator, error))
            return false;
    return true;
}

static bool check_selection(const struct validator *validator, const struct trainer_settings *settings,
                            struct error *error)
{
    return !settings->select_ndcg || !validator || prompt_layout_single(validator->prompt.layout) ||
           error_set(error, ERROR_USAGE,
                     "%s.select is ndcg, and items of several tokens are not ranked; use likelihood",
                     settings->stage);
}

static bool check_sequences(const struct packer *packer, const char *stage, struct error *error)
{
    return packer_sequence_count(packer) > 0 ||
           error_set(error, ERROR_USAGE,
                     "%s: an epoch holds no sequence; set prompts.full or prompts.random_cuts, and see that "
                     "some user has a training item",
                     stage);
}

/* The best ones by validation, or else the average if there is one. */
static bool take_final_weights(struct trainer *trainer, struct error *error)
{
    if (trainer->at.best_epoch >= 0)
        return restore_weights(trainer, &trainer->best, error);
    return trainer->average.rank == 0 || restore_weights(trainer, &trainer->average, error);
}

bool trainer_run(struct trainer_result *result, struct transformer *model, struct packer *packer,
                 const struct validator *validator, const struct trainer_settings *settings, struct log *log,
                 struct error *error)
{
    struct trainer trainer = {.model = model,
                              .backend = transformer_backend(model),
                              .packer = packer,
                              .validator = validator,
                              .settings = settings,
                              .log = log,
                              .at = {.best_epoch = -1},
                              .saved_at = clock_seconds()};
    const bool fine = check_sequences(packer, settings->stage, error) &&
                      check_selection(validator, settings, error) && share_values(&trainer, error) &&
                      make_copies(&trainer, error) && load_state(&trainer, error) &&
                      train_traced(&trainer, error) && take_final_weights(&trainer, error);
    const double steps = trainer.steps_counted > 0 ? (double)trainer.steps_counted : 1;

    *result = (struct trainer_result){.epochs = trainer.at.epoch,
                                      .steps = trainer.at.step,
                                      .tokens = trainer.at.tokens,
                                      .best_epoch = trainer.at.best_epoch,
                                      .train_loss = trainer.at.train_loss,
                                      .step_bytes = (double)trainer.bytes_counted / steps,
                                      .step_bytes_expected = trainer.bytes_expected / steps,
                                      .best = trainer.at.best};
    arena_release(&trainer.arena);
    return backend_synchronize(trainer.backend, error) && fine;
}
