#include "experiments/sweep.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/file.h"
#include "core/yaml_tree.h"
#include "experiments/check.h"
#include "experiments/run.h"

static const char grid_key[] = "experiment.sweep", list_key[] = "experiment.sweep_list";

enum { LABEL_LENGTH = 60, NAME_LENGTH = 160 };

bool sweep_is_declared(const struct config *config)
{
    return strcmp(config_string(config, "%s", grid_key), "{}") != 0 ||
           strcmp(config_string(config, "%s", list_key), "[]") != 0;
}

char *sweep_path(const struct sweep *sweep, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *relative = path_format_list(format, arguments);
    va_end(arguments);
    char *path = path_format("%s/%s", sweep->folder, relative);
    free(relative);
    return path;
}

/* ---- trials -------------------------------------------------------------------------------------------- */

/* A trial without settings at the end of the list; NULL: out of memory, or too many. */
static struct sweep_trial *add_trial(struct sweep *sweep, const char *place, struct error *error)
{
    if (sweep->trial_count == SWEEP_TRIALS_MAXIMUM) {
        config_complain(sweep->config, place, error, "declares more than %d trials", SWEEP_TRIALS_MAXIMUM);
        return NULL;
    }
    const size_t bytes = ((size_t)sweep->trial_count + 1) * sizeof *sweep->trials;
    struct sweep_trial *trials = realloc(sweep->trials, bytes);
    if (!trials) {
        error_memory(error, "the trials of a study", bytes, NULL);
        return NULL;
    }
    sweep->trials = trials;
    trials[sweep->trial_count] = (struct sweep_trial){0};
    return &trials[sweep->trial_count++];
}

static bool add_setting(const struct sweep *sweep, struct sweep_trial *trial, const char *place,
                        const char *key, const struct yaml_node *value, struct error *error)
{
    static const char *const refused[] = {"name",
                                          "output",
                                          "extends",
                                          grid_key,
                                          list_key,
                                          "experiment.trials_at_once",
                                          "experiment.trials_memory",
                                          "experiment.reference"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (strcmp(key, refused[i]) == 0 || strcmp(key, "experiment") == 0)
            return config_complain(sweep->config, place, error,
                                   "%s: belongs to the study and cannot be swept", key);
    struct config_setting *settings =
        realloc(trial->settings, ((size_t)trial->setting_count + 1) * sizeof *settings);
    if (!settings)
        return error_memory(error, "the trials of a study", sizeof *settings, NULL);
    trial->settings = settings;
    long line;
    settings[trial->setting_count] =
        (struct config_setting){.path = path_format("%s", key),
                                .value = yaml_tree_text(value),
                                .file = config_place(sweep->config, place, &line)};
    settings[trial->setting_count].line = line;
    return settings[trial->setting_count++].value || error_memory(error, "the trials of a study", 0, NULL);
}

/* Every combination of the values; those of the last key change fastest. */
static bool expand_grid(struct sweep *sweep, const struct yaml_node *grid, struct error *error)
{
    int64_t count = grid->count > 0;
    for (size_t i = 0; i < grid->count; i++) {
        if (grid->children[i]->kind != YAML_LIST || grid->children[i]->count == 0)
            return config_complain(sweep->config, grid_key, error, "%s: a list of its values is expected",
                                   grid->keys[i]);
        count *= (int64_t)grid->children[i]->count;
        if (count > SWEEP_TRIALS_MAXIMUM)
            return config_complain(sweep->config, grid_key, error, "declares more than %d trials",
                                   SWEEP_TRIALS_MAXIMUM);
    }
    for (int64_t number = 0; number < count; number++) {
        struct sweep_trial *trial = add_trial(sweep, grid_key, error);
        if (!trial)
            return false;
        int64_t block = count, rest = number;
        for (size_t i = 0; i < grid->count; i++) {
            const struct yaml_node *values = grid->children[i];
            block /= (int64_t)values->count;
            if (!add_setting(sweep, trial, grid_key, grid->keys[i], values->children[rest / block], error))
                return false;
            rest %= block;
        }
    }
    return true;
}

static bool is_safe_name(const char *name)
{
    static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+=,[]";
    return *name && *name != '.' && name[strspn(name, safe)] == '\0' && strlen(name) <= NAME_LENGTH;
}

static bool expand_list(struct sweep *sweep, const struct yaml_node *list, struct error *error)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct yaml_node *point = list->children[i];
        if (point->kind != YAML_MAPPING)
            return config_complain(sweep->config, list_key, error,
                                   "element %zu is no mapping of keys to values", i);
        struct sweep_trial *trial = add_trial(sweep, list_key, error);
        if (!trial)
            return false;
        for (size_t j = 0; j < point->count; j++) {
            const struct yaml_node *value = point->children[j];
            if (strcmp(point->keys[j], "name") != 0) {
                if (!add_setting(sweep, trial, list_key, point->keys[j], value, error))
                    return false;
            } else if (value->kind != YAML_SCALAR || !is_safe_name(value->text)) {
                return config_complain(
                    sweep->config, list_key, error,
                    "element %zu: its name names a folder; use letters, digits, '-', '_' and "
                    "'.', not first",
                    i);
            } else {
                trial->name = path_format("%s", value->text);
            }
        }
    }
    return true;
}

/* ---- names --------------------------------------------------------------------------------------------- */

static bool add_key(struct sweep *sweep, const char *key, struct error *error)
{
    for (int i = 0; i < sweep->key_count; i++)
        if (strcmp(sweep->keys[i], key) == 0)
            return true;
    if (sweep->key_count == SWEEP_KEYS_MAXIMUM)
        return error_set(error, ERROR_USAGE, "%s: sweeps more than %d keys", sweep->path, SWEEP_KEYS_MAXIMUM);
    sweep->keys[sweep->key_count++] = key;
    return true;
}

static bool collect_keys(struct sweep *sweep, struct error *error)
{
    for (int i = 0; i < sweep->trial_count; i++)
        for (int j = 0; j < sweep->trials[i].setting_count; j++)
            if (!add_key(sweep, sweep->trials[i].settings[j].path, error))
                return false;
    return true;
}

/* The last part of a key, where no other key of the study ends so; else all of it. */
static const char *short_key(const struct sweep *sweep, const char *key)
{
    const char *dot = strrchr(key, '.');
    const char *last = dot ? dot + 1 : key;
    int alike = 0;
    for (int i = 0; i < sweep->key_count; i++) {
        const char *other = strrchr(sweep->keys[i], '.');
        alike += strcmp(other ? other + 1 : sweep->keys[i], last) == 0;
    }
    return alike > 1 ? key : last;
}

/* A value as part of a folder's name: what no name can hold becomes '-', of a path the file remains. */
static void add_label(FILE *stream, const char *value)
{
    const char *slash = strrchr(value, '/');
    const bool file = slash && slash[1] && !strpbrk(value, "[{");
    int written = 0;
    bool gap = false;
    for (const char *letter = file ? slash + 1 : value; *letter && written < LABEL_LENGTH; letter++) {
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-", *letter)) {
            gap = written > 0;
            continue;
        }
        written += fprintf(stream, "%s%c", gap ? "-" : "", *letter);
        gap = false;
    }
}

/* All that a trial sets, for comparison; malloc'ed. */
static char *describe(const struct sweep_trial *trial)
{
    char *text = path_format("%s", "");
    for (int i = 0; i < trial->setting_count; i++) {
        char *longer = path_format("%s%s: %s\n", text, trial->settings[i].path, trial->settings[i].value);
        free(text);
        text = longer;
    }
    return text;
}

/* "contexts=4,width=64"; with eight digits of a hash where that is too long, or `hashed` asks for it. */
static char *make_name(const struct sweep *sweep, const struct sweep_trial *trial, bool hashed)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    if (!stream)
        abort();
    for (int i = 0; i < trial->setting_count; i++) {
        fprintf(stream, "%s%s=", i > 0 ? "," : "", short_key(sweep, trial->settings[i].path));
        add_label(stream, trial->settings[i].value);
    }
    if (trial->setting_count == 0)
        fputs("as-written", stream);
    fclose(stream);
    if (!hashed && length <= NAME_LENGTH)
        return text;
    char *all = describe(trial);
    char *name = path_format("%.*s-%08x", NAME_LENGTH - 9, text, (unsigned)XXH3_64bits(all, strlen(all)));
    free(all);
    free(text);
    return name;
}

static int count_alike(const struct sweep *sweep, const char *name)
{
    int count = 0;
    for (int i = 0; i < sweep->trial_count; i++)
        count += strcmp(sweep->trials[i].name, name) == 0;
    return count;
}

/* Two trials have one name: it was given twice, or they set the same. */
static bool complain_of_twins(const struct sweep *sweep, const struct sweep_trial *trial, bool given,
                              struct error *error)
{
    const bool listed = strcmp(config_string(sweep->config, "%s", list_key), "[]") != 0;
    if (given)
        return config_complain(sweep->config, list_key, error,
                               "two trials have the name %s; name one of them differently", trial->name);
    char *settings = describe(trial);
    size_t length = strlen(settings);
    for (size_t i = 0; i < length; i++)
        if (settings[i] == '\n')
            settings[i] = i + 1 < length ? ';' : '\0';
    config_complain(sweep->config, listed ? list_key : grid_key, error,
                    "two trials set the same%s%s; leave one out, or give each a name",
                    *settings ? ": " : ", nothing", settings);
    free(settings);
    return false;
}

/* Names that a point was given stay; others that would be the same get a hash. */
static bool name_trials(struct sweep *sweep, struct error *error)
{
    bool given[SWEEP_TRIALS_MAXIMUM], alike[SWEEP_TRIALS_MAXIMUM];
    for (int i = 0; i < sweep->trial_count; i++) {
        struct sweep_trial *trial = &sweep->trials[i];
        given[i] = trial->name != NULL;
        if (!given[i])
            trial->name = make_name(sweep, trial, false);
    }
    for (int i = 0; i < sweep->trial_count; i++)
        alike[i] = count_alike(sweep, sweep->trials[i].name) > 1;
    for (int i = 0; i < sweep->trial_count; i++) {
        struct sweep_trial *trial = &sweep->trials[i];
        if (alike[i] && !given[i]) {
            free(trial->name);
            trial->name = make_name(sweep, trial, true);
        }
    }
    for (int i = 0; i < sweep->trial_count; i++) {
        struct sweep_trial *trial = &sweep->trials[i];
        if (count_alike(sweep, trial->name) > 1)
            return complain_of_twins(sweep, trial, given[i], error);
        trial->folder = sweep_path(sweep, "trials/%s", trial->name);
    }
    return true;
}

/* ---- opening ------------------------------------------------------------------------------------------- */

/* Reads what the configuration keeps verbatim. */
static bool read_tree(struct yaml_node **root, const struct sweep *sweep, const char *key,
                      enum yaml_kind kind, struct error *error)
{
    const char *text = config_string(sweep->config, "%s", key);
    return yaml_tree_read(root, sweep->path, false, text, strlen(text), error) &&
           ((*root)->kind == kind ||
            config_complain(sweep->config, key, error, "a %s is expected here",
                            kind == YAML_LIST ? "list of mappings of keys to values"
                                              : "mapping of keys to lists of their values"));
}

static bool find_reference(struct sweep *sweep, struct error *error)
{
    const char *name = config_string(sweep->config, "experiment.reference");
    sweep->reference = name == NULL ? 0 : sweep_find(sweep, name);
    return sweep->reference >= 0 ||
           config_complain(sweep->config, "experiment.reference", error,
                           "%s is no trial of the study; the first is %s", name,
                           sweep->trial_count > 0 ? sweep->trials[0].name
                                                  : "missing: experiment.sweep declares none");
}

static bool expand(struct sweep *sweep, struct error *error)
{
    struct yaml_node *grid = NULL, *list = NULL;
    const bool done = read_tree(&grid, sweep, grid_key, YAML_MAPPING, error) &&
                      read_tree(&list, sweep, list_key, YAML_LIST, error) &&
                      expand_grid(sweep, grid, error) && expand_list(sweep, list, error) &&
                      collect_keys(sweep, error) && name_trials(sweep, error) && find_reference(sweep, error);
    yaml_tree_free(grid);
    yaml_tree_free(list);
    return done;
}

/* Every trial's configuration is checked before the first of them begins. */
static bool check_trials(const struct sweep *sweep, struct error *error)
{
    for (int i = 0; i < sweep->trial_count; i++) {
        struct config *config;
        if (!sweep_trial_config(&config, sweep, i, error))
            return false;
        config_free(config);
    }
    return true;
}

bool sweep_open(struct sweep *sweep, const char *path, int override_count, char *const *overrides,
                struct error *error)
{
    *sweep = (struct sweep){
        .path = path_format("%s", path), .override_count = override_count, .overrides = overrides};
    bool done = config_load(&sweep->config, path, override_count, overrides, error);
    if (done) {
        sweep->folder = run_folder(sweep->config);
        done = expand(sweep, error) && check_trials(sweep, error);
    }
    if (!done)
        sweep_close(sweep);
    return done;
}

bool sweep_open_folder(struct sweep *sweep, const char *folder, struct error *error)
{
    *sweep =
        (struct sweep){.path = path_format("%s/config.yaml", folder), .folder = path_format("%s", folder)};
    const bool done = config_load(&sweep->config, sweep->path, 0, NULL, error) && expand(sweep, error);
    if (!done)
        sweep_close(sweep);
    return done;
}

void sweep_close(struct sweep *sweep)
{
    for (int i = 0; i < sweep->trial_count; i++) {
        struct sweep_trial *trial = &sweep->trials[i];
        for (int j = 0; j < trial->setting_count; j++) {
            free(trial->settings[j].path);
            free(trial->settings[j].value);
        }
        free(trial->settings);
        free(trial->name);
        free(trial->folder);
    }
    free(sweep->trials);
    free(sweep->folder);
    free(sweep->path);
    config_free(sweep->config);
    *sweep = (struct sweep){0};
}

int sweep_find(const struct sweep *sweep, const char *name)
{
    for (int i = 0; i < sweep->trial_count; i++)
        if (strcmp(sweep->trials[i].name, name) == 0)
            return i;
    return -1;
}

/* The reason, with the trial and where it is declared. */
static bool complain_of_trial(const struct sweep_trial *trial, const struct error *reason,
                              struct error *error)
{
    const struct config_setting *setting = trial->setting_count > 0 ? &trial->settings[0] : NULL;
    if (setting && setting->file && setting->line > 0)
        return error_set(error, reason->kind, "%.1400s (trial %.200s, declared at %.300s:%ld)",
                         reason->message, trial->name, setting->file, setting->line);
    return error_set(error, reason->kind, "%.1700s (trial %.200s)", reason->message, trial->name);
}

bool sweep_trial_config(struct config **config, const struct sweep *sweep, int trial, struct error *error)
{
    enum { OWN = 7 };
    const struct sweep_trial *chosen = &sweep->trials[trial];
    const size_t count = (size_t)chosen->setting_count;
    struct config_setting *settings = calloc(count + OWN, sizeof *settings);
    char *folder =
        yaml_tree_text(&(struct yaml_node){.kind = YAML_SCALAR, .quoted = true, .text = chosen->folder});
    char *name = yaml_tree_text(&(struct yaml_node){
        .kind = YAML_SCALAR, .quoted = true, .text = (char *)config_string(sweep->config, "name")});
    *config = NULL;
    bool done = (settings && folder && name) || error_memory(error, "a configuration", 0, NULL);
    if (done) {
        const struct config_setting own[OWN] = {{"experiment.sweep", "{}", NULL, 0},
                                                {"experiment.sweep_list", "[]", NULL, 0},
                                                {"experiment.trials_at_once", "0", NULL, 0},
                                                {"experiment.trials_memory", "0", NULL, 0},
                                                {"experiment.reference", "null", NULL, 0},
                                                {"output", folder, NULL, 0},
                                                {"name", name, NULL, 0}};
        for (size_t i = 0; i < count; i++)
            settings[i] = chosen->settings[i];
        memcpy(settings + count, own, sizeof own);
        struct error reason = ERROR_INITIALIZER;
        done = (config_load_with(config, sweep->path, sweep->override_count, sweep->overrides,
                                 (int)count + OWN, settings, &reason) &&
                check_config(*config, &reason)) ||
               complain_of_trial(chosen, &reason, error);
    }
    if (!done) {
        config_free(*config);
        *config = NULL;
    }
    free(name);
    free(folder);
    free(settings);
    return done;
}

bool sweep_lacks_trial(const struct sweep *sweep, const char *name, struct error *error)
{
    return sweep->trial_count > 0
               ? error_set(error, ERROR_USAGE,
                           "--trial=%.200s: the study has no such trial; `idrec status` lists them", name)
               : error_at(
                     error, ERROR_USAGE, sweep->path, 0,
                     "is no study and has no trials, also not %.200s: it has neither experiment.sweep nor "
                     "experiment.sweep_list",
                     name);
}

/* ---- settings ------------------------------------------------------------------------------------------ */

const char *sweep_setting(const struct sweep_trial *trial, const char *key)
{
    for (int i = 0; i < trial->setting_count; i++)
        if (strcmp(trial->settings[i].path, key) == 0)
            return trial->settings[i].value;
    return NULL;
}

static json_t *scalar_json(const struct yaml_node *node)
{
    char *end;
    if (yaml_node_is_null(node))
        return json_null();
    if (!node->quoted) {
        if (strcmp(node->text, "true") == 0 || strcmp(node->text, "false") == 0)
            return json_boolean(*node->text == 't');
        const long long integer = strtoll(node->text, &end, 10);
        if (*end == '\0')
            return json_integer(integer);
        const double number = strtod(node->text, &end);
        if (*end == '\0')
            return json_real(number);
    }
    return json_string(node->text);
}

static json_t *node_json(const struct yaml_node *node)
{
    if (node->kind == YAML_SCALAR)
        return scalar_json(node);
    json_t *value = node->kind == YAML_LIST ? json_array() : json_object();
    for (size_t i = 0; i < node->count; i++)
        if (node->kind == YAML_LIST)
            json_array_append_new(value, node_json(node->children[i]));
        else
            json_object_set_new(value, node->keys[i], node_json(node->children[i]));
    return value;
}

json_t *sweep_settings_json(const struct sweep_trial *trial)
{
    json_t *settings = json_object();
    for (int i = 0; i < trial->setting_count; i++) {
        const struct config_setting *setting = &trial->settings[i];
        struct yaml_node *node = NULL;
        struct error error = ERROR_INITIALIZER;
        if (yaml_tree_read(&node, "", false, setting->value, strlen(setting->value), &error))
            json_object_set_new(settings, setting->path, node_json(node));
        yaml_tree_free(node);
    }
    return settings;
}
