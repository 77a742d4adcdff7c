#include "models/language/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"

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

static size_t type_bytes(const char *type)
{
    static const struct {
        const char *name;
        size_t bytes;
    } types[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I16", 2},
                 {"I8", 1},  {"U64", 8}, {"U32", 4}, {"U16", 2},  {"U8", 1},  {"BOOL", 1}};
    for (size_t index = 0; index < sizeof types / sizeof *types; index++)
        if (strcmp(types[index].name, type) == 0)
            return types[index].bytes;
    return 0;
}

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
    const size_t size = entry->type ? type_bytes(entry->type) : 0;
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

/* ---- conversion --------------------------------------------------------------------------------------- */

static float float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float float_from_half(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, mantissa = half & 0x3ffu;
    const uint32_t exponent = (uint32_t)(half >> 10) & 0x1fu;
    if (exponent == 0) /* zero and subnormal: mantissa * 2^-24 */
        return (sign ? -1.0f : 1.0f) * ldexpf((float)mantissa, -24);
    if (exponent == 31)
        return float_from_bits(sign | 0x7f800000u | mantissa << 13);
    return float_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

static void convert(real *values, const struct safetensors_entry *entry)
{
    const unsigned char *bytes = entry->data;
    if (strcmp(entry->type, "F32") == 0) {
        for (int64_t index = 0; index < entry->count; index++) {
            float value;
            memcpy(&value, bytes + index * 4, sizeof value);
            values[index] = (real)value;
        }
    } else if (strcmp(entry->type, "F64") == 0) {
        for (int64_t index = 0; index < entry->count; index++) {
            double value;
            memcpy(&value, bytes + index * 8, sizeof value);
            values[index] = (real)value;
        }
    } else {
        const bool half = strcmp(entry->type, "F16") == 0;
        for (int64_t index = 0; index < entry->count; index++) {
            uint16_t bits;
            memcpy(&bits, bytes + index * 2, sizeof bits);
            values[index] = (real)(half ? float_from_half(bits) : float_from_bits((uint32_t)bits << 16));
        }
    }
}

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
    if (entry->type[0] != 'F' && strcmp(entry->type, "BF16") != 0)
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
    convert(values, entry);
    struct error reason = ERROR_INITIALIZER;
    const bool uploaded = tensor_upload_rounded(backend, tensor, values, &reason);
    free(values);
    return uploaded || error_at(error, ERROR_RUN, file->path, 0, "tensor '%s': %s", name, reason.message);
}

/* ---- writing ------------------------------------------------------------------------------------------ */

static const char *type_name(enum dtype dtype)
{
    return dtype == DTYPE_F64 ? "F64" : dtype == DTYPE_BF16 ? "BF16" : "F32";
}

/* The header's text, padded so that the data begins at a multiple of 8; NULL without memory. */
static char *format_header(const struct named_tensor *tensors, int64_t count, size_t *length)
{
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    json_int_t place = 0;
    for (int64_t index = 0; index < count; index++) {
        const struct tensor *const tensor = &tensors[index].tensor;
        const json_int_t end = place + (json_int_t)tensor_bytes(tensor);
        json_t *shape = json_array();
        for (int axis = 0; axis < tensor->rank; axis++)
            json_array_append_new(shape, json_integer(tensor->shape[axis]));
        json_object_set_new(header, tensors[index].name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", type_name(tensor->dtype), "shape",
                                      shape, "data_offsets", place, end));
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

static bool write_tensors(FILE *stream, struct backend *backend, const struct named_tensor *tensors,
                          int64_t count, const char *header, size_t header_length, void *buffer)
{
    unsigned char prefix[8];
    for (int byte = 0; byte < 8; byte++)
        prefix[byte] = (unsigned char)((uint64_t)header_length >> (8 * byte));
    if (fwrite(prefix, 1, sizeof prefix, stream) != sizeof prefix ||
        fwrite(header, 1, header_length, stream) != header_length)
        return false;
    for (int64_t index = 0; index < count; index++) {
        const size_t bytes = tensor_bytes(&tensors[index].tensor);
        tensor_download(backend, buffer, &tensors[index].tensor);
        if (fwrite(buffer, 1, bytes, stream) != bytes)
            return false;
    }
    return fflush(stream) == 0 && fsync(fileno(stream)) == 0;
}

static bool write_file(const char *path, const char *temporary, struct backend *backend,
                       const struct named_tensor *tensors, int64_t count, const char *header,
                       size_t header_length, void *buffer, struct error *error)
{
    FILE *stream = fopen(temporary, "wb");
    if (!stream)
        return error_system(error, path, "cannot write this file", "choose a folder that can be written");
    const bool written = write_tensors(stream, backend, tensors, count, header, header_length, buffer);
    const int reason = errno;
    const bool closed = fclose(stream) == 0;
    if (!written)
        errno = reason;
    if (written && closed && rename(temporary, path) == 0)
        return true;
    error_system(error, path, "cannot write this file", "free disk space or choose another folder");
    unlink(temporary);
    return false;
}

bool safetensors_write(const char *path, struct backend *backend, const struct named_tensor *tensors,
                       int64_t count, struct error *error)
{
    size_t largest = 1, header_length = 0;
    for (int64_t index = 0; index < count; index++) {
        const size_t bytes = tensor_bytes(&tensors[index].tensor);
        largest = bytes > largest ? bytes : largest;
    }
    char *header = format_header(tensors, count, &header_length);
    char *temporary = path_format("%s.tmp", path);
    void *buffer = malloc(largest);
    bool done = false;
    if (!header || !buffer)
        error_memory(error, "a tensor to be written", largest, NULL);
    else
        done = write_file(path, temporary, backend, tensors, count, header, header_length, buffer, error);
    free(temporary);
    free(buffer);
    free(header);
    return done;
}
