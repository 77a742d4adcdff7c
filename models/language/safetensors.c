#include "models/language/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "models/language/safetensors_values.h"

#define ADVICE "get the file anew"
#define HEADER_BYTES_MAXIMUM ((uint64_t)100 << 20)

struct safetensors {
    char *path;
    void *mapping; /* NULL: the bytes belong to the caller */
    size_t mapping_bytes;
    const unsigned char *data;
    size_t data_bytes;
    json_t *header;
    struct safetensors_entry *entries; /* by the place of their data */
    int64_t count;
};

/* ---- the header --------------------------------------------------------------------------------------- */

/* Reads "shape" and counts the elements; false when it is no shape or too large. */
static bool parse_shape(struct safetensors_entry *entry, const json_t *shape)
{
    const size_t rank = json_array_size(shape);
    if (!json_is_array(shape) || rank > SAFETENSORS_RANK_MAX)
        return false;
    entry->rank = (int)rank;
    entry->count = 1;
    for (size_t axis = 0; axis < rank; axis++) {
        const json_t *length = json_array_get(shape, axis);
        if (!json_is_integer(length) || json_integer_value(length) < 0)
            return false;
        entry->shape[axis] = json_integer_value(length);
        if (__builtin_mul_overflow(entry->count, entry->shape[axis], &entry->count))
            return false;
    }
    return true;
}

static bool parse_entry(const struct safetensors *file, struct safetensors_entry *entry, const char *name,
                        const json_t *description, struct error *error)
{
    const json_t *offsets = json_object_get(description, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    entry->name = name;
    entry->type = json_string_value(json_object_get(description, "dtype"));
    const size_t size = entry->type ? safetensors_type_bytes(entry->type) : 0;
    if (size == 0)
        return error_at(error, ERROR_RUN, file->path, 0,
                        "tensor '%.80s' has the unknown type '%.20s'; " ADVICE, name,
                        entry->type ? entry->type : "");
    if (!parse_shape(entry, json_object_get(description, "shape")))
        return error_at(error, ERROR_RUN, file->path, 0, "tensor '%.80s' has no usable shape; " ADVICE, name);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return error_at(error, ERROR_RUN, file->path, 0, "tensor '%.80s' has no usable data_offsets; " ADVICE,
                        name);
    if ((uint64_t)json_integer_value(end) > file->data_bytes)
        return error_at(
            error, ERROR_RUN, file->path, 0,
            "tensor '%.80s' ends at byte %lld of the data, which has %zu; the file is cut off, " ADVICE, name,
            (long long)json_integer_value(end), file->data_bytes);
    size_t bytes;
    entry->bytes = (size_t)(json_integer_value(end) - json_integer_value(begin));
    if (__builtin_mul_overflow((size_t)entry->count, size, &bytes) || bytes != entry->bytes)
        return error_at(error, ERROR_RUN, file->path, 0,
                        "tensor '%.80s' has %zu bytes, not what %lld elements of %s need; " ADVICE, name,
                        entry->bytes, (long long)entry->count, entry->type);
    entry->data = file->data + json_integer_value(begin);
    return true;
}

static int compare_places(const void *left, const void *right)
{
    const struct safetensors_entry *const a = left, *const b = right;
    if (a->data != b->data)
        return (const unsigned char *)a->data < (const unsigned char *)b->data ? -1 : 1;
    if (a->bytes != b->bytes)
        return a->bytes < b->bytes ? -1 : 1;
    return strcmp(a->name, b->name);
}

static bool check_cover(const struct safetensors *file, struct error *error)
{
    const unsigned char *place = file->data;
    for (int64_t index = 0; index < file->count; index++) {
        const struct safetensors_entry *const entry = &file->entries[index];
        if ((const unsigned char *)entry->data != place)
            return error_at(error, ERROR_RUN, file->path, 0, "tensor '%.80s' %s; " ADVICE, entry->name,
                            (const unsigned char *)entry->data < place ? "overlaps the one before it"
                                                                       : "leaves a gap before it");
        place += entry->bytes;
    }
    if (place != file->data + file->data_bytes)
        return error_at(error, ERROR_RUN, file->path, 0,
                        "%zu bytes after the last tensor belong to none; " ADVICE,
                        (size_t)(file->data + file->data_bytes - place));
    return true;
}

static bool parse_header(struct safetensors *file, const char *text, size_t length, struct error *error)
{
    json_error_t reason;
    file->header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &reason);
    if (!json_is_object(file->header))
        return error_at(error, ERROR_RUN, file->path, 0, "the header is no JSON object (%s); " ADVICE,
                        file->header ? "another value" : reason.text);
    file->entries = calloc(json_object_size(file->header) + 1, sizeof *file->entries);
    if (!file->entries)
        return error_memory(error, "the list of tensors",
                            json_object_size(file->header) * sizeof *file->entries, NULL);
    const char *name;
    json_t *description;
    json_object_foreach(file->header, name, description)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        if (!parse_entry(file, &file->entries[file->count], name, description, error))
            return false;
        file->count++;
    }
    qsort(file->entries, (size_t)file->count, sizeof *file->entries, compare_places);
    return check_cover(file, error);
}

static bool parse_bytes(struct safetensors *file, const unsigned char *bytes, size_t length,
                        struct error *error)
{
    if (length < 8)
        return error_at(error, ERROR_RUN, file->path, 0,
                        "%zu bytes are too few for a safetensors file; " ADVICE, length);
    uint64_t header = 0;
    for (int byte = 7; byte >= 0; byte--)
        header = header << 8 | bytes[byte];
    if (header > HEADER_BYTES_MAXIMUM || header > length - 8)
        return error_at(
            error, ERROR_RUN, file->path, 0,
            "a header of %llu bytes in a file of %zu; not a safetensors file, or cut off: " ADVICE,
            (unsigned long long)header, length);
    file->data = bytes + 8 + header;
    file->data_bytes = length - 8 - (size_t)header;
    return parse_header(file, (const char *)bytes + 8, (size_t)header, error);
}

/* ---- open and find ------------------------------------------------------------------------------------ */

bool safetensors_parse(struct safetensors **file, const char *name, const void *bytes, size_t length,
                       struct error *error)
{
    *file = calloc(1, sizeof **file);
    char *path = strdup(name);
    if (!*file || !path) {
        free(path);
        free(*file);
        *file = NULL;
        return error_memory(error, name, sizeof **file, NULL);
    }
    (*file)->path = path;
    if (parse_bytes(*file, bytes, length, error))
        return true;
    safetensors_close(*file);
    *file = NULL;
    return false;
}

static bool map_file(const char *path, void **mapping, size_t *bytes, struct error *error)
{
    struct stat status;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return error_system(error, path, "cannot open this file", NULL);
    const bool known = fstat(descriptor, &status) == 0;
    const bool usable = known && S_ISREG(status.st_mode) && status.st_size >= 8;
    *mapping =
        usable ? mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0) : MAP_FAILED;
    const int reason = errno;
    close(descriptor);
    if (known && !usable)
        return error_at(error, ERROR_RUN, path, 0, "is no safetensors file, or an empty one; " ADVICE);
    errno = reason;
    if (*mapping == MAP_FAILED)
        return error_system(error, path, "cannot map this file", NULL);
    *bytes = (size_t)status.st_size;
    return true;
}

bool safetensors_open(struct safetensors **file, const char *path, struct error *error)
{
    void *mapping = NULL;
    size_t bytes = 0;
    *file = NULL;
    if (!map_file(path, &mapping, &bytes, error))
        return false;
    if (!safetensors_parse(file, path, mapping, bytes, error)) {
        munmap(mapping, bytes);
        return false;
    }
    (*file)->mapping = mapping;
    (*file)->mapping_bytes = bytes;
    return true;
}

void safetensors_close(struct safetensors *file)
{
    if (!file)
        return;
    if (file->mapping)
        munmap(file->mapping, file->mapping_bytes);
    json_decref(file->header);
    free(file->entries);
    free(file->path);
    free(file);
}

int64_t safetensors_count(const struct safetensors *file)
{
    return file->count;
}

const struct safetensors_entry *safetensors_at(const struct safetensors *file, int64_t index)
{
    return &file->entries[index];
}

const struct safetensors_entry *safetensors_find(const struct safetensors *file, const char *name)
{
    for (int64_t index = 0; index < file->count; index++)
        if (strcmp(file->entries[index].name, name) == 0)
            return &file->entries[index];
    return NULL;
}

/* ---- tensors of a model -------------------------------------------------------------------------------- */

static bool has_shape(const struct safetensors_entry *entry, const struct tensor *tensor)
{
    bool same = entry->rank == tensor->rank;
    for (int axis = 0; same && axis < tensor->rank; axis++)
        same = entry->shape[axis] == tensor->shape[axis];
    return same;
}

static void format_shape(char text[160], int rank, const int64_t *shape)
{
    size_t used = (size_t)snprintf(text, 160, "[");
    for (int axis = 0; axis < rank && used < 160; axis++)
        used +=
            (size_t)snprintf(text + used, 160 - used, "%s%lld", axis > 0 ? ", " : "", (long long)shape[axis]);
    if (used < 160)
        snprintf(text + used, 160 - used, "]");
}

bool safetensors_check(const struct safetensors *file, const char *name, const struct tensor *tensor,
                       struct error *error)
{
    const struct safetensors_entry *const entry = safetensors_find(file, name);
    if (!entry)
        return error_at(error, ERROR_RUN, file->path, 0,
                        "there is no tensor '%s'; the file belongs to another model", name);
    if (!has_shape(entry, tensor)) {
        char found[160], wanted[160];
        format_shape(found, entry->rank, entry->shape);
        format_shape(wanted, tensor->rank, tensor->shape);
        return error_at(error, ERROR_RUN, file->path, 0,
                        "tensor '%s' has the shape %s, not %s; the file belongs to another model", name,
                        found, wanted);
    }
    if (!safetensors_type_is_float(entry->type))
        return error_at(error, ERROR_RUN, file->path, 0,
                        "tensor '%s' is of type %s; F32, F64, F16 or BF16 is expected", name, entry->type);
    return true;
}

bool safetensors_read(const struct safetensors *file, const char *name, struct backend *backend,
                      struct tensor *tensor, struct error *error)
{
    if (!safetensors_check(file, name, tensor, error))
        return false;
    const struct safetensors_entry *const entry = safetensors_find(file, name);
    const size_t bytes = (size_t)entry->count * sizeof(real);
    real *values = malloc(bytes > 0 ? bytes : 1);
    if (!values)
        return error_memory(error, name, bytes, NULL);
    safetensors_values(values, entry, 0, entry->count);
    struct error reason = ERROR_INITIALIZER;
    const bool on_host = tensor->device == DEVICE_CPU && tensor->dtype == DTYPE_REAL;
    if (on_host)
        memcpy(tensor->data, values, bytes);
    const bool uploaded = on_host || tensor_upload_rounded(backend, tensor, values, &reason);
    free(values);
    return uploaded || error_at(error, ERROR_RUN, file->path, 0, "tensor '%s': %s", name, reason.message);
}
