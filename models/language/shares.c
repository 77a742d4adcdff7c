#include "models/language/shares.h"

#include <stdlib.h>
#include <string.h>

#include "core/comm.h"
#include "core/file.h"
#include "core/trace.h"
#include "models/language/transformer_state.h"

bool transformer_is_shared(const struct transformer *model)
{
    const struct communicator *const ranks = model->backend->communicator;
    return model->mode != TRAIN_NOTHING && ranks && ranks->size > 1;
}

int64_t shares_kept(const struct transformer *model)
{
    return model->trained.kept;
}

/* ---- gradients -------------------------------------------------------------------------------------------- */

bool transformer_begin_sums(struct transformer *model, int64_t bucket, struct error *error)
{
    struct trained_parameters *const trained = &model->trained;
    if (!transformer_is_shared(model) || model->backend->counts_only)
        return true;
    while (trained->bucket_count - trained->begun > bucket) {
        const struct trained_bucket *const next = &trained->buckets[trained->bucket_count - ++trained->begun];
        const struct tensor gradients = tensor_rows(&trained->gradient, next->first, next->count);
        if (next->count > 0 && !comm_begin_reduce_scatter(model->backend->communicator, &gradients, error))
            return false;
    }
    return true;
}

bool transformer_finish_sums(struct transformer *model, struct error *error)
{
    if (!transformer_is_shared(model) || model->backend->counts_only)
        return true;
    const bool begun = transformer_begin_sums(model, 0, error);
    model->trained.begun = 0;
    return comm_finish(model->backend->communicator, error) && begun;
}

/* ---- whole and kept lists --------------------------------------------------------------------------------- */

/* A bucket's own part, among the elements of a whole list and of a kept one. */
static struct tensor own_part(const struct tensor *whole, const struct trained_bucket *bucket)
{
    return tensor_rows(whole, bucket->own, bucket->own_count);
}

static struct tensor kept_part(const struct tensor *kept, const struct trained_bucket *bucket)
{
    return tensor_rows(kept, bucket->kept, bucket->own_count);
}

void shares_take(const struct transformer *model, struct tensor *kept, const struct tensor *whole)
{
    for (int64_t index = 0; index < model->trained.bucket_count; index++) {
        const struct trained_bucket *const bucket = &model->trained.buckets[index];
        const struct tensor from = own_part(whole, bucket), to = kept_part(kept, bucket);
        model->backend->copy(model->backend, to.data, from.data, tensor_bytes(&to));
    }
}

void shares_put(const struct transformer *model, struct tensor *whole, const struct tensor *kept)
{
    for (int64_t index = 0; index < model->trained.bucket_count; index++) {
        const struct trained_bucket *const bucket = &model->trained.buckets[index];
        const struct tensor from = kept_part(kept, bucket), to = own_part(whole, bucket);
        model->backend->copy(model->backend, to.data, from.data, tensor_bytes(&to));
    }
}

void shares_add(const struct transformer *model, struct tensor *kept, float alpha, const struct tensor *whole,
                float beta)
{
    for (int64_t index = 0; index < model->trained.bucket_count; index++) {
        const struct trained_bucket *const bucket = &model->trained.buckets[index];
        const struct tensor from = own_part(whole, bucket);
        struct tensor to = kept_part(kept, bucket);
        if (bucket->own_count > 0)
            op_axpby(model->backend, &to, alpha, &from, beta);
    }
}

static bool gather_bucket(const struct transformer *model, const struct tensor *whole,
                          const struct trained_bucket *bucket, struct error *error)
{
    struct communicator *const ranks = model->backend->communicator;
    struct tensor values = tensor_rows(whole, bucket->first, bucket->count);
    const double begun = clock_seconds();
    const int64_t before = ranks->volume[COMM_ALL_GATHER].bytes_sent;
    const bool done = comm_all_gather(ranks, &values, error);
    trace_add(ranks->trace, TRACE_EXCHANGES, begun, ranks->volume[COMM_ALL_GATHER].bytes_sent - before,
              "all-gather");
    return done;
}

bool shares_gather(const struct transformer *model, struct tensor *whole, struct error *error)
{
    if (!transformer_is_shared(model) || model->backend->counts_only)
        return true;
    if (model->backend->device == DEVICE_CPU && !backend_synchronize(model->backend, error))
        return false;
    bool done = true;
    for (int64_t index = 0; done && index < model->trained.bucket_count; index++)
        if (model->trained.buckets[index].count > 0)
            done = gather_bucket(model, whole, &model->trained.buckets[index], error);
    return done;
}

struct tensor shares_part(const struct transformer *model, const struct tensor *whole,
                          const struct parameter *parameter)
{
    const char *const values = model->trained.value.data, *const own = parameter->value.data;
    const int64_t first = (own - values) / (int64_t)dtype_size(parameter->value.dtype);
    return whole->rank > 0 ? tensor_rows(whole, first, tensor_count(&parameter->value))
                           : (struct tensor){.rank = 0};
}

/* ---- lists of all ranks in host memory ---------------------------------------------------------------------- */

/* The part of a rank in a bucket, as an element of the whole list. */
static int64_t part_of(const struct transformer *model, const struct trained_bucket *bucket, int rank,
                       int64_t *count)
{
    const struct communicator *const ranks = model->backend->communicator;
    const int64_t begin = comm_part(ranks, bucket->count, rank);
    *count = comm_part(ranks, bucket->count, rank + 1) - begin;
    return bucket->first + begin;
}

static int64_t kept_by(const struct transformer *model, int rank)
{
    int64_t sum = 0, count;
    for (int64_t index = 0; index < model->trained.bucket_count; index++) {
        part_of(model, &model->trained.buckets[index], rank, &count);
        sum += count;
    }
    return sum;
}

/* Between the whole list and what a rank keeps, both in host memory. */
static void move_parts(const struct transformer *model, int rank, real *whole, real *kept, bool into_whole)
{
    for (int64_t index = 0; index < model->trained.bucket_count; index++) {
        int64_t count;
        real *const part = whole + part_of(model, &model->trained.buckets[index], rank, &count);
        if (count > 0)
            memcpy(into_whole ? part : kept, into_whole ? kept : part, (size_t)count * sizeof *part);
        kept += count;
    }
}

static bool take_memory(struct whole_list *list, int64_t count, struct error *error)
{
    const size_t bytes = (size_t)count * sizeof(real);
    list->memory = calloc((size_t)count + 1, sizeof(real));
    list->tensor = tensor_1d(list->memory, DTYPE_REAL, DEVICE_CPU, count);
    return list->memory || error_memory(error, "the state of all ranks", bytes, NULL);
}

bool shares_expect(const struct transformer *model, struct whole_list *list, const struct tensor *kept,
                   struct error *error)
{
    *list = (struct whole_list){.tensor = *kept};
    return !transformer_is_shared(model) || take_memory(list, model->trained.count, error);
}

/* Rank 0 receives what each of the others keeps, one after another. */
static bool receive_parts(const struct transformer *model, struct whole_list *list, real *piece,
                          struct error *error)
{
    struct communicator *const ranks = model->backend->communicator;
    bool done = true;
    move_parts(model, 0, list->memory, piece, true);
    for (int rank = 1; done && rank < ranks->size; rank++) {
        struct tensor theirs = tensor_1d(piece, DTYPE_REAL, DEVICE_CPU, kept_by(model, rank));
        done = comm_receive(ranks, &theirs, rank, error);
        if (done)
            move_parts(model, rank, list->memory, piece, true);
    }
    return done;
}

/* The most elements that a rank keeps. */
static int64_t most_kept(const struct transformer *model)
{
    int64_t most = 0;
    for (int rank = 0; rank < model->backend->communicator->size; rank++) {
        const int64_t kept = kept_by(model, rank);
        most = kept > most ? kept : most;
    }
    return most;
}

bool shares_collect(const struct transformer *model, struct whole_list *list, const struct tensor *kept,
                    struct error *error)
{
    *list = (struct whole_list){.tensor = *kept};
    if (!transformer_is_shared(model))
        return true;
    struct communicator *const ranks = model->backend->communicator;
    struct whole_list piece = {.memory = NULL};
    list->tensor.rank = 0;
    bool done = take_memory(&piece, most_kept(model), error) &&
                (ranks->rank > 0 || take_memory(list, model->trained.count, error));
    if (done) {
        tensor_download(model->backend, piece.memory, kept);
        const struct tensor own = tensor_1d(piece.memory, DTYPE_REAL, DEVICE_CPU, model->trained.kept);
        done = ranks->rank > 0 ? comm_send(ranks, &own, 0, error)
                               : receive_parts(model, list, piece.memory, error);
    }
    shares_release(&piece);
    return done;
}

void shares_deal(const struct transformer *model, struct tensor *kept, const struct whole_list *list)
{
    if (!transformer_is_shared(model))
        return;
    const real *const whole = list->memory;
    for (int64_t index = 0; index < model->trained.bucket_count; index++) {
        const struct trained_bucket *const bucket = &model->trained.buckets[index];
        struct tensor part = kept_part(kept, bucket);
        tensor_upload(model->backend, &part, whole + bucket->own);
    }
}

void shares_release(struct whole_list *list)
{
    free(list->memory);
    *list = (struct whole_list){.memory = NULL};
}

/* ---- moments ------------------------------------------------------------------------------------------------- */

bool shares_show_moments(struct transformer *model, struct whole_moments *whole, bool to_write,
                         struct error *error)
{
    const struct trained_parameters *const trained = &model->trained;
    bool (*const make)(const struct transformer *, struct whole_list *, const struct tensor *,
                       struct error *) = to_write ? shares_collect : shares_expect;
    *whole = (struct whole_moments){.first = {.memory = NULL}};
    if (!transformer_is_shared(model))
        return true;
    if (!make(model, &whole->first, &trained->first_moment, error) ||
        !make(model, &whole->second, &trained->second_moment, error))
        return false;
    for (int64_t index = 0; index < model->parameter_count; index++) {
        struct parameter *const parameter = &model->parameters[index];
        if (!parameter->trained)
            continue;
        parameter->first_moment = parameter->second_moment = parameter->value;
        parameter->first_moment.device = parameter->second_moment.device = DEVICE_CPU;
        parameter->first_moment.data = shares_part(model, &whole->first.tensor, parameter).data;
        parameter->second_moment.data = shares_part(model, &whole->second.tensor, parameter).data;
    }
    return true;
}

void shares_hide_moments(struct transformer *model, struct whole_moments *whole, bool read)
{
    struct trained_parameters *const trained = &model->trained;
    if (!transformer_is_shared(model))
        return;
    if (read) {
        shares_deal(model, &trained->first_moment, &whole->first);
        shares_deal(model, &trained->second_moment, &whole->second);
    }
    for (int64_t index = 0; index < model->parameter_count; index++)
        model->parameters[index].first_moment = model->parameters[index].second_moment =
            (struct tensor){.rank = 0};
    shares_release(&whole->first);
    shares_release(&whole->second);
}
