/*
 * SASRec (Kang and McAuley, "Self-attentive sequential recommendation", ICDM 2018): each item of a sequence is to be
 * predicted from those before it; encoder: sequence_encoder.h; losses, also gSASRec's: sequence_loss.h.
 */
#include "models/recommenders/sequence_training.h"

static struct encoder_shape shape(const struct recommender_settings *settings, int64_t items)
{
    return (struct encoder_shape){.kind = ENCODER_CAUSAL,
                                  .width = settings->width,
                                  .hidden = settings->width,
                                  .heads = settings->heads,
                                  .layers = settings->layers,
                                  .length = settings->length,
                                  .items = items};
}

static void write_batch(struct sequence_training *training, const int32_t *users, int64_t count,
                        int64_t epoch)
{
    (void)epoch;
    for (int64_t place = 0; place < count; place++)
        training_write_next_items(training, users[place]);
    epoch_end_batch(&training->epoch);
}

static void step(struct sequence_training *training, struct sequence_batch *batch)
{
    const struct tensor *states = training_encode(training, batch);
    struct tensor d_states = tensor_rows(&training->d_states, 0, states->shape[0]);
    training_next_items_backward(training, batch, states, &d_states);
    training_learn(training, batch, &d_states);
}

const struct sequence_kind sasrec_kind = {
    .shape = shape, .shortest = 2, .write_batch = write_batch, .step = step};

const struct recommender_model sasrec_model =
    SEQUENTIAL_MODEL("sasrec", sequence_divides, sequence_settings_check);
