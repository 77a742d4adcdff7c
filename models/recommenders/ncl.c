/*
 * NCL (Lin et al., "Improving graph collaborative filtering with neighborhood-enriched contrastive learning", WWW 2022):
 * LightGCN, and two contrasts beside its ranking loss.
 *
 * Structure (eq. 6 to 8): a node's layer 2 h, h = contrast_layer, against the layer 0 of all users, or all items, its own
 * the right one:  contrast_weight * (users + item_share * items).
 * Prototypes (eq. 11 to 13): a node's layer 0 against the centroids of all `clusters` clusters of users, or of items, that
 * of its own cluster the right one:  prototype_weight * (users + items). Clusters are those of k-means over layer 0 at the
 * beginning of every epoch after the first `warm_up`; centroids are constants, at most as many as there are points.
 *
 * Both are means over the batch's triples. The authors' code (github.com/RUCAIBox/NCL) and SELFRec's have sums: the latter's
 * weights 1e-6 and 1e-7 with batches of 2048 are 2.048e-3 and 2.048e-4 here. SELFRec contrasts a node with the centroids of
 * its batch only; this follows the paper.
 */
#include <stdlib.h>

#include "models/recommenders/graph_steps.h"
#include "models/recommenders/k_means.h"
#include "models/recommenders/node_contrast.h"

/* The terms, each with the view of its number. */
enum { STRUCTURE, PROTOTYPES, TERMS };
enum { USERS, ITEMS, SIDES };

struct ncl {
    bool clustered; /* this epoch has prototypes */
    struct arena arena;
    struct tensor unit, d_unit;                 /* [users + items, width]: layer 0 at unit length */
    struct tensor inverse_norm;                 /* [users + items] */
    struct tensor clusters;                     /* i32 [2 * triples]: of the nodes of node_contrast.h */
    struct tensor prototypes[SIDES];            /* [clusters, width], of unit length */
    struct tensor d_prototypes, prototype_norm; /* scratch */
    struct k_means k_means[SIDES];
    int32_t *host_clusters; /* [2 * triples] */
};

/* ---- an epoch's prototypes ---------------------------------------------------------------------------- */

static struct tensor side_rows(const struct embedding_training *training, const struct tensor *table,
                               int side)
{
    return side == USERS ? tensor_rows(table, 0, training->users)
                         : tensor_rows(table, training->users, training->items);
}

static bool find_prototypes(struct embedding_training *training, int side, int64_t epoch, struct error *error)
{
    struct ncl *ncl = training->own;
    struct k_means *k_means = &ncl->k_means[side];
    const struct tensor points = side_rows(training, &training->parameters, side);
    struct tensor norm = tensor_rows(&ncl->prototype_norm, 0, k_means->clusters);
    if (!k_means_run(k_means, &points, training->seed, (uint64_t)epoch, (uint64_t)side, error))
        return false;
    op_unit_rows_forward(training->backend, &ncl->prototypes[side], &norm, &k_means->centroids);
    return true;
}

/* The clusters of the nodes of the epoch's batches. */
static void upload_clusters(struct embedding_training *training)
{
    struct ncl *ncl = training->own;
    const struct node_contrast *contrast = training->contrast;
    int64_t count = 0;
    for (int64_t first = 0; first < contrast->triples; first += contrast->batch) {
        const struct batch_nodes nodes = node_contrast_batch(contrast, first);
        for (int64_t place = 0; place < nodes.users + nodes.items; place++, count++) {
            const struct k_means *k_means = &ncl->k_means[place < nodes.users ? USERS : ITEMS];
            ncl->host_clusters[count] = k_means->assignment[contrast->host_members[count]];
        }
    }
    struct tensor clusters = tensor_rows(&ncl->clusters, 0, count);
    tensor_upload(training->backend, &clusters, ncl->host_clusters);
}

static bool begin_epoch(struct embedding_training *training, int64_t epoch, struct error *error)
{
    const struct recommender_settings *settings = &training->settings;
    struct ncl *ncl = training->own;
    ncl->clustered = epoch > settings->warm_up && settings->prototype_weight > 0.0;
    const double prototype_weight = ncl->clustered ? settings->prototype_weight : 0.0;
    const struct contrast_weight weights[TERMS] = {
        [STRUCTURE] = {settings->contrast_weight, settings->contrast_weight * settings->item_share},
        [PROTOTYPES] = {prototype_weight, prototype_weight}};
    if (!node_contrast_epoch(training->contrast, &training->rows, weights, error))
        return false;
    if (!ncl->clustered)
        return true;
    if (!find_prototypes(training, USERS, epoch, error) || !find_prototypes(training, ITEMS, epoch, error))
        return false;
    upload_clusters(training);
    return backend_synchronize(training->backend, error);
}

/* ---- a step ------------------------------------------------------------------------------------------- */

/* The gradient at the nodes' layer 2 h; that of all nodes' layer 0 stays in d_unit. */
static struct layer_gradient contrast_structure(struct embedding_training *training, struct batch_nodes nodes)
{
    struct ncl *ncl = training->own;
    struct node_contrast *contrast = training->contrast;
    const int64_t layer = 2 * training->settings.contrast_layer;
    view_read(contrast, 0, &training->propagation, &training->parameters, nodes,
              (struct layer_range){layer, layer});
    op_unit_rows_forward(training->backend, &ncl->unit, &ncl->inverse_norm, &training->parameters);
    for (int side = 0; side < SIDES; side++) {
        const int64_t place = side == USERS ? 0 : nodes.users;
        const int64_t count = side == USERS ? nodes.users : nodes.items;
        const struct tensor unit = side_rows(training, &ncl->unit, side);
        const struct tensor own = tensor_rows(&contrast->members, nodes.first + place, count);
        struct tensor d_unit = side_rows(training, &ncl->d_unit, side);
        contrast_places(contrast, STRUCTURE, STRUCTURE, nodes, place, count,
                        (struct contrast_candidates){&unit, &d_unit, &own});
    }
    view_back(contrast, 0, nodes);
    return view_gradient(contrast, 0, nodes, (struct layer_range){layer, layer});
}

/* The gradient at the nodes' layer 0. */
static struct layer_gradient contrast_prototypes(struct embedding_training *training,
                                                 struct batch_nodes nodes)
{
    struct ncl *ncl = training->own;
    struct node_contrast *contrast = training->contrast;
    const struct layer_range embeddings = {0, 0};
    view_read(contrast, PROTOTYPES, &training->propagation, &training->parameters, nodes, embeddings);
    for (int side = 0; side < SIDES; side++) {
        const int64_t place = side == USERS ? 0 : nodes.users;
        const int64_t count = side == USERS ? nodes.users : nodes.items;
        const struct tensor own = tensor_rows(&ncl->clusters, nodes.first + place, count);
        struct tensor unused = tensor_rows(&ncl->d_prototypes, 0, ncl->prototypes[side].shape[0]);
        contrast_places(contrast, PROTOTYPES, PROTOTYPES, nodes, place, count,
                        (struct contrast_candidates){&ncl->prototypes[side], &unused, &own});
    }
    view_back(contrast, PROTOTYPES, nodes);
    return view_gradient(contrast, PROTOTYPES, nodes, embeddings);
}

static void ncl_step(struct embedding_training *training, int64_t first, int64_t count)
{
    struct backend *backend = training->backend;
    struct ncl *ncl = training->own;
    struct layer_gradient parts[1 + TERMS];
    int part_count = 0;
    const struct batch_nodes nodes = node_contrast_batch(training->contrast, first);
    propagate(backend, &training->propagation, &training->parameters);
    parts[part_count++] = rank_batch(training, first, count);
    parts[part_count++] = contrast_structure(training, nodes);
    if (ncl->clustered)
        parts[part_count++] = contrast_prototypes(training, nodes);
    propagate_back(backend, &training->propagation, &training->gradient, 0.0f, parts, part_count);
    op_unit_rows_backward(backend, &training->gradient, &ncl->d_unit, &ncl->unit, &ncl->inverse_norm);
    finish_step(training, first, count);
}

/* ---- memory ------------------------------------------------------------------------------------------- */

static void release(void *own)
{
    struct ncl *ncl = own;
    for (int side = 0; side < SIDES; side++)
        k_means_close(&ncl->k_means[side]);
    arena_release(&ncl->arena);
    free(ncl->host_clusters);
    free(ncl);
}

static int64_t clusters_of(const struct embedding_training *training, int side)
{
    const int64_t points = side == USERS ? training->users : training->items;
    return training->settings.clusters < points ? training->settings.clusters : points;
}

static void lay_out(struct embedding_training *training)
{
    struct ncl *ncl = training->own;
    struct arena *arena = &ncl->arena;
    const int64_t nodes = training->users + training->items, width = training->settings.width;
    const int64_t users = clusters_of(training, USERS), items = clusters_of(training, ITEMS);
    const int64_t most = users > items ? users : items;
    ncl->unit = arena_tensor_2d(arena, DTYPE_REAL, nodes, width);
    ncl->d_unit = arena_tensor_2d(arena, DTYPE_REAL, nodes, width);
    ncl->inverse_norm = arena_tensor_1d(arena, DTYPE_REAL, nodes);
    ncl->clusters = arena_tensor_1d(arena, DTYPE_I32, 2 * training->sampler.count);
    ncl->prototypes[USERS] = arena_tensor_2d(arena, DTYPE_REAL, users, width);
    ncl->prototypes[ITEMS] = arena_tensor_2d(arena, DTYPE_REAL, items, width);
    ncl->d_prototypes = arena_tensor_2d(arena, DTYPE_REAL, most, width);
    ncl->prototype_norm = arena_tensor_1d(arena, DTYPE_REAL, most);
}

static bool open_own(struct embedding_training *training, struct error *error)
{
    struct ncl *ncl = calloc(1, sizeof *ncl);
    const size_t bytes = 2 * (size_t)training->sampler.count * sizeof *ncl->host_clusters;
    if (!ncl)
        return error_memory(error, "prototypes", sizeof *ncl, NULL);
    training->own = ncl;
    training->release_own = release;
    ncl->arena = arena_measure(training->backend, "prototypes");
    lay_out(training);
    if (!arena_reserve(&ncl->arena, 0, "lower recommenders.clusters", error))
        return false;
    lay_out(training);
    ncl->host_clusters = malloc(bytes);
    if (!ncl->host_clusters)
        return error_memory(error, "the clusters of an epoch's batches", bytes, NULL);
    return k_means_open(&ncl->k_means[USERS], training->backend, training->users,
                        clusters_of(training, USERS), training->settings.width, error) &&
           k_means_open(&ncl->k_means[ITEMS], training->backend, training->items,
                        clusters_of(training, ITEMS), training->settings.width, error);
}

static bool check(const struct recommender_settings *settings, struct error *error)
{
    if (settings->contrast_layer < 1 || 2 * settings->contrast_layer > settings->layers)
        return error_set(
            error, ERROR_USAGE,
            "ncl: recommenders.contrast_layer is %lld; it must be 1 to half of recommenders.layers, %lld",
            (long long)settings->contrast_layer, (long long)settings->layers);
    if (settings->clusters < 1)
        return error_set(error, ERROR_USAGE, "ncl: recommenders.clusters is %lld; it must be at least 1",
                         (long long)settings->clusters);
    return graph_settings_check(settings, error);
}

static bool prepare(struct embedding_training *training, struct error *error)
{
    const int64_t widest = training->users > training->items ? training->users : training->items;
    training->take_step = ncl_step;
    training->begin_epoch = begin_epoch;
    return graph_training_prepare(training, 0, error) &&
           node_contrast_open(training, SHARE_OF_TRIPLES, TERMS, widest, error) && open_own(training, error);
}

static bool training_open(void **training, struct recommender *recommender, const struct training_set *data,
                          uint64_t seed, struct error *error)
{
    return embedding_training_open(training, recommender, data, seed, prepare, error);
}

const struct recommender_model ncl_model = GRAPH_MODEL("ncl", NULL, check, training_open);
