/*
 * checkpoint_document.h: the JSON objects beside a model's weights, read with messages that name the file. Only
 * checkpoint*.c includes this.
 */
#ifndef IDREC_MODELS_LANGUAGE_CHECKPOINT_DOCUMENT_H
#define IDREC_MODELS_LANGUAGE_CHECKPOINT_DOCUMENT_H

#include <jansson.h>

#include "core/error.h"

/* A JSON object and the path it came from, for messages. */
struct document {
    char *path;
    json_t *object;
};

/* Opens FOLDER/FILE. document_close() is due after a failure too. */
bool document_open(struct document *document, const char *folder, const char *file, struct error *error);
/* The same from text in memory; `path` stands for it in messages. */
bool document_parse(struct document *document, const char *path, const char *text, size_t length,
                    struct error *error);
void document_close(struct document *document);
/* Writes FOLDER/FILE and frees `object`; NULL counts as lack of memory. */
bool document_write(json_t *object, const char *folder, const char *file, struct error *error);

/* A value that has to be there; `object` is the document's or one within it. */
bool document_integer(const struct document *document, const char *key, int64_t *value, struct error *error);
bool document_number(const struct document *document, const json_t *object, const char *key, double *value,
                     struct error *error);

/* True when the value is absent (NULL), null, false, an empty object or list, or "": whatever it asks for is off. */
bool document_value_is_off(const json_t *value);
bool document_is_off(const struct document *document, const char *key);

#endif
