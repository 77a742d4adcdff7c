#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/config_parts.h"
#include "core/file.h"

const char config_command_line[] = "command line", config_built_in[] = "default";

enum { FILE_BYTES_MAXIMUM = 1 << 20, EXTENDS_MAXIMUM = 16 };

/* The files whose `extends` led here. */
struct chain {
    const char *real_path;
    const struct chain *below;
};

static bool load_tree(struct config *config, struct yaml_node **root, const char *path,
                      const struct chain *below, struct error *error);

/* Keeps a copy of a file's name for the nodes and values that point at it. */
static const char *keep_file_name(struct config *config, const char *name)
{
    char **files = realloc(config->files, (config->file_count + 1) * sizeof *files);
    char *copy = strdup(name);
    if (!files || !copy)
        abort();
    config->files = files;
    return config->files[config->file_count++] = copy;
}

char *config_beside(const char *file, const char *path)
{
    const char *slash = file && file != config_command_line ? strrchr(file, '/') : NULL;
    if (*path == '/' || !slash)
        return path_format("%s", path);
    return path_format("%.*s/%s", (int)(slash - file), file, path);
}

/* Puts what the file `extends` below its own content. Takes over and replaces *root. */
static bool load_base(struct config *config, struct yaml_node **root, const struct chain *chain,
                      struct error *error)
{
    const struct yaml_node *extends = yaml_node_child(*root, "extends");
    if (!extends || yaml_node_is_null(extends))
        return true;
    if (extends->kind != YAML_SCALAR)
        return config_complain_at(extends, "extends", error, "the name of one file is expected here");
    char *path = config_beside(extends->file, extends->text);
    struct yaml_node *base = NULL;
    struct stat status;
    bool done = stat(path, &status) == 0 ||
                config_complain_at(extends, "extends", error, "cannot open %s: %s", path, strerror(errno));
    done = done && load_tree(config, &base, path, chain, error);
    if (done) {
        done = yaml_tree_merge(base, *root) || error_memory(error, "the configuration", 0, NULL);
        *root = base;
    } else {
        yaml_tree_free(base);
    }
    free(path);
    return done;
}

static bool parse_tree(struct config *config, struct yaml_node **root, const char *name, const char *text,
                       size_t length, const struct chain *chain, struct error *error)
{
    const char *file = keep_file_name(config, name);
    if (!yaml_tree_read(root, file, true, text, length, error))
        return false;
    if ((*root)->kind != YAML_MAPPING)
        return error_at(error, ERROR_USAGE, file, (*root)->line,
                        "a configuration is a list of `key: value` lines");
    return load_base(config, root, chain, error);
}

static bool check_chain(const char *path, const char *real_path, const struct chain *below,
                        struct error *error)
{
    int depth = 0;
    for (const struct chain *link = below; link; link = link->below, depth++)
        if (strcmp(link->real_path, real_path) == 0)
            return error_at(error, ERROR_USAGE, path, 0,
                            "`extends` leads back to this file; break the circle");
    return depth < EXTENDS_MAXIMUM ||
           error_at(error, ERROR_USAGE, path, 0, "more than %d files extend one another", EXTENDS_MAXIMUM);
}

static bool load_tree(struct config *config, struct yaml_node **root, const char *path,
                      const struct chain *below, struct error *error)
{
    struct stat status;
    char *real_path = realpath(path, NULL), *text = NULL;
    size_t length = 0;
    bool done = false;
    if (!real_path || stat(path, &status) != 0)
        error_at(error, ERROR_USAGE, path, 0, "cannot open this configuration: %s", strerror(errno));
    else if (S_ISDIR(status.st_mode))
        error_at(error, ERROR_USAGE, path, 0, "is a directory; name a configuration file in it");
    else if (!S_ISREG(status.st_mode) || status.st_size > FILE_BYTES_MAXIMUM)
        error_at(error, ERROR_USAGE, path, 0, "is not a configuration (a plain file of at most 1 MiB)");
    else if (check_chain(path, real_path, below, error) && file_read(path, &text, &length, error))
        done = parse_tree(config, root, path, text, length, &(struct chain){real_path, below}, error);
    free(text);
    free(real_path);
    return done;
}

bool config_read_file(struct config *config, struct yaml_node **root, const char *path, struct error *error)
{
    return load_tree(config, root, path, NULL, error);
}

bool config_read_text(struct config *config, struct yaml_node **root, const char *name, const char *text,
                      size_t length, struct error *error)
{
    return parse_tree(config, root, name, text, length, NULL, error);
}

/* ---- overrides ---------------------------------------------------------------------------------------- */

/* What a path and its value come from, for messages and for the nodes that are made on the way. */
struct origin {
    const char *text, *file;
    long line;
};

/* One step of an override's path: "key" or "key[3]". */
struct step {
    char key[CONFIG_PATH_LENGTH];
    long index; /* -1: none */
};

/* Reads one step and moves *text behind it and its dot. */
static bool read_step(const char **text, struct step *step)
{
    const size_t length = strspn(*text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
    if (length == 0 || length >= CONFIG_PATH_LENGTH)
        return false;
    memcpy(step->key, *text, length);
    step->key[length] = '\0';
    step->index = -1;
    *text += length;
    if (**text == '[') {
        char *end;
        step->index = strtol(*text + 1, &end, 10);
        if (end == *text + 1 || *end != ']' || step->index < 0)
            return false;
        *text = end + 1;
    }
    if (**text == '.')
        return *++*text != '\0';
    return **text == '\0';
}

/* The list `key` of `node`; one that is not written yet starts from the schema's default. */
static struct yaml_node *written_list(struct yaml_node *node, const char *pattern, const char *key,
                                      struct error *error)
{
    struct yaml_node *list = yaml_node_child(node, key);
    const struct schema_entry *entry = schema_find(pattern);
    if (list || !entry || !entry->default_value)
        return list;
    if (!yaml_tree_read(&list, config_built_in, false, entry->default_value, strlen(entry->default_value),
                        error))
        return NULL;
    return yaml_node_put(node, key, list) ? list : NULL;
}

/* The place of element `step->index` of a list; written_list() tells where the list is. */
static struct yaml_node **element_place(struct yaml_node *node, const char *pattern, const struct step *step,
                                        const struct origin *origin, struct error *error)
{
    struct yaml_node *list = written_list(node, pattern, step->key, error);
    const size_t count = list && list->kind == YAML_LIST ? list->count : 0;
    if ((size_t)step->index < count)
        return &list->children[step->index];
    error_at(error, ERROR_USAGE, origin->file, origin->line, "%.200s: %s has %zu elements, counted from 0",
             origin->text, step->key, count);
    return NULL;
}

/* The mapping at one step below `node`, made where nothing is written there yet. */
static struct yaml_node *descend(struct yaml_node *node, const struct step *step, struct yaml_node **place,
                                 const struct origin *origin, struct error *error)
{
    struct yaml_node *next = place ? *place : yaml_node_child(node, step->key);
    if (!next || yaml_node_is_null(next)) {
        struct yaml_node *made = yaml_tree_mapping(origin->file, origin->line);
        if (!made || (!place && !yaml_node_put(node, step->key, made))) {
            error_memory(error, "the configuration", 0, NULL);
            return NULL;
        }
        if (place) {
            yaml_tree_free(next);
            *place = made;
        }
        return made;
    }
    if (next->kind == YAML_MAPPING)
        return next;
    error_at(error, ERROR_USAGE, origin->file, origin->line, "%.200s: %s has no keys below it", origin->text,
             step->key);
    return NULL;
}

/* Puts *value where the path leads, and sets it to NULL once the tree owns it. */
static bool put_at_path(struct yaml_node *node, const char *path, const struct origin *origin,
                        struct yaml_node **value, struct error *error)
{
    char pattern[CONFIG_PATH_LENGTH] = "", longer[CONFIG_PATH_LENGTH];
    struct step step;
    for (const char *rest = path; node;) {
        if (!read_step(&rest, &step))
            return error_at(error, ERROR_USAGE, origin->file, origin->line,
                            "%.200s: is not a path such as generate.max_items=10 or recommenders[0].width=64",
                            origin->text);
        strcpy(pattern, config_join(longer, pattern, step.key));
        struct yaml_node **place = NULL;
        if (step.index >= 0) {
            place = element_place(node, pattern, &step, origin, error);
            if (!place)
                return false;
            strcpy(pattern, config_join(longer, pattern, "[]"));
        }
        if (*rest == '\0') {
            struct yaml_node *taken = *value;
            *value = NULL;
            if (!place)
                return yaml_node_put(node, step.key, taken) ||
                       error_memory(error, "the configuration", 0, NULL);
            yaml_tree_free(*place);
            *place = taken;
            return true;
        }
        node = descend(node, &step, place, origin, error);
    }
    return false;
}

bool config_override(struct yaml_node *root, const char *text, struct error *error)
{
    const char *sign = strchr(text, '=');
    if (!sign)
        return error_at(error, ERROR_USAGE, config_command_line, 0, "%.200s: key.path=value is expected",
                        text);
    char *path = path_format("%.*s", (int)(sign - text), text);
    struct yaml_node *value = NULL;
    bool done =
        strcmp(path, "extends") != 0 || error_at(error, ERROR_USAGE, config_command_line, 0,
                                                 "extends: write it in the file; it cannot be given here");
    if (done && sign[1] == '\0')
        done = error_at(error, ERROR_USAGE, config_command_line, 0, "%.200s: a value is missing after '='",
                        text);
    done = done && yaml_tree_read(&value, config_command_line, false, sign + 1, strlen(sign + 1), error) &&
           put_at_path(root, path, &(struct origin){text, config_command_line, 0}, &value, error);
    yaml_tree_free(value);
    free(path);
    return done;
}

bool config_put(struct config *config, struct yaml_node *root, const struct config_setting *setting,
                struct error *error)
{
    const char *file = keep_file_name(config, setting->file ? setting->file : config_command_line);
    const struct origin origin = {setting->path, file, setting->line};
    struct yaml_node *value = NULL;
    const bool done = yaml_tree_read(&value, file, false, setting->value, strlen(setting->value), error) &&
                      put_at_path(root, setting->path, &origin, &value, error);
    yaml_tree_free(value);
    return done;
}
