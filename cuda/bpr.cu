#include "cuda/device.cuh"
#include "cuda/packs.cuh"
#include "cuda/warp.cuh"

enum { THREADS = 256, WIDTH = 4 };

struct bpr_rows {
    const int32_t *users, *positives, *negatives;
    const float *weights, *user_table, *item_table;
    float *losses, *d_users, *d_positives, *d_negatives;
    int64_t count, width;
};

/* `lanes` threads a triple: each has every lanes-th pack of its rows, which the second reading finds in the cache. */
template <bool packed> __global__ void bpr_loss_kernel(struct bpr_rows rows, int lanes)
{
    const int64_t triple = ((int64_t)blockIdx.x * THREADS + threadIdx.x) / lanes, width = rows.width;
    const bool valid = triple < rows.count;
    const int64_t first = (int64_t)((int)threadIdx.x % lanes) * WIDTH, stride = (int64_t)lanes * WIDTH;
    const float *user = rows.user_table + (valid ? rows.users[triple] : 0) * width;
    const float *positive = rows.item_table + (valid ? rows.positives[triple] : 0) * width;
    const float *negative = rows.item_table + (valid ? rows.negatives[triple] : 0) * width;
    float u[WIDTH], p[WIDTH], n[WIDTH], difference = 0.0f;
    for (int64_t column = first; valid && column < width; column += stride) {
        load_values<packed>(u, user + column, width - column);
        load_values<packed>(p, positive + column, width - column);
        load_values<packed>(n, negative + column, width - column);
#pragma unroll
        for (int i = 0; i < WIDTH; i++)
            difference = fmaf(u[i], n[i] - p[i], difference);
    }
    for (int mask = lanes / 2; mask > 0; mask /= 2)
        difference += lane_exchange(difference, mask);
    if (!valid)
        return;
    if (first == 0)
        rows.losses[triple] = fmaxf(difference, 0.0f) + log1pf(expf(-fabsf(difference)));
    const float slope = rows.weights[triple] / (1.0f + expf(-difference));
    for (int64_t column = first; column < width; column += stride) {
        const int64_t place = triple * width + column;
        load_values<packed>(u, user + column, width - column);
        load_values<packed>(p, positive + column, width - column);
        load_values<packed>(n, negative + column, width - column);
#pragma unroll
        for (int i = 0; i < WIDTH; i++) {
            p[i] = slope * (n[i] - p[i]);
            n[i] = slope * u[i];
            u[i] = -n[i];
        }
        store_values<packed>(rows.d_users + place, p, width - column);
        store_values<packed>(rows.d_positives + place, u, width - column);
        store_values<packed>(rows.d_negatives + place, n, width - column);
    }
}

void cuda_bpr_loss(struct backend *backend, struct tensor *losses, struct tensor *d_users,
                   struct tensor *d_positives, struct tensor *d_negatives, const struct tensor *user_table,
                   const struct tensor *item_table, struct triples triples)
{
    const int64_t count = losses->shape[0], width = user_table->shape[1];
    const int lanes = lanes_for((width + WIDTH - 1) / WIDTH);
    const struct bpr_rows rows = {.users = data_of<int32_t>(triples.users),
                                  .positives = data_of<int32_t>(triples.positives),
                                  .negatives = data_of<int32_t>(triples.negatives),
                                  .weights = data_of<float>(triples.weights),
                                  .user_table = data_of<float>(user_table),
                                  .item_table = data_of<float>(item_table),
                                  .losses = data_of<float>(losses),
                                  .d_users = data_of<float>(d_users),
                                  .d_positives = data_of<float>(d_positives),
                                  .d_negatives = data_of<float>(d_negatives),
                                  .count = count,
                                  .width = width};
    BY_ACCESS(
        packs_fit<float>(user_table->data, width) && aligned(item_table, d_users, d_positives, d_negatives), {
            LAUNCH(backend, (bpr_loss_kernel<packed>), dim3(blocks_for(count * lanes, THREADS)),
                   dim3(THREADS), 0, rows, lanes);
        });
}
