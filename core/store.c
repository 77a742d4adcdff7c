#include "core/store.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"

struct store {
    char *path, *temporary; /* temporary: NULL where the file is built in memory */
    hid_t file;
    bool writing;
};

/* The innermost message of HDF5's error stack, or the system's reason when it holds one. */
static herr_t take_first_message(unsigned level, const H5E_error2_t *entry, void *context)
{
    if (level == 0 && entry->desc)
        snprintf(context, 256, "%s", entry->desc);
    return 0;
}

static void library_message(char message[256])
{
    snprintf(message, 256, "unknown reason");
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first_message, message);
    char *reason = strstr(message, "error message = '");
    if (reason) {
        reason += strlen("error message = '");
        reason[strcspn(reason, "'")] = '\0';
        memmove(message, reason, strlen(reason) + 1);
    }
    H5Eclear2(H5E_DEFAULT);
}

static bool complain(const struct store *store, const char *name, const char *what, struct error *error)
{
    char message[256];
    library_message(message);
    return error_at(error, ERROR_RUN, store->path, 0, "%s: %s (%s)", name, what, message);
}

bool store_is_thread_safe(void)
{
    hbool_t safe = false;
    return H5is_library_threadsafe(&safe) >= 0 && safe;
}

/* ---- opening and closing ------------------------------------------------------------------------------ */

static bool make_store(struct store **store, const char *path, bool writing, struct error *error)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    *store = calloc(1, sizeof **store);
    if (!*store)
        return error_memory(error, "an HDF5 file's handle", sizeof **store, NULL);
    (*store)->path = path_format("%s", path);
    (*store)->file = H5I_INVALID_HID;
    (*store)->writing = writing;
    return true;
}

bool store_create(struct store **store, const char *path, struct error *error)
{
    if (!make_store(store, path, true, error))
        return false;
    /* The file is built in memory and written by store_commit(): HDF5 cannot let go of a file on a full disk.
     */
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_core(access, 1 << 20, false);
    (*store)->file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    const bool created = (*store)->file >= 0 || complain(*store, "/", "cannot create an HDF5 file", error);
    H5Pclose(access);
    if (created)
        return true;
    store_close(*store);
    *store = NULL;
    return false;
}

/* Reserves disk space beyond the end of a file, where the file system can; 0 or the system's reason. */
static int reserve_disk(const char *path, int64_t bytes)
{
    const int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    if (descriptor < 0)
        return errno;
    const int reason = fallocate(descriptor, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes) == 0 ? 0 : errno;
    close(descriptor);
    return reason == EOPNOTSUPP ? 0 : reason;
}

bool store_create_large(struct store **store, const char *path, int64_t bytes, struct error *error)
{
    if (!make_store(store, path, true, error))
        return false;
    (*store)->temporary = path_format("%s.tmp", path);
    /* Created by the system's own call first: its reason is clearer than the library's. */
    const int descriptor = open((*store)->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor >= 0 && close(descriptor) == 0)
        (*store)->file = H5Fcreate((*store)->temporary, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    else
        error_system(error, path, "cannot write this file", "choose a folder that can be written");
    const int reason = (*store)->file >= 0 ? reserve_disk((*store)->temporary, bytes) : 0;
    if ((*store)->file >= 0 && reason == 0)
        return true;
    if ((*store)->file < 0)
        complain(*store, "/", "cannot create an HDF5 file", error);
    else
        error_at(error, ERROR_RUN, path, 0, "%.1f MiB cannot be reserved (%s); free disk space or write less",
                 (double)bytes / 1048576.0, strerror(reason));
    store_close(*store);
    *store = NULL;
    return false;
}

bool store_open(struct store **store, const char *path, struct error *error)
{
    if (!make_store(store, path, false, error))
        return false;
    FILE *stream = fopen(path, "rb");
    if (!stream) {
        error_system(error, path, "cannot open this file", NULL);
    } else {
        fclose(stream);
        const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
        H5Pset_file_locking(access, false, true);
        (*store)->file = H5Fopen(path, H5F_ACC_RDONLY, access);
        if ((*store)->file < 0) {
            char message[256];
            library_message(message);
            error_at(error, ERROR_RUN, path, 0,
                     "is not an HDF5 file, or is damaged or cut off (%s); remove it and make it again",
                     message);
        }
        H5Pclose(access);
    }
    if ((*store)->file >= 0)
        return true;
    store_close(*store);
    *store = NULL;
    return false;
}

/* Gives back what was reserved and not used, and sees the file to the disk. */
static bool settle(const char *path)
{
    struct stat status;
    const int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    if (descriptor < 0)
        return false;
    const bool settled = fstat(descriptor, &status) == 0 && ftruncate(descriptor, status.st_size) == 0 &&
                         fsync(descriptor) == 0;
    const int reason = errno;
    close(descriptor);
    errno = reason;
    return settled;
}

/* Closes and renames a file that was built on disk. */
static bool commit_large(struct store *store, struct error *error)
{
    bool done = H5Fclose(store->file) >= 0 || complain(store, "/", "cannot finish this file", error);
    store->file = H5I_INVALID_HID;
    done = done && ((settle(store->temporary) && rename(store->temporary, store->path) == 0) ||
                    error_system(error, store->path, "cannot write this file",
                                 "free disk space or choose another folder"));
    store_close(store);
    return done;
}

bool store_commit(struct store *store, struct error *error)
{
    if (store->temporary)
        return commit_large(store, error);
    bool done = false;
    void *image = NULL;
    ssize_t size = -1;
    if (H5Fflush(store->file, H5F_SCOPE_GLOBAL) >= 0)
        size = H5Fget_file_image(store->file, NULL, 0);
    if (size <= 0) {
        complain(store, "/", "cannot finish this file", error);
    } else if (!(image = malloc((size_t)size))) {
        error_memory(error, store->path, (size_t)size, NULL);
    } else if (H5Fget_file_image(store->file, image, (size_t)size) != size) {
        complain(store, "/", "cannot finish this file", error);
    } else {
        done = file_write(store->path, image, (size_t)size, error);
    }
    free(image);
    store_close(store);
    return done;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    if (store->file >= 0)
        H5Fclose(store->file);
    if (store->temporary)
        unlink(store->temporary); /* gone already after a commit */
    free(store->temporary);
    free(store->path);
    free(store);
}

/* ---- arrays ------------------------------------------------------------------------------------------- */

static hid_t memory_type(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_F32:
        return H5T_NATIVE_FLOAT;
    case DTYPE_F64:
        return H5T_NATIVE_DOUBLE;
    case DTYPE_BF16:
        return H5T_NATIVE_UINT16;
    case DTYPE_I32:
        return H5T_NATIVE_INT32;
    case DTYPE_I64:
        return H5T_NATIVE_INT64;
    case DTYPE_U32:
        return H5T_NATIVE_UINT32;
    case DTYPE_INT8:
    case DTYPE_NF4:
        break; /* no file holds them */
    }
    return H5I_INVALID_HID;
}

/* Creation properties of an array: chunks of about 256 KiB, shuffled, deflated, with a checksum. No times, so
 * that equal contents make equal files. */
static hid_t array_properties(hsize_t rows, hsize_t columns, size_t element)
{
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_obj_track_times(properties, false);
    const hsize_t width = columns > 0 ? columns : 1;
    if (rows == 0)
        return properties;
    hsize_t chunk[2] = {(1 << 18) / (width * element) + 1, width};
    if (chunk[0] > rows)
        chunk[0] = rows;
    H5Pset_chunk(properties, columns > 0 ? 2 : 1, chunk);
    H5Pset_shuffle(properties);
    H5Pset_deflate(properties, 2);
    H5Pset_fletcher32(properties);
    return properties;
}

static bool write_array(struct store *store, const char *name, hid_t type, int64_t rows, int64_t columns,
                        const void *data, struct error *error)
{
    const hsize_t shape[2] = {(hsize_t)rows, (hsize_t)columns};
    const hid_t space = H5Screate_simple(columns > 0 ? 2 : 1, shape, NULL);
    const hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    const hid_t properties = array_properties(shape[0], shape[1], H5Tget_size(type));
    const hid_t set = H5Dcreate2(store->file, name, type, space, links, properties, H5P_DEFAULT);
    const bool done =
        set >= 0 && (rows == 0 || H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    if (!done)
        complain(store, name, "cannot write this data set", error);
    if (set >= 0)
        H5Dclose(set);
    H5Pclose(properties);
    H5Pclose(links);
    H5Sclose(space);
    return done;
}

bool store_write(struct store *store, const char *name, enum dtype dtype, int64_t rows, int64_t columns,
                 const void *data, struct error *error)
{
    return write_array(store, name, memory_type(dtype), rows, columns, data, error);
}

/* An array of which rows are written as they come: all of its space is there from the start, and nothing of it is filled. */
static hid_t create_rows(const struct store *store, const char *name, hid_t type, int64_t rows,
                         int64_t columns)
{
    const hsize_t shape[2] = {(hsize_t)rows, (hsize_t)columns};
    hsize_t chunk[2] = {(1 << 18) / (shape[1] * H5Tget_size(type)) + 1, shape[1]};
    if (chunk[0] > shape[0])
        chunk[0] = shape[0];
    const hid_t space = H5Screate_simple(2, shape, NULL);
    const hid_t links = H5Pcreate(H5P_LINK_CREATE), properties = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    H5Pset_obj_track_times(properties, false);
    H5Pset_chunk(properties, 2, chunk);
    H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER);
    const hid_t set = H5Dcreate2(store->file, name, type, space, links, properties, H5P_DEFAULT);
    H5Pclose(properties);
    H5Pclose(links);
    H5Sclose(space);
    return set;
}

bool store_write_rows(struct store *store, const char *name, enum dtype dtype, int64_t rows, int64_t columns,
                      int64_t first, int64_t count, const void *data, struct error *error)
{
    const hid_t type = memory_type(dtype);
    const hid_t set =
        first == 0 ? create_rows(store, name, type, rows, columns) : H5Dopen2(store->file, name, H5P_DEFAULT);
    if (set < 0)
        return complain(store, name, "cannot write this data set", error);
    const hsize_t place[2] = {(hsize_t)first, 0}, shape[2] = {(hsize_t)count, (hsize_t)columns};
    const hid_t target = H5Dget_space(set), source = H5Screate_simple(2, shape, NULL);
    const bool written = H5Sselect_hyperslab(target, H5S_SELECT_SET, place, NULL, shape, NULL) >= 0 &&
                         H5Dwrite(set, type, source, target, H5P_DEFAULT, data) >= 0;
    if (!written)
        complain(store, name, "cannot write this data set", error);
    H5Sclose(source);
    H5Sclose(target);
    const bool closed = H5Dclose(set) >= 0;
    return written && (closed || complain(store, name, "cannot write this data set", error));
}

/* H5Lexists() wants every group on the way to exist. */
bool store_has(struct store *store, const char *name)
{
    char *prefix = path_format("%s", name);
    bool found = true;
    for (char *end = prefix; found && *end; end++) {
        if (*end == '/')
            continue;
        end += strcspn(end, "/");
        const char kept = *end;
        *end = '\0';
        found = H5Lexists(store->file, prefix, H5P_DEFAULT) > 0;
        *end = kept;
        if (kept == '\0')
            break;
    }
    free(prefix);
    H5Eclear2(H5E_DEFAULT);
    return found;
}

/* Opens a data set for reading and learns its shape (columns 0: rank 1). */
static hid_t open_array(struct store *store, const char *name, int64_t *rows, int64_t *columns,
                        struct error *error)
{
    if (!store_has(store, name)) {
        error_at(error, ERROR_RUN, store->path, 0, "%s: this data set is missing; make the file again", name);
        return H5I_INVALID_HID;
    }
    const hid_t set = H5Dopen2(store->file, name, H5P_DEFAULT);
    if (set < 0) {
        complain(store, name, "cannot open this data set", error);
        return set;
    }
    const hid_t space = H5Dget_space(set);
    hsize_t shape[2] = {0, 0};
    const int rank = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;
    const bool known = (rank == 1 || rank == 2) && H5Sget_simple_extent_dims(space, shape, NULL) == rank;
    if (space >= 0)
        H5Sclose(space);
    if (!known || shape[0] > INT64_MAX / 16 || shape[1] > INT32_MAX) {
        error_at(error, ERROR_RUN, store->path, 0, "%s: has %d dimensions; 1 or 2 are expected", name, rank);
        H5Dclose(set);
        return H5I_INVALID_HID;
    }
    *rows = (int64_t)shape[0];
    *columns = rank == 2 ? (int64_t)shape[1] : 0;
    return set;
}

static bool same_kind(hid_t stored, hid_t wanted)
{
    const H5T_class_t kind = H5Tget_class(stored);
    return kind == H5Tget_class(wanted) && H5Tget_size(stored) == H5Tget_size(wanted) &&
           (kind != H5T_INTEGER || H5Tget_sign(stored) == H5Tget_sign(wanted));
}

/* Reads a whole array of rank 1 or 2 whose element type is known to agree. */
static bool read_array(struct store *store, hid_t set, const char *name, hid_t type, int64_t rows,
                       int64_t columns, void **data, struct error *error)
{
    size_t bytes;
    if (__builtin_mul_overflow((size_t)rows, columns > 0 ? (size_t)columns : 1, &bytes) ||
        __builtin_mul_overflow(bytes, H5Tget_size(type), &bytes))
        return error_at(error, ERROR_RUN, store->path, 0, "%s: is too large to be true; the file is damaged",
                        name);
    void *memory = malloc(bytes > 0 ? bytes : 1);
    if (!memory)
        return error_memory(error, name, bytes, NULL);
    if (bytes > 0 && H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, memory) < 0) {
        free(memory);
        return complain(store, name, "cannot read this data set; the file is damaged, make it again", error);
    }
    *data = memory;
    return true;
}

bool store_read(struct store *store, const char *name, enum dtype dtype, int64_t *rows, int64_t *columns,
                void **data, struct error *error)
{
    int64_t columns_found = 0;
    const hid_t set = open_array(store, name, rows, &columns_found, error);
    if (set < 0)
        return false;
    const bool matrix_wanted = columns && *columns != 0;
    const hid_t type = memory_type(dtype), stored = H5Dget_type(set);
    bool done = false;
    if (matrix_wanted != (columns_found > 0))
        error_at(error, ERROR_RUN, store->path, 0, "%s: has rank %d, but rank %d is expected", name,
                 columns_found > 0 ? 2 : 1, matrix_wanted ? 2 : 1);
    else if (!same_kind(stored, type))
        error_at(error, ERROR_RUN, store->path, 0, "%s: its elements are not %s", name, dtype_name(dtype));
    else
        done = read_array(store, set, name, type, *rows, columns_found, data, error);
    if (done && columns)
        *columns = columns_found;
    H5Tclose(stored);
    H5Dclose(set);
    return done;
}

/* ---- ids and matrices --------------------------------------------------------------------------------- */

static hid_t string_type(size_t size)
{
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, size);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

bool store_write_ids(struct store *store, const char *name, const struct id_map *ids, struct error *error)
{
    size_t width = 1;
    for (int64_t i = 0; i < ids->count; i++) {
        const size_t length = strlen(id_map_name(ids, i));
        width = length > width ? length : width;
    }
    const size_t bytes = width * (size_t)ids->count;
    char *table = calloc(bytes > 0 ? bytes : 1, 1);
    if (!table)
        return error_memory(error, name, bytes, "shorten the ids of the input");
    for (int64_t i = 0; i < ids->count; i++) {
        const char *id = id_map_name(ids, i);
        memcpy(table + (size_t)i * width, id, strlen(id));
    }
    const hid_t type = string_type(width);
    const bool done = write_array(store, name, type, ids->count, 0, table, error);
    H5Tclose(type);
    free(table);
    return done;
}

/* Packs `count` strings, in fields of `width` bytes (table) or behind pointers (pointers), into an id map. */
static bool pack_ids(struct id_map *ids, int64_t count, const char *table, size_t width,
                     char *const *pointers)
{
    size_t bytes = 0;
    for (int64_t i = 0; i < count; i++)
        bytes += 1 + (pointers ? (pointers[i] ? strlen(pointers[i]) : 0)
                               : strnlen(table + (size_t)i * width, width));
    *ids = (struct id_map){.count = count,
                           .offsets = malloc(((size_t)count + 1) * sizeof *ids->offsets),
                           .bytes = malloc(bytes > 0 ? bytes : 1)};
    if (!ids->offsets || !ids->bytes) {
        id_map_free(ids);
        return false;
    }
    ids->offsets[0] = 0;
    for (int64_t i = 0; i < count; i++) {
        const char *text = pointers ? (pointers[i] ? pointers[i] : "") : table + (size_t)i * width;
        const size_t length = pointers ? strlen(text) : strnlen(text, width);
        memcpy(ids->bytes + ids->offsets[i], text, length);
        ids->bytes[ids->offsets[i] + (int64_t)length] = '\0';
        ids->offsets[i + 1] = ids->offsets[i] + (int64_t)length + 1;
    }
    return true;
}

/* Fields of fixed size, as idrec writes them, and pointers, as h5py writes them. */
static bool read_id_table(struct store *store, hid_t set, const char *name, int64_t count, struct id_map *ids,
                          struct error *error)
{
    const hid_t stored = H5Dget_type(set);
    const bool variable = H5Tis_variable_str(stored) > 0;
    const hid_t type = string_type(variable ? H5T_VARIABLE : H5Tget_size(stored));
    H5Tset_cset(type, H5Tget_cset(stored));
    void *data = NULL;
    bool done = read_array(store, set, name, type, count, 0, &data, error);
    if (done) {
        done = pack_ids(ids, count, data, H5Tget_size(type), variable ? data : NULL);
        if (!done)
            error_memory(error, name, (size_t)count, NULL);
    }
    if (data && variable) {
        const hid_t space = H5Dget_space(set);
        H5Dvlen_reclaim(type, space, H5P_DEFAULT, data);
        H5Sclose(space);
    }
    free(data);
    H5Tclose(type);
    H5Tclose(stored);
    return done;
}

bool store_read_ids(struct store *store, const char *name, struct id_map *ids, struct error *error)
{
    int64_t count = 0, columns = 0;
    const hid_t set = open_array(store, name, &count, &columns, error);
    if (set < 0)
        return false;
    const hid_t stored = H5Dget_type(set);
    const bool strings = columns == 0 && H5Tget_class(stored) == H5T_STRING;
    H5Tclose(stored);
    const bool done = strings
                          ? read_id_table(store, set, name, count, ids, error)
                          : error_at(error, ERROR_RUN, store->path, 0, "%s: is not a list of strings", name);
    H5Dclose(set);
    return done;
}

bool store_write_csr(struct store *store, const char *name, const struct csr *matrix, struct error *error)
{
    char *starts = path_format("%s/indptr", name), *indices = path_format("%s/indices", name);
    const bool done =
        store_write(store, starts, DTYPE_I64, matrix->rows + 1, 0, matrix->starts, error) &&
        store_write(store, indices, DTYPE_I32, matrix->starts[matrix->rows], 0, matrix->indices, error) &&
        store_set_integer(store, name, "rows", matrix->rows, error) &&
        store_set_integer(store, name, "columns", matrix->columns, error);
    free(starts);
    free(indices);
    return done;
}

/* NULL, or what is wrong with a matrix whose arrays hold `starts_length` and `count` elements. */
static const char *csr_fault(const struct csr *matrix, int64_t starts_length, int64_t count)
{
    if (matrix->rows < 0 || matrix->columns < 0 || matrix->columns > INT32_MAX ||
        starts_length != matrix->rows + 1)
        return "indptr does not fit the number of rows";
    if (matrix->starts[0] != 0 || matrix->starts[matrix->rows] != count)
        return "indptr does not fit the number of indices";
    for (int64_t row = 0; row < matrix->rows; row++)
        if (matrix->starts[row + 1] < matrix->starts[row])
            return "indptr does not ascend";
    for (int64_t i = 0; i < count; i++)
        if (matrix->indices[i] < 0 || matrix->indices[i] >= matrix->columns)
            return "an index is out of range";
    return NULL;
}

bool store_read_csr(struct store *store, const char *name, struct csr *matrix, struct error *error)
{
    struct csr found = {0};
    int64_t starts_length = 0, count = 0;
    void *starts = NULL, *indices = NULL;
    char *starts_name = path_format("%s/indptr", name), *indices_name = path_format("%s/indices", name);
    bool done = store_read(store, starts_name, DTYPE_I64, &starts_length, NULL, &starts, error) &&
                store_read(store, indices_name, DTYPE_I32, &count, NULL, &indices, error) &&
                store_get_integer(store, name, "rows", &found.rows, error) &&
                store_get_integer(store, name, "columns", &found.columns, error);
    found.starts = starts;
    found.indices = indices;
    if (done) {
        const char *fault = csr_fault(&found, starts_length, count);
        if (fault)
            done = error_at(error, ERROR_RUN, store->path, 0, "%s: %s; the file is damaged, make it again",
                            name, fault);
    }
    if (done)
        *matrix = found;
    else
        csr_free(&found);
    free(starts_name);
    free(indices_name);
    return done;
}

/* ---- attributes --------------------------------------------------------------------------------------- */

static bool make_group(struct store *store, const char *object)
{
    if (strcmp(object, "/") == 0 || store_has(store, object))
        return true;
    const hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    const hid_t group = H5Gcreate2(store->file, object, links, H5P_DEFAULT, H5P_DEFAULT);
    H5Pclose(links);
    if (group >= 0)
        H5Gclose(group);
    return group >= 0;
}

static bool set_attribute(struct store *store, const char *object, const char *name, hid_t type,
                          const void *value, struct error *error)
{
    const hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5I_INVALID_HID;
    if (make_group(store, object)) {
        if (H5Aexists_by_name(store->file, object, name, H5P_DEFAULT) > 0)
            H5Adelete_by_name(store->file, object, name, H5P_DEFAULT);
        attribute =
            H5Acreate_by_name(store->file, object, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    }
    const bool done = attribute >= 0 && H5Awrite(attribute, type, value) >= 0;
    if (!done)
        complain(store, object, "cannot write an attribute", error);
    if (attribute >= 0)
        H5Aclose(attribute);
    H5Sclose(space);
    return done;
}

bool store_set_integer(struct store *store, const char *object, const char *name, int64_t value,
                       struct error *error)
{
    return set_attribute(store, object, name, H5T_NATIVE_INT64, &value, error);
}

bool store_set_number(struct store *store, const char *object, const char *name, double value,
                      struct error *error)
{
    return set_attribute(store, object, name, H5T_NATIVE_DOUBLE, &value, error);
}

bool store_set_string(struct store *store, const char *object, const char *name, const char *value,
                      struct error *error)
{
    const hid_t type = string_type(strlen(value) > 0 ? strlen(value) : 1);
    const bool done = set_attribute(store, object, name, type, value, error);
    H5Tclose(type);
    return done;
}

bool store_has_attribute(struct store *store, const char *object, const char *name)
{
    return (strcmp(object, "/") == 0 || store_has(store, object)) &&
           H5Aexists_by_name(store->file, object, name, H5P_DEFAULT) > 0;
}

/* Opens an attribute whose class is `kind` and that holds one element. */
static hid_t open_attribute(struct store *store, const char *object, const char *name, H5T_class_t kind,
                            struct error *error)
{
    const hid_t attribute = store_has_attribute(store, object, name)
                                ? H5Aopen_by_name(store->file, object, name, H5P_DEFAULT, H5P_DEFAULT)
                                : H5I_INVALID_HID;
    if (attribute < 0) {
        H5Eclear2(H5E_DEFAULT);
        error_at(error, ERROR_RUN, store->path, 0, "%s: attribute %s is missing; make the file again", object,
                 name);
        return H5I_INVALID_HID;
    }
    const hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    const bool fits =
        type >= 0 && space >= 0 && H5Tget_class(type) == kind && H5Sget_simple_extent_npoints(space) == 1;
    if (type >= 0)
        H5Tclose(type);
    if (space >= 0)
        H5Sclose(space);
    if (fits)
        return attribute;
    error_at(error, ERROR_RUN, store->path, 0, "%s: attribute %s has another type than expected", object,
             name);
    H5Aclose(attribute);
    return H5I_INVALID_HID;
}

static bool get_scalar(struct store *store, const char *object, const char *name, H5T_class_t kind,
                       hid_t type, void *value, struct error *error)
{
    const hid_t attribute = open_attribute(store, object, name, kind, error);
    if (attribute < 0)
        return false;
    const bool done = H5Aread(attribute, type, value) >= 0;
    H5Aclose(attribute);
    return done || complain(store, object, "cannot read an attribute", error);
}

bool store_get_integer(struct store *store, const char *object, const char *name, int64_t *value,
                       struct error *error)
{
    return get_scalar(store, object, name, H5T_INTEGER, H5T_NATIVE_INT64, value, error);
}

bool store_get_number(struct store *store, const char *object, const char *name, double *value,
                      struct error *error)
{
    return get_scalar(store, object, name, H5T_FLOAT, H5T_NATIVE_DOUBLE, value, error);
}

bool store_get_string(struct store *store, const char *object, const char *name, char **value,
                      struct error *error)
{
    const hid_t attribute = open_attribute(store, object, name, H5T_STRING, error);
    if (attribute < 0)
        return false;
    const hid_t stored = H5Aget_type(attribute);
    bool done = false;
    if (H5Tis_variable_str(stored) > 0) {
        char *text = NULL;
        done = H5Aread(attribute, stored, &text) >= 0;
        *value = done ? path_format("%s", text ? text : "") : NULL;
        H5free_memory(text);
    } else {
        char *text = calloc(H5Tget_size(stored) + 1, 1);
        done = text && H5Aread(attribute, stored, text) >= 0;
        *value = done ? text : NULL;
        if (!done)
            free(text);
    }
    H5Tclose(stored);
    H5Aclose(attribute);
    return done || complain(store, object, "cannot read an attribute", error);
}
