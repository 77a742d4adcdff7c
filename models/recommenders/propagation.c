#include "models/recommenders/propagation.h"

/* All rows of x, of which this rank has its own. */
static const struct tensor *all_rows(struct propagation *propagation, const struct tensor *x)
{
    struct backend *const backend = propagation->parts->backend;
    if (!propagation->parts->ranks)
        return x;
    const struct tensor own = row_parts_own(propagation->parts, &propagation->all);
    backend->copy(backend, own.data, x->data, tensor_bytes(&own));
    row_parts_gather(propagation->parts, &propagation->all);
    return &propagation->all;
}

void propagate(struct backend *backend, struct propagation *propagation, const struct tensor *embeddings)
{
    const struct tensor *below = embeddings;
    for (int64_t layer = 0; layer < propagation->layers; layer++) {
        op_csr_spmm(backend, &propagation->layer[layer], propagation->graph[layer],
                    all_rows(propagation, below), 0.0f);
        below = &propagation->layer[layer];
    }
}

void propagate_noisily(struct backend *backend, struct propagation *propagation, const struct tensor *product,
                       struct layer_noise noise)
{
    for (int64_t layer = 0; layer < propagation->layers; layer++) {
        struct tensor *noisy = &propagation->layer[layer];
        if (layer > 0) {
            op_csr_spmm(backend, noisy, propagation->graph[layer], &propagation->layer[layer - 1], 0.0f);
            product = noisy;
        }
        op_row_noise(backend, noisy, product, noise.magnitude, noise.seed, noise.step,
                     noise.site + (uint64_t)layer);
    }
}

void gather_layers(struct backend *backend, struct tensor *out, struct tensor *scratch,
                   const struct propagation *propagation, const struct tensor *embeddings,
                   const struct tensor *rows, struct layer_range range, float share, float beta)
{
    for (int64_t layer = range.first; layer <= range.last; layer++) {
        const struct tensor *table = layer == 0 ? embeddings : &propagation->layer[layer - 1];
        op_gather(backend, scratch, table, rows);
        op_axpby(backend, out, share, scratch, layer == range.first ? beta : 1.0f);
    }
}

static void add_parts(struct backend *backend, struct tensor *sum, const struct layer_gradient *parts,
                      int count, int64_t layer)
{
    for (int part = 0; part < count; part++)
        if (parts[part].range.first <= layer && layer <= parts[part].range.last)
            op_scatter_add(backend, sum, &parts[part].gradient, &parts[part].rows);
}

void propagate_back(struct backend *backend, struct propagation *propagation, struct tensor *d_embeddings,
                    float beta, const struct layer_gradient *parts, int count)
{
    struct tensor *above = &propagation->layer[0];
    tensor_zero(backend, above);
    add_parts(backend, above, parts, count, propagation->layers);
    for (int64_t layer = propagation->layers; layer > 0; layer--) {
        struct tensor *below = &propagation->layer[above == &propagation->layer[0] ? 1 : 0];
        if (layer == 1)
            below = d_embeddings;
        op_csr_spmm(backend, below, propagation->graph[layer - 1], all_rows(propagation, above),
                    layer == 1 ? beta : 0.0f);
        add_parts(backend, below, parts, count, layer - 1);
        above = below;
    }
}
