#include "models/recommenders/model.h"

#include <stdlib.h>

static void score_rows(const struct recommender *recommender, host_score_row score_row, const int32_t *users,
                       int64_t count, real *scores)
{
#pragma omp parallel for schedule(dynamic, 8) num_threads(host_threads(recommender->backend))
    for (int64_t row = 0; row < count; row++)
        score_row(recommender, users[row], scores + row * recommender->items);
}

bool host_score_block(const struct recommender *recommender, host_score_row score_row, const int32_t *users,
                      int64_t count, struct tensor *scores, struct error *error)
{
    struct backend *backend = recommender->backend;
    if (backend->device == DEVICE_CPU) {
        score_rows(recommender, score_row, users, count, scores->data);
        return true;
    }
    real *host = malloc((size_t)(count * recommender->items) * sizeof *host);
    if (!host)
        return error_memory(error, "a block of scores", (size_t)(count * recommender->items) * sizeof *host,
                            NULL);
    score_rows(recommender, score_row, users, count, host);
    struct tensor part = tensor_rows(scores, 0, count);
    tensor_upload(backend, &part, host);
    const bool uploaded = backend_synchronize(backend, error);
    free(host);
    return uploaded;
}
