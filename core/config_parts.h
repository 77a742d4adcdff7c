/*
 * config_parts.h: what the files of the configuration share: config.c (loading and asking), config_source.c
 * (files, `extends`, overrides), config_resolve.c (the tree against the schema), config_write.c.
 */
#ifndef IDREC_CORE_CONFIG_PARTS_H
#define IDREC_CORE_CONFIG_PARTS_H

#include "core/config.h"
#include "core/schema.h"
#include "core/yaml_tree.h"

enum { CONFIG_PATH_LENGTH = 256 };

/* What nodes that come from no file name as theirs. */
extern const char config_command_line[], config_built_in[];

/* A resolved value: of a scalar, or the length of a list. */
struct value {
    char *path; /* "recommenders[0].model" */
    const struct schema_entry *entry;
    bool is_list, is_null;
    int64_t length;
    char *text; /* strings and paths */
    int64_t integer;
    double number;
    bool boolean;
    const char *file; /* where it was written; NULL: a default */
    long line;
};

struct config {
    char *file; /* the one that config_load() was given */
    char **files;
    size_t file_count;
    struct value *values; /* ascending by path once resolved */
    size_t value_count;
    bool in_order;  /* defaults are those of a language model that reads histories in order of time */
    bool says_rows; /* augment.per_user is written: shares of histories are not added to it by default */
};

/* An error at the place of a node. Returns false. */
bool config_complain_at(const struct yaml_node *node, const char *path, struct error *error,
                        const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Joins `path` and `key`, which may be an "[index]", into a buffer of CONFIG_PATH_LENGTH; returns the
 * buffer. */
const char *config_join(char *buffer, const char *path, const char *key);
/* `path` as seen from the folder of `file`; malloc'ed. */
char *config_beside(const char *file, const char *path);
/* The value at a path, or NULL. */
struct value *config_find(const struct config *config, const char *path);

/* Reads a file and what it extends into one tree. */
bool config_read_file(struct config *config, struct yaml_node **root, const char *path, struct error *error);
/* The same from text in memory. */
bool config_read_text(struct config *config, struct yaml_node **root, const char *name, const char *text,
                      size_t length, struct error *error);
/* Applies "key.path=value" to a tree. */
bool config_override(struct yaml_node *root, const char *text, struct error *error);
/* Puts the value of a setting where its path leads. */
bool config_put(struct config *config, struct yaml_node *root, const struct config_setting *setting,
                struct error *error);
/* Checks a tree against the schema and fills config->values. */
bool config_resolve(struct config *config, const struct yaml_node *root, struct error *error);

#endif
