/* tokenizer_json.h: values of a tokenizer.json with the place where they stand, and refusals that name it. */
#ifndef IDREC_MODELS_LANGUAGE_TOKENIZER_JSON_H
#define IDREC_MODELS_LANGUAGE_TOKENIZER_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

struct spot {
    const char *file;
    const json_t *value; /* NULL: absent */
    char path[160];      /* "pre_tokenizer.pretokenizers[1]" */
};

/* Always false: "FILE: PATH: what is wrong". */
bool spot_refuse(const struct spot *spot, struct error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct spot spot_key(const struct spot *object, const char *key);
struct spot spot_element(const struct spot *array, size_t index);
/* Absent or null. */
bool spot_is_null(const struct spot *spot);

/* An object whose keys are all among `known`, which ends in NULL. */
bool spot_check_keys(const struct spot *object, const char *const *known, struct error *error);
/* The object's "type", which is there. */
bool spot_type(const struct spot *object, const char **type, struct error *error);
/* Calls `take` for a component, with its type, or, where that is Sequence, for all in its list under `key`, in turn. */
typedef bool spot_take(void *context, const struct spot *component, const char *type, struct error *error);
bool spot_each(const struct spot *component, const char *key, spot_take *take, void *context,
               struct error *error);
/* Refuses a type that nobody here knows. */
bool spot_refuse_type(const struct spot *object, const char *kind, const char *type, struct error *error);

/* The text of a key, in the JSON's memory. */
bool spot_string(const struct spot *object, const char *key, const char **text, size_t *length,
                 struct error *error);
/* The same as a copy, malloc'ed and NUL-ended. */
bool spot_copy(const struct spot *object, const char *key, char **text, size_t *length, struct error *error);
/* A whole number from 0 to `most`. */
bool spot_number(const struct spot *object, const char *key, int64_t most, int64_t *number,
                 struct error *error);
/* An absent or null key leaves *value as it is. */
bool spot_boolean(const struct spot *object, const char *key, bool *value, struct error *error);

#endif
