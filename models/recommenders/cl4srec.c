/*
 * CL4SRec (Xie et al., "Contrastive learning for sequential recommendation", ICDE 2022): SASRec, and beside each user's
 * sequence two views of it, whose last states z are to know each other among those of the other users of the batch:
 *   contrast = mean over all 2 n views i of -log(exp(z_i . z_partner(i) / temperature) / sum over j != i of
 *              exp(z_i . z_j / temperature)),         loss = SASRec's + contrast_weight * contrast
 * A view of the n items before the user's last one, share = view_share:
 *   crop     the n - floor(share n) items, at least one, from a place drawn at random
 *   mask     floor(share n) of the items replaced by a mask of its own embedding
 *   reorder  floor(share n) items in a row, from a place drawn at random, in random order
 *   any      for each view one of the three, drawn at random, as in the paper
 */
#include <string.h>

#include "core/random.h"
#include "models/recommenders/sequence_training.h"

static struct encoder_shape shape(const struct recommender_settings *settings, int64_t items)
{
    return (struct encoder_shape){.kind = ENCODER_CAUSAL,
                                  .width = settings->width,
                                  .hidden = settings->width,
                                  .heads = settings->heads,
                                  .layers = settings->layers,
                                  .length = settings->length,
                                  .items = items,
                                  .mask = true};
}

static const char *const view_names[] = {"crop", "mask", "reorder"};
enum { VIEW_NAMES = sizeof view_names / sizeof *view_names };

/* ---- views: each changes entries in place, and what of them is the view ------------------------------- */

struct view {
    int32_t *entries;
    int64_t first, count;
};

static int64_t changed_count(const struct sequence_training *training, int64_t count)
{
    return (int64_t)(training->settings.view_share * (double)count);
}

static int64_t random_place(struct random_stream *stream, int64_t count, int64_t part)
{
    return random_below(stream, (uint32_t)(count - part + 1));
}

static void crop(struct view *view, int64_t changed, struct random_stream *stream)
{
    const int64_t kept = view->count > changed ? view->count - changed : 1;
    view->first = random_place(stream, view->count, kept);
    view->count = kept;
}

static void mask(struct view *view, int64_t changed, int32_t entry, struct random_stream *stream)
{
    for (int64_t place = 0; place < view->count; place++)
        if (random_below(stream, (uint32_t)(view->count - place)) < (uint32_t)changed) {
            view->entries[place] = entry;
            changed--;
        }
}

static void reorder(struct view *view, int64_t changed, struct random_stream *stream)
{
    random_shuffle(stream, view->entries + random_place(stream, view->count, changed), changed);
}

/* Appends a view of the user's sequence; returns the row of its last token. */
static int64_t write_view(struct sequence_training *training, int32_t user, struct random_stream *stream)
{
    const struct user_items read = training_items(training, user);
    struct view view = {.entries = training->entries, .count = read.count - 1};
    const char *name = training->settings.view;
    const int64_t changed = changed_count(training, view.count);
    memcpy(view.entries, read.items, (size_t)view.count * sizeof *view.entries);
    if (strcmp(name, "any") == 0)
        name = view_names[random_below(stream, VIEW_NAMES)];
    if (strcmp(name, "crop") == 0)
        crop(&view, changed, stream);
    else if (strcmp(name, "mask") == 0)
        mask(&view, changed, (int32_t)training->items, stream);
    else
        reorder(&view, changed, stream);
    return epoch_sequence(&training->epoch, view.entries + view.first, view.count) + view.count - 1;
}

static void write_batch(struct sequence_training *training, const int32_t *users, int64_t count,
                        int64_t epoch)
{
    for (int64_t place = 0; place < count; place++)
        training_write_next_items(training, users[place]);
    for (int64_t place = 0; place < count; place++) {
        struct random_stream stream =
            random_stream_open(training->seed, RANDOM_VIEW, (uint64_t)epoch, (uint64_t)users[place]);
        const int64_t first = write_view(training, users[place], &stream);
        epoch_contrast(&training->epoch, first, write_view(training, users[place], &stream));
    }
    epoch_end_batch(&training->epoch);
}

/* ---- steps -------------------------------------------------------------------------------------------- */

/* d_states += the gradient of contrast_weight * contrast. */
static void contrast(struct sequence_training *training, struct sequence_batch *batch,
                     const struct tensor *states, struct tensor *d_states)
{
    struct backend *backend = training->backend;
    const int64_t count = tensor_count(&batch->contrasts);
    const float inverse = (float)(1.0 / training->settings.temperature);
    const float share = inverse * (float)(training->settings.contrast_weight / (double)count);
    const struct tensor places = tensor_rows(&training->places, 0, count);
    const struct tensor partners = tensor_rows(&training->partners, 0, count);
    const struct tensor ones = tensor_rows(&training->ones, 0, count);
    struct tensor views = tensor_rows(&training->views, 0, count);
    struct tensor d_views = tensor_rows(&training->d_views, 0, count);
    struct tensor logits =
        tensor_2d(training->contrast_logits.data, DTYPE_REAL, backend->device, count, count);
    op_gather(backend, &views, states, &batch->contrasts);
    op_gemm(backend, &logits, &views, PLAIN, &views, TRANSPOSED, inverse, 0.0f);
    op_exclude(backend, &logits, &places, &places, &places);
    op_cross_entropy(backend, &logits, &batch->contrast_losses, &partners, &ones, count);
    op_gemm(backend, &d_views, &logits, PLAIN, &views, PLAIN, share, 0.0f);
    op_gemm(backend, &d_views, &logits, TRANSPOSED, &views, PLAIN, share, 1.0f);
    op_scatter_add(backend, d_states, &d_views, &batch->contrasts);
}

static void step(struct sequence_training *training, struct sequence_batch *batch)
{
    const struct tensor *states = training_encode(training, batch);
    struct tensor d_states = tensor_rows(&training->d_states, 0, states->shape[0]);
    training_next_items_backward(training, batch, states, &d_states);
    contrast(training, batch, states, &d_states);
    training_learn(training, batch, &d_states);
}

static bool check(const struct recommender_settings *settings, struct error *error)
{
    bool known = strcmp(settings->view, "any") == 0;
    for (int place = 0; place < VIEW_NAMES; place++)
        known = known || strcmp(settings->view, view_names[place]) == 0;
    return known ? sequence_settings_check(settings, error)
                 : error_set(error, ERROR_USAGE, "cl4srec: view '%s' is none of crop, mask, reorder and any",
                             settings->view);
}

const struct sequence_kind cl4srec_kind = {
    .shape = shape, .shortest = 2, .views = 2, .write_batch = write_batch, .step = step};

const struct recommender_model cl4srec_model = SEQUENTIAL_MODEL("cl4srec", NULL, check);
