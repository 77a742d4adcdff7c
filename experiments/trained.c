#include "experiments/trained.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/file.h"
#include "experiments/name_index.h"
#include "experiments/run.h"

/* ---- what a run holds ---------------------------------------------------------------------------------- */

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Calls visit with each entry of a folder, in order; a folder that is not there has none. */
static void visit_folder(const char *folder, void (*visit)(const char *path, const char *name, void *context),
                         void *context)
{
    struct dirent **entries;
    const int count = scandir(folder, &entries, is_visible, versionsort);
    for (int i = 0; i < count; i++) {
        char *path = path_format("%s/%s", folder, entries[i]->d_name);
        visit(path, entries[i]->d_name, context);
        free(path);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

static void add_seed(const char *path, const char *name, void *seeds)
{
    char *model = path_format("%s/model.h5", path), *end = NULL;
    const long long seed = strncmp(name, "seed-", 5) == 0 ? strtoll(name + 5, &end, 10) : -1;
    if (end && *end == '\0' && path_exists(model))
        json_array_append_new(seeds, json_integer(seed));
    free(model);
}

static void add_arm(const char *path, const char *name, void *arms)
{
    json_t *seeds = json_array();
    visit_folder(path, add_seed, seeds);
    if (json_array_size(seeds) > 0)
        json_object_set(arms, name, seeds);
    json_decref(seeds);
}

static void add_recommender(const char *path, const char *name, void *models)
{
    json_t *arms = json_object();
    visit_folder(path, add_arm, arms);
    if (json_object_size(arms) > 0)
        json_object_set(models, name, arms);
    json_decref(arms);
}

json_t *trained_models(const char *run_folder)
{
    json_t *models = json_object();
    char *folder = path_format("%s/recommenders", run_folder);
    visit_folder(folder, add_recommender, models);
    free(folder);
    return models;
}

/* ---- which model is meant ------------------------------------------------------------------------------ */

/* The keys of a mapping, separated by commas; malloc'ed. */
static char *list_keys(const json_t *mapping)
{
    char *text = path_format("none");
    const char *key, *separator = "";
    json_t *value;
    json_object_foreach((json_t *)mapping, key, value)
    {
        char *longer = path_format("%s%s%s", *separator ? text : "", separator, key);
        free(text);
        text = longer;
        separator = ", ";
    }
    return text;
}

static bool refuse(const struct trained_request *request, const json_t *choices, const char *what,
                   const char *wanted, struct error *error)
{
    char *list = list_keys(choices);
    error_set(error, ERROR_USAGE,
              "%s has no trained model of the %s '%.60s'; there are: %.800s (`idrec info %s` lists all)",
              request->run_folder, what, wanted, list, request->run_folder);
    free(list);
    return false;
}

static bool choose_seed(struct trained *trained, const json_t *seeds, const struct trained_request *request,
                        struct error *error)
{
    trained->seed = json_integer_value(json_array_get(seeds, 0));
    if (request->seed < 0)
        return true;
    const json_t *seed;
    size_t index;
    json_array_foreach(seeds, index, seed)
    {
        if (json_integer_value(seed) == request->seed)
            trained->seed = request->seed;
    }
    if (trained->seed == request->seed)
        return true;
    char *list = json_dumps(seeds, 0);
    error_set(error, ERROR_USAGE, "%s: there is no model of seed %lld in the arm %s; there are: %.400s",
              request->run_folder, (long long)request->seed, trained->arm, list ? list : "others");
    free(list);
    return false;
}

static bool choose_model(struct trained *trained, const struct trained_request *request, struct error *error)
{
    json_t *models = trained_models(request->run_folder);
    const json_t *arms = json_object_get(models, request->recommender);
    const char *arm = request->arm ? request->arm : "augmented";
    if (!request->arm && !json_object_get(arms, arm))
        arm = "original";
    const json_t *seeds = json_object_get(arms, arm);
    trained->arm = path_format("%s", arm);
    const bool done = !arms    ? refuse(request, models, "recommender", request->recommender, error)
                      : !seeds ? refuse(request, arms, "arm", arm, error)
                               : choose_seed(trained, seeds, request, error);
    json_decref(models);
    return done;
}

/* ---- users --------------------------------------------------------------------------------------------- */

static bool parse_users(struct trained *trained, const char *path, const char *text, struct error *error)
{
    struct name_index index;
    if (!name_index_open(&index, &trained->dataset.user_ids, error))
        return false;
    bool done = true;
    for (long line = 1; done && *text; line++) {
        const size_t length = strcspn(text, "\r\n");
        const int32_t user = name_index_find(&index, text, length);
        if (user >= 0)
            trained->users[trained->user_count++] = user;
        else if (length > 0)
            done = error_at(error, ERROR_RUN, path, line,
                            "unknown user '%.*s'; give ids of the input, one a line", (int)length, text);
        text += length + (text[length] == '\r');
        text += *text == '\n';
    }
    name_index_close(&index);
    return done && (trained->user_count > 0 ||
                    error_at(error, ERROR_RUN, path, 0, "names no user; give ids of the input, one a line"));
}

static bool read_users(struct trained *trained, const char *path, struct error *error)
{
    char *text;
    size_t length;
    if (!file_read(path, &text, &length, error))
        return false;
    trained->users = malloc((length + 1) * sizeof *trained->users);
    const bool done = trained->users
                          ? parse_users(trained, path, text, error)
                          : error_memory(error, "a list of users", length * sizeof *trained->users, NULL);
    free(text);
    return done;
}

static bool list_everyone(struct trained *trained, struct error *error)
{
    const int64_t count = trained->dataset.user_ids.count;
    trained->users = malloc((size_t)(count + 1) * sizeof *trained->users);
    if (!trained->users)
        return error_memory(error, "a list of users", (size_t)count * sizeof *trained->users, NULL);
    trained->user_count = count;
    for (int32_t user = 0; user < count; user++)
        trained->users[user] = user;
    return true;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

static bool load_data(struct trained *trained, const struct trained_request *request, struct error *error)
{
    char *path = path_format("%s/dataset.h5", request->run_folder);
    struct csr train = {0}, validation = {0};
    const struct dataset *dataset = &trained->dataset;
    const bool done = dataset_load(&trained->dataset, path, error) &&
                      csr_sorted(&train, &dataset->train, error) &&
                      csr_sorted(&validation, &dataset->validation, error) &&
                      csr_union(&trained->known, &train, &validation, error) &&
                      csr_append(&trained->history, &dataset->train, &dataset->validation, error);
    csr_free(&train);
    csr_free(&validation);
    free(path);
    return done;
}

static struct backend *open_device(const struct trained_request *request, struct error *error)
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

/* A model that was put into the folder by hand may be of another data set. */
static bool load_model(struct trained *trained, const struct trained_request *request, struct error *error)
{
    char *path = path_format("%s/recommenders/%s/%s/seed-%lld/model.h5", request->run_folder,
                             request->recommender, trained->arm, (long long)trained->seed);
    const bool done =
        recommender_load(&trained->recommender, trained->backend, path, error) &&
        (recommender_fits(trained->recommender, trained->dataset.user_ids.count,
                          trained->dataset.item_ids.count) ||
         error_at(error, ERROR_RUN, path, 0,
                  "was trained on another data set than dataset.h5 holds now; run `train` again")) &&
        recommender_set_history(trained->recommender, &trained->history, error);
    free(path);
    return done;
}

bool trained_open(struct trained *trained, const struct trained_request *request, struct error *error)
{
    *trained = (struct trained){0};
    bool done = run_check_stage(request->run_folder, "train", error) &&
                choose_model(trained, request, error) && load_data(trained, request, error) &&
                (request->users_file ? read_users(trained, request->users_file, error)
                                     : list_everyone(trained, error));
    if (done) {
        trained->backend = open_device(request, error);
        done = trained->backend && load_model(trained, request, error);
    }
    if (!done)
        trained_close(trained);
    return done;
}

void trained_close(struct trained *trained)
{
    recommender_free(trained->recommender);
    if (trained->backend)
        backend_close(trained->backend);
    csr_free(&trained->known);
    csr_free(&trained->history);
    dataset_free(&trained->dataset);
    free(trained->users);
    free(trained->arm);
    *trained = (struct trained){0};
}
