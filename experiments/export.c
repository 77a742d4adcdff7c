#include "experiments/export.h"

#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "core/ops.h"
#include "core/progress.h"
#include "core/store.h"

/* Scores of a block of users that are held at a time. */
enum { BLOCK_BYTES = 16 << 20 };

/* What is written, and where to. */
struct export
{
    struct trained *trained;
    struct store *store;
    int64_t users, items, width; /* width 0: the model has no vectors */
    bool scores;
};

static int64_t id_bytes(const struct id_map *ids)
{
    size_t longest = 1;
    for (int64_t i = 0; i < ids->count; i++)
        longest = strlen(id_map_name(ids, i)) > longest ? strlen(id_map_name(ids, i)) : longest;
    return (int64_t)longest * ids->count;
}

/* At least what the file takes: the arrays, and some for what describes them. */
static int64_t file_bytes(const struct export *export)
{
    const struct dataset *dataset = &export->trained->dataset;
    const int64_t vectors = (export->users + export->items) * export->width;
    const int64_t scores = export->scores ? export->users * export->items : 0;
    const int64_t known = csr_count(&export->trained->known) * (int64_t)sizeof(int32_t);
    const int64_t arrays = (vectors + scores) * (int64_t)sizeof(real) + known +
                           2 * (id_bytes(&dataset->user_ids) + id_bytes(&dataset->item_ids));
    return arrays + arrays / 50 + (256 << 10);
}

/* ---- ids and known items ------------------------------------------------------------------------------- */

/* The ids of the users, in their order. */
static bool choose_ids(struct id_map *chosen, const struct trained *trained, struct error *error)
{
    const struct id_map *all = &trained->dataset.user_ids;
    const int64_t count = trained->user_count;
    size_t bytes = 1;
    for (int64_t i = 0; i < count; i++)
        bytes += strlen(id_map_name(all, trained->users[i])) + 1;
    *chosen = (struct id_map){.count = count,
                              .offsets = calloc((size_t)count + 1, sizeof *chosen->offsets),
                              .bytes = malloc(bytes)};
    if (!chosen->offsets || !chosen->bytes)
        return error_memory(error, "ids of users", bytes, NULL);
    for (int64_t i = 0; i < count; i++) {
        const char *name = id_map_name(all, trained->users[i]);
        const size_t length = strlen(name) + 1;
        memcpy(chosen->bytes + chosen->offsets[i], name, length);
        chosen->offsets[i + 1] = chosen->offsets[i] + (int64_t)length;
    }
    return true;
}

/* The rows of the users, in their order. */
static bool choose_known(struct csr *chosen, const struct trained *trained, struct error *error)
{
    const struct csr *known = &trained->known;
    const int64_t count = trained->user_count;
    *chosen = (struct csr){.rows = count, .columns = known->columns};
    chosen->starts = calloc((size_t)count + 1, sizeof *chosen->starts);
    for (int64_t i = 0; chosen->starts && i < count; i++)
        chosen->starts[i + 1] = chosen->starts[i] + csr_row_length(known, trained->users[i]);
    const size_t total = chosen->starts ? (size_t)chosen->starts[count] : 0;
    chosen->indices = malloc((total + 1) * sizeof *chosen->indices);
    if (!chosen->starts || !chosen->indices)
        return error_memory(error, "known items", total * sizeof *chosen->indices, NULL);
    for (int64_t i = 0; i < count; i++)
        memcpy(chosen->indices + chosen->starts[i], known->indices + known->starts[trained->users[i]],
               (size_t)csr_row_length(chosen, i) * sizeof *chosen->indices);
    return true;
}

static bool write_ids(const struct export *export, struct error *error)
{
    struct id_map users = {0};
    struct csr known = {0};
    const bool done =
        choose_ids(&users, export->trained, error) &&
        store_write_ids(export->store, "/users/id", &users, error) &&
        store_write_ids(export->store, "/items/id", &export->trained->dataset.item_ids, error) &&
        choose_known(&known, export->trained, error) &&
        store_write_csr(export->store, "/known", &known, error);
    id_map_free(&users);
    csr_free(&known);
    return done;
}

/* ---- vectors and scores -------------------------------------------------------------------------------- */

static bool write_vectors(const struct export *export, struct error *error)
{
    const struct trained *trained = export->trained;
    const int64_t block = BLOCK_BYTES / (int64_t)sizeof(real) / export->width + 1;
    const int64_t rows = export->items > block ? export->items : block;
    const size_t bytes = (size_t)(rows * export->width) * sizeof(real);
    real *vectors = malloc(bytes);
    if (!vectors)
        return error_memory(error, "vectors to export", bytes, NULL);
    bool done = recommender_item_vectors(trained->recommender, vectors, error) &&
                store_write_rows(export->store, "/items/embedding", DTYPE_REAL, export->items, export->width,
                                 0, export->items, vectors, error);
    for (int64_t first = 0; done && first < export->users; first += block) {
        const int64_t left = export->users - first, count = left < block ? left : block;
        done =
            recommender_user_vectors(trained->recommender, trained->users + first, count, vectors, error) &&
            store_write_rows(export->store, "/users/embedding", DTYPE_REAL, export->users, export->width,
                             first, count, vectors, error);
    }
    free(vectors);
    return done;
}

/* Scores of the users, a block at a time, whole row blocks of products as in ranking: the same bits. */
static bool write_score_blocks(const struct export *export, struct tensor *scores, real *host,
                               struct error *error)
{
    const struct trained *trained = export->trained;
    const struct scorer scorer = recommender_scorer(trained->recommender);
    const int64_t block = scores->shape[0];
    struct progress *progress = progress_start(NULL, "export", "users", export->users);
    bool done = true;
    for (int64_t first = 0; done && first < export->users; first += block) {
        const int64_t left = export->users - first, count = left < block ? left : block;
        done = scorer.score(scorer.context, trained->users + first, count, scores, error);
        if (!done)
            break;
        const struct tensor rows = tensor_rows(scores, 0, count);
        tensor_download(trained->backend, host, &rows);
        done = backend_synchronize(trained->backend, error) &&
               store_write_rows(export->store, "/scores", DTYPE_REAL, export->users, export->items, first,
                                count, host, error);
        progress_update(progress, first + count, NULL);
    }
    progress_finish(progress, "%lld users x %lld items", (long long)export->users, (long long)export->items);
    return done;
}

static bool write_scores(const struct export *export, struct error *error)
{
    struct backend *backend = export->trained->backend;
    const int64_t fitting = BLOCK_BYTES / (int64_t)sizeof(real) / export->items / GEMM_ROW_BLOCK;
    const int64_t block = (fitting > 1 ? fitting : 1) * GEMM_ROW_BLOCK;
    struct arena arena = arena_measure(backend, "scores to export");
    arena_tensor_2d(&arena, DTYPE_REAL, block, export->items);
    real *host = malloc((size_t)(block * export->items) * sizeof *host);
    bool done = host != NULL;
    if (!done)
        error_memory(error, "scores to export", (size_t)(block * export->items) * sizeof *host, NULL);
    if (done && arena_reserve(&arena, 0, "export on the CPU", error)) {
        struct tensor scores = arena_tensor_2d(&arena, DTYPE_REAL, block, export->items);
        done = write_score_blocks(export, &scores, host, error);
    } else {
        done = false;
    }
    arena_release(&arena);
    free(host);
    return done;
}

static bool describe(const struct export *export, const struct trained_request *request, struct error *error)
{
    struct store *store = export->store;
    const struct trained *trained = export->trained;
    return store_set_string(store, "/", "dataset", trained->dataset.name, error) &&
           store_set_string(store, "/", "recommender", request->recommender, error) &&
           store_set_string(store, "/", "arm", trained->arm, error) &&
           store_set_integer(store, "/", "seed", trained->seed, error);
}

static bool write_file(struct export *export, const struct trained_request *request, const char *path,
                       struct error *error)
{
    if (!store_create_large(&export->store, path, file_bytes(export), error))
        return false;
    if (write_ids(export, error) && (export->width == 0 || write_vectors(export, error)) &&
        (!export->scores || write_scores(export, error)) && describe(export, request, error))
        return store_commit(export->store, error);
    store_close(export->store);
    return false;
}

bool export_trained(const struct trained_request *request, const char *path, bool scores, struct error *error)
{
    struct trained trained;
    if (!trained_open(&trained, request, error))
        return false;
    struct export export = {.trained = &trained,
                            .users = trained.user_count,
                            .items = trained.dataset.item_ids.count,
                            .width = recommender_vector_width(trained.recommender),
                            .scores = scores};
    const bool done =
        export.width > 0 || scores
            ? write_file(&export, request, path, error)
            : error_set(error, ERROR_USAGE, "%s has no vectors of users and items, only scores; add --scores",
                        request->recommender);
    trained_close(&trained);
    return done;
}
