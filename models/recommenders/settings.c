#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/file.h"
#include "models/recommenders/model.h"
#include "models/recommenders/settings.h"

/* Every setting under the name that the config, model.h5 and a checkpoint know it by. */
struct field {
    const char *name;
    enum { TEXT, INTEGER, NUMBER } kind;
    size_t offset, size;
    const char *readers; /* the models whose fits depend on it, a blank before and behind each; NULL: all */
};

#define FIELD(kind, member, readers)                                                                         \
    {                                                                                                        \
#member, kind, offsetof(struct recommender_settings, member),                                        \
            sizeof((struct recommender_settings *)0)->member, readers                                        \
    }

#define GRAPH " lightgcn sgl simgcl xsimgcl ncl "
#define SEQUENTIAL " sasrec bert4rec cl4srec "
#define BY_GRADIENT " bpr_mf" GRAPH SEQUENTIAL
#define EPOCHWISE BY_GRADIENT " als "
#define CONTRASTIVE " sgl simgcl xsimgcl ncl cl4srec "

static const struct field fields[] = {
    FIELD(TEXT, model, NULL),
    FIELD(INTEGER, width, EPOCHWISE),
    FIELD(INTEGER, layers, GRAPH SEQUENTIAL),
    FIELD(TEXT, optimizer, " bpr_mf "),
    FIELD(NUMBER, learning_rate, BY_GRADIENT),
    FIELD(NUMBER, regularization, EPOCHWISE " ease slim "),
    FIELD(NUMBER, initial_deviation, EPOCHWISE),
    FIELD(INTEGER, batch, " bpr_mf" GRAPH " language_model "),
    FIELD(INTEGER, epochs, EPOCHWISE),
    FIELD(INTEGER, patience, BY_GRADIENT),
    FIELD(INTEGER, evaluate_every, BY_GRADIENT),
    FIELD(INTEGER, neighbors, " item_knn slim "),
    FIELD(NUMBER, shrinkage, " item_knn "),
    FIELD(TEXT, similarity, " item_knn "),
    FIELD(NUMBER, l1, " slim "),
    FIELD(NUMBER, confidence, " als "),
    FIELD(INTEGER, components, " gf_cf "),
    FIELD(NUMBER, low_pass_weight, " gf_cf "),
    FIELD(INTEGER, heads, SEQUENTIAL),
    FIELD(INTEGER, length, SEQUENTIAL),
    FIELD(INTEGER, sequences, SEQUENTIAL),
    FIELD(NUMBER, dropout, SEQUENTIAL),
    FIELD(TEXT, loss, " sasrec cl4srec "),
    FIELD(INTEGER, negatives, " sasrec cl4srec "),
    FIELD(NUMBER, calibration, " sasrec cl4srec "),
    FIELD(NUMBER, mask_share, " bert4rec "),
    FIELD(TEXT, synthetic_position, SEQUENTIAL),
    FIELD(TEXT, view, " sgl cl4srec "),
    FIELD(NUMBER, view_share, " sgl cl4srec "),
    FIELD(NUMBER, contrast_weight, CONTRASTIVE),
    FIELD(NUMBER, temperature, CONTRASTIVE),
    FIELD(NUMBER, noise, " simgcl xsimgcl "),
    FIELD(INTEGER, contrast_layer, " xsimgcl ncl "),
    FIELD(NUMBER, item_share, " ncl "),
    FIELD(NUMBER, prototype_weight, " ncl "),
    FIELD(INTEGER, clusters, " ncl "),
    FIELD(INTEGER, warm_up, " ncl "),
    FIELD(TEXT, ranking, " language_model "),
    FIELD(INTEGER, contexts, " language_model "),
    FIELD(INTEGER, beams, " language_model "),
    FIELD(INTEGER, ranked_items, " language_model "),
};
enum { FIELD_COUNT = sizeof fields / sizeof *fields };

static int64_t *integer_of(const struct field *field, const struct recommender_settings *settings)
{
    return (int64_t *)((char *)settings + field->offset);
}

static double *number_of(const struct field *field, const struct recommender_settings *settings)
{
    return (double *)((char *)settings + field->offset);
}

static char *text_of(const struct field *field, const struct recommender_settings *settings)
{
    return (char *)settings + field->offset;
}

static bool set_text(const struct field *field, struct recommender_settings *settings, const char *text,
                     struct error *error)
{
    if (strlen(text) >= field->size)
        return error_set(error, ERROR_USAGE, "recommenders: '%s' is too long for %s", text, field->name);
    snprintf(text_of(field, settings), field->size, "%s", text);
    return true;
}

bool recommender_settings_read(struct recommender_settings *settings, const struct config *config, int index,
                               struct error *error)
{
    memset(settings, 0, sizeof *settings);
    for (int place = 0; place < FIELD_COUNT; place++) {
        const struct field *field = &fields[place];
        if (field->kind == INTEGER)
            *integer_of(field, settings) = config_integer(config, "recommenders[%d].%s", index, field->name);
        else if (field->kind == NUMBER)
            *number_of(field, settings) = config_number(config, "recommenders[%d].%s", index, field->name);
        else if (!set_text(field, settings, config_string(config, "recommenders[%d].%s", index, field->name),
                           error))
            return false;
    }
    return true;
}

bool recommender_settings_default(struct recommender_settings *settings, const char *model,
                                  struct error *error)
{
    struct config *config = NULL;
    char *text = path_format("recommenders: [{model: %s}]", model);
    const bool done = config_parse(&config, "defaults", text, strlen(text), error) &&
                      recommender_settings_read(settings, config, 0, error);
    config_free(config);
    free(text);
    return done;
}

bool recommender_settings_find(struct recommender_settings *settings, const struct config *config,
                               const char *model, struct error *error)
{
    for (int i = 0; i < (int)config_length(config, "recommenders"); i++)
        if (strcmp(config_string(config, "recommenders[%d].model", i), model) == 0)
            return recommender_settings_read(settings, config, i, error);
    return recommender_settings_default(settings, model, error);
}

bool settings_save(const struct recommender_settings *settings, struct store *store, struct error *error)
{
    for (int place = 0; place < FIELD_COUNT; place++) {
        const struct field *field = &fields[place];
        const bool saved = field->kind == INTEGER ? store_set_integer(store, "/", field->name,
                                                                      *integer_of(field, settings), error)
                           : field->kind == NUMBER
                               ? store_set_number(store, "/", field->name, *number_of(field, settings), error)
                               : store_set_string(store, "/", field->name, text_of(field, settings), error);
        if (!saved)
            return false;
    }
    return true;
}

static bool load_text(const struct field *field, struct recommender_settings *settings, struct store *store,
                      struct error *error)
{
    char *text;
    if (!store_get_string(store, "/", field->name, &text, error))
        return false;
    const bool kept = set_text(field, settings, text, error);
    free(text);
    return kept;
}

bool settings_load(struct recommender_settings *settings, struct store *store, struct error *error)
{
    memset(settings, 0, sizeof *settings);
    for (int place = 0; place < FIELD_COUNT; place++) {
        const struct field *field = &fields[place];
        const bool loaded = field->kind == INTEGER ? store_get_integer(store, "/", field->name,
                                                                       integer_of(field, settings), error)
                            : field->kind == NUMBER
                                ? store_get_number(store, "/", field->name, number_of(field, settings), error)
                                : load_text(field, settings, store, error);
        if (!loaded)
            return false;
    }
    return true;
}

char *settings_text(const struct recommender_settings *settings)
{
    char *line = path_format("settings");
    for (int place = 0; place < FIELD_COUNT; place++) {
        const struct field *field = &fields[place];
        char *longer = field->kind == INTEGER ? path_format("%s %s=%lld", line, field->name,
                                                            (long long)*integer_of(field, settings))
                       : field->kind == NUMBER
                           ? path_format("%s %s=%.17g", line, field->name, *number_of(field, settings))
                           : path_format("%s %s=%s", line, field->name, text_of(field, settings));
        free(line);
        line = longer;
    }
    return line;
}

/* ---- one setting by its name --------------------------------------------------------------------------- */

static const struct field *find_field(const char *name)
{
    for (int place = 0; place < FIELD_COUNT; place++)
        if (strcmp(fields[place].name, name) == 0)
            return &fields[place];
    return NULL;
}

const char *recommender_setting_name(int place)
{
    return place < FIELD_COUNT ? fields[place].name : NULL;
}

bool recommender_reads_setting(const char *model, const char *name)
{
    const struct field *field = find_field(name);
    if (!field || !field->readers)
        return field != NULL;
    char word[64];
    snprintf(word, sizeof word, " %s ", model);
    return strstr(field->readers, word) != NULL;
}

bool recommender_setting_is_of_added_rows(const char *name)
{
    return strcmp(name, "synthetic_position") == 0;
}

bool recommender_setting_put(struct recommender_settings *settings, const char *name, const char *text,
                             struct error *error)
{
    const struct field *field = find_field(name);
    if (!field)
        return error_set(error, ERROR_USAGE, "recommenders: '%s' is not a setting", name);
    if (field->kind == TEXT)
        return set_text(field, settings, text, error);
    char *end;
    const double number = strtod(text, &end);
    if (end == text || *end != '\0' || (field->kind == INTEGER && number != (double)(int64_t)number))
        return error_set(error, ERROR_USAGE, "recommenders: '%s' is no value of %s", text, name);
    if (field->kind == INTEGER)
        *integer_of(field, settings) = (int64_t)number;
    else
        *number_of(field, settings) = number;
    return true;
}

char *recommender_setting_text(const struct recommender_settings *settings, const char *name)
{
    const struct field *field = find_field(name);
    if (!field)
        return NULL;
    if (field->kind == TEXT)
        return path_format("%s", text_of(field, settings));
    if (field->kind == INTEGER)
        return path_format("%lld", (long long)*integer_of(field, settings));
    char text[32];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, *number_of(field, settings));
        if (strtod(text, NULL) == *number_of(field, settings))
            break;
    }
    return path_format("%s", text);
}
