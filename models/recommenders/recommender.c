#include "models/recommenders/recommender.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/comm.h"
#include "models/recommenders/model.h"

int host_threads(const struct backend *backend)
{
    return backend->threads > 0 ? backend->threads : omp_get_max_threads();
}

const struct recommender_model *recommender_model_find(const char *name)
{
    const struct recommender_model *const models[] = {
        &popularity_model, &item_knn_model, &ease_model,    &slim_model,
        &als_model,        &gf_cf_model,    &bpr_mf_model,  &lightgcn_model,
        &sgl_model,        &simgcl_model,   &xsimgcl_model, &ncl_model,
        &sasrec_model,     &bert4rec_model, &cl4srec_model, &language_model_model};
    for (size_t place = 0; place < sizeof models / sizeof *models; place++)
        if (strcmp(models[place]->name, name) == 0)
            return models[place];
    return NULL;
}

bool recommender_settings_check(const struct recommender_settings *settings, struct error *error)
{
    if (settings->width < 1 || settings->batch < 1 || settings->epochs < 1 || settings->evaluate_every < 1)
        return error_set(
            error, ERROR_USAGE,
            "%s: width, batch, epochs and evaluate_every must be at least 1 (now %lld, %lld, %lld, %lld)",
            settings->model, (long long)settings->width, (long long)settings->batch,
            (long long)settings->epochs, (long long)settings->evaluate_every);
    const struct recommender_model *model = recommender_model_find(settings->model);
    return !model || !model->check || model->check(settings, error);
}

bool recommender_create(struct recommender **recommender, struct backend *backend,
                        const struct recommender_settings *settings, int64_t users, int64_t items,
                        struct error *error)
{
    const struct recommender_model *model = recommender_model_find(settings->model);
    if (!model)
        return error_set(
            error, ERROR_USAGE,
            "recommender '%s' is not known; see recommenders[].model in `idrec config --reference`",
            settings->model);
    *recommender = malloc(sizeof **recommender);
    if (!*recommender)
        return error_memory(error, "a recommender", sizeof **recommender, NULL);
    **recommender = (struct recommender){
        .model = model, .backend = backend, .settings = *settings, .users = users, .items = items};
    return true;
}

void recommender_free(struct recommender *recommender)
{
    if (!recommender)
        return;
    recommender->model->release(recommender->parameters);
    free(recommender);
}

bool recommender_fits(const struct recommender *recommender, int64_t users, int64_t items)
{
    return recommender->users == users && recommender->items == items;
}

bool recommender_reads_history(const struct recommender_settings *settings)
{
    const struct recommender_model *model = recommender_model_find(settings->model);
    return model && model->sequential;
}

bool recommender_has_epochs(const struct recommender_settings *settings)
{
    const struct recommender_model *model = recommender_model_find(settings->model);
    return model && !model->fit;
}

bool recommender_has_negatives(const struct recommender_settings *settings)
{
    return recommender_has_epochs(settings);
}

bool recommender_is_deterministic(const struct recommender_settings *settings)
{
    const struct recommender_model *model = recommender_model_find(settings->model);
    return model && model->deterministic;
}

bool recommender_divides(const struct recommender_settings *settings)
{
    const struct recommender_model *model = recommender_model_find(settings->model);
    return model && model->divides && model->divides(settings);
}

bool recommender_is_given(const char *model)
{
    const struct recommender_model *found = recommender_model_find(model);
    return found && found->given;
}

bool recommender_set_history(struct recommender *recommender, const struct csr *history, struct error *error)
{
    return !recommender->model->set_history || recommender->model->set_history(recommender, history, error);
}

bool training_set_check(const struct training_set *data, struct error *error)
{
    const struct csr *positives = data->positives;
    if (positives->rows < 1 || positives->columns < 1 || csr_count(positives) < 1)
        return error_set(error, ERROR_RUN, "nothing to train on: %lld users, %lld items, %lld interactions",
                         (long long)positives->rows, (long long)positives->columns,
                         (long long)csr_count(positives));
    if (csr_count(positives) > INT32_MAX / 3 || positives->rows + positives->columns > INT32_MAX)
        return error_set(error, ERROR_RUN, "%lld interactions are more than a recommender can hold (%d)",
                         (long long)csr_count(positives), INT32_MAX / 3);
    if (data->excluded &&
        (data->excluded->rows != positives->rows || data->excluded->columns != positives->columns))
        return error_set(error, ERROR_RUN,
                         "the items excluded from negatives and the positives differ in shape");
    for (int64_t index = 0; data->weights && index < csr_count(positives); index++)
        if (!(data->weights[index] >= 0.0f && isfinite(data->weights[index])))
            return error_set(error, ERROR_RUN, "training row %lld has weight %g; weights must be 0 or more",
                             (long long)index, (double)data->weights[index]);
    return true;
}

struct communicator *fit_ranks(const struct backend *backend)
{
    return backend->fit_ranks && backend->fit_ranks->size > 1 ? backend->fit_ranks : NULL;
}

struct scorer recommender_scorer(struct recommender *recommender)
{
    return (struct scorer){.context = recommender,
                           .items = recommender->items,
                           .ranks = fit_ranks(recommender->backend),
                           .score = recommender->model->score};
}

static bool write_model(const struct recommender *recommender, struct store *store, struct error *error)
{
    return settings_save(&recommender->settings, store, error) &&
           store_set_integer(store, "/", "user_count", recommender->users, error) &&
           store_set_integer(store, "/", "item_count", recommender->items, error) &&
           recommender->model->save(recommender, store, error);
}

bool recommender_save(const struct recommender *recommender, const char *path, struct error *error)
{
    struct store *store;
    if (!store_create(&store, path, error))
        return false;
    if (!write_model(recommender, store, error)) {
        store_close(store);
        return false;
    }
    return store_commit(store, error);
}

static bool read_model(struct recommender **recommender, struct backend *backend, struct store *store,
                       struct error *error)
{
    struct recommender_settings settings;
    int64_t users, items;
    if (!settings_load(&settings, store, error) ||
        !store_get_integer(store, "/", "user_count", &users, error) ||
        !store_get_integer(store, "/", "item_count", &items, error) ||
        !recommender_create(recommender, backend, &settings, users, items, error))
        return false;
    if ((*recommender)->model->load(*recommender, store, error))
        return true;
    recommender_free(*recommender);
    *recommender = NULL;
    return false;
}

bool recommender_load(struct recommender **recommender, struct backend *backend, const char *path,
                      struct error *error)
{
    struct store *store;
    if (!store_open(&store, path, error))
        return false;
    const bool loaded = read_model(recommender, backend, store, error);
    store_close(store);
    return loaded;
}
