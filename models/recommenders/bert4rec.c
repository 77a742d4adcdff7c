/*
 * BERT4Rec (Sun et al., "BERT4Rec: sequential recommendation with bidirectional encoder representations from
 * transformer", CIKM 2019): masked items are to be predicted from all others of their sequence; encoder:
 * sequence_encoder.h. A masked position with state h has the scores norm(gelu(h Wp + bp)) E^T + b; full cross-entropy.
 *
 * An example masks max(1, round(mask_share * n)) of a user's latest n items, drawn anew each epoch. As in the paper some
 * mask the last item alone, which is what is asked for at test: one in LAST_ONLY examples, instead of ten of the first kind
 * and one of the second for each user. Masked items are always replaced by the mask. Targets are predicted by a mask
 * behind the items, as at test, for which the latest n - 1 are read.
 */
#include <math.h>
#include <string.h>

#include "core/random.h"
#include "models/recommenders/sequence_training.h"

enum { LAST_ONLY = 11 };

static struct encoder_shape shape(const struct recommender_settings *settings, int64_t items)
{
    return (struct encoder_shape){.kind = ENCODER_BIDIRECTIONAL,
                                  .width = settings->width,
                                  .hidden = 4 * settings->width,
                                  .heads = settings->heads,
                                  .layers = settings->layers,
                                  .length = settings->length,
                                  .items = items,
                                  .mask = true,
                                  .head = true};
}

/* The latest items that an example holds: with targets a mask stands behind them. */
static struct user_items read_items(const struct sequence_training *training, int32_t user, bool behind)
{
    struct user_items read = training_items(training, user);
    if (behind && read.count == training->settings.length) {
        read.items++;
        read.weights++;
        read.count--;
    }
    return read;
}

/* Of the latest n items of a user, whether each of them is masked is drawn one after the other so that exactly `left` of
 * them are (Knuth's selection sampling). */
static void write_example(struct sequence_training *training, int32_t user, struct random_stream *stream)
{
    const bool behind = training_targets(training, user).count > 0;
    const struct user_items read = read_items(training, user, behind);
    const bool last_only = random_below(stream, LAST_ONLY) == 0;
    const int64_t wanted = llround(training->settings.mask_share * (double)read.count);
    const int64_t row = epoch_next_row(&training->epoch);
    int64_t left = wanted > 1 ? wanted : 1;
    memcpy(training->entries, read.items, (size_t)read.count * sizeof *training->entries);
    for (int64_t place = 0; place < read.count; place++) {
        const int64_t unseen = read.count - place;
        if (last_only ? unseen > 1 : random_below(stream, (uint32_t)unseen) >= (uint32_t)left)
            continue;
        left--;
        training->entries[place] = (int32_t)training->items;
        epoch_prediction(&training->epoch, row + place, read.items[place], user, read.weights[place]);
    }
    if (behind) {
        training->entries[read.count] = (int32_t)training->items;
        training_write_targets(training, row + read.count, user);
    }
    epoch_sequence(&training->epoch, training->entries, read.count + behind);
}

static void write_batch(struct sequence_training *training, const int32_t *users, int64_t count,
                        int64_t epoch)
{
    for (int64_t place = 0; place < count; place++) {
        struct random_stream stream =
            random_stream_open(training->seed, RANDOM_MASK, (uint64_t)epoch, (uint64_t)users[place]);
        write_example(training, users[place], &stream);
    }
    epoch_end_batch(&training->epoch);
}

static void step(struct sequence_training *training, struct sequence_batch *batch)
{
    struct backend *backend = training->backend;
    struct encoder_head *head = &training->head;
    const struct encoder_pass pass = training_pass(training, batch);
    const struct tensor *states = training_encode(training, batch);
    struct tensor d_states = tensor_rows(&training->d_states, 0, states->shape[0]);
    const struct scored_items scored = {.items = &training->parameters.items,
                                        .bias = &training->parameters.item_bias,
                                        .d_items = &training->gradients.items,
                                        .d_bias = &training->gradients.item_bias};
    op_gather(backend, &head->states, states, &batch->rows);
    encoder_head_forward(&pass, head, &head->states);
    sequence_loss_backward(&training->loss, &head->d_output, &head->output, &scored, batch, pass.step);
    encoder_head_backward(&pass, head);
    tensor_zero(backend, &d_states);
    op_scatter_add(backend, &d_states, &head->d_states, &batch->rows);
    training_learn(training, batch, &d_states);
}

const struct sequence_kind bert4rec_kind = {
    .shape = shape, .mask_behind = true, .shortest = 1, .write_batch = write_batch, .step = step};

const struct recommender_model bert4rec_model =
    SEQUENTIAL_MODEL("bert4rec", sequence_divides, sequence_settings_check);
