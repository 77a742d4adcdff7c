/*
 * config.h: one YAML file is one experiment. `extends: FILE` takes another as its base, key.path=value on the
 * command line wins. The schema (core/schema.c) is one table: it validates, fills defaults and generates
 * docs/configuration.md. An unknown key, a wrong type or a value out of range is ERROR_USAGE with file, line
 * and the nearest known key.
 *
 * Paths are printf formats: "generate.max_items", "recommenders[%d].model". Asking for a path that the schema
 * does not know is a programming error and aborts. Every value asked for exists: defaults are filled in.
 */
#ifndef IDREC_CORE_CONFIG_H
#define IDREC_CORE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/error.h"

struct config;

/* overrides: "key.path=value" (the value is YAML, so [1, 2] works). */
bool config_load(struct config **config, const char *path, int override_count, char *const *overrides,
                 struct error *error);
/* One value of a configuration: its path as on the command line, the value as YAML, and where it was written. */
struct config_setting {
    char *path, *value;
    const char *file; /* NULL: nowhere; a path in the value is seen from the current folder then */
    long line;
};
/* The same with settings that win over the command line. */
bool config_load_with(struct config **config, const char *path, int override_count, char *const *overrides,
                      int setting_count, const struct config_setting *settings, struct error *error);
/* The same from text in memory; `name` stands for the file in messages. */
bool config_parse(struct config **config, const char *name, const char *text, size_t length,
                  struct error *error);
void config_free(struct config *config);

#define CONFIG_PATH __attribute__((format(printf, 2, 3)))
bool config_is_null(const struct config *config, const char *path, ...) CONFIG_PATH;
bool config_boolean(const struct config *config, const char *path, ...) CONFIG_PATH;
int64_t config_integer(const struct config *config, const char *path, ...) CONFIG_PATH;
double config_number(const struct config *config, const char *path, ...) CONFIG_PATH;
/* NULL for null. Enumerations are strings that were checked against their choices; what is kept verbatim is YAML. */
const char *config_string(const struct config *config, const char *path, ...) CONFIG_PATH;
/* Elements of a list. */
int64_t config_length(const struct config *config, const char *path, ...) CONFIG_PATH;
/* Whether it was written, in a file or on the command line; false: a default. */
bool config_is_written(const struct config *config, const char *path, ...) CONFIG_PATH;

/* The file and line where a value was written; NULL and 0 for a default. */
const char *config_place(const struct config *config, const char *path, long *line);

/* Sets an error that points at the line where the value was written. Returns false. */
bool config_complain(const struct config *config, const char *path, struct error *error, const char *format,
                     ...) __attribute__((format(printf, 4, 5)));

/* Resolves a path value of the config: relative to the file that wrote it. malloc'ed; NULL for null. */
char *config_file_path(const struct config *config, const char *path);
/* The same for an input file: where none is at that place, the file of that name in the folder that the
 * environment variable IDREC_DATA names. */
char *config_data_path(const struct config *config, const char *path);

/* Whether a recommender of that model reads a key of its entry. */
typedef bool config_reads(const char *model, const char *key);
/* The resolved configuration as YAML, every default filled in. Of a recommender's keys those that `reads` tells; NULL:
 * all of them. */
bool config_write(const struct config *config, config_reads *reads, FILE *stream);
/* Calls `visit` with every resolved value as YAML in one line, in the order of their paths; a list of values is one. Of a
 * recommender's keys those that `reads` tells. */
typedef void config_visitor(void *context, const char *path, const char *value);
void config_visit(const struct config *config, config_reads *reads, config_visitor *visit, void *context);
/* docs/configuration.md. */
bool config_write_reference(FILE *stream);
/* A canonical line for hashing: the resolved values below `path`, keys sorted. malloc'ed. */
char *config_canonical(const struct config *config, const char *path);

#endif
