#include "models/recommenders/k_means.h"

#include <stdlib.h>
#include <string.h>

/* Elements of a block of nearness: 16 MiB in f32. */
static const int64_t block_elements = INT64_C(1) << 22;

static int64_t block_rows(const struct k_means *k_means)
{
    const int64_t rows = block_elements / k_means->clusters / GEMM_ROW_BLOCK * GEMM_ROW_BLOCK;
    const int64_t least = rows < GEMM_ROW_BLOCK ? GEMM_ROW_BLOCK : rows;
    return least < k_means->points ? least : k_means->points;
}

static void lay_out(struct k_means *k_means)
{
    struct arena *arena = &k_means->arena;
    const int64_t points = k_means->points, clusters = k_means->clusters, block = block_rows(k_means);
    k_means->centroids = arena_tensor_2d(arena, DTYPE_REAL, clusters, k_means->width);
    k_means->minus_half_squares = arena_tensor_1d(arena, DTYPE_REAL, clusters);
    k_means->numbers = arena_tensor_2d(arena, DTYPE_I32, clusters, 1);
    k_means->nearness = arena_tensor_2d(arena, DTYPE_REAL, block, clusters);
    k_means->nearest = arena_tensor_2d(arena, DTYPE_I32, points, 1);
    k_means->nearest_score = arena_tensor_2d(arena, DTYPE_REAL, block, 1);
    k_means->mask_rows = arena_tensor_1d(arena, DTYPE_I32, block);
    k_means->mask_starts = arena_tensor_1d(arena, DTYPE_I64, 2);
    k_means->mask_indices = arena_tensor_1d(arena, DTYPE_I32, 1);
    k_means->members = (struct csr_tensor){.rows = clusters,
                                           .columns = points,
                                           .starts = arena_tensor_1d(arena, DTYPE_I64, clusters + 1),
                                           .indices = arena_tensor_1d(arena, DTYPE_I32, points),
                                           .values = arena_tensor_1d(arena, DTYPE_REAL, points)};
}

static bool allocate_on_host(struct k_means *k_means, struct error *error)
{
    const size_t points = (size_t)k_means->points, clusters = (size_t)k_means->clusters;
    k_means->assignment = malloc(points * sizeof *k_means->assignment);
    k_means->indices = malloc(points * sizeof *k_means->indices);
    k_means->values = malloc(points * sizeof *k_means->values);
    k_means->starts = malloc((clusters + 1) * sizeof *k_means->starts);
    k_means->next = malloc((clusters + 1) * sizeof *k_means->next);
    if (k_means->assignment && k_means->indices && k_means->values && k_means->starts && k_means->next)
        return true;
    return error_memory(error, "clusters", points * (2 * sizeof(int32_t) + sizeof(real)), NULL);
}

bool k_means_open(struct k_means *k_means, struct backend *backend, int64_t points, int64_t clusters,
                  int64_t width, struct error *error)
{
    *k_means = (struct k_means){.backend = backend,
                                .points = points,
                                .clusters = clusters,
                                .width = width,
                                .arena = arena_measure(backend, "clusters")};
    lay_out(k_means);
    if (!arena_reserve(&k_means->arena, 0, "lower recommenders.clusters", error) ||
        !allocate_on_host(k_means, error))
        return false;
    lay_out(k_means);
    for (int64_t cluster = 0; cluster < clusters; cluster++)
        k_means->indices[cluster] = (int32_t)cluster;
    tensor_upload(backend, &k_means->numbers, k_means->indices);
    return backend_synchronize(backend, error);
}

void k_means_close(struct k_means *k_means)
{
    free(k_means->assignment);
    free(k_means->indices);
    free(k_means->values);
    free(k_means->starts);
    free(k_means->next);
    arena_release(&k_means->arena);
}

/* The nearest centroid maximises  x . c - |c|^2 / 2. */
static bool assign(struct k_means *k_means, const struct tensor *points, struct error *error)
{
    struct backend *backend = k_means->backend;
    struct tensor squares = k_means->minus_half_squares;
    squares.rank = 2;
    squares.shape[1] = 1;
    op_candidate_logits_forward(backend, &squares, &k_means->centroids, &k_means->centroids,
                                &k_means->numbers);
    op_axpby(backend, &k_means->minus_half_squares, 0.0f, &k_means->minus_half_squares, -0.5f);
    const int64_t block = k_means->nearness.shape[0];
    for (int64_t first = 0; first < k_means->points; first += block) {
        const int64_t rows = first + block <= k_means->points ? block : k_means->points - first;
        const struct tensor x = tensor_rows(points, first, rows);
        const struct tensor mask_rows = tensor_rows(&k_means->mask_rows, 0, rows);
        struct tensor nearness = tensor_rows(&k_means->nearness, 0, rows);
        struct tensor nearest = tensor_rows(&k_means->nearest, first, rows);
        struct tensor score = tensor_rows(&k_means->nearest_score, 0, rows);
        op_gemm(backend, &nearness, &x, PLAIN, &k_means->centroids, TRANSPOSED, 1.0f, 0.0f);
        op_bias_forward(backend, &nearness, &k_means->minus_half_squares);
        op_topk_masked(backend, &nearest, &score, NULL, &nearness, &mask_rows, &k_means->mask_starts,
                       &k_means->mask_indices);
    }
    tensor_download(backend, k_means->assignment, &k_means->nearest);
    return backend_synchronize(backend, error);
}

static void count_members(struct k_means *k_means)
{
    memset(k_means->next, 0, (size_t)(k_means->clusters + 1) * sizeof *k_means->next);
    for (int64_t point = 0; point < k_means->points; point++)
        k_means->next[k_means->assignment[point]]++;
}

/* With next[] the clusters' sizes: an empty one takes a point of one that has several. */
static void fill_empty(struct k_means *k_means, struct random_stream *stream)
{
    for (int64_t cluster = 0; cluster < k_means->clusters; cluster++)
        while (k_means->next[cluster] == 0) {
            const uint32_t point = random_below(stream, (uint32_t)k_means->points);
            const int32_t owner = k_means->assignment[point];
            if (k_means->next[owner] < 2)
                continue;
            k_means->next[owner]--;
            k_means->next[cluster]++;
            k_means->assignment[point] = (int32_t)cluster;
        }
}

/* Centroids become the means of their points. */
static void update(struct k_means *k_means, const struct tensor *points)
{
    struct backend *backend = k_means->backend;
    k_means->starts[0] = 0;
    for (int64_t cluster = 0; cluster < k_means->clusters; cluster++) {
        k_means->starts[cluster + 1] = k_means->starts[cluster] + k_means->next[cluster];
        k_means->next[cluster] = k_means->starts[cluster];
    }
    for (int64_t point = 0; point < k_means->points; point++) {
        const int32_t cluster = k_means->assignment[point];
        const int64_t size = k_means->starts[cluster + 1] - k_means->starts[cluster];
        const int64_t place = k_means->next[cluster]++;
        k_means->indices[place] = (int32_t)point;
        k_means->values[place] = (real)1 / (real)size;
    }
    tensor_upload(backend, &k_means->members.starts, k_means->starts);
    tensor_upload(backend, &k_means->members.indices, k_means->indices);
    tensor_upload(backend, &k_means->members.values, k_means->values);
    op_csr_spmm(backend, &k_means->centroids, &k_means->members, points, 0.0f);
}

static void seed_centroids(struct k_means *k_means, const struct tensor *points, struct random_stream *stream)
{
    const struct random_permutation order = random_permutation_open(stream, (uint32_t)k_means->points);
    struct tensor chosen = tensor_rows(&k_means->nearest, 0, k_means->clusters);
    chosen.rank = 1;
    for (int64_t cluster = 0; cluster < k_means->clusters; cluster++)
        k_means->indices[cluster] = (int32_t)random_permutation_at(&order, (uint32_t)cluster);
    tensor_upload(k_means->backend, &chosen, k_means->indices);
    op_gather(k_means->backend, &k_means->centroids, points, &chosen);
}

bool k_means_run(struct k_means *k_means, const struct tensor *points, uint64_t seed, uint64_t step,
                 uint64_t index, struct error *error)
{
    struct random_stream stream = random_stream_open(seed, RANDOM_CLUSTER, step, index);
    seed_centroids(k_means, points, &stream);
    for (int iteration = 0; iteration < K_MEANS_ITERATIONS; iteration++) {
        if (!assign(k_means, points, error))
            return false;
        count_members(k_means);
        fill_empty(k_means, &stream);
        update(k_means, points);
    }
    return assign(k_means, points, error);
}
