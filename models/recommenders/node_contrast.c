#include "models/recommenders/node_contrast.h"

#include <math.h>
#include <stdlib.h>

/* Logits of a block: 128 MiB in f32. */
static const int64_t logits_maximum = INT64_C(1) << 25;

static void lay_out_view(struct contrast_view *view, struct arena *arena, int64_t rows, int64_t width)
{
    view->rows = arena_tensor_2d(arena, DTYPE_REAL, rows, width);
    view->unit = arena_tensor_2d(arena, DTYPE_REAL, rows, width);
    view->d_unit = arena_tensor_2d(arena, DTYPE_REAL, rows, width);
    view->d_rows = arena_tensor_2d(arena, DTYPE_REAL, rows, width);
    view->inverse_norm = arena_tensor_1d(arena, DTYPE_REAL, rows);
}

static int64_t logits_needed(int64_t batch, int64_t widest)
{
    const int64_t all = 2 * batch * widest, least = GEMM_ROW_BLOCK * widest;
    const int64_t block = all < logits_maximum ? all : logits_maximum;
    return block > least ? block : least;
}

static void lay_out(struct node_contrast *contrast, int64_t width, int64_t widest)
{
    struct arena *arena = &contrast->arena;
    const int64_t capacity = 2 * contrast->triples, rows = 2 * contrast->batch;
    contrast->nodes = arena_tensor_1d(arena, DTYPE_I32, capacity);
    contrast->members = arena_tensor_1d(arena, DTYPE_I32, capacity);
    contrast->weights = arena_tensor_1d(arena, DTYPE_REAL, contrast->terms * capacity);
    contrast->losses = arena_tensor_1d(arena, DTYPE_REAL, contrast->terms * capacity);
    for (int view = 0; view < 2; view++)
        lay_out_view(&contrast->views[view], arena, rows, width);
    contrast->scratch = arena_tensor_2d(arena, DTYPE_REAL, rows, width);
    contrast->logits = arena_tensor_1d(arena, DTYPE_REAL, logits_needed(contrast->batch, widest));
}

static bool allocate_on_host(struct node_contrast *contrast, struct error *error)
{
    const size_t triples = (size_t)contrast->triples, terms = (size_t)contrast->terms;
    const size_t batches = (triples + (size_t)contrast->batch - 1) / (size_t)contrast->batch;
    contrast->starts = calloc(2 * batches + 1, sizeof *contrast->starts);
    contrast->host_rows = malloc(3 * triples * sizeof *contrast->host_rows);
    contrast->host_nodes = malloc(2 * triples * sizeof *contrast->host_nodes);
    contrast->host_members = malloc(2 * triples * sizeof *contrast->host_members);
    contrast->repeats = malloc(2 * triples * sizeof *contrast->repeats);
    contrast->place_of = malloc((size_t)contrast->table_rows * sizeof *contrast->place_of);
    contrast->host_weights = malloc(terms * 2 * triples * sizeof *contrast->host_weights);
    contrast->host_losses = malloc(terms * 2 * triples * sizeof *contrast->host_losses);
    if (contrast->starts && contrast->host_rows && contrast->host_nodes && contrast->host_members &&
        contrast->repeats && contrast->place_of && contrast->host_weights && contrast->host_losses)
        return true;
    return error_memory(error, "the nodes of an epoch's batches", 64 * triples, NULL);
}

bool node_contrast_open(struct embedding_training *training, enum contrast_share share, int terms,
                        int64_t widest, struct error *error)
{
    struct node_contrast *contrast = calloc(1, sizeof *contrast);
    if (!contrast)
        return error_memory(error, "a contrast", sizeof *contrast, NULL);
    training->contrast = contrast;
    *contrast = (struct node_contrast){.backend = training->backend,
                                       .share = share,
                                       .temperature = (float)training->settings.temperature,
                                       .users = training->users,
                                       .table_rows = training->users + training->items,
                                       .batch = training->settings.batch,
                                       .triples = training->sampler.count,
                                       .terms = terms,
                                       .arena = arena_measure(training->backend, "contrast"),
                                       .places = training->places};
    lay_out(contrast, training->settings.width, widest);
    if (!arena_reserve(&contrast->arena, 0, "lower recommenders.batch", error))
        return false;
    lay_out(contrast, training->settings.width, widest);
    return allocate_on_host(contrast, error);
}

void node_contrast_close(struct node_contrast *contrast)
{
    if (!contrast)
        return;
    free(contrast->starts);
    free(contrast->host_rows);
    free(contrast->host_nodes);
    free(contrast->host_members);
    free(contrast->repeats);
    free(contrast->place_of);
    free(contrast->host_weights);
    free(contrast->host_losses);
    arena_release(&contrast->arena);
    free(contrast);
}

/* ---- an epoch's nodes -------------------------------------------------------------------------------- */

/* Places each of the rows once, from `first` on, in the order of first occurrence; returns where they end. */
static int64_t collect(struct node_contrast *contrast, const int32_t *rows, int64_t count, int64_t first,
                       int64_t table_first)
{
    int64_t end = first;
    for (int64_t i = 0; i < count; i++) {
        int64_t *place = &contrast->place_of[rows[i]];
        if (*place < first) {
            *place = end;
            contrast->host_nodes[end] = rows[i];
            contrast->host_members[end] = rows[i] - (int32_t)table_first;
            contrast->repeats[end++] = 0;
        }
        contrast->repeats[*place]++;
    }
    return end;
}

static double share_at(const struct node_contrast *contrast, const int64_t *starts, int64_t place,
                       int64_t count)
{
    if (contrast->share == SHARE_OF_TRIPLES)
        return (double)contrast->repeats[place] / (double)count;
    if (contrast->share == SHARE_OF_NODES)
        return 1.0 / (double)(starts[2] - starts[0]);
    return 1.0 / (double)(place < starts[1] ? starts[1] - starts[0] : starts[2] - starts[1]);
}

/* The weights of a batch of `count` triples whose nodes lie between starts[0] and starts[2]. */
static void weigh(struct node_contrast *contrast, const int64_t *starts, int64_t count,
                  const struct contrast_weight *weights)
{
    for (int term = 0; term < contrast->terms; term++)
        for (int64_t place = starts[0]; place < starts[2]; place++)
            contrast->host_weights[term * 2 * contrast->triples + place] =
                (real)(share_at(contrast, starts, place, count) *
                       (place < starts[1] ? weights[term].users : weights[term].items));
}

static void upload_nodes(struct node_contrast *contrast, int64_t count)
{
    struct tensor nodes = tensor_rows(&contrast->nodes, 0, count);
    struct tensor members = tensor_rows(&contrast->members, 0, count);
    tensor_upload(contrast->backend, &nodes, contrast->host_nodes);
    tensor_upload(contrast->backend, &members, contrast->host_members);
    for (int term = 0; term < contrast->terms; term++) {
        struct tensor weights = tensor_rows(&contrast->weights, term * 2 * contrast->triples, count);
        tensor_upload(contrast->backend, &weights, contrast->host_weights + term * 2 * contrast->triples);
    }
}

bool node_contrast_epoch(struct node_contrast *contrast, const struct tensor *rows,
                         const struct contrast_weight *weights, struct error *error)
{
    const int64_t triples = contrast->triples, batch = contrast->batch;
    for (int64_t row = 0; row < contrast->table_rows; row++)
        contrast->place_of[row] = -1;
    tensor_download(contrast->backend, contrast->host_rows, rows);
    if (!backend_synchronize(contrast->backend, error))
        return false;
    int64_t *starts = contrast->starts;
    for (int64_t first = 0; first < triples; first += batch, starts += 2) {
        const int64_t count = first + batch <= triples ? batch : triples - first;
        const int32_t *of_batch = contrast->host_rows + 3 * first;
        starts[1] = collect(contrast, of_batch, count, starts[0], 0);
        starts[2] = collect(contrast, of_batch + count, count, starts[1], contrast->users);
        weigh(contrast, starts, count, weights);
    }
    upload_nodes(contrast, starts[0]);
    return backend_synchronize(contrast->backend, error);
}

bool contrast_alike(struct embedding_training *training, int64_t epoch, struct error *error)
{
    (void)epoch;
    const double weight = training->settings.contrast_weight;
    return node_contrast_epoch(training->contrast, &training->rows, &(struct contrast_weight){weight, weight},
                               error);
}

struct batch_nodes node_contrast_batch(const struct node_contrast *contrast, int64_t first_triple)
{
    const int64_t *starts = contrast->starts + 2 * (first_triple / contrast->batch);
    return (struct batch_nodes){
        .first = starts[0], .users = starts[1] - starts[0], .items = starts[2] - starts[1]};
}

/* ---- a step's contrast -------------------------------------------------------------------------------- */

void view_read(struct node_contrast *contrast, int view, const struct propagation *propagation,
               const struct tensor *embeddings, struct batch_nodes nodes, struct layer_range range)
{
    const int64_t count = nodes.users + nodes.items;
    const struct tensor table_rows = tensor_rows(&contrast->nodes, nodes.first, count);
    struct tensor rows = tensor_rows(&contrast->views[view].rows, 0, count);
    struct tensor unit = tensor_rows(&contrast->views[view].unit, 0, count);
    struct tensor inverse_norm = tensor_rows(&contrast->views[view].inverse_norm, 0, count);
    struct tensor scratch = tensor_rows(&contrast->scratch, 0, count);
    gather_layers(contrast->backend, &rows, &scratch, propagation, embeddings, &table_rows, range, 1.0f,
                  0.0f);
    op_unit_rows_forward(contrast->backend, &unit, &inverse_norm, &rows);
}

void view_back(struct node_contrast *contrast, int view, struct batch_nodes nodes)
{
    const int64_t count = nodes.users + nodes.items;
    const struct tensor unit = tensor_rows(&contrast->views[view].unit, 0, count);
    const struct tensor d_unit = tensor_rows(&contrast->views[view].d_unit, 0, count);
    const struct tensor inverse_norm = tensor_rows(&contrast->views[view].inverse_norm, 0, count);
    struct tensor d_rows = tensor_rows(&contrast->views[view].d_rows, 0, count);
    tensor_zero(contrast->backend, &d_rows);
    op_unit_rows_backward(contrast->backend, &d_rows, &d_unit, &unit, &inverse_norm);
}

struct layer_gradient view_gradient(const struct node_contrast *contrast, int view, struct batch_nodes nodes,
                                    struct layer_range range)
{
    const int64_t count = nodes.users + nodes.items;
    return (struct layer_gradient){.rows = tensor_rows(&contrast->nodes, nodes.first, count),
                                   .gradient = tensor_rows(&contrast->views[view].d_rows, 0, count),
                                   .range = range};
}

/* Rows of logits of so many columns that fit the block. */
static int64_t rows_at_a_time(const struct node_contrast *contrast, int64_t rows, int64_t columns)
{
    const int64_t room = contrast->logits.shape[0] / columns;
    return rows <= room ? rows : room / GEMM_ROW_BLOCK * GEMM_ROW_BLOCK;
}

void contrast_places(struct node_contrast *contrast, int term, int view, struct batch_nodes nodes,
                     int64_t place, int64_t count, struct contrast_candidates candidates)
{
    const int64_t columns = candidates.b->shape[0];
    const int64_t of_term = term * 2 * contrast->triples + nodes.first + place;
    const int64_t block = rows_at_a_time(contrast, count, columns);
    for (int64_t first = 0; first < count; first += block) {
        const int64_t rows = first + block <= count ? block : count - first;
        const struct tensor a = tensor_rows(&contrast->views[view].unit, place + first, rows);
        const struct tensor positives = tensor_rows(candidates.positives, first, rows);
        const struct tensor weights = tensor_rows(&contrast->weights, of_term + first, rows);
        struct tensor d_a = tensor_rows(&contrast->views[view].d_unit, place + first, rows);
        struct tensor losses = tensor_rows(&contrast->losses, of_term + first, rows);
        struct tensor logits =
            tensor_2d(contrast->logits.data, DTYPE_REAL, contrast->logits.device, rows, columns);
        op_infonce_loss(contrast->backend, &losses, &d_a, candidates.d_b,
                        &(struct contrast){.a = &a,
                                           .b = candidates.b,
                                           .positives = &positives,
                                           .weights = &weights,
                                           .logits = &logits,
                                           .temperature = contrast->temperature,
                                           .accumulate = first > 0});
    }
}

static void contrast_part(struct node_contrast *contrast, struct batch_nodes nodes, int64_t place,
                          int64_t count)
{
    const struct tensor b = tensor_rows(&contrast->views[1].unit, place, count);
    const struct tensor positives = tensor_rows(&contrast->places, 0, count);
    struct tensor d_b = tensor_rows(&contrast->views[1].d_unit, place, count);
    contrast_places(contrast, 0, 0, nodes, place, count, (struct contrast_candidates){&b, &d_b, &positives});
}

void contrast_views(struct node_contrast *contrast, struct batch_nodes nodes, bool together)
{
    if (together) {
        contrast_part(contrast, nodes, 0, nodes.users + nodes.items);
    } else {
        contrast_part(contrast, nodes, 0, nodes.users);
        contrast_part(contrast, nodes, nodes.users, nodes.items);
    }
    view_back(contrast, 0, nodes);
    view_back(contrast, 1, nodes);
}

/* ---- an epoch's loss ---------------------------------------------------------------------------------- */

bool node_contrast_loss(struct node_contrast *contrast, struct contrast_loss *loss, struct error *error)
{
    const int64_t batches = (contrast->triples + contrast->batch - 1) / contrast->batch;
    double sum = 0.0;
    tensor_download(contrast->backend, contrast->host_losses, &contrast->losses);
    if (!backend_synchronize(contrast->backend, error))
        return false;
    loss->bad_batch = -1;
    for (int64_t batch = 0; batch < batches; batch++)
        for (int term = 0; term < contrast->terms; term++)
            for (int64_t place = contrast->starts[2 * batch]; place < contrast->starts[2 * batch + 2];
                 place++) {
                const int64_t at = term * 2 * contrast->triples + place;
                if (!isfinite(contrast->host_losses[at]) && loss->bad_batch < 0)
                    loss->bad_batch = batch;
                sum += (double)contrast->host_weights[at] * (double)contrast->host_losses[at];
            }
    loss->mean = sum / (double)batches;
    return true;
}
