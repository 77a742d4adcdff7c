/*
 * safetensors_writer.h: a safetensors file written piece by piece, for tensors that are never in memory together: the
 * header first, from their descriptions, then their bytes in the same order.
 */
#ifndef IDREC_MODELS_LANGUAGE_SAFETENSORS_WRITER_H
#define IDREC_MODELS_LANGUAGE_SAFETENSORS_WRITER_H

#include "models/language/safetensors.h"

struct safetensors_writer;

/* Opens a temporary file beside `path`. Of an entry, name, type, rank, shape and bytes count. */
bool safetensors_writer_open(struct safetensors_writer **writer, const char *path,
                             const struct safetensors_entry *entries, int64_t count, struct error *error);
bool safetensors_writer_append(struct safetensors_writer *writer, const void *bytes, size_t length,
                               struct error *error);
/* Flushes the file to disk and gives it its name; all bytes must have come. */
bool safetensors_writer_commit(struct safetensors_writer *writer, struct error *error);
/* Removes what was not committed. */
void safetensors_writer_close(struct safetensors_writer *writer);

#endif
