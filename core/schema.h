/*
 * schema.h: the one table of everything that a configuration can say. It validates, fills defaults and
 * generates docs/configuration.md.
 *
 * A path is written as in YAML, dots between the levels; "recommenders[].model" is the key `model` of every
 * element of the list `recommenders`. A section or a list of mappings stands in the table before its keys.
 */
#ifndef IDREC_CORE_SCHEMA_H
#define IDREC_CORE_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum schema_type {
    SCHEMA_SECTION,
    SCHEMA_MAPPINGS, /* a list of mappings */
    SCHEMA_BOOLEAN,
    SCHEMA_INTEGER,
    SCHEMA_NUMBER,
    SCHEMA_STRING,
    SCHEMA_PATH,    /* a string, relative to the file that holds it */
    SCHEMA_VERBATIM /* any YAML, kept as text in one line and read by who asks for it; part of no hash */
};

struct schema_entry {
    enum schema_type type;
    bool list; /* of scalars of the type; a single scalar is accepted too */
    const char *path;
    const char *default_value; /* YAML; "null" makes the key nullable; NULL: a section */
    double minimum, maximum;   /* of numbers and integers */
    const char *choices;       /* of strings, separated by '|', N for a whole number; NULL: any */
    const char *help;
    bool lines; /* of strings: line breaks and tabs are part of it */
};

extern const struct schema_entry schema[];
extern const size_t schema_count;

/* The entry of a pattern such as "recommenders[].model", or NULL. */
const struct schema_entry *schema_find(const char *pattern);
/* Whether `pattern` is a key directly below `parent` ("" is the top). */
bool schema_is_child(const char *parent, const char *pattern);
/* The last key of a pattern. */
const char *schema_key(const char *pattern);
/* The default of a key beside which `model` names a recommender (NULL: none). `in_order`: of a language model that reads
 * histories in order of time. */
const char *schema_default(const struct schema_entry *entry, const char *model, bool in_order);
/* As Markdown: the default, then the one in order of time and those of models that have another one. */
void schema_write_defaults(FILE *stream, const struct schema_entry *entry);
bool schema_nullable(const struct schema_entry *entry);
bool schema_allows(const char *choices, const char *text);
/* The one of the choices nearest to `text`, whatever its case, into `choice` [size]; false: none is near. */
bool schema_nearest_choice(const char *choices, const char *text, char *choice, size_t size);

/* The known key nearest to `key` below `parent`, or else the path of a key of that very name elsewhere, or
 * NULL. */
const char *schema_nearest(const char *parent, const char *key);
/* What `key` below `parent` may have been meant to be, as one text in `names` [size]: the nearest key, or else every path of
 * a key of that name. False: nothing. */
bool schema_suggest(const char *parent, const char *key, char *names, size_t size);
/* Insertions, deletions and replacements between two words. */
size_t edit_distance(const char *a, const char *b);

#endif
