#include "models/language/safetensors_writer.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"

struct safetensors_writer {
    char *path, *temporary;
    FILE *stream; /* NULL once committed */
    size_t expected, written;
};

/* The header's text, padded so that the data begins at a multiple of 8; NULL without memory. */
static char *format_header(const struct safetensors_entry *entries, int64_t count, size_t *length)
{
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    json_int_t place = 0;
    for (int64_t index = 0; index < count; index++) {
        const struct safetensors_entry *const entry = &entries[index];
        const json_int_t end = place + (json_int_t)entry->bytes;
        json_t *shape = json_array();
        for (int axis = 0; axis < entry->rank; axis++)
            json_array_append_new(shape, json_integer(entry->shape[axis]));
        json_object_set_new(header, entry->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", entry->type, "shape", shape,
                                      "data_offsets", place, end));
        place = end;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    if (!text)
        return NULL;
    const size_t used = strlen(text);
    *length = (used + 7) / 8 * 8;
    char *padded = realloc(text, *length + 1);
    if (!padded)
        free(text);
    else
        memset(padded + used, ' ', *length - used);
    return padded;
}

static bool fail(const struct safetensors_writer *writer, struct error *error)
{
    return error_system(error, writer->path, "cannot write this file",
                        "free disk space or choose another folder");
}

static bool write_header(struct safetensors_writer *writer, const struct safetensors_entry *entries,
                         int64_t count, struct error *error)
{
    size_t length = 0;
    char *header = format_header(entries, count, &length);
    unsigned char prefix[8];
    if (!header)
        return error_memory(error, "a header of tensors", (size_t)count * sizeof *entries, NULL);
    for (int byte = 0; byte < 8; byte++)
        prefix[byte] = (unsigned char)((uint64_t)length >> (8 * byte));
    const bool written = fwrite(prefix, 1, sizeof prefix, writer->stream) == sizeof prefix &&
                         fwrite(header, 1, length, writer->stream) == length;
    free(header);
    return written || fail(writer, error);
}

bool safetensors_writer_open(struct safetensors_writer **writer, const char *path,
                             const struct safetensors_entry *entries, int64_t count, struct error *error)
{
    struct safetensors_writer *const opened = *writer = calloc(1, sizeof **writer);
    if (!opened)
        return error_memory(error, path, sizeof *opened, NULL);
    opened->path = path_format("%s", path);
    opened->temporary = path_format("%s.tmp", path);
    opened->stream = fopen(opened->temporary, "wb");
    for (int64_t index = 0; index < count; index++)
        opened->expected += entries[index].bytes;
    if (!opened->stream)
        error_system(error, path, "cannot write this file", "choose a folder that can be written");
    if (opened->stream && write_header(opened, entries, count, error))
        return true;
    safetensors_writer_close(opened);
    *writer = NULL;
    return false;
}

bool safetensors_writer_append(struct safetensors_writer *writer, const void *bytes, size_t length,
                               struct error *error)
{
    writer->written += length;
    return fwrite(bytes, 1, length, writer->stream) == length || fail(writer, error);
}

bool safetensors_writer_commit(struct safetensors_writer *writer, struct error *error)
{
    if (writer->written != writer->expected)
        return error_at(error, ERROR_RUN, writer->path, 0,
                        "was given %zu bytes of tensors that have %zu; this is a defect", writer->written,
                        writer->expected);
    const bool flushed = fflush(writer->stream) == 0 && fsync(fileno(writer->stream)) == 0;
    const int reason = errno;
    const bool closed = fclose(writer->stream) == 0;
    writer->stream = NULL;
    if (flushed && closed && rename(writer->temporary, writer->path) == 0)
        return true;
    if (!flushed)
        errno = reason;
    fail(writer, error);
    unlink(writer->temporary);
    return false;
}

void safetensors_writer_close(struct safetensors_writer *writer)
{
    if (!writer)
        return;
    if (writer->stream) {
        fclose(writer->stream);
        unlink(writer->temporary);
    }
    free(writer->path);
    free(writer->temporary);
    free(writer);
}

/* ---- tensors that are in memory ----------------------------------------------------------------------- */

static const char *type_name(enum dtype dtype)
{
    return dtype == DTYPE_F64 ? "F64" : dtype == DTYPE_BF16 ? "BF16" : "F32";
}

static struct safetensors_entry describe(const struct named_tensor *named)
{
    struct safetensors_entry entry = {.name = named->name,
                                      .type = type_name(named->tensor.dtype),
                                      .rank = named->tensor.rank,
                                      .bytes = tensor_bytes(&named->tensor)};
    for (int axis = 0; axis < entry.rank; axis++)
        entry.shape[axis] = named->tensor.shape[axis];
    return entry;
}

static bool write_tensors(const char *path, struct backend *backend, const struct named_tensor *tensors,
                          const struct safetensors_entry *entries, int64_t count, void *buffer,
                          struct error *error)
{
    struct safetensors_writer *writer = NULL;
    bool written = safetensors_writer_open(&writer, path, entries, count, error);
    for (int64_t index = 0; written && index < count; index++) {
        const bool on_host = tensors[index].tensor.device == DEVICE_CPU;
        if (!on_host)
            tensor_download(backend, buffer, &tensors[index].tensor);
        written = safetensors_writer_append(writer, on_host ? tensors[index].tensor.data : buffer,
                                            entries[index].bytes, error);
    }
    written = written && safetensors_writer_commit(writer, error);
    safetensors_writer_close(writer);
    return written;
}

bool safetensors_write(const char *path, struct backend *backend, const struct named_tensor *tensors,
                       int64_t count, struct error *error)
{
    size_t largest = 1;
    struct safetensors_entry *entries = calloc((size_t)count + 1, sizeof *entries);
    for (int64_t index = 0; entries && index < count; index++) {
        entries[index] = describe(&tensors[index]);
        largest = entries[index].bytes > largest ? entries[index].bytes : largest;
    }
    void *buffer = malloc(largest);
    const bool written = entries && buffer
                             ? write_tensors(path, backend, tensors, entries, count, buffer, error)
                             : error_memory(error, "a tensor to be written", largest, NULL);
    free(buffer);
    free(entries);
    return written;
}
