#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/config_parts.h"
#include "core/file.h"

bool config_complain_at(const struct yaml_node *node, const char *path, struct error *error,
                        const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return error_at(error, ERROR_USAGE, node->file, node->line, "%s: %s", path, text);
}

static struct value *add_value(struct config *config, const struct schema_entry *entry, const char *path,
                               const struct yaml_node *node, struct error *error)
{
    struct value *values = realloc(config->values, (config->value_count + 1) * sizeof *values);
    char *copy = strdup(path);
    if (values)
        config->values = values;
    if (!values || !copy) {
        free(copy);
        error_memory(error, "the configuration", sizeof *values, NULL);
        return NULL;
    }
    struct value *value = &values[config->value_count++];
    const bool written = node && node->file != config_built_in;
    *value = (struct value){
        .path = copy, .entry = entry, .file = written ? node->file : NULL, .line = written ? node->line : 0};
    return value;
}

/* Reads a decimal or hexadecimal number. Infinity and NaN are none. */
static bool parse_number(const char *text, double *number)
{
    const char *digits = text + (*text == '-' || *text == '+');
    if (*digits != '.' && (*digits < '0' || *digits > '9'))
        return false;
    char *end;
    *number = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*number);
}

/* 12, 0x0c, and 1e6, which is written so for its zeros. */
static bool parse_integer(const char *text, int64_t *integer)
{
    const char *digits = text + (*text == '-' || *text == '+');
    const bool hexadecimal = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
    char *end;
    errno = 0;
    const long long exact = strtoll(text, &end, hexadecimal ? 16 : 10);
    double number;
    if (*digits >= '0' && *digits <= '9' && *end == '\0' && errno == 0) {
        *integer = exact;
        return true;
    }
    if (!parse_number(text, &number) || number != floor(number) || fabs(number) > 9007199254740992.0)
        return false;
    *integer = (int64_t)number;
    return true;
}

/* Control characters and the like could not be written back as YAML. libyaml has checked that this is
 * UTF-8. */
static bool is_printable(const char *text, bool lines)
{
    for (const unsigned char *byte = (const unsigned char *)text; *byte; byte++)
        if ((*byte < 0x20 && !(lines && (*byte == '\n' || *byte == '\t'))) || *byte == 0x7f ||
            (byte[0] == 0xc2 && byte[1] < 0xa0) ||
            (byte[0] == 0xe2 && byte[1] == 0x80 && (byte[2] == 0xa8 || byte[2] == 0xa9)) ||
            (byte[0] == 0xef &&
             ((byte[1] == 0xbb && byte[2] == 0xbf) || (byte[1] == 0xbf && byte[2] >= 0xbe))))
            return false;
    return true;
}

static bool check_range(const struct schema_entry *entry, double number, const struct yaml_node *node,
                        const char *path, struct error *error)
{
    if (number >= entry->minimum && number <= entry->maximum)
        return true;
    return config_complain_at(node, path, error, "%s is out of range; it must lie between %.16g and %.16g",
                              node->text, entry->minimum, entry->maximum);
}

static bool take_string(struct value *value, const struct schema_entry *entry, const struct yaml_node *node,
                        const char *path, struct error *error)
{
    if (!is_printable(node->text, entry->lines))
        return config_complain_at(node, path, error, "holds a control character; remove it");
    if (entry->choices && !schema_allows(entry->choices, node->text)) {
        char choice[64] = "";
        const bool near = schema_nearest_choice(entry->choices, node->text, choice, sizeof choice);
        return config_complain_at(node, path, error,
                                  "'%.60s' is not among its values; %s%s%schoose one of %s", node->text,
                                  near ? "did you mean " : "", choice, near ? "? Else " : "", entry->choices);
    }
    if (!entry->choices && node->text[0] == '\0')
        return config_complain_at(node, path, error, "is empty; write a value%s",
                                  schema_nullable(entry) ? " or null" : "");
    value->text = strdup(node->text);
    return value->text || error_memory(error, "the configuration", strlen(node->text), NULL);
}

static bool take_scalar(struct value *value, const struct schema_entry *entry, const struct yaml_node *node,
                        const char *path, struct error *error)
{
    switch (entry->type) {
    case SCHEMA_BOOLEAN:
        value->boolean = strcmp(node->text, "true") == 0;
        if (node->quoted || (!value->boolean && strcmp(node->text, "false") != 0))
            return config_complain_at(node, path, error,
                                      "'%.60s' is neither true nor false; write one of them", node->text);
        return true;
    case SCHEMA_INTEGER:
        if (node->quoted || !parse_integer(node->text, &value->integer))
            return config_complain_at(node, path, error, "'%.60s' is not a whole number; write one",
                                      node->text);
        value->number = (double)value->integer;
        return check_range(entry, value->number, node, path, error);
    case SCHEMA_NUMBER:
        if (node->quoted || !parse_number(node->text, &value->number))
            return config_complain_at(node, path, error, "'%.60s' is not a finite number; write one",
                                      node->text);
        return check_range(entry, value->number, node, path, error);
    default:
        return take_string(value, entry, node, path, error);
    }
}

static bool resolve_scalar(struct config *config, const struct schema_entry *entry, const char *path,
                           const struct yaml_node *node, struct error *error)
{
    if (node->kind != YAML_SCALAR)
        return config_complain_at(node, path, error, "a single value is expected here, not a %s",
                                  node->kind == YAML_LIST ? "list" : "section");
    struct value *value = add_value(config, entry, path, node, error);
    if (!value)
        return false;
    value->is_null = yaml_node_is_null(node);
    if (!value->is_null)
        return take_scalar(value, entry, node, path, error);
    return (!entry->list && schema_nullable(entry)) ||
           config_complain_at(node, path, error, "has no value; write one");
}

/* ---- sections and lists ------------------------------------------------------------------------------ */

static bool resolve_section(struct config *config, const char *pattern, const char *path,
                            const struct yaml_node *node, struct error *error);

const char *config_join(char *buffer, const char *path, const char *key)
{
    const char *dot = *path && *key != '[' ? "." : "";
    if (snprintf(buffer, CONFIG_PATH_LENGTH, "%s%s%s", path, dot, key) >= CONFIG_PATH_LENGTH)
        buffer[CONFIG_PATH_LENGTH - 1] = '\0';
    return buffer;
}

static bool resolve_list(struct config *config, const struct schema_entry *entry, const char *path,
                         const struct yaml_node *node, struct error *error)
{
    const bool mappings = entry->type == SCHEMA_MAPPINGS;
    const bool single = node->kind == YAML_SCALAR && !mappings && !yaml_node_is_null(node);
    if (node->kind != YAML_LIST && !single)
        return config_complain_at(node, path, error, "a list is expected here; write [] for an empty one");
    struct value *list = add_value(config, entry, path, node, error);
    if (!list)
        return false;
    list->is_list = true;
    list->length = single ? 1 : (int64_t)node->count;
    for (size_t i = 0; i < (single ? 1 : node->count); i++) {
        const struct yaml_node *child = single ? node : node->children[i];
        char element[CONFIG_PATH_LENGTH], pattern[CONFIG_PATH_LENGTH], index[24];
        snprintf(index, sizeof index, "[%zu]", i);
        config_join(element, path, index);
        if (mappings && child->kind != YAML_MAPPING)
            return config_complain_at(child, element, error,
                                      "a mapping is expected here, such as {model: bpr_mf}");
        if (!(mappings
                  ? resolve_section(config, config_join(pattern, entry->path, "[]"), element, child, error)
                  : resolve_scalar(config, entry, element, child, error)))
            return false;
    }
    return true;
}

static bool resolve_verbatim(struct config *config, const struct schema_entry *entry, const char *path,
                             const struct yaml_node *node, struct error *error)
{
    struct value *value = add_value(config, entry, path, node, error);
    if (!value)
        return false;
    value->text = yaml_tree_text(node);
    return value->text ? is_printable(value->text, false) ||
                             config_complain_at(node, path, error, "holds a control character; remove it")
                       : error_memory(error, "the configuration", 0, NULL);
}

/* `model`: the recommender that the section is of, or NULL. */
static bool resolve_entry(struct config *config, const struct schema_entry *entry, const char *path,
                          const struct yaml_node *node, const char *model, struct error *error)
{
    if (entry->type == SCHEMA_SECTION) {
        const struct yaml_node *section = node && yaml_node_is_null(node) ? NULL : node;
        if (section && section->kind != YAML_MAPPING)
            return config_complain_at(section, path, error,
                                      "a section with keys of its own is expected here");
        return resolve_section(config, entry->path, path, section, error);
    }
    struct yaml_node *standard = NULL;
    const bool is_amount = config->says_rows && strcmp(entry->path, "augment.proportional") == 0;
    const char *text = schema_default(entry, model, config->in_order && !is_amount);
    if (!node && !yaml_tree_read(&standard, config_built_in, false, text, strlen(text), error))
        return false;
    node = node ? node : standard;
    const bool list = entry->list || entry->type == SCHEMA_MAPPINGS;
    const bool done = entry->type == SCHEMA_VERBATIM ? resolve_verbatim(config, entry, path, node, error)
                      : list                         ? resolve_list(config, entry, path, node, error)
                                                     : resolve_scalar(config, entry, path, node, error);
    yaml_tree_free(standard);
    return done;
}

static bool check_keys(const char *pattern, const char *path, const struct yaml_node *node,
                       struct error *error)
{
    for (size_t i = 0; i < node->count; i++) {
        char child[CONFIG_PATH_LENGTH], name[CONFIG_PATH_LENGTH];
        const char *key = node->keys[i];
        config_join(child, pattern, key);
        if ((schema_is_child(pattern, child) && schema_find(child)) ||
            (*pattern == '\0' && strcmp(key, "extends") == 0))
            continue;
        char nearest[CONFIG_PATH_LENGTH];
        config_join(name, path, key);
        if (schema_suggest(pattern, key, nearest, sizeof nearest))
            return config_complain_at(node->children[i], name, error, "is not a known key; did you mean %s?",
                                      nearest);
        return config_complain_at(node->children[i], name, error,
                                  "is not a known key; see `idrec config --reference`");
    }
    return true;
}

static const char *model_of(const struct yaml_node *node)
{
    const struct yaml_node *model = node ? yaml_node_child(node, "model") : NULL;
    return model && model->kind == YAML_SCALAR ? model->text : NULL;
}

/* Resolves every key below `pattern`; node is what was written there, or NULL. */
static bool resolve_section(struct config *config, const char *pattern, const char *path,
                            const struct yaml_node *node, struct error *error)
{
    if (node && !check_keys(pattern, path, node, error))
        return false;
    for (size_t i = 0; i < schema_count; i++) {
        const struct schema_entry *entry = &schema[i];
        if (!schema_is_child(pattern, entry->path))
            continue;
        char child[CONFIG_PATH_LENGTH];
        const char *key = schema_key(entry->path);
        if (!resolve_entry(config, entry, config_join(child, path, key),
                           node ? yaml_node_child(node, key) : NULL, model_of(node), error))
            return false;
    }
    return true;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(((const struct value *)a)->path, ((const struct value *)b)->path);
}

struct value *config_find(const struct config *config, const char *path)
{
    const struct value key = {.path = (char *)path};
    return bsearch(&key, config->values, config->value_count, sizeof *config->values, compare_paths);
}

/* An experiment without a name is called like its file. */
static bool name_experiment(struct config *config, struct error *error)
{
    struct value *name = config_find(config, "name");
    if (!name->is_null)
        return true;
    const char *slash = strrchr(config->file, '/');
    const char *stem = slash ? slash + 1 : config->file;
    const size_t length = strcspn(stem, ".");
    name->text = path_format("%.*s", (int)length, length > 0 ? stem : "");
    if (*name->text == '\0') {
        free(name->text);
        name->text = path_format("experiment");
    }
    for (char *letter = name->text; *letter; letter++)
        if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", *letter))
            *letter = '-';
    name->is_null = false;
    return name->text || error_memory(error, "the configuration", length, NULL);
}

/* What was written for a key of three levels at most ("": nothing, or no single value). */
static const char *written_text(const struct yaml_node *root, const char *section, const char *key,
                                const char *subkey)
{
    const struct yaml_node *node = yaml_node_child(root, section);
    node = node && node->kind == YAML_MAPPING ? yaml_node_child(node, key) : NULL;
    if (subkey)
        node = node && node->kind == YAML_MAPPING ? yaml_node_child(node, subkey) : NULL;
    return node && node->kind == YAML_SCALAR ? node->text : "";
}

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}

static bool is_written(const struct yaml_node *root, const char *section, const char *key)
{
    const struct yaml_node *node = yaml_node_child(root, section);
    return node && node->kind == YAML_MAPPING && yaml_node_child(node, key);
}

/* Defaults depend on what is written alone: where the split is by time and items are tokens that are ranked, the order of
 * histories is read. Lists that are sampled would end at once: after a whole history in its order nothing comes but the end. */
static bool reads_in_order(const struct yaml_node *root)
{
    static const char *const by_time[] = {"leave_one_out", "temporal", NULL};
    static const char *const ids[] = {"", "ids", NULL}, *const indexings[] = {"", "auto", "ids", NULL};
    static const char *const methods[] = {"", "ranking", NULL};
    static const char *const templates[] = {"", "sequence", NULL}, *const objectives[] = {"", "next", NULL};
    return is_one_of(written_text(root, "data", "split", "method"), by_time) &&
           is_one_of(written_text(root, "language_model", "vocabulary", NULL), ids) &&
           is_one_of(written_text(root, "language_model", "indexing", NULL), indexings) &&
           is_one_of(written_text(root, "generate", "method", NULL), methods) &&
           is_one_of(written_text(root, "prompts", "template", NULL), templates) &&
           is_one_of(written_text(root, "pretrain", "objective", NULL), objectives) &&
           *written_text(root, "prompts", "shuffle", NULL) == '\0';
}

bool config_resolve(struct config *config, const struct yaml_node *root, struct error *error)
{
    config->in_order = reads_in_order(root);
    config->says_rows = is_written(root, "augment", "per_user");
    if (!resolve_section(config, "", "", root, error))
        return false;
    qsort(config->values, config->value_count, sizeof *config->values, compare_paths);
    return name_experiment(config, error);
}
