/*
 * SGL (Wu et al., "Self-supervised graph learning for recommendation", SIGIR 2021): LightGCN, and beside its ranking loss
 * contrast_weight * InfoNCE (eq. 10) of a batch's nodes between two graphs from each of which a share rho = view_share has
 * been dropped (eq. 6 to 8), drawn anew for every epoch and normalised with their own degrees:
 *   edge_drop    of the interactions;
 *   node_drop    of the users, and of the items, with all their interactions;
 *   random_walk  of the interactions, another draw in each layer.
 * The nodes are the distinct users and positive items of the batch, all in one softmax, as in SELFRec
 * (github.com/Coder-Yu/SELFRec, model/graph/SGL.py). There random_walk never draws by the layer, which is a slip.
 */
#include <stdlib.h>
#include <string.h>

#include "models/recommenders/graph_steps.h"
#include "models/recommenders/node_contrast.h"
#include "models/recommenders/user_item_graph.h"

enum view_kind { EDGE_DROP, NODE_DROP, RANDOM_WALK, VIEW_KINDS };
static const char *const view_names[VIEW_KINDS] = {"edge_drop", "node_drop", "random_walk"};

/* A view of the graph, and what its draws need on the host. */
struct graph_view {
    struct csr_tensor room[PROPAGATION_LAYERS_MAXIMUM], graph[PROPAGATION_LAYERS_MAXIMUM];
    struct propagation propagation; /* over these; in the layers of the training's */
    struct user_item_graph host;
    bool *kept;       /* [interactions] */
    bool *items_kept; /* [items] */
};

struct sgl {
    enum view_kind kind;
    struct arena arena;
    struct graph_view views[2];
};

/* ---- an epoch's graphs -------------------------------------------------------------------------------- */

/* Which of `count` are kept: all but the share that is dropped, exactly. */
struct draw {
    struct random_permutation order;
    uint32_t kept;
};

static struct draw draw_open(struct random_stream *stream, int64_t count, double dropped_share)
{
    return (struct draw){.order = random_permutation_open(stream, (uint32_t)count),
                         .kept = (uint32_t)(count - (int64_t)(dropped_share * (double)count))};
}

static bool is_kept(const struct draw *draw, int64_t place)
{
    return random_permutation_at(&draw->order, (uint32_t)place) < draw->kept;
}

static void drop_edges(struct graph_view *view, const struct csr *positives, double share,
                       struct random_stream stream)
{
    const int64_t count = csr_count(positives);
    const struct draw edges = draw_open(&stream, count, share);
    for (int64_t index = 0; index < count; index++)
        view->kept[index] = is_kept(&edges, index);
}

static void drop_nodes(struct graph_view *view, const struct csr *positives, double share,
                       struct random_stream stream)
{
    const struct draw users = draw_open(&stream, positives->rows, share);
    const struct draw items = draw_open(&stream, positives->columns, share);
    for (int64_t item = 0; item < positives->columns; item++)
        view->items_kept[item] = is_kept(&items, item);
    for (int64_t user = 0; user < positives->rows; user++) {
        const bool user_kept = is_kept(&users, user);
        for (int64_t index = positives->starts[user]; index < positives->starts[user + 1]; index++)
            view->kept[index] = user_kept && view->items_kept[positives->indices[index]];
    }
}

static int graphs_of_view(const struct embedding_training *training)
{
    const struct sgl *sgl = training->own;
    return sgl->kind == RANDOM_WALK ? (int)training->settings.layers : 1;
}

/* Draws graph `layer` of a view on the host, by (seed, RANDOM_VIEW, epoch, graph). */
static void draw_graph(const struct embedding_training *training, int view, int layer, int64_t epoch)
{
    struct sgl *sgl = training->own;
    struct graph_view *drawn = &sgl->views[view];
    const struct csr *positives = training->data.positives;
    const double share = training->settings.view_share;
    const uint64_t graph = (uint64_t)view * PROPAGATION_LAYERS_MAXIMUM + (uint64_t)layer;
    const struct random_stream stream =
        random_stream_open(training->seed, RANDOM_VIEW, (uint64_t)epoch, graph);
    if (sgl->kind == NODE_DROP)
        drop_nodes(drawn, positives, share, stream);
    else
        drop_edges(drawn, positives, share, stream);
    user_item_graph_fill(&drawn->host, &training->data, drawn->kept);
}

static bool begin_epoch(struct embedding_training *training, int64_t epoch, struct error *error)
{
    struct sgl *sgl = training->own;
    const int threads = host_threads(training->backend) > 1 ? 2 : 1;
    for (int layer = 0; layer < graphs_of_view(training); layer++) {
#pragma omp parallel for schedule(static, 1) num_threads(threads)
        for (int view = 0; view < 2; view++)
            draw_graph(training, view, layer, epoch);
        for (int view = 0; view < 2; view++) {
            struct graph_view *drawn = &sgl->views[view];
            drawn->graph[layer] =
                user_item_graph_upload(&drawn->host, training->backend, &drawn->room[layer]);
        }
    }
    return contrast_alike(training, epoch, error);
}

/* ---- a step ------------------------------------------------------------------------------------------- */

static void sgl_step(struct embedding_training *training, int64_t first, int64_t count)
{
    struct backend *backend = training->backend;
    struct node_contrast *contrast = training->contrast;
    struct sgl *sgl = training->own;
    const struct batch_nodes nodes = node_contrast_batch(contrast, first);
    for (int view = 0; view < 2; view++) {
        propagate(backend, &sgl->views[view].propagation, &training->parameters);
        view_read(contrast, view, &sgl->views[view].propagation, &training->parameters, nodes,
                  training->read_out);
    }
    contrast_views(contrast, nodes, true);
    propagate(backend, &training->propagation, &training->parameters);
    const struct layer_gradient ranking = rank_batch(training, first, count);
    propagate_back(backend, &training->propagation, &training->gradient, 0.0f, &ranking, 1);
    for (int view = 0; view < 2; view++) {
        const struct layer_gradient part = view_gradient(contrast, view, nodes, training->read_out);
        propagate_back(backend, &sgl->views[view].propagation, &training->gradient, 1.0f, &part, 1);
    }
    finish_step(training, first, count);
}

/* ---- memory ------------------------------------------------------------------------------------------- */

static void release(void *own)
{
    struct sgl *sgl = own;
    for (int view = 0; view < 2; view++) {
        user_item_graph_close(&sgl->views[view].host);
        free(sgl->views[view].kept);
        free(sgl->views[view].items_kept);
    }
    arena_release(&sgl->arena);
    free(sgl);
}

static void lay_out(struct embedding_training *training)
{
    struct sgl *sgl = training->own;
    const int64_t nodes = training->users + training->items, edges = 2 * csr_count(training->data.positives);
    for (int view = 0; view < 2; view++)
        for (int layer = 0; layer < graphs_of_view(training); layer++)
            sgl->views[view].room[layer] = user_item_graph_tensor(&sgl->arena, nodes, nodes, edges);
}

static bool view_open(struct graph_view *view, const struct embedding_training *training, struct error *error)
{
    const size_t interactions = (size_t)csr_count(training->data.positives);
    view->propagation = training->propagation;
    for (int layer = 0; layer < training->settings.layers; layer++)
        view->propagation.graph[layer] = &view->graph[graphs_of_view(training) == 1 ? 0 : layer];
    view->kept = malloc(interactions);
    view->items_kept = malloc((size_t)training->items);
    if (!view->kept || !view->items_kept)
        return error_memory(error, "a view of the graph", interactions, NULL);
    return user_item_graph_open(&view->host, &training->data, error);
}

/* VIEW_KINDS: none of that name. */
static enum view_kind kind_of(const char *name)
{
    int kind = 0;
    while (kind < VIEW_KINDS && strcmp(view_names[kind], name) != 0)
        kind++;
    return (enum view_kind)kind;
}

static bool check(const struct recommender_settings *settings, struct error *error)
{
    if (kind_of(settings->view) == VIEW_KINDS)
        return error_set(error, ERROR_USAGE,
                         "sgl: recommenders.view is '%s'; it must be edge_drop, node_drop or random_walk",
                         settings->view);
    return graph_settings_check(settings, error);
}

static bool prepare(struct embedding_training *training, struct error *error)
{
    training->take_step = sgl_step;
    training->begin_epoch = begin_epoch;
    if (!graph_training_prepare(training, 0, error) ||
        !node_contrast_open(training, SHARE_OF_NODES, 1, 2 * training->settings.batch, error))
        return false;
    struct sgl *sgl = calloc(1, sizeof *sgl);
    if (!sgl)
        return error_memory(error, "the views of the graph", sizeof *sgl, NULL);
    training->own = sgl;
    training->release_own = release;
    *sgl = (struct sgl){.kind = kind_of(training->settings.view),
                        .arena = arena_measure(training->backend, "views")};
    lay_out(training);
    if (!arena_reserve(&sgl->arena, 0, "set recommenders.view to edge_drop", error))
        return false;
    lay_out(training);
    return view_open(&sgl->views[0], training, error) && view_open(&sgl->views[1], training, error);
}

static bool training_open(void **training, struct recommender *recommender, const struct training_set *data,
                          uint64_t seed, struct error *error)
{
    return embedding_training_open(training, recommender, data, seed, prepare, error);
}

const struct recommender_model sgl_model = GRAPH_MODEL("sgl", NULL, check, training_open);
