#include "experiments/info_hdf5.h"

#include <hdf5.h>
#include <math.h>
#include <stdlib.h>

#include "core/store.h"

static const char *type_name(hid_t type)
{
    const size_t size = H5Tget_size(type);
    switch (H5Tget_class(type)) {
    case H5T_INTEGER:
        if (H5Tget_sign(type) == H5T_SGN_NONE)
            return size == 2 ? "uint16" : size == 4 ? "uint32" : size == 8 ? "uint64" : "uint8";
        return size == 2 ? "int16" : size == 4 ? "int32" : size == 8 ? "int64" : "int8";
    case H5T_FLOAT:
        return size == 4 ? "float32" : size == 8 ? "float64" : "float16";
    case H5T_STRING:
        return "string";
    default:
        return "other";
    }
}

static json_t *read_string(hid_t attribute, hid_t type)
{
    json_t *value = NULL;
    if (H5Tis_variable_str(type) > 0) {
        char *text = NULL;
        if (H5Aread(attribute, type, &text) >= 0 && text)
            value = json_string(text);
        H5free_memory(text);
    } else {
        char *text = calloc(H5Tget_size(type) + 1, 1);
        if (text && H5Aread(attribute, type, text) >= 0)
            value = json_string(text);
        free(text);
    }
    return value;
}

/* One attribute of one element; others are told by their type alone. */
static herr_t add_attribute(hid_t object, const char *name, const H5A_info_t *info, void *context)
{
    (void)info;
    const hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0)
        return 0;
    const hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    const H5T_class_t kind = H5Tget_class(type);
    const bool single = H5Sget_simple_extent_npoints(space) == 1;
    long long integer = 0;
    double number = 0.0;
    json_t *value = NULL;
    if (single && kind == H5T_INTEGER && H5Aread(attribute, H5T_NATIVE_LLONG, &integer) >= 0)
        value = json_integer(integer);
    else if (single && kind == H5T_FLOAT && H5Aread(attribute, H5T_NATIVE_DOUBLE, &number) >= 0)
        value = isfinite(number) ? json_real(number) : json_null();
    else if (single && kind == H5T_STRING)
        value = read_string(attribute, type);
    json_object_set_new(context, name, value ? value : json_string(type_name(type)));
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
    return 0;
}

static void describe_array(hid_t set, json_t *description)
{
    const hid_t type = H5Dget_type(set), space = H5Dget_space(set);
    hsize_t shape[H5S_MAX_RANK];
    const int rank = H5Sget_simple_extent_dims(space, shape, NULL);
    json_t *sizes = json_array();
    for (int i = 0; i < rank; i++)
        json_array_append_new(sizes, json_integer((json_int_t)shape[i]));
    json_object_set_new(description, "type", json_string(type_name(type)));
    json_object_set_new(description, "shape", sizes);
    json_object_set_new(description, "bytes_on_disk", json_integer((json_int_t)H5Dget_storage_size(set)));
    H5Sclose(space);
    H5Tclose(type);
}

static herr_t add_object(hid_t file, const char *name, const H5O_info_t *info, void *context)
{
    json_t *description = json_object(), *attributes = json_object();
    const hid_t object = H5Oopen(file, name, H5P_DEFAULT);
    if (object >= 0) {
        if (info->type == H5O_TYPE_DATASET)
            describe_array(object, description);
        H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, NULL, add_attribute, attributes);
        H5Oclose(object);
    }
    if (json_object_size(attributes) > 0)
        json_object_set(description, "attributes", attributes);
    json_decref(attributes);
    if (json_object_size(description) > 0)
        json_object_set(context, name, description);
    json_decref(description);
    return 0;
}

json_t *describe_hdf5(const char *path, struct error *error)
{
    htri_t is_hdf5;
    H5E_BEGIN_TRY
    {
        is_hdf5 = H5Fis_hdf5(path);
    }
    H5E_END_TRY
    if (is_hdf5 == 0) {
        error_at(
            error, ERROR_RUN, path, 0,
            "is neither an HDF5 file nor named *.safetensors; `idrec info --help` says what can be told");
        return NULL;
    }
    /* Opening it as a store refuses what is damaged, in the store's own words. */
    struct store *store;
    if (!store_open(&store, path, error))
        return NULL;
    store_close(store);
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    json_t *objects = json_object();
    const bool visited =
        file >= 0 && H5Ovisit2(file, H5_INDEX_NAME, H5_ITER_INC, add_object, objects, H5O_INFO_BASIC) >= 0;
    if (file >= 0)
        H5Fclose(file);
    if (visited)
        return json_pack("{s:s, s:o}", "kind", "HDF5 file", "objects", objects);
    json_decref(objects);
    error_at(error, ERROR_RUN, path, 0, "is damaged; make it again");
    return NULL;
}
