#include "experiments/recommend.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/file.h"
#include "experiments/name_index.h"
#include "experiments/run.h"
#include "experiments/top_k_file.h"
#include "models/recommenders/recommender.h"

/* The lowest N of which FOLDER/seed-N/model.h5 is there; -1: none. */
static long long lowest_seed(const char *folder)
{
    DIR *stream = opendir(folder);
    if (!stream)
        return -1;
    long long lowest = -1;
    for (const struct dirent *entry = readdir(stream); entry; entry = readdir(stream)) {
        char *end;
        if (strncmp(entry->d_name, "seed-", 5) != 0)
            continue;
        const long long seed = strtoll(entry->d_name + 5, &end, 10);
        char *model = path_format("%s/%s/model.h5", folder, entry->d_name);
        if (*end == '\0' && path_exists(model) && (lowest < 0 || seed < lowest))
            lowest = seed;
        free(model);
    }
    closedir(stream);
    return lowest;
}

/* The model to recommend with, malloc'ed: of the arm augmented where the run has one, else original. */
static char *find_model(const char *run_folder, const char *recommender, struct error *error)
{
    const char *const arms[] = {"augmented", "original"};
    for (int place = 0; place < 2; place++) {
        char *folder = path_format("%s/recommenders/%s/%s", run_folder, recommender, arms[place]);
        const long long seed = lowest_seed(folder);
        char *model = seed < 0 ? NULL : path_format("%s/seed-%lld/model.h5", folder, seed);
        free(folder);
        if (model)
            return model;
    }
    error_set(
        error, ERROR_RUN,
        "%s has no trained model of '%s'; run `idrec train` with it among `recommenders`, or name one of the "
        "folders in %s/recommenders",
        run_folder, recommender, run_folder);
    return NULL;
}

/* The users named in a file, one a line, in its order. */
struct user_list {
    int32_t *users;
    int64_t count;
};

static bool parse_users(struct user_list *list, const struct dataset *dataset, const char *path,
                        const char *text, struct error *error)
{
    struct name_index index;
    if (!name_index_open(&index, &dataset->user_ids, error))
        return false;
    bool done = true;
    for (long line = 1; done && *text; line++) {
        const size_t length = strcspn(text, "\r\n");
        const int32_t user = name_index_find(&index, text, length);
        if (user >= 0)
            list->users[list->count++] = user;
        else if (length > 0)
            done = error_at(error, ERROR_RUN, path, line,
                            "unknown user '%.*s'; give ids of the input, one a line", (int)length, text);
        text += length + (text[length] == '\r');
        text += *text == '\n';
    }
    name_index_close(&index);
    return done;
}

static bool read_users(struct user_list *list, const struct dataset *dataset, const char *path,
                       struct error *error)
{
    char *text;
    size_t length;
    if (!file_read(path, &text, &length, error))
        return false;
    list->users = malloc((length + 1) * sizeof *list->users);
    const bool done = list->users
                          ? parse_users(list, dataset, path, text, error)
                          : error_memory(error, "a list of users", length * sizeof *list->users, NULL);
    free(text);
    return done;
}

static bool list_everyone(struct user_list *list, const struct dataset *dataset, struct error *error)
{
    list->count = dataset->user_ids.count;
    list->users = malloc((size_t)(list->count + 1) * sizeof *list->users);
    if (!list->users)
        return error_memory(error, "a list of users", (size_t)list->count * sizeof *list->users, NULL);
    for (int32_t user = 0; user < list->count; user++)
        list->users[user] = user;
    return true;
}

/* What the final model could have known, train and validation: hidden, as in top_k.tsv, and in order of time the
 * history of each user. */
static bool known_items(struct csr *known, struct csr *history, const struct dataset *dataset,
                        struct error *error)
{
    struct csr train = {0}, validation = {0};
    const bool done = csr_sorted(&train, &dataset->train, error) &&
                      csr_sorted(&validation, &dataset->validation, error) &&
                      csr_union(known, &train, &validation, error) &&
                      csr_append(history, &dataset->train, &dataset->validation, error);
    csr_free(&train);
    csr_free(&validation);
    return done;
}

/* A model that was put into the folder by hand may be of another data set. */
static bool check_same_data(const struct recommender *recommender, const char *model,
                            const struct dataset *dataset, struct error *error)
{
    return recommender_fits(recommender, dataset->user_ids.count, dataset->item_ids.count) ||
           error_at(error, ERROR_RUN, model, 0,
                    "was trained on another data set than dataset.h5 holds now; run `train` again");
}

static struct backend *open_device(const struct recommend_request *request, struct error *error)
{
    if (request->device)
        return backend_open(request->device, 0, error);
    struct config *config = NULL;
    struct backend *backend = NULL;
    char *path = path_format("%s/config.yaml", request->run_folder);
    if (config_load(&config, path, 0, NULL, error))
        backend =
            backend_open(config_string(config, "device"), (int)config_integer(config, "threads"), error);
    config_free(config);
    free(path);
    return backend;
}

static bool rank_and_print(const char *model, const struct dataset *dataset, const struct user_list *list,
                           const struct recommend_request *request, FILE *out, struct error *error)
{
    struct csr known = {0}, history = {0};
    struct recommender *recommender = NULL;
    struct backend *backend = open_device(request, error);
    bool done = backend && recommender_load(&recommender, backend, model, error) &&
                check_same_data(recommender, model, dataset, error) &&
                known_items(&known, &history, dataset, error) &&
                recommender_set_history(recommender, &history, error);
    if (done) {
        const struct scorer scorer = recommender_scorer(recommender);
        const int64_t items = dataset->item_ids.count, k = request->k < items ? request->k : items;
        struct top_k top;
        done = top_k_rank(&top, backend, &scorer, list->users, list->count, k, &known, error);
        if (done) {
            top_k_print(&top, dataset, out);
            top_k_free(&top);
        }
    }
    csr_free(&known);
    csr_free(&history);
    recommender_free(recommender);
    backend_close(backend);
    return done && (fflush(out) == 0 || error_system(error, "standard output", "cannot be written", NULL));
}

bool recommend(const struct recommend_request *request, FILE *out, struct error *error)
{
    char *model = run_check_stage(request->run_folder, "train", error)
                      ? find_model(request->run_folder, request->recommender, error)
                      : NULL;
    if (!model)
        return false;
    char *path = path_format("%s/dataset.h5", request->run_folder);
    struct dataset dataset = {0};
    struct user_list list = {0};
    bool done = dataset_load(&dataset, path, error);
    if (done) {
        done = (request->users_file ? read_users(&list, &dataset, request->users_file, error)
                                    : list_everyone(&list, &dataset, error)) &&
               rank_and_print(model, &dataset, &list, request, out, error);
        dataset_free(&dataset);
    }
    free(list.users);
    free(path);
    free(model);
    return done;
}
