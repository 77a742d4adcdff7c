#include "experiments/search_space.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/random_stream.h"
#include "core/schema.h"
#include "models/recommenders/settings.h"

enum { PATH_SIZE = 64 };

/* "tune.space[place].key"; an empty key: the element. */
static const char *path_of(char path[PATH_SIZE], const struct dimension *dimension, const char *key)
{
    snprintf(path, PATH_SIZE, "tune.space[%d]%s%s", dimension->place, *key ? "." : "", key);
    return path;
}

/* What decides how long a trial trains, or which recommender it is, is the same in all trials. */
static bool is_fixed(const char *key)
{
    static const char *const keys[] = {"model", "epochs", "patience", "evaluate_every"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

static bool find_entry(const struct schema_entry **entry, const struct config *config,
                       const struct dimension *dimension, struct error *error)
{
    char pattern[128], path[PATH_SIZE];
    path_of(path, dimension, "key");
    if (!dimension->key)
        return config_complain(config, "tune.space", error,
                               "entry %d has no key; name a setting, such as learning_rate",
                               dimension->place + 1);
    snprintf(pattern, sizeof pattern, "recommenders[].%.80s", dimension->key);
    *entry = schema_find(pattern);
    if (*entry && is_fixed(dimension->key))
        return config_complain(config, path, error,
                               "%s is the same in every trial: it decides what is compared; give it in "
                               "`recommenders`",
                               dimension->key);
    if (*entry)
        return true;
    const char *nearest = schema_nearest("recommenders[]", dimension->key);
    return nearest ? config_complain(config, path, error,
                                     "'%.60s' is no setting of recommenders; did you mean %s?",
                                     dimension->key, nearest)
                   : config_complain(config, path, error, "'%.60s' is no setting of recommenders",
                                     dimension->key);
}

static bool check_range(const struct config *config, const char *path, const struct schema_entry *entry,
                        double number, struct error *error)
{
    if (entry->type == SCHEMA_INTEGER && number != floor(number))
        return config_complain(config, path, error, "%g is not a whole number, as %s is; write one", number,
                               schema_key(entry->path));
    return (number >= entry->minimum && number <= entry->maximum) ||
           config_complain(config, path, error, "%g is out of range; %s lies between %.16g and %.16g", number,
                           schema_key(entry->path), entry->minimum, entry->maximum);
}

static bool read_values(struct dimension *dimension, const struct config *config,
                        const struct schema_entry *entry, struct error *error)
{
    dimension->value_count = (int)config_length(config, "tune.space[%d].values", dimension->place);
    for (int i = 0; i < dimension->value_count; i++) {
        char path[PATH_SIZE];
        snprintf(path, sizeof path, "tune.space[%d].values[%d]", dimension->place, i);
        const char *text = config_string(config, "%s", path);
        if (strlen(text) >= SETTING_SIZE)
            return config_complain(config, path, error, "'%.60s' is too long", text);
        if (entry->choices && !schema_allows(entry->choices, text))
            return config_complain(config, path, error, "'%s' is not among the values of %s; choose of %s",
                                   text, dimension->key, entry->choices);
        char *end;
        const double number = strtod(text, &end);
        const bool is_number = entry->type == SCHEMA_INTEGER || entry->type == SCHEMA_NUMBER;
        if (is_number && (*end != '\0' || !isfinite(number)))
            return config_complain(config, path, error, "'%s' is not a number, as %s is; write one", text,
                                   dimension->key);
        if (is_number && !check_range(config, path, entry, number, error))
            return false;
    }
    return true;
}

static bool read_bounds(struct dimension *dimension, const struct config *config,
                        const struct schema_entry *entry, struct error *error)
{
    char low[PATH_SIZE], high[PATH_SIZE];
    path_of(low, dimension, "low");
    path_of(high, dimension, "high");
    if (config_is_null(config, "%s", low) || config_is_null(config, "%s", high))
        return config_complain(config, path_of(low, dimension, "key"), error,
                               "%s needs `low` and `high`, or `values`", dimension->key);
    if (entry->type != SCHEMA_INTEGER && entry->type != SCHEMA_NUMBER)
        return config_complain(config, low, error, "%s is a word and has no bounds; give `values`",
                               dimension->key);
    dimension->low = config_number(config, "%s", low);
    dimension->high = config_number(config, "%s", high);
    dimension->is_whole = entry->type == SCHEMA_INTEGER;
    dimension->logarithmic =
        strcmp(config_string(config, "tune.space[%d].scale", dimension->place), "log") == 0;
    if (!check_range(config, low, entry, dimension->low, error) ||
        !check_range(config, high, entry, dimension->high, error))
        return false;
    if (dimension->low >= dimension->high)
        return config_complain(config, high, error, "%g is not above `low`, %g", dimension->high,
                               dimension->low);
    return !dimension->logarithmic || dimension->low > 0 ||
           config_complain(config, low, error,
                           "a logarithmic scale has no place for %g; raise it, or set scale: linear",
                           dimension->low);
}

static bool read_range(struct dimension *dimension, const struct config *config,
                       const struct schema_entry *entry, struct error *error)
{
    char path[PATH_SIZE];
    if (config_length(config, "tune.space[%d].values", dimension->place) == 0)
        return read_bounds(dimension, config, entry, error);
    if (!config_is_null(config, "tune.space[%d].low", dimension->place) ||
        !config_is_null(config, "tune.space[%d].high", dimension->place))
        return config_complain(config, path_of(path, dimension, "values"), error,
                               "stand beside `low` or `high`; keep one of both");
    return read_values(dimension, config, entry, error);
}

static bool is_of(const struct dimension *dimension, const struct tunable *recommender)
{
    return !recommender_is_given(recommender->model) &&
           (!dimension->recommender || strcmp(dimension->recommender, recommender->label) == 0) &&
           recommender_reads_setting(recommender->model, dimension->key);
}

static bool check_recommender(const struct config *config, const struct dimension *dimension,
                              const struct tunable *recommenders, int recommender_count, struct error *error)
{
    char path[PATH_SIZE], labels[512] = "";
    for (int i = 0; i < recommender_count; i++) {
        if (is_of(dimension, &recommenders[i]))
            return true;
        const size_t length = strlen(labels);
        snprintf(labels + length, sizeof labels - length, "%s%s", i > 0 ? ", " : "", recommenders[i].label);
    }
    if (dimension->recommender)
        return config_complain(config, path_of(path, dimension, "recommender"), error,
                               "no recommender %s reads %s; there are %s", dimension->recommender,
                               dimension->key, labels);
    return config_complain(config, path_of(path, dimension, "key"), error, "none of %s reads %s", labels,
                           dimension->key);
}

static bool is_same(const struct dimension *a, const struct dimension *b)
{
    return strcmp(a->key, b->key) == 0 && (a->recommender != NULL) == (b->recommender != NULL) &&
           (!a->recommender || strcmp(a->recommender, b->recommender) == 0);
}

static bool check_unique(const struct search_space *space, const struct dimension *dimension,
                         struct error *error)
{
    char path[PATH_SIZE];
    for (int i = 0; i < space->count; i++)
        if (is_same(&space->dimensions[i], dimension))
            return config_complain(space->config, path_of(path, dimension, "key"), error,
                                   "%s is declared twice; keep one, or name different recommenders",
                                   dimension->key);
    return true;
}

bool search_space_read(struct search_space *space, const struct config *config,
                       const struct tunable *recommenders, int recommender_count, struct error *error)
{
    *space = (struct search_space){.config = config};
    const int64_t count = config_length(config, "tune.space");
    if (count > SPACE_MAXIMUM)
        return config_complain(config, "tune.space", error, "at most %d settings can be tuned at a time",
                               SPACE_MAXIMUM);
    for (int place = 0; place < (int)count; place++) {
        struct dimension dimension = {
            .place = place,
            .key = config_string(config, "tune.space[%d].key", place),
            .recommender = config_string(config, "tune.space[%d].recommender", place),
        };
        const struct schema_entry *entry = NULL;
        if (!find_entry(&entry, config, &dimension, error) || !read_range(&dimension, config, entry, error) ||
            !check_recommender(config, &dimension, recommenders, recommender_count, error) ||
            !check_unique(space, &dimension, error))
            return false;
        space->dimensions[space->count++] = dimension;
    }
    return true;
}

struct search_space search_space_of(const struct search_space *space, const struct tunable *recommender)
{
    struct search_space own = {.config = space->config};
    for (int i = 0; i < space->count; i++) {
        const struct dimension *dimension = &space->dimensions[i];
        bool replaced = false;
        for (int other = 0; other < space->count && !dimension->recommender; other++)
            replaced = replaced || (space->dimensions[other].recommender != NULL &&
                                    strcmp(space->dimensions[other].key, dimension->key) == 0 &&
                                    is_of(&space->dimensions[other], recommender));
        if (!replaced && is_of(dimension, recommender))
            own.dimensions[own.count++] = *dimension;
    }
    return own;
}

/* Uniform on [0, 1), 53 bits. */
static double uniform(struct random_stream *stream)
{
    const uint64_t high = random_word(stream) >> 5, low = random_word(stream) >> 6;
    return (double)(high << 26 | low) * 0x1.0p-53;
}

static double scaled(const struct dimension *dimension, double low, double high, double share)
{
    return dimension->logarithmic ? low * pow(high / low, share) : low + (high - low) * share;
}

static void draw_number(char text[SETTING_SIZE], const struct dimension *dimension,
                        struct random_stream *stream)
{
    const double share = uniform(stream);
    if (dimension->is_whole) {
        const double number = floor(scaled(dimension, dimension->low, dimension->high + 1, share));
        snprintf(text, SETTING_SIZE, "%.0f", fmin(number, dimension->high));
        return;
    }
    snprintf(text, SETTING_SIZE, "%.4g", scaled(dimension, dimension->low, dimension->high, share));
    const double number = strtod(text, NULL);
    if (number < dimension->low || number > dimension->high)
        snprintf(text, SETTING_SIZE, "%.17g", number < dimension->low ? dimension->low : dimension->high);
}

void search_space_draw(char text[SETTING_SIZE], const struct search_space *space, int dimension,
                       uint64_t seed, uint64_t trial)
{
    const struct dimension *drawn = &space->dimensions[dimension];
    struct random_stream stream = random_stream_open(seed, RANDOM_TUNE, trial, (uint64_t)drawn->place);
    if (drawn->value_count == 0) {
        draw_number(text, drawn, &stream);
        return;
    }
    const int value = (int)random_below(&stream, (uint32_t)drawn->value_count);
    snprintf(text, SETTING_SIZE, "%s",
             config_string(space->config, "tune.space[%d].values[%d]", drawn->place, value));
}
