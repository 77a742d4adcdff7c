#include "core/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/comm.h"
#include "core/ops.h"

/* What the scores of one block of users may take: on a CPU what its caches hold a good part of, on a GPU enough to fill it
 * for longer than a block's launches and copies last. */
#define SCORE_BYTES_CPU ((int64_t)16 << 20)
#define SCORE_BYTES_GPU ((int64_t)256 << 20)

/* The tensors of one block of users, and the mask, on the device. */
struct ranking {
    struct backend *backend;
    int64_t block; /* users: a multiple of GEMM_ROW_BLOCK, so that scores do not depend on it */
    struct tensor scores, columns, top_scores, ties, mask_rows, mask_starts, mask_indices;
    int32_t *host_columns, *host_ties; /* of allocate_host(): [block, k], [block] */
    real *host_scores;                 /* likewise: [block, k] */
};

static bool allocate(struct ranking *ranking, struct tensor *tensor, enum dtype dtype, int64_t rows,
                     int64_t columns, struct error *error)
{
    const size_t bytes = dtype_size(dtype) * (size_t)(rows * (columns ? columns : 1));
    void *memory = backend_allocate(ranking->backend, bytes);
    if (!memory)
        return error_memory(error, "ranking the items", bytes, NULL);
    *tensor = columns ? tensor_2d(memory, dtype, ranking->backend->device, rows, columns)
                      : tensor_1d(memory, dtype, ranking->backend->device, rows);
    return true;
}

/* Without a mask, every user shares one empty row. */
static bool upload_mask(struct ranking *ranking, const struct csr *mask, struct error *error)
{
    static const int64_t empty_starts[2] = {0, 0};
    static const int32_t no_index[1] = {0};
    const int64_t rows = mask ? mask->rows : 1, count = mask ? csr_count(mask) : 0;
    if (!allocate(ranking, &ranking->mask_starts, DTYPE_I64, rows + 1, 0, error) ||
        !allocate(ranking, &ranking->mask_indices, DTYPE_I32, count > 0 ? count : 1, 0, error))
        return false;
    tensor_upload(ranking->backend, &ranking->mask_starts, mask ? mask->starts : empty_starts);
    tensor_upload(ranking->backend, &ranking->mask_indices, count > 0 ? mask->indices : no_index);
    return true;
}

/* As many users as there are, or as fit into the scores' bytes, in whole row blocks of products. */
static int64_t block_of(enum device_kind device, int64_t users, int64_t items)
{
    const int64_t bytes = device == DEVICE_CPU ? SCORE_BYTES_CPU : SCORE_BYTES_GPU;
    const int64_t wanted = (users + GEMM_ROW_BLOCK - 1) / GEMM_ROW_BLOCK;
    const int64_t fitting = bytes / (int64_t)(sizeof(real) * (size_t)items) / GEMM_ROW_BLOCK;
    const int64_t blocks = wanted < fitting ? wanted : fitting;
    return (blocks > 1 ? blocks : 1) * GEMM_ROW_BLOCK;
}

static bool ranking_open(struct ranking *ranking, struct backend *backend, const struct csr *mask,
                         int64_t users, int64_t items, int64_t k, struct error *error)
{
    *ranking = (struct ranking){.backend = backend, .block = block_of(backend->device, users, items)};
    const size_t count = (size_t)(ranking->block * k);
    ranking->host_columns = backend->allocate_host(backend, count * sizeof *ranking->host_columns);
    ranking->host_scores = backend->allocate_host(backend, count * sizeof *ranking->host_scores);
    ranking->host_ties = backend->allocate_host(backend, (size_t)ranking->block * sizeof *ranking->host_ties);
    if (!ranking->host_columns || !ranking->host_scores || !ranking->host_ties)
        return error_memory(error, "ranking the items", count * sizeof(real), NULL);
    return allocate(ranking, &ranking->scores, DTYPE_REAL, ranking->block, items, error) &&
           allocate(ranking, &ranking->columns, DTYPE_I32, ranking->block, k, error) &&
           allocate(ranking, &ranking->top_scores, DTYPE_REAL, ranking->block, k, error) &&
           allocate(ranking, &ranking->ties, DTYPE_I32, ranking->block, 0, error) &&
           allocate(ranking, &ranking->mask_rows, DTYPE_I32, ranking->block, 0, error) &&
           upload_mask(ranking, mask, error);
}

static void ranking_close(struct ranking *ranking)
{
    struct tensor *tensors[] = {&ranking->scores,      &ranking->columns,   &ranking->top_scores,
                                &ranking->ties,        &ranking->mask_rows, &ranking->mask_starts,
                                &ranking->mask_indices};
    for (size_t index = 0; index < sizeof tensors / sizeof *tensors; index++)
        backend_release(ranking->backend, tensors[index]->data, tensor_bytes(tensors[index]));
    void *host[] = {ranking->host_columns, ranking->host_scores, ranking->host_ties};
    for (size_t index = 0; index < sizeof host / sizeof *host; index++)
        if (host[index])
            ranking->backend->release_host(ranking->backend, host[index]);
}

static void queue_download(struct backend *backend, void *host, const struct tensor *tensor)
{
    backend->queue_download(backend, host, tensor->data, tensor_bytes(tensor));
}

/* Ranks users[first .. first + count - 1] and copies their lists into top. */
static bool rank_block(struct top_k *top, struct ranking *ranking, const struct scorer *scorer, int64_t first,
                       int64_t count, bool masked, struct error *error)
{
    struct backend *backend = ranking->backend;
    if (!scorer->score(scorer->context, top->user + first, count, &ranking->scores, error))
        return false;
    struct tensor mask_rows = tensor_rows(&ranking->mask_rows, 0, count);
    if (masked)
        tensor_upload(backend, &mask_rows, top->user + first);
    else
        tensor_zero(backend, &mask_rows);
    struct tensor scores = tensor_rows(&ranking->scores, 0, count);
    struct tensor columns = tensor_rows(&ranking->columns, 0, count);
    struct tensor top_scores = tensor_rows(&ranking->top_scores, 0, count);
    struct tensor ties = tensor_rows(&ranking->ties, 0, count);
    op_topk_masked(backend, &columns, &top_scores, &ties, &scores, &mask_rows, &ranking->mask_starts,
                   &ranking->mask_indices);
    queue_download(backend, ranking->host_columns, &columns);
    queue_download(backend, ranking->host_scores, &top_scores);
    queue_download(backend, ranking->host_ties, &ties);
    if (!backend_synchronize(backend, error))
        return false;
    for (int64_t index = 0; index < count * top->k; index++) {
        const bool listed = ranking->host_scores[index] != -(real)INFINITY;
        top->items[first * top->k + index] = listed ? ranking->host_columns[index] : -1;
        top->scores[first * top->k + index] = (float)ranking->host_scores[index];
    }
    for (int64_t row = 0; row < count; row++)
        top->ties += ranking->host_ties[row] && top->items[(first + row + 1) * top->k - 1] >= 0;
    return true;
}

static bool top_k_allocate(struct top_k *top, const int32_t *users, int64_t user_count, int64_t k,
                           struct error *error)
{
    *top = (struct top_k){.users = user_count, .k = k};
    const size_t count = (size_t)(user_count * k);
    top->user = malloc((size_t)(user_count + 1) * sizeof *top->user);
    top->items = malloc((count + 1) * sizeof *top->items);
    top->scores = malloc((count + 1) * sizeof *top->scores);
    if (!top->user || !top->items || !top->scores)
        return error_memory(error, "the top-K lists", count * 8, "lower the largest of evaluate.k");
    if (user_count > 0)
        memcpy(top->user, users, (size_t)user_count * sizeof *users);
    return true;
}

/* The lists of all ranks, each of which has made those of users starts[rank] .. starts[rank + 1] - 1. They are in host
 * memory, whatever the device. */
static bool gather_lists(struct top_k *top, struct communicator *ranks, int64_t *starts, struct error *error)
{
    const int64_t count = top->users * top->k;
    struct tensor items = tensor_1d(top->items, DTYPE_I32, DEVICE_CPU, count);
    struct tensor scores = tensor_1d(top->scores, DTYPE_F32, DEVICE_CPU, count);
    struct tensor ties = tensor_1d(&top->ties, DTYPE_I64, DEVICE_CPU, 1);
    for (int rank = 0; rank <= ranks->size; rank++)
        starts[rank] *= top->k;
    return comm_all_gather_parts(ranks, &items, starts, error) &&
           comm_all_gather_parts(ranks, &scores, starts, error) &&
           comm_all_reduce(ranks, &ties, COMM_SUM, error);
}

static bool rank_users(struct top_k *top, struct ranking *ranking, const struct scorer *scorer, int64_t begin,
                       int64_t end, bool masked, struct error *error)
{
    for (int64_t first = begin; first < end; first += ranking->block) {
        const int64_t left = end - first;
        if (!rank_block(top, ranking, scorer, first, left < ranking->block ? left : ranking->block, masked,
                        error))
            return false;
    }
    return true;
}

static bool rank_part(struct top_k *top, struct ranking *ranking, const struct scorer *scorer, bool masked,
                      struct error *error)
{
    struct communicator *const ranks = scorer->ranks;
    int64_t *starts = malloc(((size_t)ranks->size + 1) * sizeof *starts);
    if (!starts)
        return error_memory(error, "the users of each rank", (size_t)ranks->size * sizeof *starts, NULL);
    for (int rank = 0; rank <= ranks->size; rank++)
        starts[rank] = comm_part(ranks, top->users, rank);
    const bool done =
        rank_users(top, ranking, scorer, starts[ranks->rank], starts[ranks->rank + 1], masked, error) &&
        gather_lists(top, ranks, starts, error);
    free(starts);
    return done;
}

/* How many users a rank has at most. On a GPU a row's bits depend on the size of a block, which is that of one process. */
static int64_t users_at_once(const struct backend *backend, const struct communicator *ranks, int64_t users)
{
    return ranks && backend->device == DEVICE_CPU ? (users + ranks->size - 1) / ranks->size : users;
}

bool top_k_rank(struct top_k *top, struct backend *backend, const struct scorer *scorer, const int32_t *users,
                int64_t user_count, int64_t k, const struct csr *mask, struct error *error)
{
    struct ranking ranking = {.backend = backend};
    bool done = top_k_allocate(top, users, user_count, k, error) &&
                ranking_open(&ranking, backend, mask, users_at_once(backend, scorer->ranks, user_count),
                             scorer->items, k, error);
    if (done)
        done = scorer->ranks ? rank_part(top, &ranking, scorer, mask != NULL, error)
                             : rank_users(top, &ranking, scorer, 0, user_count, mask != NULL, error);
    ranking_close(&ranking);
    if (!done)
        top_k_free(top);
    return done;
}

void top_k_free(struct top_k *top)
{
    free(top->user);
    free(top->items);
    free(top->scores);
    *top = (struct top_k){0};
}

bool users_with_truth(int32_t **users, int64_t *count, const struct csr *truth, struct error *error)
{
    *count = 0;
    *users = malloc((size_t)(truth->rows + 1) * sizeof **users);
    if (!*users)
        return error_memory(error, "the users tested", (size_t)truth->rows * sizeof **users, NULL);
    for (int64_t user = 0; user < truth->rows; user++)
        if (csr_row_length(truth, user) > 0)
            (*users)[(*count)++] = (int32_t)user;
    return true;
}
