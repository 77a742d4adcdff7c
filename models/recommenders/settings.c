#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/file.h"
#include "models/recommenders/model.h"

/* Every setting under the name that the config, model.h5 and a checkpoint know it by. */
struct field {
    const char *name;
    enum { TEXT, INTEGER, NUMBER } kind;
    size_t offset, size;
};

#define FIELD(kind, member)                                                                                  \
    {                                                                                                        \
#member, kind, offsetof(struct recommender_settings, member),                                        \
            sizeof((struct recommender_settings *)0)->member                                                 \
    }

static const struct field fields[] = {
    FIELD(TEXT, model),
    FIELD(INTEGER, width),
    FIELD(INTEGER, layers),
    FIELD(TEXT, optimizer),
    FIELD(NUMBER, learning_rate),
    FIELD(NUMBER, regularization),
    FIELD(NUMBER, initial_deviation),
    FIELD(INTEGER, batch),
    FIELD(INTEGER, epochs),
    FIELD(INTEGER, patience),
    FIELD(INTEGER, evaluate_every),
    FIELD(INTEGER, neighbors),
    FIELD(NUMBER, shrinkage),
    FIELD(TEXT, similarity),
    FIELD(NUMBER, l1),
    FIELD(NUMBER, confidence),
    FIELD(INTEGER, components),
    FIELD(NUMBER, low_pass_weight),
    FIELD(INTEGER, heads),
    FIELD(INTEGER, length),
    FIELD(INTEGER, sequences),
    FIELD(NUMBER, dropout),
    FIELD(TEXT, loss),
    FIELD(INTEGER, negatives),
    FIELD(NUMBER, calibration),
    FIELD(NUMBER, mask_share),
    FIELD(TEXT, synthetic_position),
    FIELD(TEXT, view),
    FIELD(NUMBER, view_share),
    FIELD(NUMBER, contrast_weight),
    FIELD(NUMBER, temperature),
    FIELD(NUMBER, noise),
    FIELD(INTEGER, contrast_layer),
    FIELD(NUMBER, item_share),
    FIELD(NUMBER, prototype_weight),
    FIELD(INTEGER, clusters),
    FIELD(INTEGER, warm_up),
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
